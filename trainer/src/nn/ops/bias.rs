//! Bias and piecewise linear activation behind a matrix product, for devices without fused layers.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType};

use super::{contiguous, product::column_sums};

/// φ(x + bias) for `x (…, C)` and `bias (C)`; φ has slope 1 for positive values and `negative` for the others, 0 included. NaN
/// stays NaN.
pub fn bias_activation(x: &Tensor, bias: &Tensor, negative: f32) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&bias.contiguous()?, BiasActivation { negative })
}

struct BiasActivation {
    negative: f32,
}

impl BiasActivation {
    fn values<T: WithDType>(&self, x: &[T], bias: &[T]) -> Vec<T> {
        let negative = T::from_f64(self.negative.into());
        let sums = x.iter().zip(bias.iter().cycle()).map(|(&x, &bias)| x + bias);
        sums.map(|sum| if sum > T::zero() { sum } else { negative * sum }).collect()
    }
}

impl CustomOp2 for BiasActivation {
    fn name(&self) -> &'static str {
        "bias-activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, x_l: &Layout, bias: &CpuStorage, bias_l: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = match x {
            CpuStorage::F64(_) => CpuStorage::F64(self.values(contiguous(x, x_l)?, contiguous(bias, bias_l)?)),
            _ => CpuStorage::F32(self.values(contiguous(x, x_l)?, contiguous(bias, bias_l)?)),
        };
        Ok((values, x_l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &candle_core::CudaStorage,
        x_l: &Layout,
        bias: &candle_core::CudaStorage,
        bias_l: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let shape = x_l.shape().clone();
        let (inputs, numbers) = ([(x, x_l), (bias, bias_l)], [bias_l.shape().elem_count()]);
        let values = super::cuda::map("bias_activation", shape.elem_count(), inputs, &numbers, &[self.negative])?;
        Ok((values, shape))
    }

    fn bwd(&self, x: &Tensor, bias: &Tensor, y: &Tensor, g: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let slope = Slope { negative: self.negative };
        // With slope 1 on both sides the values of y do not matter.
        let g = if self.negative == 1.0 { g.clone() } else { g.contiguous()?.apply_op2_no_bwd(y, &slope)? };
        let bias = bias.track_op().then(|| column_sums(&g.reshape(((), bias.elem_count()))?)).transpose()?;
        Ok((x.track_op().then_some(g), bias))
    }
}

/// A gradient times the slopes of the activation, which the outputs' signs tell.
struct Slope {
    negative: f32,
}

impl Slope {
    fn values<T: WithDType>(&self, g: &[T], y: &[T]) -> Vec<T> {
        let negative = T::from_f64(self.negative.into());
        g.iter().zip(y).map(|(&g, &y)| if y > T::zero() { g } else { negative * g }).collect()
    }
}

impl CustomOp2 for Slope {
    fn name(&self) -> &'static str {
        "activation-gradient"
    }

    fn cpu_fwd(&self, g: &CpuStorage, g_l: &Layout, y: &CpuStorage, y_l: &Layout) -> Result<(CpuStorage, Shape)> {
        let values = match g {
            CpuStorage::F64(_) => CpuStorage::F64(self.values(contiguous(g, g_l)?, contiguous(y, y_l)?)),
            _ => CpuStorage::F32(self.values(contiguous(g, g_l)?, contiguous(y, y_l)?)),
        };
        Ok((values, g_l.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        g: &candle_core::CudaStorage,
        g_l: &Layout,
        y: &candle_core::CudaStorage,
        y_l: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let shape = g_l.shape().clone();
        let inputs = [(g, g_l), (y, y_l)];
        Ok((super::cuda::map("activation_gradient", shape.elem_count(), inputs, &[], &[self.negative])?, shape))
    }
}
