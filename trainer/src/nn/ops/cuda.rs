//! Launches the kernels of `kernels.cu`, which NVRTC compiles when the first one is asked for.

use std::sync::OnceLock;

use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, InplaceOp2, InplaceOp3, Layout, Result,
    backend::BackendStorage,
    bail,
    cuda_backend::{
        WrapErr,
        cudarc::{
            driver::{CudaView, CudaViewMut, LaunchConfig, PushKernelArg},
            nvrtc::compile_ptx,
        },
    },
};

/// Threads of a block.
const THREADS: u32 = 256;
/// Blocks of a launch at most: some waves on the largest GPUs. A thread that has more than one value to write takes them in turn.
const BLOCKS: u32 = 1 << 14;

fn ptx() -> Result<&'static str> {
    static PTX: OnceLock<std::result::Result<String, String>> = OnceLock::new();
    let compile = || compile_ptx(include_str!("kernels.cu")).map(|ptx| ptx.to_src()).map_err(|e| e.to_string());
    match PTX.get_or_init(compile) {
        Ok(ptx) => Ok(ptx),
        Err(reason) => bail!("NVRTC: {reason}"),
    }
}

fn view<'a>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, f32>> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(storage.as_cuda_slice::<f32>()?.slice(start..end)),
        None => bail!("expected a contiguous tensor, found strides {:?}", layout.stride()),
    }
}

/// `count` new values, which `kernel` makes of `inputs`, contiguous f32 tensors.
pub fn map<const N: usize>(
    kernel: &str,
    count: usize,
    inputs: [(&CudaStorage, &Layout); N],
    numbers: &[usize],
    scalars: &[f32],
) -> Result<CudaStorage> {
    let device = inputs[0].0.device().clone();
    // SAFETY: the kernel writes every value before anything reads one.
    let mut output = unsafe { device.alloc::<f32>(count) }?;
    launch(&device, kernel, count, inputs, &mut output.slice_mut(..), numbers, scalars)?;
    Ok(CudaStorage::wrap_cuda_slice(output, device))
}

/// A kernel that changes values in place by those of one or two tensors of the same shape.
pub struct Change<'a> {
    /// Its name.
    pub kernel: &'static str,
    /// What it takes beside the tensors.
    pub scalars: &'a [f32],
}

impl Change<'_> {
    fn run<const N: usize>(
        &self,
        target: &mut CudaStorage,
        layout: &Layout,
        inputs: [(&CudaStorage, &Layout); N],
    ) -> Result<()> {
        let device = target.device().clone();
        let Some((start, end)) = layout.contiguous_offsets() else { bail!("{}: not contiguous", self.kernel) };
        if inputs.iter().any(|(_, input)| input.shape() != layout.shape()) {
            bail!("{}: inputs of another shape than {:?}", self.kernel, layout.shape());
        }
        let mut values = target.as_cuda_slice_mut::<f32>()?.slice_mut(start..end);
        launch(&device, self.kernel, end - start, inputs, &mut values, &[], self.scalars)
    }

    fn no_gpu<T>(&self) -> Result<T> {
        bail!("{} runs on a GPU alone", self.kernel)
    }
}

impl InplaceOp2 for Change<'_> {
    fn name(&self) -> &'static str {
        self.kernel
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        self.no_gpu()
    }

    fn cuda_fwd(&self, to: &mut CudaStorage, to_l: &Layout, a: &CudaStorage, a_l: &Layout) -> Result<()> {
        self.run(to, to_l, [(a, a_l)])
    }
}

impl InplaceOp3 for Change<'_> {
    fn name(&self) -> &'static str {
        self.kernel
    }

    fn cpu_fwd(
        &self,
        _: &mut CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        self.no_gpu()
    }

    fn cuda_fwd(
        &self,
        to: &mut CudaStorage,
        to_l: &Layout,
        a: &CudaStorage,
        a_l: &Layout,
        b: &CudaStorage,
        b_l: &Layout,
    ) -> Result<()> {
        self.run(to, to_l, [(a, a_l), (b, b_l)])
    }
}

fn launch<const N: usize>(
    device: &CudaDevice,
    kernel: &str,
    count: usize,
    inputs: [(&CudaStorage, &Layout); N],
    output: &mut CudaViewMut<f32>,
    numbers: &[usize],
    scalars: &[f32],
) -> Result<()> {
    // Places are counted in 32 bits.
    let largest = inputs.iter().map(|(_, layout)| layout.shape().elem_count()).fold(count, usize::max);
    if largest > u32::MAX as usize {
        bail!("{kernel}: {largest} values are more than a GPU's kernel takes at once, use smaller batches");
    }
    if count == 0 {
        return Ok(());
    }
    let views = inputs.iter().map(|(storage, layout)| view(storage, layout)).collect::<Result<Vec<_>>>()?;
    let numbers: Vec<u32> = numbers.iter().map(|&number| number as u32).collect();
    let function = device.get_or_load_custom_func(kernel, "unbraid", ptx()?)?;
    let mut launch = function.builder();
    launch.arg(&count);
    for view in &views {
        launch.arg(view);
    }
    launch.arg(output);
    for number in &numbers {
        launch.arg(number);
    }
    for scalar in scalars {
        launch.arg(scalar);
    }
    let blocks = (count as u32).div_ceil(THREADS).min(BLOCKS);
    let config = LaunchConfig { grid_dim: (blocks, 1, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the arguments are those that `kernels.cu` declares, in their order; no kernel reads or writes beyond the shapes
    // that its numbers and `count` give, which are those of the tensors.
    unsafe { launch.launch(config) }.w()?;
    Ok(())
}
