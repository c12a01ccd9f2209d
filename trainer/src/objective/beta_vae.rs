//! β-VAE (Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework").
//!
//! The KL divergence of the ELBO counts β times (equation 4): reconstruction + β·KL(q(z|x) || N(0, I)). With β = 1 it is the VAE
//! (Kingma & Welling 2014, arXiv 1312.6114).

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    Settings,
    regularized::{Posterior, Regularization, Regularizer},
};
use crate::{Result, train::config::validate_weight};

/// Hyper-parameters of β-VAE; the default is the paper's for sprites.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct BetaVaeOptions {
    /// beta-vae: weight β of the KL divergence; normalized by M latents and N pixels it is β·M/N.
    #[arg(long, default_value_t = BetaVaeOptions::default().beta)]
    pub beta: f64,
}

impl Default for BetaVaeOptions {
    fn default() -> Self {
        Self { beta: 4.0 }
    }
}

impl Settings for BetaVaeOptions {
    fn validate(&self) -> Result<()> {
        validate_weight("beta", self.beta)
    }
}

/// β·KL.
#[derive(Debug)]
pub struct BetaVae {
    /// β.
    pub beta: f64,
}

impl Regularizer for BetaVae {
    fn regularize(&self, posterior: &Posterior) -> Result<Regularization> {
        Ok(Regularization { loss: (posterior.q.kl()? * self.beta)?, terms: Vec::new() })
    }
}
