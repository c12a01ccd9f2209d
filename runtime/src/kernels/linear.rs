//! Fully connected layers.

use super::dot::{accumulate, dot, dot_int16};
use super::requantize;
use crate::layer::Layer;
use crate::plan::{LINEAR_BLOCK, WORD_BYTES};
use crate::stream::copy;

/// Row `y` of a linear layer's output, whose features fill `(H, W, C)` in order; `input` is the whole input.
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
    let block = LINEAR_BLOCK * requantize::element_bytes(layer);
    for (start, output) in (0..row_len).step_by(LINEAR_BLOCK).zip(output.chunks_mut(block)) {
        let first = y * row_len + start;
        let count = LINEAR_BLOCK.min(row_len - start);
        let accumulators = scratch.get_mut(..count * WORD_BYTES).unwrap_or(&mut []);
        copy(accumulators, layer.biases.get(first * WORD_BYTES..).unwrap_or(&[]));
        let weights = layer.weights.get(first * features..).unwrap_or(&[]);
        if latents {
            accumulate(accumulators, input, weights, features, 0, features, dot_int16);
        } else {
            accumulate(accumulators, input, weights, features, 0, features, dot);
        }
        requantize::write(layer, accumulators, first, output);
    }
}
