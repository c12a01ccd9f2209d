//! A sequence of layers with their weights.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor, Var};

use super::{Init, ops, ops::Window};
use crate::{
    Error, Result,
    model::{Layer, Shape},
    rng::{self, Purpose},
};

/// A layer's weight and bias; absent where it has none.
type Parameters = Option<(Var, Var)>;

/// Layers in sequence. Inputs and outputs are channels-last, `(N, H, W, C)`, or `(N, features)`.
#[derive(Debug, Clone)]
pub struct Network {
    name: &'static str,
    layers: Vec<Layer>,
    parameters: Vec<Parameters>,
}

impl Network {
    /// A network with fresh weights, drawn from streams of `seed` that belong to this `name` and layer alone.
    pub fn new(name: &'static str, layers: &[Layer], init: Init, seed: u64, device: &Device) -> Result<Self> {
        // Streams stay apart by name, so that adding a network does not move another's start.
        let base = u64::from(crc32fast::hash(name.as_bytes())) << 16;
        let parameters = layers
            .iter()
            .enumerate()
            .map(|(i, layer)| {
                let Some((shape, bias)) = layer.parameters() else { return Ok(None) };
                let mut rng = rng::stream(seed, Purpose::Init, base + i as u64);
                let weight = init.weight(layer, &shape, &mut rng)?.to_device(device)?;
                let bias = Tensor::zeros(bias, candle_core::DType::F32, device)?;
                Ok(Some((Var::from_tensor(&weight)?, Var::from_tensor(&bias)?)))
            })
            .collect::<Result<_>>()?;
        Ok(Self { name, layers: layers.to_vec(), parameters })
    }

    /// A network with the given weights, by name as in [`Self::variables`].
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_tensors(
        name: &'static str,
        layers: &[Layer],
        tensors: &BTreeMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        let find = |tensor: String, shape: &[usize]| match tensors.get(&tensor) {
            None => Err(Error::Unsupported(format!("{tensor} is missing from the weights"))),
            Some(found) if found.dims() != shape => {
                Err(Error::Unsupported(format!("{tensor}: found shape {:?}, expected {shape:?}", found.dims())))
            }
            Some(found) => Ok(Var::from_tensor(&found.to_device(device)?)?),
        };
        let parameters = layers
            .iter()
            .enumerate()
            .map(|(i, layer)| {
                let Some((weight, bias)) = layer.parameters() else { return Ok(None) };
                Ok(Some((find(format!("{name}.{i}.weight"), &weight)?, find(format!("{name}.{i}.bias"), &[bias])?)))
            })
            .collect::<Result<_>>()?;
        Ok(Self { name, layers: layers.to_vec(), parameters })
    }

    /// The weights by name, `encoder.0.weight` and so on: N counts all layers, shapes are PyTorch's.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let named = |(i, parameters): (usize, &Parameters)| {
            let (weight, bias) = parameters.clone()?;
            Some([(format!("{}.{i}.weight", self.name), weight), (format!("{}.{i}.bias", self.name), bias)])
        };
        self.parameters.iter().enumerate().filter_map(named).flatten().collect()
    }

    /// The network's output, with gradients for its weights.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, |var| var.as_tensor().clone())
    }

    /// The network's output where only the input may need a gradient: the weights count as constants.
    pub fn forward_frozen(&self, x: &Tensor) -> Result<Tensor> {
        self.run(x, Var::as_detached_tensor)
    }

    /// The output of every layer in turn, the last one included, without gradients.
    pub fn trace(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        let mut x = x.clone();
        let mut outputs = Vec::with_capacity(self.layers.len());
        for i in 0..self.layers.len() {
            x = self.layer(i, &x, Var::as_detached_tensor)?;
            outputs.push(x.clone());
        }
        Ok(outputs)
    }

    fn run(&self, x: &Tensor, weight: impl Fn(&Var) -> Tensor) -> Result<Tensor> {
        (0..self.layers.len()).try_fold(x.clone(), |x, i| self.layer(i, &x, &weight))
    }

    fn layer(&self, i: usize, x: &Tensor, weight: impl Fn(&Var) -> Tensor) -> Result<Tensor> {
        let parameters = self.parameters[i].as_ref().map(|(w, b)| (weight(w), weight(b)));
        Ok(match (&self.layers[i], parameters) {
            (&Layer::Conv2d { kernel, stride, padding, activation, .. }, Some((w, b))) => {
                ops::conv2d(x, &w, &b, Window { kernel, stride, padding }, activation)?
            }
            (&Layer::ConvTranspose2d { kernel, stride, padding, activation, .. }, Some((w, b))) => {
                ops::conv_transpose2d(x, &w, &b, Window { kernel, stride, padding }, activation)?
            }
            (&Layer::Linear { activation, .. }, Some((w, b))) => ops::linear(x, &w, &b, activation)?,
            (&Layer::Unflatten { channels, height, width }, _) => {
                to_channels_last(&x.reshape((x.dim(0)?, channels, height, width))?)?
            }
            // Features are in PyTorch's order, (C, H, W).
            (Layer::Flatten, _) => to_channels_first(x)?.flatten_from(1)?,
            (layer, None) => return Err(Error::Unsupported(format!("{}.{i}: {layer:?} without weights", self.name))),
        })
    }

    /// Its name, which leads the names of its weights.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The layers.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// The shape of each layer's output for inputs of shape `input`.
    pub fn shapes(&self, input: Shape) -> std::result::Result<Vec<Shape>, String> {
        let mut shape = input;
        self.layers.iter().map(|layer| layer.output(shape).inspect(|&output| shape = output)).collect()
    }
}

/// `(N, C, H, W)` to `(N, H, W, C)`.
pub fn to_channels_last(x: &Tensor) -> candle_core::Result<Tensor> {
    let (n, c, h, w) = x.dims4()?;
    // With one channel both orders are the same bytes.
    if c == 1 { x.reshape((n, h, w, c)) } else { x.permute((0, 2, 3, 1))?.contiguous() }
}

/// `(N, H, W, C)` to `(N, C, H, W)`.
pub fn to_channels_first(x: &Tensor) -> candle_core::Result<Tensor> {
    let (n, h, w, c) = x.dims4()?;
    if c == 1 { x.reshape((n, c, h, w)) } else { x.permute((0, 3, 1, 2))?.contiguous() }
}
