//! A network as the device sees it: no reshapes, channels last, one row of weights for each output.

use candle_core::Tensor;

use crate::{
    Error, Result,
    model::{Activation, ImageShape, Layer, Shape, Window},
    nn::Network,
};

/// What a lowered layer does with its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A product for each place of the window.
    Conv2d(Window),
    /// The transpose of it.
    ConvTranspose2d(Window),
    /// All inputs to all outputs.
    Linear,
    /// The greatest value in the window.
    MaxPool(Window),
    /// Rows and columns repeated so often.
    UpsampleNearest([usize; 2]),
}

/// A layer with real weights, if it has any.
#[derive(Debug, Clone)]
pub struct FloatLayer {
    pub kind: Kind,
    pub input: ImageShape,
    pub output: ImageShape,
    /// For each output channel or feature, its weights: `(kernel H, kernel W, in C)` or `(in H, in W, in C)`; empty without weights.
    pub rows: Vec<Vec<f32>>,
    pub bias: Vec<f32>,
    pub activation: Activation,
    /// What the network's values are divided by to be this layer's, for each output channel.
    pub divisors: Vec<f32>,
    /// The position in the network, to match a trace.
    pub index: usize,
}

impl FloatLayer {
    /// Whether it computes new values instead of choosing among its inputs.
    pub fn has_weights(&self) -> bool {
        !matches!(self.kind, Kind::MaxPool(_) | Kind::UpsampleNearest(_))
    }
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
        let kind = match *layer {
            Layer::Conv2d { kernel, stride, padding, .. } => Kind::Conv2d(Window { kernel, stride, padding }),
            Layer::ConvTranspose2d { kernel, stride, padding, .. } => {
                Kind::ConvTranspose2d(Window { kernel, stride, padding })
            }
            Layer::Linear { .. } => Kind::Linear,
            Layer::MaxPool { kernel, stride, padding } => Kind::MaxPool(Window { kernel, stride, padding }),
            Layer::UpsampleNearest { factor } => Kind::UpsampleNearest(factor),
            Layer::Flatten | Layer::Unflatten { .. } => continue,
        };
        let find = |name: &str| {
            let name = format!("{}.{index}.{name}", network.name());
            weights
                .get(&name)
                .map(|var| var.as_detached_tensor())
                .ok_or(Error::Unsupported(format!("{name} is missing")))
        };
        let (mut rows, mut bias) = match layer.parameters() {
            Some(_) => device_order(kind, &find("weight")?, &find("bias")?, (before, after))?,
            None => (Vec::new(), Vec::new()),
        };
        let activation = match layer.activation() {
            // Its line is one more linear step.
            Activation::HardSigmoid { alpha, beta } => {
                rows.iter_mut().flatten().for_each(|weight| *weight *= alpha);
                bias.iter_mut().for_each(|bias| *bias = alpha * *bias + beta);
                Activation::Clip { min: 0.0, max: 1.0 }
            }
            other => other,
        };
        let divisors = vec![1.0; after.channels];
        lowered.push(FloatLayer { kind, input: before, output: after, rows, bias, activation, divisors, index });
        before = after;
    }
    match lowered.last() {
        Some(FloatLayer { activation: Activation::Identity | Activation::LeakyRelu(_), .. }) | None => Ok(lowered),
        Some(FloatLayer { activation, index, .. }) => {
            let name = network.name();
            let expected = "expected none, or a leaky ReLU, behind the last layer of an int8 network";
            Err(Error::Unsupported(format!("{name}.{index}: found activation {activation:?}, {expected}")))
        }
    }
}

/// PyTorch's weight and bias as [`FloatLayer`] wants them, for the layer's input and output.
fn device_order(
    kind: Kind,
    weight: &Tensor,
    bias: &Tensor,
    (before, after): (ImageShape, ImageShape),
) -> Result<(Vec<Vec<f32>>, Vec<f32>)> {
    let (rows, bias) = match kind {
        Kind::Conv2d(_) => (weight.permute((0, 2, 3, 1))?, bias.clone()),
        Kind::ConvTranspose2d(_) => (weight.permute((1, 2, 3, 0))?, bias.clone()),
        _ => {
            let ImageShape { channels, height, width } = before;
            let columns = weight.reshape((weight.dim(0)?, channels, height, width))?.permute((0, 2, 3, 1))?;
            (outputs_last(&columns.flatten_from(1)?, after)?, outputs_last(bias, after)?)
        }
    };
    Ok((rows.flatten_from(1)?.contiguous()?.to_vec2()?, bias.to_vec1()?))
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
