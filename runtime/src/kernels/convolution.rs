//! Convolutions. A transposed convolution is one small stride-1 convolution for each phase of its outputs.

use super::dot::{accumulate, dot};
use super::{Rows, requantize};
use crate::layer::Layer;
use crate::plan::{WORD_BYTES, taps};
use crate::stream::copy;

/// A convolution along one output row.
struct Convolution<'a> {
    /// int8, `(out C, taps H, taps W, in C)`.
    weights: &'a [u8],
    /// int32, `(out C)`.
    biases: &'a [u8],
    taps_height: usize,
    taps_width: usize,
    /// Input row of the first tap, and input column of the first tap of the first output.
    top: isize,
    left: isize,
    /// Input columns from one output to the next.
    advance: usize,
    /// The output columns: `first`, `first + step`, ….
    first: usize,
    step: usize,
}

/// Row `y` of a conv2d.
pub(super) fn conv2d_row(layer: &Layer<'_>, y: usize, input: Rows<'_>, scratch: &mut [u8], output: &mut [u8]) {
    let [taps_height, taps_width] = layer.record.kernel;
    let [stride_height, stride_width] = layer.record.stride;
    let [above, before] = layer.record.padding;
    let convolution = Convolution {
        weights: layer.weights,
        biases: layer.biases,
        taps_height,
        taps_width,
        top: difference(y * stride_height, above),
        left: difference(0, before),
        advance: stride_width,
        first: 0,
        step: 1,
    };
    convolution.row(layer, input, scratch, output);
}

/// Row `y` of a conv_transpose2d: its row phase with each column phase.
pub(super) fn conv_transpose2d_row(
    layer: &Layer<'_>,
    y: usize,
    input: Rows<'_>,
    scratch: &mut [u8],
    output: &mut [u8],
) {
    let [kernel_height, kernel_width] = layer.record.kernel;
    let [stride_height, stride_width] = layer.strides;
    let [above, before] = layer.record.padding;
    let pairs = layer.input().channels * layer.output().channels;
    let bias_bytes = layer.output().channels * WORD_BYTES;

    let row_phase = (y + above) % stride_height;
    let taps_height = taps(kernel_height, stride_height.get(), row_phase);
    let taps_before: usize = (0..row_phase).map(|phase| taps(kernel_height, stride_height.get(), phase)).sum();
    let mut weights = layer.weights.get(pairs * taps_before * kernel_width..).unwrap_or(&[]);
    let biases = layer.biases.chunks_exact(bias_bytes.max(1)).skip(row_phase * stride_width.get());
    for (phase, biases) in (0..stride_width.get()).zip(biases) {
        let taps_width = taps(kernel_width, stride_width.get(), phase);
        let (these, rest) = weights.split_at((pairs * taps_height * taps_width).min(weights.len()));
        weights = rest;
        // The least column with (column + padding) mod stride = phase.
        let first = (phase + stride_width.get() - before % stride_width) % stride_width;
        let convolution = Convolution {
            weights: these,
            biases,
            taps_height,
            taps_width,
            top: difference((y + above) / stride_height + 1, taps_height),
            left: difference((first + before) / stride_width + 1, taps_width),
            advance: 1,
            first,
            step: stride_width.get(),
        };
        convolution.row(layer, input, scratch, output);
    }
}

impl Convolution<'_> {
    /// Computes its outputs of a row, `(W, C)`. `scratch` holds the accumulators, then a part of the patch: as many of
    /// its rows as fit, gathered from the input so that the products of an output channel run over contiguous bytes.
    fn row(&self, layer: &Layer<'_>, input: Rows<'_>, scratch: &mut [u8], output: &mut [u8]) {
        let (in_channels, out_channels) = (layer.input().channels, layer.output().channels);
        let zero_point = layer.record.input_zero_point.cast_unsigned();
        let patch_row = self.taps_width * in_channels;
        let patch = self.taps_height * patch_row;
        let (accumulators, scratch) = scratch.split_at_mut((out_channels * WORD_BYTES).min(scratch.len()));
        let rows_at_once = (scratch.len() / patch_row.max(1)).max(1);

        let pixels = output.chunks_exact_mut((out_channels * requantize::element_bytes(layer)).max(1));
        for (index, pixel) in pixels.skip(self.first).step_by(self.step.max(1)).enumerate() {
            let left = self.left + signed(index * self.advance);
            copy(accumulators, self.biases);
            for first_tap in (0..self.taps_height).step_by(rows_at_once) {
                let count = rows_at_once.min(self.taps_height - first_tap);
                let part = scratch.get_mut(..count * patch_row).unwrap_or(&mut []);
                for (y, to) in (self.top + signed(first_tap)..).zip(part.chunks_exact_mut(patch_row.max(1))) {
                    gather(input.row(y), left, in_channels, zero_point, to);
                }
                let (first, length) = (first_tap * patch_row, count * patch_row);
                accumulate(accumulators, part, self.weights, patch, first, length, dot);
            }
            requantize::write(layer, accumulators, 0, pixel);
        }
    }
}

/// Copies columns `left..` of an input row to `to`; outside the image reads as the zero point.
#[inline]
fn gather(row: Option<&[u8]>, left: isize, channels: usize, zero_point: u8, to: &mut [u8]) {
    let Some(row) = row else { return to.fill(zero_point) };
    let start = usize::try_from(left).ok().map(|left| left * channels);
    if let Some(inside) = start.and_then(|start| row.get(start..start + to.len())) {
        return copy(to, inside);
    }
    for (x, to) in (left..).zip(to.chunks_exact_mut(channels.max(1))) {
        let start = usize::try_from(x).ok().map(|x| x * channels);
        match start.and_then(|start| row.get(start..start + channels)) {
            Some(pixel) => copy(to, pixel),
            None => to.fill(zero_point),
        }
    }
}

/// a - b, which may be negative.
fn difference(a: usize, b: usize) -> isize {
    signed(a) - signed(b)
}

/// A coordinate; all are small.
fn signed(value: usize) -> isize {
    value.cast_signed()
}
