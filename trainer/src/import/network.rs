//! Layers in sequence, out of the stages that lead to a result.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::trace::{INPUT, Tracer};
use crate::{
    Result,
    model::{Layer, Shape},
};

/// A network with its weights, and where each layer came from.
#[derive(Debug, Clone, Default)]
pub struct Network {
    /// The layers.
    pub layers: Vec<Layer>,
    /// Weight and bias of each layer, as PyTorch stores them; nothing for layers without.
    pub parameters: Vec<Option<(Vec<f32>, Vec<f32>)>>,
    /// The nodes, with their operators, that each layer stands for.
    pub origins: Vec<Vec<String>>,
}

impl Network {
    /// The layers from the input of `tracer` to stage `last`.
    pub fn of(tracer: &Tracer, last: usize) -> Self {
        let mut chain = vec![last];
        while let Some(&id) = chain.last().filter(|&&id| id != INPUT) {
            chain.push(tracer.stages[id].source);
        }
        let mut network = Self::default();
        for pair in chain.windows(2).rev() {
            let (stage, before) = (&tracer.stages[pair[0]], &tracer.stages[pair[1]]);
            let Some(layer) = stage.layer else { continue };
            if stage.is_linear() && before.image().is_some() {
                network.push(Layer::Flatten, None, Vec::new());
            }
            let parameters = stage.has_weights().then(|| (stage.weight.clone(), stage.bias.clone()));
            network.push(layer, parameters, stage.nodes.clone());
            if let (true, Shape::Image(image)) = (stage.is_linear(), stage.output) {
                let (channels, height, width) = (image.channels, image.height, image.width);
                network.push(Layer::Unflatten { channels, height, width }, None, Vec::new());
            }
        }
        network
    }

    fn push(&mut self, layer: Layer, parameters: Option<(Vec<f32>, Vec<f32>)>, nodes: Vec<String>) {
        self.layers.push(layer);
        self.parameters.push(parameters);
        self.origins.push(nodes);
    }

    /// The weights by name, `encoder.0.weight` and so on for the network `name`.
    ///
    /// # Errors
    /// A weight does not have the layer's shape.
    pub fn weights(&self, name: &str) -> Result<BTreeMap<String, Tensor>> {
        let mut weights = BTreeMap::new();
        for (i, (layer, parameters)) in self.layers.iter().zip(&self.parameters).enumerate() {
            let (Some((shape, _)), Some((weight, bias))) = (layer.parameters(), parameters) else { continue };
            weights.insert(format!("{name}.{i}.weight"), Tensor::from_slice(weight, shape, &Device::Cpu)?);
            weights.insert(format!("{name}.{i}.bias"), Tensor::from_slice(bias, bias.len(), &Device::Cpu)?);
        }
        Ok(weights)
    }
}
