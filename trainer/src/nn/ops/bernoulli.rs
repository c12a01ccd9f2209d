//! Bernoulli likelihood of pixels.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{f32s, neutral};

/// Negative log-likelihood of each image, in nats: `logits (N, …)`, constant `targets (N, …)` in [0, 1] to `(N)`.
///
/// Σ over an image of max(l, 0) - l·x + ln(1 + e^-|l|), the stable form of -x·ln σ(l) - (1-x)·ln(1-σ(l)).
pub fn bernoulli_nll(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    if !logits.device().is_cpu() {
        return neutral::bernoulli_nll(logits, targets);
    }
    logits.contiguous()?.apply_op2(&targets.detach().contiguous()?, BernoulliNll)
}

struct BernoulliNll;

impl CustomOp2 for BernoulliNll {
    fn name(&self) -> &'static str {
        "bernoulli-nll"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (logits, targets) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let n = l1.dims()[0];
        let size = logits.len() / n;
        let nll = |(logits, targets): (&[f32], &[f32])| {
            logits.iter().zip(targets).map(|(&l, &x)| l.max(0.0) - l * x + (-l.abs()).exp().ln_1p()).sum::<f32>()
        };
        let values = logits.par_chunks(size).zip(targets.par_chunks(size)).map(nll).collect();
        Ok((CpuStorage::F32(values), Shape::from(n)))
    }

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let slope = logits.detach().apply_op2_no_bwd(targets, &Slope)?;
        let mut shape = vec![1; logits.rank()];
        shape[0] = logits.dim(0)?;
        Ok((Some(slope.broadcast_mul(&gradient.reshape(shape)?)?), None))
    }
}

/// d/dl of the negative log-likelihood: σ(l) - x.
struct Slope;

impl CustomOp2 for Slope {
    fn name(&self) -> &'static str {
        "bernoulli-nll-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (logits, targets) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let slope = |(&l, &x): (&f32, &f32)| 1.0 / (1.0 + (-l).exp()) - x;
        let values = logits.par_iter().zip(targets).map(slope).collect();
        Ok((CpuStorage::F32(values), l1.shape().clone()))
    }
}
