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

use nalgebra::DMatrix;

use super::labeled::Labeled;

/// Eigenvalues of a correlation matrix count as at least this: a latent that is a copy of another one adds 14 nats
/// of total correlation, not an infinity.
pub const LEAST_EIGENVALUE: f64 = 1e-12;

/// A symmetric matrix, row by row.
pub type Matrix = Vec<Vec<f64>>;

/// The covariance (over n - 1) of the latents of `data`, `(latents, latents)`; sample i counts `counts[i]` times.
pub fn covariance(data: &Labeled, counts: &[u32]) -> Matrix {
    let n: f64 = counts.iter().map(|&count| f64::from(count)).sum();
    let rows = || data.codes.chunks_exact(data.latents.max(1)).zip(counts).filter(|(_, count)| **count > 0);
    let mut mean = vec![0.0; data.latents];
    for (row, &count) in rows() {
        mean.iter_mut().zip(row).for_each(|(mean, &z)| *mean += f64::from(count) * f64::from(z) / n);
    }
    let mut covariance = vec![vec![0.0; data.latents]; data.latents];
    let mut centered = vec![0.0; data.latents];
    for (row, &count) in rows() {
        centered.iter_mut().zip(row).zip(&mean).for_each(|((c, &z), mean)| *c = f64::from(z) - mean);
        let weight = f64::from(count) / (n - 1.0);
        for (i, sums) in covariance.iter_mut().enumerate() {
            sums.iter_mut().zip(&centered).for_each(|(sum, c)| *sum += weight * centered[i] * c);
        }
    }
    covariance
}

/// The rows and columns whose variance is not 0.
fn moving(covariance: &Matrix) -> Matrix {
    let moving: Vec<usize> = (0..covariance.len()).filter(|&i| covariance[i][i] > 0.0).collect();
    moving.iter().map(|&i| moving.iter().map(|&j| covariance[i][j]).collect()).collect()
}

/// Gaussian total correlation, nats.
pub fn total_correlation(covariance: &Matrix) -> f64 {
    let cov = moving(covariance);
    let correlation = |i: usize, j: usize| cov[i][j] / (cov[i][i] * cov[j][j]).sqrt();
    let correlations: Matrix = (0..cov.len()).map(|i| (0..cov.len()).map(|j| correlation(i, j)).collect()).collect();
    let log_det: f64 = eigenvalues(&correlations).iter().map(|&value| value.max(LEAST_EIGENVALUE).ln()).sum();
    (-0.5 * log_det).max(0.0)
}

/// Gaussian Wasserstein correlation, in the latents' units squared.
pub fn wasserstein_correlation(covariance: &Matrix) -> f64 {
    let scaled = |i: usize, j: usize| covariance[i][j] * (covariance[i][i] * covariance[j][j]).sqrt();
    let n = covariance.len();
    let scaled: Matrix = (0..n).map(|i| (0..n).map(|j| scaled(i, j)).collect()).collect();
    let root_trace: f64 = eigenvalues(&scaled).iter().map(|&value| value.max(0.0).sqrt()).sum();
    (2.0 * trace(covariance) - 2.0 * root_trace).max(0.0)
}

/// [`wasserstein_correlation`] as a share of the whole variance, 0 to 2; 0 where nothing moves.
pub fn normalized_wasserstein_correlation(covariance: &Matrix) -> f64 {
    let trace = trace(covariance);
    if trace > 0.0 { wasserstein_correlation(covariance) / trace } else { 0.0 }
}

fn trace(matrix: &Matrix) -> f64 {
    (0..matrix.len()).map(|i| matrix[i][i]).sum()
}

/// The eigenvalues of a symmetric matrix; NaN where it is not finite.
fn eigenvalues(matrix: &Matrix) -> Vec<f64> {
    let n = matrix.len();
    let values = matrix.iter().flatten();
    // nalgebra panics on an empty matrix, and may never end on one that is not finite.
    if n == 0 || values.clone().any(|value| !value.is_finite()) {
        return vec![f64::NAN; n];
    }
    DMatrix::from_row_iterator(n, n, values.copied()).symmetric_eigenvalues().iter().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pairs of latents that go together with correlation rho, each on a scale of its own.
    fn pairs(rho: f64) -> Matrix {
        let scales = [1.0, 3.0, 0.2, 5.0];
        let entry = |i: usize, j: usize| match (i == j, i / 2 == j / 2) {
            (true, _) => 1.0,
            (_, true) => rho,
            _ => 0.0,
        };
        (0..4).map(|i| (0..4).map(|j| entry(i, j) * scales[i] * scales[j]).collect()).collect()
    }

    #[test]
    fn correlated_pairs_have_the_closed_forms() {
        for rho in [0.0, 0.3, -0.6, 0.9] {
            let found = total_correlation(&pairs(rho));
            assert!((found + (1.0 - rho * rho).ln()).abs() < 1e-12, "{rho}: {found}");
        }
        // Two equal variances v: (D^½ΣD^½)^½ has the eigenvalues v·√(1 ± rho).
        let cov = vec![vec![4.0, 2.0], vec![2.0, 4.0]];
        let expected = 16.0 - 8.0 * (1.5f64.sqrt() + 0.5f64.sqrt());
        assert!((wasserstein_correlation(&cov) - expected).abs() < 1e-12);
        assert!((normalized_wasserstein_correlation(&cov) - expected / 8.0).abs() < 1e-12);
    }

    #[test]
    fn still_latents_change_nothing_and_copies_stay_finite() {
        let mut padded = pairs(0.6);
        padded.iter_mut().for_each(|row| row.push(0.0));
        padded.push(vec![0.0; 5]);
        assert_eq!(total_correlation(&padded), total_correlation(&pairs(0.6)));
        assert!((wasserstein_correlation(&padded) - wasserstein_correlation(&pairs(0.6))).abs() < 1e-12);
        let copies = total_correlation(&vec![vec![1.0; 2]; 2]);
        assert!((13.0..14.0).contains(&copies), "{copies}");
        assert_eq!(normalized_wasserstein_correlation(&vec![vec![0.0; 3]; 3]), 0.0);
    }

    #[test]
    fn counts_repeat_samples() {
        let data = |codes: &[f32]| Labeled { latents: 2, sizes: vec![], codes: codes.to_vec(), values: vec![] };
        let thrice = covariance(&data(&[1.0, 2.0, 3.0, -1.0, 0.0, 5.0]), &[2, 1, 0]);
        let written = covariance(&data(&[1.0, 2.0, 1.0, 2.0, 3.0, -1.0]), &[1; 3]);
        for (a, b) in thrice.iter().flatten().zip(written.iter().flatten()) {
            assert!((a - b).abs() < 1e-12, "{thrice:?} {written:?}");
        }
        assert!((written[0][0] - 4.0 / 3.0).abs() < 1e-12 && (written[0][1] + 2.0).abs() < 1e-12);
    }
}
