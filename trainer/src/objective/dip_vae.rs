//! DIP-VAE I and II (Kumar, Sattigeri & Balakrishnan 2018, "Variational Inference of Disentangled Latent Concepts from Unlabeled
//! Observations", arXiv 1711.00848).
//!
//! The covariance of the aggregate posterior is pulled to that of the prior, the identity (section 3, equations 6 and 7):
//! KL + λ_od·Σ_{i≠j} Cov_ij² + λ_d·Σ_i (Cov_ii - 1)². I takes the covariance of the means, Cov_x(μ(x)); II that of the latents,
//! Cov_x(μ(x)) + E_x(Σ(x)).

use candle_core::{DType, Tensor};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{
    Settings,
    regularized::{Posterior, Regularization, Regularizer},
    vae::Gaussian,
};
use crate::{Result, train::config::validate_weight};

/// Hyper-parameters of DIP-VAE I; the paper takes λ_d = 10·λ_od.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct DipVaeIOptions {
    /// dip-vae-i: weight λ_od of the covariances.
    #[arg(long, default_value_t = DipVaeIOptions::default().dip_i_lambda_od)]
    pub dip_i_lambda_od: f64,
    /// dip-vae-i: weight λ_d of the variances' distances from 1.
    #[arg(long, default_value_t = DipVaeIOptions::default().dip_i_lambda_d)]
    pub dip_i_lambda_d: f64,
}

impl Default for DipVaeIOptions {
    fn default() -> Self {
        Self { dip_i_lambda_od: 10.0, dip_i_lambda_d: 100.0 }
    }
}

impl Settings for DipVaeIOptions {
    fn validate(&self) -> Result<()> {
        validate_weight("dip_i_lambda_od", self.dip_i_lambda_od)?;
        validate_weight("dip_i_lambda_d", self.dip_i_lambda_d)
    }
}

/// Hyper-parameters of DIP-VAE II; the paper takes λ_d = λ_od.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct DipVaeIiOptions {
    /// dip-vae-ii: weight λ_od of the covariances.
    #[arg(long, default_value_t = DipVaeIiOptions::default().dip_ii_lambda_od)]
    pub dip_ii_lambda_od: f64,
    /// dip-vae-ii: weight λ_d of the variances' distances from 1.
    #[arg(long, default_value_t = DipVaeIiOptions::default().dip_ii_lambda_d)]
    pub dip_ii_lambda_d: f64,
}

impl Default for DipVaeIiOptions {
    fn default() -> Self {
        Self { dip_ii_lambda_od: 10.0, dip_ii_lambda_d: 10.0 }
    }
}

impl Settings for DipVaeIiOptions {
    fn validate(&self) -> Result<()> {
        validate_weight("dip_ii_lambda_od", self.dip_ii_lambda_od)?;
        validate_weight("dip_ii_lambda_d", self.dip_ii_lambda_d)
    }
}

/// Which covariance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Of the means.
    I,
    /// Of the latents.
    Ii,
}

/// KL + λ_od·Σ_{i≠j} Cov_ij² + λ_d·Σ_i (Cov_ii - 1)².
#[derive(Debug)]
pub struct DipVae {
    /// Which covariance.
    pub variant: Variant,
    /// λ_od.
    pub lambda_od: f64,
    /// λ_d.
    pub lambda_d: f64,
}

impl Regularizer for DipVae {
    fn regularize(&self, posterior: &Posterior) -> Result<Regularization> {
        let covariance = covariance(&posterior.q.whole(posterior.company)?, self.variant)?;
        let identity = Tensor::eye(covariance.dim(0)?, DType::F32, covariance.device())?;
        let diagonal = ((&covariance - 1.0)?.sqr()? * &identity)?.sum_all()?;
        let off_diagonal = (covariance.sqr()? * identity.affine(-1.0, 1.0)?)?.sum_all()?;
        let loss = ((posterior.q.kl()? + (&off_diagonal * self.lambda_od)?)? + (&diagonal * self.lambda_d)?)?;
        Ok(Regularization { loss, terms: vec![("off_diagonal", off_diagonal), ("diagonal", diagonal)] })
    }
}

/// The covariance over a minibatch, `(latents, latents)`.
pub fn covariance(q: &Gaussian, variant: Variant) -> Result<Tensor> {
    let n = q.mean.dim(0)? as f64;
    let centered = q.mean.broadcast_sub(&q.mean.mean_keepdim(0)?)?;
    let of_means = (centered.t()?.matmul(&centered)? / n)?;
    match variant {
        Variant::I => Ok(of_means),
        Variant::Ii => {
            let variances = q.log_var.exp()?.mean(0)?;
            let identity = Tensor::eye(variances.dim(0)?, DType::F32, variances.device())?;
            Ok((of_means + identity.broadcast_mul(&variances)?)?)
        }
    }
}
