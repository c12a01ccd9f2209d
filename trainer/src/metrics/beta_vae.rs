//! The beta-VAE score (Higgins et al. 2017, "beta-VAE: Learning Basic Visual Concepts with a Constrained Variational
//! Framework", ICLR, section 3): whether a linear classifier tells from the code which factor was held fixed.
//!
//! ```text
//! one point:  draw a factor k; draw L pairs of images that agree in the value of k, all else random
//!             d_j = mean over the pairs of |z_j(image) - z_j(other image)|;      the point is (d, k)
//! classifier: multinomial logistic regression that tells k from d
//! score:      the share of evaluation points that the classifier gets right
//! ```

use rand::RngExt;
use rayon::prelude::*;

use super::{
    codes::{Codes, position},
    learners::{accuracy, logistic::Logistic},
};
use crate::{
    Error, Result,
    data::{self, Dataset},
    rng::{Purpose, stream},
};

/// The numbers that turn the algorithm into a score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Protocol {
    /// The name given beside each score.
    pub name: &'static str,
    /// L: pairs of images behind a point, at least 1.
    pub pairs: usize,
    /// Points that the classifier learns from, at least 1.
    pub train_points: usize,
    /// Points that it is scored on, at least 1.
    pub eval_points: usize,
}

impl Protocol {
    /// The large study's (Locatello et al. 2019, arXiv 1811.12359; `disentanglement_lib`), with a classifier that is
    /// fitted to the minimum: scikit-learn's default stops after 100 steps, which can be short of it.
    pub const STUDY: Self = Self { name: "study", pairs: 64, train_points: 10_000, eval_points: 5_000 };

    /// Everything random in the score, drawn before anything is encoded: one stream a point.
    ///
    /// # Errors
    /// The data is no full grid of labels, or a number is 0.
    pub(super) fn draw(&self, dataset: &dyn Dataset, seed: u64) -> Result<Draws> {
        data::check_grid(dataset, "the beta-VAE score")?;
        for (name, found) in
            [("pairs", self.pairs), ("train_points", self.train_points), ("eval_points", self.eval_points)]
        {
            if found == 0 {
                return Err(Error::setting(name, found, "at least 1"));
            }
        }
        let points = |count: usize, base: u64| {
            let draw = |point| Difference::draw(dataset, self.pairs, seed, base + point);
            (0..count as u64).into_par_iter().map(draw).collect::<Result<_>>()
        };
        Ok(Draws {
            train: points(self.train_points, position::TRAIN_DIFFERENCES)?,
            eval: points(self.eval_points, position::EVAL_DIFFERENCES)?,
        })
    }
}

/// The images behind one point.
struct Difference {
    factor: usize,
    /// Both images of a pair have the same value of `factor`, which differs from pair to pair.
    pairs: Vec<[usize; 2]>,
}

impl Difference {
    fn draw(dataset: &dyn Dataset, pairs: usize, seed: u64, position: u64) -> Result<Self> {
        let mut rng = stream(seed, Purpose::Metric, position);
        let factors = dataset.factors();
        let factor = rng.random_range(0..factors.len());
        let mut values = || factors.iter().map(|factor| rng.random_range(0..factor.size)).collect::<Vec<usize>>();
        let mut pair = || {
            let (one, mut other) = (values(), values());
            other[factor] = one[factor];
            Ok([data::index_of(dataset, &one)?, data::index_of(dataset, &other)?])
        };
        Ok(Self { factor, pairs: (0..pairs).map(|_| pair()).collect::<Result<_>>()? })
    }

    /// d, `(latents)`.
    fn features(&self, codes: &Codes) -> Vec<f64> {
        let mut sums = vec![0.0; codes.latents()];
        for &[one, other] in &self.pairs {
            for ((sum, a), b) in sums.iter_mut().zip(codes.mean(one)).zip(codes.mean(other)) {
                *sum += f64::from(a - b).abs();
            }
        }
        sums.iter().map(|sum| sum / self.pairs.len() as f64).collect()
    }
}

/// The draws of a protocol under a seed.
pub(super) struct Draws {
    train: Vec<Difference>,
    eval: Vec<Difference>,
}

impl Draws {
    /// The images that have to be encoded, with repetitions.
    pub fn images(&self) -> impl Iterator<Item = usize> + '_ {
        self.train.iter().chain(&self.eval).flat_map(|point| &point.pairs).flatten().copied()
    }

    /// The score of a representation; `codes` has all of [`Self::images`].
    pub fn score(&self, codes: &Codes) -> BetaVaeScore {
        let features = |points: &[Difference]| points.par_iter().flat_map(|point| point.features(codes)).collect();
        let (train, eval): (Vec<f64>, Vec<f64>) = (features(&self.train), features(&self.eval));
        let labels: Vec<usize> = self.train.iter().map(|point| point.factor).collect();
        let classifier = Logistic::fit(&train, codes.latents(), &labels);
        let told = |rows: &[f64], points: &[Difference]| -> Vec<bool> {
            let rows = rows.chunks_exact(codes.latents());
            rows.zip(points).map(|(row, point)| classifier.predict(row) == point.factor).collect()
        };
        let (told_train, correct) = (told(&train, &self.train), told(&eval, &self.eval));
        let everything = |correct: &[bool]| accuracy(correct, &vec![1; correct.len()]);
        BetaVaeScore { score: everything(&correct), train_score: everything(&told_train), correct }
    }
}

/// A beta-VAE score and what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct BetaVaeScore {
    /// Accuracy on the evaluation points, 0 to 1.
    pub score: f64,
    /// Accuracy on the training points, 0 to 1.
    pub train_score: f64,
    /// Whether each evaluation point was told right.
    correct: Vec<bool>,
}

impl BetaVaeScore {
    /// The score where evaluation point i counts `counts[i]` times.
    pub fn resampled(&self, counts: &[u32]) -> f64 {
        accuracy(&self.correct, counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{
        codes::check,
        fake::{Coder, Grid, Unlabeled},
    };

    const SMALL: Protocol = Protocol { train_points: 600, eval_points: 300, ..Protocol::STUDY };

    fn score(model: &Coder, dataset: &dyn Dataset, protocol: &Protocol, seed: u64) -> Result<BetaVaeScore> {
        check(model, dataset)?;
        let draws = protocol.draw(dataset, seed)?;
        let codes = Codes::encode(model, dataset, draws.images().collect(), &|_, _| {})?;
        Ok(draws.score(&codes))
    }

    fn run(model: &Coder, seed: u64) -> BetaVaeScore {
        score(model, &Grid::new(), &SMALL, seed).unwrap()
    }

    #[test]
    fn the_ground_truth_scores_one() {
        let truth = run(&Coder::ground_truth(), 0);
        assert_eq!((truth.score, truth.train_score), (1.0, 1.0));
    }

    #[test]
    fn noise_scores_near_chance_and_a_rotation_in_between() {
        let [noise, rotated] = [Coder::noise(), Coder::rotated()].map(|model| run(&model, 0).score);
        assert!((0.15..0.40).contains(&noise), "{noise}");
        // Scores of this kind are lenient: unequal shares of a rotation still tell.
        assert!(rotated > 0.5, "{rotated}");
    }

    #[test]
    fn pairs_agree_in_the_fixed_factor_alone() {
        let grid = Grid::new();
        let draws = SMALL.draw(&grid, 3).unwrap();
        let mut agree = [0; 4];
        for point in &draws.train {
            for &[one, other] in &point.pairs {
                let (one, other) = (grid.factor_values(one), grid.factor_values(other));
                assert_eq!(one[point.factor], other[point.factor]);
                let rest = (0..4).filter(|&k| k != point.factor);
                rest.filter(|&k| one[k] == other[k]).for_each(|k| agree[k] += 1);
            }
        }
        // 600·64 pairs, 3/4 of them with another factor fixed.
        for (count, size) in agree.into_iter().zip([5.0, 6.0, 8.0, 8.0]) {
            let expected = 0.75 * 600.0 * 64.0 / size;
            assert!((f64::from(count) / expected - 1.0).abs() < 0.1, "{agree:?}");
        }
    }

    #[test]
    fn seeds_repeat_and_differ() {
        let run = |seed| run(&Coder::noise(), seed);
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).correct, run(2).correct);
        assert_eq!(run(1).resampled(&[1; 300]), run(1).score);
    }

    #[test]
    fn unlabeled_data_and_empty_protocols_are_refused() {
        let refused =
            |dataset: &dyn Dataset, protocol| score(&Coder::noise(), dataset, &protocol, 0).unwrap_err().to_string();
        assert!(refused(&Unlabeled(Grid::new()), Protocol::STUDY).contains("no labels"));
        assert_eq!(refused(&Grid::new(), Protocol { pairs: 0, ..SMALL }), "pairs = 0: expected at least 1");
    }
}
