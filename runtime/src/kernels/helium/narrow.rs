//! Convolutions to few channels: weights meet neighboring windows, which overlap where they lie in the input. Gathering
//! a patch would take longer than multiplying it with so few rows of weights.

use core::slice;

use super::outputs::Outputs;
use super::product::{self, Matrix};
use super::windows::Windows;
use super::{VECTOR_BYTES, split_sums};
use crate::kernels::convolution::Convolution;
use crate::plan::WORD_BYTES;

/// Most channels.
pub(super) const CHANNELS: usize = 3;
/// Outputs at a time.
const COLUMNS: usize = 32;

/// Computes the outputs of a row.
pub(super) fn row(convolution: &Convolution<'_>, windows: &Windows<'_>, scratch: &mut [u8], outputs: &mut Outputs<'_>) {
    // Any scratch holds a few sums and, behind them, a vector.
    let room = scratch.len().saturating_sub(WORD_BYTES + VECTOR_BYTES) / WORD_BYTES;
    let block = COLUMNS.min(room).max(1);
    let columns = outputs.columns();
    for first in (0..columns).step_by(block) {
        let (sums, buffer) = split_sums(scratch, block.min(columns - first));
        for channel in 0..convolution.layer.output().channels {
            sum(convolution, windows, channel, first, sums, buffer);
            outputs.write_channel(channel, first, sums);
        }
    }
}

/// Computes the sums of outputs `first..` of a channel.
fn sum(
    convolution: &Convolution<'_>,
    windows: &Windows<'_>,
    channel: usize,
    first: usize,
    sums: &mut [i32],
    buffer: &mut [u8],
) {
    let bias = convolution.biases.as_chunks().0.get(channel).map_or(0, |bias| i32::from_le_bytes(*bias));
    sums.fill(bias);
    let weights = convolution.weights.get(channel * windows.patch_bytes()..).unwrap_or(&[]);
    for part in windows.row_parts(buffer.len()) {
        let weights = weights.get(part.first..part.first + part.len()).unwrap_or(&[]);
        let inside = windows.inside(&part.bytes, first..first + sums.len());
        let Some((before, rest)) = sums.split_at_mut_checked(inside.start - first) else { return };
        let Some((middle, behind)) = rest.split_at_mut_checked(inside.len()) else { return };
        if let Some(rows) = windows.rows(&part, &inside, buffer) {
            product::multiply(middle, rows, weights);
        }
        for (column, sum) in (first..).zip(before).chain((inside.end..).zip(behind)) {
            windows.gather(column, &part, buffer);
            if let Some(row) = Matrix::new(buffer, 0, part.len(), 1) {
                product::multiply(slice::from_mut(sum), row, weights);
            }
        }
    }
}
