//! What learns factor values from codes, as scikit-learn's estimators do, for the metrics that are defined by them.

pub mod boosting;
pub mod logistic;
pub mod svm;

use super::labeled::Labeled;

/// Codes by latent, and in the order that a search for thresholds scans them in.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// `(latents, n)`.
    values: Vec<Vec<f32>>,
    /// Values with their rows, ascending, `(latents, n)`.
    sorted: Vec<Vec<(f32, u32)>>,
}

impl Columns {
    /// The codes of `points`, at most 2³² of them.
    pub fn new(points: &Labeled) -> Self {
        let values: Vec<Vec<f32>> = (0..points.latents).map(|latent| points.latent(latent).collect()).collect();
        let sort = |column: &Vec<f32>| {
            let mut sorted: Vec<(f32, u32)> = column.iter().copied().zip(0..).collect();
            sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
            sorted
        };
        let sorted = values.iter().map(sort).collect();
        Self { values, sorted }
    }
}

/// The distinct labels, ascending, and each label's place among them.
fn classes(labels: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut classes = labels.to_vec();
    classes.sort_unstable();
    classes.dedup();
    let places = labels.iter().map(|label| classes.partition_point(|class| class < label)).collect();
    (classes, places)
}

/// The place of the largest score; the first of equals.
fn largest(scores: &[f64]) -> usize {
    (1..scores.len()).fold(0, |best, k| if scores[k] > scores[best] { k } else { best })
}

/// The share of points that are `correct`, each counted as often as `counts` says; 0 without points.
pub(super) fn accuracy(correct: &[bool], counts: &[u32]) -> f64 {
    let right: u64 = correct.iter().zip(counts).map(|(&correct, &count)| u64::from(correct) * u64::from(count)).sum();
    let total: u64 = counts.iter().copied().map(u64::from).sum();
    if total == 0 { 0.0 } else { right as f64 / total as f64 }
}
