//! Max-pooling and nearest upsampling, forward and backward, on images `(H, W, N, C)`; neither has weights.
//!
//! A pixel of all images, N·C values, is one run of memory; windows and factors only say which run goes where.

use candle_core::{Result, bail};
use rayon::prelude::*;

use super::{Window, vectorized};

/// Max-pooling of images of a certain height and width.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool {
    window: Window,
    /// Height and width of the image.
    image: (usize, usize),
    /// Height and width of the output.
    pub grid: (usize, usize),
}

impl MaxPool {
    /// Windows of `kernel` x `kernel` pixels, one every `stride`, on images `(height, width)`.
    ///
    /// # Errors
    /// No window fits.
    pub fn new(kernel: usize, stride: usize, image: (usize, usize)) -> Result<Self> {
        let window = Window { kernel, stride, padding: 0 };
        Ok(Self { window, image, grid: (window.cells(image.0)?, window.cells(image.1)?) })
    }

    /// The greatest value of each window to `y`, and to `winners` the place in its window, row by row, where it stands first;
    /// `run` is N·C. NaN counts as the greatest: it has to reach the loss to stop the run.
    pub fn forward(&self, run: usize, x: &[f32], y: &mut [f32], winners: &mut [f32]) {
        let Window { kernel, stride, .. } = self.window;
        let line = self.grid.1 * run;
        let lines = y.par_chunks_mut(line).zip(winners.par_chunks_mut(line)).enumerate();
        lines.for_each(|(row, (y, winners))| {
            for (column, (y, winners)) in y.chunks_exact_mut(run).zip(winners.chunks_exact_mut(run)).enumerate() {
                for place in 0..kernel * kernel {
                    let pixel = (row * stride + place / kernel) * self.image.1 + column * stride + place % kernel;
                    let x = &x[pixel * run..][..run];
                    if place == 0 {
                        y.copy_from_slice(x);
                        winners.fill(0.0);
                    } else {
                        vectorized(|| keep_greater(place as f32, x, y, winners));
                    }
                }
            }
        });
    }

    /// The gradient for the input, `dx`, from `g`, the one for the output: a window's goes to its winner.
    pub fn backward(&self, run: usize, winners: &[f32], g: &[f32], dx: &mut [f32]) {
        let Window { kernel, stride, .. } = self.window;
        dx.par_chunks_mut(self.image.1 * run).enumerate().for_each(|(row, dx)| {
            for (column, dx) in dx.chunks_exact_mut(run).enumerate() {
                dx.fill(0.0);
                for (cell_row, y) in self.owners(row, self.grid.0) {
                    for (cell_column, x) in self.owners(column, self.grid.1) {
                        let cell = (cell_row * self.grid.1 + cell_column) * run..;
                        let (winners, g) = (&winners[cell.clone()][..run], &g[cell][..run]);
                        vectorized(|| add_where((y * kernel + x) as f32, winners, g, dx));
                    }
                }
            }
        });
        debug_assert_eq!(dx.len(), self.image.0 * self.image.1 * run, "stride {stride}");
    }

    /// The windows along an axis of `count` windows that see pixel `p`, each with the pixel's place in it.
    fn owners(&self, p: usize, count: usize) -> impl Iterator<Item = (usize, usize)> {
        let Window { kernel, stride, .. } = self.window;
        let first = (p + 1).saturating_sub(kernel).div_ceil(stride);
        (first..count.min(p / stride + 1)).map(move |cell| (cell, p - cell * stride))
    }
}

/// Replaces each value of `greatest` that `x` exceeds, and notes from which `place`.
#[inline(always)]
fn keep_greater(place: f32, x: &[f32], greatest: &mut [f32], winners: &mut [f32]) {
    for ((&x, greatest), winner) in x.iter().zip(greatest).zip(winners) {
        let wins = x > *greatest || x.is_nan();
        *greatest = if wins { x } else { *greatest };
        *winner = if wins { place } else { *winner };
    }
}

/// Adds `g` where `place` has won.
#[inline(always)]
fn add_where(place: f32, winners: &[f32], g: &[f32], sum: &mut [f32]) {
    for ((&winner, &g), sum) in winners.iter().zip(g).zip(sum) {
        *sum += if winner == place { g } else { 0.0 };
    }
}

/// Nearest upsampling of images of a certain width.
#[derive(Debug, Clone, Copy)]
pub struct Upsample {
    factor: usize,
    /// Width of the image.
    width: usize,
}

impl Upsample {
    /// Each pixel of images of `width` columns to `factor` x `factor` pixels.
    ///
    /// # Errors
    /// `factor` is 0.
    pub fn new(factor: usize, width: usize) -> Result<Self> {
        if factor == 0 {
            bail!("upsampling by 0");
        }
        Ok(Self { factor, width })
    }

    /// Repeats rows and columns; `run` is N·C.
    pub fn forward(&self, run: usize, x: &[f32], y: &mut [f32]) {
        y.par_chunks_mut(self.width * self.factor * run).enumerate().for_each(|(row, y)| {
            let x = &x[row / self.factor * self.width * run..];
            for (column, y) in y.chunks_exact_mut(run).enumerate() {
                y.copy_from_slice(&x[column / self.factor * run..][..run]);
            }
        });
    }

    /// The gradient for the input, `dx`, from `g`, the one for the output: the sum over each pixel's copies.
    pub fn backward(&self, run: usize, g: &[f32], dx: &mut [f32]) {
        let (factor, line) = (self.factor, self.width * self.factor);
        dx.par_chunks_mut(self.width * run).enumerate().for_each(|(row, dx)| {
            for (column, dx) in dx.chunks_exact_mut(run).enumerate() {
                dx.fill(0.0);
                for copy in 0..factor * factor {
                    let pixel = (row * factor + copy / factor) * line + column * factor + copy % factor;
                    let g = &g[pixel * run..][..run];
                    vectorized(|| dx.iter_mut().zip(g).for_each(|(sum, g)| *sum += g));
                }
            }
        });
    }
}
