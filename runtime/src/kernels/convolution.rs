//! Convolutions. A transposed convolution is one small stride-1 convolution for each phase of its outputs.

#[cfg(patches)]
use core::array;

use super::Rows;
#[cfg(patches)]
use super::product::{Block, WeightRows};
#[cfg(patches)]
use super::{narrow, requantize};
use crate::layer::Layer;
#[cfg(patches)]
use crate::plan::COLUMNS;
use crate::plan::{WORD_BYTES, taps};

/// A convolution along one output row.
pub(super) struct Convolution<'a> {
    pub(super) layer: &'a Layer<'a>,
    pub(super) input: Rows<'a>,
    /// int8, `(out C, taps H, taps W, in C)`.
    pub(super) weights: &'a [u8],
    /// int32, `(out C)`.
    pub(super) biases: &'a [u8],
    pub(super) taps_height: usize,
    pub(super) taps_width: usize,
    /// Input row of the first tap, and input column of the first tap of the first output.
    pub(super) top: isize,
    pub(super) left: isize,
    /// Input columns from one output to the next.
    pub(super) advance: usize,
    /// The output columns: `first`, `first + step`, ….
    pub(super) first: usize,
    pub(super) step: usize,
}

/// Row `y` of a conv2d.
#[inline(never)]
pub(super) fn conv2d_row(layer: &Layer<'_>, y: usize, input: Rows<'_>, scratch: &mut [u8], output: &mut [u8]) {
    let [taps_height, taps_width] = layer.record.kernel();
    let [stride_height, stride_width] = layer.record.stride();
    let [above, before] = layer.record.padding();
    let convolution = Convolution {
        layer,
        input,
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
    convolution.row(scratch, output);
}

/// Row `y` of a conv_transpose2d: its row phase with each column phase.
#[inline(never)]
pub(super) fn conv_transpose2d_row(
    layer: &Layer<'_>,
    y: usize,
    input: Rows<'_>,
    scratch: &mut [u8],
    output: &mut [u8],
) {
    let [kernel_height, kernel_width] = layer.record.kernel();
    let [stride_height, stride_width] = layer.strides();
    let [above, before] = layer.record.padding();
    let pairs = layer.input().channels * layer.output().channels;
    let bias_bytes = layer.output().channels * WORD_BYTES;

    let row_phase = (y + above) % stride_height;
    let taps_height = taps(kernel_height, stride_height.get(), row_phase);
    let taps_before: usize = (0..row_phase).map(|phase| taps(kernel_height, stride_height.get(), phase)).sum();
    let mut weights = layer.weights.get(pairs * taps_before * kernel_width..).unwrap_or(&[]);
    let mut biases = layer.biases.get(row_phase * stride_width.get() * bias_bytes..).unwrap_or(&[]);
    for phase in 0..stride_width.get() {
        let taps_width = taps(kernel_width, stride_width.get(), phase);
        let (phase_weights, rest) = weights.split_at((pairs * taps_height * taps_width).min(weights.len()));
        weights = rest;
        let (phase_biases, rest) = biases.split_at(bias_bytes.min(biases.len()));
        biases = rest;
        // The least column with (column + padding) mod stride = phase.
        let first = (phase + stride_width.get() - before % stride_width) % stride_width;
        let convolution = Convolution {
            layer,
            input,
            weights: phase_weights,
            biases: phase_biases,
            taps_height,
            taps_width,
            top: difference((y + above) / stride_height + 1, taps_height),
            left: difference((first + before) / stride_width + 1, taps_width),
            advance: 1,
            first,
            step: stride_width.get(),
        };
        #[cfg(patches)]
        if narrow::fits(&convolution, scratch) {
            narrow::row(&convolution, scratch, output);
            continue;
        }
        convolution.row(scratch, output);
    }
}

/// An element of a patch.
#[cfg(patches)]
#[derive(Clone, Copy, Default)]
struct Element {
    /// Its kernel row.
    tap: usize,
    /// Its index in the patch's row, `(taps W, in C)`.
    index: usize,
}

#[cfg(patches)]
impl Convolution<'_> {
    /// Computes its outputs of a row, `(W, C)`: neighbors together, and of their patches as much at a time as the
    /// scratch holds.
    fn row(&self, scratch: &mut [u8], output: &mut [u8]) {
        let (in_channels, out_channels) = (self.layer.input().channels, self.layer.output().channels);
        let patch = self.taps_height * self.taps_width * in_channels;
        let mut block = Block::new(scratch, out_channels);
        let capacity = block.capacity().max(1);

        let pixel_bytes = (out_channels * requantize::element_bytes(self.layer)).max(1);
        let mut pixels = output.chunks_exact_mut(pixel_bytes).skip(self.first).step_by(self.step.max(1));
        let mut left = self.left;
        loop {
            let neighbors: [_; COLUMNS] = array::from_fn(|_| pixels.next());
            let columns = neighbors.iter().flatten().count();
            if columns == 0 {
                return;
            }
            block.start(self.biases);
            let mut start = Element::default();
            for first in (0..patch).step_by(capacity) {
                let length = capacity.min(patch - first);
                start = self.gather(left, columns, start, length, &mut block);
                block.accumulate(WeightRows { bytes: self.weights, stride: patch, first, length });
            }
            for (column, pixel) in neighbors.into_iter().flatten().enumerate() {
                requantize::write(self.layer, &block, column, 0, pixel);
            }
            left += signed(COLUMNS * self.advance);
        }
    }

    /// Copies `length` elements from `start` on of the patches of `columns` neighbors, the first one's first tap being
    /// input column `left`; returns the element behind them.
    #[inline(never)]
    fn gather(&self, left: isize, columns: usize, start: Element, length: usize, block: &mut Block<'_>) -> Element {
        let channels = self.layer.input().channels;
        let patch_row = self.taps_width * channels;
        let Element { mut tap, mut index } = start;
        let mut at = 0;
        while at < length {
            let count = (patch_row - index).min(length - at);
            let row = self.input.row(self.top + signed(tap)).unwrap_or(&[]);
            let mut first = left * signed(channels) + signed(index);
            for column in 0..columns {
                match usize::try_from(first).ok().and_then(|first| row.get(first..first + count)) {
                    Some(inside) => block.put(column, at, inside),
                    None => self.pad(row, first, count, block, column, at),
                }
                first += signed(self.advance * channels);
            }
            at += count;
            index += count;
            if index == patch_row {
                (tap, index) = (tap + 1, 0);
            }
        }
        Element { tap, index }
    }

    /// Copies `count` bytes from `first` on of an input row to elements `at..` of a patch; outside the row reads as the
    /// zero point.
    #[inline(never)]
    fn pad(&self, row: &[u8], first: isize, count: usize, block: &mut Block<'_>, column: usize, at: usize) {
        let before = count.min(usize::try_from(-first).unwrap_or(0));
        let from = usize::try_from(first).unwrap_or(0).min(row.len());
        let inside = (count - before).min(row.len() - from);
        let zero_point = self.layer.record.input_zero_point;
        block.fill(column, at, before, zero_point);
        block.put(column, at + before, row.get(from..from + inside).unwrap_or(&[]));
        block.fill(column, at + before + inside, count - before - inside, zero_point);
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
