//! The same operations out of candle's own: for devices without a fused form, and the slow reference of the fused one.

use candle_core::{Result, Tensor};

use super::Window;
use crate::model::Activation;

/// See [`super::conv2d`]: one matrix product for each kernel position's view of the padded image.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: &Tensor, window: Window, activation: Activation) -> Result<Tensor> {
    let (_, height, width, _) = x.dims4()?;
    let (rows, columns) = (window.cells(height)?, window.cells(width)?);
    let Window { kernel, stride, padding } = window;
    // Enough rows and columns below that each kernel position is a strided view of the same size.
    let below = |cells: usize, pixels: usize| (cells * stride + kernel - 1).saturating_sub(pixels + padding);
    let x = x.pad_with_zeros(1, padding, below(rows, height))?.pad_with_zeros(2, padding, below(columns, width))?;
    let every = |x: &Tensor, axis: usize, start: usize, count: usize| -> Result<Tensor> {
        let mut dims = x.dims().to_vec();
        dims.splice(axis..=axis, [count, stride]);
        x.narrow(axis, start, count * stride)?.contiguous()?.reshape(dims)?.narrow(axis + 1, 0, 1)?.squeeze(axis + 1)
    };
    let mut patches = Vec::with_capacity(kernel * kernel);
    for ky in 0..kernel {
        let lines = every(&x, 1, ky, rows)?;
        for kx in 0..kernel {
            patches.push(every(&lines, 2, kx, columns)?);
        }
    }
    let weight = weight.permute((2, 3, 1, 0))?.flatten_to(2)?.contiguous()?;
    activate(&Tensor::cat(&patches, 3)?.contiguous()?.broadcast_matmul(&weight)?.broadcast_add(bias)?, activation)
}

/// See [`super::conv_transpose2d`]: the convolution of the image with zeros between its pixels.
pub fn conv_transpose2d(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    window: Window,
    activation: Activation,
) -> Result<Tensor> {
    let (n, height, width, channels) = x.dims4()?;
    let Window { kernel, stride, padding } = window;
    if padding >= kernel {
        candle_core::bail!("padding {padding} of a transposed convolution with kernel {kernel}: expected less");
    }
    // (N, H, 1, W, 1, C) padded to (N, H, s, W, s, C): zeros after each pixel and row, the last ones cut again.
    let spread = x
        .reshape((n, height, 1, width, channels))?
        .pad_with_zeros(2, 0, stride - 1)?
        .reshape((n, height * stride, width, 1, channels))?
        .pad_with_zeros(3, 0, stride - 1)?
        .reshape((n, height * stride, width * stride, channels))?
        .narrow(1, 0, (height - 1) * stride + 1)?
        .narrow(2, 0, (width - 1) * stride + 1)?;
    // A transposed convolution turns the kernel around and swaps its channels.
    let turned = Tensor::arange_step(kernel as i64 - 1, -1, -1, x.device())?;
    let weight = weight.index_select(&turned, 2)?.index_select(&turned, 3)?.transpose(0, 1)?;
    conv2d(&spread, &weight, bias, Window { kernel, stride: 1, padding: kernel - 1 - padding }, activation)
}

/// See [`super::linear`].
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor, activation: Activation) -> Result<Tensor> {
    activate(&x.matmul(&weight.t()?)?.broadcast_add(bias)?, activation)
}

/// See [`super::bernoulli_nll`].
pub fn bernoulli_nll(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let log_term = (logits.abs()?.neg()?.exp()? + 1.0)?.log()?;
    ((logits.relu()? - logits.mul(targets)?)? + log_term)?.flatten_from(1)?.sum(1)
}

fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::LeakyRelu(slope) => x.relu()? - (x.neg()?.relu()? * f64::from(slope))?,
    }
}
