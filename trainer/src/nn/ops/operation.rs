//! Operations that are a loop on the CPU, their reference, and one launch of a kernel of `kernels.cu` on a GPU.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor, WithDType};

use super::contiguous;

/// How `N` contiguous tensors become a new one.
pub trait Operation<const N: usize>: Send + Sync + 'static {
    /// The kernel's name.
    fn name(&self) -> &'static str;

    /// The result's shape.
    fn shape(&self, inputs: [&Shape; N]) -> Shape;

    /// The result's values: what the kernel is to compute.
    fn values<T: WithDType>(&self, inputs: [&[T]; N]) -> Vec<T>;

    /// The whole numbers that the kernel takes.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "kernels alone take them"))]
    fn numbers(&self) -> Vec<usize> {
        Vec::new()
    }

    /// The real numbers that the kernel takes behind those.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "kernels alone take them"))]
    fn scalars(&self) -> Vec<f32> {
        Vec::new()
    }

    /// The gradients for the inputs `x` from the one for the result `y`; none without, and for inputs that need none.
    fn gradients(&self, _x: [&Tensor; N], _y: &Tensor, _g: &Tensor) -> Result<[Option<Tensor>; N]> {
        Ok([const { None }; N])
    }
}

/// What `operation` makes of `x`.
pub fn apply1(operation: impl Operation<1>, x: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op1(Custom(operation))
}

/// What `operation` makes of `a` and `b`.
pub fn apply2(operation: impl Operation<2>, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.contiguous()?.apply_op2(&b.contiguous()?, Custom(operation))
}

/// An operation as candle takes it.
struct Custom<O>(O);

impl<O> Custom<O> {
    fn on_cpu<const N: usize>(&self, inputs: [(&CpuStorage, &Layout); N]) -> Result<(CpuStorage, Shape)>
    where
        O: Operation<N>,
    {
        let shape = self.0.shape(inputs.map(|(_, layout)| layout.shape()));
        let values = match inputs[0].0 {
            CpuStorage::F64(_) => CpuStorage::F64(self.0.values(slices(inputs)?)),
            _ => CpuStorage::F32(self.0.values(slices(inputs)?)),
        };
        Ok((values, shape))
    }

    #[cfg(feature = "cuda")]
    fn on_gpu<const N: usize>(
        &self,
        inputs: [(&candle_core::CudaStorage, &Layout); N],
    ) -> Result<(candle_core::CudaStorage, Shape)>
    where
        O: Operation<N>,
    {
        let shape = self.0.shape(inputs.map(|(_, layout)| layout.shape()));
        let (numbers, scalars) = (self.0.numbers(), self.0.scalars());
        let values = super::cuda::map(self.0.name(), shape.elem_count(), inputs, &numbers, &scalars)?;
        Ok((values, shape))
    }
}

fn slices<'a, T: WithDType, const N: usize>(inputs: [(&'a CpuStorage, &Layout); N]) -> Result<[&'a [T]; N]> {
    let mut slices = [&[][..]; N];
    for (slice, (storage, layout)) in slices.iter_mut().zip(inputs) {
        *slice = contiguous(storage, layout)?;
    }
    Ok(slices)
}

impl<O: Operation<1>> CustomOp1 for Custom<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_l: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu([(x, x_l)])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &candle_core::CudaStorage, x_l: &Layout) -> Result<(candle_core::CudaStorage, Shape)> {
        self.on_gpu([(x, x_l)])
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, g: &Tensor) -> Result<Option<Tensor>> {
        let [of_x] = self.0.gradients([x], y, g)?;
        Ok(of_x)
    }
}

impl<O: Operation<2>> CustomOp2 for Custom<O> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn cpu_fwd(&self, a: &CpuStorage, a_l: &Layout, b: &CpuStorage, b_l: &Layout) -> Result<(CpuStorage, Shape)> {
        self.on_cpu([(a, a_l), (b, b_l)])
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        a: &candle_core::CudaStorage,
        a_l: &Layout,
        b: &candle_core::CudaStorage,
        b_l: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        self.on_gpu([(a, a_l), (b, b_l)])
    }

    fn bwd(&self, a: &Tensor, b: &Tensor, y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let [of_a, of_b] = self.0.gradients([a, b], y, g)?;
        Ok((of_a, of_b))
    }
}
