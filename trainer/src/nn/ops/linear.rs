//! Fully connected layer and its gradients.
//!
//! Features lie with the batch inside, `(features, N)`: so neither the weight nor its transpose has to be rearranged for a product.

use super::{
    activation::{self, Epilogue},
    gemm::{Matrix, Output, matmul_parallel},
};

/// y = activation(W·x + b): `x (in, N)`, `weight (out, in)` to `y (out, N)`.
pub fn forward(n: usize, x: &[f32], weight: &[f32], y: &mut [f32], epilogue: Epilogue) {
    let (weight, x) = (Matrix::new(weight, x.len() / n), Matrix::new(x, n));
    matmul_parallel(y, weight, x, Output::Overwrite, |first, rows| activation::finish_rows(epilogue, n, first, rows));
}

/// dx `(in, N)` = Wᵀ·g, for the gradient `g (out, N)` before the activation.
pub fn input_gradient(n: usize, g: &[f32], weight: &[f32], dx: &mut [f32]) {
    let (weight, g) = (Matrix::new(weight, dx.len() / n), Matrix::new(g, n));
    matmul_parallel(dx, weight.t(), g, Output::Overwrite, |_, _| ());
}

/// dW `(out, in)` = g·xᵀ, written to `gradient` or added to it.
pub fn weight_gradient(n: usize, g: &[f32], x: &[f32], gradient: &mut [f32], output: Output) {
    matmul_parallel(gradient, Matrix::new(g, n), Matrix::new(x, n).t(), output, |_, _| ());
}
