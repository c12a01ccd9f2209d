//! Adam (Kingma & Ba 2015, algorithm 1) with its state in the open.

use candle_core::{Result, Tensor, Var};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda::Change;
use super::{neutral, values, vectorized, write};

/// Hyper-parameters of Adam.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamOptions {
    /// Step size α.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// ε, added to the root of the second moment.
    pub epsilon: f64,
}

/// One update of `parameter` and its moments `m` and `v` (all of one shape) for step `t`, counted from 1.
pub fn adam_update(parameter: &Var, m: &Var, v: &Var, gradient: &Tensor, options: &AdamOptions, t: u64) -> Result<()> {
    let AdamOptions { learning_rate, beta1, beta2, epsilon } = *options;
    // The bias corrections folded into the step size and ε, as in section 2 of the paper.
    let exponent = i32::try_from(t).unwrap_or(i32::MAX);
    let root = (1.0 - beta2.powi(exponent)).sqrt();
    let (rate, epsilon) = (learning_rate * root / (1.0 - beta1.powi(exponent)), epsilon * root);
    if parameter.device().is_cpu() {
        let update = Update { beta1: beta1 as f32, beta2: beta2 as f32, rate: rate as f32, epsilon: epsilon as f32 };
        let gradient = gradient.contiguous()?;
        let g = values(&gradient)?;
        return write(parameter, |p| write(m, |m| write(v, |v| update.apply(p, m, v, &g))))??;
    }
    #[cfg(feature = "cuda")]
    if parameter.device().is_cuda() {
        let gradient = gradient.contiguous()?;
        let decay = |beta: f64| [beta as f32, (1.0 - beta) as f32];
        m.inplace_op2(&gradient, &Change { kernel: "first_moment", scalars: &decay(beta1) })?;
        v.inplace_op2(&gradient, &Change { kernel: "second_moment", scalars: &decay(beta2) })?;
        let scalars = [rate as f32, epsilon as f32];
        return parameter.inplace_op3(m, v, &Change { kernel: "adam_step", scalars: &scalars });
    }
    neutral::adam_update(parameter, m, v, gradient, (beta1, beta2), (rate, epsilon))
}

struct Update {
    beta1: f32,
    beta2: f32,
    rate: f32,
    epsilon: f32,
}

impl Update {
    /// m = β₁m + (1 - β₁)g, v = β₂v + (1 - β₂)g², p -= rate·m / (√v + ε), in one pass over memory.
    fn apply(&self, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        let &Self { beta1, beta2, rate, epsilon } = self;
        let (take1, take2) = (1.0 - beta1, 1.0 - beta2);
        const CHUNK: usize = 1 << 14;
        let chunks = (p.par_chunks_mut(CHUNK), m.par_chunks_mut(CHUNK), v.par_chunks_mut(CHUNK), g.par_chunks(CHUNK));
        chunks.into_par_iter().for_each(|(p, m, v, g)| {
            vectorized(|| {
                for (((p, m), v), &g) in p.iter_mut().zip(m).zip(v).zip(g) {
                    *m = beta1 * *m + take1 * g;
                    *v = beta2 * *v + take2 * g * g;
                    *p -= rate * *m / (v.sqrt() + epsilon);
                }
            });
        });
    }
}
