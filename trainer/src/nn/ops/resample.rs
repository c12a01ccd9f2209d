//! Max-pooling and nearest upsampling, forward and backward, on images `(H, W, N, C)`; neither has weights.
//!
//! A pixel of all images, N·C values, is one run of memory; windows and factors only say which run goes where.

use candle_core::{Error, Result, bail};
use rayon::prelude::*;

use super::{vectorized, window::places};
use crate::model::Window;

/// Max-pooling of images of a certain height and width.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool {
    window: Window,
    /// Height and width of the image.
    image: [usize; 2],
    /// Height and width of the output.
    pub grid: [usize; 2],
}

impl MaxPool {
    /// `window` on images (height, width), beyond whose borders no value counts.
    ///
    /// # Errors
    /// No window fits.
    pub fn new(window: Window, image: [usize; 2]) -> Result<Self> {
        Ok(Self { window, image, grid: window.cells(image).map_err(Error::msg)? })
    }

    /// The greatest value of each window to `y`, and to `winners` the place in its window, row by row, where it stands first;
    /// `run` is N·C. NaN counts as the greatest: it has to reach the loss to stop the run.
    pub fn forward(&self, run: usize, x: &[f32], y: &mut [f32], winners: &mut [f32]) {
        let line = self.grid[1] * run;
        let lines = y.par_chunks_mut(line).zip(winners.par_chunks_mut(line)).enumerate();
        lines.for_each(|(row, (y, winners))| {
            for (column, (y, winners)) in y.chunks_exact_mut(run).zip(winners.chunks_exact_mut(run)).enumerate() {
                let mut first = true;
                for (place, within) in places(self.window.kernel).enumerate() {
                    let Some(pixel) = self.pixel((row, column), within) else { continue };
                    let x = &x[pixel * run..][..run];
                    if first {
                        y.copy_from_slice(x);
                        winners.fill(place as f32);
                    } else {
                        vectorized(|| keep_greater(place as f32, x, y, winners));
                    }
                    first = false;
                }
            }
        });
    }

    /// The pixel, row by row, at a place of the window of a cell, unless that lies beyond the image.
    fn pixel(&self, (row, column): (usize, usize), (y, x): (usize, usize)) -> Option<usize> {
        let Window { stride, padding, .. } = self.window;
        let y = (row * stride[0] + y).checked_sub(padding.top).filter(|&y| y < self.image[0])?;
        let x = (column * stride[1] + x).checked_sub(padding.left).filter(|&x| x < self.image[1])?;
        Some(y * self.image[1] + x)
    }

    /// The gradient for the input, `dx`, from `g`, the one for the output: a window's goes to its winner.
    pub fn backward(&self, run: usize, winners: &[f32], g: &[f32], dx: &mut [f32]) {
        let [rows, columns] = self.grid;
        dx.par_chunks_mut(self.image[1] * run).enumerate().for_each(|(row, dx)| {
            for (column, dx) in dx.chunks_exact_mut(run).enumerate() {
                dx.fill(0.0);
                for (cell_row, y) in self.owners(0, row, rows) {
                    for (cell_column, x) in self.owners(1, column, columns) {
                        let cell = (cell_row * columns + cell_column) * run..;
                        let (winners, g) = (&winners[cell.clone()][..run], &g[cell][..run]);
                        vectorized(|| add_where((y * self.window.kernel[1] + x) as f32, winners, g, dx));
                    }
                }
            }
        });
        debug_assert_eq!(dx.len(), self.image[0] * self.image[1] * run);
    }

    /// The windows along an axis of `count` windows that see pixel `p`, each with the pixel's place in it.
    fn owners(&self, axis: usize, p: usize, count: usize) -> impl Iterator<Item = (usize, usize)> {
        let Window { kernel, stride, padding } = self.window;
        let (kernel, stride, at) = (kernel[axis], stride[axis], p + padding.before()[axis]);
        let first = (at + 1).saturating_sub(kernel).div_ceil(stride);
        (first..count.min(at / stride + 1)).map(move |cell| (cell, at - cell * stride))
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
    factor: [usize; 2],
    /// Width of the image.
    width: usize,
}

impl Upsample {
    /// Each pixel of images of `width` columns to `factor` rows and columns of pixels.
    ///
    /// # Errors
    /// A factor is 0.
    pub fn new(factor: [usize; 2], width: usize) -> Result<Self> {
        if factor.contains(&0) {
            bail!("upsampling by 0");
        }
        Ok(Self { factor, width })
    }

    /// Repeats rows and columns; `run` is N·C.
    pub fn forward(&self, run: usize, x: &[f32], y: &mut [f32]) {
        let [vertical, horizontal] = self.factor;
        y.par_chunks_mut(self.width * horizontal * run).enumerate().for_each(|(row, y)| {
            let x = &x[row / vertical * self.width * run..];
            for (column, y) in y.chunks_exact_mut(run).enumerate() {
                y.copy_from_slice(&x[column / horizontal * run..][..run]);
            }
        });
    }

    /// The gradient for the input, `dx`, from `g`, the one for the output: the sum over each pixel's copies.
    pub fn backward(&self, run: usize, g: &[f32], dx: &mut [f32]) {
        let [vertical, horizontal] = self.factor;
        let line = self.width * horizontal;
        dx.par_chunks_mut(self.width * run).enumerate().for_each(|(row, dx)| {
            for (column, dx) in dx.chunks_exact_mut(run).enumerate() {
                dx.fill(0.0);
                for (y, x) in places(self.factor) {
                    let pixel = (row * vertical + y) * line + column * horizontal + x;
                    let g = &g[pixel * run..][..run];
                    vectorized(|| dx.iter_mut().zip(g).for_each(|(sum, g)| *sum += g));
                }
            }
        });
    }
}
