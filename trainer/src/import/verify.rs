//! Imported networks against the graphs that they came from, evaluated node by node.

use std::collections::BTreeMap;

use candle_core::Tensor;
use rand::RngExt;

use super::{
    array::Array,
    encoder::Heads,
    graph::Graph,
    operators,
    pixels::{Layout, Pixels},
    value::Value,
};
use crate::{
    Error, Result,
    model::{Autoencoder, F32Model},
    nn::to_channels_first,
    rng::{self, Purpose},
};

/// The largest difference that is still rounding, for numbers up to 1; in proportion for larger ones.
pub const LIMIT: f32 = 1e-4;

/// Images, or latents, that are compared where nobody gave any.
const COUNT: usize = 3;

/// The largest difference found, and over how many inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verified {
    /// Inputs compared.
    pub inputs: usize,
    /// The largest absolute difference; for decoders of pixels from 0 to 1.
    pub difference: f32,
}

/// Largest differences so far.
#[derive(Default)]
struct Largest {
    difference: f32,
    scale: f32,
}

impl Largest {
    fn add(&mut self, found: f32, expected: f32) {
        let difference = (found - expected).abs();
        self.difference = self.difference.max(if difference.is_nan() { f32::INFINITY } else { difference });
        self.scale = self.scale.max(expected.abs());
    }

    fn verified(self, graph: &Graph, inputs: usize) -> Result<Verified> {
        let limit = LIMIT * self.scale.max(1.0);
        if self.difference > limit {
            let found = format!("outputs off by {:e} after the import", self.difference);
            let expected = format!("at most {limit:e}; this is a mistake of the import, please report it");
            return Err(Error::malformed(&graph.path, "verification", found, &expected));
        }
        Ok(Verified { inputs, difference: self.difference })
    }
}

/// Compares the encoder of `model` with its graph, on random images and on `given` ones, bytes `(N, H, W, C)`.
///
/// # Errors
/// They differ, or the graph cannot be evaluated.
pub fn encoder(
    graph: &Graph,
    model: &F32Model,
    (layout, pixels, heads): (&Layout, &Pixels, &Heads),
    given: &[u8],
) -> Result<Verified> {
    let image = model.image();
    let mut rng = rng::stream(0, Purpose::Report, 0);
    let random = (0..COUNT * image.size()).map(|_| rng.random::<u8>());
    let images: Vec<u8> = random.chain(given.iter().copied()).collect();
    let mut largest = Largest::default();
    for bytes in images.chunks_exact(image.size()) {
        let code = model.encode(bytes)?;
        let fed = layout.order.map(|&index| {
            let (channel, pixel) = (index / (image.height * image.width), index % (image.height * image.width));
            let (scale, offset) = pixels.factor(channel);
            scale.mul_add(f32::from(bytes[pixel * image.channels + channel]) / 255.0, offset)
        });
        let values = run(graph, fed)?;
        let read = |name: &Option<String>| name.as_ref().and_then(|name| values.get(name));
        if let Some(value) = read(&heads.mean.output) {
            code.mean.iter().zip(heads.mean.read(value)).for_each(|(&found, expected)| largest.add(found, expected));
        }
        if let Some((head, value)) = heads.log_var.as_ref().and_then(|head| Some((head, read(&head.output)?))) {
            let pairs = code.log_var.iter().zip(head.read(value));
            pairs.for_each(|(&found, expected)| largest.add(head.clip(found), expected));
        }
    }
    largest.verified(graph, images.len() / image.size())
}

/// Compares the decoder of `model` with its graph, whose latents have the shape `latents`, on random latents and on those `given`.
///
/// # Errors
/// They differ, or the graph cannot be evaluated.
pub fn decoder(
    graph: &Graph,
    model: &F32Model,
    (layout, pixels, logits): (&Layout, &Pixels, bool),
    latents: &[usize],
    given: &[f32],
) -> Result<Verified> {
    let (image, n) = (model.image(), model.latents());
    let mut rng = rng::stream(0, Purpose::Report, 1);
    let codes = [rng::normals(&mut rng, COUNT * n), given.to_vec()].concat();
    let mut largest = Largest::default();
    for code in codes.chunks_exact(n) {
        let last: Tensor = model.decoder().forward_frozen(&model.latent_vectors(code)?)?;
        let found = to_channels_first(&last)?.flatten_all()?.to_vec1::<f32>()?;
        let fed = Array::new(latents.to_vec(), code.to_vec()).map_err(Error::Unsupported)?;
        let values = run(graph, fed)?;
        let Some(value) = graph.outputs.first().and_then(|name| values.get(name)) else { continue };
        for (&index, &value) in layout.order.data().iter().zip(value.floats().data()) {
            let (scale, offset) = pixels.inverse(index / (image.height * image.width));
            let expected =
                if logits { 1.0 / (1.0 + (-value).exp()) } else { scale.mul_add(value, offset).clamp(0.0, 1.0) };
            largest.add(model.architecture().output.pixel(found[index]), expected);
        }
    }
    largest.verified(graph, codes.len() / n)
}

/// The values of `graph` for the one input `fed`.
fn run(graph: &Graph, fed: Array<f32>) -> Result<BTreeMap<String, Value>> {
    let given = graph.inputs.iter().take(1).map(|input| (input.name.clone(), Value::Float(fed.clone()))).collect();
    operators::run(graph, given).map_err(|refusal| refusal.in_file(&graph.path))
}
