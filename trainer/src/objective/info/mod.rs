//! What both InfoGANs share (Chen et al. 2016, arXiv 1606.03657): codes that Q can read off generated images.
//!
//! A generator G makes images of codes c and noise, and a game with a discriminator or critic D makes them like real ones. Both
//! networks also maximize a lower bound of the mutual information of codes and images (section 5, equation 5):
//!
//! ```text
//! L_I(G, Q) = E[log Q(c|x)] + H(c) ≤ I(c; G(z, c)),      c ~ P(c), x ~ G(z, c)
//! ```
//!
//! Q shares all layers of D but the last. Deployed, Q is the encoder and G the decoder.

mod codes;
mod deployed;
mod networks;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

pub use codes::Codes;
pub use networks::{InfoNetworks, Judgment, check_second_derivative};

use super::Settings;
use crate::{
    Error, Result,
    train::config::{count, validate_weight},
};

/// Hyper-parameters of both InfoGANs; the defaults are those with which others compared InfoGAN on sprites.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct InfoOptions {
    /// Both InfoGANs: weight λ of the mutual information of codes and images.
    #[arg(long, default_value_t = InfoOptions::default().info_coefficient)]
    pub info_coefficient: f64,
    /// Both InfoGANs: how many noise inputs G has beside the codes.
    #[arg(long, value_parser = count::<usize>, default_value_t = InfoOptions::default().noise_size)]
    pub noise_size: usize,
    /// Both InfoGANs: how many of the codes are categorical; each takes as many latents as it has classes, the last ones.
    #[arg(long, value_parser = count::<usize>, default_value_t = InfoOptions::default().categorical_codes)]
    pub categorical_codes: usize,
    /// Both InfoGANs: classes of each categorical code.
    #[arg(long, value_parser = count::<usize>, default_value_t = InfoOptions::default().categorical_classes)]
    pub categorical_classes: usize,
    /// Both InfoGANs: whether Q learns the variance of a continuous code.
    #[arg(long, value_enum, default_value_t = InfoOptions::default().code_variance)]
    pub code_variance: CodeVariance,
}

/// The variance of Q(c|x) for a continuous code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum CodeVariance {
    /// Q's own output (appendix C).
    Learned,
    /// 1, as in the authors' code for MNIST.
    Fixed,
}

impl Default for InfoOptions {
    fn default() -> Self {
        Self {
            info_coefficient: 0.05,
            noise_size: 5,
            categorical_codes: 0,
            categorical_classes: 10,
            code_variance: CodeVariance::Learned,
        }
    }
}

impl Settings for InfoOptions {
    fn validate(&self) -> Result<()> {
        validate_weight("info_coefficient", self.info_coefficient)?;
        if self.noise_size > 4096 {
            return Err(Error::setting("noise_size", self.noise_size, "0 to 4096"));
        }
        if self.categorical_classes < 2 {
            return Err(Error::setting("categorical_classes", self.categorical_classes, "2 or more"));
        }
        Ok(())
    }
}
