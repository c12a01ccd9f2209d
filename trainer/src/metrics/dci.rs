//! DCI: disentanglement, completeness and informativeness (Eastwood & Williams 2018, "A Framework for the Quantitative
//! Evaluation of Disentangled Representations", ICLR, section 2), under the study's protocol (Locatello et al. 2019,
//! arXiv 1811.12359; `disentanglement_lib`).
//!
//! ```text
//! R_jk = importance of latent j to gradient-boosted trees that tell factor k from all latents
//! D_j  = 1 - H_K(R_j1 .. R_jK / Σ_k R_jk)           entropy to base K, the number of factors
//! C_k  = 1 - H_d(R_1k .. R_dk / Σ_j R_jk)           entropy to base d, the number of latents
//! disentanglement = Σ_j D_j·Σ_k R_jk / Σ R;     completeness = Σ_k C_k·Σ_j R_jk / Σ R
//! informativeness = mean over factors of the trees' accuracy
//! ```
//!
//! 10,000 points to learn from and 5,000 to test on. Disentanglement and completeness do not depend on the test points;
//! how far chance moves them shows only when trees are fitted to other training points.

use rayon::prelude::*;

use super::{
    labeled::Labeled,
    learners::{Columns, accuracy, boosting::Boosting},
};

/// The three scores and what they were made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Dci {
    /// 0 to 1.
    pub disentanglement: f64,
    /// 0 to 1.
    pub completeness: f64,
    /// Accuracy on the test points, 0 to 1.
    pub informativeness: f64,
    /// Accuracy on the training points, 0 to 1.
    pub train_informativeness: f64,
    /// R, `(latents, factors)`; each factor's sum to 1, or are 0 where no tree was split.
    pub importances: Vec<Vec<f64>>,
    /// D, `(latents)`.
    pub latent_disentanglement: Vec<f64>,
    /// C, `(factors)`.
    pub factor_completeness: Vec<f64>,
    /// Accuracy on the test points, `(factors)`.
    pub accuracy: Vec<f64>,
    /// Whether each test point was told right, `(factors, n)`.
    correct: Vec<Vec<bool>>,
}

impl Dci {
    /// Learns from `train` and scores on `test`.
    pub fn measure(train: &Labeled, test: &Labeled) -> Self {
        let columns = Columns::new(train);
        let of_factor = |factor: usize| {
            let labels: Vec<usize> = train.factor(factor).collect();
            let trees = Boosting::fit(&columns, &labels);
            let told = |points: &Labeled| told_right(&trees, points, factor);
            (told(train), told(test), trees.importances)
        };
        let factors: Vec<_> = (0..train.sizes.len()).into_par_iter().map(of_factor).collect();
        let everything = |correct: &[bool]| accuracy(correct, &vec![1; correct.len()]);
        let train_accuracy: Vec<f64> = factors.iter().map(|(train, ..)| everything(train)).collect();
        let test_accuracy: Vec<f64> = factors.iter().map(|(_, test, _)| everything(test)).collect();
        let row = |latent: usize| factors.iter().map(|(.., importances)| importances[latent]).collect();
        let importances: Vec<Vec<f64>> = (0..train.latents).map(row).collect();
        let columns: Vec<Vec<f64>> = factors.iter().map(|(.., importances)| importances.clone()).collect();
        let (disentanglement, latent_disentanglement) = purity(&importances);
        let (completeness, factor_completeness) = purity(&columns);
        Self {
            disentanglement,
            completeness,
            informativeness: mean(&test_accuracy),
            train_informativeness: mean(&train_accuracy),
            importances,
            latent_disentanglement,
            factor_completeness,
            accuracy: test_accuracy,
            correct: factors.into_iter().map(|(_, test, _)| test).collect(),
        }
    }

    /// Informativeness where test point i counts `counts[i]` times.
    pub fn resampled_informativeness(&self, counts: &[u32]) -> f64 {
        mean(&self.correct.iter().map(|correct| accuracy(correct, counts)).collect::<Vec<_>>())
    }
}

fn told_right(trees: &Boosting, points: &Labeled, factor: usize) -> Vec<bool> {
    let rows = points.codes.par_chunks_exact(points.latents);
    let predicted: Vec<usize> = rows.map(|row| trees.predict(row)).collect();
    predicted.into_iter().zip(points.factor(factor)).map(|(found, label)| found == label).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// 1 - entropy of each row, to the base of its length, and their mean weighted with the rows' sums.
fn purity(rows: &[Vec<f64>]) -> (f64, Vec<f64>) {
    let purities: Vec<f64> = rows.iter().map(|row| 1.0 - entropy(row)).collect();
    let sums: Vec<f64> = rows.iter().map(|row| row.iter().sum()).collect();
    let total: f64 = sums.iter().sum();
    let weight = |sum: f64| if total > 0.0 { sum / total } else { 1.0 / rows.len() as f64 };
    (purities.iter().zip(&sums).map(|(purity, &sum)| purity * weight(sum)).sum(), purities)
}

/// The entropy of `row` made to sum to 1, to the base of its length; 1 where all is 0, and 0 for a single entry.
fn entropy(row: &[f64]) -> f64 {
    if row.len() < 2 {
        return 0.0;
    }
    // disentanglement_lib's guard against empty rows.
    let row: Vec<f64> = row.iter().map(|entry| entry + 1e-11).collect();
    let total: f64 = row.iter().sum();
    let nats: f64 = row.iter().map(|entry| -entry / total * (entry / total).ln()).sum();
    nats / (row.len() as f64).ln()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::fake::{Coder, labeled},
        rng::{Purpose, normals, stream},
    };

    fn run(model: &Coder) -> Dci {
        Dci::measure(&labeled(model, 800, 1), &labeled(model, 400, 2))
    }

    #[test]
    fn the_ground_truth_scores_one() {
        let dci = run(&Coder::ground_truth());
        for score in [dci.disentanglement, dci.completeness, dci.informativeness, dci.train_informativeness] {
            assert!((score - 1.0).abs() < 1e-6, "{dci:?}");
        }
        for (latent, row) in dci.importances.iter().enumerate() {
            assert!((row[latent] - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn a_rotation_informs_without_being_disentangled() {
        let dci = run(&Coder::rotated());
        // Pairs of factors share pairs of latents: half of the entropy to base 4.
        assert!((0.3..0.7).contains(&dci.disentanglement), "{}", dci.disentanglement);
        assert!((0.3..0.7).contains(&dci.completeness), "{}", dci.completeness);
        assert!(dci.informativeness > 0.6, "{}", dci.informativeness);
    }

    #[test]
    fn noise_scores_near_chance() {
        // Drawn afresh for each point: trees would remember the code of an image that is in both sets.
        let noise = |n, seed| {
            let codes = normals(&mut stream(seed, Purpose::Noise, 0), 4 * n);
            Labeled { codes, ..labeled(&Coder::noise(), n, seed) }
        };
        let dci = Dci::measure(&noise(800, 1), &noise(400, 2));
        assert!(dci.disentanglement < 0.1 && dci.completeness < 0.1, "{dci:?}");
        let chance = (1.0 / 5.0 + 1.0 / 6.0 + 1.0 / 8.0 + 1.0 / 8.0) / 4.0;
        assert!((dci.informativeness - chance).abs() < 0.05, "{}", dci.informativeness);
    }

    #[test]
    fn codes_that_never_move_tell_nothing() {
        let dci = run(&Coder::new(3, |_, _| {}));
        assert!(dci.disentanglement.abs() < 1e-9 && dci.completeness.abs() < 1e-9);
        assert!(dci.importances.iter().flatten().all(|&importance| importance == 0.0));
        assert!(dci.informativeness < 0.3);
    }

    #[test]
    fn resampling_every_point_once_changes_nothing() {
        let dci = run(&Coder::rotated());
        assert_eq!(dci.resampled_informativeness(&[1; 400]), dci.informativeness);
        let mut alone = [0; 400];
        alone[7] = 5;
        let right = dci.correct.iter().filter(|correct| correct[7]).count();
        assert_eq!(dci.resampled_informativeness(&alone), right as f64 / 4.0);
    }

    #[test]
    fn purity_weighs_rows_by_their_sums() {
        let (score, purities) = purity(&[vec![0.9, 0.0], vec![0.05, 0.05]]);
        assert!((purities[0] - 1.0).abs() < 1e-8 && purities[1].abs() < 1e-8);
        assert!((score - 0.9).abs() < 1e-8);
    }
}
