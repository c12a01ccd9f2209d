//! A sequence of layers with their weights.

use std::{collections::BTreeMap, sync::Arc};

use candle_core::{Device, Tensor, Var, backprop::GradStore};

use super::{
    Init,
    ops::neutral,
    tape::{Node, Shared, Tape},
};
use crate::{
    Error, Result,
    model::{Layer, Shape, Window},
    rng::{self, Purpose},
};

/// A layer's weight and bias; absent where it has none.
type Parameters = Option<(Var, Var)>;

/// Layers in sequence. Inputs and outputs are channels-last, `(N, H, W, C)`, or `(N, features)`.
///
/// On the CPU all layers are one operation; on other devices they are composed of candle's ([`neutral`]).
#[derive(Debug, Clone)]
pub struct Network {
    name: &'static str,
    layers: Vec<Layer>,
    pub(super) parameters: Vec<Parameters>,
    shared: Arc<Shared>,
    /// Whether a pass is a tape.
    fused: bool,
}

/// A pass of a [`Network`] whose output serves several losses.
#[derive(Debug, Clone)]
pub struct Pass {
    network: Network,
    x: Tensor,
    tape: Option<Arc<Tape>>,
    readout: Option<&'static [f32]>,
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
        Ok(Self { name, layers: layers.to_vec(), parameters, shared: Arc::default(), fused: device.is_cpu() })
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
        Ok(Self { name, layers: layers.to_vec(), parameters, shared: Arc::default(), fused: device.is_cpu() })
    }

    /// Composes the layers of candle's operations from now on, as on a GPU: how a CPU tests what a GPU runs.
    pub fn compose_layers(&mut self) {
        self.fused = false;
    }

    /// The weights by name, `encoder.0.weight` and so on: N counts all layers, shapes are PyTorch's.
    pub fn variables(&self) -> Vec<(String, Var)> {
        let named = |(i, parameters): (usize, &Parameters)| {
            let (weight, bias) = parameters.clone()?;
            Some([(format!("{}.{i}.weight", self.name), weight), (format!("{}.{i}.bias", self.name), bias)])
        };
        self.parameters.iter().enumerate().filter_map(named).flatten().collect()
    }

    /// The network's output, with gradients for its input and its weights.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self.tape(x)? {
            Some(tape) => self.node(x, tape, true, None),
            None => self.compose(x, |var| var.as_tensor().clone()),
        }
    }

    /// The network's output where only the input may need a gradient: the weights count as constants.
    pub fn forward_frozen(&self, x: &Tensor) -> Result<Tensor> {
        self.pass(x)?.toward_input()
    }

    /// One pass over `x` for several losses.
    pub fn pass(&self, x: &Tensor) -> Result<Pass> {
        Ok(Pass { network: self.clone(), x: x.clone(), tape: self.tape(x)?, readout: None })
    }

    /// One pass of linear layers over `x (N, features)` for several losses of the numbers `output·readout`, `(N, 1)`; on the CPU
    /// they share the way back through the network as well.
    pub fn pass_readout(&self, x: &Tensor, readout: &'static [f32]) -> Result<Pass> {
        Ok(Pass { readout: Some(readout), ..self.pass(x)? })
    }

    /// The output of every layer in turn, the last one included, without gradients.
    pub fn trace(&self, x: &Tensor) -> Result<Vec<Tensor>> {
        if let Some(tape) = self.tape(x)? {
            return Ok(tape.outputs().collect::<candle_core::Result<_>>()?);
        }
        let mut x = x.clone();
        let mut outputs = Vec::with_capacity(self.layers.len());
        for i in 0..self.layers.len() {
            x = self.layer(i, &x, Var::as_detached_tensor)?;
            outputs.push(x.clone());
        }
        Ok(outputs)
    }

    /// The gradients of the weights, in the order of [`Self::variables`], summed over the backward passes since the last call.
    ///
    /// The tensors are overwritten by the next backward pass. `store` is what candle's `backward` returned.
    ///
    /// # Errors
    /// There was no backward pass through the weights.
    pub fn take_gradients(&self, store: &GradStore) -> Result<Vec<Tensor>> {
        let gradients = match self.shared.gradients.take() {
            Some(gradients) => Some(gradients),
            None => self.vars().map(|var| store.get(var).cloned()).collect(),
        };
        gradients.ok_or_else(|| Error::Unsupported(format!("{}: no gradient reached its weights", self.name)))
    }

    /// Weight and bias of each layer that has them, in order.
    pub(super) fn vars(&self) -> impl Iterator<Item = &Var> {
        self.parameters.iter().flatten().flat_map(|(weight, bias)| [weight, bias])
    }

    pub(super) fn tape(&self, x: &Tensor) -> Result<Option<Arc<Tape>>> {
        let variables = || self.vars().cloned().collect();
        let record = || Tape::record(self.name, &self.layers, variables(), &self.shared, x).map(Arc::new);
        Ok(self.fused.then(record).transpose()?)
    }

    fn node(&self, x: &Tensor, tape: Arc<Tape>, weights: bool, readout: Option<&'static [f32]>) -> Result<Tensor> {
        // candle asks an operation for gradients only if one of its inputs wants one: a weight stands for all of them.
        let weight = self.vars().next().map(|weight| weight.as_tensor().clone());
        let stand_in = weight.filter(|_| weights).unwrap_or_else(|| x.detach());
        Ok(x.apply_op2(&stand_in, Node { tape, weights, readout })?)
    }

    fn compose(&self, x: &Tensor, weight: impl Fn(&Var) -> Tensor) -> Result<Tensor> {
        (0..self.layers.len()).try_fold(x.clone(), |x, i| self.layer(i, &x, &weight))
    }

    fn layer(&self, i: usize, x: &Tensor, weight: impl Fn(&Var) -> Tensor) -> Result<Tensor> {
        let parameters = self.parameters[i].as_ref().map(|(w, b)| (weight(w), weight(b)));
        Ok(match (&self.layers[i], parameters) {
            (&Layer::Conv2d { kernel, stride, padding, activation, .. }, Some((w, b))) => {
                neutral::conv2d(x, &w, &b, Window { kernel, stride, padding }, activation)?
            }
            (&Layer::ConvTranspose2d { kernel, stride, padding, output_padding, activation, .. }, Some((w, b))) => {
                let window = Window { kernel, stride, padding };
                neutral::conv_transpose2d(x, &w, &b, (window, output_padding), activation)?
            }
            (&Layer::Linear { activation, .. }, Some((w, b))) => neutral::linear(x, &w, &b, activation)?,
            (&Layer::MaxPool { kernel, stride, padding }, _) => {
                neutral::max_pool(x, Window { kernel, stride, padding })?
            }
            (&Layer::UpsampleNearest { factor }, _) => neutral::upsample_nearest(x, factor)?,
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

impl Pass {
    /// The output, through which gradients reach the input alone.
    pub fn toward_input(&self) -> Result<Tensor> {
        self.output(&self.x, false)
    }

    /// The output, through which gradients reach the weights alone.
    pub fn toward_weights(&self) -> Result<Tensor> {
        self.output(&self.x.detach(), true)
    }

    fn output(&self, x: &Tensor, weights: bool) -> Result<Tensor> {
        let network = &self.network;
        if let Some(tape) = &self.tape {
            return network.node(x, tape.clone(), weights, self.readout);
        }
        let weight = |var: &Var| if weights { var.as_tensor().clone() } else { var.as_detached_tensor() };
        let output = network.compose(x, weight)?;
        match self.readout {
            None => Ok(output),
            Some(readout) => Ok(output.matmul(&Tensor::new(readout, x.device())?.unsqueeze(1)?)?),
        }
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
