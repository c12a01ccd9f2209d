//! Logistic regression with an L2 penalty, for two classes and more: scikit-learn's `LogisticRegression` with C = 1.
//!
//! ```text
//! s_ik = w_k·x_i + b_k;     p_ik = exp s_ik / Σ_l exp s_il
//! minimize over w, b:   -Σ_i log p_i,y(i) + Σ_k |w_k|²/2
//! ```
//!
//! Two classes share one w and b, the score of the second; that of the first is 0.
//!
//! Newton's method with conjugate gradients for the step (Lin, Weng & Keerthi 2008, "Trust Region Newton Method for
//! Large-Scale Logistic Regression", Journal of Machine Learning Research 9; here with a line search), which needs no
//! matrix beside the data and does not mind features of unlike scales. The crate for it would be `linfa-logistic`; its
//! 0.8.1 computes Σ_l exp s_il relative to the largest score of all rows and stops short where scores differ by more
//! than 35 between rows: on five features of scales 0.25 to 10 it got 92 % of training points right instead of 99.7 %.

use rayon::prelude::*;

use super::{classes, largest};

/// Newton steps at most.
const STEPS: usize = 100;

/// Conjugate-gradient steps within a Newton step at most.
const INNER_STEPS: usize = 500;

/// The largest part of the gradient at the end, for each row.
const TOLERANCE: f64 = 1e-8;

/// Rows in one partial sum; the sums do not depend on the number of threads.
const CHUNK: usize = 1024;

/// A fitted classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Logistic {
    /// The labels seen in training, ascending.
    classes: Vec<usize>,
    /// Subtracted from a row before anything else, `(features)`.
    center: Vec<f64>,
    /// w and then b of each score, `(scores, features + 1)`.
    weights: Vec<f64>,
}

impl Logistic {
    /// Learns `labels` `(n)` from `rows` `(n, features)`, n > 0.
    pub fn fit(rows: &[f64], features: usize, labels: &[usize]) -> Self {
        let (classes, labels) = classes(labels);
        let n = labels.len() as f64;
        let mean = |j: usize| rows.iter().skip(j).step_by(features).sum::<f64>() / n;
        let center: Vec<f64> = (0..features).map(mean).collect();
        let scores = match classes.len() {
            0 | 1 => 0,
            2 => 1,
            count => count,
        };
        let rows = rows.chunks_exact(features.max(1)).flat_map(|row| centered(row, &center).chain([1.0])).collect();
        let weights = Problem { rows, labels, width: features + 1, scores }.minimize();
        Self { classes, center, weights }
    }

    /// The scores of a row `(features)`: one for each class, a single one for two classes.
    pub fn scores(&self, row: &[f64]) -> Vec<f64> {
        let row: Vec<f64> = centered(row, &self.center).chain([1.0]).collect();
        self.weights.chunks_exact(row.len()).map(|weights| dot(weights, &row)).collect()
    }

    /// The likeliest label of a row `(features)`; the least of equals.
    pub fn predict(&self, row: &[f64]) -> usize {
        let scores = self.scores(row);
        let class = match *scores {
            [score] => usize::from(score > 0.0),
            _ => largest(&scores),
        };
        self.classes[class]
    }
}

/// Centered features leave w as it is, since b is free, and make the problem easier to solve.
fn centered<'a>(row: &'a [f64], center: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
    row.iter().zip(center).map(|(x, mean)| x - mean)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// a + scale·b.
fn plus(a: &[f64], scale: f64, b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + scale * b).collect()
}

/// What is minimized; weights and all that is shaped like them are `(scores, width)`.
struct Problem {
    /// `(n, width)`, the last column 1.
    rows: Vec<f64>,
    /// Places of the classes, `(n)`.
    labels: Vec<usize>,
    width: usize,
    scores: usize,
}

impl Problem {
    fn minimize(&self) -> Vec<f64> {
        let mut weights = vec![0.0; self.scores * self.width];
        let mut value = self.objective(&weights);
        for _ in 0..STEPS {
            let probabilities = self.probabilities(&weights);
            let gradient = self.gradient(&weights, &probabilities);
            if gradient.iter().all(|part| part.abs() <= TOLERANCE * self.labels.len() as f64) {
                break;
            }
            let step = self.newton_step(&gradient, &probabilities);
            let slope = dot(&gradient, &step);
            let shorter = |length: &f64| Some(0.5 * length);
            let found = std::iter::successors(Some(1.0), shorter).take(40).find_map(|length| {
                let next = plus(&weights, length, &step);
                let lower = self.objective(&next);
                (lower < value + 1e-4 * length * slope).then_some((next, lower))
            });
            // No step goes down any more: this is the minimum, to rounding.
            let Some((next, lower)) = found else { break };
            (weights, value) = (next, lower);
        }
        weights
    }

    /// Solves H·step = -gradient by conjugate gradients, preconditioned by H's diagonal; the nearer the minimum, the
    /// more exactly, so that the last steps converge faster than linearly.
    fn newton_step(&self, gradient: &[f64], probabilities: &[f64]) -> Vec<f64> {
        let diagonal = self.diagonal(probabilities);
        let precondition = |residual: &[f64]| residual.iter().zip(&diagonal).map(|(r, d)| r / d).collect::<Vec<f64>>();
        let mut step = vec![0.0; gradient.len()];
        let mut residual: Vec<f64> = gradient.iter().map(|part| -part).collect();
        let mut direction = precondition(&residual);
        let mut product = dot(&residual, &direction);
        let enough = product * (product / self.labels.len() as f64).min(0.01);
        for _ in 0..INNER_STEPS {
            let curved = self.hessian_times(&direction, probabilities);
            let length = product / dot(&direction, &curved);
            step = plus(&step, length, &direction);
            residual = plus(&residual, -length, &curved);
            let preconditioned = precondition(&residual);
            let next = dot(&residual, &preconditioned);
            if next <= enough || !next.is_finite() {
                break;
            }
            direction = plus(&preconditioned, next / product, &direction);
            product = next;
        }
        step
    }

    /// Sums over the rows what `add` makes of each: `add(i, row i, sums)`.
    fn sum(&self, size: usize, add: impl Fn(usize, &[f64], &mut [f64]) + Sync) -> Vec<f64> {
        let chunk = |(c, rows): (usize, &[f64])| {
            let mut sums = vec![0.0; size];
            for (i, row) in rows.chunks_exact(self.width).enumerate() {
                add(c * CHUNK + i, row, &mut sums);
            }
            sums
        };
        let chunks: Vec<Vec<f64>> = self.rows.par_chunks(CHUNK * self.width).enumerate().map(chunk).collect();
        chunks.iter().fold(vec![0.0; size], |sums, chunk| plus(&sums, 1.0, chunk))
    }

    /// The scores of a row, and the logarithm of the sum of their exponentials.
    fn row_scores<'a>(&'a self, weights: &'a [f64], row: &'a [f64]) -> (impl Iterator<Item = f64> + Clone + 'a, f64) {
        let scores = weights.chunks_exact(self.width).map(move |weights| dot(weights, row));
        // The score of the first of two classes.
        let fixed = if self.scores == 1 { 0.0 } else { f64::NEG_INFINITY };
        let largest = scores.clone().fold(fixed, f64::max);
        let sum: f64 = scores.clone().map(|score| (score - largest).exp()).sum();
        (scores, largest + (sum + (fixed - largest).exp()).ln())
    }

    /// Whether score k is that of row i's class.
    fn is_class(&self, i: usize, k: usize) -> bool {
        self.labels[i] == if self.scores == 1 { 1 } else { k }
    }

    fn objective(&self, weights: &[f64]) -> f64 {
        let loss = self.sum(1, |i, row, sum| {
            let (scores, normalizer) = self.row_scores(weights, row);
            let own: f64 = scores.enumerate().map(|(k, score)| if self.is_class(i, k) { score } else { 0.0 }).sum();
            sum[0] += normalizer - own;
        });
        let penalty: f64 = weights.chunks_exact(self.width).map(|w| dot(&w[..w.len() - 1], &w[..w.len() - 1])).sum();
        loss[0] + 0.5 * penalty
    }

    /// p, `(n, scores)`.
    fn probabilities(&self, weights: &[f64]) -> Vec<f64> {
        let rows = self.rows.par_chunks_exact(self.width);
        rows.flat_map_iter(|row| {
            let (scores, normalizer) = self.row_scores(weights, row);
            scores.map(move |score| (score - normalizer).exp())
        })
        .collect()
    }

    /// Adds the penalty's part, which is w where b counts as 0.
    fn penalized(&self, mut sums: Vec<f64>, weights: &[f64]) -> Vec<f64> {
        for (sums, weights) in sums.chunks_exact_mut(self.width).zip(weights.chunks_exact(self.width)) {
            sums.iter_mut().zip(&weights[..self.width - 1]).for_each(|(sum, weight)| *sum += weight);
        }
        sums
    }

    /// Σ_i (p_ik - y_ik)·x_i + w_k.
    fn gradient(&self, weights: &[f64], probabilities: &[f64]) -> Vec<f64> {
        let sums = self.sum(weights.len(), |i, row, sums| {
            for (k, sums) in sums.chunks_exact_mut(self.width).enumerate() {
                let error = probabilities[i * self.scores + k] - f64::from(self.is_class(i, k));
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += error * x);
            }
        });
        self.penalized(sums, weights)
    }

    /// (H·v)_k = Σ_i p_ik·(v_k·x_i - Σ_l p_il·v_l·x_i)·x_i + v_k.
    fn hessian_times(&self, v: &[f64], probabilities: &[f64]) -> Vec<f64> {
        let sums = self.sum(v.len(), |i, row, sums| {
            let p = &probabilities[i * self.scores..][..self.scores];
            let products = v.chunks_exact(self.width).map(|v| dot(v, row));
            let mean: f64 = products.clone().zip(p).map(|(product, p)| p * product).sum();
            for ((sums, product), p) in sums.chunks_exact_mut(self.width).zip(products).zip(p) {
                let factor = p * (product - mean);
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += factor * x);
            }
        });
        self.penalized(sums, v)
    }

    /// H's diagonal, Σ_i p_ik·(1 - p_ik)·x_ij² + 1; never 0.
    fn diagonal(&self, probabilities: &[f64]) -> Vec<f64> {
        let sums = self.sum(self.scores * self.width, |i, row, sums| {
            for (k, sums) in sums.chunks_exact_mut(self.width).enumerate() {
                let p = probabilities[i * self.scores + k];
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += p * (1.0 - p) * x * x);
            }
        });
        let ones = vec![1.0; sums.len()];
        let sums = self.penalized(sums, &ones);
        sums.into_iter().map(|part| part.max(f64::MIN_POSITIVE)).collect()
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::rng::{Purpose, normals, stream};

    /// Rows `(n, 5)` of scales 0.01 to 100, whose labels follow the largest of the first `classes` before scaling.
    fn rows(n: usize, classes: usize) -> (Vec<f64>, Vec<usize>) {
        let mut rng = stream(3, Purpose::Noise, 0);
        let noise = normals(&mut rng, 5 * n);
        let label = |row: &[f32]| (1..classes).fold(0, |best, k| if row[k] > row[best] { k } else { best });
        let flip = |label| if rng.random_range(0..10) == 0 { 0 } else { label };
        let labels = noise.chunks_exact(5).map(label).map(flip).collect();
        let scales = [100.0, 0.01, 10.0, 1.0, 0.1];
        (noise.iter().zip(scales.iter().cycle()).map(|(&x, scale)| f64::from(x) * scale + 3.0).collect(), labels)
    }

    #[test]
    fn the_gradient_vanishes_at_the_minimum_whatever_the_scales() {
        for classes in [2, 3, 5] {
            let (rows, labels) = rows(3000, classes);
            let scores = if classes == 2 { 1 } else { classes };
            let rows = rows.chunks_exact(5).flat_map(|row| row.iter().copied().chain([1.0])).collect();
            let problem = Problem { rows, labels, width: 6, scores };
            let weights = problem.minimize();
            let gradient = problem.gradient(&weights, &problem.probabilities(&weights));
            assert!(gradient.iter().all(|part| part.abs() < 3e-5), "{gradient:?}");
            // And it is the objective's, which is seen away from the minimum.
            let shifted = |j: usize, by: f64| {
                let mut weights = weights.clone();
                weights[j] += by;
                weights
            };
            for j in 0..gradient.len() {
                let slope = (problem.objective(&shifted(j, 0.0101)) - problem.objective(&shifted(j, 0.0099))) / 2e-4;
                let expected = problem.gradient(&shifted(j, 0.01), &problem.probabilities(&shifted(j, 0.01)))[j];
                assert!((slope - expected).abs() < 1e-4 * expected.abs().max(1.0), "{slope} {expected}");
            }
        }
    }

    #[test]
    fn degenerate_sets_are_learned_without_fault() {
        let single = Logistic::fit(&[1.0, 2.0, 3.0], 1, &[4, 4, 4]);
        assert_eq!((single.predict(&[7.0]), single.scores(&[7.0]).len()), (4, 0));
        let constant = Logistic::fit(&[1.0; 4], 1, &[3, 3, 3, 9]);
        assert_eq!(constant.predict(&[1.0]), 3);
        assert!((constant.scores(&[1.0])[0] - (1f64 / 3.0).ln()).abs() < 1e-6);
        // Not learned, but no harm done.
        assert_eq!(Logistic::fit(&[f64::NAN, 1.0, 2.0], 1, &[0, 1, 2]).predict(&[1.0]), 0);
    }
}
