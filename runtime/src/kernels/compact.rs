//! Layers with weights in the least code, for feature `compact`: one output at a time, from the input where it lies.

use super::convolution::Convolution;
use super::dot::dot_int16;
use super::requantize;
use crate::layer::Layer;
use crate::plan::WORD_BYTES;

impl Convolution<'_> {
    /// Computes its outputs of a row, `(W, C)`.
    pub(super) fn row(&self, _scratch: &mut [u8], output: &mut [u8]) {
        let width = self.layer.output().width;
        let out_channels = self.layer.output().channels;
        let (mut x, mut left) = (self.first, self.left);
        while x < width {
            for channel in 0..out_channels {
                let sum = self.sum(left, channel);
                requantize::write_one(self.layer, sum, channel, x * out_channels + channel, output);
            }
            x += self.step;
            left += self.advance.cast_signed();
        }
    }

    /// The accumulator of the output whose first tap is input column `left`.
    fn sum(&self, left: isize, channel: usize) -> i32 {
        let in_channels = self.layer.input().channels;
        let taps_bytes = self.taps_width * in_channels;
        let mut sum = bias(self.biases, channel);
        for tap in 0..self.taps_height {
            let row = self.input.row(self.top + tap.cast_signed()).unwrap_or(&[]);
            let weights = row_of(self.weights, channel * self.taps_height + tap, taps_bytes);
            sum += dot(row, left * in_channels.cast_signed(), self.layer.record.input_zero_point, weights);
        }
        sum
    }
}

/// Row `y` of a linear layer's output, whose features fill `(H, W, C)` in order; `input` is the whole input.
#[inline(never)]
pub(super) fn linear_row(
    layer: &Layer<'_>,
    latents: bool,
    y: usize,
    input: &[u8],
    _scratch: &mut [u8],
    output: &mut [u8],
) {
    let products = layer.input().len();
    let row_len = layer.output().row_len();
    for index in 0..row_len {
        let feature = y * row_len + index;
        let weights = row_of(layer.weights, feature, products);
        let sum = if latents { dot_int16(input, weights) } else { dot(input, 0, 0, weights) };
        requantize::write_one(layer, bias(layer.biases, feature) + sum, feature, index, output);
    }
}

/// Row `index` of a matrix whose rows have `length` bytes.
fn row_of(bytes: &[u8], index: usize, length: usize) -> &[u8] {
    bytes.get(index * length..(index + 1) * length).unwrap_or(&[])
}

/// The bias of a channel or feature.
fn bias(biases: &[u8], index: usize) -> i32 {
    biases.as_chunks::<WORD_BYTES>().0.get(index).map_or(0, |bias| i32::from_le_bytes(*bias))
}

/// Σ a·b over int8 from element `first` of `a` on, all of `b`; outside, `a` reads as `padding`.
#[inline(never)]
fn dot(a: &[u8], first: isize, padding: i8, b: &[u8]) -> i32 {
    let product = |a: i8, b: &u8| i32::from(a) * i32::from(b.cast_signed());
    // A negative index is a huge one.
    let first = first.cast_unsigned();
    match a.get(first..first.wrapping_add(b.len())) {
        Some(inside) => inside.iter().zip(b).map(|(a, b)| product(a.cast_signed(), b)).sum(),
        None => {
            let element = |index| a.get(first.wrapping_add(index)).map_or(padding, |a| a.cast_signed());
            b.iter().enumerate().map(|(index, b)| product(element(index), b)).sum()
        }
    }
}
