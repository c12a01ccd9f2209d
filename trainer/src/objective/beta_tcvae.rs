//! β-TCVAE (Chen et al. 2018, "Isolating Sources of Disentanglement in Variational Autoencoders", arXiv 1802.04942).
//!
//! The KL divergence falls into three parts (section 3, equation 2), each with a weight of its own (equation 4):
//! α·MI(x; z) + β·TC(z) + γ·Σ_k KL(q(z_k) || p(z_k)). They need q(z), which is estimated from the minibatch.

use candle_core::{D, Tensor};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use super::{
    Settings,
    regularized::{Posterior, Regularization, Regularizer},
    vae::Gaussian,
};
use crate::{Result, train::config::validate_weight};

/// Hyper-parameters of β-TCVAE; the defaults are the paper's for sprites.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
#[serde(default)]
pub struct BetaTcvaeOptions {
    /// beta-tcvae: weight α of the mutual information of image and latents.
    #[arg(long, default_value_t = BetaTcvaeOptions::default().tcvae_alpha)]
    pub tcvae_alpha: f64,
    /// beta-tcvae: weight β of the total correlation.
    #[arg(long, default_value_t = BetaTcvaeOptions::default().tcvae_beta)]
    pub tcvae_beta: f64,
    /// beta-tcvae: weight γ of the KL divergence of each latent.
    #[arg(long, default_value_t = BetaTcvaeOptions::default().tcvae_gamma)]
    pub tcvae_gamma: f64,
    /// beta-tcvae: how q(z) is estimated from a minibatch.
    #[arg(long, value_enum, default_value_t = BetaTcvaeOptions::default().tcvae_sampling)]
    pub tcvae_sampling: Sampling,
}

/// How q(z) is estimated from a minibatch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Sampling {
    /// Each image of the minibatch counts alike (appendix C.1); biased.
    Weighted,
    /// The image that z came from counts as one of the whole data set (appendix C.2); unbiased for q(z).
    Stratified,
}

impl Default for BetaTcvaeOptions {
    fn default() -> Self {
        Self { tcvae_alpha: 1.0, tcvae_beta: 6.0, tcvae_gamma: 1.0, tcvae_sampling: Sampling::Weighted }
    }
}

impl Settings for BetaTcvaeOptions {
    fn validate(&self) -> Result<()> {
        validate_weight("tcvae_alpha", self.tcvae_alpha)?;
        validate_weight("tcvae_beta", self.tcvae_beta)?;
        validate_weight("tcvae_gamma", self.tcvae_gamma)
    }
}

/// α·MI + β·TC + γ·Σ KL.
#[derive(Debug)]
pub struct BetaTcvae {
    /// The weights and the estimator.
    pub options: BetaTcvaeOptions,
    /// Images in the data set.
    pub images: usize,
}

impl Regularizer for BetaTcvae {
    fn regularize(&self, posterior: &Posterior) -> Result<Regularization> {
        let BetaTcvaeOptions { tcvae_alpha: alpha, tcvae_beta: beta, tcvae_gamma: gamma, tcvae_sampling } =
            self.options;
        let (q, z) = (posterior.q.whole(posterior.company)?, posterior.company.whole(&posterior.z)?);
        let parts = KlParts::estimate(&q, &z, tcvae_sampling, self.images)?;
        let KlParts { mutual_information, total_correlation, dimension_wise_kl } = &parts;
        let loss = (((mutual_information * alpha)? + (total_correlation * beta)?)? + (dimension_wise_kl * gamma)?)?;
        let terms = vec![
            ("mutual_information", parts.mutual_information),
            ("total_correlation", parts.total_correlation),
            ("dimension_wise_kl", parts.dimension_wise_kl),
        ];
        Ok(Regularization { loss, terms })
    }
}

/// The three parts of KL(q(z|x) || N(0, I)) averaged over the data: scalars, nats. Estimates from a minibatch are far from the true
/// values, and their bias hardly moves with the weights; they add up to the one-sample estimate of the KL divergence exactly.
#[derive(Debug)]
pub struct KlParts {
    /// I(x; z) = E ln q(z|x)/q(z).
    pub mutual_information: Tensor,
    /// TC(z) = E ln q(z)/Π q(z_k).
    pub total_correlation: Tensor,
    /// Σ_k KL(q(z_k) || p(z_k)) = E ln Π q(z_k)/p(z).
    pub dimension_wise_kl: Tensor,
}

impl KlParts {
    /// Estimates from the posteriors `q` of a minibatch and one sample `z (N, latents)` of each, of a data set of `images` images.
    pub fn estimate(q: &Gaussian, z: &Tensor, sampling: Sampling, images: usize) -> Result<Self> {
        let n = z.dim(0)?;
        let log_weights = Tensor::from_vec(log_weights(sampling, n, images), (n, n), z.device())?;
        // ln q(z_i|x_j) of each latent, (i, j, latents).
        let each = log_density(&z.unsqueeze(1)?, &q.mean.unsqueeze(0)?, &q.log_var.unsqueeze(0)?)?;
        let log_joint = (each.sum(D::Minus1)? + &log_weights)?.log_sum_exp(1)?;
        let log_marginals = each.broadcast_add(&log_weights.unsqueeze(2)?)?.log_sum_exp(1)?.sum(1)?;
        let log_posterior = log_density(z, &q.mean, &q.log_var)?.sum(1)?;
        let zeros = z.zeros_like()?;
        let log_prior = log_density(z, &zeros, &zeros)?.sum(1)?;
        Ok(Self {
            mutual_information: (log_posterior - &log_joint)?.mean(0)?,
            total_correlation: (log_joint - &log_marginals)?.mean(0)?,
            dimension_wise_kl: (log_marginals - log_prior)?.mean(0)?,
        })
    }
}

/// ln N(z; mean, exp(log_var)), with broadcasting.
fn log_density(z: &Tensor, mean: &Tensor, log_var: &Tensor) -> Result<Tensor> {
    let squares = z.broadcast_sub(mean)?.sqr()?.broadcast_mul(&log_var.neg()?.exp()?)?;
    Ok(((squares.broadcast_add(log_var)? + std::f64::consts::TAU.ln())? * -0.5)?)
}

/// Logarithms of what q(z_i|x_j) counts in q(z_i) ≈ Σ_j w_ij·q(z_i|x_j), `(i, j)`, for a minibatch of `n` out of `images`.
fn log_weights(sampling: Sampling, n: usize, images: usize) -> Vec<f32> {
    let total = images as f64;
    let weight = |i: usize, j: usize| match sampling {
        Sampling::Weighted => 1.0 / (n as f64 * total),
        // One image of the minibatch stands for itself, one for the rest of the data set that the others don't stand for.
        Sampling::Stratified => {
            let others = (n - 1) as f64;
            match (j + n - i) % n {
                0 => 1.0 / total,
                1 => (total - others) / (total * others),
                _ => 1.0 / others,
            }
        }
    };
    (0..n * n).map(|at| weight(at / n, at % n).ln() as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stratified_weights_are_a_distribution_and_weighted_ones_are_smaller_by_the_data_set() {
        let sum = |sampling, row: usize| -> f64 {
            log_weights(sampling, 8, 1000)[row * 8..][..8].iter().map(|w| f64::from(*w).exp()).sum()
        };
        for row in 0..8 {
            assert!((sum(Sampling::Stratified, row) - 1.0).abs() < 1e-5);
            assert!((sum(Sampling::Weighted, row) - 1e-3).abs() < 1e-8);
        }
    }
}
