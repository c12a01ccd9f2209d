//! An int8 model, run by the very runtime that devices run.

use std::sync::Arc;
use std::{fs, path::Path};

use unbraid::{Code, Packed};

use super::{Autoencoder, Factor, ImageShape, Posterior, f32::whole};
use crate::{Error, Result};

/// The bytes of a checked model file, and its networks as this machine's vector units want them.
#[derive(Debug, Clone)]
pub struct Int8Model {
    bytes: Vec<u8>,
    packed: Arc<Packed>,
    image: ImageShape,
    latents: usize,
    /// Whether there is an encoder, and a decoder.
    networks: (bool, bool),
}

impl Int8Model {
    /// Checks the bytes of a model file; `path` is for messages.
    ///
    /// # Errors
    /// The runtime refuses them, or whole images of all layers would take too much memory.
    pub fn new(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        let refused = |reason: String| Error::Runtime { path: path.into(), reason };
        let expected = "expected an int8 file, whole, as `unbraid quantize` writes it";
        let model = unbraid::Model::load(&bytes).map_err(|e| refused(format!("{e}; {expected}")))?;
        let unbraid::ImageShape { height, width, channels } = model.image();
        let (image, latents) = (ImageShape { channels, height, width }, model.latents());
        let networks = (model.has_encoder(), model.has_decoder());
        let packed = Arc::new(Packed::new(&model).map_err(|e| refused(e.to_string()))?);
        Ok(Self { bytes, packed, image, latents, networks })
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

    /// The file's weights and arithmetic, in natural order.
    ///
    /// # Errors
    /// The phases of a transposed convolution have biases of their own.
    pub fn spec(&self) -> Result<unbraid::writer::FileSpec> {
        unbraid::writer::read(&self.bytes).map_err(refused_later)
    }

    /// The runtime's view of the bytes.
    fn model(&self) -> Result<unbraid::Model<'_>> {
        unbraid::Model::load(&self.bytes).map_err(refused_later)
    }
}

/// For what cannot happen to bytes that were checked before, or has no other type.
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

    fn has_encoder(&self) -> bool {
        self.networks.0
    }

    fn has_decoder(&self) -> bool {
        self.networks.1
    }

    fn encode(&self, images: &[u8]) -> Result<Posterior> {
        self.need_encoder()?;
        whole(images.len(), self.image.size(), "image bytes")?;
        let codes = self.packed.encode_batch(images).map_err(refused_later)?;
        let values = |read: fn(&Code, usize) -> f32| {
            codes.iter().flat_map(|code| (0..self.latents).map(move |latent| read(code, latent))).collect()
        };
        Ok(Posterior {
            mean: values(|code, latent| code.mean(latent)),
            log_var: values(|code, latent| code.log_var(latent)),
        })
    }

    fn decode(&self, latents: &[f32]) -> Result<Vec<u8>> {
        self.need_decoder()?;
        whole(latents.len(), self.latents, "latent values")?;
        let code = |latents: &[f32]| -> Result<Code> {
            let mut code = self.packed.zeros();
            for (latent, &value) in latents.iter().enumerate() {
                code.set(latent, value).map_err(refused_later)?;
            }
            Ok(code)
        };
        let codes: Vec<Code> = latents.chunks(self.latents).map(code).collect::<Result<_>>()?;
        self.packed.decode_batch(&codes).map_err(refused_later)
    }
}
