//! f32 to int8: ranges from data ([`calibrate`]), reshapes folded away (`lower`), integers (`integer`), curved activations
//! and pixels as tables (`table`, `pixels`), and what it costs ([`report`]). The numbers are those of `docs/format.md`.

pub mod calibrate;
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
    integer::{Averages, LOG_VAR_BITS, MEAN_BITS, Units, mean_bits, quantize_layer},
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
    /// Whether biases make up for the average error of rounded weights.
    pub correct_bias: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            encoder: Calibration::MinMax,
            decoder: Calibration::Percentile,
            images: 1024,
            seed: 0,
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
        let shape = Shape::Image(architecture.image);
        Some(Calibrated::of(model.encoder(), shape, &images, options.encoder)?)
    } else {
        None
    };
    let codes: Vec<Vec<f32>> = match &encoder {
        Some(encoder) => encoder.last.narrow(1, 0, architecture.latents)?.to_vec2()?,
        None => draw_prior(model, options.images, options.seed),
    };
    let mean_bits = mean_bits(codes.iter().flatten().fold(0.0, |greatest: f32, mean| greatest.max(mean.abs())));
    let decoder = if architecture.has_decoder() {
        let latents = with_turned(model, codes, mean_bits, options.seed)?;
        Some(Calibrated::of(model.decoder(), Shape::Features(architecture.latents), &latents, options.decoder)?)
    } else {
        None
    };

    // Pixel bytes are exact: p/255 in steps of 1/255.
    let pixels = Units::Activations(Range { low: 0.0, high: 1.0 });
    let pixel_table = Units::Pixels(PixelTable::finest(architecture.output));
    let ImageShape { channels, height, width } = architecture.image;
    let spec = FileSpec {
        image: unbraid::ImageShape { height, width, channels },
        latents: architecture.latents,
        mean_bits,
        log_var_bits: LOG_VAR_BITS,
        encoder: encoder.map_or(vec![], |net| net.layers(pixels, Units::Code(mean_bits), options)),
        decoder: decoder.map_or(vec![], |net| net.layers(Units::Latents(mean_bits), pixel_table, options)),
        factors: factors.iter().cloned().map(FactorSpec::from).collect(),
        metadata,
    };
    unbraid::writer::write(&spec)
        .map_err(|e| Error::Unsupported(format!("this model does not fit the int8 format: {e}")))
}

impl From<Factor> for FactorSpec {
    fn from(factor: Factor) -> Self {
        let Factor { latent, name, low, high, center, scale, importance, agreement } = factor;
        Self { latent, name, low, high, center, scale, importance, agreement }
    }
}

/// Images, none of them held out, as the encoder takes them.
fn calibration_images(model: &F32Model, dataset: Option<&dyn Dataset>, options: &Options) -> Result<Tensor> {
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
    model.images(&dataset.batch(&indices)?)
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
    /// For each layer what its outputs become as int8, and their averages.
    activations: Vec<(Units, Averages)>,
    /// The averages of the network's inputs, which are exact.
    input: Averages,
    /// The network's outputs, `(N, …)`.
    last: Tensor,
}

/// Inputs that go through a network together.
const BATCH: usize = 64;

impl Calibrated {
    fn of(network: &Network, input_shape: Shape, inputs: &Tensor, calibration: Calibration) -> Result<Self> {
        let layers = lower::lower(network, input_shape)?;
        let n = inputs.dim(0)?;
        let batches = (0..n).step_by(BATCH).map(|start| inputs.narrow(0, start, BATCH.min(n - start)));
        let batches = batches.collect::<candle_core::Result<Vec<_>>>()?;

        // The span of the values first, then how often each occurs.
        let mut spans = vec![(0.0_f32, 0.0_f32); layers.len()];
        let mut last = Vec::new();
        for batch in &batches {
            let outputs = network.trace(batch)?;
            for (span, layer) in spans.iter_mut().zip(&layers) {
                let values = outputs[layer.index].flatten_all()?.to_vec1::<f32>()?;
                finite(&values, |_| format!("an output of layer {}.{}", network.name(), layer.index))?;
                *span = values.iter().fold(*span, |(low, high), &v| (low.min(v), high.max(v)));
            }
            last.extend(outputs.last().cloned());
        }
        let mut histograms: Vec<_> = spans.iter().map(|&(low, high)| Histogram::new(low, high)).collect();
        for batch in &batches {
            for (histogram, output) in histograms.iter_mut().zip(channels_last(network, &layers, batch)?) {
                histogram.add(&output.flatten_all()?.to_vec1::<f32>()?);
            }
        }
        let start = |(layer, histogram): (&FloatLayer, &Histogram)| {
            let zeros = vec![0.0; layer.output.size()];
            let units = if Table::is_needed(layer.activation) {
                Units::Table(Table::of(layer.activation, histogram, calibration))
            } else {
                Units::Activations(histogram.range(calibration))
            };
            (units, Averages { exact: zeros.clone(), rounded: zeros })
        };
        let mut activations: Vec<_> = layers.iter().zip(&histograms).map(start).collect();
        for batch in &batches {
            for ((units, averages), output) in activations.iter_mut().zip(channels_last(network, &layers, batch)?) {
                add_average(&mut averages.exact, &output, |v| v, n)?;
                add_average(&mut averages.rounded, &output, |v| units.round(v), n)?;
            }
        }
        let mut exact = vec![0.0; layers.first().map_or(0, |layer| layer.input.size())];
        add_average(&mut exact, inputs, |v| v, n)?;
        let input = Averages { rounded: exact.clone(), exact };
        Ok(Self { layers, activations, input, last: Tensor::cat(&last, 0)? })
    }

    /// The integer layers, for input and output in the given units.
    fn layers(&self, mut input: Units, output: Units, options: &Options) -> Vec<LayerSpec> {
        let mut averages = &self.input;
        let mut specs = Vec::with_capacity(self.layers.len());
        for (i, (layer, (units, output_averages))) in self.layers.iter().zip(&self.activations).enumerate() {
            let last = i + 1 == self.layers.len();
            let next = match (last, layer.has_weights()) {
                (true, _) => output,
                (false, true) => *units,
                // Pooling and upsampling only choose among their inputs.
                (false, false) => input,
            };
            specs.push(quantize_layer(layer, input, next, options.correct_bias.then_some(averages)));
            (input, averages) = (next.behind(), output_averages);
        }
        specs
    }
}

/// What each of `layers` makes of `batch`, in the device's order.
fn channels_last(network: &Network, layers: &[FloatLayer], batch: &Tensor) -> Result<Vec<Tensor>> {
    let outputs = network.trace(batch)?;
    let of_layer = |layer: &FloatLayer| {
        // Behind an Unflatten the same values are in (H, W, C) order.
        let reshaped = matches!(network.layers().get(layer.index + 1), Some(Layer::Unflatten { .. }));
        outputs[layer.index + usize::from(reshaped)].clone()
    };
    Ok(layers.iter().map(of_layer).collect())
}

/// Adds a batch's share of the average of `f` of each value over `n` to `mean`.
fn add_average(mean: &mut [f32], batch: &Tensor, f: impl Fn(f32) -> f32, n: usize) -> Result<()> {
    for row in batch.flatten_from(1)?.to_vec2::<f32>()? {
        mean.iter_mut().zip(row).for_each(|(m, v)| *m += f(v) / n as f32);
    }
    Ok(())
}
