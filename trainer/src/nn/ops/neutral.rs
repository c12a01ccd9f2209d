//! The layers out of candle's operations and three of our own: for devices without fused ones, and the reference of those.
//!
//! A convolution is one matrix product with the image's windows ([`Patches`]) on one side of it, then bias and activation
//! ([`bias_activation`]): three launches on a GPU.

use candle_core::{Error, Result, Tensor, Var};

use super::{
    Patches, bias_activation,
    product::{expand, project},
    window::places,
};
use crate::model::{Activation, Padding, Window};

/// Convolution, bias and activation: `x (N, H, W, C)`, `weight (out, C, k, k)`, `bias (out)` to `(N, H', W', out)`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, window: Window, activation: Activation) -> Result<Tensor> {
    activate(&to_grid(x, weight, window)?, bias, activation)
}

/// Transposed convolution, bias and activation: `x (N, H, W, C)`, `weight (C, out, k, k)`, `bias (out)` to `(N, H', W', out)`, with
/// `more` rows and columns below and to the right.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    (window, more): (Window, [usize; 2]),
    activation: Activation,
) -> Result<Tensor> {
    let (_, rows, columns, _) = x.dims4()?;
    let sides = window.pixels([rows, columns], more).map_err(Error::msg)?;
    activate(&to_image(x, weight, window, sides)?, bias, activation)
}

/// What a kernel `(A, B, k, k)` makes of the windows of an image `(N, H, W, B)`: a grid `(N, H', W', A)`.
fn to_grid(image: &Tensor, weight: &Tensor, window: Window) -> Result<Tensor> {
    let (n, height, width, channels) = image.dims4()?;
    let [rows, columns] = window.cells([height, width]).map_err(Error::msg)?;
    let patches = Patches { window, n, image: [height, width, channels], grid: [rows, columns] };
    project(&patches.gather(image)?, &weight.flatten_from(1)?)?.reshape((n, rows, columns, weight.dim(0)?))
}

/// The adjoint of [`to_grid`], an image `(N, height, width, B)` from a grid `(N, H', W', A)`.
fn to_image(grid: &Tensor, weight: &Tensor, window: Window, [height, width]: [usize; 2]) -> Result<Tensor> {
    let (n, rows, columns, inputs) = grid.dims4()?;
    let patches = expand(&grid.reshape(((), inputs))?, &weight.flatten_from(1)?)?;
    Patches { window, n, image: [height, width, weight.dim(1)?], grid: [rows, columns] }.scatter(&patches)
}

/// `x` with `before` zeros before its `axis`, and as many after, or values less, as make it `size` long.
fn fit(x: &Tensor, axis: usize, before: usize, size: usize) -> Result<Tensor> {
    let long = before + x.dim(axis)?;
    x.pad_with_zeros(axis, before, size.saturating_sub(long))?.narrow(axis, 0, size)
}

/// Matrix product, bias and activation: `x (N, in)`, `weight (out, in)`, `bias (out)` to `(N, out)`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    activate(&project(x, weight)?, bias, activation)
}

/// The greatest value of each window: `x (N, H, W, C)` to `(N, H', W', C)`. The first of equal ones gets the gradient; NaN wins.
pub fn max_pool(x: &Tensor, window: Window) -> Result<Tensor> {
    let (n, height, width, channels) = x.dims4()?;
    let [rows, columns] = window.cells([height, width]).map_err(Error::msg)?;
    let x = border(x, window.padding)?;
    let (_, height, width, _) = x.dims4()?;
    let [sy, sx] = window.stride;
    // Every place of a window is a view of the image that starts there and takes each stride-th pixel.
    let place = |y: usize, x0: usize| {
        fit(&fit(&x.narrow(1, y, height - y)?, 1, 0, rows * sy)?.narrow(2, x0, width - x0)?, 2, 0, columns * sx)?
            .reshape(&[n, rows, sy, columns, sx, channels][..])?
            .narrow(2, 0, 1)?
            .narrow(4, 0, 1)?
            .contiguous()?
            .reshape((n, rows, columns, channels))
    };
    let mut greatest = place(0, 0)?;
    for (y, x) in places(window.kernel).skip(1) {
        let other = place(y, x)?;
        let wins = (other.gt(&greatest)? + other.ne(&other)?)?;
        greatest = wins.where_cond(&other, &greatest)?;
    }
    Ok(greatest)
}

/// `x (N, H, W, C)` with values around it that are less than any other.
fn border(x: &Tensor, padding: Padding) -> Result<Tensor> {
    let mut x = x.clone();
    for (axis, before, after) in [(1, padding.top, padding.bottom), (2, padding.left, padding.right)] {
        let least = |size: usize| {
            let mut shape = x.dims().to_vec();
            shape[axis] = size;
            Tensor::full(f32::NEG_INFINITY, shape, x.device())?.to_dtype(x.dtype())
        };
        if before + after > 0 {
            x = Tensor::cat(&[&least(before)?, &x, &least(after)?], axis)?;
        }
    }
    Ok(x)
}

/// Each pixel to `factor` rows and columns of pixels: `x (N, H, W, C)` to `(N, H', W', C)`.
pub fn upsample_nearest(x: &Tensor, [vertical, horizontal]: [usize; 2]) -> Result<Tensor> {
    let (n, height, width, channels) = x.dims4()?;
    x.reshape((n, height, 1, width, 1, channels))?
        .broadcast_as((n, height, vertical, width, horizontal, channels))?
        .contiguous()?
        .reshape((n, height * vertical, width * horizontal, channels))
}

/// See [`super::bernoulli_nll`].
pub fn bernoulli_nll(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let log_term = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    ((logits.relu()? - logits.mul(targets)?)? + log_term)?.flatten_from(1)?.sum(1)
}

/// m = β₁m + (1 - β₁)g, v = β₂v + (1 - β₂)g², p -= rate·m / (√v + ε): a step of [`super::adam`].
pub fn adam_update(
    parameter: &Var,
    m: &Var,
    v: &Var,
    gradient: &Tensor,
    (beta1, beta2): (f64, f64),
    (rate, epsilon): (f64, f64),
) -> Result<()> {
    m.set(&((m.as_tensor() * beta1)? + (gradient * (1.0 - beta1))?)?)?;
    v.set(&((v.as_tensor() * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?)?;
    let change = (m.as_tensor() / (v.sqrt()? + epsilon)?)?;
    parameter.set(&(parameter.as_tensor() - (change * rate)?)?)
}

/// The gradient of [`conv2d`] without activation for an input of `height` x `width`, from the one for its output.
pub fn conv2d_input_gradient(
    g: &Tensor,
    weight: &Tensor,
    window: Window,
    (height, width): (usize, usize),
) -> Result<Tensor> {
    to_image(g, weight, window, [height, width])
}

/// The gradient of [`conv_transpose2d`] without activation for its input, from the one for its output.
pub fn conv_transpose2d_input_gradient(g: &Tensor, weight: &Tensor, window: Window) -> Result<Tensor> {
    to_grid(g, weight, window)
}

/// The gradient of [`linear`] without activation for its input, from the one for its output.
pub fn linear_input_gradient(g: &Tensor, weight: &Tensor) -> Result<Tensor> {
    expand(g, weight)
}

/// φ(x + bias). NaN stays NaN.
fn activate(x: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    let x = bias_activation(x, bias, activation.negative_slope().unwrap_or(1.0))?;
    match activation {
        Activation::Identity | Activation::Relu | Activation::LeakyRelu(_) => Ok(x),
        Activation::Elu(alpha) => x.elu(f64::from(alpha)),
        Activation::Tanh => x.tanh(),
        Activation::Sigmoid => candle_nn::ops::sigmoid(&x),
        // max(x, 0) + ln(1 + e^-|x|), which does not overflow.
        Activation::Softplus => x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?,
        Activation::HardSigmoid { alpha, beta } => x.affine(alpha.into(), beta.into())?.clamp(0_f32, 1_f32),
        Activation::Clip { min, max } => x.clamp(min, max),
    }
}

/// The slopes, 1 or `negative`, of a piecewise linear activation with inputs `x`, or outputs, whose signs are the same. The slope at
/// 0 is that for negative inputs, as in the fused layers and in PyTorch; candle's own relu has 1 there.
pub fn slopes(x: &Tensor, negative: f32) -> Result<Tensor> {
    let negative = f64::from(negative);
    Ok(x.gt(0.0)?.to_dtype(x.dtype())?.affine(1.0 - negative, negative)?.detach())
}
