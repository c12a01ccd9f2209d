//! An int8 model, run by the very runtime that devices run.

use std::{fs, path::Path};

use rayon::prelude::*;
use unbraid::Code;

use super::{Autoencoder, Factor, ImageShape, Posterior, f32::whole};
use crate::{Error, Result};

/// The bytes of a checked model file.
#[derive(Debug, Clone)]
pub struct Int8Model {
    bytes: Vec<u8>,
    image: ImageShape,
    latents: usize,
}

impl Int8Model {
    /// Checks the bytes of a model file; `path` is for messages.
    ///
    /// # Errors
    /// The runtime refuses them, or a network is missing.
    pub fn new(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        let refused = |reason: String| Error::Runtime { path: path.into(), reason };
        let expected = "expected an int8 file, whole, as `unbraid quantize` writes it";
        let model = unbraid::Model::load(&bytes).map_err(|e| refused(format!("{e}; {expected}")))?;
        if !(model.has_encoder() && model.has_decoder()) {
            return Err(refused("holds only one of encoder and decoder; expected both".into()));
        }
        let unbraid::ImageShape { height, width, channels } = model.image();
        let (image, latents) = (ImageShape { channels, height, width }, model.latents());
        Ok(Self { bytes, image, latents })
    }

    /// Reads and checks a model file.
    ///
    /// # Errors
    /// It cannot be read, or as [`Self::new`].
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(fs::read(path).map_err(Error::io(path))?, path)
    }

    /// The file's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The factor table.
    ///
    /// # Errors
    /// None that checked bytes can give.
    pub fn factors(&self) -> Result<Vec<Factor>> {
        Ok(self.model()?.factors().map(Factor::from).collect())
    }

    /// The file's text for people, by key.
    ///
    /// # Errors
    /// None that checked bytes can give.
    pub fn metadata(&self) -> Result<std::collections::BTreeMap<String, String>> {
        unbraid::metadata(&self.bytes).map_err(refused_later)
    }

    /// The runtime's view of the bytes.
    fn model(&self) -> Result<unbraid::Model<'_>> {
        unbraid::Model::load(&self.bytes).map_err(refused_later)
    }
}

/// For what cannot happen to bytes that were checked before, but has no other type.
fn refused_later(error: impl std::fmt::Display) -> Error {
    Error::Unsupported(error.to_string())
}

impl From<unbraid::Factor<'_>> for Factor {
    fn from(factor: unbraid::Factor<'_>) -> Self {
        let unbraid::Factor { latent, name, low, high, center, scale, importance, agreement } = factor;
        Self { latent, name: name.into(), low, high, center, scale, importance, agreement }
    }
}

impl Autoencoder for Int8Model {
    fn image(&self) -> ImageShape {
        self.image
    }

    fn latents(&self) -> usize {
        self.latents
    }

    fn encode(&self, images: &[u8]) -> Result<Posterior> {
        whole(images.len(), self.image.size(), "image bytes")?;
        let model = self.model()?;
        let codes: Vec<Code> = images
            .par_chunks(self.image.size())
            .map_init(|| vec![0; model.encode_arena_bytes()], |arena, image| model.encode(image, arena))
            .collect::<std::result::Result<_, _>>()
            .map_err(refused_later)?;
        let values = |read: fn(&Code, usize) -> f32| {
            codes.iter().flat_map(|code| (0..self.latents).map(move |latent| read(code, latent))).collect()
        };
        Ok(Posterior {
            mean: values(|code, latent| code.mean(latent)),
            log_var: values(|code, latent| code.log_var(latent)),
        })
    }

    fn decode(&self, latents: &[f32]) -> Result<Vec<u8>> {
        let n = whole(latents.len(), self.latents, "latent values")?;
        let model = self.model()?;
        let mut images = vec![0; n * self.image.size()];
        images.par_chunks_mut(self.image.size()).zip(latents.par_chunks(self.latents)).try_for_each_init(
            || vec![0; model.decode_arena_bytes()],
            |arena, (image, latents)| {
                let mut code = Code::new(&model);
                for (latent, &value) in latents.iter().enumerate() {
                    code.set(latent, value).map_err(refused_later)?;
                }
                model.decode_into(&code, arena, image).map_err(refused_later)
            },
        )?;
        Ok(images)
    }
}
