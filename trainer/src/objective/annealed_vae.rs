//! AnnealedVAE (Burgess et al. 2018, "Understanding disentangling in β-VAE", arXiv 1804.03599).
//!
//! The KL divergence is held at a capacity C that grows with training (section 5, equation 8): reconstruction + γ·|KL - C|.

use candle_core::Tensor;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    Settings,
    regularized::{Posterior, Regularization, Regularizer},
};
use crate::{
    Error, Result,
    train::config::{count, validate_weight},
};

/// Hyper-parameters of AnnealedVAE; the defaults are the paper's for sprites.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct AnnealedVaeOptions {
    /// annealed-vae: weight γ of the distance to the capacity.
    #[arg(long, default_value_t = AnnealedVaeOptions::default().capacity_gamma)]
    pub capacity_gamma: f64,
    /// annealed-vae: the capacity at the end, nats.
    #[arg(long, default_value_t = AnnealedVaeOptions::default().capacity_max)]
    pub capacity_max: f64,
    /// annealed-vae: steps over which the capacity grows from 0.
    #[arg(long, value_parser = count::<u64>, default_value_t = AnnealedVaeOptions::default().capacity_steps)]
    pub capacity_steps: u64,
}

impl Default for AnnealedVaeOptions {
    fn default() -> Self {
        Self { capacity_gamma: 1000.0, capacity_max: 25.0, capacity_steps: 100_000 }
    }
}

impl Settings for AnnealedVaeOptions {
    fn validate(&self) -> Result<()> {
        validate_weight("capacity_gamma", self.capacity_gamma)?;
        validate_weight("capacity_max", self.capacity_max)?;
        match self.capacity_steps {
            0 => Err(Error::setting("capacity_steps", 0, "1 or more")),
            _ => Ok(()),
        }
    }
}

impl AnnealedVaeOptions {
    /// C at `step`: grows evenly from 0 to its maximum, then stays.
    pub fn capacity(&self, step: u64) -> f64 {
        self.capacity_max * (step as f64 / self.capacity_steps as f64).min(1.0)
    }
}

/// γ·|KL - C|.
#[derive(Debug)]
pub struct AnnealedVae(pub AnnealedVaeOptions);

impl Regularizer for AnnealedVae {
    fn regularize(&self, posterior: &Posterior) -> Result<Regularization> {
        let capacity = self.0.capacity(posterior.step);
        // |KL - C| is no average over images: of several ranks, each has the KL of all.
        let kl = posterior.q.whole(posterior.company)?.kl()?;
        let loss = ((&kl - capacity)?.abs()? * self.0.capacity_gamma)?;
        let capacity = Tensor::new(capacity as f32, kl.device())?;
        Ok(Regularization { loss, terms: vec![("capacity", capacity)] })
    }
}
