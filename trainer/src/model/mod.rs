//! A trained encoder and decoder, whatever their arithmetic: f32 directories and int8 files behind one trait.

mod activation;
mod architecture;
pub mod architecture_file;
mod f32;
mod int8;
mod layer;
mod open;
pub mod presets;
mod window;

pub use activation::Activation;
pub use architecture::{Architecture, PixelOutput};
pub use layer::{ImageShape, Layer, Shape};
pub(crate) use window::axes;
pub use window::{Axes, Padding, Window};

pub(crate) use self::{architecture::missing, f32::finite};
pub use self::{
    f32::F32Model,
    int8::Int8Model,
    open::{Model, open},
};
use crate::Result;

/// Posterior parameters of a batch, row-major `(N, latents)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// Means of q(z|x).
    pub mean: Vec<f32>,
    /// Logarithms of the variances of q(z|x).
    pub log_var: Vec<f32>,
}

/// Encodes images, decodes latents, or both; what metrics, labels and pictures work on.
pub trait Autoencoder: Sync {
    /// Channels, height and width of the images.
    fn image(&self) -> ImageShape;

    /// The number of latents.
    fn latents(&self) -> usize;

    /// Whether it encodes.
    fn has_encoder(&self) -> bool {
        true
    }

    /// Whether it decodes.
    fn has_decoder(&self) -> bool {
        true
    }

    /// Refuses what needs an encoder where there is none.
    ///
    /// # Errors
    /// There is a decoder alone.
    fn need_encoder(&self) -> Result<()> {
        if self.has_encoder() { Ok(()) } else { Err(missing("encoder", "decoder")) }
    }

    /// Refuses what needs a decoder where there is none.
    ///
    /// # Errors
    /// There is an encoder alone.
    fn need_decoder(&self) -> Result<()> {
        if self.has_decoder() { Ok(()) } else { Err(missing("decoder", "encoder")) }
    }

    /// The posterior of each image; `images` are bytes `(N, H, W, C)`.
    ///
    /// # Errors
    /// There is no encoder, `images` is not a whole number of images, or the arithmetic failed.
    fn encode(&self, images: &[u8]) -> Result<Posterior>;

    /// The image of each latent vector; `latents` is `(N, latents)`, the result bytes `(N, H, W, C)`: the decoder's
    /// probabilities times 255, rounded.
    ///
    /// # Errors
    /// There is no decoder, `latents` is not a whole number of vectors, or the arithmetic failed.
    fn decode(&self, latents: &[f32]) -> Result<Vec<u8>>;
}

/// What is known of a latent after labeling; stored in `config.json` and in the int8 file's factor table.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Factor {
    /// The latent that carries the factor.
    pub latent: usize,
    /// The factor's name; `z3` for latent 3 while nobody has named it.
    pub name: String,
    /// Low end of the useful range of the latent.
    pub low: f32,
    /// High end of the useful range of the latent.
    pub high: f32,
    /// The average of the latent's mean over the data.
    pub center: f32,
    /// The standard deviation of the latent's mean over the data.
    pub scale: f32,
    /// KL of the latent's posterior to the prior, nats, averaged over the data.
    pub importance: f32,
    /// The share of votes behind the name, 0 to 1; 0 for names nobody voted on.
    pub agreement: f32,
}

impl Factor {
    /// Latent `latent` while nothing is known of it: two standard deviations of the prior each way.
    pub fn unnamed(latent: usize) -> Self {
        let name = format!("z{latent}");
        Self { latent, name, low: -2.0, high: 2.0, center: 0.0, scale: 1.0, importance: 0.0, agreement: 0.0 }
    }
}
