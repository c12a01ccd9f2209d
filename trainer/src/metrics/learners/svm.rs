//! A linear support vector machine on one feature, one class against the rest: the L2-regularized, squared-hinge SVM of
//! LIBLINEAR (Fan et al. 2008, Journal of Machine Learning Research 9, section 2), behind scikit-learn's `LinearSVC`.
//!
//! ```text
//! minimize over w, b:   (w² + b²)/2 + Σ_i C_i·max(0, 1 - y_i·(w·x_i + b))²,     y_i = ±1
//! label of x:           the class with the largest w·x + b
//! ```
//!
//! The intercept b is regularized like w. Classes are balanced: C_i = C·n / (classes · members) for the members of the
//! class itself, and C for the rest, as LIBLINEAR weights them; two classes share one (w, b) and both are weighted.
//!
//! The objective is a parabola between the points where terms vanish, so Newton's method with a line search (Keerthi &
//! DeCoste 2005, Journal of Machine Learning Research 6, section 3) ends after a few passes at the exact minimum, which
//! LIBLINEAR's coordinate descent comes near. Crates would not give it: `linfa-svm` and `smartcore` solve the kernel
//! machine, with plain hinge and a free intercept, in time that grows with n², and `liblinear` wraps the C++ library.

use super::{classes, largest};

/// Newton steps at most; a handful is enough.
const STEPS: usize = 100;

/// A fitted machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Svm {
    /// The labels seen in training, ascending.
    classes: Vec<usize>,
    /// (w, b) of each class; of the second alone where there are two.
    lines: Vec<[f64; 2]>,
}

impl Svm {
    /// Learns `labels` from the feature `x`, both `(n)` with n > 0, with balanced classes and the cost `c` (C).
    pub fn fit(x: &[f32], labels: &[usize], c: f64) -> Self {
        let (classes, labels) = classes(labels);
        let members = |class: usize| labels.iter().filter(|&&label| label == class).count() as f64;
        let balanced = |class: usize| c * labels.len() as f64 / (classes.len() as f64 * members(class));
        let against = |class: usize, rest: f64| {
            let own = balanced(class);
            let sides = labels.iter().map(|&label| if label == class { (1.0, own) } else { (-1.0, rest) });
            let points = x.iter().zip(sides).map(|(&x, (side, cost))| Point { x: f64::from(x), side, cost });
            minimize(&points.collect::<Vec<_>>())
        };
        let lines = match classes.len() {
            0 | 1 => Vec::new(),
            2 => vec![against(1, balanced(0))],
            count => (0..count).map(|class| against(class, c)).collect(),
        };
        Self { classes, lines }
    }

    /// w·x + b of each class; of the second alone where there are two.
    pub fn scores(&self, x: f32) -> Vec<f64> {
        self.lines.iter().map(|[w, b]| w * f64::from(x) + b).collect()
    }

    /// The label of `x`; the least of equals.
    pub fn predict(&self, x: f32) -> usize {
        let scores = self.scores(x);
        let class = match *scores {
            [score] => usize::from(score > 0.0),
            _ => largest(&scores),
        };
        self.classes[class]
    }
}

struct Point {
    x: f64,
    /// y: 1 or -1.
    side: f64,
    /// C_i.
    cost: f64,
}

impl Point {
    /// 1 - y·(w·x + b), or 0 beyond the margin.
    fn slack(&self, [w, b]: [f64; 2]) -> f64 {
        (1.0 - self.side * (w * self.x + b)).max(0.0)
    }
}

/// The (w, b) of the least objective.
fn minimize(points: &[Point]) -> [f64; 2] {
    let objective = |[w, b]: [f64; 2]| {
        let loss: f64 = points.iter().map(|point| point.cost * point.slack([w, b]).powi(2)).sum();
        0.5 * (w * w + b * b) + loss
    };
    let mut line = [0.0; 2];
    let mut value = objective(line);
    for _ in 0..STEPS {
        // Gradient, and the Hessian [[p, q], [q, r]] of the piece of the parabola that the line is on.
        let [mut gradient_w, mut gradient_b] = line;
        let (mut p, mut q, mut r) = (1.0, 0.0, 1.0);
        for point in points {
            let slack = point.slack(line);
            if slack > 0.0 {
                let (x, cost) = (point.x, 2.0 * point.cost);
                gradient_w -= cost * point.side * slack * x;
                gradient_b -= cost * point.side * slack;
                p += cost * x * x;
                q += cost * x;
                r += cost;
            }
        }
        let determinant = p * r - q * q;
        let step = [(q * gradient_b - r * gradient_w) / determinant, (q * gradient_w - p * gradient_b) / determinant];
        let slope = gradient_w * step[0] + gradient_b * step[1];
        let shorter = |length: &f64| Some(0.5 * length);
        let found = std::iter::successors(Some(1.0), shorter).take(40).find_map(|length| {
            let next = [line[0] + length * step[0], line[1] + length * step[1]];
            let lower = objective(next);
            (lower < value + 1e-4 * length * slope).then_some((next, lower))
        });
        // No step goes down any more: this is the minimum, to rounding.
        let Some((next, lower)) = found else { break };
        (line, value) = (next, lower);
    }
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_line_nearby_is_better(
            points in prop::collection::vec((-9.0f64..9.0, any::<bool>(), 0.001f64..2.0), 1..30),
        ) {
            let points: Vec<Point> = points
                .into_iter()
                .map(|(x, positive, cost)| Point { x, side: if positive { 1.0 } else { -1.0 }, cost })
                .collect();
            let objective = |[w, b]: [f64; 2]| {
                let loss: f64 = points.iter().map(|point| point.cost * point.slack([w, b]).powi(2)).sum();
                0.5 * (w * w + b * b) + loss
            };
            let [w, b] = minimize(&points);
            for (dw, db) in [(1e-4, 0.0), (-1e-4, 0.0), (0.0, 1e-4), (0.0, -1e-4), (1e-4, 1e-4), (1e-4, -1e-4)] {
                prop_assert!(objective([w + dw, b + db]) > objective([w, b]));
            }
        }
    }

    #[test]
    fn a_single_class_is_told_always() {
        assert_eq!(Svm::fit(&[1.0, 2.0], &[6, 6], 0.01).predict(-3.0), 6);
    }
}
