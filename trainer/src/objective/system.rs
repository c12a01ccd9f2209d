//! The systems by name: which settings each has, and how it is made.

use candle_core::Device;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{
    Objective, Settings,
    annealed_vae::{AnnealedVae, AnnealedVaeOptions},
    beta_tcvae::{BetaTcvae, BetaTcvaeOptions},
    beta_vae::{BetaVae, BetaVaeOptions},
    dc_ign::{DcIgn, DcIgnOptions},
    dip_vae::{DipVae, DipVaeIOptions, DipVaeIiOptions, Variant},
    factor_vae::{FactorVae, FactorVaeOptions},
    info::InfoOptions,
    info_gan::{InfoGan, InfoGanOptions},
    info_wgan_gp::{InfoWganGp, InfoWganGpOptions},
    linear::{Linear, Rotation},
    regularized::{RegularizedVae, Regularizer},
    vae::VaeOptions,
};
use crate::{
    Error, Result,
    data::Dataset,
    model::{Architecture, PixelOutput},
    nn::Init,
};

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
    /// Minibatches in which one factor varies train the latents meant for it (Kulkarni et al. 2015).
    DcIgn,
    /// Principal components of the pixels.
    Pca,
    /// Independent components of the pixels.
    Ica,
    /// A GAN whose codes can be read off its images (Chen et al. 2016).
    InfoGan,
    /// The same with a Wasserstein critic and a gradient penalty (Gulrajani et al. 2017).
    InfoWganGp,
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
    /// DC-IGN's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub dc_ign: DcIgnOptions,
    /// Of both InfoGANs.
    #[command(flatten)]
    #[serde(flatten)]
    pub info: InfoOptions,
    /// InfoGAN's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub info_gan: InfoGanOptions,
    /// InfoWGAN-GP's own.
    #[command(flatten)]
    #[serde(flatten)]
    pub info_wgan_gp: InfoWganGpOptions,
}

/// What every system starts from.
#[derive(Clone, Copy)]
pub struct Setup<'a> {
    /// The networks' layers.
    pub architecture: &'a Architecture,
    /// Their initial weights.
    pub init: Init,
    /// Names every random number.
    pub seed: u64,
    /// What it is trained on.
    pub dataset: &'a dyn Dataset,
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
            Self::Pca | Self::Ica => return Vec::new(),
            Self::Vae => None,
            Self::BetaVae => Some(&options.beta_vae),
            Self::AnnealedVae => Some(&options.annealed_vae),
            Self::BetaTcvae => Some(&options.beta_tcvae),
            Self::DipVaeI => Some(&options.dip_vae_i),
            Self::DipVaeIi => Some(&options.dip_vae_ii),
            Self::FactorVae => Some(&options.factor_vae),
            Self::DcIgn => Some(&options.dc_ign),
            Self::InfoGan => return vec![&options.info, &options.info_gan],
            Self::InfoWganGp => return vec![&options.info, &options.info_wgan_gp],
        };
        [&options.vae as &dyn Settings].into_iter().chain(own).collect()
    }

    /// Refuses networks and settings that do not go with the system or with each other.
    pub fn check(self, options: &Options, dataset: &dyn Dataset, architecture: &Architecture) -> Result<()> {
        match self {
            Self::Pca | Self::Ica => return Linear::check(architecture),
            Self::InfoGan => InfoGan::check(architecture, &options.info, &options.info_gan)?,
            Self::InfoWganGp => InfoWganGp::check(architecture, &options.info)?,
            Self::DcIgn => drop(options.dc_ign.groups(dataset, architecture.latents)?),
            _ => {}
        }
        match architecture.output {
            PixelOutput::Sigmoid => Ok(()),
            PixelOutput::Linear => {
                let expected = "networks whose decoder gives logits, for the Bernoulli likelihood";
                Err(Error::setting("architecture", &architecture.name, expected))
            }
        }
    }

    /// The preset that the system's networks come from where none is named.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::DcIgn => "dc-ign",
            Self::Pca | Self::Ica => "linear",
            _ => "factor-vae-64",
        }
    }

    /// The system with fresh networks and optimizers.
    pub fn start(self, setup: Setup, options: &Options) -> Result<Box<dyn Objective>> {
        let adam = options.vae.adam();
        let regularizer: Box<dyn Regularizer> = match self {
            Self::Vae => Box::new(BetaVae { beta: 1.0 }),
            Self::BetaVae => Box::new(BetaVae { beta: options.beta_vae.beta }),
            Self::AnnealedVae => Box::new(AnnealedVae(options.annealed_vae.clone())),
            Self::BetaTcvae => Box::new(BetaTcvae { options: options.beta_tcvae.clone(), images: setup.dataset.len() }),
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
            Self::Pca => return Ok(Box::new(Linear::new(setup, Rotation::Principal)?)),
            Self::Ica => return Ok(Box::new(Linear::new(setup, Rotation::Independent)?)),
            Self::DcIgn => return Ok(Box::new(DcIgn::new(setup, &options.dc_ign, adam)?)),
            Self::InfoGan => return Ok(Box::new(InfoGan::new(setup, &options.info, &options.info_gan)?)),
            Self::InfoWganGp => return Ok(Box::new(InfoWganGp::new(setup, &options.info, &options.info_wgan_gp)?)),
        };
        Ok(Box::new(RegularizedVae::new(setup, adam, regularizer)?))
    }
}
