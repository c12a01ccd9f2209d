//! A convolution's window over an image, cut into blocks that make matrices.

use candle_core::{Error, Result};
use rayon::prelude::*;

use super::activation::{self, Epilogue};
use crate::model::Window;

/// A [`Window`] over images of a certain size, cut into blocks.
///
/// The image, with its padding, is cut into blocks of `block` pixels, one every `stride` pixels, so that each window is a
/// rectangle of `taps` neighboring blocks; all three have a number for each axis:
///
/// ```text
/// block = stride   kernel 4, stride 2: 2 x 2 blocks of 2 x 2 pixels (space to depth; nothing is stored twice)
/// block = kernel   one block a window, overlapping its neighbors (im2col)
/// ```
///
/// The first kind moves the least memory; the second serves images with so few channels that a block of the first kind would
/// make only a sliver of a matrix. Blocks `(rows, columns, N, block H·block W·C)` and grid `(H', W', N, C)` both have the batch
/// inside, so that a row of either is one matrix.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    window: Window,
    /// Height, width and channels of the image.
    pub image: (usize, usize, usize),
    /// Height, width and channels of the grid.
    pub grid: (usize, usize, usize),
    block: [usize; 2],
    /// Rows and columns of blocks in a window.
    pub taps: [usize; 2],
}

/// Least values in a block of the first kind.
const SMALLEST_BLOCK: usize = 16;

impl Geometry {
    /// The geometry of `window` between an image and a grid, each (height, width, channels).
    pub fn new(window: Window, image: (usize, usize, usize), grid: (usize, usize, usize)) -> Self {
        let Window { kernel, stride, .. } = window;
        let (block, taps) = if stride[0] * stride[1] * image.2 >= SMALLEST_BLOCK {
            (stride, [0, 1].map(|axis: usize| kernel[axis].div_ceil(stride[axis])))
        } else {
            (kernel, [1; 2])
        };
        Self { window, image, grid, block, taps }
    }

    /// The geometry of a convolution of images `(height, width, channels)` to `out` channels.
    pub fn of_convolution(window: Window, image: (usize, usize, usize), out: usize) -> Result<Self> {
        let [rows, columns] = window.cells([image.0, image.1]).map_err(Error::msg)?;
        Ok(Self::new(window, image, (rows, columns, out)))
    }

    /// The geometry of a transposed convolution of `grid` (height, width, channels) to images of `out` channels, with
    /// `output_padding` more rows and columns.
    pub fn of_transposed_convolution(
        window: Window,
        output_padding: [usize; 2],
        grid: (usize, usize, usize),
        out: usize,
    ) -> Result<Self> {
        let [height, width] = window.pixels([grid.0, grid.1], output_padding).map_err(Error::msg)?;
        Ok(Self::new(window, (height, width, out), grid))
    }

    /// Rows and columns of blocks.
    pub fn blocks(&self) -> (usize, usize) {
        (self.grid.0 + self.taps[0] - 1, self.grid.1 + self.taps[1] - 1)
    }

    /// Values in one block.
    pub fn block_size(&self) -> usize {
        self.block[0] * self.block[1] * self.image.2
    }

    /// Values in all blocks of one image.
    pub fn blocks_size(&self) -> usize {
        self.blocks().0 * self.blocks().1 * self.block_size()
    }

    /// Values in the kernel's matrices, one for each tap of (block, grid channels); at least as many as in the kernel.
    pub fn weight_size(&self) -> usize {
        self.taps[0] * self.taps[1] * self.block_size() * self.grid.2
    }

    /// The pixel at `within` pixels from the start of block `index` along an axis of `pixels` pixels; none in the padding.
    fn pixel(&self, axis: usize, index: usize, within: usize, pixels: usize) -> Option<usize> {
        let at = index * self.window.stride[axis] + within;
        at.checked_sub(self.window.padding.before()[axis]).filter(|&p| p < pixels)
    }

    /// Cuts `images (H, W, N, C)` into `blocks`; what lies outside the image is zero.
    pub fn gather(&self, n: usize, images: &[f32], blocks: &mut [f32]) {
        let (height, width, channels) = self.image;
        let (columns, size) = (self.blocks().1, self.block_size());
        blocks.par_chunks_mut(columns * n * size).enumerate().for_each(|(row, blocks)| {
            for (column, blocks) in blocks.chunks_exact_mut(n * size).enumerate() {
                for (by, bx) in places(self.block) {
                    let place = (by * self.block[1] + bx) * channels;
                    let places = blocks.chunks_exact_mut(size).map(|block| &mut block[place..place + channels]);
                    match (self.pixel(0, row, by, height), self.pixel(1, column, bx, width)) {
                        (Some(y), Some(x)) => {
                            let pixel = &images[(y * width + x) * n * channels..][..n * channels];
                            copy_runs(channels, places, pixel.chunks_exact(channels));
                        }
                        _ => places.for_each(|to| to.fill(0.0)),
                    }
                }
            }
        });
    }

    /// The adjoint of [`Self::gather`]: `images (H, W, N, C)` of the sums of all blocks' values for each pixel, then `epilogue`.
    pub fn scatter(&self, n: usize, blocks: &[f32], images: &mut [f32], epilogue: Epilogue) {
        let (height, width, channels) = self.image;
        let ((rows, columns), size) = (self.blocks(), self.block_size());
        images.par_chunks_mut(width * n * channels).enumerate().for_each(|(y, line)| {
            for (x, pixel) in line.chunks_exact_mut(n * channels).enumerate() {
                let mut first = true;
                for (row, by) in self.owners(0, y, rows) {
                    for (column, bx) in self.owners(1, x, columns) {
                        let place = (by * self.block[1] + bx) * channels;
                        let blocks = blocks[(row * columns + column) * n * size..][..n * size].chunks_exact(size);
                        let from = blocks.map(|block| &block[place..place + channels]);
                        let to = pixel.chunks_exact_mut(channels);
                        if first {
                            copy_runs(channels, to, from);
                        } else {
                            to.zip(from).for_each(|(to, from)| to.iter_mut().zip(from).for_each(|(t, f)| *t += f));
                        }
                        first = false;
                    }
                }
                if first {
                    // No window sees this pixel.
                    pixel.fill(0.0);
                }
            }
            activation::finish(epilogue, line);
        });
        debug_assert_eq!(images.len(), height * width * n * channels);
    }

    /// The blocks along an axis of `count` blocks that hold pixel `p`, each with the pixel's place in it.
    fn owners(&self, axis: usize, p: usize, count: usize) -> impl Iterator<Item = (usize, usize)> {
        let at = p + self.window.padding.before()[axis];
        let (block, stride) = (self.block[axis], self.window.stride[axis]);
        let first = (at + 1).saturating_sub(block).div_ceil(stride);
        (first..count.min(at / stride + 1)).map(move |index| (index, at - index * stride))
    }

    /// For each place of the kernel, row by row: its tap, and where its channels start in that tap's block.
    pub fn kernel_places(&self) -> Vec<(usize, usize)> {
        let (channels, block) = (self.image.2, self.block);
        let place = |(ky, kx): (usize, usize)| {
            // Where a window has several blocks, they do not overlap.
            let tap = (ky / block[0]) * self.taps[1] + kx / block[1];
            (tap, ((ky % block[0]) * block[1] + kx % block[1]) * channels)
        };
        places(self.window.kernel).map(place).collect()
    }
}

/// The places of a rectangle, row by row.
pub(super) fn places([height, width]: [usize; 2]) -> impl Iterator<Item = (usize, usize)> {
    (0..height).flat_map(move |y| (0..width).map(move |x| (y, x)))
}

/// Copies runs of `len` values from where `from` yields them to where `to` does.
fn copy_runs<'a>(len: usize, to: impl Iterator<Item = &'a mut [f32]>, from: impl Iterator<Item = &'a [f32]>) {
    // Channels come in multiples of 16 nearly always; copies of a known size need no call.
    const LANES: usize = 16;
    if len.is_multiple_of(LANES) {
        to.zip(from).for_each(|(to, from)| to.as_chunks_mut::<LANES>().0.copy_from_slice(from.as_chunks::<LANES>().0));
    } else {
        to.zip(from).for_each(|(to, from)| to.iter_mut().zip(from).for_each(|(t, f)| *t = *f));
    }
}
