//! SAP, the separated attribute predictability score (Kumar et al. 2018, "Variational Inference of Disentangled Latent
//! Concepts from Unlabeled Observations", arXiv 1711.00848, section 3), under the study's protocol (Locatello et al.
//! 2019, arXiv 1811.12359; `disentanglement_lib`).
//!
//! ```text
//! S_jk = test accuracy of a linear SVM (C = 0.01, balanced classes) that tells factor k from latent j alone
//! SAP  = mean over factors k of  (largest - second largest of S_1k .. S_dk)
//! ```
//!
//! 10,000 points to learn from and 5,000 to test on. All factors count as discrete, as they do in the study.

use rayon::prelude::*;

use super::{
    labeled::Labeled,
    learners::{accuracy, svm::Svm},
};

/// The SVMs' cost of a violated margin.
const C: f64 = 0.01;

/// A SAP score and what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Sap {
    /// 0 to 1.
    pub score: f64,
    /// S, `(latents, factors)`.
    pub accuracy: Vec<Vec<f64>>,
    /// Whether each test point was told right, `(latents, factors, n)`.
    correct: Vec<Vec<Vec<bool>>>,
}

impl Sap {
    /// Learns from `train` and scores on `test`.
    pub fn measure(train: &Labeled, test: &Labeled) -> Self {
        let labels: Vec<Vec<usize>> = (0..train.sizes.len()).map(|factor| train.factor(factor).collect()).collect();
        let of_latent = |latent: usize| {
            let codes: Vec<f32> = train.latent(latent).collect();
            let of_factor = |(factor, labels): (usize, &Vec<usize>)| {
                let svm = Svm::fit(&codes, labels, C);
                test.latent(latent).zip(test.factor(factor)).map(|(x, label)| svm.predict(x) == label).collect()
            };
            labels.par_iter().enumerate().map(of_factor).collect()
        };
        let correct: Vec<Vec<Vec<bool>>> = (0..train.latents).into_par_iter().map(of_latent).collect();
        let accuracy = matrix(&correct, &vec![1; test.len()]);
        Self { score: gap(&accuracy), accuracy, correct }
    }

    /// The score where test point i counts `counts[i]` times.
    pub fn resampled(&self, counts: &[u32]) -> f64 {
        gap(&matrix(&self.correct, counts))
    }
}

/// S, `(latents, factors)`.
fn matrix(correct: &[Vec<Vec<bool>>], counts: &[u32]) -> Vec<Vec<f64>> {
    correct.iter().map(|factors| factors.iter().map(|correct| accuracy(correct, counts)).collect()).collect()
}

/// Mean over factors of the largest less the second largest entry, which is 0 where there is one latent only.
fn gap(matrix: &[Vec<f64>]) -> f64 {
    let factors = matrix.first().map_or(0, Vec::len);
    let gap = |factor: usize| {
        let [mut first, mut second] = [0.0; 2];
        for row in matrix {
            if row[factor] > first {
                (first, second) = (row[factor], first);
            } else if row[factor] > second {
                second = row[factor];
            }
        }
        first - second
    };
    (0..factors).map(gap).sum::<f64>() / factors.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fake::{Coder, labeled};

    fn run(model: &Coder) -> Sap {
        Sap::measure(&labeled(model, 2000, 1), &labeled(model, 1000, 2))
    }

    #[test]
    fn the_ground_truth_is_far_above_a_rotation_and_noise() {
        let [truth, rotated, noise] =
            [Coder::ground_truth(), Coder::rotated(), Coder::noise()].map(|model| run(&model));
        // A line per class tells few values in the middle of a scale from their neighbors: the score cannot be 1.
        assert!(truth.score > 0.2, "{}", truth.score);
        assert!(rotated.score < 0.5 * truth.score, "{} {}", rotated.score, truth.score);
        assert!(noise.score < 0.03, "{}", noise.score);
        for (factor, size) in [5.0, 6.0, 8.0, 8.0].into_iter().enumerate() {
            let best = (0..4).max_by(|&a, &b| truth.accuracy[a][factor].total_cmp(&truth.accuracy[b][factor]));
            assert_eq!(best, Some(factor));
            assert!((noise.accuracy[0][factor] - 1.0 / size).abs() < 0.06);
        }
    }

    #[test]
    fn two_values_are_told_without_fault() {
        let pure = Coder::new(2, |pixels, z| {
            z[0] = f32::from(pixels[0] % 2);
            z[1] = f32::from(pixels[3] / 4);
        });
        let halved = |n, seed| {
            let mut points = labeled(&pure, n, seed);
            points.values = points.values.chunks(4).flat_map(|values| [values[0] % 2, values[3] / 4]).collect();
            points.sizes = vec![2, 2];
            points
        };
        let sap = Sap::measure(&halved(500, 1), &halved(400, 2));
        assert_eq!([sap.accuracy[0][0], sap.accuracy[1][1]], [1.0, 1.0]);
        assert!((sap.score - 0.45).abs() < 0.1, "{}", sap.score);
    }

    #[test]
    fn resampling_every_point_once_changes_nothing() {
        let sap = run(&Coder::rotated());
        assert_eq!(sap.resampled(&[1; 1000]), sap.score);
        assert_eq!(sap.resampled(&[3; 1000]), sap.score);
        let half: Vec<u32> = (0..1000).map(|i| i % 2).collect();
        assert!((sap.resampled(&half) - sap.score).abs() < 0.1);
    }

    #[test]
    fn one_latent_has_no_rival() {
        let single = run(&Coder::new(1, |pixels, z| z[0] = f32::from(pixels[0])));
        let mean = single.accuracy[0].iter().sum::<f64>() / 4.0;
        assert!((single.score - mean).abs() < 1e-12);
    }
}
