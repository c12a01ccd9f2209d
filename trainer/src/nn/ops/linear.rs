//! Fully connected layer: matrix product, bias and activation.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{
    activation,
    convolution::column_sums,
    f32s,
    gemm::{Matrix, matmul},
    neutral,
};
use crate::model::Activation;

/// `x (N, in)`, `weight (out, in)`, `bias (out)` to `activation(x·weightᵀ + bias) (N, out)`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return neutral::linear(x, weight, bias, activation);
    }
    x.contiguous()?.apply_op3(weight, bias, Linear(activation))
}

struct Linear(Activation);

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (f32s(s1, l1)?, f32s(s2, l2)?, f32s(s3, l3)?);
        let (n, features) = l1.shape().dims2()?;
        let outputs = bias.len();
        let mut y = bias.repeat(n);
        let threads = rayon::current_num_threads();
        matmul(&mut y, Matrix::new(x, n, features), Matrix::new(weight, outputs, features).t(), true, threads);
        activation::apply(self.0, &mut y);
        Ok((CpuStorage::F32(y), Shape::from((n, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = activation::gradient(self.0, out, gradient)?;
        let dx = x.track_op().then(|| g.matmul(&w.detach())).transpose()?;
        let dw = w.track_op().then(|| g.t()?.matmul(&x.detach())).transpose()?;
        let db = b.track_op().then(|| column_sums(&g)).transpose()?;
        Ok((dx, dw, db))
    }
}
