//! Between `(N, H, W, C)`, as images come and go, `(H, W, N, C)`, as they are computed with, and `(N, C·H·W)` features.

use rayon::prelude::*;

/// `(N, H·W, C)` to `(H·W, N, C)`.
pub fn batch_inside(n: usize, channels: usize, from: &[f32], to: &mut [f32]) {
    swap_outer(n, channels, from, to);
}

/// `(H·W, N, C)` to `(N, H·W, C)`.
pub fn batch_outside(n: usize, channels: usize, from: &[f32], to: &mut [f32]) {
    swap_outer(from.len() / (n * channels), channels, from, to);
}

/// `(A, B, C)` to `(B, A, C)`.
fn swap_outer(a: usize, c: usize, from: &[f32], to: &mut [f32]) {
    let b = from.len() / (a * c);
    to.par_chunks_mut(a * c).enumerate().for_each(|(j, to)| {
        for (i, to) in to.chunks_exact_mut(c).enumerate() {
            to.copy_from_slice(&from[(i * b + j) * c..][..c]);
        }
    });
}

/// `(H·W, N, C)` to `(N, C·H·W)`: features in PyTorch's order.
pub fn flatten(n: usize, channels: usize, from: &[f32], to: &mut [f32]) {
    let pixels = from.len() / (n * channels);
    to.par_chunks_mut(channels * pixels).enumerate().for_each(|(image, to)| {
        for (channel, to) in to.chunks_exact_mut(pixels).enumerate() {
            to.iter_mut().enumerate().for_each(|(p, to)| *to = from[(p * n + image) * channels + channel]);
        }
    });
}

/// The inverse of [`flatten`].
pub fn unflatten(n: usize, channels: usize, from: &[f32], to: &mut [f32]) {
    let pixels = from.len() / (n * channels);
    to.par_chunks_mut(n * channels).enumerate().for_each(|(p, to)| {
        for (image, to) in to.chunks_exact_mut(channels).enumerate() {
            to.iter_mut().enumerate().for_each(|(c, to)| *to = from[(image * channels + c) * pixels + p]);
        }
    });
}
