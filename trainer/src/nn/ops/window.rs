//! The sliding window of a convolution: which pixels of an image each cell of its grid sees.

use candle_core::{Result, bail};
use rayon::prelude::*;

use super::activation::{self, Epilogue};

/// A window of `kernel` x `kernel` pixels that moves over an image in steps of `stride`; one position is one cell of a grid.
///
/// A convolution reads the image and writes the grid; a transposed convolution reads the grid and writes the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Kernel height and width.
    pub kernel: usize,
    /// Step between neighboring cells, in pixels.
    pub stride: usize,
    /// How far the first window reaches beyond the image's border.
    pub padding: usize,
}

impl Window {
    /// Cells along one axis of a grid over `pixels` pixels.
    pub fn cells(&self, pixels: usize) -> Result<usize> {
        match (pixels + 2 * self.padding).checked_sub(self.kernel) {
            Some(room) if self.stride > 0 && self.kernel > 0 => Ok(room / self.stride + 1),
            _ => bail!("{self:?} does not fit {pixels} pixels"),
        }
    }

    /// Pixels along one axis of the image that a transposed convolution makes of `cells` cells.
    pub fn pixels(&self, cells: usize) -> Result<usize> {
        match (cells.max(1) * self.stride + self.kernel).checked_sub(self.stride + 2 * self.padding) {
            Some(pixels) if pixels > 0 && cells > 0 && self.stride > 0 && self.kernel > 0 => Ok(pixels),
            _ => bail!("{self:?} makes no image of {cells} cells"),
        }
    }
}

/// A [`Window`] over images of a certain size, cut into blocks.
///
/// The image, with its padding, is cut into blocks of `block` x `block` pixels, one every `stride` pixels, so that each window
/// is a square of `taps` x `taps` neighboring blocks:
///
/// ```text
/// block = stride   kernel 4, stride 2: 2 x 2 blocks of 2 x 2 pixels (space to depth; nothing is stored twice)
/// block = kernel   one block a window, overlapping its neighbors (im2col)
/// ```
///
/// The first kind moves the least memory; the second serves images with so few channels that a block of the first kind would
/// make only a sliver of a matrix. Blocks `(rows, columns, N, block·block·C)` and grid `(H', W', N, C)` both have the batch
/// inside, so that a row of either is one matrix.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    window: Window,
    /// Height, width and channels of the image.
    pub image: (usize, usize, usize),
    /// Height, width and channels of the grid.
    pub grid: (usize, usize, usize),
    block: usize,
    /// Blocks along one side of a window.
    pub taps: usize,
}

/// Least values in a block of the first kind.
const SMALLEST_BLOCK: usize = 16;

impl Geometry {
    /// The geometry of `window` between an image and a grid, each (height, width, channels).
    pub fn new(window: Window, image: (usize, usize, usize), grid: (usize, usize, usize)) -> Self {
        let Window { kernel, stride, .. } = window;
        let (block, taps) =
            if stride * stride * image.2 >= SMALLEST_BLOCK { (stride, kernel.div_ceil(stride)) } else { (kernel, 1) };
        Self { window, image, grid, block, taps }
    }

    /// The geometry of a convolution of images `(height, width, channels)` to `out` channels.
    pub fn of_convolution(window: Window, image: (usize, usize, usize), out: usize) -> Result<Self> {
        Ok(Self::new(window, image, (window.cells(image.0)?, window.cells(image.1)?, out)))
    }

    /// The geometry of a transposed convolution of `grid` (height, width, channels) to images of `out` channels.
    pub fn of_transposed_convolution(window: Window, grid: (usize, usize, usize), out: usize) -> Result<Self> {
        Ok(Self::new(window, (window.pixels(grid.0)?, window.pixels(grid.1)?, out), grid))
    }

    /// Rows and columns of blocks.
    pub fn blocks(&self) -> (usize, usize) {
        (self.grid.0 + self.taps - 1, self.grid.1 + self.taps - 1)
    }

    /// Values in one block.
    pub fn block_size(&self) -> usize {
        self.block * self.block * self.image.2
    }

    /// Values in all blocks of one image.
    pub fn blocks_size(&self) -> usize {
        self.blocks().0 * self.blocks().1 * self.block_size()
    }

    /// Values in the kernel's matrices, `taps·taps` of (block, grid channels); at least as many as in the kernel.
    pub fn weight_size(&self) -> usize {
        self.taps * self.taps * self.block_size() * self.grid.2
    }

    /// The pixel at `within` pixels from the start of block `index` along an axis of `pixels` pixels; none in the padding.
    fn pixel(&self, index: usize, within: usize, pixels: usize) -> Option<usize> {
        (index * self.window.stride + within).checked_sub(self.window.padding).filter(|&p| p < pixels)
    }

    /// Cuts `images (H, W, N, C)` into `blocks`; what lies outside the image is zero.
    pub fn gather(&self, n: usize, images: &[f32], blocks: &mut [f32]) {
        let (height, width, channels) = self.image;
        let (columns, size) = (self.blocks().1, self.block_size());
        blocks.par_chunks_mut(columns * n * size).enumerate().for_each(|(row, blocks)| {
            for (column, blocks) in blocks.chunks_exact_mut(n * size).enumerate() {
                for (by, bx) in (0..self.block).flat_map(|by| (0..self.block).map(move |bx| (by, bx))) {
                    let place = (by * self.block + bx) * channels;
                    let places = blocks.chunks_exact_mut(size).map(|block| &mut block[place..place + channels]);
                    match (self.pixel(row, by, height), self.pixel(column, bx, width)) {
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
                for (row, by) in self.owners(y, rows) {
                    for (column, bx) in self.owners(x, columns) {
                        let place = (by * self.block + bx) * channels;
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
    fn owners(&self, p: usize, count: usize) -> impl Iterator<Item = (usize, usize)> {
        let at = p + self.window.padding;
        let (block, stride) = (self.block, self.window.stride);
        let first = (at + 1).saturating_sub(block).div_ceil(stride);
        (first..count.min(at / stride + 1)).map(move |index| (index, at - index * stride))
    }

    /// For each place of the kernel, row by row: its tap, and where its channels start in that tap's block.
    pub fn kernel_places(&self) -> Vec<(usize, usize)> {
        let (kernel, channels) = (self.window.kernel, self.image.2);
        // With a single tap, the block is the kernel or larger.
        let step = if self.taps == 1 { self.block } else { self.window.stride };
        let place = |ky: usize, kx: usize| {
            let tap = (ky / step) * self.taps + kx / step;
            (tap, ((ky % step) * self.block + kx % step) * channels)
        };
        (0..kernel).flat_map(|ky| (0..kernel).map(move |kx| (ky, kx))).map(|(ky, kx)| place(ky, kx)).collect()
    }
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
