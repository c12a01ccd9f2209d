//! FactorVAE (Kim & Mnih 2018, arXiv 1802.05983), algorithm 2.
//!
//! The VAE pays γ times the total correlation of its latents, KL(q(z) || Π q(z_j)), which a discriminator D estimates by
//! telling samples of q(z) from samples of the product of marginals (section 3, equation 3).

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use clap::Args;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::{
    Batch, Company, Objective, Settings, Terms,
    vae::{Vae, noise},
};
use crate::{
    Error, Result,
    model::{Activation, Architecture, Layer},
    nn::{Adam, AdamOptions, Init, Network, Pass},
    rng::{self, Purpose},
    train::config::{count, validate_adam, validate_weight},
};

/// Hyper-parameters of FactorVAE; the defaults are the paper's for sprites.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct FactorVaeOptions {
    /// Weight γ of the total correlation.
    #[arg(long, default_value_t = FactorVaeOptions::default().gamma)]
    pub gamma: f64,
    /// Hidden layers of the discriminator: the paper's "6 layers" can mean 6 hidden ones, or 5 and the logits.
    #[arg(long, value_parser = count::<usize>, default_value_t = FactorVaeOptions::default().discriminator_layers)]
    pub discriminator_layers: usize,
    /// Units in each hidden layer of the discriminator.
    #[arg(long, value_parser = count::<usize>, default_value_t = FactorVaeOptions::default().discriminator_units)]
    pub discriminator_units: usize,
    /// Adam step size of the discriminator (1e-5 for 3D data in the paper).
    #[arg(long, default_value_t = FactorVaeOptions::default().discriminator_learning_rate)]
    pub discriminator_learning_rate: f64,
    /// Adam's first decay for the discriminator.
    #[arg(long, default_value_t = FactorVaeOptions::default().discriminator_beta1)]
    pub discriminator_beta1: f64,
    /// Adam's second decay for the discriminator.
    #[arg(long, default_value_t = FactorVaeOptions::default().discriminator_beta2)]
    pub discriminator_beta2: f64,
}

impl Default for FactorVaeOptions {
    fn default() -> Self {
        Self {
            gamma: 35.0,
            discriminator_layers: 6,
            discriminator_units: 1000,
            discriminator_learning_rate: 1e-4,
            discriminator_beta1: 0.5,
            discriminator_beta2: 0.9,
        }
    }
}

impl Settings for FactorVaeOptions {
    fn validate(&self) -> Result<()> {
        validate_weight("gamma", self.gamma)?;
        if !(1..=16).contains(&self.discriminator_layers) {
            return Err(Error::setting("discriminator_layers", self.discriminator_layers, "1 to 16"));
        }
        if !(1..=16_384).contains(&self.discriminator_units) {
            return Err(Error::setting("discriminator_units", self.discriminator_units, "1 to 16384"));
        }
        validate_adam("discriminator_", &self.discriminator_adam())
    }
}

impl FactorVaeOptions {
    fn discriminator_adam(&self) -> AdamOptions {
        AdamOptions {
            learning_rate: self.discriminator_learning_rate,
            beta1: self.discriminator_beta1,
            beta2: self.discriminator_beta2,
            epsilon: 1e-8,
        }
    }
}

/// FactorVAE in training.
#[derive(Debug)]
pub struct FactorVae {
    vae: Vae,
    discriminator: Discriminator,
    vae_optimizer: Adam,
    gamma: f64,
    seed: u64,
}

impl FactorVae {
    /// Fresh networks and optimizers.
    pub fn new(
        architecture: &Architecture,
        options: &FactorVaeOptions,
        adam: AdamOptions,
        init: Init,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let vae = Vae::new(architecture, init, seed, device)?;
        Ok(Self {
            vae_optimizer: Adam::new("vae", vae.variables(), adam)?,
            vae,
            discriminator: Discriminator::new(architecture.latents, options, seed, device)?,
            gamma: options.gamma,
            seed,
        })
    }

    /// See [`Network::compose_layers`].
    pub fn compose_layers(&mut self) {
        for network in [&mut self.vae.encoder, &mut self.vae.decoder, &mut self.discriminator.network] {
            network.compose_layers();
        }
    }
}

impl Objective for FactorVae {
    fn minibatches(&self) -> usize {
        2
    }

    fn step(&mut self, batch: &Batch, company: Company) -> Result<Terms> {
        let [x1, x2] = batch.images.as_slice() else {
            return Err(Error::Unsupported("FactorVAE takes two minibatches a step".into()));
        };
        let step = batch.step;

        // VAE: reconstruction + KL + γ·E[D(z)₀ - D(z)₁], the discriminator held fixed.
        let q = self.vae.posterior(x1)?;
        let z1 = q.sample(&noise(self.seed, 2 * step, &q.mean, company)?)?;
        let reconstruction = self.vae.reconstruction_loss(&z1, x1)?;
        let kl = q.kl()?;
        let joint = self.discriminator.log_ratio(&z1)?;
        let total_correlation = joint.toward_input()?.mean_all()?;
        let loss = ((&reconstruction + &kl)? + (&total_correlation * self.gamma)?)?;
        let mut terms = company.read(
            step,
            &[
                ("loss", &loss),
                ("reconstruction", &reconstruction),
                ("kl", &kl),
                ("total_correlation", &total_correlation),
            ],
        )?;
        self.vae_optimizer.step(&self.vae.take_gradients(&loss.backward()?)?, company.ranks)?;

        // Discriminator: z1 came from q(z); the second minibatch, each latent shuffled on its own, from Π q(z_j). D has not
        // changed since it saw z1, so that pass serves here too.
        let q2 = self.vae.posterior_frozen(x2)?;
        let z2 = q2.sample(&noise(self.seed, 2 * step + 1, &q2.mean, company)?)?;
        let permuted = company.share(&permute_dims(&company.ranks.gather(&z2)?, self.seed, step)?)?;
        terms.extend(self.discriminator.step(&joint, &permuted, step, company)?);
        Ok(terms)
    }

    fn networks(&self) -> Result<(Network, Network)> {
        Ok((self.vae.encoder.clone(), self.vae.decoder.clone()))
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = self.vae_optimizer.state();
        state.extend(self.discriminator.optimizer.state());
        state
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        self.vae_optimizer.restore(state, steps)?;
        self.discriminator.optimizer.restore(state, steps)
    }
}

/// The density-ratio estimator: an MLP with two logits, first "from q(z)", then "from the product of marginals".
#[derive(Debug)]
pub struct Discriminator {
    network: Network,
    optimizer: Adam,
}

impl Discriminator {
    /// A fresh discriminator for `latents` latents.
    pub fn new(latents: usize, options: &FactorVaeOptions, seed: u64, device: &Device) -> Result<Self> {
        let units = options.discriminator_units;
        let linear = |in_features, out_features, activation| Layer::Linear { in_features, out_features, activation };
        let mut layers = vec![linear(latents, units, Activation::LeakyRelu(0.2))];
        layers.resize(options.discriminator_layers, linear(units, units, Activation::LeakyRelu(0.2)));
        layers.push(linear(units, 2, Activation::Identity));
        let network = Network::new("discriminator", &layers, Init::He, seed, device)?;
        let optimizer = Adam::new("discriminator", network.variables(), options.discriminator_adam())?;
        Ok(Self { network, optimizer })
    }

    /// ln q(z)/Π q(z_j) as D estimates it, D(z)₀ - D(z)₁ for `z (N, latents)`, `(N, 1)`. Its mean is the total correlation, nats.
    pub fn log_ratio(&self, z: &Tensor) -> Result<Pass> {
        self.network.pass_readout(z, &[1.0, -1.0])
    }

    /// One optimizer step on ½·(CE(D(z), 0) + CE(D(permuted), 1)); `joint` is of z, from [`Self::log_ratio`] since the last step.
    pub fn step(&mut self, joint: &Pass, permuted: &Tensor, step: u64, company: Company) -> Result<Terms> {
        let (joint, marginals) = (joint.toward_weights()?, self.log_ratio(permuted)?.toward_weights()?);
        // Of a softmax over two logits, CE(d, 0) = softplus(d₁ - d₀) and CE(d, 1) = softplus(d₀ - d₁).
        let loss = ((softplus(&joint.neg()?)?.mean_all()? + softplus(&marginals)?.mean_all()?)? * 0.5)?;
        let share = |t: Tensor| t.to_dtype(DType::F32)?.mean_all();
        let accuracy = ((share(joint.gt(0.0)?)? + share(marginals.le(0.0)?)?)? * 0.5)?;
        let terms = company.read(step, &[("discriminator_loss", &loss), ("discriminator_accuracy", &accuracy)])?;
        self.optimizer.step(&self.network.take_gradients(&loss.backward()?)?, company.ranks)?;
        Ok(terms)
    }
}

/// ln(1 + e^x), without overflow.
pub(super) fn softplus(x: &Tensor) -> candle_core::Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}

/// Shuffles every latent on its own across the batch (algorithm 1): `z (N, latents)` to a sample of Π q(z_j), without gradient.
pub fn permute_dims(z: &Tensor, seed: u64, step: u64) -> Result<Tensor> {
    let (n, latents) = z.dims2()?;
    let mut rng = rng::stream(seed, Purpose::Permutation, step);
    let mut rows: Vec<u32> = (0..n as u32).collect();
    let mut source = vec![0; n * latents];
    for latent in 0..latents {
        rows.shuffle(&mut rng);
        for (row, &from) in rows.iter().enumerate() {
            source[row * latents + latent] = from;
        }
    }
    let source = Tensor::from_vec(source, (n, latents), z.device())?;
    Ok(z.detach().contiguous()?.gather(&source, 0)?)
}
