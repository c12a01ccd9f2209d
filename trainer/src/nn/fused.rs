//! One layer over a batch on the CPU: forward and backward on slices.

use candle_core::{Result, bail};

use super::ops::{
    Geometry,
    activation::{self, Epilogue},
    buffers::{Buffer, Buffers},
    convolution,
    gemm::Output,
    linear, permute,
    resample::{MaxPool, Upsample},
};
use crate::model::{Activation, Layer, Window};

/// The shape of a batch between two layers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Inner {
    /// `(H, W, N, C)`: height, width and channels.
    Image(usize, usize, usize),
    /// `(features, N)`.
    Features(usize),
}

impl Inner {
    /// Values of one image or vector.
    pub fn size(&self) -> usize {
        match *self {
            Self::Image(height, width, channels) => height * width * channels,
            Self::Features(features) => features,
        }
    }
}

/// A layer for inputs of a certain shape.
#[derive(Debug, Clone, Copy)]
pub struct Fused {
    kind: Kind,
    activation: Activation,
    /// The shape of its output.
    pub output: Inner,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Conv2d(Geometry),
    ConvTranspose2d(Geometry),
    Linear,
    /// With the channels.
    MaxPool(MaxPool, usize),
    /// With the channels.
    Upsample(Upsample, usize),
    /// Channels.
    Flatten(usize),
    /// Channels.
    Unflatten(usize),
}

/// What a layer's backward pass starts from.
#[derive(Clone, Copy)]
pub struct Backward<'a> {
    /// The layer's input.
    pub x: &'a [f32],
    /// What [`Fused::forward`] returned.
    pub kept: Option<&'a [f32]>,
    /// Its weight.
    pub weight: &'a [f32],
}

impl Fused {
    /// `layer` for inputs of shape `input`.
    ///
    /// # Errors
    /// It does not take such inputs.
    pub fn new(layer: &Layer, input: Inner) -> Result<Self> {
        let image = |(height, width, channels)| Inner::Image(height, width, channels);
        let (kind, activation, output) = match (*layer, input) {
            (
                Layer::Conv2d { in_channels, out_channels, kernel, stride, padding, activation },
                Inner::Image(height, width, channels),
            ) if channels == in_channels => {
                let window = Window { kernel, stride, padding };
                let geometry = Geometry::of_convolution(window, (height, width, channels), out_channels)?;
                (Kind::Conv2d(geometry), activation, image(geometry.grid))
            }
            (
                Layer::ConvTranspose2d {
                    in_channels,
                    out_channels,
                    kernel,
                    stride,
                    padding,
                    output_padding,
                    activation,
                },
                Inner::Image(height, width, channels),
            ) if channels == in_channels => {
                let window = Window { kernel, stride, padding };
                let grid = (height, width, channels);
                let geometry = Geometry::of_transposed_convolution(window, output_padding, grid, out_channels)?;
                (Kind::ConvTranspose2d(geometry), activation, image(geometry.image))
            }
            (Layer::Linear { in_features, out_features, activation }, Inner::Features(features))
                if features == in_features =>
            {
                (Kind::Linear, activation, Inner::Features(out_features))
            }
            (Layer::MaxPool { kernel, stride, padding }, Inner::Image(height, width, channels)) => {
                let pool = MaxPool::new(Window { kernel, stride, padding }, [height, width])?;
                let output = Inner::Image(pool.grid[0], pool.grid[1], channels);
                (Kind::MaxPool(pool, channels), Activation::Identity, output)
            }
            (Layer::UpsampleNearest { factor }, Inner::Image(height, width, channels)) => {
                let output = Inner::Image(height * factor[0], width * factor[1], channels);
                (Kind::Upsample(Upsample::new(factor, width)?, channels), Activation::Identity, output)
            }
            (Layer::Flatten, Inner::Image(_, _, channels)) => {
                (Kind::Flatten(channels), Activation::Identity, Inner::Features(input.size()))
            }
            (Layer::Unflatten { channels, height, width }, Inner::Features(features))
                if features == channels * height * width =>
            {
                (Kind::Unflatten(channels), Activation::Identity, Inner::Image(height, width, channels))
            }
            _ => bail!("{layer:?} does not take {input:?}"),
        };
        Ok(Self { kind, activation, output })
    }

    /// The output `y` of `n` inputs `x`; returns what the backward pass wants to see again.
    pub fn forward(
        &self,
        n: usize,
        x: &[f32],
        (weight, bias): (&[f32], &[f32]),
        y: &mut [f32],
        buffers: &Buffers,
    ) -> Option<Buffer> {
        self.product(n, x, weight, Epilogue { bias: Some(bias), activation: self.activation }, y, buffers)
    }

    /// The linear part of [`Self::forward`], W·x, without bias and activation.
    pub fn forward_linear(
        &self,
        n: usize,
        x: &[f32],
        weight: &[f32],
        y: &mut [f32],
        buffers: &Buffers,
    ) -> Option<Buffer> {
        self.product(n, x, weight, Epilogue::NONE, y, buffers)
    }

    fn product(
        &self,
        n: usize,
        x: &[f32],
        weight: &[f32],
        epilogue: Epilogue,
        y: &mut [f32],
        buffers: &Buffers,
    ) -> Option<Buffer> {
        match &self.kind {
            Kind::Conv2d(geometry) => {
                let mut blocks = buffers.take(n * geometry.blocks_size());
                geometry.gather(n, x, &mut blocks);
                grid(geometry, n, &blocks, weight, y, epilogue, buffers);
                return Some(blocks);
            }
            Kind::ConvTranspose2d(geometry) => scatter(geometry, n, x, weight, y, epilogue, buffers),
            Kind::Linear => linear::forward(n, x, weight, y, epilogue),
            Kind::MaxPool(pool, channels) => {
                let mut winners = buffers.take(y.len());
                pool.forward(n * channels, x, y, &mut winners);
                return Some(winners);
            }
            Kind::Upsample(upsample, channels) => upsample.forward(n * channels, x, y),
            &Kind::Flatten(channels) => permute::flatten(n, channels, x, y),
            &Kind::Unflatten(channels) => permute::unflatten(n, channels, x, y),
        }
        None
    }

    /// Turns `g`, the gradient for the output `y`, into the one before the activation; with `bias`, its gradient is written there.
    pub fn before_activation(
        &self,
        n: usize,
        y: &[f32],
        g: &mut [f32],
        bias: Option<(&mut [f32], Output)>,
        buffers: &Buffers,
    ) {
        let changes = self.activation != Activation::Identity;
        match self.output {
            Inner::Image(_, _, channels) if changes || bias.is_some() => {
                activation::backward(self.activation, channels, y, g, bias, buffers);
            }
            Inner::Image(..) => {}
            Inner::Features(_) => {
                if changes {
                    activation::backward_rows(self.activation, y, g);
                }
                if let Some((bias, output)) = bias {
                    activation::bias_gradient_rows(n, g, bias, output);
                }
            }
        }
    }

    /// From `g`, the gradient before the activation, the gradients of the weight and of the input, where they are asked for.
    pub fn backward(
        &self,
        n: usize,
        Backward { x, kept, weight }: Backward,
        g: &[f32],
        weights: Option<(&mut [f32], Output)>,
        dx: Option<&mut [f32]>,
        buffers: &Buffers,
    ) {
        match &self.kind {
            Kind::Conv2d(geometry) => {
                if let (Some((dw, output)), Some(blocks)) = (weights, kept) {
                    convolution::weight_gradient(geometry, n, blocks, g, dw, output, buffers);
                }
                if let Some(dx) = dx {
                    scatter(geometry, n, g, weight, dx, Epilogue::NONE, buffers);
                }
            }
            Kind::ConvTranspose2d(geometry) => {
                let mut blocks = buffers.take(n * geometry.blocks_size());
                geometry.gather(n, g, &mut blocks);
                if let Some((dw, output)) = weights {
                    convolution::weight_gradient(geometry, n, &blocks, x, dw, output, buffers);
                }
                if let Some(dx) = dx {
                    grid(geometry, n, &blocks, weight, dx, Epilogue::NONE, buffers);
                }
            }
            Kind::Linear => {
                if let Some((dw, output)) = weights {
                    linear::weight_gradient(n, g, x, dw, output);
                }
                if let Some(dx) = dx {
                    linear::input_gradient(n, g, weight, dx);
                }
            }
            Kind::MaxPool(pool, channels) => {
                if let (Some(dx), Some(winners)) = (dx, kept) {
                    pool.backward(n * channels, winners, g, dx);
                }
            }
            Kind::Upsample(upsample, channels) => {
                dx.into_iter().for_each(|dx| upsample.backward(n * channels, g, dx));
            }
            &Kind::Flatten(channels) => dx.into_iter().for_each(|dx| permute::unflatten(n, channels, g, dx)),
            &Kind::Unflatten(channels) => dx.into_iter().for_each(|dx| permute::flatten(n, channels, g, dx)),
        }
    }
}

/// The grid that `blocks` make through the kernel `weight`.
fn grid(
    geometry: &Geometry,
    n: usize,
    blocks: &[f32],
    weight: &[f32],
    grid: &mut [f32],
    epilogue: Epilogue,
    buffers: &Buffers,
) {
    let mut packed = buffers.take(geometry.weight_size());
    convolution::pack(geometry, weight, &mut packed);
    convolution::to_grid(geometry, n, blocks, &packed, grid, epilogue);
}

/// The image that `grid` makes through the kernel `weight`.
fn scatter(
    geometry: &Geometry,
    n: usize,
    grid: &[f32],
    weight: &[f32],
    image: &mut [f32],
    epilogue: Epilogue,
    buffers: &Buffers,
) {
    let mut packed = buffers.take(geometry.weight_size());
    convolution::pack_transposed(geometry, weight, &mut packed);
    let mut blocks = buffers.take(n * geometry.blocks_size());
    convolution::to_blocks(geometry, n, grid, &packed, &mut blocks);
    geometry.scatter(n, &blocks, image, epilogue);
}
