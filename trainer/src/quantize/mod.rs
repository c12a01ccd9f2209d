//! f32 to int8: reshapes folded away (`lower`), ranges from data ([`calibrate`]), channels brought to like ones (`equalize`), integers
//! (`integer`), curved activations and pixels as tables (`table`, `pixels`), the average error taken out (`correct`), and what it
//! costs ([`report`]). The numbers are those of `docs/format.md`.

pub mod calibrate;
mod correct;
mod equalize;
mod integer;
mod lower;
mod pixels;
pub mod report;
mod table;

use std::collections::BTreeMap;

use candle_core::Tensor;
use rand::{RngExt, seq::IteratorRandom};
use unbraid::writer::{FactorSpec, FileSpec, LayerSpec};

use self::{
    calibrate::{Calibration, Histogram, Range},
    correct::correct_outputs,
    integer::{LOG_VAR_BITS, MEAN_BITS, Units, mean_bits, quantize_layer},
    lower::FloatLayer,
    pixels::PixelTable,
    table::Table,
};
use crate::{
    Error, Result,
    data::{self, Dataset},
    export::ModelConfig,
    model::{Autoencoder, F32Model, Factor, ImageShape, Layer, Shape, finite},
    nn::Network,
    rng::{self, Purpose},
};

/// How to quantize.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How the encoder's activation ranges are chosen. What is clipped here is missing from the means.
    pub encoder: Calibration,
    /// How the decoder's activation ranges are chosen. Finer steps are worth more to pixels than rare peaks.
    pub decoder: Calibration,
    /// Images, none of them held out, to learn the ranges from.
    pub images: usize,
    /// Draws the images.
    pub seed: u64,
    /// Whether channels of an activation are brought to like ranges.
    pub equalize: bool,
    /// Whether the encoder's last biases take back what rounding shifts its outputs by on average.
    pub correct_bias: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            encoder: Calibration::MinMax,
            decoder: Calibration::Percentile,
            images: 1024,
            seed: 0,
            equalize: true,
            correct_bias: true,
        }
    }
}

/// What an int8 file says to people about where it comes from.
pub fn metadata(config: &ModelConfig) -> BTreeMap<String, String> {
    BTreeMap::from([
        ("architecture".into(), config.architecture.name.clone()),
        ("dataset".into(), config.dataset.clone()),
        ("format".into(), "unbraid-int8".into()),
        ("objective".into(), config.objective.clone()),
        ("seed".into(), config.seed.to_string()),
        ("steps".into(), config.steps.to_string()),
    ])
}

/// The bytes of `model.int8.safetensors` for `model`, with `factors` as its factor table and `metadata` for people.
///
/// Ranges are learned from images of `dataset` and their latents; those of a decoder alone, which needs no data, from latents
/// drawn from the prior.
///
/// # Errors
/// There are too few images, a layer is none that the device has, or a number does not fit the format.
pub fn quantize(
    model: &F32Model,
    dataset: Option<&dyn Dataset>,
    factors: &[Factor],
    metadata: BTreeMap<String, String>,
    options: &Options,
) -> Result<Vec<u8>> {
    let architecture = model.architecture();
    if options.images == 0 {
        return Err(Error::setting("images", options.images, "1 or more"));
    }
    let encoder = if architecture.has_encoder() {
        let images = calibration_images(model, dataset, options)?;
        let (shape, inputs) = (Shape::Image(architecture.image), model.images(&images)?);
        Some((Calibrated::of(model.encoder(), shape, &inputs, options.encoder, options.equalize)?, images))
    } else {
        None
    };
    let codes: Vec<Vec<f32>> = match &encoder {
        Some((encoder, _)) => encoder.last.narrow(1, 0, architecture.latents)?.to_vec2()?,
        None => draw_prior(model, options.images, options.seed),
    };
    let mean_bits = mean_bits(codes.iter().flatten().fold(0.0, |greatest: f32, mean| greatest.max(mean.abs())));
    let decoder = if architecture.has_decoder() {
        let latents = with_turned(model, codes, mean_bits, options.seed)?;
        let shape = Shape::Features(architecture.latents);
        Some(Calibrated::of(model.decoder(), shape, &latents, options.decoder, options.equalize)?)
    } else {
        None
    };

    // Pixel bytes are exact: p/255 in steps of 1/255.
    let pixels = Units::Activations(Range { low: 0.0, high: 1.0 });
    let pixel_table = Units::Pixels(PixelTable::finest(architecture.output));
    let ImageShape { channels, height, width } = architecture.image;
    let mut spec = FileSpec {
        image: unbraid::ImageShape { height, width, channels },
        latents: architecture.latents,
        mean_bits,
        log_var_bits: LOG_VAR_BITS,
        encoder: encoder.as_ref().map_or(vec![], |(net, _)| net.layers(pixels, Units::Code(mean_bits))),
        decoder: decoder.map_or(vec![], |net| net.layers(Units::Latents(mean_bits), pixel_table)),
        factors: factors.iter().cloned().map(FactorSpec::from).collect(),
        metadata,
    };
    if let (Some((encoder, images)), true) = (&encoder, options.correct_bias) {
        correct_outputs(&mut spec, images, &encoder.last)?;
    }
    write(&spec)
}

/// The bytes of the file.
fn write(spec: &FileSpec) -> Result<Vec<u8>> {
    let unfit = |e| Error::Unsupported(format!("this model does not fit the int8 format: {e}"));
    unbraid::writer::write(spec).map_err(unfit)
}

impl From<Factor> for FactorSpec {
    fn from(factor: Factor) -> Self {
        let Factor { latent, name, low, high, center, scale, importance, agreement } = factor;
        Self { latent, name, low, high, center, scale, importance, agreement }
    }
}

/// Images, none of them held out, `(N, H, W, C)`.
fn calibration_images(model: &F32Model, dataset: Option<&dyn Dataset>, options: &Options) -> Result<Vec<u8>> {
    let image = model.image();
    let dataset = dataset.ok_or_else(|| Error::setting("dataset", "none", "images, to quantize an encoder with"))?;
    if dataset.image() != image {
        return Err(Error::setting("dataset", dataset.name(), &format!("data with images of {image}")));
    }
    let mut rng = rng::stream(options.seed, Purpose::Calibration, 0);
    let indices = (0..dataset.len()).filter(|&index| !data::is_held_out(index)).sample(&mut rng, options.images);
    if indices.len() < options.images {
        let expected = format!("at most {}, all that {} has for it", indices.len(), dataset.name());
        return Err(Error::setting("images", options.images, &expected));
    }
    dataset.batch(&indices)
}

/// Latents of images that nobody has seen, from N(0, I).
fn draw_prior(model: &F32Model, count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut rng = rng::stream(seed, Purpose::Calibration, 2);
    (0..count).map(|_| rng::normals(&mut rng, model.latents())).collect()
}

/// Latents as a device decodes them: the given ones, and the same with one latent turned to anywhere in ±3, or as much more as the
/// latents need bits in front of the point.
fn with_turned(model: &F32Model, codes: Vec<Vec<f32>>, mean_bits: u8, seed: u64) -> Result<Tensor> {
    let far = 3.0 * f32::from(1_u16 << (MEAN_BITS - mean_bits));
    let mut rng = rng::stream(seed, Purpose::Calibration, 1);
    let turned = codes.clone().into_iter().map(|mut code| {
        let latent = rng.random_range(0..code.len());
        code[latent] = rng.random_range(-far..=far);
        code
    });
    let all: Vec<f32> = codes.iter().cloned().chain(turned).flatten().collect();
    model.latent_vectors(&all)
}

/// A network with what its activations did on the calibration data.
struct Calibrated {
    layers: Vec<FloatLayer>,
    /// For each layer what its outputs become as int8.
    units: Vec<Units>,
    /// The network's outputs, `(N, …)`.
    last: Tensor,
}

impl Calibrated {
    fn of(
        network: &Network,
        input_shape: Shape,
        inputs: &Tensor,
        calibration: Calibration,
        equalize: bool,
    ) -> Result<Self> {
        let mut layers = lower::lower(network, input_shape)?;
        let batches = batches(inputs)?;
        // The span of each channel's values first, then how often each value occurs.
        let mut spans: Vec<_> = layers.iter().map(|layer| vec![(0.0_f32, 0.0_f32); layer.output.channels]).collect();
        let mut last = Vec::new();
        for batch in &batches {
            let outputs = network.trace(batch)?;
            last.extend(outputs.last().cloned());
            for ((spans, layer), output) in
                spans.iter_mut().zip(&layers).zip(channels_last(network, &layers, &outputs)?)
            {
                let values = output.flatten_all()?.to_vec1::<f32>()?;
                finite(&values, |_| format!("an output of layer {}.{}", network.name(), layer.index))?;
                for pixel in values.chunks(spans.len()) {
                    spans.iter_mut().zip(pixel).for_each(|((low, high), &v)| (*low, *high) = (low.min(v), high.max(v)));
                }
            }
        }
        if equalize {
            let reach = |spans: &Vec<(f32, f32)>| spans.iter().map(|&(low, high)| high.max(-low)).collect();
            equalize::equalize(&mut layers, &spans.iter().map(reach).collect::<Vec<_>>());
        }
        let empty = |(layer, spans): (&FloatLayer, &Vec<(f32, f32)>)| {
            let divided = spans.iter().zip(&layer.divisors).map(|((low, high), s)| (low / s, high / s));
            let (low, high) = divided.fold((0.0_f32, 0.0_f32), |(l, h), (low, high)| (l.min(low), h.max(high)));
            Histogram::new(low, high)
        };
        let mut histograms: Vec<_> = layers.iter().zip(&spans).map(empty).collect();
        for batch in &batches {
            let outputs = channels_last(network, &layers, &network.trace(batch)?)?;
            for (histogram, output) in histograms.iter_mut().zip(outputs) {
                histogram.add(&output.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        let units = |(layer, histogram): (&FloatLayer, &Histogram)| {
            if Table::is_needed(layer.activation) {
                Units::Table(Table::of(layer.activation, histogram, calibration))
            } else {
                Units::Activations(histogram.range(calibration))
            }
        };
        let units = layers.iter().zip(&histograms).map(units).collect();
        Ok(Self { layers, units, last: Tensor::cat(&last, 0)? })
    }

    /// The integer layers, for input and output in the given units.
    fn layers(&self, mut input: Units, output: Units) -> Vec<LayerSpec> {
        let mut specs = Vec::with_capacity(self.layers.len());
        for (i, (layer, units)) in self.layers.iter().zip(&self.units).enumerate() {
            let last = i + 1 == self.layers.len();
            let next = match (last, layer.has_weights()) {
                (true, _) => output,
                (false, true) => *units,
                // Pooling and upsampling only choose among their inputs.
                (false, false) => input,
            };
            specs.push(quantize_layer(layer, input, next));
            input = next.behind();
        }
        specs
    }
}

/// Inputs that go through a network together.
const BATCH: usize = 64;

/// `(N, …)` in parts of at most [`BATCH`].
fn batches(inputs: &Tensor) -> Result<Vec<Tensor>> {
    let n = inputs.dim(0)?;
    let parts = (0..n).step_by(BATCH).map(|start| inputs.narrow(0, start, BATCH.min(n - start)));
    Ok(parts.collect::<candle_core::Result<_>>()?)
}

/// A trace's outputs of `layers`, in the device's order and divided as its layers are.
fn channels_last(network: &Network, layers: &[FloatLayer], outputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let of_layer = |layer: &FloatLayer| {
        // Behind an Unflatten the same values are in (H, W, C) order.
        let reshaped = matches!(network.layers().get(layer.index + 1), Some(Layer::Unflatten { .. }));
        let output = &outputs[layer.index + usize::from(reshaped)];
        Ok(output.broadcast_div(&Tensor::new(layer.divisors.as_slice(), output.device())?)?)
    };
    layers.iter().map(of_layer).collect()
}
