//! How far latents are from independent if they were Gaussian: two scores of the means' covariance Σ, without labels.
//!
//! ```text
//! total correlation        KL(N(0, Σ) || N(0, diag Σ))  = -½·ln det R                    R: the correlations
//! Wasserstein correlation  W2²(N(0, Σ), N(0, diag Σ))   = 2·tr Σ - 2·tr (D^½ Σ D^½)^½    D = diag Σ
//! normalized               the same / tr Σ
//! ```
//!
//! Less is better, 0 is independent. Protocol `study` (Locatello et al. 2019, section 5.4 and appendix G;
//! `disentanglement_lib`): posterior means of 10,000 images. The second, and its quotient with the variance that there is,
//! exist because total correlation explodes where latents are close to collinear; the first depends on the latents' scale.
//! Latents that never move are independent of all and left out. The interval resamples images.

use nalgebra::{DMatrix, DVector};

use super::labeled::Labeled;

/// Eigenvalues of a correlation matrix count as at least this: a latent that is a copy of another one adds 14 nats
/// of total correlation, not an infinity.
pub const LEAST_EIGENVALUE: f64 = 1e-12;

/// The covariance (over n - 1) of the latents of `data`, `(latents, latents)`; sample i counts `counts[i]` times.
pub fn covariance(data: &Labeled, counts: &[u32]) -> DMatrix<f64> {
    let n: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let codes = || {
        let rows = data.codes.chunks_exact(data.latents.max(1)).zip(counts).filter(|(_, count)| **count > 0);
        rows.map(|(row, &count)| {
            (DVector::from_iterator(row.len(), row.iter().copied().map(f64::from)), f64::from(count))
        })
    };
    let mut mean = DVector::zeros(data.latents);
    codes().for_each(|(code, count)| mean.axpy(count / n, &code, 1.0));
    let mut covariance = DMatrix::zeros(data.latents, data.latents);
    for (code, count) in codes() {
        let centered = code - &mean;
        covariance.ger(count / (n - 1.0), &centered, &centered, 1.0);
    }
    covariance
}

/// Gaussian total correlation, nats.
pub fn total_correlation(covariance: &DMatrix<f64>) -> f64 {
    let moving: Vec<usize> = (0..covariance.nrows()).filter(|&i| covariance[(i, i)] > 0.0).collect();
    let correlation = |i, j| covariance[(i, j)] / (covariance[(i, i)] * covariance[(j, j)]).sqrt();
    let correlations = DMatrix::from_fn(moving.len(), moving.len(), |i, j| correlation(moving[i], moving[j]));
    let log_det: f64 = eigenvalues(correlations).iter().map(|&value| value.max(LEAST_EIGENVALUE).ln()).sum();
    (-0.5 * log_det).max(0.0)
}

/// Gaussian Wasserstein correlation, in the latents' units squared.
pub fn wasserstein_correlation(covariance: &DMatrix<f64>) -> f64 {
    let scaled = |i, j| covariance[(i, j)] * (covariance[(i, i)] * covariance[(j, j)]).sqrt();
    let scaled = DMatrix::from_fn(covariance.nrows(), covariance.ncols(), scaled);
    let root_trace: f64 = eigenvalues(scaled).iter().map(|&value| value.max(0.0).sqrt()).sum();
    (2.0 * covariance.trace() - 2.0 * root_trace).max(0.0)
}

/// [`wasserstein_correlation`] as a share of the whole variance, 0 to 2; 0 where nothing moves.
pub fn normalized_wasserstein_correlation(covariance: &DMatrix<f64>) -> f64 {
    let trace = covariance.trace();
    if trace > 0.0 { wasserstein_correlation(covariance) / trace } else { 0.0 }
}

/// The eigenvalues of a symmetric matrix; NaN where it is not finite.
fn eigenvalues(matrix: DMatrix<f64>) -> Vec<f64> {
    // nalgebra panics on an empty matrix, and may never end on one that is not finite.
    if matrix.is_empty() || matrix.iter().any(|value| !value.is_finite()) {
        return vec![f64::NAN; matrix.nrows()];
    }
    matrix.symmetric_eigenvalues().iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of latents that go together with correlation rho, each on a scale of its own.
    fn pairs(rho: f64) -> DMatrix<f64> {
        let scales = [1.0, 3.0, 0.2, 5.0];
        let entry = |i: usize, j: usize| match (i == j, i / 2 == j / 2) {
            (true, _) => 1.0,
            (_, true) => rho,
            _ => 0.0,
        };
        DMatrix::from_fn(4, 4, |i, j| entry(i, j) * scales[i] * scales[j])
    }

    #[test]
    fn correlated_pairs_have_the_closed_forms() {
        for rho in [0.0, 0.3, -0.6, 0.9] {
            let found = total_correlation(&pairs(rho));
            assert!((found + (1.0 - rho * rho).ln()).abs() < 1e-12, "{rho}: {found}");
        }
        // Two equal variances v: (D^½ΣD^½)^½ has the eigenvalues v·√(1 ± rho).
        let cov = DMatrix::from_row_slice(2, 2, &[4.0, 2.0, 2.0, 4.0]);
        let expected = 16.0 - 8.0 * (1.5f64.sqrt() + 0.5f64.sqrt());
        assert!((wasserstein_correlation(&cov) - expected).abs() < 1e-12);
        assert!((normalized_wasserstein_correlation(&cov) - expected / 8.0).abs() < 1e-12);
    }

    #[test]
    fn still_latents_change_nothing_and_copies_stay_finite() {
        let padded = pairs(0.6).resize(5, 5, 0.0);
        assert_eq!(total_correlation(&padded), total_correlation(&pairs(0.6)));
        assert!((wasserstein_correlation(&padded) - wasserstein_correlation(&pairs(0.6))).abs() < 1e-12);
        let copies = total_correlation(&DMatrix::repeat(2, 2, 1.0));
        assert!((13.0..14.0).contains(&copies), "{copies}");
        assert_eq!(normalized_wasserstein_correlation(&DMatrix::zeros(3, 3)), 0.0);
    }

    #[test]
    fn counts_repeat_samples() {
        let data = |codes: &[f32]| Labeled { latents: 2, sizes: vec![], codes: codes.to_vec(), values: vec![] };
        let thrice = covariance(&data(&[1.0, 2.0, 3.0, -1.0, 0.0, 5.0]), &[2, 1, 0]);
        let written = covariance(&data(&[1.0, 2.0, 1.0, 2.0, 3.0, -1.0]), &[1; 3]);
        assert!((&thrice - &written).amax() < 1e-12, "{thrice} {written}");
        assert!((written[(0, 0)] - 4.0 / 3.0).abs() < 1e-12 && (written[(0, 1)] + 2.0).abs() < 1e-12);
    }
}
