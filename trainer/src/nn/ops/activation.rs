//! Bias and activation function, forward and backward, in place.

use rayon::prelude::*;

use super::{
    batch_parts,
    buffers::{Buffer, Buffers},
    elementary::{self, tanh},
    gemm::Output,
    vectorized,
};
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
        for pixel in values.chunks_exact_mut(bias.len()) {
            activate(epilogue.activation, pixel.iter_mut().zip(bias));
        }
    });
}

/// Adds its bias to each value and applies `activation`.
#[inline(always)]
fn activate<'a>(activation: Activation, values: impl Iterator<Item = (&'a mut f32, &'a f32)>) {
    match activation {
        Activation::Identity => values.for_each(|(v, b)| *v += b),
        Activation::Relu => values.for_each(|(v, b)| *v = relu(*v + b)),
        Activation::LeakyRelu(slope) => values.for_each(|(v, b)| {
            let x = *v + b;
            *v = if x > 0.0 { x } else { x * slope };
        }),
        Activation::Tanh => values.for_each(|(v, b)| *v = tanh(*v + b)),
        Activation::Elu(alpha) => values.for_each(|(v, b)| *v = elu(alpha, *v + b)),
        Activation::Sigmoid => values.for_each(|(v, b)| *v = sigmoid(*v + b)),
        Activation::Softplus => values.for_each(|(v, b)| *v = softplus(*v + b)),
        Activation::HardSigmoid { .. } | Activation::Clip { .. } => {
            values.for_each(|(v, b)| *v = activation.apply(*v + b));
        }
    }
}

/// max(x, 0), but for NaN, which `max` would hide: it has to reach the loss to stop the run.
#[inline(always)]
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// x for x > 0, else alpha·(eˣ - 1).
#[inline(always)]
fn elu(alpha: f32, x: f32) -> f32 {
    if x > 0.0 { x } else { alpha * elementary::exp_m1(x) }
}

/// 1 / (1 + e⁻ˣ), of e^-|x|, which does not overflow.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = elementary::exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

/// ln(1 + eˣ) = max(x, 0) + ln(1 + e^-|x|).
#[inline(always)]
fn softplus(x: f32) -> f32 {
    relu(x) + elementary::ln_1p(elementary::exp(-x.abs()))
}

/// Applies `epilogue` to some rows of `(features, N)`, the first of which is number `first`.
pub fn finish_rows(epilogue: Epilogue, n: usize, first: usize, rows: &mut [f32]) {
    let Some(bias) = epilogue.bias else { return };
    vectorized(|| {
        for (row, bias) in rows.chunks_exact_mut(n).zip(&bias[first..]) {
            activate(epilogue.activation, row.iter_mut().map(|v| (v, bias)));
        }
    });
}

/// The derivative of an activation in terms of its output.
trait Derivative: Copy + Sync {
    fn at(self, output: f32) -> f32;
}

/// (1 if o > 0, else `slope`) - `square`·o² of an output o, whose sign is the input's: without a branch for what networks have most.
#[derive(Clone, Copy)]
struct Simple {
    slope: f32,
    square: f32,
}

impl Simple {
    fn of(activation: Activation) -> Option<Self> {
        match activation {
            // tanh' = 1 - tanh².
            Activation::Tanh => Some(Self { slope: 1.0, square: 1.0 }),
            _ => activation.negative_slope().map(|slope| Self { slope, square: 0.0 }),
        }
    }
}

impl Derivative for Simple {
    #[inline(always)]
    fn at(self, output: f32) -> f32 {
        (if output > 0.0 { 1.0 } else { self.slope }) - self.square * output * output
    }
}

impl Derivative for Activation {
    #[inline(always)]
    fn at(self, output: f32) -> f32 {
        self.derivative(output)
    }
}

/// [`backward`] for features `(features, N)`, without the bias.
pub fn backward_rows(activation: Activation, output: &[f32], gradient: &mut [f32]) {
    match Simple::of(activation) {
        Some(derivative) => backward_rows_by(derivative, output, gradient),
        None => backward_rows_by(activation, output, gradient),
    }
}

fn backward_rows_by(derivative: impl Derivative, output: &[f32], gradient: &mut [f32]) {
    const CHUNK: usize = 1 << 13;
    gradient.par_chunks_mut(CHUNK).zip(output.par_chunks(CHUNK)).for_each(|(gradient, output)| {
        vectorized(|| gradient.iter_mut().zip(output).for_each(|(g, &o)| *g *= derivative.at(o)));
    });
}

/// The gradient of a bias from the gradient `(features, N)` before the activation.
pub fn bias_gradient_rows(n: usize, gradient: &[f32], bias: &mut [f32], output: Output) {
    for (bias, row) in bias.iter_mut().zip(gradient.chunks_exact(n)) {
        let sum: f32 = row.iter().sum();
        *bias = if output == Output::Add { *bias + sum } else { sum };
    }
}

/// Turns the gradient after `activation` into the one before it; with `bias`, also writes the gradient of the bias, its
/// sums over all dimensions but the last, in the same pass over memory.
pub fn backward(
    activation: Activation,
    channels: usize,
    output: &[f32],
    gradient: &mut [f32],
    bias: Option<(&mut [f32], Output)>,
    buffers: &Buffers,
) {
    match Simple::of(activation) {
        Some(derivative) => backward_by(derivative, channels, output, gradient, bias, buffers),
        None => backward_by(activation, channels, output, gradient, bias, buffers),
    }
}

fn backward_by(
    derivative: impl Derivative,
    channels: usize,
    output: &[f32],
    gradient: &mut [f32],
    bias: Option<(&mut [f32], Output)>,
    buffers: &Buffers,
) {
    let split = Split::new(channels, gradient.len());
    let mut parts = split.parts(buffers);
    let work = (parts.par_chunks_mut(split.sums), gradient.par_chunks_mut(split.part), output.par_chunks(split.part));
    work.into_par_iter().for_each(|(sums, gradient, output)| {
        sums.fill(0.0);
        vectorized(|| {
            for (gradient, output) in gradient.chunks_mut(split.sums).zip(output.chunks(split.sums)) {
                scale_and_add(derivative, output, gradient, sums);
            }
        });
    });
    if let Some((bias, output)) = bias {
        add_parts(&parts, bias, output);
    }
}

/// A function of its own, because only slices that are arguments are known not to overlap, without which there are no vectors.
#[inline(always)]
fn scale_and_add(derivative: impl Derivative, output: &[f32], gradient: &mut [f32], sums: &mut [f32]) {
    for ((g, &o), s) in gradient.iter_mut().zip(output).zip(sums) {
        *g *= derivative.at(o);
        *s += *g;
    }
}

/// How a sum over rows of `channels` values is split into a fixed number of parts.
struct Split {
    len: usize,
    /// Values in a part.
    part: usize,
    /// Sums in a part: a whole number of rows, so that rows of few channels fill vectors too.
    sums: usize,
}

impl Split {
    fn new(channels: usize, len: usize) -> Self {
        let sums = channels * 64_usize.div_ceil(channels);
        let groups = len.div_ceil(sums);
        Self { len, part: groups.div_ceil(batch_parts(groups)) * sums, sums }
    }

    fn parts(&self, buffers: &Buffers) -> Buffer {
        buffers.take(self.len.div_ceil(self.part) * self.sums)
    }
}

/// Adds rows up in their order.
fn add_parts(rows: &[f32], sum: &mut [f32], output: Output) {
    if output == Output::Overwrite {
        sum.fill(0.0);
    }
    rows.chunks_exact(sum.len()).for_each(|row| sum.iter_mut().zip(row).for_each(|(s, r)| *s += r));
}
