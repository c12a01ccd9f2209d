//! A layer under construction: it is never changed, only replaced by a copy with more folded into it.

use super::super::operators::window::Sliding;
use crate::model::{Activation, ImageShape, Layer, Shape};

/// A layer with its weights.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The stage whose outputs it takes.
    pub source: usize,
    /// The layer; nothing for the network's input.
    pub layer: Option<Layer>,
    /// As PyTorch stores it; empty without weights.
    pub weight: Vec<f32>,
    /// One for each output channel or feature; empty without weights.
    pub bias: Vec<f32>,
    /// What it gives; an image in `(C, H, W)` order, also behind a linear layer.
    pub output: Shape,
    /// The nodes that it stands for, with their operators.
    pub nodes: Vec<String>,
}

impl Stage {
    /// The values that it gives.
    pub fn size(&self) -> usize {
        size(self.output)
    }

    /// The image that it gives.
    pub fn image(&self) -> Option<ImageShape> {
        match self.output {
            Shape::Image(image) => Some(image),
            Shape::Features(_) => None,
        }
    }

    /// The channels of its image.
    pub fn channels(&self) -> usize {
        self.image().map_or(0, |image| image.channels)
    }

    /// Whether it has weights to fold into.
    pub fn has_weights(&self) -> bool {
        self.layer.is_some_and(|layer| layer.parameters().is_some())
    }

    /// Whether it is a linear layer.
    pub fn is_linear(&self) -> bool {
        matches!(self.layer, Some(Layer::Linear { .. }))
    }

    /// The function at its end.
    pub fn activation(&self) -> Activation {
        self.layer.map_or(Activation::Identity, |layer| layer.activation())
    }

    /// The bias that belongs to output `index`.
    pub fn unit(&self, index: usize) -> usize {
        match (self.is_linear(), self.output) {
            (false, Shape::Image(image)) => index / (image.height * image.width),
            _ => index,
        }
    }

    /// How many different values [`Self::unit`] has.
    pub fn units(&self) -> usize {
        match (self.is_linear(), self.output) {
            (false, Shape::Image(image)) => image.channels,
            _ => self.size(),
        }
    }

    /// A copy with `activation`, whose outputs before it are multiplied and moved as `factors`, one for each unit, say.
    pub fn scaled(&self, factors: &[(f32, f32)], activation: Activation) -> Self {
        let mut scaled = self.with_activation(activation);
        scaled.bias.iter_mut().zip(factors).for_each(|(bias, &(scale, offset))| *bias = scale.mul_add(*bias, offset));
        let taps = match self.layer {
            Some(Layer::ConvTranspose2d { kernel, .. }) => kernel[0] * kernel[1],
            _ => self.weight.len() / factors.len().max(1),
        };
        // Behind the output channel come the taps; in front of it, with transposed convolutions, the input channel.
        for (i, weights) in scaled.weight.chunks_mut(taps.max(1)).enumerate() {
            let (scale, _) = factors[i % factors.len()];
            weights.iter_mut().for_each(|weight| *weight *= scale);
        }
        scaled
    }

    /// A copy with another function at its end.
    pub fn with_activation(&self, function: Activation) -> Self {
        let mut copy = self.clone();
        if let Some(
            Layer::Conv2d { activation, .. }
            | Layer::ConvTranspose2d { activation, .. }
            | Layer::Linear { activation, .. },
        ) = &mut copy.layer
        {
            *activation = function;
        }
        copy
    }

    /// A linear layer whose outputs are those at `indices` of this one, with the shape `output`.
    pub fn with_rows(&self, indices: &[usize], output: Shape) -> Self {
        let inputs = self.weight.len() / self.bias.len().max(1);
        let row = |&index: &usize| &self.weight[index * inputs..(index + 1) * inputs];
        let layer = Layer::Linear { in_features: inputs, out_features: indices.len(), activation: self.activation() };
        Self {
            layer: Some(layer),
            weight: indices.iter().flat_map(row).copied().collect(),
            bias: indices.iter().map(|&index| self.bias[index]).collect(),
            output,
            ..self.clone()
        }
    }

    /// What output `index` is before the activation: its weights over all values of the image or features `input`, and its bias.
    /// Nothing for layers without weights.
    pub fn row(&self, index: usize, input: Shape) -> Option<(Vec<f32>, f32)> {
        let mut row = vec![0.0; size(input)];
        let bias = *self.bias.get(self.unit(index))?;
        match (self.layer?, input, self.output) {
            (Layer::Linear { .. }, ..) => row = self.weight.chunks_exact(row.len()).nth(index)?.to_vec(),
            (Layer::Conv2d { in_channels, .. }, Shape::Image(input), Shape::Image(output)) => {
                let ([channel, y, x], sliding) = (position(index, output), Sliding::plain(self.layer?.window()?));
                sliding.taps(output.sides(), input.sides(), |cell, [in_y, in_x], [tap_y, tap_x]| {
                    for c in (0..in_channels).filter(|_| cell == [y, x]) {
                        let weight =
                            ((channel * in_channels + c) * sliding.kernel[0] + tap_y) * sliding.kernel[1] + tap_x;
                        row[(c * input.height + in_y) * input.width + in_x] += self.weight[weight];
                    }
                });
            }
            (Layer::ConvTranspose2d { in_channels, out_channels, .. }, Shape::Image(input), Shape::Image(output)) => {
                let ([channel, y, x], sliding) = (position(index, output), Sliding::plain(self.layer?.window()?));
                sliding.taps(input.sides(), output.sides(), |[in_y, in_x], pixel, [tap_y, tap_x]| {
                    for c in (0..in_channels).filter(|_| pixel == [y, x]) {
                        let weight =
                            ((c * out_channels + channel) * sliding.kernel[0] + tap_y) * sliding.kernel[1] + tap_x;
                        row[(c * input.height + in_y) * input.width + in_x] += self.weight[weight];
                    }
                });
            }
            _ => return None,
        }
        Some((row, bias))
    }
}

/// The values of something of `shape`.
pub fn size(shape: Shape) -> usize {
    match shape {
        Shape::Image(image) => image.size(),
        Shape::Features(n) => n,
    }
}

/// Channel, row and column of the value at `index`.
pub fn position(index: usize, image: ImageShape) -> [usize; 3] {
    let (rest, column) = (index / image.width, index % image.width);
    [rest / image.height, rest % image.height, column]
}
