//! Convolutions to more than a few channels: weights meet the patches of two neighboring outputs.

use super::outputs::Outputs;
use super::product::{self, MOST_BYTES, Matrix};
use super::split_sums;
use super::windows::Windows;
use crate::kernels::convolution::Convolution;
use crate::plan::COLUMNS;

/// Computes the outputs of a row.
pub(super) fn row(convolution: &Convolution<'_>, windows: &Windows<'_>, scratch: &mut [u8], outputs: &mut Outputs<'_>) {
    let channels = convolution.layer.output().channels;
    let (sums, patches) = split_sums(scratch, channels * COLUMNS);
    let sums = sums.as_chunks_mut().0;
    let (left_patch, right_patch) = patches.split_at_mut(patches.len() / COLUMNS);
    let parts = windows.parts(left_patch.len().min(MOST_BYTES));
    let patch = windows.patch_bytes();
    // Nothing where a phase of a transposed convolution has no taps: its outputs are the biases.
    let weights = Matrix::new(convolution.weights, patch, patch, channels);

    let columns = outputs.columns();
    for left in (0..columns).step_by(COLUMNS) {
        // The last of an odd number of columns is computed twice.
        let right = (left + 1).min(columns - 1);
        product::start(sums, convolution.biases);
        for part in parts.clone() {
            windows.gather_pair([left, right], &part, [left_patch, right_patch]);
            if let Some(weights) = weights.and_then(|weights| weights.part(part.first, part.len())) {
                product::multiply_pair(sums, weights, [left_patch, right_patch]);
            }
        }
        outputs.write_pair([left, right], sums);
    }
}
