//! Adam (Kingma & Ba 2015, algorithm 1) with its state in the open.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

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
    let step =
        Step { rate: (learning_rate * root / (1.0 - beta1.powi(exponent))) as f32, epsilon: (epsilon * root) as f32 };
    if parameter.device().is_cpu() {
        let gradient = gradient.contiguous()?;
        m.inplace_op2(&gradient, &Decay { beta: beta1 as f32, square: false })?;
        v.inplace_op2(&gradient, &Decay { beta: beta2 as f32, square: true })?;
        parameter.inplace_op3(m, v, &step)
    } else {
        m.set(&((m.as_tensor() * beta1)? + (gradient * (1.0 - beta1))?)?)?;
        v.set(&((v.as_tensor() * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?)?;
        let change = (m.as_tensor() / (v.sqrt()? + f64::from(step.epsilon))?)?;
        parameter.set(&(parameter.as_tensor() - (change * f64::from(step.rate))?)?)
    }
}

const CHUNK: usize = 1 << 14;

fn values<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&mut values[start..end]),
        _ => bail!("Adam works on contiguous f32 tensors"),
    }
}

/// moment = beta·moment + (1 - beta)·g, or with g².
struct Decay {
    beta: f32,
    square: bool,
}

impl InplaceOp2 for Decay {
    fn name(&self) -> &'static str {
        "adam-moment"
    }

    fn cpu_fwd(&self, s1: &mut CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<()> {
        let (moment, gradient) = (values(s1, l1)?, super::f32s(s2, l2)?);
        let (keep, take) = (self.beta, 1.0 - self.beta);
        moment.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).for_each(|(moment, gradient)| {
            let pairs = moment.iter_mut().zip(gradient);
            if self.square {
                pairs.for_each(|(m, &g)| *m = keep * *m + take * g * g);
            } else {
                pairs.for_each(|(m, &g)| *m = keep * *m + take * g);
            }
        });
        Ok(())
    }
}

/// parameter -= rate·m / (√v + ε).
struct Step {
    rate: f32,
    epsilon: f32,
}

impl InplaceOp3 for Step {
    fn name(&self) -> &'static str {
        "adam-step"
    }

    fn cpu_fwd(
        &self,
        s1: &mut CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<()> {
        let (parameter, m, v) = (values(s1, l1)?, super::f32s(s2, l2)?, super::f32s(s3, l3)?);
        (parameter.par_chunks_mut(CHUNK), m.par_chunks(CHUNK), v.par_chunks(CHUNK)).into_par_iter().for_each(
            |(parameter, m, v)| {
                for ((p, &m), &v) in parameter.iter_mut().zip(m).zip(v) {
                    *p -= self.rate * m / (v.sqrt() + self.epsilon);
                }
            },
        );
        Ok(())
    }
}
