//! Ranks that are processes with a CUDA GPU each, over NVIDIA's collective communication library.

use std::cell::RefCell;

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, DType, Device, Layout, Shape, Tensor,
    backend::BackendStorage,
    cuda_backend::{
        CudaDType, WrapErr,
        cudarc::{
            driver::{DeviceRepr, ValidAsZeroBits},
            nccl::{
                Comm, Id, ReduceOp,
                result::{NcclError, NcclStatus},
                safe::NcclType,
            },
        },
    },
};

use super::{
    Communicator, Launch,
    in_process::check_f32,
    rendezvous::{self, Watch},
};
use crate::{Error, Result};

/// One of several processes.
pub struct Nccl {
    comm: Comm,
    device: CudaDevice,
    launch: Launch,
    watch: RefCell<Option<Watch>>,
}

impl Nccl {
    /// Brings all ranks together; see [`super::connect`].
    ///
    /// # Errors
    /// `device` is no CUDA device, a rank did not come in time or has other settings, or NCCL fails.
    pub fn connect(
        launch: &Launch,
        device: &Device,
        settings: &[u8],
        lost: impl Fn(&str) + Send + Sync + 'static,
    ) -> Result<Self> {
        let device = device.as_cuda_device()?.clone();
        let failed = |what: &str, e: &NcclError| Error::Rank {
            rank: launch.rank,
            world_size: launch.world_size,
            reason: format!("NCCL, {what}: {:?}; NCCL_DEBUG=WARN tells more", e.0),
        };
        let new_id = || {
            let id = Id::new().map_err(|e| failed("unique id", &e))?;
            Ok(id.internal().iter().flat_map(|c| c.to_ne_bytes()).collect())
        };
        let meeting = rendezvous::meet(launch, settings, new_id, rendezvous::TIMEOUT)?;
        let mut id = [0; 128];
        if meeting.message.len() != id.len() {
            let reason = format!("NCCL's unique id: found {} bytes, expected {}", meeting.message.len(), id.len());
            return Err(Error::Rank { rank: launch.rank, world_size: launch.world_size, reason });
        }
        for (to, &from) in id.iter_mut().zip(&meeting.message) {
            *to = core::ffi::c_char::from_ne_bytes([from]);
        }
        // From here on a rank that dies would leave the others waiting inside NCCL.
        let watch = meeting.watch(lost)?;
        // NCCL takes the calling thread's GPU.
        device.cuda_stream().context().bind_to_thread().w()?;
        let comm = Comm::from_rank(device.cuda_stream(), launch.rank, launch.world_size, Id::uninit(id))
            .map_err(|e| failed("start", &e))?;
        Ok(Self { comm, device, launch: launch.clone(), watch: RefCell::new(Some(watch)) })
    }

    fn run(&self, tensor: &Tensor, collective: Collective) -> Result<Tensor> {
        let op = Run { comm: &self.comm, collective };
        Ok(tensor.detach().contiguous()?.apply_op1_no_bwd(&op)?)
    }
}

impl std::fmt::Debug for Nccl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nccl").field("launch", &self.launch).field("device", &self.device).finish_non_exhaustive()
    }
}

impl Communicator for Nccl {
    fn rank(&self) -> usize {
        self.launch.rank
    }

    fn world_size(&self) -> usize {
        self.launch.world_size
    }

    fn average(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        check_f32(tensors)?;
        if tensors.is_empty() {
            return Ok(Vec::new());
        }
        // One call over all of them: most gradients are too small to be worth one of their own.
        let flat = tensors.iter().map(|t| t.detach().flatten_all()).collect::<candle_core::Result<Vec<_>>>()?;
        let mean = self.run(&Tensor::cat(&flat, 0)?, Collective::Average)?;
        let mut start = 0;
        let mut parts = Vec::with_capacity(tensors.len());
        for tensor in tensors {
            let length = tensor.elem_count();
            parts.push(mean.narrow(0, start, length)?.reshape(tensor.shape())?);
            start += length;
        }
        Ok(parts)
    }

    fn gather(&self, tensor: &Tensor) -> Result<Tensor> {
        self.run(tensor, Collective::Gather)
    }

    fn broadcast(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        tensors.iter().map(|tensor| self.run(tensor, Collective::Broadcast)).collect()
    }

    fn barrier(&self) -> Result<()> {
        // The value has to come back to the CPU, so that the call waits for the GPU.
        let device = Device::Cuda(self.device.clone());
        self.run(&Tensor::zeros(1, DType::F32, &device)?, Collective::Average)?.to_vec1::<f32>()?;
        Ok(())
    }

    fn finish(&self) -> Result<()> {
        self.barrier()?;
        if let Some(watch) = self.watch.take() {
            watch.goodbye();
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy)]
enum Collective {
    /// (N) on each rank to their mean (N).
    Average,
    /// (N, ...) on each rank to (world size · N, ...).
    Gather,
    /// Rank 0's.
    Broadcast,
}

/// A collective as candle sees it.
struct Run<'a> {
    comm: &'a Comm,
    collective: Collective,
}

impl Run<'_> {
    fn cuda<T>(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)>
    where
        T: CudaDType + NcclType + DeviceRepr + ValidAsZeroBits,
    {
        let device = storage.device();
        let (start, end) =
            layout.contiguous_offsets().ok_or_else(|| candle_core::Error::msg("NCCL takes contiguous tensors"))?;
        let from = storage.as_cuda_slice::<T>()?.slice(start..end);
        let mut dims = layout.dims().to_vec();
        if let (Collective::Gather, Some(rows)) = (self.collective, dims.first_mut()) {
            *rows *= self.comm.world_size();
        }
        let shape = Shape::from(dims);
        let mut to = device.alloc_zeros::<T>(shape.elem_count())?;
        let status = match self.collective {
            Collective::Average => self.comm.all_reduce(&from, &mut to, &ReduceOp::Avg),
            Collective::Gather => self.comm.all_gather(&from, &mut to),
            Collective::Broadcast => self.comm.broadcast(Some(&from), &mut to, 0),
        };
        match status {
            Ok(NcclStatus::Success) => Ok((CudaStorage::wrap_cuda_slice(to, device.clone()), shape)),
            Ok(_) => Err(candle_core::Error::msg(format!("NCCL, {:?}: not done", self.collective))),
            Err(e) => Err(candle_core::Error::msg(format!("NCCL, {:?}: {:?}", self.collective, e.0))),
        }
    }
}

impl CustomOp1 for Run<'_> {
    fn name(&self) -> &'static str {
        "nccl"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        candle_core::bail!("NCCL takes tensors of a CUDA device, not of the CPU")
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        match storage.dtype() {
            DType::F32 => self.cuda::<f32>(storage, layout),
            DType::U8 => self.cuda::<u8>(storage, layout),
            DType::U32 => self.cuda::<u32>(storage, layout),
            DType::I64 => self.cuda::<i64>(storage, layout),
            other => candle_core::bail!("NCCL: found a tensor of {}, expected f32, u8, u32 or i64", other.as_str()),
        }
    }
}
