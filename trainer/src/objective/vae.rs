//! What every variational autoencoder shares (Kingma & Welling 2014): encoder, reparameterization, ELBO terms, decoder.

use candle_core::{Device, Tensor, Var, backprop::GradStore};

use crate::{
    Result,
    model::Architecture,
    nn::{Init, Network, ops},
};

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

impl Gaussian {
    /// z = mean + exp(log_var / 2)·noise.
    pub fn sample(&self, noise: &Tensor) -> Result<Tensor> {
        Ok((&self.mean + (&self.log_var * 0.5)?.exp()?.mul(noise)?)?)
    }

    /// KL(q(z|x) || N(0, I)) = ½ Σ (mean² + exp(log_var) - log_var - 1), averaged over the batch, nats.
    pub fn kl(&self) -> Result<Tensor> {
        let terms = ((self.mean.sqr()? + self.log_var.exp()?)? - &self.log_var)?;
        Ok(((terms - 1.0)?.sum(1)?.mean(0)? * 0.5)?)
    }
}
