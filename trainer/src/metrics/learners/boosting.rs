//! Gradient-boosted trees for classification: Friedman 2001, "Greedy Function Approximation: A Gradient Boosting
//! Machine", Annals of Statistics 29, section 4.6 (algorithm 6, "L_K-TreeBoost"; algorithm 5 for two classes).
//!
//! ```text
//! F_k(x) = log of class k's share of the training rows
//! 100 times:
//!     p_k(x) = exp F_k(x) / Σ_l exp F_l(x);    r_ik = y_ik - p_k(x_i)
//!     for each class k:
//!         a regression tree of depth 3 on r_k, by least squares; leaf j of it gets
//!         γ_jk = (K - 1)/K · Σ r_ik / Σ p_ik·(1 - p_ik)        over the rows i in the leaf
//!         F_k(x) += 0.1·γ_jk,  j the leaf of x
//! ```
//!
//! Two classes share one F, the log-odds of the second, and its leaves lack the factor (K - 1)/K.
//!
//! These are the numbers of scikit-learn's `GradientBoostingClassifier` with its defaults, which the study's DCI score
//! is defined by, up to its random choice between equal splits; the tests compare them. Crates would not give them:
//! `gbdt` trains for two classes at most, `forust-ml` and `perpetual` split by second derivatives as XGBoost does
//! (`perpetual` also chooses the number of trees), `smartcore` boosts for regression alone, and `linfa` not at all.

use rayon::prelude::*;

use super::{Columns, classes, largest};

/// Trees for each score.
const STAGES: usize = 100;

/// Splits between a tree's root and its leaves.
const DEPTH: usize = 3;

const LEAVES: usize = 1 << DEPTH;

/// How much of each tree's step is taken.
const LEARNING_RATE: f64 = 0.1;

/// Neighboring values of a feature that are closer than this are taken as equal.
const LEAST_GAP: f32 = 1e-7;

/// A fitted classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct Boosting {
    /// The labels seen in training, ascending.
    classes: Vec<usize>,
    /// F before the first tree, `(scores)`: one score a class, a single one for two classes.
    prior: Vec<f64>,
    /// `(stages, scores)`.
    trees: Vec<Tree>,
    /// The share of each feature in all that the splits removed of the squared residuals, `(features)`: they sum to 1,
    /// or are all 0 where nothing could be split. scikit-learn's `feature_importances_` since its version 0.20.
    pub importances: Vec<f64>,
}

impl Boosting {
    /// Learns `labels`, one for each row of `columns`; at least one.
    pub fn fit(columns: &Columns, labels: &[usize]) -> Self {
        let (classes, labels) = classes(labels);
        let n = labels.len();
        let shares: Vec<f64> =
            (0..classes.len()).map(|k| labels.iter().filter(|&&label| label == k).count() as f64 / n as f64).collect();
        let prior = match *shares {
            [] | [_] => Vec::new(),
            [first, second] => vec![(second / first).ln()],
            _ => shares.iter().map(|share| share.ln()).collect(),
        };
        let binary = prior.len() == 1;
        let factor = if binary { 1.0 } else { 1.0 - 1.0 / classes.len() as f64 };
        let mut scores: Vec<Vec<f64>> = prior.iter().map(|&prior| vec![prior; n]).collect();
        let mut trees = Vec::with_capacity(STAGES * prior.len());
        let mut importances = vec![0.0; columns.values.len()];
        for _ in 0..STAGES {
            let normalizer: Vec<f64> = (0..n).into_par_iter().map(|row| log_normalizer(&scores, row, binary)).collect();
            let grow = |(k, scores): (usize, &mut Vec<f64>)| {
                // The only score of two classes is that of the second.
                let class = if binary { 1 } else { k };
                let residual = |row: usize| f64::from(labels[row] == class) - (scores[row] - normalizer[row]).exp();
                let residuals: Vec<f64> = (0..n).map(residual).collect();
                let mut growth = Growth::new(columns, &residuals);
                growth.grow();
                growth.step(factor, scores);
                (growth.tree, growth.gains)
            };
            for (tree, gains) in scores.par_iter_mut().enumerate().map(grow).collect::<Vec<_>>() {
                trees.push(tree);
                importances.iter_mut().zip(gains).for_each(|(sum, gain)| *sum += gain);
            }
        }
        let total: f64 = importances.iter().sum();
        if total > 0.0 {
            importances.iter_mut().for_each(|importance| *importance /= total);
        }
        Self { classes, prior, trees, importances }
    }

    /// F of a row `(features)`.
    pub fn scores(&self, row: &[f32]) -> Vec<f64> {
        let mut scores = self.prior.clone();
        for stage in self.trees.chunks_exact(scores.len().max(1)) {
            for (score, tree) in scores.iter_mut().zip(stage) {
                *score += LEARNING_RATE * tree.leaves[tree.leaf(row)];
            }
        }
        scores
    }

    /// The likeliest label of a row `(features)`; the least of equals.
    pub fn predict(&self, row: &[f32]) -> usize {
        let scores = self.scores(row);
        let class = match *scores {
            [log_odds] => usize::from(log_odds >= 0.0),
            _ => largest(&scores),
        };
        self.classes[class]
    }
}

/// log Σ exp of the scores of a row; the first of two classes has the score 0, which is not stored.
fn log_normalizer(scores: &[Vec<f64>], row: usize, binary: bool) -> f64 {
    let unstored = if binary { 0.0 } else { f64::NEG_INFINITY };
    let largest = scores.iter().map(|scores| scores[row]).fold(unstored, f64::max);
    let sum: f64 = scores.iter().map(|scores| (scores[row] - largest).exp()).sum();
    largest + (sum + (unstored - largest).exp()).ln()
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Split {
    feature: usize,
    /// Rows above it go right.
    threshold: f64,
}

/// A complete binary tree; a node without a split sends all rows left.
#[derive(Debug, Clone, PartialEq)]
struct Tree {
    /// Level by level, the root first.
    splits: [Option<Split>; LEAVES - 1],
    /// γ.
    leaves: [f64; LEAVES],
}

impl Tree {
    /// The leaf of a row `(features)`.
    fn leaf(&self, row: &[f32]) -> usize {
        let mut node = 0;
        for _ in 0..DEPTH {
            let right = self.splits[node].is_some_and(|split| f64::from(row[split.feature]) > split.threshold);
            node = 2 * node + 1 + usize::from(right);
        }
        node - self.splits.len()
    }
}

/// Rows of one node: how many, and their residuals' sum.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    rows: f64,
    residuals: f64,
}

/// The best split of a node so far.
#[derive(Debug, Clone, Copy)]
struct Best {
    /// By how much the split lowers the sum of squared errors, times the node's rows: n_left·n_right times the squared
    /// difference of both sides' means (Friedman 2001, equation 35).
    score: f64,
    split: Option<Split>,
}

/// A tree under construction.
struct Growth<'a> {
    columns: &'a Columns,
    residuals: &'a [f64],
    /// Each row's node, counted within its level.
    nodes: Vec<u8>,
    tree: Tree,
    /// By how much splits on each feature lowered the sum of squared errors, `(features)`.
    gains: Vec<f64>,
}

impl<'a> Growth<'a> {
    fn new(columns: &'a Columns, residuals: &'a [f64]) -> Self {
        Self {
            columns,
            residuals,
            nodes: vec![0; residuals.len()],
            tree: Tree { splits: [None; LEAVES - 1], leaves: [0.0; LEAVES] },
            gains: vec![0.0; columns.values.len()],
        }
    }

    /// Splits level by level.
    fn grow(&mut self) {
        for level in 0..DEPTH {
            let first = (1 << level) - 1;
            let (sums, mut best) = self.open();
            for feature in 0..self.columns.values.len() {
                self.search(feature, &sums, &mut best);
            }
            for node in 0..1 << level {
                if let Best { score, split: Some(split) } = best[node] {
                    self.tree.splits[first + node] = Some(split);
                    self.gains[split.feature] += score / sums[node].rows;
                }
            }
            for (row, node) in self.nodes.iter_mut().enumerate() {
                let above = |split: Split| f64::from(self.columns.values[split.feature][row]) > split.threshold;
                *node = 2 * *node + u8::from(self.tree.splits[first + usize::from(*node)].is_some_and(above));
            }
        }
    }

    /// The sums of each node, and the score that a split has to exceed: none can in a node of equal residuals.
    fn open(&self) -> ([Sums; LEAVES], [Best; LEAVES]) {
        let mut sums = [Sums::default(); LEAVES];
        for (&node, &residual) in self.nodes.iter().zip(self.residuals) {
            let node = &mut sums[usize::from(node)];
            *node = Sums { rows: node.rows + 1.0, residuals: node.residuals + residual };
        }
        let mut squares = [0.0; LEAVES];
        for (&node, &residual) in self.nodes.iter().zip(self.residuals) {
            let node = usize::from(node);
            squares[node] += (residual - sums[node].residuals / sums[node].rows).powi(2);
        }
        let best = std::array::from_fn(|node| {
            let splits = squares[node] > f64::EPSILON * sums[node].rows;
            Best { score: if splits { f64::NEG_INFINITY } else { f64::INFINITY }, split: None }
        });
        (sums, best)
    }

    /// Scans a feature in ascending order, all nodes of the level at once.
    fn search(&self, feature: usize, sums: &[Sums; LEAVES], best: &mut [Best; LEAVES]) {
        let mut left = [Sums::default(); LEAVES];
        let mut last = [0f32; LEAVES];
        for &(value, row) in &self.columns.sorted[feature] {
            let row = row as usize;
            let node = usize::from(self.nodes[row]);
            let (below, all) = (left[node], sums[node]);
            if below.rows > 0.0 && value > last[node] + LEAST_GAP {
                let difference = below.residuals * all.rows - all.residuals * below.rows;
                let score = difference * difference / (below.rows * (all.rows - below.rows));
                if score > best[node].score {
                    let threshold = f64::from(last[node]) / 2.0 + f64::from(value) / 2.0;
                    best[node] = Best { score, split: Some(Split { feature, threshold }) };
                }
            }
            left[node] = Sums { rows: below.rows + 1.0, residuals: below.residuals + self.residuals[row] };
            last[node] = value;
        }
    }

    /// Gives the leaves their values and moves the rows' scores by them. p·(1 - p) is |r|·(1 - |r|), since y is 0 or 1.
    fn step(&mut self, factor: f64, scores: &mut [f64]) {
        let (mut residuals, mut curvatures) = ([0.0; LEAVES], [0.0; LEAVES]);
        for (&leaf, &residual) in self.nodes.iter().zip(self.residuals) {
            residuals[usize::from(leaf)] += residual;
            curvatures[usize::from(leaf)] += residual.abs() * (1.0 - residual.abs());
        }
        for (leaf, value) in self.tree.leaves.iter_mut().enumerate() {
            // A leaf that is certain stays; scikit-learn's bound on the mean.
            let certain = curvatures[leaf] < 1e-150;
            *value = if certain { 0.0 } else { factor * residuals[leaf] / curvatures[leaf] };
        }
        for (score, &leaf) in scores.iter_mut().zip(&self.nodes) {
            *score += LEARNING_RATE * self.tree.leaves[usize::from(leaf)];
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::{
        fake::{Coder, labeled},
        labeled::Labeled,
    };

    /// The sum of squared distances from the mean.
    fn squares(residuals: &[f64]) -> f64 {
        let mean = residuals.iter().sum::<f64>() / residuals.len().max(1) as f64;
        residuals.iter().map(|residual| (residual - mean).powi(2)).sum()
    }

    proptest! {
        /// Against all thresholds between neighboring values.
        #[test]
        fn the_root_takes_the_best_split(points in prop::collection::vec((0u8..8, 0u8..8, -1.0f64..1.0), 2..40)) {
            let codes = points.iter().flat_map(|&(a, b, _)| [f32::from(a), f32::from(b)]).collect();
            let columns = Columns::new(&Labeled { latents: 2, sizes: Vec::new(), codes, values: Vec::new() });
            let residuals: Vec<f64> = points.iter().map(|point| point.2).collect();
            let mut growth = Growth::new(&columns, &residuals);
            growth.grow();
            let gain = |feature: usize, threshold: f64| {
                let side = |right: bool| {
                    let rows = columns.values[feature].iter().zip(&residuals);
                    let of_side = rows.filter(|&(&x, _)| (f64::from(x) > threshold) == right);
                    squares(&of_side.map(|(_, &residual)| residual).collect::<Vec<_>>())
                };
                squares(&residuals) - side(false) - side(true)
            };
            let all = (0..2).flat_map(|feature| (0..8).map(move |x| (feature, f64::from(x) + 0.5)));
            let best = all.map(|(feature, threshold)| gain(feature, threshold)).fold(0.0, f64::max);
            let found = growth.tree.splits[0].map_or(0.0, |split| gain(split.feature, split.threshold));
            prop_assert!((found - best).abs() < 1e-9, "{} is not {}", found, best);
        }
    }

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let points = labeled(&Coder::rotated(), 300, 1);
        let labels: Vec<usize> = points.factor(2).collect();
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| Boosting::fit(&Columns::new(&points), &labels))
        };
        assert_eq!(fit(1), fit(3));
    }

    #[test]
    fn a_single_class_is_told_always() {
        let points = labeled(&Coder::rotated(), 5, 1);
        let trees = Boosting::fit(&Columns::new(&points), &[6; 5]);
        assert_eq!((trees.predict(&[0.0; 4]), trees.importances), (6, vec![0.0; 4]));
    }
}
