//! The last layer of a decoder: a transposed convolution to few channels.
//!
//! With so few rows of weights, gathering patches would take longer than multiplying them. So the two change places: the
//! weights of a kernel row's taps are the patches, and the columns of an input row, where they lie, the rows. An output
//! is the sum of what its taps give in their columns.

use super::convolution::Convolution;
use super::product::{Block, WeightRows};
use super::requantize;
use crate::format::output;
use crate::plan::{BLOCK_ROWS, COLUMNS, WORD_BYTES};

/// Most output channels for which this is faster.
const MOST_CHANNELS: usize = 4;

/// Whether a convolution can be computed here.
pub(super) fn fits(convolution: &Convolution<'_>, scratch: &mut [u8]) -> bool {
    let layer = convolution.layer;
    layer.record.output == output::PIXELS
        && layer.output().channels <= MOST_CHANNELS
        && layer.input().width <= BLOCK_ROWS
        && layer.input().channels <= Block::new(scratch, layer.input().width).capacity()
        && convolution.advance == 1
        && convolution.taps_width <= COLUMNS
}

/// Computes a convolution's outputs of a row, `(W, C)`.
#[inline(never)]
pub(super) fn row(convolution: &Convolution<'_>, scratch: &mut [u8], output: &mut [u8]) {
    let layer = convolution.layer;
    let out_channels = layer.output().channels.max(1);
    let mut block = Block::new(scratch, layer.input().width);
    for (channel, bias) in convolution.biases.as_chunks::<WORD_BYTES>().0.iter().enumerate() {
        let bias = i32::from_le_bytes(*bias);
        let outside = multiply(convolution, channel, &mut block);
        let pixel_of = requantize::pixels(layer, channel);
        let mut at = convolution.first * out_channels + channel;
        let mut left = convolution.left;
        while let Some(to) = output.get_mut(at) {
            let taps = (left..).zip(outside).enumerate();
            let sum = taps.map(|(tap, (x, outside))| block.sum(x, tap).unwrap_or(outside)).sum::<i32>();
            *to = pixel_of(bias + sum);
            at += convolution.step * out_channels;
            left += 1;
        }
    }
}

/// Sums what the taps of each input column give to an output channel; returns what those outside the image give.
fn multiply(convolution: &Convolution<'_>, channel: usize, block: &mut Block<'_>) -> [i32; COLUMNS] {
    let in_channels = convolution.layer.input().channels;
    let zero_point = i32::from(convolution.layer.record.input_zero_point);
    let filter = channel * convolution.taps_height * convolution.taps_width * in_channels;
    let mut taps = convolution.weights.get(filter..).unwrap_or(&[]).chunks_exact(in_channels.max(1));
    let mut outside = [0; COLUMNS];
    block.clear();
    for tap in convolution.taps_width..COLUMNS {
        block.fill(tap, 0, in_channels, 0);
    }
    for y in (convolution.top..).take(convolution.taps_height) {
        let row = convolution.input.row(y);
        for (tap, outside) in outside.iter_mut().enumerate().take(convolution.taps_width) {
            let weights = taps.next().unwrap_or(&[]);
            let padding = zero_point * weights.iter().map(|weight| i32::from(weight.cast_signed())).sum::<i32>();
            *outside += padding;
            match row {
                Some(_) => block.put(tap, 0, weights),
                None => block.sums_mut(tap).for_each(|sum| *sum += padding),
            }
        }
        if let Some(bytes) = row {
            block.accumulate(WeightRows { bytes, stride: in_channels, first: 0, length: in_channels });
        }
    }
    outside
}
