//! Convolution and transposed convolution as matrix products of whole rows, without a copy of the windows.
//!
//! The image is cut into blocks so that a window is a rectangle of `taps` of them ([`Geometry`]). With a matrix `W[t]` (block, grid
//! channels) for each tap t, and `blocks[p + t]` the block t further than p, both directions and the gradient are sums over taps:
//!
//! ```text
//! to_grid           grid[p]   = Σ_t blocks[p + t] · W[t]       convolution; input gradient of the transposed one
//! to_blocks         blocks[p] = Σ_t grid[p - t] · W[t]ᵀ        transposed convolution; input gradient of the convolution
//! weight_gradient   dW[t]     = Σ_p blocks[p + t]ᵀ · grid[p]   of both
//! ```
//!
//! PyTorch's weights are `(grid C, image C, kernel, kernel)` for both. The slow reference is [`super::neutral`].

use rayon::prelude::*;

use super::{
    activation::{self, Epilogue},
    batch_parts,
    buffers::Buffers,
    gemm::{Matrix, Output, matmul},
    window::Geometry,
};

/// Rows of a matrix product that keep its operands in a core's cache.
const PRODUCT_ROWS: usize = 1024;

/// The greatest divisor of `cells` of which `n` rows each make at most [`PRODUCT_ROWS`] rows, but at least one cell.
fn cells_together(cells: usize, n: usize) -> usize {
    (1..=cells).rev().find(|&c| cells.is_multiple_of(c) && c * n <= PRODUCT_ROWS).unwrap_or(1)
}

/// `W[t]` `(block, grid C)` for each tap of a kernel `(grid C, image C, kernel H, kernel W)`: what [`to_grid`] takes.
pub fn pack(geometry: &Geometry, kernel: &[f32], packed: &mut [f32]) {
    let (size, out) = (geometry.block_size(), geometry.grid.2);
    packed.fill(0.0);
    for_each_weight(geometry, |tap, place, channel, i| packed[(tap * size + place) * out + channel] = kernel[i]);
}

/// `W[t]ᵀ` `(grid C, block)` for each tap of a kernel `(grid C, image C, kernel H, kernel W)`: what [`to_blocks`] takes.
pub fn pack_transposed(geometry: &Geometry, kernel: &[f32], packed: &mut [f32]) {
    let (size, out) = (geometry.block_size(), geometry.grid.2);
    packed.fill(0.0);
    for_each_weight(geometry, |tap, place, channel, i| packed[(tap * out + channel) * size + place] = kernel[i]);
}

/// Calls `visit(tap, place in the block, grid channel, index in the kernel)` for each weight.
fn for_each_weight(geometry: &Geometry, mut visit: impl FnMut(usize, usize, usize, usize)) {
    let places = geometry.kernel_places();
    let channels = geometry.image.2;
    for out in 0..geometry.grid.2 {
        for channel in 0..channels {
            for (k, &(tap, place)) in places.iter().enumerate() {
                visit(tap, place + channel, out, (out * channels + channel) * places.len() + k);
            }
        }
    }
}

/// `grid (H', W', N, C)` of `blocks`, with `weight` from [`pack`].
pub fn to_grid(geometry: &Geometry, n: usize, blocks: &[f32], weight: &[f32], grid: &mut [f32], epilogue: Epilogue) {
    let ((_, width, out), size, taps) = (geometry.grid, geometry.block_size(), geometry.taps);
    let columns = geometry.blocks().1;
    let together = cells_together(width, n);
    grid.par_chunks_mut(together * n * out).enumerate().for_each(|(chunk, grid)| {
        let (y, x) = (chunk * together / width, chunk * together % width);
        for (tap, weight) in weight.chunks_exact(size * out).enumerate() {
            let block = (y + tap / taps[1]) * columns + x + tap % taps[1];
            let blocks = &blocks[block * n * size..(block + together) * n * size];
            let output = if tap == 0 { Output::Overwrite } else { Output::Add };
            matmul(grid, Matrix::new(blocks, size), Matrix::new(weight, out), output);
        }
        activation::finish(epilogue, grid);
    });
}

/// `blocks` of `grid (H', W', N, C)`, with `weight` from [`pack_transposed`].
pub fn to_blocks(geometry: &Geometry, n: usize, grid: &[f32], weight: &[f32], blocks: &mut [f32]) {
    let ((height, width, out), size, taps) = (geometry.grid, geometry.block_size(), geometry.taps);
    let columns = geometry.blocks().1;
    let together = cells_together(columns, n);
    let several = taps != [1; 2];
    blocks.par_chunks_mut(together * n * size).enumerate().for_each(|(chunk, blocks)| {
        let (y, x) = (chunk * together / columns, chunk * together % columns);
        if several {
            blocks.fill(0.0);
        }
        for (tap, weight) in weight.chunks_exact(size * out).enumerate() {
            let (ty, tx) = (tap / taps[1], tap % taps[1]);
            // Cells of this row that exist.
            let (first, last) = (x.max(tx), (x + together).min(width + tx));
            if y < ty || y - ty >= height || first >= last {
                continue;
            }
            let cell = (y - ty) * width + first - tx;
            let grid = &grid[cell * n * out..(cell + last - first) * n * out];
            let blocks = &mut blocks[(first - x) * n * size..(last - x) * n * size];
            let output = if several { Output::Add } else { Output::Overwrite };
            matmul(blocks, Matrix::new(grid, out), Matrix::new(weight, size), output);
        }
    });
}

/// The gradient of a kernel `(grid C, image C, kernel H, kernel W)`, from the blocks of the image's side and the grid's side; written to
/// `gradient` or added to it.
pub fn weight_gradient(
    geometry: &Geometry,
    n: usize,
    blocks: &[f32],
    grid: &[f32],
    gradient: &mut [f32],
    output: Output,
    buffers: &Buffers,
) {
    let ((height, width, out), size, taps) = (geometry.grid, geometry.block_size(), geometry.taps);
    let (columns, line) = (geometry.blocks().1, width * n * out);
    // A fixed number of parts, added up in order: the sum does not depend on the number of threads.
    let lines = height.div_ceil(batch_parts(height));
    let mut parts = buffers.take(height.div_ceil(lines) * geometry.weight_size());
    parts.par_chunks_mut(geometry.weight_size()).zip(grid.par_chunks(lines * line)).enumerate().for_each(
        |(part, (sum, grid))| {
            for (i, grid) in grid.chunks_exact(line).enumerate() {
                let y = part * lines + i;
                for (tap, sum) in sum.chunks_exact_mut(size * out).enumerate() {
                    let block = (y + tap / taps[1]) * columns + tap % taps[1];
                    let blocks = &blocks[block * n * size..(block + width) * n * size];
                    let output = if i == 0 { Output::Overwrite } else { Output::Add };
                    matmul(sum, Matrix::new(blocks, size).t(), Matrix::new(grid, out), output);
                }
            }
        },
    );
    let mut sum = buffers.take(geometry.weight_size());
    super::sum_parts(&parts, &mut sum);
    for_each_weight(geometry, |tap, place, channel, i| {
        let value = sum[(tap * size + place) * out + channel];
        gradient[i] = if output == Output::Add { gradient[i] + value } else { value };
    });
}
