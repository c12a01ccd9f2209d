//! A network as the device sees it: no reshapes, channels last, one row of weights for each output.

use candle_core::Tensor;

use crate::{
    Error, Result,
    model::{Activation, ImageShape, Layer, Shape},
    nn::Network,
};

/// What a lowered layer does with its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Square kernel, stride, padding.
    Conv2d { kernel: usize, stride: usize, padding: usize },
    /// Square kernel, stride, padding.
    ConvTranspose2d { kernel: usize, stride: usize, padding: usize },
    /// All inputs to all outputs.
    Linear,
}

/// A layer with real weights.
#[derive(Debug, Clone)]
pub struct FloatLayer {
    pub kind: Kind,
    pub input: ImageShape,
    pub output: ImageShape,
    /// For each output channel or feature, its weights: `(kernel H, kernel W, in C)` or `(in H, in W, in C)`.
    pub rows: Vec<Vec<f32>>,
    pub bias: Vec<f32>,
    pub activation: Activation,
    /// The position in the network, to match a trace.
    pub index: usize,
}

/// Lowers `network` for inputs of shape `input`.
///
/// # Errors
/// A layer does not fit, or is none that the device has.
pub fn lower(network: &Network, input: Shape) -> Result<Vec<FloatLayer>> {
    let weights: std::collections::BTreeMap<String, candle_core::Var> = network.variables().into_iter().collect();
    let shapes = network.shapes(input).map_err(Error::Unsupported)?;
    let layers = network.layers();
    let mut before = image_of(input);
    let mut lowered = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        // What a Flatten or Unflatten says about a linear layer's neighbor is folded into the order of its weights.
        let after = match (layer, layers.get(index + 1)) {
            (Layer::Linear { .. }, Some(Layer::Unflatten { .. })) => image_of(shapes[index + 1]),
            _ => image_of(shapes[index]),
        };
        let (kind, activation) = match *layer {
            Layer::Conv2d { kernel, stride, padding, activation, .. } => {
                (Kind::Conv2d { kernel, stride, padding }, activation)
            }
            Layer::ConvTranspose2d { kernel, stride, padding, activation, .. } => {
                (Kind::ConvTranspose2d { kernel, stride, padding }, activation)
            }
            Layer::Linear { activation, .. } => (Kind::Linear, activation),
            Layer::Flatten | Layer::Unflatten { .. } => continue,
        };
        let find = |name: &str| {
            let name = format!("{}.{index}.{name}", network.name());
            weights
                .get(&name)
                .map(|var| var.as_detached_tensor())
                .ok_or(Error::Unsupported(format!("{name} is missing")))
        };
        let (weight, bias) = (find("weight")?, find("bias")?);
        let (rows, bias) = match kind {
            Kind::Conv2d { .. } => (weight.permute((0, 2, 3, 1))?, bias),
            Kind::ConvTranspose2d { .. } => (weight.permute((1, 2, 3, 0))?, bias),
            Kind::Linear => {
                let ImageShape { channels, height, width } = before;
                let columns = weight.reshape((weight.dim(0)?, channels, height, width))?.permute((0, 2, 3, 1))?;
                (outputs_last(&columns.flatten_from(1)?, after)?, outputs_last(&bias, after)?)
            }
        };
        lowered.push(FloatLayer {
            kind,
            input: before,
            output: after,
            rows: rows.flatten_from(1)?.contiguous()?.to_vec2()?,
            bias: bias.to_vec1()?,
            activation,
            index,
        });
        before = after;
    }
    Ok(lowered)
}

/// Moves output features (dimension 0) from `(C, H, W)` order to `(H, W, C)`.
fn outputs_last(tensor: &Tensor, output: ImageShape) -> Result<Tensor> {
    let rest = tensor.dims()[1..].iter().product::<usize>();
    let ImageShape { channels, height, width } = output;
    let moved = tensor.reshape((channels, height, width, rest))?.permute((1, 2, 0, 3))?.contiguous()?;
    Ok(moved.reshape(tensor.dims())?)
}

/// Features count as channels of a single pixel.
fn image_of(shape: Shape) -> ImageShape {
    match shape {
        Shape::Image(image) => image,
        Shape::Features(channels) => ImageShape { channels, height: 1, width: 1 },
    }
}
