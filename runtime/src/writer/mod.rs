//! Writes model files: natural weights and biases in, the layout of `docs/format.md` out. And reads them back.
//!
//! Zero points are folded into biases and transposed convolutions split into phases here and nowhere else.

mod container;
mod layers;
mod read;

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

pub use layers::{LayerSpec, OutputSpec, Parameters, Window};
pub use read::{ReadError, read};

use crate::code::Fixed;
use crate::error::{Expected, LoadError, Place};
use crate::factor::Factor;
use crate::format::{self, FACTOR_ONE, IMAGE_ZERO_POINT, MAX_NAME_BYTES, RECORD_BYTES, factor, header};
use crate::header as json;
use crate::layer::ImageShape;
use crate::model::Model;
use container::{Container, Tensor};
use layers::{Array, Input};
use safetensors::tensor::Dtype;

/// A whole model, before it becomes bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct FileSpec {
    /// `(H, W, C)`.
    pub image: ImageShape,
    /// Number of latents L.
    pub latents: usize,
    /// Fraction bits of latents, 0 to 15.
    pub mean_bits: u8,
    /// Fraction bits of log-variances, 0 to 15.
    pub log_var_bits: u8,
    /// From the image on; the last is linear with 2·L features, the means first. Empty for a decoder alone.
    pub encoder: Vec<LayerSpec>,
    /// From the latents on; the first is linear, the last makes pixels. Empty for an encoder alone.
    pub decoder: Vec<LayerSpec>,
    /// The named latents, in any order: they are written by falling importance.
    pub factors: Vec<FactorSpec>,
    /// Strings for people.
    pub metadata: BTreeMap<String, String>,
}

/// A named latent.
#[derive(Debug, Clone, PartialEq)]
pub struct FactorSpec {
    /// Index of the latent; each at most once.
    pub latent: usize,
    /// 1 to 40 bytes without control characters; each at most once.
    pub name: String,
    /// Low end of the useful range.
    pub low: f32,
    /// High end of the useful range.
    pub high: f32,
    /// The latent's average over the data, between the two.
    pub center: f32,
    /// Standard deviation of the latent's mean over the data.
    pub scale: f32,
    /// Kullback-Leibler divergence to the prior, nats.
    pub importance: f32,
    /// Share of votes behind the name, 0 to 1; 0 where nobody voted.
    pub agreement: f32,
}

impl From<Factor<'_>> for FactorSpec {
    fn from(factor: Factor<'_>) -> Self {
        let Factor { latent, name, low, high, center, scale, importance, agreement } = factor;
        FactorSpec { latent, name: name.to_string(), low, high, center, scale, importance, agreement }
    }
}

/// Why a model cannot be written.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A number does not fit its field.
    #[error("{place}: {field} is {found}, expected {expected}")]
    Value {
        /// The record.
        place: Place,
        /// The field.
        field: &'static str,
        /// The number given.
        found: i64,
        /// What is allowed.
        expected: Expected,
    },
    /// An array has the wrong length.
    #[error("{place}: {array} has {found} elements, expected {expected}")]
    Length {
        /// The layer.
        place: Place,
        /// The array.
        array: &'static str,
        /// Elements that the shapes call for.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// A factor's number is NaN, or negative where it may not be, or too large.
    #[error("{place}: {field} is {found}, expected {low} to {high}")]
    Number {
        /// The factor.
        place: Place,
        /// The field.
        field: &'static str,
        /// The number given.
        found: f32,
        /// The least it may be.
        low: f32,
        /// The most it may be.
        high: f32,
    },
    /// The file would break a rule of the format; or the file to be changed does.
    #[error(transparent)]
    Format(#[from] LoadError),
}

/// Writes a model file: a safetensors file whose first tensor is the plan.
///
/// # Errors
///
/// If an array's length does not match its layer's shapes, a number does not fit its field, or the whole breaks a rule
/// of the format.
pub fn write(spec: &FileSpec) -> Result<Vec<u8>, WriteError> {
    let records = 1 + spec.encoder.len() + spec.decoder.len() + spec.factors.len();
    let mut plan = vec![0; RECORD_BYTES];
    write_header(spec, &mut plan)?;
    let mut arrays = Vec::new();

    let image = Input { shape: spec.image, zero_point: IMAGE_ZERO_POINT };
    let latents = Input { shape: ImageShape { height: 1, width: 1, channels: spec.latents }, zero_point: 0 };
    for (layers, mut input, place) in [
        (&spec.encoder, image, Place::Encoder as fn(usize) -> Place),
        (&spec.decoder, latents, Place::Decoder as fn(usize) -> Place),
    ] {
        for (index, layer) in layers.iter().enumerate() {
            input = layer.write(place(index), input, &mut plan, &mut arrays)?;
        }
    }
    write_factors(&spec.factors, spec.mean_bits, &mut plan)?;

    // Words first, so that every one is aligned.
    arrays.sort_by_key(|array| array.tensor.dtype != Dtype::I32);
    let mut container = Container::new(records * RECORD_BYTES, spec.metadata.clone());
    for Array { offset_field, tensor } in arrays {
        let offset = container.append(tensor);
        set(&mut plan, offset_field, field32(Place::Header, "data section length", offset)?);
    }
    finish(container, plan)
}

/// Replaces the factor table of a model file; weights, plan and metadata stay as they are, bit for bit.
///
/// # Errors
///
/// If `file` is not a model, or the factors break a rule of the format.
pub fn with_factors(file: &[u8], factors: &[FactorSpec]) -> Result<Vec<u8>, WriteError> {
    let model = Model::load(file)?;
    let header = json::read(file)?;
    let start = format::data_start(file).unwrap_or(file.len());
    let data = format::from_byte(file, start);

    let layers = model.encoder_layers().len() + model.decoder_layers().len();
    let mut plan = data.get(..(1 + layers) * RECORD_BYTES).unwrap_or(&[]).to_vec();
    let old_bytes = model.plan_bytes();
    let new_bytes = plan.len() + factors.len() * RECORD_BYTES;
    set(&mut plan, header::FACTORS, field16(Place::Header, "factors", factors.len())?);
    for record in plan.as_chunks_mut().0.iter_mut().skip(1) {
        layers::move_arrays(record, old_bytes, new_bytes)?;
    }
    write_factors(factors, model.mean_bits(), &mut plan)?;

    let mut tensors: Vec<_> = header.tensors().into_iter().filter(|(name, _)| name != "plan").collect();
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let mut container = Container::new(new_bytes, json::metadata(file)?);
    for (name, info) in tensors {
        let (start, end) = info.data_offsets;
        container.append(Tensor {
            name,
            dtype: info.dtype,
            shape: info.shape.clone(),
            bytes: data.get(start..end).unwrap_or(&[]).to_vec(),
        });
    }
    finish(container, plan)
}

/// Puts plan and arrays together, and reads the result back.
fn finish(container: Container, plan: Vec<u8>) -> Result<Vec<u8>, WriteError> {
    let file = container.finish(plan)?;
    Model::load(&file)?;
    Ok(file)
}

/// Fills the plan header, but for lengths of the whole and checksum.
fn write_header(spec: &FileSpec, plan: &mut [u8]) -> Result<(), WriteError> {
    set(plan, 0, format::MAGIC);
    set(plan, header::VERSION, format::VERSION.to_le_bytes());
    let fields = [
        ("header length", header::LENGTH, RECORD_BYTES),
        ("image height", header::HEIGHT, spec.image.height),
        ("image width", header::WIDTH, spec.image.width),
        ("image channels", header::CHANNELS, spec.image.channels),
        ("latents", header::LATENTS, spec.latents),
        ("encoder layers", header::ENCODER_LAYERS, spec.encoder.len()),
        ("decoder layers", header::DECODER_LAYERS, spec.decoder.len()),
        ("factors", header::FACTORS, spec.factors.len()),
    ];
    for (field, at, value) in fields {
        set(plan, at, field16(Place::Header, field, value)?);
    }
    set(plan, header::MEAN_BITS, [spec.mean_bits]);
    set(plan, header::LOG_VAR_BITS, [spec.log_var_bits]);
    Ok(())
}

/// Appends the factor records, by falling importance.
fn write_factors(factors: &[FactorSpec], mean_bits: u8, plan: &mut Vec<u8>) -> Result<(), WriteError> {
    let mut sorted: Vec<_> = factors.iter().collect();
    sorted.sort_by(|a, b| b.importance.total_cmp(&a.importance));
    let unit = Fixed::new(mean_bits);
    for (index, spec) in sorted.into_iter().enumerate() {
        let place = Place::Factor(index);
        let mut record = [0; RECORD_BYTES];
        set(&mut record, factor::LATENT, field16(place, "latent", spec.latent)?);
        let length = u8::try_from(spec.name.len()).ok().filter(|length| usize::from(*length) <= MAX_NAME_BYTES);
        let expected = Expected::Between(1, MAX_NAME_BYTES as i64);
        let found = spec.name.len() as i64;
        let length = length.ok_or(WriteError::Value { place, field: "name length", found, expected })?;
        set(&mut record, factor::NAME_LENGTH, [length]);
        record.iter_mut().skip(factor::NAME).zip(spec.name.bytes()).for_each(|(to, from)| *to = from);
        let values = [
            ("low", factor::LOW, spec.low),
            ("high", factor::HIGH, spec.high),
            ("center", factor::CENTER, spec.center),
        ];
        for (field, at, found) in values {
            let (low, high) = (f32::NEG_INFINITY, f32::INFINITY);
            let raw = unit.raw(found).ok_or(WriteError::Number { place, field, found, low, high })?;
            set(&mut record, at, raw.to_le_bytes());
        }
        let limit = unit.value(u16::MAX.into());
        let scale = number(place, "scale", spec.scale, limit, unit)?;
        set(&mut record, factor::SCALE, u16::try_from(scale).unwrap_or(u16::MAX).to_le_bytes());
        let share = Fixed::new(16);
        let limit = share.value(u32::MAX as f32);
        set(&mut record, factor::IMPORTANCE, number(place, "importance", spec.importance, limit, share)?.to_le_bytes());
        let agreement = number(place, "agreement", spec.agreement, 1.0, share)?;
        set(&mut record, factor::AGREEMENT, agreement.min(FACTOR_ONE).to_le_bytes());
        plan.extend(record);
    }
    Ok(())
}

/// A number from 0 to `high`, in units of `unit`.
fn number(place: Place, field: &'static str, found: f32, high: f32, unit: Fixed) -> Result<u32, WriteError> {
    let range = 0.0..=high;
    if !range.contains(&found) {
        return Err(WriteError::Number { place, field, found, low: 0.0, high });
    }
    Ok((f64::from(found) / f64::from(unit.value(1.0))).round() as u32)
}

/// Writes a field.
fn set<const N: usize>(record: &mut [u8], at: usize, bytes: [u8; N]) {
    record.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = from);
}

/// A size as a 16-bit field.
fn field16(place: Place, field: &'static str, value: usize) -> Result<[u8; 2], WriteError> {
    let expected = Expected::Between(0, u16::MAX.into());
    let found = i64::try_from(value).unwrap_or(i64::MAX);
    Ok(u16::try_from(value).map_err(|_| WriteError::Value { place, field, found, expected })?.to_le_bytes())
}

/// A size as a 32-bit field.
fn field32(place: Place, field: &'static str, value: usize) -> Result<[u8; 4], WriteError> {
    let expected = Expected::Between(0, u32::MAX.into());
    let found = i64::try_from(value).unwrap_or(i64::MAX);
    Ok(u32::try_from(value).map_err(|_| WriteError::Value { place, field, found, expected })?.to_le_bytes())
}

/// A size as a byte.
fn field8(place: Place, field: &'static str, value: usize) -> Result<[u8; 1], WriteError> {
    let expected = Expected::Between(0, u8::MAX.into());
    let found = i64::try_from(value).unwrap_or(i64::MAX);
    Ok([u8::try_from(value).map_err(|_| WriteError::Value { place, field, found, expected })?])
}
