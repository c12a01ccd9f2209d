//! InfoGAN (Chen et al. 2016, "InfoGAN: Interpretable Representation Learning by Information Maximizing Generative Adversarial Nets",
//! arXiv 1606.03657), section 5, equation 6.
//!
//! ```text
//! min_{G,Q} max_D  E[log D(x)] + E[log(1 - D(G(z, c)))] - λ·L_I(G, Q)
//! ```
//!
//! G maximizes E[log D(G(z, c))] instead, and L_I counts in the steps of both D with Q and G, as in the authors' code. Its networks
//! have batch normalization; ours, which go to devices, have none, and without it D wins before G has learned anything. What holds
//! D back here is the penalty R1 of Mescheder et al. 2018 ("Which Training Methods for GANs do actually Converge?", arXiv
//! 1801.04406), equation 9, with d the logit of D:
//!
//! ```text
//! R1 = r1/2·E[‖∇d(x)‖²]
//! ```

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    Batch, Company, Objective, Settings, Setup, Terms,
    factor_vae::softplus,
    info::{InfoNetworks, InfoOptions, check_second_derivative},
};
use crate::{
    Error, Result,
    model::Architecture,
    nn::{Adam, AdamOptions, Network},
    train::config::{validate_decay, validate_learning_rate, validate_weight},
};

/// Hyper-parameters of InfoGAN; the defaults are those with which others compared it on sprites.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct InfoGanOptions {
    /// info-gan: Adam step size of the generator.
    #[arg(long, default_value_t = InfoGanOptions::default().gan_generator_learning_rate)]
    pub gan_generator_learning_rate: f64,
    /// info-gan: Adam step size of discriminator and Q.
    #[arg(long, default_value_t = InfoGanOptions::default().gan_discriminator_learning_rate)]
    pub gan_discriminator_learning_rate: f64,
    /// info-gan: weight of R1, the penalty on the gradients that the discriminator has at real images; 0 for none.
    #[arg(long, default_value_t = InfoGanOptions::default().gan_r1)]
    pub gan_r1: f64,
    /// info-gan: Adam's first decay.
    #[arg(long, default_value_t = InfoGanOptions::default().gan_beta1)]
    pub gan_beta1: f64,
    /// info-gan: Adam's second decay.
    #[arg(long, default_value_t = InfoGanOptions::default().gan_beta2)]
    pub gan_beta2: f64,
}

impl Default for InfoGanOptions {
    fn default() -> Self {
        Self {
            gan_generator_learning_rate: 1e-3,
            gan_discriminator_learning_rate: 2e-3,
            gan_r1: 10.0,
            gan_beta1: 0.5,
            gan_beta2: 0.999,
        }
    }
}

impl Settings for InfoGanOptions {
    fn validate(&self) -> Result<()> {
        validate_learning_rate("gan_generator_learning_rate", self.gan_generator_learning_rate)?;
        validate_learning_rate("gan_discriminator_learning_rate", self.gan_discriminator_learning_rate)?;
        validate_weight("gan_r1", self.gan_r1)?;
        validate_decay("gan_beta1", self.gan_beta1)?;
        validate_decay("gan_beta2", self.gan_beta2)
    }
}

/// InfoGAN in training.
#[derive(Debug)]
pub struct InfoGan {
    networks: InfoNetworks,
    generator_optimizer: Adam,
    discriminator_optimizer: Adam,
    info_coefficient: f64,
    r1: f64,
}

impl InfoGan {
    /// As [`InfoNetworks::check`]; with R1 the discriminator has to be piecewise linear besides.
    pub fn check(architecture: &Architecture, info: &InfoOptions, options: &InfoGanOptions) -> Result<()> {
        InfoNetworks::check(architecture, info)?;
        if options.gan_r1 > 0.0 { check_second_derivative(architecture, "R1 (gan_r1 above 0)") } else { Ok(()) }
    }

    /// Fresh networks and optimizers.
    pub fn new(setup: Setup, info: &InfoOptions, options: &InfoGanOptions) -> Result<Self> {
        let networks = InfoNetworks::new(setup, info, "discriminator")?;
        let &InfoGanOptions { gan_beta1: beta1, gan_beta2: beta2, .. } = options;
        let adam = |learning_rate| AdamOptions { learning_rate, beta1, beta2, epsilon: 1e-8 };
        let (of_g, of_d) = (options.gan_generator_learning_rate, options.gan_discriminator_learning_rate);
        Ok(Self {
            generator_optimizer: Adam::new("generator", networks.generator.variables(), adam(of_g))?,
            discriminator_optimizer: Adam::new("discriminator", networks.critic.variables(), adam(of_d))?,
            networks,
            info_coefficient: info.info_coefficient,
            r1: options.gan_r1,
        })
    }
}

impl Objective for InfoGan {
    fn minibatches(&self) -> usize {
        1
    }

    fn step(&mut self, batch: &Batch, company: Company) -> Result<Terms> {
        let [x] = batch.images.as_slice() else {
            return Err(Error::Unsupported("InfoGAN takes one minibatch a step".into()));
        };
        let (step, networks, lambda) = (batch.step, &self.networks, self.info_coefficient);
        let inputs = networks.draw(x, step, company)?;
        let generated = networks.generate(&inputs)?;

        // D and Q: -E[log D(x)] - E[log(1 - D(G))] - λ·L_I. With D = σ(d), -log D = softplus(-d) and -log(1 - D) = softplus(d).
        let [of_real, of_generated] = networks.judge(x, &generated)?;
        let of_d = (mean_softplus(&of_real.score.neg()?)? + mean_softplus(&of_generated.score)?)?;
        let cross_entropy = networks.codes.cross_entropy(&of_generated.q, &inputs)?;
        let mutual_information = cross_entropy.affine(-1.0, networks.codes.entropy())?;
        let share = |t: Tensor| t.to_dtype(DType::F32)?.mean_all();
        let accuracy = ((share(of_real.score.gt(0.0)?)? + share(of_generated.score.le(0.0)?)?)? * 0.5)?;
        let mut terms = company.read(
            step,
            &[
                ("discriminator_loss", &of_d),
                ("discriminator_accuracy", &accuracy),
                ("mutual_information", &mutual_information),
            ],
        )?;
        let mut of_d = (of_d + (cross_entropy * lambda)?)?;
        if self.r1 > 0.0 {
            let penalty = networks.score_gradient(x)?.flatten_from(1)?.sqr()?.sum(1)?.mean_all()?;
            terms.extend(company.read(step, &[("r1", &penalty)])?);
            of_d = (of_d + (penalty * (self.r1 / 2.0))?)?;
        }
        let gradients = of_d.backward()?;
        self.discriminator_optimizer.step(&networks.critic.take_gradients(&gradients)?, company.ranks)?;

        // G, on the same images: -E[log D(G)] - λ·L_I.
        let judgment = networks.judge_frozen(&generated)?;
        let of_g = mean_softplus(&judgment.score.neg()?)?;
        let cross_entropy = networks.codes.cross_entropy(&judgment.q, &inputs)?;
        let loss = (&of_g + (cross_entropy * lambda)?)?;
        terms.extend(company.read(step, &[("generator_loss", &of_g), ("loss", &loss)])?);
        self.generator_optimizer.step(&networks.generator.take_gradients(&loss.backward()?)?, company.ranks)?;
        Ok(terms)
    }

    fn networks(&self) -> Result<(Network, Network)> {
        self.networks.deployed()
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        let mut state = self.generator_optimizer.state();
        state.extend(self.discriminator_optimizer.state());
        state
    }

    fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        self.generator_optimizer.restore(state, steps)?;
        self.discriminator_optimizer.restore(state, steps)
    }
}

fn mean_softplus(x: &Tensor) -> Result<Tensor> {
    Ok(softplus(x)?.mean_all()?)
}
