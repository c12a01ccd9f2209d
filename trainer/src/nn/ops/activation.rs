//! Activation functions that can be undone by their sign, in place.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::f32s;
use crate::model::Activation;

/// The slope for negative inputs; 1 for the identity.
fn negative_slope(activation: Activation) -> f32 {
    match activation {
        Activation::Identity => 1.0,
        Activation::Relu => 0.0,
        Activation::LeakyRelu(slope) => slope,
    }
}

/// Applies `activation` to every value.
pub fn apply(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Identity => {}
        Activation::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
        Activation::LeakyRelu(slope) => values.iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { *v * slope }),
    }
}

/// The gradient before `activation`, given its output and the gradient after it (same shapes).
///
/// The output's sign is the input's, so the input need not be kept.
pub fn gradient(activation: Activation, output: &Tensor, gradient: &Tensor) -> Result<Tensor> {
    if activation == Activation::Identity {
        return gradient.contiguous();
    }
    output.detach().apply_op2_no_bwd(&gradient.contiguous()?, &Gradient(negative_slope(activation)))
}

struct Gradient(f32);

impl CustomOp2 for Gradient {
    fn name(&self) -> &'static str {
        "activation-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let (output, gradient) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let mut result = vec![0.0; output.len()];
        const CHUNK: usize = 1 << 14;
        (result.par_chunks_mut(CHUNK), output.par_chunks(CHUNK), gradient.par_chunks(CHUNK)).into_par_iter().for_each(
            |(result, output, gradient)| {
                for ((r, &o), &g) in result.iter_mut().zip(output).zip(gradient) {
                    *r = if o > 0.0 { g } else { g * self.0 };
                }
            },
        );
        Ok((CpuStorage::F32(result), l1.shape().clone()))
    }
}
