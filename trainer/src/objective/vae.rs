//! What every variational autoencoder shares (Kingma & Welling 2014): encoder, reparameterization, ELBO terms, decoder.

use candle_core::{Device, Tensor, Var, backprop::GradStore};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Company, Settings};
use crate::{
    Result,
    model::Architecture,
    nn::{AdamOptions, Init, Network, ops},
    rng::{self, Purpose},
    train::config::validate_adam,
};

/// How the weights of a variational autoencoder are stepped; the defaults are those of Kim & Mnih 2018 and of the large study
/// (Locatello et al. 2019).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct VaeOptions {
    /// Adam step size of the VAE.
    #[arg(long, default_value_t = VaeOptions::default().learning_rate)]
    pub learning_rate: f64,
    /// Adam's first decay for the VAE.
    #[arg(long, default_value_t = VaeOptions::default().beta1)]
    pub beta1: f64,
    /// Adam's second decay for the VAE.
    #[arg(long, default_value_t = VaeOptions::default().beta2)]
    pub beta2: f64,
}

impl Default for VaeOptions {
    fn default() -> Self {
        Self { learning_rate: 1e-4, beta1: 0.9, beta2: 0.999 }
    }
}

impl VaeOptions {
    /// The optimizer's settings.
    pub fn adam(&self) -> AdamOptions {
        AdamOptions { learning_rate: self.learning_rate, beta1: self.beta1, beta2: self.beta2, epsilon: 1e-8 }
    }
}

impl Settings for VaeOptions {
    fn validate(&self) -> Result<()> {
        validate_adam("", &self.adam())
    }
}

/// An encoder and a decoder with q(z|x) = N(mean, exp(log_var)) and Bernoulli pixels.
#[derive(Debug)]
pub struct Vae {
    /// Images to means and log-variances.
    pub encoder: Network,
    /// Latents to pixel logits.
    pub decoder: Network,
    latents: usize,
}

/// Parameters of q(z|x), each `(N, latents)`.
#[derive(Debug)]
pub struct Gaussian {
    /// Means.
    pub mean: Tensor,
    /// Logarithms of the variances.
    pub log_var: Tensor,
}

impl Vae {
    /// Fresh networks.
    pub fn new(architecture: &Architecture, init: Init, seed: u64, device: &Device) -> Result<Self> {
        Ok(Self {
            encoder: Network::new("encoder", &architecture.encoder, init, seed, device)?,
            decoder: Network::new("decoder", &architecture.decoder, init, seed, device)?,
            latents: architecture.latents,
        })
    }

    /// All weights.
    pub fn variables(&self) -> Vec<(String, Var)> {
        [self.encoder.variables(), self.decoder.variables()].concat()
    }

    /// The gradients of all weights, in their order; see [`Network::take_gradients`].
    pub fn take_gradients(&self, store: &GradStore) -> Result<Vec<Tensor>> {
        Ok([self.encoder.take_gradients(store)?, self.decoder.take_gradients(store)?].concat())
    }

    /// q(z|x) for `x (N, H, W, C)`.
    pub fn posterior(&self, x: &Tensor) -> Result<Gaussian> {
        self.split(&self.encoder.forward(x)?)
    }

    /// q(z|x) as constants: no gradient reaches the encoder.
    pub fn posterior_frozen(&self, x: &Tensor) -> Result<Gaussian> {
        self.split(&self.encoder.forward_frozen(x)?)
    }

    fn split(&self, code: &Tensor) -> Result<Gaussian> {
        Ok(Gaussian { mean: code.narrow(1, 0, self.latents)?, log_var: code.narrow(1, self.latents, self.latents)? })
    }

    /// -E ln p(x|z), summed over pixels, averaged over the batch, nats.
    pub fn reconstruction_loss(&self, z: &Tensor, x: &Tensor) -> Result<Tensor> {
        Ok(ops::bernoulli_nll(&self.decoder.forward(z)?, x)?.mean(0)?)
    }
}

/// Reparameterization noise from N(0, 1) for codes shaped as `like (N, latents)`: this rank's rows of what is drawn at `position`
/// for the whole minibatch.
pub fn noise(seed: u64, position: u64, like: &Tensor, company: Company) -> Result<Tensor> {
    let (n, latents) = like.dims2()?;
    let n = n * company.ranks.world_size();
    let mut rng = rng::stream(seed, Purpose::Noise, position);
    company.share(&Tensor::from_vec(rng::normals(&mut rng, n * latents), (n, latents), like.device())?)
}

impl Gaussian {
    /// z = mean + exp(log_var / 2)·noise.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        Ok((&self.mean + (&self.log_var * 0.5)?.exp()?.mul(noise)?)?)
    }

    /// The parameters of all ranks, with gradients for this rank's own; see [`Company::whole`].
    pub fn whole(&self, company: Company) -> Result<Self> {
        Ok(Self { mean: company.whole(&self.mean)?, log_var: company.whole(&self.log_var)? })
    }

    /// KL(q(z|x) || N(0, I)) = ½ Σ (mean² + exp(log_var) - log_var - 1), averaged over the batch, nats.
    pub fn kl(&self) -> Result<Tensor> {
        let terms = ((self.mean.sqr()? + self.log_var.exp()?)? - &self.log_var)?;
        Ok(((terms - 1.0)?.sum(1)?.mean(0)? * 0.5)?)
    }
}
