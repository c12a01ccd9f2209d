//! Modularity (Ridgeway & Mozer 2018, "Learning Deep Disentangled Embeddings With the F-Statistic Loss", arXiv
//! 1802.05312, section 3): whether each latent follows one factor at most.
//!
//! ```text
//! m_jk = mutual information of latent j and factor k, nats;     θ_j = max over k of m_jk
//! δ_j  = Σ over all other factors of m_jk² / (θ_j²·(K - 1))
//! modularity = mean over latents j of 1 - δ_j;      0 for a latent that shares nothing with any factor
//! ```
//!
//! The study's protocol (Locatello et al. 2019, arXiv 1811.12359; `disentanglement_lib`): 10,000 points, latents in 20
//! bins of equal width between their least and largest value. The interval resamples points; the bins stay.

use super::{
    labeled::Labeled,
    mutual_information::{Discrete, matrix},
};

/// A modularity score and what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Modularity {
    /// 0 to 1.
    pub score: f64,
    /// 1 - δ, `(latents)`.
    pub latents: Vec<f64>,
    /// m in nats, `(latents, factors)`.
    pub mutual_information: Vec<Vec<f64>>,
    bins: Vec<Discrete>,
    factors: Vec<Discrete>,
}

impl Modularity {
    /// The modularity of the codes of `points`.
    pub fn measure(points: &Labeled) -> Self {
        let (bins, factors) = (Discrete::latents(points), Discrete::factors(points));
        let mutual_information = matrix(&bins, &factors, &vec![1; points.len()]);
        let latents: Vec<f64> = mutual_information.iter().map(|row| modularity(row)).collect();
        Self { score: mean(&latents), latents, mutual_information, bins, factors }
    }

    /// The score where point i counts `counts[i]` times.
    pub fn resampled(&self, counts: &[u32]) -> f64 {
        let rows = matrix(&self.bins, &self.factors, counts);
        mean(&rows.iter().map(|row| modularity(row)).collect::<Vec<_>>())
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// 1 - δ of a latent from its mutual information with each factor; 1 where there is one factor only.
fn modularity(row: &[f64]) -> f64 {
    let squares: f64 = row.iter().map(|m| m * m).sum();
    let largest = row.iter().map(|m| m * m).fold(0.0, f64::max);
    if largest == 0.0 {
        return 0.0;
    }
    1.0 - (squares - largest) / (largest * (row.len() - 1).max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fake::{Coder, labeled};

    fn run(model: &Coder) -> Modularity {
        Modularity::measure(&labeled(model, 4000, 1))
    }

    #[test]
    fn the_ground_truth_scores_one_and_a_rotation_less() {
        let truth = run(&Coder::ground_truth());
        assert!(truth.score > 0.999, "{}", truth.score);
        assert!((truth.mutual_information[0][0] - 5f64.ln()).abs() < 0.01);
        let rotated = run(&Coder::rotated());
        // Each latent shares like much with two factors of four: δ near 1/3.
        assert!((0.6..0.8).contains(&rotated.score), "{}", rotated.score);
    }

    #[test]
    fn noise_shares_next_to_nothing() {
        let noise = run(&Coder::noise());
        assert!(noise.mutual_information.iter().flatten().all(|&m| m < 0.1), "{:?}", noise.mutual_information);
        let still = run(&Coder::new(3, |_, _| {}));
        assert_eq!((still.score, still.latents), (0.0, vec![0.0; 3]));
    }

    #[test]
    fn resampling_every_point_once_changes_nothing() {
        let rotated = run(&Coder::rotated());
        assert_eq!(rotated.resampled(&[1; 4000]), rotated.score);
        let half: Vec<u32> = (0..4000).map(|i| 2 * (i % 2)).collect();
        assert!((rotated.resampled(&half) - rotated.score).abs() < 0.05);
    }
}
