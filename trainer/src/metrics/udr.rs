//! Unsupervised disentanglement ranking: a model is good if other seeds agree with it (Duan et al. 2020, "Unsupervised Model
//! Selection for Variational Disentangled Representation Learning", arXiv 1905.12614, section 4).
//!
//! ```text
//! z_i  = model i's informative latents (KL to the prior over 0.01 nats) of n images, standardized
//! R_ij = |similarity| of each latent of i with each of j, (latents of i, latents of j):
//!          Lasso     coefficients of z_i in 1/(2n)·||z_j - z_i·w||² + 0.1·|w|
//!          Spearman  rank correlations
//! u_ij = ½·(mean over columns b of max_a R_ab² / Σ_a R_ab + mean over rows a of max_b R_ab² / Σ_b R_ab)
//! UDR_i = median of u_ji over the other models j
//! ```
//!
//! u is 1 where each latent of one model has one partner in the other: well disentangled models agree up to a permutation
//! and signs, badly disentangled ones are bad each in a way of their own. As in the authors' code (`disentanglement_lib`,
//! `udr_sklearn`, 10,000 images) rows and columns are averaged each by themselves; the paper weights them by their number.

use rayon::prelude::*;

/// Weight of the Lasso's |w|.
pub const LASSO_ALPHA: f64 = 0.1;

/// How latents of two models are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Similarity {
    /// Coefficients of a sparse regression; the paper's choice.
    Lasso,
    /// Rank correlations.
    Spearman,
}

/// A model's informative latents, `(latents, n)`: the same images in the same order for each model.
pub type Latents = Vec<Vec<f64>>;

/// u_ij of each two models, `(models, models)`; 0 on the diagonal and for models without informative latents.
pub fn agreements(models: &[Latents], similarity: Similarity) -> Vec<Vec<f64>> {
    let prepare = |latents: &Latents| -> Latents {
        let column = |values: &Vec<f64>| match similarity {
            Similarity::Lasso => standardized(values),
            Similarity::Spearman => standardized(&ranks(values)),
        };
        latents.par_iter().map(column).collect()
    };
    let models: Vec<Latents> = models.iter().map(prepare).collect();
    let agreement = |i: usize, j: usize| {
        let matrix = match similarity {
            _ if i == j => return 0.0,
            Similarity::Lasso => lasso(&models[i], &models[j]),
            Similarity::Spearman => products(&models[i], &models[j]),
        };
        relative_strength(&matrix.iter().map(|row| row.iter().map(|r| r.abs()).collect()).collect::<Vec<_>>())
    };
    (0..models.len()).into_par_iter().map(|i| (0..models.len()).map(|j| agreement(i, j)).collect()).collect()
}

/// UDR of model `model` from [`agreements`] with the models `others`.
pub fn udr(agreements: &[Vec<f64>], model: usize, others: &[usize]) -> f64 {
    let mut values: Vec<f64> = others.iter().map(|&other| agreements[other][model]).collect();
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[half],
        _ => (values[half - 1] + values[half]) / 2.0,
    }
}

/// u of a matrix of similarities.
fn relative_strength(matrix: &[Vec<f64>]) -> f64 {
    let columns = matrix.first().map_or(0, Vec::len);
    let column = |b: usize| matrix.iter().map(|row| row[b]).collect::<Vec<_>>();
    let strength = |similarities: &[f64]| {
        let sum: f64 = similarities.iter().sum();
        let greatest = similarities.iter().copied().fold(0.0, f64::max);
        if sum > 0.0 { greatest * greatest / sum } else { 0.0 }
    };
    let by_row: f64 = matrix.iter().map(|row| strength(row)).sum();
    let by_column: f64 = (0..columns).map(|b| strength(&column(b))).sum();
    (by_row / matrix.len().max(1) as f64 + by_column / columns.max(1) as f64) / 2.0
}

/// Mean 0, variance (over n) 1; a constant becomes 0.
fn standardized(values: &[f64]) -> Vec<f64> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
    values.iter().map(|v| if deviation > 0.0 { (v - mean) / deviation } else { 0.0 }).collect()
}

/// Ranks from 0; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for equals in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (equals.len() - 1) as f64 / 2.0;
        equals.iter().for_each(|&i| ranks[i] = rank);
        first += equals.len();
    }
    ranks
}

/// AᵀB / n: correlations where both are standardized, `(latents of a, latents of b)`.
fn products(a: &Latents, b: &Latents) -> Vec<Vec<f64>> {
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / a.len() as f64;
    a.iter().map(|a| b.iter().map(|b| product(a, b)).collect()).collect()
}

/// The Lasso's coefficients `(latents of x, latents of y)`, by coordinate descent on the normal equations (Friedman et al.
/// 2010, "Regularization Paths for Generalized Linear Models via Coordinate Descent", section 2.1).
fn lasso(x: &Latents, y: &Latents) -> Vec<Vec<f64>> {
    let (gram, target) = (products(x, x), products(x, y));
    let mut coefficients = vec![vec![0.0; y.len()]; x.len()];
    for column in 0..y.len() {
        let mut w = vec![0.0; x.len()];
        // Each sweep lowers the objective; the bound ends what rounding keeps moving.
        for _ in 0..10_000 {
            let mut moved: f64 = 0.0;
            for j in 0..x.len() {
                let rest: f64 = gram[j].iter().zip(&w).map(|(g, w)| g * w).sum::<f64>() - gram[j][j] * w[j];
                let pull = target[j][column] - rest;
                let new = if gram[j][j] > 0.0 {
                    pull.signum() * (pull.abs() - LASSO_ALPHA).max(0.0) / gram[j][j]
                } else {
                    0.0
                };
                moved = moved.max((new - w[j]).abs());
                w[j] = new;
            }
            if moved < 1e-12 {
                break;
            }
        }
        coefficients.iter_mut().zip(w).for_each(|(row, w)| row[column] = w);
    }
    coefficients
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, normals, stream};

    /// Independent latents.
    fn independent(seed: u64) -> Latents {
        let latent = |i| normals(&mut stream(seed, Purpose::Metric, i), 4000).into_iter().map(f64::from).collect();
        (0..4).map(latent).collect()
    }

    /// Latents mixed in pairs by a rotation of `degrees`.
    fn rotated(latents: &Latents, degrees: f64) -> Latents {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let mix = |a: &[f64], b: &[f64], s: f64, c: f64| a.iter().zip(b).map(|(a, b)| c * a + s * b).collect();
        let [a, b, c, d] = &latents[..] else { panic!("four latents") };
        vec![mix(a, b, sin, cos), mix(b, a, -sin, cos), mix(c, d, sin, cos), mix(d, c, -sin, cos)]
    }

    #[test]
    fn permuted_and_scaled_models_agree_and_a_rotated_one_does_not() {
        let truth = independent(1);
        let permuted = [2, 0, 3, 1].iter().map(|&i: &usize| truth[i].iter().map(|z| -3.0 * z).collect()).collect();
        let models = [truth.clone(), permuted, rotated(&truth, 45.0)];
        for similarity in [Similarity::Lasso, Similarity::Spearman] {
            let agreements = agreements(&models, similarity);
            let score = |model, others: &[usize]| udr(&agreements, model, others);
            let (same, other) = (score(0, &[1]), score(0, &[2]));
            // The Lasso shrinks a perfect correlation by its alpha: 0.9² / 0.9; chance adds to the sum of Spearman's.
            assert!((0.88..=1.0).contains(&same), "{similarity:?}: {same}");
            assert!(other < 0.6 * same, "{similarity:?}: {other}");
            assert_eq!(score(2, &[0]), agreements[0][2]);
            assert_eq!(score(0, &[1, 2]), (same + other) / 2.0);
            assert_eq!(agreements[1][1], 0.0);
        }
    }

    #[test]
    fn models_that_carry_nothing_agree_with_nobody() {
        let models = [independent(1), Vec::new(), vec![vec![2.0; 4000]]];
        for similarity in [Similarity::Lasso, Similarity::Spearman] {
            let agreements = agreements(&models, similarity);
            assert!(agreements.iter().flatten().all(|&agreement| agreement == 0.0), "{agreements:?}");
        }
        assert_eq!(udr(&[vec![0.0]], 0, &[]), 0.0);
    }

    #[test]
    fn equal_values_share_a_rank() {
        assert_eq!(ranks(&[3.0, -1.0, 3.0, 7.0, 3.0]), [2.0, 0.0, 2.0, 4.0, 2.0]);
    }
}
