//! An encoder and a decoder for one instruction set, and the memory of one thread that runs them.

use std::boxed::Box;
use std::sync::Arc;
use std::vec;
use std::vec::Vec;

use super::geometry::Plane;
use super::isa::{Element, Isa};
use super::layer::{Layer, weight_bytes};
use super::output::Sink;
use crate::layer;
use crate::model::Model;
use crate::profile::Probe;

/// Runs the networks of a model: what remains of the instruction set is behind this.
pub(super) trait Worker: Send + Sync {
    /// `(H, W, C)` pixels to the last layer's features.
    fn encode(&mut self, pixels: &[u8], features: &mut [i16], probe: &mut dyn Probe);

    /// Latents to `(H, W, C)` pixels.
    fn decode(&mut self, latents: &[i16], pixels: &mut [u8], probe: &mut dyn Probe);

    /// Another worker with the same weights and own memory.
    fn fork(&self) -> Box<dyn Worker>;
}

/// Layers, and the planes before each of them.
struct Network<I: Isa> {
    layers: Vec<Layer<I>>,
    planes: Vec<Plane>,
}

impl<I: Isa> Network<I> {
    fn new(layers: &[layer::Layer<'_>], latents: bool) -> Self {
        let planes = planes::<I>(layers);
        let layer = |(index, layer): (usize, &layer::Layer<'_>)| {
            let output = planes.get(index + 1).copied().unwrap_or(Plane::bare(layer.output()));
            Layer::new(layer, latents && index == 0, &planes[index], &output)
        };
        Network { layers: layers.iter().enumerate().map(layer).collect(), planes }
    }

    /// Planes whose borders hold the zero point.
    fn memory(&self) -> Vec<Vec<I::Element>> {
        self.planes.iter().map(|plane| vec![I::Element::new(plane.zero_point); plane.len() as usize]).collect()
    }

    fn run(
        &self,
        isa: I,
        memory: &mut [Vec<I::Element>],
        latents: &[i16],
        mut sink: Sink<'_, I::Element>,
        probe: &mut dyn Probe,
    ) {
        for (index, layer) in self.layers.iter().enumerate() {
            probe.begin(index);
            match memory.get_disjoint_mut([index, index + 1]) {
                Ok([input, output]) => isa.run(layer, input, latents, Sink::Activations(output)),
                Err(_) => isa.run(layer, &memory[index], latents, sink.reborrow()),
            }
            probe.end(index);
        }
    }
}

/// The planes before each layer.
fn planes<I: Isa>(layers: &[layer::Layer<'_>]) -> Vec<Plane> {
    layers.iter().map(|layer| Plane::before(layer, I::CHUNK)).collect()
}

struct Networks<I: Isa> {
    isa: I,
    encoder: Network<I>,
    decoder: Network<I>,
}

struct Thread<I: Isa> {
    networks: Arc<Networks<I>>,
    encoder: Vec<Vec<I::Element>>,
    decoder: Vec<Vec<I::Element>>,
}

/// Bytes that [`worker`] will take.
pub(super) fn bytes<I: Isa>(model: &Model<'_>) -> u64 {
    let layers: Vec<_> = model.encoder_layers().chain(model.decoder_layers()).collect();
    let element = size_of::<I::Element>() as u64;
    let planes = planes::<I>(&layers).into_iter().map(|plane| plane.len().saturating_mul(element));
    let weights = layers.iter().filter(|layer| layer.weight_bytes() > 0).map(weight_bytes::<I>);
    planes.chain(weights).fold(0, u64::saturating_add)
}

/// Rearranges a model for an instruction set.
pub(super) fn worker<I: Isa>(isa: I, model: &Model<'_>) -> Box<dyn Worker> {
    let encoder = Network::new(&model.encoder_layers().collect::<Vec<_>>(), false);
    let decoder = Network::new(&model.decoder_layers().collect::<Vec<_>>(), true);
    Thread::spawn(Arc::new(Networks { isa, encoder, decoder }))
}

impl<I: Isa> Thread<I> {
    fn spawn(networks: Arc<Networks<I>>) -> Box<dyn Worker> {
        let (encoder, decoder) = (networks.encoder.memory(), networks.decoder.memory());
        Box::new(Thread { networks, encoder, decoder })
    }
}

impl<I: Isa> Worker for Thread<I> {
    fn encode(&mut self, pixels: &[u8], features: &mut [i16], probe: &mut dyn Probe) {
        let Networks { isa, encoder, .. } = &*self.networks;
        if let (Some(plane), Some(memory)) = (encoder.planes.first(), self.encoder.first_mut()) {
            let mut pixels = pixels.iter();
            for row in plane.rows(memory) {
                for (to, pixel) in row.iter_mut().zip(&mut pixels) {
                    *to = I::Element::new(i32::from(*pixel) - 128);
                }
            }
        }
        encoder.run(*isa, &mut self.encoder, &[], Sink::Code(features), probe);
    }

    fn decode(&mut self, latents: &[i16], pixels: &mut [u8], probe: &mut dyn Probe) {
        let Networks { isa, decoder, .. } = &*self.networks;
        decoder.run(*isa, &mut self.decoder, latents, Sink::Pixels(pixels), probe);
    }

    fn fork(&self) -> Box<dyn Worker> {
        Thread::spawn(self.networks.clone())
    }
}
