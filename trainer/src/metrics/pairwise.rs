//! Mean pairwise mutual information of the latents, without labels.
//!
//! ```text
//! 1 / (M·(M - 1)) · Σ_{i≠j} I(z_i; z_j)        over all M latents, nats
//! ```
//!
//! Less is better; 0 is independent. Protocol `study` (Locatello et al. 2019, appendix G; `disentanglement_lib`,
//! `unsupervised_metrics`): posterior means of 10,000 images in 20 bins; latents that never move count, with 0.
//! The interval resamples images; the bins stay.

use super::{
    labeled::Labeled,
    mutual_information::{Discrete, mutual_information},
};

/// The mean pairwise mutual information and its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairwise {
    /// The mean over all pairs, nats; 0 for a single latent.
    pub score: f64,
    /// I of each two latents, `(latents, latents)`, nats; 0 on the diagonal.
    pub mutual_information: Vec<Vec<f64>>,
    latents: Vec<Discrete>,
}

impl Pairwise {
    /// The mean over the latents of `points`.
    pub fn measure(points: &Labeled) -> Self {
        let latents = Discrete::latents(points);
        let mutual_information = matrix(&latents, &vec![1; points.len()]);
        Self { score: mean(&mutual_information), mutual_information, latents }
    }

    /// The score where point i counts `counts[i]` times.
    pub fn resampled(&self, counts: &[u32]) -> f64 {
        mean(&matrix(&self.latents, counts))
    }
}

fn matrix(latents: &[Discrete], counts: &[u32]) -> Vec<Vec<f64>> {
    let mut information = vec![vec![0.0; latents.len()]; latents.len()];
    for (i, first) in latents.iter().enumerate() {
        for (j, second) in latents[..i].iter().enumerate() {
            let value = mutual_information(first, second, counts);
            (information[i][j], information[j][i]) = (value, value);
        }
    }
    information
}

fn mean(information: &[Vec<f64>]) -> f64 {
    let m = information.len();
    information.iter().flatten().sum::<f64>() / (m * m.saturating_sub(1)).max(1) as f64
}
