//! Bias and activation function, forward and backward, in place.

use rayon::prelude::*;

use super::{batch_parts, buffers::Buffers, gemm::Output, vectorized};
use crate::model::Activation;

/// What ends a layer: a bias for each channel (none: 0), then an activation.
#[derive(Clone, Copy)]
pub struct Epilogue<'a> {
    /// One value a channel.
    pub bias: Option<&'a [f32]>,
    /// What follows it.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// Leaves values as they are.
    pub const NONE: Self = Self { bias: None, activation: Activation::Identity };
}

/// Applies `epilogue` to values whose last dimension is the channels.
pub fn finish(epilogue: Epilogue, values: &mut [f32]) {
    let Some(bias) = epilogue.bias else {
        debug_assert_eq!(epilogue.activation, Activation::Identity);
        return;
    };
    vectorized(|| {
        let pixels = values.chunks_exact_mut(bias.len());
        match epilogue.activation {
            Activation::Identity => pixels.for_each(|p| p.iter_mut().zip(bias).for_each(|(v, b)| *v += b)),
            Activation::Relu => pixels.for_each(|p| p.iter_mut().zip(bias).for_each(|(v, b)| *v = (*v + b).max(0.0))),
            Activation::LeakyRelu(slope) => pixels.for_each(|p| {
                p.iter_mut().zip(bias).for_each(|(v, b)| {
                    let x = *v + b;
                    *v = if x > 0.0 { x } else { x * slope };
                });
            }),
        }
    });
}

/// Turns the gradient after `activation` into the one before it; with `bias`, its sums over all dimensions but the last, which are
/// the gradient of the bias, are written there or added.
///
/// The sign of the layer's `output` is its input's, so the input need not be kept.
pub fn backward(
    activation: Activation,
    channels: usize,
    output: &[f32],
    gradient: &mut [f32],
    bias: Option<(&mut [f32], Output)>,
    buffers: &Buffers,
) {
    let slope = match activation {
        Activation::Identity => None,
        Activation::Relu => Some(0.0),
        Activation::LeakyRelu(slope) => Some(slope),
    };
    let rows = gradient.len() / channels;
    let part = rows.div_ceil(batch_parts(rows)) * channels;
    let mut parts = buffers.take(gradient.len().div_ceil(part) * channels);
    let sums = bias.is_some();
    let work = (parts.par_chunks_mut(channels), gradient.par_chunks_mut(part), output.par_chunks(part));
    work.into_par_iter().for_each(|(sum, gradient, output)| {
        sum.fill(0.0);
        vectorized(|| {
            for (gradient, output) in gradient.chunks_exact_mut(channels).zip(output.chunks_exact(channels)) {
                if let Some(slope) = slope {
                    gradient.iter_mut().zip(output).for_each(|(g, &o)| *g *= if o > 0.0 { 1.0 } else { slope });
                }
                if sums {
                    sum.iter_mut().zip(gradient).for_each(|(s, g)| *s += *g);
                }
            }
        });
    });
    if let Some((bias, output)) = bias {
        if output == Output::Overwrite {
            bias.fill(0.0);
        }
        parts.chunks_exact(channels).for_each(|part| bias.iter_mut().zip(part).for_each(|(s, p)| *s += p));
    }
}
