//! A model file, checked once and used in place.

use crate::arena::addressable;
use crate::code::{Code, Fixed};
use crate::error::{LoadError, RunError, UnknownFactor};
use crate::factor::{self, Factor};
use crate::format::RecordBytes;
use crate::layer::{ImageShape, Layer};
use crate::load;
use crate::plan::{self, Need, Record};
use crate::profile::Probe;
use crate::stream::{self, Encoder, Encoding};

/// The layers of an encoder or decoder, in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Network<'a> {
    /// The data section; the plan is its start.
    data: &'a [u8],
    pub(crate) layers: usize,
    pub(crate) need: Need,
    /// The first layer's record. One byte, as the next: models lie on small stacks.
    first: u8,
    /// Bytes of an element of the first layer's input.
    element: u8,
}

impl<'a> Network<'a> {
    /// `first` is at most `MAX_LAYERS` + 1.
    pub(crate) fn new(data: &'a [u8], first: usize, layers: usize, element: usize) -> Self {
        let need = Need::of(data, first, layers, element);
        let narrow = |number| u8::try_from(number).unwrap_or(u8::MAX);
        Network { data, layers, need, first: narrow(first), element: narrow(element) }
    }

    /// Bytes of an element of the first layer's input.
    pub(crate) fn element(&self) -> usize {
        self.element.into()
    }

    /// Layer `index`, which is less than `layers`.
    // Its variables are on the stack only while it runs.
    #[inline(never)]
    pub(crate) fn layer(&self, index: usize) -> Layer<'a> {
        Layer::new(self.data, self.record(index))
    }

    /// The record of layer `index`.
    pub(crate) fn record(&self, index: usize) -> Record {
        Record::read(plan::record(self.data, usize::from(self.first).saturating_add(index)))
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
    pub(crate) image: ImageShape,
    pub(crate) latents: usize,
    pub(crate) mean_bits: u8,
    pub(crate) log_var_bits: u8,
    pub(crate) encoder: Network<'a>,
    pub(crate) decoder: Network<'a>,
    pub(crate) factors: &'a [RecordBytes],
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
        let model = load::load(file);
        #[cfg(feature = "std")]
        let model = model.and_then(|model| crate::header::check(file, &model).map(|()| model));
        model
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
        let layers = self.encoder.layers.saturating_add(self.decoder.layers);
        layers.saturating_add(self.factors.len()).saturating_add(1).saturating_mul(crate::format::RECORD_BYTES)
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
        self.factors.iter().map(move |record| Factor::read(record, unit))
    }

    /// The factor of that name.
    ///
    /// # Errors
    ///
    /// If the model has none.
    pub fn factor(&self, name: &str) -> Result<Factor<'a>, UnknownFactor> {
        let record = self.factors.iter().find(|record| factor::name(record) == name.as_bytes());
        let record = record.ok_or_else(|| UnknownFactor::new(name))?;
        Ok(Factor::read(record, Fixed::new(self.mean_bits)))
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
        let mut code = Code::new(self);
        self.encode_into_profiled(pixels, arena, &mut code, probe)?;
        Ok(code)
    }

    /// Encodes an image into `code`, without another code on the stack.
    ///
    /// # Errors
    ///
    /// As [`encode`](Self::encode).
    pub fn encode_into(
        &self,
        pixels: &[u8],
        arena: &mut (impl AsMut<[u8]> + ?Sized),
        code: &mut Code,
    ) -> Result<(), RunError> {
        code.reset(self);
        self.encode_into_profiled(pixels, arena, code, &mut ())
    }

    /// [`encode_profiled`](Self::encode_profiled) into a new `code`.
    fn encode_into_profiled(
        &self,
        pixels: &[u8],
        arena: &mut (impl AsMut<[u8]> + ?Sized),
        code: &mut Code,
        probe: &mut impl Probe,
    ) -> Result<(), RunError> {
        let arena = self.encoder_memory(arena)?;
        let (expected, found) = (self.image.len(), pixels.len());
        if found != expected {
            return Err(RunError::ImageSize { expected, found });
        }
        let mut encoding = Encoding::new(&self.encoder, self.image, arena);
        pixels.chunks_exact(self.image.row_len().max(1)).for_each(|row| encoding.add_row(row, code, probe));
        Ok(())
    }

    /// Starts encoding an image that arrives row by row.
    ///
    /// # Errors
    ///
    /// If the arena is too small, or there is no encoder.
    pub fn encoder<'m>(&'m self, arena: &'m mut (impl AsMut<[u8]> + ?Sized)) -> Result<Encoder<'m>, RunError> {
        let arena = self.encoder_memory(arena)?;
        Ok(Encoder::new(Encoding::new(&self.encoder, self.image, arena), Code::new(self)))
    }

    /// The part of an arena that encoding needs.
    fn encoder_memory<'m>(&self, arena: &'m mut (impl AsMut<[u8]> + ?Sized)) -> Result<&'m mut [u8], RunError> {
        if self.has_encoder() {
            stream::working_memory(&self.encoder, arena.as_mut())
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
        code.check(self.latents, self.mean_bits)?;
        stream::decode(&self.decoder, code.means(), arena.as_mut(), probe, draw)
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
