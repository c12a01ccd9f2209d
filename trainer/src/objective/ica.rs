//! Independent components, by FastICA (Hyvärinen 1999, "Fast and Robust Fixed-Point Algorithms for Independent Component Analysis",
//! section V, with g = tanh and symmetric decorrelation).

use nalgebra::DMatrix;

use crate::rng::{self, Purpose};

/// Iterations at most, and the distance between two that counts as none; scikit-learn's.
const ITERATIONS: usize = 200;
const TOLERANCE: f64 = 1e-4;

/// The rotation `(k, k)` that makes whitened codes `z (N, k)` independent, and whether it was found within the iterations: the rows
/// of `z·Rᵀ` are the components. Each component's largest entry is positive.
pub fn rotation(z: &DMatrix<f64>, seed: u64, step: u64) -> (DMatrix<f64>, bool) {
    let (n, k) = z.shape();
    let mut rng = rng::stream(seed, Purpose::Permutation, step);
    let random = rng::normals(&mut rng, k * k).into_iter().map(f64::from);
    let mut w = decorrelate(DMatrix::from_row_iterator(k, k, random));
    let mut converged = false;
    for _ in 0..ITERATIONS {
        // w ← E[z·g(wᵀz)] - E[g'(wᵀz)]·w for every row w.
        let g = (z * w.transpose()).map(f64::tanh);
        let slopes = g.map(|g| 1.0 - g * g).row_mean();
        let next = decorrelate(g.transpose() * z / n as f64 - DMatrix::from_diagonal(&slopes.transpose()) * &w);
        let distance = (&next * w.transpose()).diagonal().map(|cosine| (cosine.abs() - 1.0).abs()).max();
        w = next;
        if distance < TOLERANCE {
            converged = true;
            break;
        }
    }
    for mut row in w.row_iter_mut() {
        let largest = row.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs()));
        if largest.is_some_and(|value| value < 0.0) {
            row.neg_mut();
        }
    }
    (w, converged)
}

/// (W·Wᵀ)^-½·W: the orthogonal matrix nearest to W.
fn decorrelate(w: DMatrix<f64>) -> DMatrix<f64> {
    let eigen = (&w * w.transpose()).symmetric_eigen();
    let inverse_roots = eigen.eigenvalues.map(|value| 1.0 / value.max(f64::MIN_POSITIVE).sqrt());
    &eigen.eigenvectors * DMatrix::from_diagonal(&inverse_roots) * eigen.eigenvectors.transpose() * w
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    /// Uniform sources, rotated: found again but for order and sign.
    #[test]
    fn mixed_sources_are_found() {
        let mut rng = rng::stream(5, Purpose::Noise, 1);
        let sources = DMatrix::from_fn(20_000, 3, |_, _| rng.random_range(-3_f64.sqrt()..3_f64.sqrt()));
        let mixing = decorrelate(DMatrix::from_row_slice(3, 3, &[1.0, 2.0, -1.0, 0.5, 1.0, 3.0, -2.0, 1.0, 0.3]));
        let (found, converged) = rotation(&(&sources * mixing.transpose()), 1, 1);
        assert!(converged);
        // A permutation with signs: one entry near 1 in each row.
        let unmixed = found * mixing;
        for row in unmixed.row_iter() {
            let mut sizes: Vec<f64> = row.iter().map(|v| v.abs()).collect();
            sizes.sort_by(f64::total_cmp);
            assert!(sizes[2] > 0.999 && sizes[1] < 0.03, "{unmixed}");
        }
    }
}
