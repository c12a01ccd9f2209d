//! InfoWGAN-GP: InfoGAN's codes with the Wasserstein critic and gradient penalty of Gulrajani et al. 2017 ("Improved Training of
//! Wasserstein GANs", arXiv 1704.00028), algorithm 1.
//!
//! ```text
//! L_D = E[D(G(z, c))] - E[D(x)] + γ·E[(‖∇D(x̂)‖₂ - 1)²] - λ·L_I(G, Q),    x̂ = ε·x + (1 - ε)·G(z, c), ε ~ U(0, 1)
//! L_G = -E[D(G(z, c))] - λ·L_I(G, Q)
//! ```

use std::collections::BTreeMap;

use candle_core::Tensor;
use clap::Args;
use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{
    Batch, Company, Objective, Settings, Setup, Terms,
    info::{InfoNetworks, InfoOptions, check_second_derivative},
};
use crate::{
    Error, Result,
    model::Architecture,
    nn::{Adam, AdamOptions, Network},
    rng::{self, Purpose},
    train::config::{count, validate_adam, validate_weight},
};

/// Hyper-parameters of InfoWGAN-GP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct InfoWganGpOptions {
    /// info-wgan-gp: weight γ of the gradient penalty.
    #[arg(long, default_value_t = InfoWganGpOptions::default().gradient_penalty)]
    pub gradient_penalty: f64,
    /// info-wgan-gp: steps of the critic for each one of the generator.
    #[arg(long, value_parser = count::<usize>, default_value_t = InfoWganGpOptions::default().critic_steps)]
    pub critic_steps: usize,
    /// info-wgan-gp: Adam step size of all networks.
    #[arg(long, default_value_t = InfoWganGpOptions::default().wgan_learning_rate)]
    pub wgan_learning_rate: f64,
    /// info-wgan-gp: Adam's first decay.
    #[arg(long, default_value_t = InfoWganGpOptions::default().wgan_beta1)]
    pub wgan_beta1: f64,
    /// info-wgan-gp: Adam's second decay.
    #[arg(long, default_value_t = InfoWganGpOptions::default().wgan_beta2)]
    pub wgan_beta2: f64,
}

impl Default for InfoWganGpOptions {
    fn default() -> Self {
        Self { gradient_penalty: 10.0, critic_steps: 5, wgan_learning_rate: 2e-4, wgan_beta1: 0.0, wgan_beta2: 0.9 }
    }
}

impl InfoWganGpOptions {
    fn adam(&self) -> AdamOptions {
        let &Self { wgan_learning_rate: learning_rate, wgan_beta1: beta1, wgan_beta2: beta2, .. } = self;
        AdamOptions { learning_rate, beta1, beta2, epsilon: 1e-8 }
    }
}

impl Settings for InfoWganGpOptions {
    fn validate(&self) -> Result<()> {
        validate_weight("gradient_penalty", self.gradient_penalty)?;
        if !(1..=100).contains(&self.critic_steps) {
            return Err(Error::setting("critic_steps", self.critic_steps, "1 to 100"));
        }
        validate_adam("wgan_", &self.adam())
    }
}

/// InfoWGAN-GP in training.
#[derive(Debug)]
pub struct InfoWganGp {
    networks: InfoNetworks,
    generator_optimizer: Adam,
    critic_optimizer: Adam,
    info_coefficient: f64,
    gradient_penalty: f64,
    critic_steps: usize,
    seed: u64,
}

impl InfoWganGp {
    /// As [`InfoNetworks::check`]; the critic has to be piecewise linear besides, for the gradient penalty.
    pub fn check(architecture: &Architecture, info: &InfoOptions) -> Result<()> {
        InfoNetworks::check(architecture, info)?;
        check_second_derivative(architecture, "the gradient penalty")
    }

    /// Fresh networks and optimizers.
    pub fn new(setup: Setup, info: &InfoOptions, options: &InfoWganGpOptions) -> Result<Self> {
        let networks = InfoNetworks::new(setup, info, "critic")?;
        Ok(Self {
            generator_optimizer: Adam::new("generator", networks.generator.variables(), options.adam())?,
            critic_optimizer: Adam::new("critic", networks.critic.variables(), options.adam())?,
            networks,
            info_coefficient: info.info_coefficient,
            gradient_penalty: options.gradient_penalty,
            critic_steps: options.critic_steps,
            seed: setup.seed,
        })
    }

    /// One step of critic and Q on real images `x`; `position` names what is drawn for it.
    fn critic_step(&mut self, x: &Tensor, step: u64, position: u64, company: Company) -> Result<Terms> {
        let networks = &self.networks;
        let inputs = networks.draw(x, position, company)?;
        let generated = networks.generate_frozen(&inputs)?;
        let [of_real, of_generated] = networks.judge(x, &generated)?;
        let wasserstein = (of_real.score.mean_all()? - of_generated.score.mean_all()?)?;
        let norms = gradient_norms(networks, &interpolate(x, &generated, self.seed, position, company)?)?;
        let (norm, penalty) = (norms.mean_all()?, (&norms - 1.0)?.sqr()?.mean_all()?);
        let cross_entropy = networks.codes.cross_entropy(&of_generated.q, &inputs)?;
        let mutual_information = cross_entropy.affine(-1.0, networks.codes.entropy())?;
        let terms = company.read(
            step,
            &[
                ("wasserstein", &wasserstein),
                ("gradient_norm", &norm),
                ("gradient_penalty", &penalty),
                ("mutual_information", &mutual_information),
            ],
        )?;
        let loss = ((penalty * self.gradient_penalty)? - wasserstein)?;
        let gradients = (loss + (cross_entropy * self.info_coefficient)?)?.backward()?;
        self.critic_optimizer.step(&networks.critic.take_gradients(&gradients)?, company.ranks)?;
        Ok(terms)
    }

    /// One step of the generator, for as many images as `x` has.
    fn generator_step(&mut self, x: &Tensor, step: u64, position: u64, company: Company) -> Result<Terms> {
        let networks = &self.networks;
        let inputs = networks.draw(x, position, company)?;
        let judgment = networks.judge_frozen(&networks.generate(&inputs)?)?;
        let of_g = judgment.score.mean_all()?.neg()?;
        let cross_entropy = networks.codes.cross_entropy(&judgment.q, &inputs)?;
        let loss = (&of_g + (cross_entropy * self.info_coefficient)?)?;
        let terms = company.read(step, &[("generator_loss", &of_g), ("loss", &loss)])?;
        self.generator_optimizer.step(&networks.generator.take_gradients(&loss.backward()?)?, company.ranks)?;
        Ok(terms)
    }
}

impl Objective for InfoWganGp {
    fn minibatches(&self) -> usize {
        self.critic_steps
    }

    fn step(&mut self, batch: &Batch, company: Company) -> Result<Terms> {
        let step = batch.step;
        let [.., last] = batch.images.as_slice() else {
            return Err(Error::Unsupported("InfoWGAN-GP takes a minibatch for each step of the critic".into()));
        };
        let mut position = step * (batch.images.len() as u64 + 1);
        let mut terms = Terms::new();
        for x in &batch.images {
            terms = self.critic_step(x, step, position, company)?;
            position += 1;
        }
        terms.extend(self.generator_step(last, step, position, company)?);
        Ok(terms)
    }

    fn networks(&self) -> Result<(Network, Network)> {
        self.networks.deployed()
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = self.generator_optimizer.state();
        state.extend(self.critic_optimizer.state());
        state
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        self.generator_optimizer.restore(state, steps)?;
        self.critic_optimizer.restore(state, steps * self.critic_steps as u64)
    }
}

/// x̂ = ε·x + (1 - ε)·G, an ε for each image.
fn interpolate(x: &Tensor, generated: &Tensor, seed: u64, position: u64, company: Company) -> Result<Tensor> {
    let mut rng = rng::stream(seed, Purpose::Interpolation, position);
    let n = x.dim(0)? * company.ranks.world_size();
    let epsilon: Vec<f32> = (0..n).map(|_| rng.random_range(0.0..1.0)).collect();
    let epsilon = company.share(&Tensor::from_vec(epsilon, (n, 1, 1, 1), x.device())?)?;
    Ok((generated + (x - generated)?.broadcast_mul(&epsilon)?)?)
}

/// ‖∇D(x)‖₂ for each of `x`.
fn gradient_norms(networks: &InfoNetworks, x: &Tensor) -> Result<Tensor> {
    let squares = networks.score_gradient(x)?.flatten_from(1)?.sqr()?.sum(1)?;
    // The square root has no derivative at 0, where a critic without any active unit is.
    Ok((squares + 1e-12)?.sqrt()?)
}
