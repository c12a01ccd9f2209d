//! Layers without weights.

use super::Rows;
use crate::layer::Layer;
use crate::stream::copy;

/// Row `y` of nearest-neighbor upsampling.
#[inline(never)]
pub(super) fn upsample_nearest_row(layer: &Layer<'_>, y: usize, input: Rows<'_>, output: &mut [u8]) {
    let [vertical, horizontal] = layer.strides();
    let channels = layer.input().channels.max(1);
    let row = input.row((y / vertical).cast_signed()).unwrap_or(&[]);
    let run = (horizontal.get() * channels).max(1);
    for (pixel, copies) in row.chunks_exact(channels).zip(output.chunks_exact_mut(run)) {
        for to in copies.chunks_exact_mut(channels) {
            copy(to, pixel);
        }
    }
}

/// Row `y` of max-pooling: the maximum over the window's pixels inside the input.
#[inline(never)]
pub(super) fn max_pool_row(layer: &Layer<'_>, y: usize, input: Rows<'_>, output: &mut [u8]) {
    let (kernel_height, kernel_width) = layer.kernel();
    let (stride_height, stride_width) = layer.stride();
    let (above, before) = layer.padding();
    let channels = layer.input().channels.max(1);
    output.fill(i8::MIN.cast_unsigned());
    for tap in 0..kernel_height {
        let y = (y * stride_height + tap).cast_signed() - above.cast_signed();
        let row = input.row(y).unwrap_or(&[]);
        for (index, to) in output.chunks_exact_mut(channels).enumerate() {
            let start = index * stride_width;
            let bytes = |column: usize| (column.saturating_sub(before) * channels).min(row.len());
            let window = row.get(bytes(start)..bytes(start + kernel_width)).unwrap_or(&[]);
            for pixel in window.chunks_exact(channels) {
                for (to, from) in to.iter_mut().zip(pixel) {
                    *to = to.cast_signed().max(from.cast_signed()).cast_unsigned();
                }
            }
        }
    }
}
