//! Fully connected layer, `y = activation(x·weightᵀ + bias)`, and its gradients.

use super::{
    activation::{self, Epilogue},
    gemm::{Matrix, Output, matmul_parallel},
};

/// `x (N, in)`, `weight (out, in)` to `y (N, out)`.
pub fn forward(features: usize, x: &[f32], weight: &[f32], y: &mut [f32], epilogue: Epilogue) {
    matmul_parallel(y, Matrix::new(x, features), Matrix::new(weight, features).t(), Output::Overwrite);
    activation::finish(epilogue, y);
}

/// dx `(N, in)` = g·weight, for the gradient `g (N, out)` before the activation.
pub fn input_gradient(features: usize, outputs: usize, g: &[f32], weight: &[f32], dx: &mut [f32]) {
    matmul_parallel(dx, Matrix::new(g, outputs), Matrix::new(weight, features), Output::Overwrite);
}

/// dW `(out, in)` = gᵀ·x, written to `gradient` or added to it.
pub fn weight_gradient(features: usize, outputs: usize, g: &[f32], x: &[f32], gradient: &mut [f32], output: Output) {
    matmul_parallel(gradient, Matrix::new(g, outputs).t(), Matrix::new(x, features), output);
}
