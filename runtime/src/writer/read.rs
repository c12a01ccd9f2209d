//! Model files back into natural weights and biases.

use std::vec;
use std::vec::Vec;

use super::layers::{LayerSpec, OutputSpec, Parameters, Window, phase_elements, phases};
use super::{FactorSpec, FileSpec};
use crate::error::{LoadError, Place};
use crate::format::{FLAG_NEGATIVE_MULTIPLIERS, output};
use crate::header as json;
use crate::layer::{Layer, LayerKind, Sizes};
use crate::model::Model;

/// Why a model file has no natural weights and biases.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The phases of a transposed convolution add different numbers, as no single bias does.
    #[error("{place}: bias of channel {channel} is {found} in one phase, expected {expected} as in the first")]
    Phases {
        /// The layer.
        place: Place,
        /// The output channel.
        channel: usize,
        /// The bias of a later phase, the input's zero point taken out.
        found: i64,
        /// That of the first.
        expected: i64,
    },
    /// It is no model file.
    #[error(transparent)]
    Format(#[from] LoadError),
}

/// Reads a model file: the inverse of [`write`](super::write), for writers of other formats.
///
/// # Errors
///
/// If `file` is not a model, or one that [`write`](super::write) cannot have written.
pub fn read(file: &[u8]) -> Result<FileSpec, ReadError> {
    let model = Model::load(file)?;
    let layers = |layers: Vec<Layer>, place: fn(usize) -> Place| {
        layers.iter().enumerate().map(|(index, layer)| layer_spec(place(index), layer)).collect::<Result<_, _>>()
    };
    Ok(FileSpec {
        image: model.image(),
        latents: model.latents(),
        mean_bits: model.mean_bits(),
        log_var_bits: model.log_var_bits(),
        encoder: layers(model.encoder_layers().collect(), Place::Encoder)?,
        decoder: layers(model.decoder_layers().collect(), Place::Decoder)?,
        factors: model.factors().map(FactorSpec::from).collect(),
        metadata: json::metadata(file)?,
    })
}

fn layer_spec(place: Place, layer: &Layer) -> Result<LayerSpec, ReadError> {
    let window =
        Window { kernel: layer.kernel().into(), stride: layer.stride().into(), padding: layer.padding().into() };
    let output = layer.output();
    Ok(match layer.kind() {
        LayerKind::Conv2d => LayerSpec::Conv2d { window, output, parameters: parameters(place, layer)? },
        LayerKind::ConvTranspose2d => {
            LayerSpec::ConvTranspose2d { window, output, parameters: parameters(place, layer)? }
        }
        LayerKind::Linear => LayerSpec::Linear { output, parameters: parameters(place, layer)? },
        LayerKind::UpsampleNearest => LayerSpec::UpsampleNearest { factor: window.stride },
        LayerKind::MaxPool => LayerSpec::MaxPool { window, output: [output.height, output.width] },
    })
}

fn parameters(place: Place, layer: &Layer) -> Result<Parameters, ReadError> {
    let record = &layer.record;
    let multipliers = words(layer.multipliers);
    let (weights, biases) = unfold(place, layer, multipliers.len())?;
    let leaky = record.flags & FLAG_NEGATIVE_MULTIPLIERS != 0;
    Ok(Parameters {
        weights,
        biases,
        negative_multipliers: leaky.then(|| words(layer.negative_multipliers)),
        multipliers,
        shift: record.shift,
        output: output_spec(layer),
    })
}

/// Weights in natural order, and biases with the input's zero point taken out: bias + zero_point · Σw.
fn unfold(place: Place, layer: &Layer, channels: usize) -> Result<(Vec<i8>, Vec<i32>), ReadError> {
    let products = Sizes::of(&layer.record).products;
    let zero_point = i64::from(layer.record.input_zero_point);
    let mut stored = layer.weights.iter().map(|byte| byte.cast_signed());
    let mut folded = words(layer.biases).into_iter();
    let mut weights = vec![0; channels.saturating_mul(products)];
    let mut biases: Vec<i64> = Vec::with_capacity(channels);
    let transposed = layer.kind() == LayerKind::ConvTranspose2d;
    let (kernel, stride) = (layer.kernel().into(), layer.stride().into());
    for phase in if transposed { phases(stride) } else { vec![[0; 2]] } {
        let elements: Vec<usize> = if transposed {
            phase_elements(kernel, stride, layer.input().channels, phase).collect()
        } else {
            (0..products).collect()
        };
        for (channel, kernel) in weights.chunks_mut(products.max(1)).enumerate() {
            let mut sum = 0;
            for (element, weight) in elements.iter().zip(&mut stored) {
                sum += i64::from(weight);
                kernel.get_mut(*element).into_iter().for_each(|to| *to = weight);
            }
            let found = i64::from(folded.next().unwrap_or(0)) + zero_point * sum;
            match biases.get(channel) {
                Some(&expected) if found != expected => {
                    return Err(ReadError::Phases { place, channel, found, expected });
                }
                Some(_) => {}
                None => biases.push(found),
            }
        }
    }
    // The bounds of the format leave room for the zero point: nothing is cut off.
    Ok((weights, biases.into_iter().map(|bias| bias as i32).collect()))
}

fn output_spec(layer: &Layer) -> OutputSpec {
    let record = &layer.record;
    let (zero_point, minimum, maximum) = (record.output_zero_point, record.minimum, record.maximum);
    match record.output {
        output::CODE => OutputSpec::Code,
        output::PIXELS => OutputSpec::Pixels { table: layer.table.to_vec() },
        _ if layer.table.is_empty() => OutputSpec::Int8 { zero_point, minimum, maximum },
        _ => {
            // A range before the table is the same as repeated entries.
            let places = (i8::MIN..=i8::MAX).map(|y| usize::from(y.clamp(minimum, maximum).cast_unsigned() ^ 0x80));
            let table = places.filter_map(|place| layer.table.get(place)).map(|entry| entry.cast_signed()).collect();
            OutputSpec::Table { zero_point, table, table_zero_point: record.table_zero_point }
        }
    }
}

/// int32 from bytes.
fn words(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word)).collect()
}
