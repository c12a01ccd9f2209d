//! One interface for every way to run a model.

use crate::code::Code;
use crate::error::RunError;
use crate::layer::ImageShape;
use crate::model::Model;

/// An encoder and decoder behind one interface, so that an application can change the arithmetic in one line.
pub trait Autoencoder {
    /// What can go wrong.
    type Error;

    /// Shape of the image, `(H, W, C)`.
    fn image(&self) -> ImageShape;

    /// Number of latents L.
    fn latents(&self) -> usize;

    /// Encodes an image, `(H, W, C)` bytes.
    ///
    /// # Errors
    ///
    /// If the image has another size, or there is no encoder.
    fn encode(&mut self, pixels: &[u8]) -> Result<Code, Self::Error>;

    /// Decodes a code into `pixels`, `(H, W, C)` bytes.
    ///
    /// # Errors
    ///
    /// If the code or `pixels` has another size, or there is no decoder.
    fn decode(&mut self, code: &Code, pixels: &mut [u8]) -> Result<(), Self::Error>;
}

/// A [`Model`] with its working memory: the 8-bit autoencoder.
#[derive(Debug, Clone)]
pub struct Int8<'a, A> {
    model: Model<'a>,
    arena: A,
}

impl<'a, A: AsMut<[u8]>> Int8<'a, A> {
    /// Puts a model and an arena together.
    ///
    /// # Errors
    ///
    /// If the arena is smaller than [`Model::arena_bytes`].
    pub fn new(model: Model<'a>, mut arena: A) -> Result<Self, RunError> {
        let (expected, found) = (model.arena_bytes(), arena.as_mut().len());
        if found < expected { Err(RunError::ArenaSize { expected, found }) } else { Ok(Int8 { model, arena }) }
    }

    /// The model.
    pub fn model(&self) -> &Model<'a> {
        &self.model
    }
}

impl<A: AsMut<[u8]>> Autoencoder for Int8<'_, A> {
    type Error = RunError;

    fn image(&self) -> ImageShape {
        self.model.image()
    }

    fn latents(&self) -> usize {
        self.model.latents()
    }

    fn encode(&mut self, pixels: &[u8]) -> Result<Code, RunError> {
        self.model.encode(pixels, &mut self.arena)
    }

    fn decode(&mut self, code: &Code, pixels: &mut [u8]) -> Result<(), RunError> {
        self.model.decode_into(code, &mut self.arena, pixels)
    }
}
