//! A model rearranged for wide vector units: the engine of desktops, phones and browsers.
//!
//! [`Model`] works in place with a few rows at a time. Here weights are copied, so that a register holds those of
//! neighboring outputs, and each layer's image lies whole in memory with a border of zero points, so that no window needs
//! gathering. Every backend computes the bytes of `docs/format.md`, as [`Model`] does.
//!
//! `geometry` finds which inputs each output sees, `layer` arranges weights and goes through windows, `isa` has the
//! products of each instruction set, `output` goes from accumulators to bytes.

mod backend;
mod geometry;
mod isa;
mod layer;
mod network;
mod output;

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use rayon::prelude::*;

pub use self::backend::{Backend, UnknownBackend};
use self::network::Worker;
use crate::autoencoder::Autoencoder;
use crate::code::Code;
use crate::error::RunError;
use crate::layer::ImageShape;
use crate::model::Model;
use crate::profile::Probe;

/// Most bytes that a model may take once it is rearranged.
const MAX_BYTES: u64 = 1 << 30;

/// Why a model could not be rearranged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// This machine lacks the instructions.
    #[error("this machine has no {backend}")]
    Unavailable {
        /// The backend that was asked for.
        backend: Backend,
    },
    /// Whole images of all layers take too much memory; [`Model`] keeps only a few rows.
    #[error("the model would take {needed} bytes with whole images in memory, at most {MAX_BYTES} are allowed")]
    Memory {
        /// Bytes needed.
        needed: u64,
    },
}

/// A model with its weights rearranged for this machine's vector units, and its working memory.
///
/// ```
/// # const MODEL: &[u8] = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny.int8.safetensors"));
/// use unbraid::{Autoencoder, Model, Packed};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut model = Packed::new(&Model::load(MODEL)?)?;
/// let code = model.encode(&[127; 64])?;
/// let mut pixels = [0; 64];
/// model.decode(&code, &mut pixels)?;
///
/// // Many at a time, on all cores.
/// let codes = model.encode_batch(&[127; 3 * 64])?;
/// let images = model.decode_batch(&codes)?;
/// assert_eq!(images.len(), 3 * 64);
/// # Ok(())
/// # }
/// ```
pub struct Packed {
    backend: Backend,
    worker: Box<dyn Worker>,
    image: ImageShape,
    /// A code of zeros.
    zeros: Code,
    has_encoder: bool,
    has_decoder: bool,
}

impl Packed {
    /// Rearranges a model for the fastest backend of this machine.
    ///
    /// # Errors
    ///
    /// If that takes more than 1 GiB.
    pub fn new(model: &Model<'_>) -> Result<Self, PackError> {
        Packed::with_backend(model, Backend::best())
    }

    /// Rearranges a model for a backend.
    ///
    /// # Errors
    ///
    /// If this machine does not have it, or the model would take more than 1 GiB.
    pub fn with_backend(model: &Model<'_>, backend: Backend) -> Result<Self, PackError> {
        Ok(Packed {
            backend,
            worker: backend.worker(model)?,
            image: model.image(),
            zeros: Code::new(model),
            has_encoder: model.has_encoder(),
            has_decoder: model.has_decoder(),
        })
    }

    /// A code of zeros, for this model.
    pub fn zeros(&self) -> Code {
        self.zeros
    }

    /// The backend that it was rearranged for.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// [`encode`](Autoencoder::encode), with a probe called around each layer.
    ///
    /// # Errors
    ///
    /// If the image has another size, or there is no encoder.
    pub fn encode_profiled(&mut self, pixels: &[u8], probe: &mut dyn Probe) -> Result<Code, RunError> {
        self.check_encode(pixels.len(), 1)?;
        Ok(encode(&mut *self.worker, self.zeros, pixels, probe))
    }

    /// [`decode`](Autoencoder::decode), with a probe called around each layer.
    ///
    /// # Errors
    ///
    /// If the code or `pixels` has another size, or there is no decoder.
    pub fn decode_profiled(&mut self, code: &Code, pixels: &mut [u8], probe: &mut dyn Probe) -> Result<(), RunError> {
        self.check_code(code)?;
        self.check_size(pixels.len(), 1)?;
        self.worker.decode(code.means(), pixels, probe);
        Ok(())
    }

    /// Encodes images, `(N, H, W, C)` bytes, on all cores.
    ///
    /// # Errors
    ///
    /// If `pixels` are not whole images, or there is no encoder.
    pub fn encode_batch(&self, pixels: &[u8]) -> Result<Vec<Code>, RunError> {
        self.check_encode(pixels.len(), pixels.len().div_ceil(self.image.len()))?;
        let images = pixels.par_chunks_exact(self.image.len());
        let codes =
            images.map_init(|| self.worker.fork(), |worker, image| encode(&mut **worker, self.zeros, image, &mut ()));
        Ok(codes.collect())
    }

    /// Decodes codes into `(N, H, W, C)` bytes, on all cores.
    ///
    /// # Errors
    ///
    /// If a code is another model's, or there is no decoder.
    pub fn decode_batch(&self, codes: &[Code]) -> Result<Vec<u8>, RunError> {
        codes.iter().try_for_each(|code| self.check_code(code))?;
        let mut pixels = vec![0; codes.len() * self.image.len()];
        let images = pixels.par_chunks_exact_mut(self.image.len()).zip(codes);
        images
            .for_each_init(|| self.worker.fork(), |worker, (image, code)| worker.decode(code.means(), image, &mut ()));
        Ok(pixels)
    }

    fn check_encode(&self, found: usize, images: usize) -> Result<(), RunError> {
        if self.has_encoder { self.check_size(found, images) } else { Err(RunError::NoEncoder) }
    }

    fn check_size(&self, found: usize, images: usize) -> Result<(), RunError> {
        let expected = images * self.image.len();
        if found == expected { Ok(()) } else { Err(RunError::ImageSize { expected, found }) }
    }

    fn check_code(&self, code: &Code) -> Result<(), RunError> {
        if self.has_decoder {
            code.check(self.zeros.latents(), self.zeros.mean_bits())
        } else {
            Err(RunError::NoDecoder)
        }
    }
}

impl Autoencoder for Packed {
    type Error = RunError;

    fn image(&self) -> ImageShape {
        self.image
    }

    fn latents(&self) -> usize {
        self.zeros.latents()
    }

    fn encode(&mut self, pixels: &[u8]) -> Result<Code, RunError> {
        self.encode_profiled(pixels, &mut ())
    }

    fn decode(&mut self, code: &Code, pixels: &mut [u8]) -> Result<(), RunError> {
        self.decode_profiled(code, pixels, &mut ())
    }
}

impl core::fmt::Debug for Packed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Packed { backend, image, .. } = self;
        f.debug_struct("Packed").field("backend", backend).field("image", image).finish_non_exhaustive()
    }
}

fn encode(worker: &mut dyn Worker, mut code: Code, pixels: &[u8], probe: &mut dyn Probe) -> Code {
    let mut features = [0; 2 * crate::MAX_LATENTS];
    let latents = code.latents();
    let (features, _) = features.split_at_mut(2 * latents);
    worker.encode(pixels, features, probe);
    let (means, log_vars) = features.split_at(latents);
    code.set_all_raw(means, log_vars);
    code
}
