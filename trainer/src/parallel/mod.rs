//! Data-parallel training: several processes, one GPU each, that make every step together.
//!
//! Each rank works on its share of the batch. Gradients are averaged over the ranks before the optimizer steps, so all ranks
//! keep the same weights, and W ranks with n images each do what one process does with W·n images, to rounding. What a system
//! does across the whole batch (the shuffle of FactorVAE) takes the rows of all ranks, [`Communicator::gather`].
//!
//! [`Launch`] reads where this process stands from the variables that torchrun sets, [`rendezvous`] brings the ranks together,
//! and [`connect`] makes the [`Communicator`] of the run. `docs/cuda.md` has commands for Slurm, Kubernetes and MPI.

mod in_process;
pub mod launch;
#[cfg(feature = "nccl")]
mod nccl;
pub mod rendezvous;

use std::fmt::Debug;

use candle_core::{Device, Tensor};

#[cfg(feature = "nccl")]
pub use self::nccl::Nccl;
pub use self::{in_process::InProcess, launch::Launch};
use crate::{Error, Result};

/// What the ranks of a data-parallel run exchange.
///
/// Every rank calls the same methods in the same order with tensors of the same shapes; each call waits for all ranks. The
/// results carry no gradient.
pub trait Communicator: Debug {
    /// The number of this process, from 0. Rank 0 alone writes files.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn world_size(&self) -> usize;

    /// The mean over the ranks of each f32 tensor; all ranks get the same bytes.
    ///
    /// # Errors
    /// A rank is gone or brought other tensors, or a tensor is not f32.
    fn average(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>>;

    /// The rows of all ranks in rank order: (N, ...) on each to (world size · N, ...) on all.
    ///
    /// # Errors
    /// A rank is gone or brought another shape.
    fn gather(&self, tensor: &Tensor) -> Result<Tensor>;

    /// Rank 0's tensors, on all ranks; those of the others only say their shapes. For the state of a checkpoint.
    ///
    /// # Errors
    /// A rank is gone or brought other shapes.
    fn broadcast(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>>;

    /// Waits until all ranks are here.
    ///
    /// # Errors
    /// A rank is gone.
    fn barrier(&self) -> Result<()>;

    /// Waits for all ranks a last time; a rank that leaves without it has failed, and the others hear of it.
    ///
    /// # Errors
    /// A rank is gone.
    fn finish(&self) -> Result<()> {
        self.barrier()
    }
}

/// The one rank of a run in one process: hands everything back as it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Single;

impl Communicator for Single {
    fn rank(&self) -> usize {
        0
    }

    fn world_size(&self) -> usize {
        1
    }

    fn average(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(tensors.iter().map(Tensor::detach).collect())
    }

    fn gather(&self, tensor: &Tensor) -> Result<Tensor> {
        Ok(tensor.detach())
    }

    fn broadcast(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        Ok(tensors.iter().map(Tensor::detach).collect())
    }

    fn barrier(&self) -> Result<()> {
        Ok(())
    }
}

/// Brings the ranks of `launch` together; this process computes on `device`.
///
/// `settings` is what has to be the same on all ranks, any bytes. `lost` is called on a thread of its own with a sentence for
/// the user when another rank goes away before [`Communicator::finish`]. NCCL may wait for that rank forever, so all that is
/// left to do in `lost` is to report and end the process.
///
/// # Errors
/// This build or `device` cannot do it, a rank did not come in time, or one was started with other settings.
pub fn connect(
    launch: &Launch,
    device: &Device,
    settings: &[u8],
    lost: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Box<dyn Communicator>> {
    if launch.world_size == 1 {
        return Ok(Box::new(Single));
    }
    launch.check_build()?;
    if !device.is_cuda() {
        let expected = "1 on the CPU: several processes take a CUDA GPU each, --device auto or cuda";
        return Err(Error::setting("WORLD_SIZE", launch.world_size, expected));
    }
    several(launch, device, settings, lost)
}

#[cfg(feature = "nccl")]
fn several(
    launch: &Launch,
    device: &Device,
    settings: &[u8],
    lost: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Box<dyn Communicator>> {
    Ok(Box::new(Nccl::connect(launch, device, settings, lost)?))
}

#[cfg(not(feature = "nccl"))]
fn several(
    launch: &Launch,
    _device: &Device,
    _settings: &[u8],
    _lost: impl Fn(&str) + Send + Sync + 'static,
) -> Result<Box<dyn Communicator>> {
    Err(launch.no_nccl())
}
