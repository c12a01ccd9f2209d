//! What a model is made of: two networks, as stored in `config.json`.

use serde::{Deserialize, Serialize};

use super::layer::{ImageShape, Layer, Shape};
use crate::Error;

/// What the decoder's last layer gives for each pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PixelOutput {
    /// A logit; the sigmoid, which belongs to the Bernoulli likelihood, makes it a pixel.
    #[default]
    Sigmoid,
    /// The pixel itself, held in [0, 1].
    Linear,
}

impl PixelOutput {
    /// The pixel, 0 to 1, of the decoder's `value`.
    pub fn pixel(self, value: f32) -> f32 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + (-value).exp()),
            Self::Linear => value.clamp(0.0, 1.0),
        }
    }
}

/// An encoder and a decoder, or one of them. The encoder ends in 2·latents features (means, then log-variances), the decoder in one
/// number for each pixel, which [`PixelOutput`] explains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The preset's name, or that of the file it was read from.
    pub name: String,
    /// Input and output images.
    pub image: ImageShape,
    /// Latent dimensions.
    pub latents: usize,
    /// Image to means and log-variances; no layers where there is a decoder alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub encoder: Vec<Layer>,
    /// Latents to pixels; no layers where there is an encoder alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decoder: Vec<Layer>,
    /// What the decoder's numbers mean; logits where a file does not say.
    #[serde(default)]
    pub output: PixelOutput,
}

impl Architecture {
    /// Whether it turns images into latents.
    pub fn has_encoder(&self) -> bool {
        !self.encoder.is_empty()
    }

    /// Whether it turns latents into images.
    pub fn has_decoder(&self) -> bool {
        !self.decoder.is_empty()
    }

    /// Checks that there are layers, and that they fit each other, the image and the latents.
    ///
    /// # Errors
    /// The first layer that does not fit, by name.
    pub fn validate(&self) -> Result<(), String> {
        let run = |part: &str, layers: &[Layer], input| {
            layers.iter().enumerate().try_fold(input, |shape, (i, layer)| {
                let fits = layer.activation().check().and_then(|()| layer.output(shape));
                fits.map_err(|reason| format!("{part}.{i}: {reason}"))
            })
        };
        if !(self.has_encoder() || self.has_decoder()) {
            return Err("neither an encoder nor a decoder".into());
        }
        let code = run("encoder", &self.encoder, Shape::Image(self.image))?;
        if self.has_encoder() && code != Shape::Features(2 * self.latents) {
            return Err(format!("encoder ends in {code}, expected {} features", 2 * self.latents));
        }
        let image = run("decoder", &self.decoder, Shape::Features(self.latents))?;
        if self.has_decoder() && image != Shape::Image(self.image) {
            return Err(format!("decoder ends in {image}, expected {}", Shape::Image(self.image)));
        }
        Ok(())
    }
}

/// For a model of which a network is asked for that it does not have.
pub(crate) fn missing(asked: &str, present: &str) -> Error {
    Error::Unsupported(format!("the model has no {asked}, which this needs; it has its {present} alone"))
}
