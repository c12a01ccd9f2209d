//! The rules of `docs/format.md` for a whole file: the plan header, and how layers fit together.

use crate::arena::addressable;
use crate::check::{Broken, Inspection, Position};
use crate::checksum;
use crate::error::{LoadError, Place};
use crate::format::{self, IMAGE_ZERO_POINT, PREFIX_BYTES, RECORD_BYTES, RecordBytes, header, output, wide};
use crate::layer::Shape;
use crate::model::{Model, Network};
use crate::names::{Field, Part};
use crate::plan::{self, LATENT_BYTES, PIXEL_BYTES, Record};

/// Checks a whole file, but for its safetensors header.
// Its variables are on the stack only while it runs.
#[inline(never)]
pub(crate) fn load(file: &[u8]) -> Result<Model<'_>, LoadError> {
    // What is wrong if the file ends where it starts.
    let reason =
        LoadError::Truncated { part: Part::HeaderLength, expected: wide(PREFIX_BYTES), found: wide(file.len()) };
    let mut inspection = Inspection { place: Place::Header, passes: true, reason };
    inspection.file(file).map_err(|Broken| inspection.reason)
}

/// Fields of the plan header, where they lie, and the numbers that they may hold.
const LIMITS: &[(Field, usize, isize, usize)] = &[
    (Field::ImageHeight, header::HEIGHT, 1, format::MAX_SIDE),
    (Field::ImageWidth, header::WIDTH, 1, format::MAX_SIDE),
    (Field::ImageChannels, header::CHANNELS, 1, format::MAX_IMAGE_CHANNELS),
    (Field::Latents, header::LATENTS, 1, format::MAX_LATENTS),
    (Field::EncoderLayers, header::ENCODER_LAYERS, 0, format::MAX_LAYERS),
    (Field::DecoderLayers, header::DECODER_LAYERS, 0, format::MAX_LAYERS),
];

/// What the layers of a file are checked against.
struct Plan<'a> {
    data: &'a [u8],
    bytes: usize,
    image: [usize; 3],
    latents: usize,
}

impl Inspection {
    fn file<'a>(&mut self, file: &'a [u8]) -> Result<Model<'a>, Broken> {
        let json = u64::from_le_bytes(*file.first_chunk().ok_or(Broken)?);
        let Some(start) = format::data_start(file) else {
            let expected = json.saturating_add(wide(PREFIX_BYTES));
            return Err(self.truncated(Part::Header, expected, file.len()));
        };
        let data = format::from_byte(file, start);
        let Some(record) = data.first_chunk() else {
            return Err(self.truncated(Part::PlanHeader, wide(RECORD_BYTES), data.len()));
        };
        let bytes = self.header(record, data)?;
        let size = |at| format::size16_at(record, at);
        let image = [size(header::HEIGHT), size(header::WIDTH), size(header::CHANNELS)];
        let latents = size(header::LATENTS);
        let (encoder_layers, decoder_layers) = (size(header::ENCODER_LAYERS), size(header::DECODER_LAYERS));
        let first_decoder = encoder_layers.saturating_add(1);
        let first_factor = first_decoder.saturating_add(decoder_layers);
        let plan = Plan { data, bytes, image, latents };
        self.network(&plan, false, 1, encoder_layers)?;
        self.network(&plan, true, first_decoder, decoder_layers)?;

        let factors = format::from_byte(data, first_factor.saturating_mul(RECORD_BYTES)).as_chunks().0;
        let factors = factors.get(..size(header::FACTORS)).unwrap_or(factors);
        for (index, record) in factors.iter().enumerate() {
            self.place = Place::Factor(index);
            self.factor(record, latents, factors.get(..index).unwrap_or(&[]));
            self.verdict()?;
        }

        let model = Model {
            image: image.into(),
            latents,
            mean_bits: format::u8_at(record, header::MEAN_BITS),
            log_var_bits: format::u8_at(record, header::LOG_VAR_BITS),
            encoder: Network::new(data, 1, encoder_layers, PIXEL_BYTES),
            decoder: Network::new(data, first_decoder, decoder_layers, LATENT_BYTES),
            factors,
        };
        let needed = model.encoder.need.total().max(model.decoder.need.total());
        if addressable(needed).is_none() {
            return Err(self.refuse(LoadError::Memory { needed: wide(needed) }));
        }
        Ok(model)
    }

    #[cold]
    fn truncated(&mut self, part: Part, expected: u64, found: usize) -> Broken {
        self.refuse(LoadError::Truncated { part, expected, found: wide(found) })
    }

    /// Checks the plan header; returns the plan's length in bytes.
    fn header(&mut self, record: &RecordBytes, data: &[u8]) -> Result<usize, Broken> {
        let found = record.first_chunk().copied().unwrap_or_default();
        if found != format::MAGIC {
            return Err(self.refuse(LoadError::Magic { found }));
        }
        let size = |at| format::size16_at(record, at);
        let found = size(header::VERSION);
        if found != usize::from(format::VERSION) {
            return Err(self.refuse(LoadError::Version { found: wide(found), expected: format::VERSION.into() }));
        }
        self.exactly(Field::HeaderLength, size(header::LENGTH).cast_signed(), RECORD_BYTES.cast_signed());
        let expected = format::u32_at(record, header::DATA_BYTES);
        let found = u32::try_from(data.len()).unwrap_or(u32::MAX);
        if found < expected {
            return Err(self.truncated(Part::DataSection, expected.into(), data.len()));
        }
        if found > expected {
            // The field's value, and what it would have to be.
            return Err(self.refuse_range(Field::DataSectionLength, expected.into(), found.into(), found.into()));
        }
        let (found, expected) = (format::u32_at(record, header::CHECKSUM), checksum::of_data(data));
        if found != expected {
            return Err(self.refuse(LoadError::Checksum { found, expected }));
        }

        for (field, at, low, high) in LIMITS {
            self.between(*field, size(*at).cast_signed(), *low, high.cast_signed());
        }
        self.between(Field::Factors, size(header::FACTORS).cast_signed(), 0, size(header::LATENTS).cast_signed());
        if size(header::ENCODER_LAYERS) == 0 {
            self.between(Field::DecoderLayers, size(header::DECODER_LAYERS).cast_signed(), 1, isize::MAX);
        }
        let bits = |at| format::u8_at(record, at).into();
        self.between(Field::MeanBits, bits(header::MEAN_BITS), 0, format::MAX_BITS.into());
        self.between(Field::LogVarBits, bits(header::LOG_VAR_BITS), 0, format::MAX_BITS.into());
        self.zeros(Field::Reserved, format::from_byte(record, header::RESERVED));

        let layers = size(header::ENCODER_LAYERS).saturating_add(size(header::DECODER_LAYERS));
        let records = layers.saturating_add(size(header::FACTORS)).saturating_add(1);
        let bytes = records.saturating_mul(RECORD_BYTES);
        let found = format::size_of_u32(format::u32_at(record, header::PLAN_BYTES));
        self.exactly(Field::PlanLength, found.cast_signed(), bytes.cast_signed());
        if data.len() < bytes {
            self.truncated(Part::Plan, wide(bytes), data.len());
        }
        self.verdict()?;
        Ok(bytes)
    }

    /// Checks `layers` layers, the first at record `first`: each one, how they fit together, and the two ends.
    fn network(&mut self, plan: &Plan<'_>, decoder: bool, first: usize, layers: usize) -> Result<(), Broken> {
        let mut position = Position {
            data: plan.data,
            plan_bytes: plan.bytes,
            input: if decoder { [1, 1, plan.latents] } else { plan.image },
            input_zero_point: if decoder { 0 } else { IMAGE_ZERO_POINT },
            latents: decoder,
            output: output::INT8,
        };
        for index in 0..layers {
            self.place = if decoder { Place::Decoder(index) } else { Place::Encoder(index) };
            let last = index.saturating_add(1) == layers;
            position.output = match (last, decoder) {
                (false, _) => output::INT8,
                (true, false) => output::CODE,
                (true, true) => output::PIXELS,
            };
            let record = self.layer(plan::record(plan.data, first.saturating_add(index)), &position)?;
            if last {
                self.end(plan, &record, decoder);
                self.verdict()?;
            }
            position.input = record.output_shape();
            position.input_zero_point = record.next_zero_point();
            position.latents = false;
        }
        Ok(())
    }

    /// Checks that the last layer makes a code or an image.
    fn end(&mut self, plan: &Plan<'_>, record: &Record, decoder: bool) {
        if decoder {
            self.shape(
                &[Field::OutputHeight, Field::OutputWidth, Field::OutputChannels],
                &record.output_shape(),
                &plan.image,
            );
        } else {
            self.exactly(Field::Kind, record.kind.into(), format::kind::LINEAR.into());
            let features = Shape::from(record.output_shape()).len();
            self.exactly(Field::OutputFeatures, features.cast_signed(), plan.latents.saturating_mul(2).cast_signed());
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
        let Ok(model) = load(file) else { return false };
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
        let record = TINY[format::data_start(TINY).unwrap()..].first_chunk().unwrap();
        let plan_bytes = usize::try_from(format::u32_at(record, header::PLAN_BYTES));
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
