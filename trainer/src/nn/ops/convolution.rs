//! Convolution and transposed convolution as matrix products, one image at a time so that its patches stay in the cache.
//!
//! Both connect an image with a grid of window positions through one matrix W `(grid C, kernel·kernel·image C)`:
//!
//! ```text
//! convolution             grid  = gather(image)·Wᵀ      dW = d(grid)ᵀ·gather(image)
//! transposed convolution  image = scatter(grid·W)       dW = gridᵀ·gather(d(image))
//! ```
//!
//! and each one's input gradient is the other one's forward. So three products do everything: [`ToGrid`], [`ToImage`] and
//! [`WeightGradient`]. PyTorch's weights are `(grid C, image C, kernel, kernel)` for both.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{
    Window, activation, batch_parts, f32s,
    gemm::{Matrix, matmul},
    neutral,
    window::Geometry,
};
use crate::model::Activation;

/// Convolution, bias and activation: `x (N, H, W, C)`, `weight (out, C, k, k)`, `bias (out)` to `(N, H', W', out)`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, window: Window, activation: Activation) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return neutral::conv2d(x, weight, bias, window, activation);
    }
    let (_, height, width, channels) = x.dims4()?;
    let grid = (window.cells(height)?, window.cells(width)?, weight.dim(0)?);
    let geometry = Geometry { window, image: (height, width, channels), grid };
    x.contiguous()?.apply_op3(&to_matrix(weight)?, bias, Conv2d { geometry, activation })
}

/// Transposed convolution, bias and activation: `x (N, H, W, C)`, `weight (C, out, k, k)`, `bias (out)` to `(N, H', W', out)`.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    window: Window,
    activation: Activation,
) -> Result<Tensor> {
    if !x.device().is_cpu() {
        return neutral::conv_transpose2d(x, weight, bias, window, activation);
    }
    let (_, height, width, channels) = x.dims4()?;
    let image = (window.pixels(height)?, window.pixels(width)?, weight.dim(1)?);
    let geometry = Geometry { window, image, grid: (height, width, channels) };
    x.contiguous()?.apply_op3(&to_matrix(weight)?, bias, ConvTranspose2d { geometry, activation })
}

/// `(grid C, image C, k, k)` to W `(grid C, k·k·image C)`.
fn to_matrix(weight: &Tensor) -> Result<Tensor> {
    weight.permute((0, 2, 3, 1))?.flatten_from(1)?.contiguous()
}

struct Conv2d {
    geometry: Geometry,
    activation: Activation,
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        to_grid(&self.geometry, f32s(s1, l1)?, f32s(s2, l2)?, Some(f32s(s3, l3)?), self.activation)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = activation::gradient(self.activation, out, gradient)?;
        let dx = x.track_op().then(|| g.apply_op2_no_bwd(&w.detach(), &ToImage(self.geometry))).transpose()?;
        let dw = w.track_op().then(|| g.apply_op2_no_bwd(&x.detach(), &WeightGradient(self.geometry))).transpose()?;
        let db = b.track_op().then(|| column_sums(&g)).transpose()?;
        Ok((dx, dw, db))
    }
}

struct ConvTranspose2d {
    geometry: Geometry,
    activation: Activation,
}

impl CustomOp3 for ConvTranspose2d {
    fn name(&self) -> &'static str {
        "conv-transpose2d"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
        s3: &CpuStorage,
        l3: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        to_image(&self.geometry, f32s(s1, l1)?, f32s(s2, l2)?, Some(f32s(s3, l3)?), self.activation)
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        b: &Tensor,
        out: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let g = activation::gradient(self.activation, out, gradient)?;
        let dx = x.track_op().then(|| g.apply_op2_no_bwd(&w.detach(), &ToGrid(self.geometry))).transpose()?;
        let dw = w.track_op().then(|| x.detach().apply_op2_no_bwd(&g, &WeightGradient(self.geometry))).transpose()?;
        let db = b.track_op().then(|| column_sums(&g)).transpose()?;
        Ok((dx, dw, db))
    }
}

/// `image (N, H, W, C)`, W → grid.
struct ToGrid(Geometry);

impl CustomOp2 for ToGrid {
    fn name(&self) -> &'static str {
        "to-grid"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        to_grid(&self.0, f32s(s1, l1)?, f32s(s2, l2)?, None, Activation::Identity)
    }
}

fn to_grid(
    geometry: &Geometry,
    images: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
) -> Result<(CpuStorage, Shape)> {
    let (rows, columns, channels) = geometry.grid;
    let n = images.len() / geometry.image_size();
    let weight = Matrix::new(weight, channels, geometry.patch()).t();
    let mut grids = vec![0.0; n * geometry.grid_size()];
    grids.par_chunks_mut(geometry.grid_size()).zip(images.par_chunks(geometry.image_size())).for_each_init(
        || vec![0.0; geometry.cells() * geometry.patch()],
        |patches, (grid, image)| {
            geometry.gather(image, patches);
            start_from(bias, grid);
            let patches = Matrix::new(patches, geometry.cells(), geometry.patch());
            matmul(grid, patches, weight, bias.is_some(), 1);
            activation::apply(activation, grid);
        },
    );
    Ok((CpuStorage::F32(grids), Shape::from((n, rows, columns, channels))))
}

/// `grid (N, H', W', grid C)`, W → image.
struct ToImage(Geometry);

impl CustomOp2 for ToImage {
    fn name(&self) -> &'static str {
        "to-image"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        to_image(&self.0, f32s(s1, l1)?, f32s(s2, l2)?, None, Activation::Identity)
    }
}

fn to_image(
    geometry: &Geometry,
    grids: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    activation: Activation,
) -> Result<(CpuStorage, Shape)> {
    let (height, width, channels) = geometry.image;
    let n = grids.len() / geometry.grid_size();
    let weight = Matrix::new(weight, geometry.grid.2, geometry.patch());
    let mut images = vec![0.0; n * geometry.image_size()];
    images.par_chunks_mut(geometry.image_size()).zip(grids.par_chunks(geometry.grid_size())).for_each_init(
        || vec![0.0; geometry.cells() * geometry.patch()],
        |patches, (image, grid)| {
            matmul(patches, Matrix::new(grid, geometry.cells(), geometry.grid.2), weight, false, 1);
            start_from(bias, image);
            geometry.scatter_add(patches, image);
            activation::apply(activation, image);
        },
    );
    Ok((CpuStorage::F32(images), Shape::from((n, height, width, channels))))
}

/// Sets every pixel's channels to `bias`; without one, leaves the zeros.
fn start_from(bias: Option<&[f32]>, pixels: &mut [f32]) {
    if let Some(bias) = bias {
        pixels.chunks_exact_mut(bias.len()).for_each(|pixel| pixel.copy_from_slice(bias));
    }
}

/// `grid (N, H', W', grid C)`, `image (N, H, W, C)` → dW `(grid C, k·k·C)`, summed over the batch.
struct WeightGradient(Geometry);

impl CustomOp2 for WeightGradient {
    fn name(&self) -> &'static str {
        "weight-gradient"
    }

    fn cpu_fwd(&self, s1: &CpuStorage, l1: &Layout, s2: &CpuStorage, l2: &Layout) -> Result<(CpuStorage, Shape)> {
        let geometry = &self.0;
        let (grids, images) = (f32s(s1, l1)?, f32s(s2, l2)?);
        let (channels, patch) = (geometry.grid.2, geometry.patch());
        let n = grids.len() / geometry.grid_size();
        let part = n.div_ceil(batch_parts(n));
        let partial = |(grids, images): (&[f32], &[f32])| {
            let mut sum = vec![0.0; channels * patch];
            let mut patches = vec![0.0; geometry.cells() * patch];
            for (grid, image) in grids.chunks(geometry.grid_size()).zip(images.chunks(geometry.image_size())) {
                geometry.gather(image, &mut patches);
                let grid = Matrix::new(grid, geometry.cells(), channels).t();
                matmul(&mut sum, grid, Matrix::new(&patches, geometry.cells(), patch), true, 1);
            }
            sum
        };
        let partials: Vec<_> = grids
            .par_chunks(part * geometry.grid_size())
            .zip(images.par_chunks(part * geometry.image_size()))
            .map(partial)
            .collect();
        Ok((CpuStorage::F32(sum_of(partials, channels * patch)), Shape::from((channels, patch))))
    }
}

/// Sums over all dimensions but the last: the gradient of a bias.
pub fn column_sums(x: &Tensor) -> Result<Tensor> {
    x.apply_op1_no_bwd(&ColumnSums(x.dim(D::Minus1)?))
}

struct ColumnSums(usize);

impl CustomOp1 for ColumnSums {
    fn name(&self) -> &'static str {
        "column-sums"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = f32s(storage, layout)?;
        let rows = x.len() / self.0;
        let part = rows.div_ceil(batch_parts(rows)) * self.0;
        let partial = |rows: &[f32]| {
            let mut sum = vec![0.0; self.0];
            for row in rows.chunks_exact(self.0) {
                sum.iter_mut().zip(row).for_each(|(s, v)| *s += v);
            }
            sum
        };
        let partials: Vec<_> = x.par_chunks(part).map(partial).collect();
        Ok((CpuStorage::F32(sum_of(partials, self.0)), Shape::from(self.0)))
    }
}

/// Adds the parts up in their order.
fn sum_of(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    parts.into_iter().fold(vec![0.0; len], |mut total, part| {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        total
    })
}
