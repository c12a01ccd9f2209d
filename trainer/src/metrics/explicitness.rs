//! Explicitness (Ridgeway & Mozer 2018, "Learning Deep Disentangled Embeddings With the F-Statistic Loss", arXiv
//! 1802.05312, section 3): whether a linear classifier finds the factor values in the code.
//!
//! ```text
//! AUC_kv = area under the ROC curve of a logistic regression that tells factor k = v from the rest, on test points
//! explicitness = mean over factors k of the mean over their values v of AUC_kv
//! ```
//!
//! The study's protocol (Locatello et al. 2019, arXiv 1811.12359; `disentanglement_lib`): 10,000 points to learn from
//! and 5,000 to test on; latents scaled to mean 0 and variance 1; C = 1. A value that is missing in either set, or that
//! all points have, has no curve and no part. Chance is 0.5.

use rayon::prelude::*;

use super::{labeled::Labeled, learners::logistic::Logistic};

/// An explicitness score and what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Explicitness {
    /// On the test points, 0.5 (chance) to 1.
    pub score: f64,
    /// On the training points.
    pub train_score: f64,
    /// On the test points, `(factors)`.
    pub factors: Vec<f64>,
    /// The test points as each classifier ranks them, `(factors, values)`.
    rankings: Vec<Vec<Ranking>>,
}

impl Explicitness {
    /// Learns from `train` and scores on `test`.
    pub fn measure(train: &Labeled, test: &Labeled) -> Self {
        let scale = Scale::of(train);
        let (train_rows, test_rows) = (scale.apply(train), scale.apply(test));
        let rank = |(factor, value): (usize, usize)| {
            let is_value = |points: &Labeled| points.factor(factor).map(|label| label == value).collect();
            let (train_is, test_is): (Vec<bool>, Vec<bool>) = (is_value(train), is_value(test));
            let labels: Vec<usize> = train_is.iter().copied().map(usize::from).collect();
            let classifier = Logistic::fit(&train_rows, train.latents, &labels);
            let rank = |rows: &[f64], is_value: Vec<bool>| {
                let rows = rows.chunks_exact(train.latents.max(1));
                Ranking::new(rows.map(|row| classifier.scores(row).first().copied().unwrap_or(0.0)), is_value)
            };
            (factor, rank(&train_rows, train_is), rank(&test_rows, test_is))
        };
        let values = train.sizes.iter().enumerate().flat_map(|(factor, &size)| (0..size).map(move |v| (factor, v)));
        let ranked: Vec<_> = values.collect::<Vec<_>>().into_par_iter().map(rank).collect();
        let (mut train_rankings, mut rankings) =
            (vec![Vec::new(); train.sizes.len()], vec![Vec::new(); train.sizes.len()]);
        for (factor, train, test) in ranked {
            if train.area(|_| 1).is_some() {
                train_rankings[factor].push(train);
                rankings[factor].push(test);
            }
        }
        let factors: Vec<f64> = rankings.iter().map(|rankings| mean_area(rankings, |_| 1)).collect();
        Self {
            score: mean(factors.iter().copied()),
            train_score: mean(train_rankings.iter().map(|rankings| mean_area(rankings, |_| 1))),
            factors,
            rankings,
        }
    }

    /// The score where test point i counts `counts[i]` times.
    pub fn resampled(&self, counts: &[u32]) -> f64 {
        mean(self.rankings.iter().map(|rankings| mean_area(rankings, |point| counts[point])))
    }
}

/// Mean and standard deviation of each latent.
struct Scale(Vec<(f64, f64)>);

impl Scale {
    fn of(points: &Labeled) -> Self {
        let moments = |latent: usize| {
            let mean = mean(points.latent(latent).map(f64::from));
            let variance = self::mean(points.latent(latent).map(|z| (f64::from(z) - mean).powi(2)));
            (mean, variance.sqrt())
        };
        Self((0..points.latents).map(moments).collect())
    }

    /// The scaled codes, `(n, latents)`; 0 for a latent that never moved.
    fn apply(&self, points: &Labeled) -> Vec<f64> {
        let scale = |(&z, &(mean, deviation)): (&f32, &(f64, f64))| {
            if deviation > 0.0 { (f64::from(z) - mean) / deviation } else { 0.0 }
        };
        points.codes.iter().zip(self.0.iter().cycle()).map(scale).collect()
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// The mean of the areas that exist; chance where none does.
fn mean_area(rankings: &[Ranking], count: impl Fn(usize) -> u32) -> f64 {
    let areas: Vec<f64> = rankings.iter().filter_map(|ranking| ranking.area(&count)).collect();
    if areas.is_empty() { 0.5 } else { mean(areas.into_iter()) }
}

/// Points by ascending score of a classifier.
#[derive(Debug, Clone, PartialEq)]
struct Ranking {
    /// Score, number of the point, and whether it has the value that the classifier looks for.
    points: Vec<(f64, u32, bool)>,
}

impl Ranking {
    fn new(scores: impl Iterator<Item = f64>, is_value: Vec<bool>) -> Self {
        let mut points: Vec<(f64, u32, bool)> =
            scores.zip(is_value).enumerate().map(|(i, (score, is_value))| (score, i as u32, is_value)).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        Self { points }
    }

    /// The area under the ROC curve: the share of pairs of a point with the value and one without in which the first
    /// has the larger score; equal ones count half. Point i counts `count(i)` times; `None` without pairs.
    fn area(&self, count: impl Fn(usize) -> u32) -> Option<f64> {
        let (mut with, mut without, mut won) = (0.0, 0.0, 0.0);
        for equals in self.points.chunk_by(|a, b| a.0 == b.0) {
            let (mut with_here, mut without_here) = (0.0, 0.0);
            for &(_, point, is_value) in equals {
                *if is_value { &mut with_here } else { &mut without_here } += f64::from(count(point as usize));
            }
            won += with_here * (without + 0.5 * without_here);
            with += with_here;
            without += without_here;
        }
        (with * without > 0.0).then(|| won / (with * without))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::fake::{Coder, labeled};

    fn run(model: &Coder) -> Explicitness {
        Explicitness::measure(&labeled(model, 800, 1), &labeled(model, 400, 2))
    }

    #[test]
    fn one_hot_codes_score_one() {
        let one_hot = Coder::new(27, |pixels, z| {
            for (first, &pixel) in [0, 5, 11, 19].into_iter().zip(pixels) {
                z[first + usize::from(pixel)] = 1.0;
            }
        });
        let explicit = run(&one_hot);
        assert_eq!((explicit.score, explicit.train_score), (1.0, 1.0));
    }

    #[test]
    fn the_ground_truth_is_above_a_rotation_and_noise() {
        let [truth, rotated, noise] =
            [Coder::ground_truth(), Coder::rotated(), Coder::noise()].map(|model| run(&model));
        // On one scale, the values between both ends are out of a line's reach.
        assert!((0.6..1.0).contains(&truth.score), "{}", truth.score);
        // A linear classifier turns the rotation back.
        assert!((rotated.score - truth.score).abs() < 0.02, "{} {}", rotated.score, truth.score);
        assert!((noise.score - 0.5).abs() < 0.05, "{}", noise.score);
    }

    #[test]
    fn values_without_points_and_dead_latents_take_no_part() {
        let dead = run(&Coder::new(2, |_, _| {}));
        assert_eq!(dead.score, 0.5);
        let model = Coder::ground_truth();
        let (mut train, test) = (labeled(&model, 500, 1), labeled(&model, 300, 2));
        train.sizes[0] = 9;
        let explicit = Explicitness::measure(&train, &test);
        assert_eq!(explicit.rankings.iter().map(Vec::len).collect::<Vec<_>>(), [5, 6, 8, 8]);
    }

    #[test]
    fn resampling_every_point_once_changes_nothing() {
        let explicit = run(&Coder::rotated());
        assert_eq!(explicit.resampled(&[1; 400]), explicit.score);
        let half: Vec<u32> = (0..400).map(|i| 2 * (i % 2)).collect();
        assert!((explicit.resampled(&half) - explicit.score).abs() < 0.05);
    }

    proptest! {
        /// Against all pairs.
        #[test]
        fn areas_count_pairs(points in prop::collection::vec((0u8..6, any::<bool>(), 0u32..4), 1..40)) {
            let ranking =
                Ranking::new(points.iter().map(|p| f64::from(p.0)), points.iter().map(|p| p.1).collect());
            let (mut pairs, mut won) = (0.0, 0.0);
            for with in points.iter().filter(|p| p.1) {
                for without in points.iter().filter(|p| !p.1) {
                    let weight = f64::from(with.2) * f64::from(without.2);
                    pairs += weight;
                    won += weight * if with.0 > without.0 { 1.0 } else if with.0 == without.0 { 0.5 } else { 0.0 };
                }
            }
            let expected = (pairs > 0.0).then(|| won / pairs);
            prop_assert_eq!(ranking.area(|i| points[i].2), expected);
        }
    }
}
