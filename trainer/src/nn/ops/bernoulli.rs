//! Bernoulli likelihood of pixels.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    elementary::{exp, ln_1p},
    f32s, neutral, vectorized,
};
use crate::profile;

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
        let _section = profile::section("loss", "forward");
        let (logits, targets) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let n = l1.dims()[0];
        let size = logits.len() / n;
        let values = logits.par_chunks(size).zip(targets.par_chunks(size)).map(|(l, x)| nll(l, x)).collect();
        Ok((CpuStorage::F32(values), Shape::from(n)))
    }

    /// dL/dl = dL/dnll·(σ(l) - x).
    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let _section = profile::section("loss", "backward");
        let slope = logits.detach().apply_op2_no_bwd(targets, &Slope(gradient.to_vec1()?))?;
        Ok((Some(slope), None))
    }
}

fn nll(logits: &[f32], targets: &[f32]) -> f32 {
    const LANES: usize = 16;
    vectorized(|| {
        // Lanes of their own, because a single sum cannot be reordered into vectors.
        let mut sums = [0.0; LANES];
        let term = |(&l, &x): (&f32, &f32)| l.max(0.0) - l * x + ln_1p(exp(-l.abs()));
        let (logits, logits_rest) = logits.as_chunks::<LANES>();
        let (targets, targets_rest) = targets.as_chunks::<LANES>();
        for (l, x) in logits.iter().zip(targets) {
            sums.iter_mut().zip(l.iter().zip(x)).for_each(|(sum, pair)| *sum += term(pair));
        }
        sums.iter().sum::<f32>() + logits_rest.iter().zip(targets_rest).map(term).sum::<f32>()
    })
}

/// σ(l) - x, times one factor an image.
struct Slope(Vec<f32>);

impl CustomOp2 for Slope {
    fn name(&self) -> &'static str {
        "bernoulli-nll-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (logits, targets) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let size = logits.len() / self.0.len();
        let mut slopes = vec![0.0; logits.len()];
        let images = (slopes.par_chunks_mut(size), logits.par_chunks(size), targets.par_chunks(size), &self.0);
        images.into_par_iter().for_each(|(slopes, logits, targets, factor)| {
            vectorized(|| {
                for ((slope, &l), &x) in slopes.iter_mut().zip(logits).zip(targets) {
                    let e = exp(-l.abs());
                    let sigmoid = if l >= 0.0 { 1.0 } else { e } / (1.0 + e);
                    *slope = (sigmoid - x) * factor;
                }
            });
        });
        Ok((CpuStorage::F32(slopes), l1.shape().clone()))
    }
}
