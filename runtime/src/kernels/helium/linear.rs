//! Fully connected layers: four rows of weights meet the input at a time.

use core::arch::asm;

use super::product::{self, Matrix};
use super::{bytes, outputs, split_sums};
use crate::kernels::requantize::element_bytes;
use crate::layer::Layer;
use crate::plan::{BLOCK_ROWS, WORD_BYTES};

/// Row `y` of a linear layer's output, whose features fill `(H, W, C)` in order; `input` is the whole input.
// Its variables are on the stack only while it runs.
#[inline(never)]
pub(in crate::kernels) fn linear_row(
    layer: &Layer<'_>,
    latents: bool,
    y: usize,
    input: &[u8],
    scratch: &mut [u8],
    output: &mut [u8],
) {
    let products = layer.input().len();
    let row_len = layer.output().row_len();
    let block_bytes = BLOCK_ROWS * element_bytes(layer);
    for (start, output) in (0..row_len).step_by(BLOCK_ROWS).zip(output.chunks_mut(block_bytes)) {
        let first = y * row_len + start;
        let features = output.len() / element_bytes(layer);
        let (sums, _) = split_sums(scratch, features);
        bytes::copy_words(sums, layer.biases.get(first * WORD_BYTES..).unwrap_or(&[]));
        let weights = layer.weights.get(first * products..).unwrap_or(&[]);
        if latents {
            for (sum, row) in sums.iter_mut().zip(weights.chunks_exact(products.max(1))) {
                *sum = dot_int16(input, row, *sum);
            }
        } else if let Some(matrix) = Matrix::new(weights, products, products, features) {
            product::multiply(sums, matrix, input);
        }
        outputs::write_features(layer, sums, first, output);
    }
}

/// sum + Σ a·b over int16, two bytes each, and int8.
#[inline]
fn dot_int16(a: &[u8], b: &[u8], mut sum: i32) -> i32 {
    if b.is_empty() || a.len() < 2 * b.len() {
        return sum;
    }
    // SAFETY: reads a byte of `b` and two of `a` for each of `b`'s, of which there are any.
    unsafe {
        asm!(
            "dlstp.16 lr, {count}",
            "2:",
            // 16 bytes may lie anywhere, eight int16 would have to be aligned.
            "vldrb.u8 q0, [{a}], #16",
            "vldrb.s16 q1, [{b}], #8",
            "vmladava.s16 r0, q0, q1",
            "letp lr, 2b",
            count = in(reg) b.len(),
            a = inout(reg) a.as_ptr() => _,
            b = inout(reg) b.as_ptr() => _,
            inout("r0") sum,
            out("lr") _, out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            options(nostack, readonly),
        );
    }
    sum
}
