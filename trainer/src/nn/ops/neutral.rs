//! The layers out of candle's operations: for devices without fused ones, and the reference of those.
//!
//! Convolutions are one matrix product each, with the taps of [`super::convolution`] side by side: a window of kernel k and stride s
//! is T x T blocks of s x s pixels, T = ⌈k / s⌉, the kernel filled up with zeros. No multiplication but those is wasted, and
//! there are few enough operations to keep a GPU busy.

use candle_core::{Result, Tensor, Var};

use super::Window;
use crate::model::Activation;

/// Convolution, bias and activation: `x (N, H, W, C)`, `weight (out, C, k, k)`, `bias (out)` to `(N, H', W', out)`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, window: Window, activation: Activation) -> Result<Tensor> {
    let (n, height, width, channels) = x.dims4()?;
    let (rows, columns) = (window.cells(height)?, window.cells(width)?);
    let (taps, stride) = (taps(window), window.stride);
    let x =
        fit(&fit(x, 1, window.padding, (rows + taps - 1) * stride)?, 2, window.padding, (columns + taps - 1) * stride)?;
    // Space to depth.
    let blocks = x
        .reshape(&[n, rows + taps - 1, stride, columns + taps - 1, stride, channels][..])?
        .permute([0, 1, 3, 2, 4, 5])?
        .contiguous()?
        .reshape((n, rows + taps - 1, columns + taps - 1, stride * stride * channels))?;
    let views = each_tap(taps).map(|(y, x)| blocks.narrow(1, y, rows)?.narrow(2, x, columns));
    let patches = Tensor::cat(&views.collect::<Result<Vec<_>>>()?, 3)?.flatten_to(2)?;
    let out = weight.dim(0)?;
    let weight = split(weight, window)?.permute([2, 4, 3, 5, 1, 0])?.contiguous()?.reshape(((), out))?;
    activate(&patches.matmul(&weight)?.reshape((n, rows, columns, out))?.broadcast_add(bias)?, activation)
}

/// Transposed convolution, bias and activation: `x (N, H, W, C)`, `weight (C, out, k, k)`, `bias (out)` to `(N, H', W', out)`.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    window: Window,
    activation: Activation,
) -> Result<Tensor> {
    let (n, rows, columns, _) = x.dims4()?;
    let (height, width) = (window.pixels(rows)?, window.pixels(columns)?);
    let (taps, stride, out) = (taps(window), window.stride, weight.dim(1)?);
    let (block_rows, block_columns) = (rows + taps - 1, columns + taps - 1);
    let x = x.pad_with_zeros(1, taps - 1, taps - 1)?.pad_with_zeros(2, taps - 1, taps - 1)?;
    let views =
        each_tap(taps).map(|(y, t)| x.narrow(1, taps - 1 - y, block_rows)?.narrow(2, taps - 1 - t, block_columns));
    let patches = Tensor::cat(&views.collect::<Result<Vec<_>>>()?, 3)?.flatten_to(2)?;
    let weight = split(weight, window)?.permute([2, 4, 0, 3, 5, 1])?.contiguous()?;
    let blocks = patches.matmul(&weight.reshape(((), stride * stride * out))?)?;
    // Depth to space.
    let image = blocks
        .reshape(&[n, block_rows, block_columns, stride, stride, out][..])?
        .permute([0, 1, 3, 2, 4, 5])?
        .contiguous()?
        .reshape((n, block_rows * stride, block_columns * stride, out))?
        .narrow(1, window.padding, height)?
        .narrow(2, window.padding, width)?;
    activate(&image.broadcast_add(bias)?, activation)
}

fn taps(window: Window) -> usize {
    window.kernel.div_ceil(window.stride)
}

fn each_tap(taps: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..taps).flat_map(move |y| (0..taps).map(move |x| (y, x)))
}

/// A kernel `(A, B, k, k)` with zeros to the right and below as `(A, B, T, s, T, s)`.
fn split(weight: &Tensor, window: Window) -> Result<Tensor> {
    let (a, b, kernel, _) = weight.dims4()?;
    let (taps, stride) = (taps(window), window.stride);
    let more = taps * stride - kernel;
    weight.pad_with_zeros(2, 0, more)?.pad_with_zeros(3, 0, more)?.reshape(&[a, b, taps, stride, taps, stride][..])
}

/// `x` with `before` zeros before its `axis`, and as many after, or values less, as make it `size` long.
fn fit(x: &Tensor, axis: usize, before: usize, size: usize) -> Result<Tensor> {
    let long = before + x.dim(axis)?;
    x.pad_with_zeros(axis, before, size.saturating_sub(long))?.narrow(axis, 0, size)
}

/// Matrix product, bias and activation: `x (N, in)`, `weight (out, in)`, `bias (out)` to `(N, out)`.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    activate(&x.matmul(&weight.t()?)?.broadcast_add(bias)?, activation)
}

/// The greatest value of each window: `x (N, H, W, C)` to `(N, H', W', C)`. The first of equal ones gets the gradient; NaN wins.
pub fn max_pool(x: &Tensor, window: Window) -> Result<Tensor> {
    let (n, height, width, channels) = x.dims4()?;
    let (rows, columns) = (window.cells(height)?, window.cells(width)?);
    let Window { kernel, stride, .. } = window;
    // Every place of a window is a view of the image that starts there and takes each stride-th pixel.
    let place = |y: usize, x0: usize| {
        fit(
            &fit(&x.narrow(1, y, height - y)?, 1, 0, rows * stride)?.narrow(2, x0, width - x0)?,
            2,
            0,
            columns * stride,
        )?
        .reshape(&[n, rows, stride, columns, stride, channels][..])?
        .narrow(2, 0, 1)?
        .narrow(4, 0, 1)?
        .contiguous()?
        .reshape((n, rows, columns, channels))
    };
    let mut greatest = place(0, 0)?;
    for (y, x) in each_tap(kernel).skip(1) {
        let other = place(y, x)?;
        let wins = (other.gt(&greatest)? + other.ne(&other)?)?;
        greatest = wins.where_cond(&other, &greatest)?;
    }
    Ok(greatest)
}

/// Each pixel to `factor` x `factor` pixels: `x (N, H, W, C)` to `(N, H·factor, W·factor, C)`.
pub fn upsample_nearest(x: &Tensor, factor: usize) -> Result<Tensor> {
    let (n, height, width, channels) = x.dims4()?;
    x.reshape((n, height, 1, width, 1, channels))?
        .broadcast_as((n, height, factor, width, factor, channels))?
        .contiguous()?
        .reshape((n, height * factor, width * factor, channels))
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

/// The gradient of [`conv2d`] without activation for an input of `height` x `width`, from the one for its output: the transposed
/// convolution, and zeros where no window fits any more.
pub fn conv2d_input_gradient(
    g: &Tensor,
    weight: &Tensor,
    window: Window,
    (height, width): (usize, usize),
) -> Result<Tensor> {
    let seen = conv_transpose2d(g, weight, &no_bias(weight, 1)?, window, Activation::Identity)?;
    fit(&fit(&seen, 1, 0, height)?, 2, 0, width)
}

/// The gradient of [`conv_transpose2d`] without activation for its input, from the one for its output: the convolution.
pub fn conv_transpose2d_input_gradient(g: &Tensor, weight: &Tensor, window: Window) -> Result<Tensor> {
    conv2d(g, weight, &no_bias(weight, 0)?, window, Activation::Identity)
}

fn no_bias(weight: &Tensor, outputs: usize) -> Result<Tensor> {
    Tensor::zeros(weight.dim(outputs)?, weight.dtype(), weight.device())
}

/// NaN stays NaN.
fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation.negative_slope() {
        Some(1.0) => Ok(x.clone()),
        Some(slope) => x.mul(&slopes(x, slope)?),
        None => x.tanh(),
    }
}

/// The slopes, 1 or `negative`, of a piecewise linear activation with inputs `x`, or outputs, whose signs are the same. The slope at
/// 0 is that for negative inputs, as in the fused layers and in PyTorch; candle's own relu has 1 there.
pub fn slopes(x: &Tensor, negative: f32) -> Result<Tensor> {
    let negative = f64::from(negative);
    Ok(x.gt(0.0)?.to_dtype(x.dtype())?.affine(1.0 - negative, negative)?.detach())
}
