//! Fully connected layers.

use super::dot::dot_int16;
use super::product::{Block, WeightRows};
use super::requantize;
use crate::layer::Layer;
use crate::plan::{BLOCK_ROWS, WORD_BYTES};

/// Row `y` of a linear layer's output, whose features fill `(H, W, C)` in order; `input` is the whole input.
#[inline(never)]
pub(super) fn linear_row(
    layer: &Layer<'_>,
    latents: bool,
    y: usize,
    input: &[u8],
    scratch: &mut [u8],
    output: &mut [u8],
) {
    let features = layer.input().len();
    let row_len = layer.output().row_len();
    let element_bytes = requantize::element_bytes(layer);
    for (start, output) in (0..row_len).step_by(BLOCK_ROWS).zip(output.chunks_mut(BLOCK_ROWS * element_bytes)) {
        let first = y * row_len + start;
        let biases = layer.biases.get(first * WORD_BYTES..).unwrap_or(&[]);
        let weights = layer.weights.get(first * features..).unwrap_or(&[]);
        let mut block = Block::new(scratch, output.len() / element_bytes);
        block.start(biases);
        if latents {
            for (sum, row) in block.sums_mut(0).zip(weights.chunks_exact(features.max(1))) {
                *sum += dot_int16(input, row);
            }
        } else {
            multiply(&mut block, input, weights);
        }
        requantize::write(layer, &block, 0, first, output);
    }
}

/// Adds the products of an int8 input with rows of weights to the sums of column 0; the others' are not used.
fn multiply(block: &mut Block<'_>, input: &[u8], weights: &[u8]) {
    let capacity = block.capacity().max(1);
    for (index, part) in input.chunks(capacity).enumerate() {
        block.put(0, 0, part);
        let first = index * capacity;
        block.accumulate(WeightRows { bytes: weights, stride: input.len(), first, length: part.len() });
    }
}
