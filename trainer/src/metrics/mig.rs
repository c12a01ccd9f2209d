//! The mutual information gap (Chen et al. 2018, "Isolating Sources of Disentanglement in VAEs", arXiv 1802.04942, section 4.1).
//!
//! ```text
//! MIG = 1/K · Σ_k (I(z_j1; v_k) - I(z_j2; v_k)) / H(v_k)        j1, j2: the latents that tell most about factor k
//! ```
//!
//! It is 1 where each factor is all in one latent, and falls where several latents share a factor. Protocol `study`
//! (Locatello et al. 2019; `disentanglement_lib`): posterior means of 10,000 images in 20 bins. The interval resamples
//! images; the bins stay.

use super::{
    labeled::Labeled,
    mutual_information::{Discrete, matrix},
};

/// MIG and its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Mig {
    /// The mean gap over the factors that take more than one value, 0 to 1; 0 without any.
    pub score: f64,
    /// Each factor's gap as a share of its entropy, `(factors)`; 0 for a factor that takes one value.
    pub gaps: Vec<f64>,
    /// `(latents, factors)`, nats.
    pub mutual_information: Vec<Vec<f64>>,
    latents: Vec<Discrete>,
    factors: Vec<Discrete>,
}

impl Mig {
    /// The MIG of `points`.
    pub fn measure(points: &Labeled) -> Self {
        let (latents, factors) = (Discrete::latents(points), Discrete::factors(points));
        let counts = vec![1; points.len()];
        let mutual_information = matrix(&latents, &factors, &counts);
        let gaps = gaps(&mutual_information, &factors, &counts);
        let score = mean(&gaps);
        let gaps = gaps.into_iter().map(|gap| gap.unwrap_or(0.0)).collect();
        Self { score, gaps, mutual_information, latents, factors }
    }

    /// The score where point i counts `counts[i]` times.
    pub fn resampled(&self, counts: &[u32]) -> f64 {
        mean(&gaps(&matrix(&self.latents, &self.factors, counts), &self.factors, counts))
    }
}

/// The gaps as shares of the entropies; `None` for a factor that takes one value.
fn gaps(information: &[Vec<f64>], factors: &[Discrete], counts: &[u32]) -> Vec<Option<f64>> {
    let gap = |(k, factor): (usize, &Discrete)| {
        let entropy = factor.entropy(counts);
        let (first, second) = greatest_two(information.iter().map(|row| row[k]));
        (entropy > 0.0).then(|| (first - second) / entropy)
    };
    factors.iter().enumerate().map(gap).collect()
}

fn mean(gaps: &[Option<f64>]) -> f64 {
    gaps.iter().flatten().sum::<f64>() / gaps.iter().flatten().count().max(1) as f64
}

/// The greatest and the second greatest; 0 where there is none.
fn greatest_two(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold(
        (0.0, 0.0),
        |(first, second), value| {
            if value > first { (value, first) } else { (first, f64::max(second, value)) }
        },
    )
}
