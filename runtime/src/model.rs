//! A model file, checked once and used in place.

use core::str;

use crate::arena::addressable;
use crate::check::{self, Position, signed};
use crate::checksum;
use crate::code::{Code, Fixed};
use crate::error::{Expected, LoadError, Place, RunError, UnknownFactor};
use crate::format::{self, IMAGE_ZERO_POINT, RECORD_BYTES, factor, header, output, wide};
use crate::layer::{ImageShape, Layer};
use crate::plan::{self, LATENT_BYTES, Need, PIXEL_BYTES, Record};
use crate::profile::Probe;
use crate::stream::{self, Encoder};

/// The layers of an encoder or decoder, in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network<'a> {
    /// The data section; the plan is its start.
    data: &'a [u8],
    /// The first layer's record.
    first: usize,
    pub(crate) layers: usize,
    /// Bytes of an element of the first layer's input.
    pub(crate) element: u64,
    pub(crate) need: Need,
}

impl<'a> Network<'a> {
    fn new(data: &'a [u8], first: usize, layers: usize, element: u64) -> Self {
        Network { data, first, layers, element, need: Need::of(data, first, layers, element) }
    }

    /// Layer `index`, which is less than `layers`.
    pub(crate) fn layer(&self, index: usize) -> Layer<'a> {
        Layer::new(self.data, Record::read(plan::record(self.data, self.first.saturating_add(index))))
    }

    fn iter(self) -> impl ExactSizeIterator<Item = Layer<'a>> + Clone {
        (0..self.layers).map(move |index| self.layer(index))
    }

    /// Bytes of working memory.
    fn arena_bytes(&self) -> usize {
        addressable(self.need.total()).unwrap_or(usize::MAX)
    }
}

/// A loaded model: an encoder, a decoder or both, and the names of their factors. Borrows the file's bytes.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a> {
    image: ImageShape,
    latents: usize,
    mean_bits: u8,
    log_var_bits: u8,
    encoder: Network<'a>,
    decoder: Network<'a>,
    /// The factor records.
    factors: &'a [u8],
}

impl<'a> Model<'a> {
    /// Checks a whole model file against `docs/format.md`. Afterwards nothing can overflow or read out of bounds.
    ///
    /// With feature `std` the safetensors header is compared with the plan as well; without, it is skipped.
    ///
    /// # Errors
    ///
    /// The first rule of the format that the file breaks, with the values that disagree.
    pub fn load(file: &'a [u8]) -> Result<Model<'a>, LoadError> {
        let model = Model::from_plan(file)?;
        #[cfg(feature = "std")]
        crate::header::check(file, &model)?;
        Ok(model)
    }

    /// `load` as a device does it: without a look at the safetensors header.
    fn from_plan(file: &'a [u8]) -> Result<Model<'a>, LoadError> {
        let truncated = |part, expected| LoadError::Truncated { part, expected, found: wide(file.len()) };
        let json = u64::from_le_bytes(*file.first_chunk().ok_or(truncated("header length", 8))?);
        let start = format::data_start(file).ok_or(truncated("header", json.saturating_add(8)))?;
        let data = format::from_byte(file, start);
        let plan_bytes = check_header(data)?;
        let size = |at| format::size16_at(data, at);
        let image = [size(header::HEIGHT), size(header::WIDTH), size(header::CHANNELS)];
        let latents = size(header::LATENTS);
        let (encoder_layers, decoder_layers) = (size(header::ENCODER_LAYERS), size(header::DECODER_LAYERS));
        let first_decoder = encoder_layers.saturating_add(1);
        let first_factor = first_decoder.saturating_add(decoder_layers);
        let check = Check { data, plan_bytes, image, latents };
        check.network(Place::Encoder, 1, encoder_layers)?;
        check.network(Place::Decoder, first_decoder, decoder_layers)?;

        let factors = format::from_byte(data, first_factor.saturating_mul(RECORD_BYTES));
        let (factors, _) = factors.split_at(factors.len().min(size(header::FACTORS).saturating_mul(RECORD_BYTES)));
        for (index, record) in factors.chunks_exact(RECORD_BYTES).enumerate() {
            check::factor(record, index, latents, factors.chunks_exact(RECORD_BYTES).take(index))?;
        }

        let model = Model {
            image: image.into(),
            latents,
            mean_bits: format::u8_at(data, header::MEAN_BITS),
            log_var_bits: format::u8_at(data, header::LOG_VAR_BITS),
            encoder: Network::new(data, 1, encoder_layers, PIXEL_BYTES),
            decoder: Network::new(data, first_decoder, decoder_layers, LATENT_BYTES),
            factors,
        };
        for need in [model.encoder.need, model.decoder.need] {
            addressable(need.total()).ok_or(LoadError::Memory { needed: need.total() })?;
        }
        Ok(model)
    }

    /// Shape of the image, `(H, W, C)`, one byte a channel.
    pub fn image(&self) -> ImageShape {
        self.image
    }

    /// Number of latents L.
    pub fn latents(&self) -> usize {
        self.latents
    }

    /// Fraction bits of latents: a stored mean q is q / 2^mean_bits.
    pub fn mean_bits(&self) -> u8 {
        self.mean_bits
    }

    /// Fraction bits of log-variances.
    pub fn log_var_bits(&self) -> u8 {
        self.log_var_bits
    }

    /// Bytes of the plan.
    #[cfg(feature = "std")]
    pub(crate) fn plan_bytes(&self) -> usize {
        let records = self.encoder.layers.saturating_add(self.decoder.layers).saturating_add(1);
        records.saturating_mul(RECORD_BYTES).saturating_add(self.factors.len())
    }

    /// Whether [`encode`](Self::encode) can work.
    pub fn has_encoder(&self) -> bool {
        self.encoder.layers > 0
    }

    /// Whether [`decode`](Self::decode) can work.
    pub fn has_decoder(&self) -> bool {
        self.decoder.layers > 0
    }

    /// The encoder's layers, from the image on.
    pub fn encoder_layers(&self) -> impl ExactSizeIterator<Item = Layer<'a>> + Clone + use<'a> {
        self.encoder.iter()
    }

    /// The decoder's layers, from the latents on.
    pub fn decoder_layers(&self) -> impl ExactSizeIterator<Item = Layer<'a>> + Clone + use<'a> {
        self.decoder.iter()
    }

    /// The named factors, the most important first.
    pub fn factors(&self) -> impl ExactSizeIterator<Item = Factor<'a>> + Clone + use<'a> {
        let unit = Fixed::new(self.mean_bits);
        self.factors.chunks_exact(RECORD_BYTES).map(move |record| Factor::read(record, unit))
    }

    /// The factor of that name.
    ///
    /// # Errors
    ///
    /// If the model has none.
    pub fn factor(&self, name: &str) -> Result<Factor<'a>, UnknownFactor> {
        self.factors().find(|factor| factor.name == name).ok_or_else(|| UnknownFactor::new(name))
    }

    /// Bytes of arena that `encode` needs; 0 without an encoder.
    pub fn encode_arena_bytes(&self) -> usize {
        self.encoder.arena_bytes()
    }

    /// Bytes of arena that `decode` needs; 0 without a decoder.
    pub fn decode_arena_bytes(&self) -> usize {
        self.decoder.arena_bytes()
    }

    /// Bytes of an arena that serves both, one after the other.
    pub fn arena_bytes(&self) -> usize {
        self.encode_arena_bytes().max(self.decode_arena_bytes())
    }

    /// Encodes an image, `(H, W, C)` bytes, into the mean and log-variance of each latent.
    ///
    /// # Errors
    ///
    /// If the image has another size, the arena is too small, or there is no encoder.
    pub fn encode(&self, pixels: &[u8], arena: &mut (impl AsMut<[u8]> + ?Sized)) -> Result<Code, RunError> {
        self.encode_profiled(pixels, arena, &mut ())
    }

    /// [`encode`](Self::encode), with a probe called around each row of each layer.
    ///
    /// # Errors
    ///
    /// As `encode`.
    pub fn encode_profiled(
        &self,
        pixels: &[u8],
        arena: &mut (impl AsMut<[u8]> + ?Sized),
        probe: &mut impl Probe,
    ) -> Result<Code, RunError> {
        let mut encoder = self.encoder(arena)?;
        let (expected, found) = (self.image.len(), pixels.len());
        if found != expected {
            return Err(RunError::ImageSize { expected, found });
        }
        for row in pixels.chunks_exact(self.image.row_len().max(1)) {
            encoder.push_row_profiled(row, probe)?;
        }
        encoder.finish()
    }

    /// Starts encoding an image that arrives row by row.
    ///
    /// # Errors
    ///
    /// If the arena is too small, or there is no encoder.
    pub fn encoder<'m>(&self, arena: &'m mut (impl AsMut<[u8]> + ?Sized)) -> Result<Encoder<'m>, RunError>
    where
        'a: 'm,
    {
        if self.has_encoder() {
            Encoder::new(self.encoder, Code::new(self), self.image, arena.as_mut())
        } else {
            Err(RunError::NoEncoder)
        }
    }

    /// Decodes a code into an image, calling `draw` with the index and the `(W, C)` bytes of each row, from the top.
    ///
    /// # Errors
    ///
    /// If the code is another model's, the arena is too small, or there is no decoder.
    pub fn decode(
        &self,
        code: &Code,
        arena: &mut (impl AsMut<[u8]> + ?Sized),
        draw: impl FnMut(usize, &[u8]),
    ) -> Result<(), RunError> {
        self.decode_profiled(code, arena, &mut (), draw)
    }

    /// [`decode`](Self::decode), with a probe called around each row of each layer.
    ///
    /// # Errors
    ///
    /// As `decode`.
    pub fn decode_profiled(
        &self,
        code: &Code,
        arena: &mut (impl AsMut<[u8]> + ?Sized),
        probe: &mut impl Probe,
        draw: impl FnMut(usize, &[u8]),
    ) -> Result<(), RunError> {
        if !self.has_decoder() {
            return Err(RunError::NoDecoder);
        }
        let (expected, found) = (self.latents, code.latents());
        if found != expected {
            return Err(RunError::Latents { expected, found });
        }
        let (expected, found) = (self.mean_bits, code.mean_bits());
        if found != expected {
            return Err(RunError::MeanBits { expected, found });
        }
        stream::decode(self.decoder, code.means(), arena.as_mut(), probe, draw)
    }

    /// Decodes a code into `pixels`, `(H, W, C)` bytes.
    ///
    /// # Errors
    ///
    /// As [`decode`](Self::decode), or if `pixels` has another size.
    pub fn decode_into(
        &self,
        code: &Code,
        arena: &mut (impl AsMut<[u8]> + ?Sized),
        pixels: &mut [u8],
    ) -> Result<(), RunError> {
        let (expected, found) = (self.image.len(), pixels.len());
        if found != expected {
            return Err(RunError::ImageSize { expected, found });
        }
        let mut rows = pixels.chunks_exact_mut(self.image.row_len().max(1));
        self.decode(code, arena, |_, row| {
            if let Some(to) = rows.next() {
                stream::copy(to, row);
            }
        })
    }
}

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
    fn read(record: &'a [u8], unit: Fixed) -> Factor<'a> {
        let value = |at| unit.value(format::i16_at(record, at).into());
        let length = format::size8_at(record, factor::NAME_LENGTH);
        let name = format::from_byte(record, factor::NAME).get(..length).unwrap_or(&[]);
        let share = Fixed::new(16);
        Factor {
            latent: format::size16_at(record, factor::LATENT),
            name: str::from_utf8(name).unwrap_or(""),
            low: value(factor::LOW),
            high: value(factor::HIGH),
            center: value(factor::CENTER),
            scale: unit.value(u16::from_ne_bytes(format::i16_at(record, factor::SCALE).to_ne_bytes()).into()),
            importance: share.value(format::u32_at(record, factor::IMPORTANCE).into()),
            agreement: share.value(format::u32_at(record, factor::AGREEMENT).into()),
        }
    }
}

/// Checks the plan header; returns the plan's length in bytes.
fn check_header(data: &[u8]) -> Result<usize, LoadError> {
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
struct Check<'a> {
    data: &'a [u8],
    plan_bytes: usize,
    image: [usize; 3],
    latents: usize,
}

impl Check<'_> {
    /// Checks `layers` layers, the first at record `first`: each one, how they fit together, and the two ends.
    fn network(&self, place: fn(usize) -> Place, first: usize, layers: usize) -> Result<(), LoadError> {
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
            let features = crate::layer::Shape::from(record.output_shape).len();
            exactly("output features", signed(features), self.latents.saturating_mul(2))
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used, reason = "a failing test panics")]
mod tests {
    use proptest::prelude::*;
    use std::vec;
    use std::vec::Vec;

    use super::*;

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
