//! How far chance moves a score: the bootstrap (Efron & Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13).
//!
//! ```text
//! for r in 1..=R:  draw n of the n samples with replacement;  s*_r = the score of this resample
//! interval:        s + quantiles 2.5 % and 97.5 % of (s*_r - mean of all s*)
//! ```
//!
//! A resample repeats samples, which biases some scores (mutual information rises, a classifier's training accuracy
//! too) by about as much again as the score itself is biased under its protocol. Taking the mean out leaves what the
//! interval is for: how far other draws of the same protocol would have moved this score. It does not cover what was
//! not resampled (each metric says what was), nor the training of the model.

use std::fmt;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::codes::position;
use crate::rng::{Purpose, stream};

/// The share of resamples within an interval.
pub const CONFIDENCE: f64 = 0.95;

/// Where a value would lie under other draws, with [`CONFIDENCE`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// The interval of `value`, whose resamples gave `replicates`; `None` without resamples.
    pub fn around(value: f64, replicates: &[f64]) -> Option<Self> {
        let (last, &first) = (replicates.len().checked_sub(1)?, replicates.first()?);
        // From the first one on, so that the mean of equal replicates is exactly theirs.
        let mean = first + replicates.iter().map(|replicate| replicate - first).sum::<f64>() / replicates.len() as f64;
        let mut sorted = replicates.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| value + sorted[(last as f64 * share).round() as usize] - mean;
        let tail = (1.0 - CONFIDENCE) / 2.0;
        Some(Self { low: at(tail), high: at(1.0 - tail) })
    }

    /// The part of it in `low..=high`.
    pub(super) fn within(self, low: f64, high: f64) -> Self {
        Self { low: self.low.clamp(low, high), high: self.high.clamp(low, high) }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:.3}, {:.3}]", self.low, self.high)
    }
}

/// Draws resamples: the same ones for every model that is measured under a seed, so that scores can be compared in pairs.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap {
    /// The seed of all draws.
    pub seed: u64,
    /// R.
    pub resamples: usize,
}

impl Bootstrap {
    /// The score of each resample; `score` draws what it resamples from the [`Resample`].
    pub fn replicates(&self, score: impl Fn(&mut Resample) -> f64 + Sync) -> Vec<f64> {
        let one = |r| score(&mut Resample(stream(self.seed, Purpose::Metric, position::BOOTSTRAP + r)));
        (0..self.resamples as u64).into_par_iter().map(one).collect()
    }
}

/// One resample.
pub struct Resample(ChaCha8Rng);

impl Resample {
    /// `n` of `n` samples by number, some repeated.
    pub fn rows(&mut self, n: usize) -> Vec<usize> {
        (0..n).map(|_| self.0.random_range(0..n)).collect()
    }

    /// How often each of `n` samples is in the resample; `n` in all.
    pub fn counts(&mut self, n: usize) -> Vec<u32> {
        let mut counts = vec![0; n];
        for row in self.rows(n) {
            counts[row] += 1;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    /// The mean of n normal values lies within 1.96 / √n of 0 in 95 of 100 experiments, and so do the intervals say.
    #[test]
    fn the_interval_of_a_mean_has_its_textbook_width() {
        let mut rng = stream(1, Purpose::Metric, 0);
        let values: Vec<f64> = StandardNormal.sample_iter(&mut rng).take(400).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let bootstrap = Bootstrap { seed: 0, resamples: 2000 };
        let replicates = bootstrap.replicates(|resample| {
            let counts = resample.counts(values.len());
            counts.iter().zip(&values).map(|(&count, value)| f64::from(count) * value).sum::<f64>() / n
        });
        let Interval { low, high } = Interval::around(mean, &replicates).unwrap();
        let expected = 1.96 * deviation / n.sqrt();
        assert!((mean - low) / expected > 0.93 && (mean - low) / expected < 1.07);
        assert!((high - mean) / expected > 0.93 && (high - mean) / expected < 1.07);
    }

    #[test]
    fn resamples_repeat_and_a_seed_names_them() {
        let draw = |seed| {
            let bootstrap = Bootstrap { seed, resamples: 3 };
            bootstrap.replicates(|resample| f64::from(resample.counts(50)[7] * 1000 + resample.counts(50)[3]))
        };
        assert_eq!(draw(4), draw(4));
        assert_ne!(draw(4), draw(5));
        let bootstrap = Bootstrap { seed: 0, resamples: 1 };
        assert_eq!(bootstrap.replicates(|resample| f64::from(resample.counts(9).iter().sum::<u32>())), [9.0]);
    }

    #[test]
    fn bias_of_the_resamples_does_not_move_the_interval() {
        let biased: Vec<f64> = (0..=100).map(|i| 5.0 + f64::from(i) / 100.0).collect();
        let Interval { low, high } = Interval::around(1.0, &biased).unwrap();
        assert!((low - 0.52).abs() < 0.011 && (high - 1.48).abs() < 0.011, "{low} {high}");
        assert_eq!(Interval::around(1.0, &[]), None);
        let cut = Interval { low: -0.1, high: 1.2 }.within(0.0, 1.0);
        assert_eq!((cut.low, cut.high), (0.0, 1.0));
    }
}
