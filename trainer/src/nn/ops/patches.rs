//! An image's windows as the rows of a matrix, and back: what makes a convolution one matrix product on any device.
//!
//! A convolution is the product of [`Patches::gather`] and the kernel, a transposed one is [`Patches::scatter`] of the product of
//! image and kernel; each is the other's gradient. A patch has its values in the order of a PyTorch kernel, `(C, kernel H,
//! kernel W)`, so that no kernel is rearranged. On a GPU each is one launch; the loops for the CPU are the reference.

use candle_core::{Result, Shape, Tensor, WithDType};

use super::operation::{Operation, apply1};
use crate::model::Window;

/// Which pixel of which image each value of each window is.
#[derive(Debug, Clone, Copy)]
pub struct Patches {
    /// The window.
    pub window: Window,
    /// How many images.
    pub n: usize,
    /// Height, width and channels of an image.
    pub image: [usize; 3],
    /// Rows and columns of windows.
    pub grid: [usize; 2],
}

impl Patches {
    /// The windows of `image (N, H, W, C)` as `(N·rows·columns, C·kernel H·kernel W)`, with zeros beyond its border.
    pub fn gather(self, image: &Tensor) -> Result<Tensor> {
        apply1(Move { patches: self, direction: Direction::Gather }, image)
    }

    /// The adjoint of [`Self::gather`]: each pixel of the image `(N, H, W, C)` is the sum of what `patches` have for it.
    pub fn scatter(self, patches: &Tensor) -> Result<Tensor> {
        apply1(Move { patches: self, direction: Direction::Scatter }, patches)
    }

    /// Values of a patch.
    fn patch_size(&self) -> usize {
        self.image[2] * self.window.kernel[0] * self.window.kernel[1]
    }

    fn patches_shape(&self) -> Shape {
        Shape::from((self.n * self.grid[0] * self.grid[1], self.patch_size()))
    }

    fn image_shape(&self) -> Shape {
        let [height, width, channels] = self.image;
        Shape::from((self.n, height, width, channels))
    }

    /// Calls `f` with the place of each value in the patches and in the images, for those that are no padding.
    fn each(&self, mut f: impl FnMut(usize, usize)) {
        let ([height, width, channels], [rows, columns]) = (self.image, self.grid);
        let Window { kernel: [kernel_y, kernel_x], stride: [stride_y, stride_x], padding } = self.window;
        let inside = |cell: usize, stride: usize, tap: usize, padding: usize, side: usize| {
            (cell * stride + tap).checked_sub(padding).filter(|&pixel| pixel < side)
        };
        let mut patch = 0;
        for image in 0..self.n {
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                for channel in 0..channels {
                    for (ky, kx) in (0..kernel_y).flat_map(|ky| (0..kernel_x).map(move |kx| (ky, kx))) {
                        let y = inside(row, stride_y, ky, padding.top, height);
                        let x = inside(column, stride_x, kx, padding.left, width);
                        if let (Some(y), Some(x)) = (y, x) {
                            f(patch, ((image * height + y) * width + x) * channels + channel);
                        }
                        patch += 1;
                    }
                }
            }
        }
    }
}

/// From images to patches, or back.
#[derive(Debug, Clone, Copy)]
enum Direction {
    Gather,
    Scatter,
}

struct Move {
    patches: Patches,
    direction: Direction,
}

impl Move {
    fn target(&self) -> Shape {
        match self.direction {
            Direction::Gather => self.patches.patches_shape(),
            Direction::Scatter => self.patches.image_shape(),
        }
    }
}

impl Operation<1> for Move {
    fn name(&self) -> &'static str {
        match self.direction {
            Direction::Gather => "gather",
            Direction::Scatter => "scatter",
        }
    }

    fn shape(&self, _: [&Shape; 1]) -> Shape {
        self.target()
    }

    fn values<T: WithDType>(&self, [from]: [&[T]; 1]) -> Vec<T> {
        let mut to = vec![T::zero(); self.target().elem_count()];
        self.patches.each(|patch, pixel| match self.direction {
            Direction::Gather => to[patch] = from[pixel],
            Direction::Scatter => to[pixel] += from[patch],
        });
        to
    }

    fn numbers(&self) -> Vec<usize> {
        let Patches { window, image, grid, .. } = self.patches;
        let border = [window.padding.top, window.padding.left];
        [&image[..], &grid, &window.kernel, &window.stride, &border].concat()
    }

    fn gradients(&self, _: [&Tensor; 1], _: &Tensor, g: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let of_x = match self.direction {
            Direction::Gather => self.patches.scatter(g),
            Direction::Scatter => self.patches.gather(g),
        };
        Ok([Some(of_x?)])
    }
}
