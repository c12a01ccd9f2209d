//! Between `(N, H, W, C)` and `(N, features)`, as batches come and go, and `(H, W, N, C)` and `(features, N)`, as they are computed
//! with.

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

/// `(A, B)` to `(B, A)`, for few values.
pub fn transpose(a: usize, from: &[f32], to: &mut [f32]) {
    swap_outer(a, 1, from, to);
}

/// `(H·W, N, C)` to `(C·H·W, N)`: features in PyTorch's order.
pub fn flatten(n: usize, channels: usize, from: &[f32], to: &mut [f32]) {
    let pixels = from.len() / (n * channels);
    to.par_chunks_mut(pixels * n).enumerate().for_each(|(channel, to)| {
        for (p, to) in to.chunks_exact_mut(n).enumerate() {
            to.iter_mut().enumerate().for_each(|(i, to)| *to = from[(p * n + i) * channels + channel]);
        }
    });
}

/// The inverse of [`flatten`].
pub fn unflatten(n: usize, channels: usize, from: &[f32], to: &mut [f32]) {
    let pixels = from.len() / (n * channels);
    to.par_chunks_mut(n * channels).enumerate().for_each(|(p, to)| {
        for (i, to) in to.chunks_exact_mut(channels).enumerate() {
            to.iter_mut().enumerate().for_each(|(c, to)| *to = from[(c * pixels + p) * n + i]);
        }
    });
}
