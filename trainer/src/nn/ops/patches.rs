//! An image's windows as the rows of a matrix, and back: what makes a convolution one matrix product on any device.
//!
//! A convolution is the product of [`Patches::gather`] and the kernel, a transposed one is [`Patches::scatter`] of the product of
//! image and kernel; each is the other's gradient. A patch has its values in the order of a PyTorch kernel, `(C, kernel H,
//! kernel W)`, so that no kernel is rearranged. On a GPU each is one launch; the loops for the CPU are the reference.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, WithDType};

use super::contiguous;
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
        image.contiguous()?.apply_op1(Gather(self))
    }

    /// The adjoint of [`Self::gather`]: each pixel of the image `(N, H, W, C)` is the sum of what `patches` have for it.
    pub fn scatter(self, patches: &Tensor) -> Result<Tensor> {
        patches.contiguous()?.apply_op1(Scatter(self))
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

    fn gathered<T: WithDType>(&self, image: &[T]) -> Vec<T> {
        let mut patches = vec![T::zero(); self.patches_shape().elem_count()];
        self.each(|patch, pixel| patches[patch] = image[pixel]);
        patches
    }

    fn scattered<T: WithDType>(&self, patches: &[T]) -> Vec<T> {
        let mut image = vec![T::zero(); self.image_shape().elem_count()];
        self.each(|patch, pixel| image[pixel] += patches[patch]);
        image
    }

    /// What a kernel on a GPU is told.
    #[cfg(feature = "cuda")]
    fn numbers(&self) -> [usize; 11] {
        let ([height, width, channels], [rows, columns]) = (self.image, self.grid);
        let Window { kernel: [kernel_y, kernel_x], stride: [stride_y, stride_x], padding } = self.window;
        let (top, left) = (padding.top, padding.left);
        [height, width, channels, rows, columns, kernel_y, kernel_x, stride_y, stride_x, top, left]
    }
}

struct Gather(Patches);

impl CustomOp1 for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(match storage {
            CpuStorage::F64(_) => {
                (CpuStorage::F64(self.0.gathered(contiguous(storage, layout)?)), self.0.patches_shape())
            }
            _ => (CpuStorage::F32(self.0.gathered(contiguous(storage, layout)?)), self.0.patches_shape()),
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let shape = self.0.patches_shape();
        Ok((super::cuda::map("gather", shape.elem_count(), [(storage, layout)], &self.0.numbers(), &[])?, shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.0.scatter(gradient).map(Some)
    }
}

struct Scatter(Patches);

impl CustomOp1 for Scatter {
    fn name(&self) -> &'static str {
        "scatter"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok(match storage {
            CpuStorage::F64(_) => {
                (CpuStorage::F64(self.0.scattered(contiguous(storage, layout)?)), self.0.image_shape())
            }
            _ => (CpuStorage::F32(self.0.scattered(contiguous(storage, layout)?)), self.0.image_shape()),
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        storage: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        let shape = self.0.image_shape();
        Ok((super::cuda::map("scatter", shape.elem_count(), [(storage, layout)], &self.0.numbers(), &[])?, shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        self.0.gather(gradient).map(Some)
    }
}
