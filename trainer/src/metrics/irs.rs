//! The interventional robustness score (Suter et al. 2019, "Robustly Disentangled Causal Mechanisms", arXiv 1811.00007,
//! section 4).
//!
//! ```text
//! PIDA(j | k) = mean over values v of factor k of  quantile 0.99 of |z_j - E[z_j | k = v]|   among images with k = v
//! IRS_j       = 1 - min_k PIDA(j | k) / max |z_j - E[z_j]|
//! IRS         = mean of IRS_j, weighted by max |z_j - E[z_j]|
//! ```
//!
//! A latent is robust if, once its factor is held, changing the others does not move it. Protocol `study` (Locatello et
//! al. 2019; `disentanglement_lib`): 10,000 images, the quantile in place of the paper's maximum, latents that never
//! move left out, and factors in 20 bins as well: of a factor with 32 values some share a bin, so that even the
//! ground truth scores a little below 1 on such data. The interval resamples images; the bins stay.

use rayon::prelude::*;

use super::{
    labeled::Labeled,
    mutual_information::{BINS, Discrete},
};

/// In place of the paper's maximum, which is one image's whim.
pub const QUANTILE: f64 = 0.99;

/// IRS and its parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Irs {
    /// 0 to 1; 0 where no latent moves.
    pub score: f64,
    /// 1 - PIDA / greatest deviation, `(latents, factors)`; 0 for latents that never move.
    pub robustness: Vec<Vec<f64>>,
    /// `max |z_j - E[z_j]|`, `(latents)`.
    pub deviations: Vec<f64>,
    /// `(latents, n)`.
    latents: Vec<Vec<f64>>,
    factors: Vec<Discrete>,
}

impl Irs {
    /// The IRS of `points`.
    pub fn measure(points: &Labeled) -> Self {
        let latents = (0..points.latents).map(|latent| points.latent(latent).map(f64::from).collect()).collect();
        let factor = |factor| Discrete::binned(points.factor(factor).map(|value| value as f64), BINS);
        let factors = (0..points.sizes.len()).map(factor).collect();
        let mut irs = Self { score: 0.0, robustness: Vec::new(), deviations: Vec::new(), latents, factors };
        (irs.robustness, irs.deviations) = irs.of(&(0..points.len()).collect::<Vec<_>>());
        irs.score = weighted(&irs.robustness, &irs.deviations);
        irs
    }

    /// The score of the points with the numbers `rows`, repetitions included.
    pub fn resampled(&self, rows: &[usize]) -> f64 {
        let (robustness, deviations) = self.of(rows);
        weighted(&robustness, &deviations)
    }

    /// Robustness and greatest deviations.
    fn of(&self, rows: &[usize]) -> (Vec<Vec<f64>>, Vec<f64>) {
        let groups: Vec<Vec<Vec<usize>>> = self.factors.iter().map(|factor| groups(factor, rows)).collect();
        let latent = |values: &Vec<f64>| {
            let deviation = deviations(values, rows).into_iter().fold(0.0, f64::max);
            let robust = |groups: &Vec<Vec<usize>>| {
                let spread: f64 = groups.iter().map(|group| quantile(deviations(values, group), QUANTILE)).sum();
                if deviation > 0.0 { 1.0 - spread / groups.len() as f64 / deviation } else { 0.0 }
            };
            (groups.iter().map(robust).collect::<Vec<f64>>(), deviation)
        };
        self.latents.par_iter().map(latent).unzip()
    }
}

/// The mean of the latents' best robustness, weighted by their deviations.
fn weighted(robustness: &[Vec<f64>], deviations: &[f64]) -> f64 {
    let total: f64 = deviations.iter().sum();
    let best = robustness.iter().map(|row| row.iter().copied().fold(0.0, f64::max));
    let weighted: f64 = best.zip(deviations).map(|(best, deviation)| best * deviation).sum();
    if total > 0.0 { weighted / total } else { 0.0 }
}

/// The rows of each value that occurs.
fn groups(factor: &Discrete, rows: &[usize]) -> Vec<Vec<usize>> {
    let mut groups = vec![Vec::new(); factor.size];
    for &row in rows {
        groups[factor.values[row]].push(row);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// |value - mean| of the rows; all 0 where they are the same number, which a rounded mean would not give.
fn deviations(values: &[f64], rows: &[usize]) -> Vec<f64> {
    let first = rows.first().map_or(0.0, |&row| values[row]);
    let mean = first + rows.iter().map(|&row| values[row] - first).sum::<f64>() / rows.len().max(1) as f64;
    rows.iter().map(|&row| (values[row] - mean).abs()).collect()
}

/// The quantile `share` of a non-empty list, linear between its neighbors as numpy has it.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    let position = share * (values.len() - 1) as f64;
    let below = position as usize;
    let (_, &mut low, above) = values.select_nth_unstable_by(below, f64::total_cmp);
    let high = above.iter().copied().fold(f64::INFINITY, f64::min);
    if high.is_finite() { low + (high - low) * position.fract() } else { low }
}
