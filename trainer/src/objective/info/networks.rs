//! G, and the network that D and Q share, made of an architecture's decoder and encoder.

use candle_core::{Device, Tensor};

use super::{Codes, InfoOptions};
use crate::{
    Error, Result,
    model::{Architecture, Layer},
    nn::{Network, check_piecewise_linear},
    objective::{Company, Setup},
};

/// The networks of an InfoGAN.
#[derive(Debug)]
pub struct InfoNetworks {
    /// What G makes images of.
    pub codes: Codes,
    /// The decoder's layers, the first one widened by the noise: codes and noise to pixel logits.
    pub generator: Network,
    /// The encoder's layers, the last one widened by D: images to what Q says, 2·latents, and the logit or score of D.
    pub critic: Network,
    pub(super) architecture: Architecture,
    pub(super) seed: u64,
    pub(super) device: Device,
}

/// What D and Q say to some images.
#[derive(Debug)]
pub struct Judgment {
    /// D's logit or score, `(N, 1)`.
    pub score: Tensor,
    /// See [`Codes::cross_entropy`], `(N, 2·latents)`.
    pub q: Tensor,
}

impl InfoNetworks {
    /// Fresh networks; `critic` is what the paper calls D.
    pub fn new(setup: Setup, options: &InfoOptions, critic: &'static str) -> Result<Self> {
        let Setup { architecture, init, seed, device, .. } = setup;
        let codes = Codes::new(options, architecture.latents)?;
        Self::check(architecture, options)?;
        Ok(Self {
            generator: Network::new("generator", &generator_layers(architecture, codes.noise)?, init, seed, device)?,
            critic: Network::new(critic, &critic_layers(architecture)?, init, seed, device)?,
            codes,
            architecture: architecture.clone(),
            seed,
            device: device.clone(),
        })
    }

    /// Refuses an architecture that has no place for noise or D, or too few latents for the codes.
    pub fn check(architecture: &Architecture, options: &InfoOptions) -> Result<()> {
        let codes = Codes::new(options, architecture.latents)?;
        generator_layers(architecture, codes.noise)?;
        critic_layers(architecture).map(drop)
    }

    /// Codes and noise for this rank's share of as many images as all ranks' `images` are.
    pub fn draw(&self, images: &Tensor, position: u64, company: Company) -> Result<Tensor> {
        let n = images.dim(0)? * company.ranks.world_size();
        company.share(&self.codes.draw(n, self.seed, position, &self.device)?)
    }

    /// Images `(N, H, W, C)` in [0, 1] of `inputs (N, latents + noise)`, with gradients for G.
    pub fn generate(&self, inputs: &Tensor) -> Result<Tensor> {
        Ok(candle_nn::ops::sigmoid(&self.generator.forward(inputs)?)?)
    }

    /// [`Self::generate`] without gradients.
    pub fn generate_frozen(&self, inputs: &Tensor) -> Result<Tensor> {
        Ok(candle_nn::ops::sigmoid(&self.generator.forward_frozen(inputs)?)?)
    }

    /// What D and Q say to real and to generated images, with gradients for D and Q alone.
    pub fn judge(&self, real: &Tensor, generated: &Tensor) -> Result<[Judgment; 2]> {
        let (n, generated) = (real.dim(0)?, generated.detach());
        // Rows do not meet, so one pass serves both.
        let output = self.critic.forward(&Tensor::cat(&[real, &generated], 0)?)?;
        Ok([self.split(&output.narrow(0, 0, n)?)?, self.split(&output.narrow(0, n, n)?)?])
    }

    /// What D and Q say to generated images, with gradients for the images alone.
    pub fn judge_frozen(&self, generated: &Tensor) -> Result<Judgment> {
        self.split(&self.critic.forward_frozen(generated)?)
    }

    /// The gradient of D's score for each of `images`; see [`Network::input_gradient`].
    pub fn score_gradient(&self, images: &Tensor) -> Result<Tensor> {
        self.critic.input_gradient(images, 2 * self.codes.latents())
    }

    fn split(&self, output: &Tensor) -> Result<Judgment> {
        let q = 2 * self.codes.latents();
        Ok(Judgment { q: output.narrow(1, 0, q)?, score: output.narrow(1, q, 1)? })
    }
}

fn generator_layers(architecture: &Architecture, noise: usize) -> Result<Vec<Layer>> {
    let mut layers = architecture.decoder.clone();
    match layers.first_mut() {
        Some(Layer::Linear { in_features, .. }) => *in_features += noise,
        _ => return Err(unfit(architecture, "decoder begins with a linear layer, which takes the noise")),
    }
    Ok(layers)
}

fn critic_layers(architecture: &Architecture) -> Result<Vec<Layer>> {
    let mut layers = architecture.encoder.clone();
    match layers.last_mut() {
        Some(Layer::Linear { out_features, .. }) => *out_features += 1,
        _ => return Err(unfit(architecture, "encoder ends in a linear layer, which gives D's output")),
    }
    Ok(layers)
}

/// Refuses an encoder that has no second derivative here, which `what` takes: it has to be piecewise linear.
pub fn check_second_derivative(architecture: &Architecture, what: &str) -> Result<()> {
    check_piecewise_linear(&architecture.encoder).map_err(|found| {
        let expected = format!(
            "one whose encoder has but convolutions and linear layers with ReLU or leaky ReLU, since {what} takes a second \
             derivative; {found}"
        );
        Error::setting("architecture", &architecture.name, &expected)
    })
}

fn unfit(architecture: &Architecture, what: &str) -> Error {
    Error::setting("architecture", &architecture.name, &format!("one whose {what}"))
}
