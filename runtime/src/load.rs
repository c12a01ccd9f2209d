//! The rules of `docs/format.md` for a whole file: the plan header, and how layers fit together.

use crate::check::{self, Position, signed};
use crate::checksum;
use crate::error::{Expected, LoadError, Place};
use crate::format::{self, IMAGE_ZERO_POINT, RECORD_BYTES, header, output, wide};
use crate::layer::Shape;
use crate::plan::{self, Record};

/// Checks the plan header; returns the plan's length in bytes.
pub(crate) fn check_header(data: &[u8]) -> Result<usize, LoadError> {
    let found = wide(data.len());
    if data.len() < RECORD_BYTES {
        return Err(LoadError::Truncated { part: "plan header", expected: wide(RECORD_BYTES), found });
    }
    let magic = data.first_chunk().copied().unwrap_or_default();
    if magic != format::MAGIC {
        return Err(LoadError::Magic { found: magic });
    }
    let version = format::size16_at(data, header::VERSION);
    if version != usize::from(format::VERSION) {
        return Err(LoadError::Version { found: wide(version), expected: format::VERSION.into() });
    }
    let place = Place::Header;
    let number = |at| signed(format::size16_at(data, at));
    let exactly = |field, found, expected| check::value(place, field, found, Expected::Exactly(expected));
    let between = |field, at, low, high| check::value(place, field, number(at), Expected::Between(low, high));

    exactly("header length", number(header::LENGTH), signed(RECORD_BYTES))?;
    let expected = u64::from(format::u32_at(data, header::DATA_BYTES));
    if found < expected {
        return Err(LoadError::Truncated { part: "data section", expected, found });
    }
    exactly("data section length", expected.cast_signed(), found.cast_signed())?;
    let (found, expected) = (format::u32_at(data, header::CHECKSUM), checksum::of_data(data));
    if found != expected {
        return Err(LoadError::Checksum { found, expected });
    }

    between("image height", header::HEIGHT, 1, signed(format::MAX_SIDE))?;
    between("image width", header::WIDTH, 1, signed(format::MAX_SIDE))?;
    between("image channels", header::CHANNELS, 1, signed(format::MAX_IMAGE_CHANNELS))?;
    between("latents", header::LATENTS, 1, signed(format::MAX_LATENTS))?;
    for (field, at) in [("mean_bits", header::MEAN_BITS), ("log_var_bits", header::LOG_VAR_BITS)] {
        let found = i64::from(format::u8_at(data, at));
        check::value(place, field, found, Expected::Between(0, format::MAX_BITS.into()))?;
    }
    let layers = signed(format::MAX_LAYERS);
    between("encoder layers", header::ENCODER_LAYERS, 0, layers)?;
    let least = if number(header::ENCODER_LAYERS) == 0 { 1 } else { 0 };
    between("decoder layers", header::DECODER_LAYERS, least, layers)?;
    between("factors", header::FACTORS, 0, number(header::LATENTS))?;
    check::zeros(place, "reserved", data.get(header::RESERVED..RECORD_BYTES).unwrap_or(&[]))?;

    let records = [header::ENCODER_LAYERS, header::DECODER_LAYERS, header::FACTORS]
        .into_iter()
        .fold(1, |sum: usize, at| sum.saturating_add(format::size16_at(data, at)));
    let plan_bytes = records.saturating_mul(RECORD_BYTES);
    exactly("plan length", format::u32_at(data, header::PLAN_BYTES).into(), signed(plan_bytes))?;
    if data.len() < plan_bytes {
        let (expected, found) = (wide(plan_bytes), wide(data.len()));
        return Err(LoadError::Truncated { part: "plan", expected, found });
    }
    Ok(plan_bytes)
}

/// What the layers of a file are checked against.
pub(crate) struct Check<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) plan_bytes: usize,
    pub(crate) image: [usize; 3],
    pub(crate) latents: usize,
}

impl Check<'_> {
    /// Checks `layers` layers, the first at record `first`: each one, how they fit together, and the two ends.
    pub(crate) fn network(&self, place: fn(usize) -> Place, first: usize, layers: usize) -> Result<(), LoadError> {
        let decoder = place(0) == Place::Decoder(0);
        let mut position = Position {
            place: place(0),
            input: if decoder { [1, 1, self.latents] } else { self.image },
            input_zero_point: if decoder { 0 } else { IMAGE_ZERO_POINT },
            latents: decoder,
            output: output::INT8,
        };
        for index in 0..layers {
            let last = index.saturating_add(1) == layers;
            position.place = place(index);
            position.output = match (last, decoder) {
                (false, _) => output::INT8,
                (true, false) => output::CODE,
                (true, true) => output::PIXELS,
            };
            let record = plan::record(self.data, first.saturating_add(index));
            let record = check::layer(record, &position, self.data, self.plan_bytes)?;
            if last {
                self.end(position.place, &record, decoder)?;
            }
            position.input = record.output_shape;
            position.input_zero_point = record.output_zero_point;
            position.latents = false;
        }
        Ok(())
    }

    /// Checks that the last layer makes a code or an image.
    fn end(&self, place: Place, record: &Record, decoder: bool) -> Result<(), LoadError> {
        let exactly = |field, found, expected| check::value(place, field, found, Expected::Exactly(signed(expected)));
        if decoder {
            let names = ["output height", "output width", "output channels"];
            let found = names.into_iter().zip(record.output_shape);
            found.zip(self.image).try_for_each(|((name, found), expected)| exactly(name, signed(found), expected))
        } else {
            exactly("kind", record.kind.into(), usize::from(format::kind::LINEAR))?;
            let features = Shape::from(record.output_shape).len();
            exactly("output features", signed(features), self.latents.saturating_mul(2))
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a failing test panics")]
mod tests {
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    use super::*;
    use crate::code::Code;
    use crate::model::Model;

    const TINY: &[u8] = include_bytes!("../tests/data/tiny.int8.safetensors");

    /// What the attacker writes: positions in the data section and bytes.
    fn forge(edits: &[(usize, u8)]) -> Vec<u8> {
        let mut file = TINY.to_vec();
        let start = format::data_start(TINY).unwrap();
        let data = &mut file[start..];
        for (at, byte) in edits {
            let at = at % data.len();
            data[at] = *byte;
        }
        let checksum = checksum::of_data(data);
        data[header::CHECKSUM..header::CHECKSUM + 4].copy_from_slice(&checksum.to_le_bytes());
        file
    }

    /// Whatever loads must run: overflow and bounds are checked in tests.
    fn run(file: &[u8]) -> bool {
        let Ok(model) = Model::from_plan(file) else { return false };
        if model.arena_bytes() > 1 << 24 {
            return true;
        }
        let mut arena = vec![0x55; model.arena_bytes()];
        let mut image = vec![0xaa; model.image().len()];
        let mut code = Code::new(&model);
        if model.has_encoder() {
            code = model.encode(&image, &mut arena).unwrap();
        }
        for extreme in [i16::MIN, i16::MAX] {
            for latent in 0..model.latents() {
                code.set_raw(latent, extreme).unwrap();
            }
            if model.has_decoder() {
                model.decode_into(&code, &mut arena, &mut image).unwrap();
            }
        }
        true
    }

    #[test]
    fn every_plan_byte_forged() {
        let plan_bytes =
            usize::try_from(format::u32_at(&TINY[format::data_start(TINY).unwrap()..], header::PLAN_BYTES));
        let mut loaded = 0;
        for at in 0..plan_bytes.unwrap() {
            for byte in 0..=255 {
                loaded += usize::from(run(&forge(&[(at, byte)])));
            }
        }
        assert!(loaded > 1000, "only {loaded} forged files load: the test does not reach the arithmetic");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn many_bytes_forged(edits: Vec<(u16, u8)>) {
            run(&forge(&edits.iter().map(|(at, byte)| (usize::from(*at), *byte)).collect::<Vec<_>>()));
        }

        #[test]
        fn arbitrary_bytes(file: Vec<u8>) {
            run(&file);
            let _ = crate::checked_arena_bytes(&file);
        }
    }
}
