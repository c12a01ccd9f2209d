//! Models that others trained: ONNX files of an encoder, a decoder or both become what our trainer writes.
//!
//! A file is read as a graph, followed from its input to its outputs as elements of layers, ended in one linear layer of
//! means and log-variances or in pixels, and compared with its own graph, node by node.

mod array;
mod decoder;
mod encoder;
mod explain;
mod graph;
mod network;
mod operators;
mod pixels;
mod refusal;
mod state_dict;
mod trace;
mod value;
mod verify;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};
use serde_json::json;

use self::{
    encoder::Heads,
    graph::{Graph, Node},
    network::Network,
    pixels::Layout,
    trace::{Symbol, Tracer},
};
pub use self::{
    pixels::{Pixels, image_shape},
    refusal::Refusal,
    verify::{LIMIT, Verified},
};
use crate::{
    Error, Result, data,
    export::{IMPORTED, ModelConfig, UNKNOWN_DATASET},
    model::{Architecture, Autoencoder, F32Model, ImageShape, PixelOutput, Shape},
};

/// Images of a data set that are compared.
const COMPARED: usize = 8;

/// What to import, and what its files do not say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The encoder's ONNX file: image to means, or means and log-variances.
    pub encoder: Option<PathBuf>,
    /// The decoder's ONNX file: latents to image.
    pub decoder: Option<PathBuf>,
    /// The model's name; the files' otherwise.
    pub name: Option<String>,
    /// The images, where the files do not say.
    pub image: Option<ImageShape>,
    /// Whether images are `(N, H, W, C)`; told by the sizes otherwise.
    pub channels_last: Option<bool>,
    /// The numbers that stand for pixels, of the encoder's input and the decoder's output; from 0 to 1 otherwise.
    pub pixels: Option<Pixels>,
    /// The decoder gives logits: a sigmoid that is not in the file makes them pixels.
    pub logits: bool,
    /// The number of latents; those of the other file otherwise.
    pub latents: Option<usize>,
    /// The encoder's output of means.
    pub mean: Option<String>,
    /// The encoder's output of log-variances.
    pub log_var: Option<String>,
    /// The data that the model was trained on, as `--dataset` names it; a few of its images are compared besides random ones.
    pub dataset: Option<String>,
}

/// Which of a model's networks a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Images to latents.
    Encoder,
    /// Latents to images.
    Decoder,
}

/// Tells whether the ONNX file at `path` is an encoder or a decoder: by its name, or by whether it takes an image.
///
/// # Errors
/// It cannot be read.
pub fn part_of(path: &Path) -> Result<Part> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let named = |words: [&str; 2]| words.iter().any(|word| name.contains(word));
    match (named(["encoder", "enc."]), named(["decoder", "generator"])) {
        (true, false) => return Ok(Part::Encoder),
        (false, true) => return Ok(Part::Decoder),
        _ => {}
    }
    let graph = Graph::read(path)?;
    let takes_image = graph.inputs.first().is_some_and(|input| match input.shape.as_slice() {
        [_, _, h, w] => [*h, *w] != [Some(1); 2],
        _ => false,
    });
    Ok(if takes_image { Part::Encoder } else { Part::Decoder })
}

/// A model, ready to be written.
#[derive(Debug)]
pub struct Imported {
    /// What goes into `config.json`.
    pub config: ModelConfig,
    /// The weights of encoder and decoder by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The networks as they were understood, layer by layer, for people.
    pub explanation: String,
    /// What was decided where the files leave it open, for people.
    pub notes: Vec<String>,
    /// The encoder against its graph.
    pub encoder: Option<Verified>,
    /// The decoder against its graph.
    pub decoder: Option<Verified>,
}

/// An encoder's graph, understood.
struct Encoder {
    graph: Graph,
    network: Network,
    layout: Layout,
    heads: Heads,
}

/// A decoder's graph, understood.
struct Decoder {
    graph: Graph,
    network: Network,
    layout: Layout,
    output: PixelOutput,
    latents: Vec<usize>,
}

/// Imports the files that `options` name. Nothing is written.
///
/// # Errors
/// [`Error::Refused`] with the node that cannot be represented; a file is damaged; the two files do not fit each other; the imported
/// networks do not give what their graphs give.
pub fn import(options: &Options) -> Result<Imported> {
    let read = |path: &Option<PathBuf>| path.as_deref().map(Graph::read).transpose();
    import_graphs(options, read(&options.encoder)?, read(&options.decoder)?, Vec::new())
}

/// Imports the tensors in the safetensors file `weights` as the layers that the TOML file `layers` says, in the same way. What
/// `options` say of files does not count.
///
/// # Errors
/// As [`import`]; `layers` names tensors that are not there, or is no such file.
pub fn import_state_dict(weights: &Path, layers: &Path, options: &Options) -> Result<Imported> {
    let state_dict::Model { name, encoder, decoder, pixels, notes } = state_dict::read(weights, layers)?;
    let pixels = options.pixels.clone().or(pixels);
    import_graphs(&Options { name: options.name.clone().or(name), pixels, ..options.clone() }, encoder, decoder, notes)
}

fn import_graphs(
    options: &Options,
    encoder: Option<Graph>,
    decoder: Option<Graph>,
    mut notes: Vec<String>,
) -> Result<Imported> {
    if encoder.is_none() && decoder.is_none() {
        return Err(Error::setting("import", "no file", "an encoder, a decoder or both"));
    }
    let latents = options.latents.or_else(|| latents_of(decoder.as_ref()?));
    let encoder = encoder.map(|graph| understand_encoder(graph, options, latents, &mut notes)).transpose()?;
    let image = options.image.or(encoder.as_ref().map(|encoder| encoder.layout.image));
    let latents = latents.or(encoder.as_ref().map(|encoder| encoder.heads.mean.len()));
    let decoder = decoder.map(|graph| understand_decoder(graph, options, (image, latents), &mut notes)).transpose()?;

    let image = image.or(decoder.as_ref().map(|decoder| decoder.layout.image));
    let latents = latents.or(decoder.as_ref().map(|decoder| decoder.latents.iter().product()));
    let (Some(image), Some(latents)) = (image, latents) else {
        return Err(Error::setting("import", "no sizes", "files with the sizes of images and latents"));
    };
    let layers = |network: Option<&Network>| network.map_or(Vec::new(), |network| network.layers.clone());
    let networks = (encoder.as_ref().map(|e| &e.network), decoder.as_ref().map(|d| &d.network));
    let architecture = Architecture {
        name: options.name.clone().unwrap_or_else(|| name_of(options)),
        image,
        latents,
        encoder: layers(networks.0),
        decoder: layers(networks.1),
        output: decoder.as_ref().map_or_else(PixelOutput::default, |decoder| decoder.output),
    };
    architecture.validate().map_err(Error::Unsupported)?;
    let mut weights = BTreeMap::new();
    let mut explanation = String::new();
    for (name, network, input) in
        [("encoder", networks.0, Shape::Image(image)), ("decoder", networks.1, Shape::Features(latents))]
    {
        if let Some(network) = network {
            weights.extend(network.weights(name)?);
            explanation += &explain::explain(name, network, input);
        }
    }
    let model = F32Model::new(architecture.clone(), &weights, &Device::Cpu)?;
    let pixels = options.pixels.clone().unwrap_or_default();
    let images = options.dataset.as_deref().map_or(Ok(Vec::new()), |name| images_of(name, image))?;
    let codes = match &encoder {
        Some(_) if !images.is_empty() => model.encode(&images)?.mean,
        _ => Vec::new(),
    };
    let verify_encoder = |e: &Encoder| verify::encoder(&e.graph, &model, (&e.layout, &pixels, &e.heads), &images);
    let verify_decoder =
        |d: &Decoder| verify::decoder(&d.graph, &model, (&d.layout, &pixels, options.logits), &d.latents, &codes);
    let (verified_encoder, verified_decoder) =
        (encoder.as_ref().map(verify_encoder).transpose()?, decoder.as_ref().map(verify_decoder).transpose()?);
    let config = ModelConfig {
        architecture,
        objective: IMPORTED.into(),
        dataset: options.dataset.clone().unwrap_or_else(|| UNKNOWN_DATASET.into()),
        steps: 0,
        seed: 0,
        training: origin(options, encoder.as_ref().map(|e| &e.graph), decoder.as_ref().map(|d| &d.graph)),
        factors: Vec::new(),
    };
    Ok(Imported { config, weights, explanation, notes, encoder: verified_encoder, decoder: verified_decoder })
}

/// A few images of the data set `name`, spread over it.
fn images_of(name: &str, image: ImageShape) -> Result<Vec<u8>> {
    let dataset = data::open(name)?;
    if dataset.image() != image {
        let expected = format!("data with images of {image}; those of {name} are {}", dataset.image());
        return Err(Error::setting("dataset", name, &expected));
    }
    let step = dataset.len().div_ceil(COMPARED).max(1);
    dataset.batch(&(0..dataset.len()).step_by(step).collect::<Vec<_>>())
}

fn understand_encoder(
    graph: Graph,
    options: &Options,
    latents: Option<usize>,
    notes: &mut Vec<String>,
) -> Result<Encoder> {
    let (name, shape) =
        input_of(&graph, |rest| options.image.map_or(Vec::new(), |image| sizes_of(image, rest)), "one image")?;
    let malformed = |field: &str, found: String| malformed(&graph, field, found, "an encoder from images to latents");
    let layout = Layout::of(&shape, options.image, options.channels_last).map_err(|e| malformed("input", e))?;
    let pixels = options.pixels.clone().unwrap_or_default();
    pixels.check(layout.image.channels)?;
    let image = layout.image;
    let elements = encoder::input(&layout.order, image.height * image.width, |channel| pixels.factor(channel));
    let refused = |refusal: Refusal| refusal.in_file(&graph.path);
    let mut tracer = Tracer::trace(&graph, &name, elements, Shape::Image(image)).map_err(refused)?;
    let hints = encoder::Hints { mean: options.mean.clone(), log_var: options.log_var.clone(), latents };
    let mut heads = encoder::heads(&graph, &tracer, &hints, notes).map_err(|e| malformed("outputs", e))?;
    let last = encoder::code(&mut tracer, last_node(&graph)?, &mut heads, notes).map_err(refused)?;
    let network = Network::of(&tracer, last);
    Ok(Encoder { graph, network, layout, heads })
}

fn understand_decoder(
    graph: Graph,
    options: &Options,
    (image, latents): (Option<ImageShape>, Option<usize>),
    notes: &mut Vec<String>,
) -> Result<Decoder> {
    let fill = |rank: usize| latents.map_or(Vec::new(), |n| [&[n][..], &vec![1; rank.saturating_sub(1)]].concat());
    let (name, mut shape) = input_of(&graph, |rest| fill(rest.len()), "one vector of latents")?;
    if shape.len() == 1 {
        shape.insert(0, 1);
    }
    let n: usize = shape.iter().product();
    if let Some(latents) = latents.filter(|&latents| latents != n) {
        return Err(malformed(&graph, "input", format!("{n} latents"), &format!("{latents}, as the encoder has")));
    }
    let elements = trace::Traced::of_stage(trace::INPUT, shape.clone()).elements;
    let refused = |refusal: Refusal| refusal.in_file(&graph.path);
    let mut tracer = Tracer::trace(&graph, &name, elements, Shape::Features(n)).map_err(refused)?;
    let expected = "a decoder from latents to one image";
    let [output] = graph.outputs.as_slice() else {
        return Err(malformed(&graph, "outputs", graph.outputs.join(", "), expected));
    };
    let node = last_node(&graph)?;
    let traced = match tracer.symbol(output) {
        Some(Symbol::Traced(traced)) => traced.clone(),
        Some(Symbol::Unknown(refusal)) => return Err(refused(refusal.clone())),
        _ => return node.refuse("gives no image", "an image computed from the latents").map_err(refused),
    };
    let layout = Layout::of(traced.elements.shape(), image, options.channels_last)
        .map_err(|found| malformed(&graph, "output", found, expected))?;
    let hints = decoder::Hints { pixels: options.pixels.as_ref(), logits: options.logits };
    hints.pixels.map_or(Ok(()), |pixels| pixels.check(layout.image.channels))?;
    let (last, output) = decoder::image(&mut tracer, node, &traced, &layout, hints, notes).map_err(refused)?;
    let network = Network::of(&tracer, last);
    Ok(Decoder { graph, network, layout, output, latents: shape })
}

/// The one input that the outputs depend on, and its shape for a batch of one; `fill` says what free sizes behind the batch are, from
/// all of them.
fn input_of(
    graph: &Graph,
    fill: impl Fn(&[Option<usize>]) -> Vec<usize>,
    expected: &str,
) -> Result<(String, Vec<usize>)> {
    let used = |name: &str| graph.nodes.iter().any(|node| node.inputs.iter().any(|input| input == name));
    let inputs: Vec<_> = graph.inputs.iter().filter(|input| used(&input.name)).collect();
    let [input] = inputs.as_slice() else {
        let names: Vec<_> = inputs.iter().map(|input| input.name.as_str()).collect();
        let expected = format!("{expected}; networks with labels or other inputs have to be exported with these fixed");
        return Err(malformed(graph, "inputs", format!("[{}]", names.join(", ")), &expected));
    };
    let mut shape = input.shape.clone();
    if let Some(batch) = shape.first_mut() {
        if let Some(n) = batch.filter(|&n| n > 1) {
            let expected = "1 or a free one, as dynamic_axes or dynamic_shapes make it";
            return Err(malformed(graph, &format!("input {}", input.name), format!("a batch of {n}"), expected));
        }
        *batch = Some(1);
    }
    if let [_, rest @ ..] = shape.as_mut_slice() {
        let filling = fill(rest);
        rest.iter_mut().zip(filling).for_each(|(size, known)| *size = size.or(Some(known)));
    }
    let known: Option<Vec<usize>> = shape.into_iter().collect();
    let known = known.filter(|shape| !shape.is_empty()).ok_or_else(|| {
        let expected = "sizes in the file, or --image and --latents";
        malformed(graph, &format!("input {}", input.name), "free sizes".into(), expected)
    })?;
    Ok((input.name.clone(), known))
}

/// The sizes of `image` behind the batch of an input with the known sizes `rest`.
fn sizes_of(image: ImageShape, rest: &[Option<usize>]) -> Vec<usize> {
    let (c, h, w) = (image.channels, image.height, image.width);
    match *rest {
        [first, _, last] if first != Some(c) && last == Some(c) => vec![h, w, c],
        [_, _, _] => vec![c, h, w],
        [_, _] => vec![h, w],
        [_] => vec![image.size()],
        _ => Vec::new(),
    }
}

/// The number of latents that a decoder takes, if its file says so.
fn latents_of(decoder: &Graph) -> Option<usize> {
    input_of(decoder, |_| Vec::new(), "").ok().map(|(_, shape)| shape.iter().product())
}

fn last_node(graph: &Graph) -> Result<&Node> {
    let expected = "a network that computes something";
    graph.nodes.last().ok_or_else(|| malformed(graph, "graph", "no nodes".into(), expected))
}

fn malformed(graph: &Graph, field: &str, found: String, expected: &str) -> Error {
    Error::malformed(&graph.path, field, found, expected)
}

/// The name of the folder that the files lie in, or of a file.
fn name_of(options: &Options) -> String {
    let stem = |path: &PathBuf| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let folder = |path: &PathBuf| {
        let path = std::path::absolute(path).ok()?;
        path.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned())
    };
    let first = options.encoder.as_ref().or(options.decoder.as_ref());
    let plain = ["encoder", "decoder", "model", "generator"];
    let own = first.and_then(stem).filter(|stem| !plain.contains(&stem.as_str()));
    own.or_else(|| first.and_then(folder)).unwrap_or_else(|| IMPORTED.into())
}

/// Where a model comes from, for `config.json`.
fn origin(options: &Options, encoder: Option<&Graph>, decoder: Option<&Graph>) -> serde_json::Value {
    let file = |graph: &Graph| {
        let name = graph.path.file_name().map(|name| name.to_string_lossy().into_owned());
        json!({ "file": name, "producer": graph.producer, "opset": graph.opset })
    };
    json!({
        "imported": true,
        "encoder": encoder.map(file),
        "decoder": decoder.map(file),
        "pixels": options.pixels.clone().unwrap_or_default().to_string(),
    })
}
