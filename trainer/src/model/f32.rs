//! A model in f32: what the trainer has in its hands and what a model directory holds.

use std::collections::BTreeMap;

use candle_core::{D, Device, Tensor};

use super::{Architecture, Autoencoder, ImageShape, Posterior};
use crate::{
    Error, Result,
    nn::{Init, Network},
};

/// Encoder and decoder, or one of them, in f32.
#[derive(Debug, Clone)]
pub struct F32Model {
    architecture: Architecture,
    encoder: Network,
    decoder: Network,
    device: Device,
}

/// Images that go through a network together: enough for large matrix products, few enough for the memory.
const BATCH: usize = 64;

impl F32Model {
    /// A model with `weights` by name, in PyTorch's layout.
    ///
    /// # Errors
    /// A weight is missing or has another shape.
    pub fn new(architecture: Architecture, weights: &BTreeMap<String, Tensor>, device: &Device) -> Result<Self> {
        let encoder = Network::from_tensors("encoder", &architecture.encoder, weights, device)?;
        let decoder = Network::from_tensors("decoder", &architecture.decoder, weights, device)?;
        Ok(Self { architecture, encoder, decoder, device: device.clone() })
    }

    /// A model as training starts from, with the same weights as a run with `init` and `seed`.
    ///
    /// # Errors
    /// The device refused a tensor.
    pub fn untrained(architecture: Architecture, init: Init, seed: u64, device: &Device) -> Result<Self> {
        let encoder = Network::new("encoder", &architecture.encoder, init, seed, device)?;
        let decoder = Network::new("decoder", &architecture.decoder, init, seed, device)?;
        Ok(Self { architecture, encoder, decoder, device: device.clone() })
    }

    /// A view of networks in training: it sees every later step.
    pub fn of_networks(architecture: Architecture, (encoder, decoder): (&Network, &Network), device: &Device) -> Self {
        Self { architecture, encoder: encoder.clone(), decoder: decoder.clone(), device: device.clone() }
    }

    /// What it is made of.
    pub fn architecture(&self) -> &Architecture {
        &self.architecture
    }

    /// The encoder.
    pub fn encoder(&self) -> &Network {
        &self.encoder
    }

    /// The decoder.
    pub fn decoder(&self) -> &Network {
        &self.decoder
    }

    /// The weights by name, in PyTorch's layout.
    pub fn weights(&self) -> BTreeMap<String, Tensor> {
        let named = [self.encoder.variables(), self.decoder.variables()].concat();
        named.into_iter().map(|(name, var)| (name, var.as_detached_tensor())).collect()
    }

    /// Image bytes `(N, H, W, C)` as the tensor that the encoder takes: the same shape, in [0, 1].
    ///
    /// # Errors
    /// `images` is not a whole number of images.
    pub fn images(&self, images: &[u8]) -> Result<Tensor> {
        let ImageShape { channels, height, width } = self.architecture.image;
        let n = whole(images.len(), self.architecture.image.size(), "image bytes")?;
        let values = images.iter().map(|&p| f32::from(p) / 255.0).collect();
        Ok(Tensor::from_vec(values, (n, height, width, channels), &self.device)?)
    }

    /// Latent vectors as the tensor that the decoder takes, `(N, latents)`.
    ///
    /// # Errors
    /// `latents` is not a whole number of vectors.
    pub fn latent_vectors(&self, latents: &[f32]) -> Result<Tensor> {
        let n = whole(latents.len(), self.architecture.latents, "latent values")?;
        Ok(Tensor::from_vec(latents.to_vec(), (n, self.architecture.latents), &self.device)?)
    }
}

impl Autoencoder for F32Model {
    fn image(&self) -> ImageShape {
        self.architecture.image
    }

    fn latents(&self) -> usize {
        self.architecture.latents
    }

    fn has_encoder(&self) -> bool {
        self.architecture.has_encoder()
    }

    fn has_decoder(&self) -> bool {
        self.architecture.has_decoder()
    }

    fn encode(&self, images: &[u8]) -> Result<Posterior> {
        self.need_encoder()?;
        let size = self.architecture.image.size();
        whole(images.len(), size, "image bytes")?;
        let latents = self.architecture.latents;
        let mut posterior = Posterior { mean: Vec::new(), log_var: Vec::new() };
        for batch in images.chunks(BATCH * size) {
            let code = self.encoder.forward_frozen(&self.images(batch)?)?;
            let half = |start, name| -> Result<Vec<f32>> {
                let values = code.narrow(D::Minus1, start, latents)?.flatten_all()?.to_vec1()?;
                finite(&values, |i| format!("{name} of latent {}", i % latents))?;
                Ok(values)
            };
            posterior.mean.extend(half(0, "mean")?);
            posterior.log_var.extend(half(latents, "log_var")?);
        }
        Ok(posterior)
    }

    fn decode(&self, latents: &[f32]) -> Result<Vec<u8>> {
        self.need_decoder()?;
        whole(latents.len(), self.architecture.latents, "latent values")?;
        finite(latents, |i| format!("latent {}", i % self.architecture.latents))?;
        let mut images = Vec::with_capacity(latents.len() / self.architecture.latents * self.architecture.image.size());
        for batch in latents.chunks(BATCH * self.architecture.latents) {
            let values = self.decoder.forward_frozen(&self.latent_vectors(batch)?)?.flatten_all()?.to_vec1::<f32>()?;
            finite(&values, |i| format!("the decoder's output for pixel {}", i % self.architecture.image.size()))?;
            images.extend(values.into_iter().map(|v| (255.0 * self.architecture.output.pixel(v)).round() as u8));
        }
        Ok(images)
    }
}

/// Refuses NaN and infinities, which finite weights can give too: a picture would not show them.
///
/// # Errors
/// The first one, by the name that `name` gives its index.
pub(crate) fn finite(values: &[f32], name: impl Fn(usize) -> String) -> Result<()> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(i) => Err(Error::Unsupported(format!("{} is {}, expected a finite number", name(i), values[i]))),
    }
}

/// How often `size` goes into `len`.
///
/// # Errors
/// It leaves a rest.
pub(super) fn whole(len: usize, size: usize, what: &str) -> Result<usize> {
    if len.is_multiple_of(size) {
        Ok(len / size)
    } else {
        Err(Error::Unsupported(format!("{len} {what}: expected a multiple of {size}")))
    }
}
