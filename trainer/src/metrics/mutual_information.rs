//! Discrete mutual information of codes and factors, codes in 20 equal-width bins: what MIG, modularity and the mean
//! pairwise mutual information share.
//!
//! ```text
//! I(a; b) = Σ_ij p_ij·ln(p_ij / (p_i·p_j)) = H(a) + H(b) - H(a, b)     nats, p from counts
//! ```
//!
//! Bins and counts are those of `disentanglement_lib` (`histogram_discretize`): 20 bins of equal width from a latent's
//! least value to its greatest. Counts of few samples overestimate: two independent variables of 20 and 32 values get
//! about 19·31 / (2·10,000) = 0.03 nats from 10,000 samples.

use rayon::prelude::*;

use super::labeled::Labeled;

/// Bins of each latent (Locatello et al. 2019, appendix C).
pub const BINS: usize = 20;

/// A discrete variable.
#[derive(Debug, Clone, PartialEq)]
pub struct Discrete {
    /// The values are `0..size`.
    pub size: usize,
    /// One value for each sample.
    pub values: Vec<usize>,
}

impl Discrete {
    /// Equal-width bins from the least value to the greatest; one bin where all are equal.
    pub fn binned(values: impl Iterator<Item = f64> + Clone, bins: usize) -> Self {
        let (least, greatest) =
            values.clone().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        let width = (greatest - least) / bins as f64;
        // The last bin has both its edges, as in numpy's histogram.
        let bin = |v: f64| if width > 0.0 { (((v - least) / width) as usize).min(bins - 1) } else { 0 };
        Self { size: bins, values: values.map(bin).collect() }
    }

    /// All latents of `data`, each in [`BINS`] bins.
    pub fn latents(data: &Labeled) -> Vec<Self> {
        (0..data.latents).map(|latent| Self::binned(data.latent(latent).map(f64::from), BINS)).collect()
    }

    /// All factors of `data`.
    pub fn factors(data: &Labeled) -> Vec<Self> {
        let factor = |(factor, &size)| Self { size, values: data.factor(factor).collect() };
        data.sizes.iter().enumerate().map(factor).collect()
    }

    /// H, nats; sample i counts `counts[i]` times.
    pub fn entropy(&self, counts: &[u32]) -> f64 {
        let mut histogram = vec![0; self.size];
        for (&value, &count) in self.values.iter().zip(counts) {
            histogram[value] += count;
        }
        entropy(&histogram)
    }
}

/// Σ -p·ln p of the distribution that `histogram` counts.
fn entropy(histogram: &[u32]) -> f64 {
    let n: f64 = histogram.iter().map(|&count| f64::from(count)).sum();
    let term = |count: f64| if count > 0.0 { -count / n * (count / n).ln() } else { 0.0 };
    histogram.iter().map(|&count| term(f64::from(count))).sum()
}

/// I(a; b), nats; sample i counts `counts[i]` times.
pub fn mutual_information(a: &Discrete, b: &Discrete, counts: &[u32]) -> f64 {
    let mut joint = vec![0; a.size * b.size];
    for ((&a, &b_value), &count) in a.values.iter().zip(&b.values).zip(counts) {
        joint[a * b.size + b_value] += count;
    }
    let rows: Vec<u32> = joint.chunks_exact(b.size.max(1)).map(|row| row.iter().sum()).collect();
    let columns: Vec<u32> = (0..b.size).map(|column| joint.iter().skip(column).step_by(b.size).sum()).collect();
    // Rounding can take independent variables below 0.
    (entropy(&rows) + entropy(&columns) - entropy(&joint)).max(0.0)
}

/// I of each of `a` with each of `b`, `(a, b)`; sample i counts `counts[i]` times.
pub fn matrix(a: &[Discrete], b: &[Discrete], counts: &[u32]) -> Vec<Vec<f64>> {
    a.par_iter().map(|a| b.iter().map(|b| mutual_information(a, b, counts)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_those_of_numpy() {
        let values = [-1.0, -0.5, 0.0, 0.999, 1.0, 3.0, 2.999];
        assert_eq!(Discrete::binned(values.into_iter(), 4).values, [0, 0, 1, 1, 2, 3, 3]);
        assert_eq!(Discrete::binned([7.0; 3].into_iter(), 20).values, [0; 3]);
    }

    #[test]
    fn information_follows_from_its_definition() {
        let variable = |values: &[usize]| Discrete { size: 3, values: values.to_vec() };
        let a = variable(&[0, 0, 1, 1, 2, 2]);
        let all = [1; 6];
        assert!((a.entropy(&all) - 3f64.ln()).abs() < 1e-12);
        assert!((mutual_information(&a, &a, &all) - 3f64.ln()).abs() < 1e-12);
        // Each value of a goes with both of b equally often.
        assert!(mutual_information(&a, &variable(&[0, 1, 0, 1, 0, 1]), &all) < 1e-12);
        // b tells 2 from the rest, no more: H(1/3).
        let b = variable(&[0, 0, 0, 0, 1, 1]);
        let expected = -(1f64 / 3.0).ln() / 3.0 - 2.0 / 3.0 * (2f64 / 3.0).ln();
        assert!((mutual_information(&a, &b, &all) - expected).abs() < 1e-12);
        // A sample that counts twice is one that stands there twice.
        let twice = variable(&[0, 0, 0, 1, 1, 2, 2]);
        let with_b = variable(&[0, 0, 0, 0, 0, 1, 1]);
        let doubled = mutual_information(&a, &b, &[2, 1, 1, 1, 1, 1]);
        assert!((doubled - mutual_information(&twice, &with_b, &[1; 7])).abs() < 1e-12);
    }
}
