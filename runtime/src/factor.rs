//! The factor table: what a model's latents mean.

use core::str;

use crate::code::Fixed;
use crate::format::{self, RecordBytes, factor};

/// A named latent: one knob.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factor<'a> {
    /// Index of the latent.
    pub latent: usize,
    /// Its name, unique in the model.
    pub name: &'a str,
    /// Low end of the useful range.
    pub low: f32,
    /// High end of the useful range.
    pub high: f32,
    /// The latent's average over the data.
    pub center: f32,
    /// Standard deviation of the latent's mean over the data: one step.
    pub scale: f32,
    /// Kullback-Leibler divergence to the prior, nats.
    pub importance: f32,
    /// Share of votes behind the name, 0 to 1; 0 where nobody voted.
    pub agreement: f32,
}

impl<'a> Factor<'a> {
    /// Reads a factor record.
    pub(crate) fn read(record: &'a RecordBytes, unit: Fixed) -> Factor<'a> {
        let value = |at| unit.value(format::i16_at(record, at).into());
        let share = |at| Fixed::new(16).value(format::u32_at(record, at) as f32);
        Factor {
            latent: format::size16_at(record, factor::LATENT),
            name: str::from_utf8(name(record)).unwrap_or(""),
            low: value(factor::LOW),
            high: value(factor::HIGH),
            center: value(factor::CENTER),
            scale: unit.value(format::i16_at(record, factor::SCALE).cast_unsigned().into()),
            importance: share(factor::IMPORTANCE),
            agreement: share(factor::AGREEMENT),
        }
    }
}

/// The name in a factor record.
pub(crate) fn name(record: &RecordBytes) -> &[u8] {
    let length = format::size8_at(record, factor::NAME_LENGTH);
    format::from_byte(record, factor::NAME).get(..length).unwrap_or(&[])
}
