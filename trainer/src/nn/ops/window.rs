//! The sliding window of a convolution: which pixels of an image each cell of its grid sees.

use candle_core::{Result, bail};

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

/// A [`Window`] over images of a certain size.
#[derive(Debug, Clone, Copy)]
pub struct Geometry {
    pub window: Window,
    /// Height, width and channels of the image.
    pub image: (usize, usize, usize),
    /// Height, width and channels of the grid.
    pub grid: (usize, usize, usize),
}

impl Window {
    /// Cells along one axis of a grid over `pixels` pixels.
    pub fn cells(&self, pixels: usize) -> Result<usize> {
        match (pixels + 2 * self.padding).checked_sub(self.kernel) {
            Some(room) if self.stride > 0 => Ok(room / self.stride + 1),
            _ => bail!("{self:?} does not fit {pixels} pixels"),
        }
    }

    /// Pixels along one axis of the image that a transposed convolution makes of `cells` cells.
    pub fn pixels(&self, cells: usize) -> Result<usize> {
        match (cells.max(1) * self.stride + self.kernel).checked_sub(self.stride + 2 * self.padding) {
            Some(pixels) if pixels > 0 && cells > 0 => Ok(pixels),
            _ => bail!("{self:?} makes no image of {cells} cells"),
        }
    }
}

impl Geometry {
    /// Values in one image.
    pub fn image_size(&self) -> usize {
        self.image.0 * self.image.1 * self.image.2
    }

    /// Cells in one grid.
    pub fn cells(&self) -> usize {
        self.grid.0 * self.grid.1
    }

    /// Values in one grid.
    pub fn grid_size(&self) -> usize {
        self.cells() * self.grid.2
    }

    /// Values in the window of one cell.
    pub fn patch(&self) -> usize {
        self.window.kernel * self.window.kernel * self.image.2
    }

    /// Calls `visit(patch offset, image offset, length)` for each run of values that lies inside both.
    fn for_each_run(&self, mut visit: impl FnMut(usize, usize, usize)) {
        let Window { kernel, stride, padding } = self.window;
        let (height, width, channels) = self.image;
        for cy in 0..self.grid.0 {
            for cx in 0..self.grid.1 {
                let patch = (cy * self.grid.1 + cx) * self.patch();
                let left = (cx * stride) as isize - padding as isize;
                let first = (-left).max(0) as usize;
                let last = kernel.min((width as isize - left).max(0) as usize);
                if first >= last {
                    continue;
                }
                for ky in 0..kernel {
                    let y = (cy * stride + ky).wrapping_sub(padding);
                    if y < height {
                        let x = (left + first as isize) as usize;
                        let run = (last - first) * channels;
                        visit(patch + (ky * kernel + first) * channels, (y * width + x) * channels, run);
                    }
                }
            }
        }
    }

    /// Copies what each cell's window sees: `image (H, W, C)` to `patches (cells, kernel, kernel, C)`, zero outside the image.
    pub fn gather(&self, image: &[f32], patches: &mut [f32]) {
        if self.window.padding > 0 {
            patches.fill(0.0);
        }
        self.for_each_run(|patch, pixel, run| {
            patches[patch..patch + run].copy_from_slice(&image[pixel..pixel + run]);
        });
    }

    /// The adjoint of [`Self::gather`]: adds each cell's patch to the pixels that its window sees.
    pub fn scatter_add(&self, patches: &[f32], image: &mut [f32]) {
        self.for_each_run(|patch, pixel, run| {
            for (to, from) in image[pixel..pixel + run].iter_mut().zip(&patches[patch..patch + run]) {
                *to += from;
            }
        });
    }
}
