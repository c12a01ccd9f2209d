//! The systems by name: which settings each has, and how it is made.

use candle_core::Device;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{
    Objective, Settings,
    annealed_vae::{AnnealedVae, AnnealedVaeOptions},
    beta_tcvae::{BetaTcvae, BetaTcvaeOptions},
    beta_vae::{BetaVae, BetaVaeOptions},
    dip_vae::{DipVae, DipVaeIOptions, DipVaeIiOptions, Variant},
    factor_vae::{FactorVae, FactorVaeOptions},
    regularized::{RegularizedVae, Regularizer},
    vae::VaeOptions,
};
use crate::{Result, model::Architecture, nn::Init};

/// A system that can be trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// The plain VAE (Kingma & Welling 2014).
    Vae,
    /// β times the KL divergence (Higgins et al. 2017).
    BetaVae,
    /// A KL divergence held at a capacity that grows (Burgess et al. 2018).
    AnnealedVae,
    /// The KL divergence in three parts, total correlation from minibatches (Chen et al. 2018).
    BetaTcvae,
    /// The covariance of the means is pulled to the identity (Kumar et al. 2018).
    DipVaeI,
    /// The covariance of the latents is pulled to the identity (Kumar et al. 2018).
    DipVaeIi,
    /// Total correlation from a discriminator (Kim & Mnih 2018).
    FactorVae,
}

/// The settings of all systems; a run keeps those of its own.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct Options {
    /// Every VAE's.
    #[command(flatten)]
    #[serde(flatten)]
    pub vae: VaeOptions,
    /// β-VAE's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub beta_vae: BetaVaeOptions,
    /// AnnealedVAE's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub annealed_vae: AnnealedVaeOptions,
    /// β-TCVAE's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub beta_tcvae: BetaTcvaeOptions,
    /// DIP-VAE I's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub dip_vae_i: DipVaeIOptions,
    /// DIP-VAE II's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub dip_vae_ii: DipVaeIiOptions,
    /// FactorVAE's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub factor_vae: FactorVaeOptions,
}

/// What every system starts from.
#[derive(Debug, Clone, Copy)]
pub struct Setup<'a> {
    /// The networks' layers.
    pub architecture: &'a Architecture,
    /// Their initial weights.
    pub init: Init,
    /// Names every random number.
    pub seed: u64,
    /// Images in the data set.
    pub images: usize,
    /// Where to compute.
    pub device: &'a Device,
}

impl System {
    /// The name that `--objective` takes.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().into())
    }

    /// The settings in `options` that this system has.
    pub fn settings(self, options: &Options) -> Vec<&dyn Settings> {
        let own: Option<&dyn Settings> = match self {
            Self::Vae => None,
            Self::BetaVae => Some(&options.beta_vae),
            Self::AnnealedVae => Some(&options.annealed_vae),
            Self::BetaTcvae => Some(&options.beta_tcvae),
            Self::DipVaeI => Some(&options.dip_vae_i),
            Self::DipVaeIi => Some(&options.dip_vae_ii),
            Self::FactorVae => Some(&options.factor_vae),
        };
        [&options.vae as &dyn Settings].into_iter().chain(own).collect()
    }

    /// The system with fresh networks and optimizers.
    pub fn start(self, setup: Setup, options: &Options) -> Result<Box<dyn Objective>> {
        let adam = options.vae.adam();
        let regularizer: Box<dyn Regularizer> = match self {
            Self::Vae => Box::new(BetaVae { beta: 1.0 }),
            Self::BetaVae => Box::new(BetaVae { beta: options.beta_vae.beta }),
            Self::AnnealedVae => Box::new(AnnealedVae(options.annealed_vae.clone())),
            Self::BetaTcvae => Box::new(BetaTcvae { options: options.beta_tcvae.clone(), images: setup.images }),
            Self::DipVaeI => {
                let DipVaeIOptions { dip_i_lambda_od: lambda_od, dip_i_lambda_d: lambda_d } = options.dip_vae_i;
                Box::new(DipVae { variant: Variant::I, lambda_od, lambda_d })
            }
            Self::DipVaeIi => {
                let DipVaeIiOptions { dip_ii_lambda_od: lambda_od, dip_ii_lambda_d: lambda_d } = options.dip_vae_ii;
                Box::new(DipVae { variant: Variant::Ii, lambda_od, lambda_d })
            }
            Self::FactorVae => {
                let Setup { architecture, init, seed, device, .. } = setup;
                return Ok(Box::new(FactorVae::new(architecture, &options.factor_vae, adam, init, seed, device)?));
            }
        };
        Ok(Box::new(RegularizedVae::new(setup, adam, regularizer)?))
    }
}
