//! How good a model is: reconstruction and KL, the FactorVAE score, and which latent follows which factor.
//!
//! One file a metric. All draws come from one seed and are made before anything is encoded; an image that several
//! metrics ask for is encoded once. The same seed gives an f32 model and its int8 version the same images.

mod codes;
pub mod effects;
pub mod elbo;
pub mod factor_vae;
#[cfg(test)]
mod fake;
pub mod label;
pub mod labeled;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use codes::Progress;
pub use elbo::LatentStatistics;
pub use factor_vae::{FactorVaeScore, Protocol};
pub use label::apply_names;

use crate::{
    Error, Result,
    data::Dataset,
    model::{Autoencoder, Factor},
};
use codes::{Codes, check, draw_indices, position};

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The seed of all draws.
    pub seed: u64,
    /// Images for reconstruction, KL and the latents' ranges, at least 2.
    pub samples: usize,
    /// Image pairs a factor for the effects, at least 2.
    pub pairs: usize,
    /// FactorVAE scores to give; the votes of the first are also the names' agreement.
    pub protocols: Vec<Protocol>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seed: 0, samples: 10_000, pairs: 2_000, protocols: vec![Protocol::PAPER, Protocol::STUDY] }
    }
}

/// All that was measured of a model on a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation {
    /// The data set's name.
    pub dataset: String,
    /// Reconstruction, KL and the latents over the data.
    pub statistics: LatentStatistics,
    /// One score a protocol; empty for unlabeled data.
    pub factor_vae: Vec<FactorVaeScore>,
    /// Names of the generative factors; empty for unlabeled data.
    pub factor_names: Vec<String>,
    /// The share of each latent's variance that goes with each factor, `(latents, factors)`; see [`effects`].
    pub effects: Vec<Vec<f32>>,
    /// The active latents with their names, the most important first.
    pub factors: Vec<Factor>,
}

/// Measures `model` on `dataset`. Unlabeled data gets no scores, and names by number.
///
/// `progress` hears the images encoded and decoded so far, and how many it will be.
///
/// # Errors
/// The model takes other images than the data set has, an option is too small, or the model failed.
pub fn evaluate(
    model: &dyn Autoencoder,
    dataset: &dyn Dataset,
    options: &Options,
    progress: Progress,
) -> Result<Evaluation> {
    check(model, dataset)?;
    for (name, found) in [("samples", options.samples), ("pairs", options.pairs)] {
        if found < 2 {
            return Err(Error::setting(name, found, "at least 2"));
        }
    }
    let seed = options.seed;
    let labeled = !dataset.factors().is_empty();
    let protocols: &[Protocol] = if labeled { &options.protocols } else { &[] };

    let sample = draw_indices(dataset, options.samples, seed, position::STATISTICS);
    let draws = protocols.iter().map(|protocol| protocol.draw(dataset, seed)).collect::<Result<Vec<_>>>()?;
    let pairs = effects::Pairs::draw(dataset, if labeled { options.pairs } else { 0 }, seed);
    let images = draws.iter().flat_map(|draws| draws.images()).chain(pairs.images());
    let images: Vec<usize> = images.chain(sample.iter().copied()).collect();

    let to_decode = sample.len() as u64;
    let codes = Codes::encode(model, dataset, images, &|done, total| progress(done, total + to_decode))?;
    let encoded = codes.len() as u64;
    let decoded = |done| progress(encoded + done, encoded + to_decode);
    let statistics = LatentStatistics::measure(model, dataset, &codes, &sample, seed, &decoded)?;
    let score = |(protocol, draws): (&Protocol, &factor_vae::Draws)| draws.score(protocol, dataset, seed, &codes);
    let factor_vae: Vec<FactorVaeScore> = protocols.iter().zip(&draws).map(score).collect();

    let factor_names: Vec<String> = dataset.factors().iter().map(|factor| factor.name.to_string()).collect();
    let effects = if labeled { pairs.effects(&codes) } else { Vec::new() };
    let no_votes = vec![vec![0; factor_names.len()]; model.latents()];
    let votes = factor_vae.first().map_or(&no_votes, |score| &score.votes);
    let evidence = label::Evidence { names: &factor_names, effects: &effects, votes };
    let factors = label::label(&statistics, labeled.then_some(&evidence));
    Ok(Evaluation { dataset: dataset.name().into(), statistics, factor_vae, factor_names, effects, factors })
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statistics = &self.statistics;
        writeln!(f, "{}: {} images, seed {}", self.dataset, statistics.images, statistics.seed)?;
        writeln!(f, "reconstruction  {:.2} nats", statistics.reconstruction)?;
        writeln!(f, "KL              {:.2} nats", statistics.total_kl())?;
        writeln!(f, "ELBO            {:.2} nats", statistics.elbo())?;
        writeln!(f, "active latents  {} of {}", statistics.active.len(), statistics.kl.len())?;
        for score in &self.factor_vae {
            let votes = match score.eval_votes {
                0 => format!("{} votes", score.train_votes),
                eval => format!("{} + {eval} votes", score.train_votes),
            };
            let protocol = format!("{} protocol, L = {}, {votes}", score.protocol, score.images_per_vote);
            writeln!(f, "FactorVAE score {:.3} ({protocol})", score.score)?;
        }
        if !self.factors.is_empty() {
            self.latent_table(f)?;
        }
        Ok(())
    }
}

impl Evaluation {
    /// One line for each active latent: its name, KL, range, agreement and the effects of the factors on it.
    fn latent_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_width = self.factors.iter().map(|factor| factor.name.chars().count()).fold(4, usize::max);
        write!(f, "\nlatent  {:<name_width$}     KL    mean    std     1 %    99 %  agreement", "name")?;
        if !self.factor_names.is_empty() {
            write!(f, "  | variance by")?;
        }
        for name in &self.factor_names {
            write!(f, "  {name:>5}")?;
        }
        writeln!(f)?;
        for factor in &self.factors {
            let Factor { latent, name, low, high, center, scale, importance, agreement } = factor;
            write!(f, "{latent:>6}  {name:<name_width$}  {importance:5.2}  {center:6.2}  {scale:5.2}  ")?;
            write!(f, "{low:6.2}  {high:6.2}  {:>9}", format!("{:.0} %", 100.0 * agreement))?;
            if !self.factor_names.is_empty() {
                write!(f, "  |            ")?;
            }
            for (name, effect) in self.factor_names.iter().zip(self.effects.get(*latent).into_iter().flatten()) {
                let width = name.chars().count().max(5);
                write!(f, "  {:>width$}", format!("{:.0} %", 100.0 * effect))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use fake::{Coder, Grid, Unlabeled};

    fn options() -> Options {
        let small = |protocol| Protocol { train_votes: 100, eval_votes: 50, scale_samples: 500, ..protocol };
        let protocols = vec![small(Protocol::PAPER), small(Protocol::STUDY)];
        Options { seed: 5, samples: 700, pairs: 200, protocols }
    }

    #[test]
    fn an_evaluation_gathers_everything_and_repeats() {
        let last = Cell::new((0, 1));
        let progress = |done, total| {
            assert!(done > last.get().0 && done <= total);
            last.set((done, total));
        };
        let evaluation = evaluate(&Coder::ground_truth(), &Grid::new(), &options(), &progress).unwrap();
        assert_eq!(last.get().0, last.get().1);
        assert_eq!(evaluation.factor_vae.iter().map(|score| score.score).collect::<Vec<_>>(), [1.0, 1.0]);
        // Sorted by KL: the scales of the ground truth are 3, 0.5, 0.25 and 1.
        let names: Vec<&str> = evaluation.factors.iter().map(|factor| factor.name.as_str()).collect();
        assert_eq!(names, ["kind", "y", "size", "x"]);
        assert!(evaluation.factors.iter().all(|factor| factor.agreement == 1.0));

        let again = evaluate(&Coder::ground_truth(), &Grid::new(), &options(), &|_, _| {}).unwrap();
        assert_eq!(evaluation, again);
        let json = serde_json::to_string(&evaluation).unwrap();
        assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), evaluation);
    }

    #[test]
    fn one_evaluation_scores_like_each_metric_alone() {
        let model = Coder::noise();
        let evaluation = evaluate(&model, &Grid::new(), &options(), &|_, _| {}).unwrap();
        for (protocol, together) in options().protocols.iter().zip(&evaluation.factor_vae) {
            assert_eq!(&factor_vae::score(&model, &Grid::new(), protocol, 5, &|_, _| {}).unwrap(), together);
        }
    }

    #[test]
    fn unlabeled_data_gets_statistics_and_numbers() {
        let evaluation = evaluate(&Coder::ground_truth(), &Unlabeled(Grid::new()), &options(), &|_, _| {}).unwrap();
        assert!(evaluation.factor_vae.is_empty() && evaluation.effects.is_empty());
        assert_eq!(evaluation.factors[0].name, "z0");
        assert!(!evaluation.to_string().contains("variance by"));
    }

    #[test]
    fn the_table_says_protocol_and_names() {
        let evaluation = evaluate(&Coder::ground_truth(), &Grid::new(), &options(), &|_, _| {}).unwrap();
        let text = evaluation.to_string();
        assert!(text.contains("FactorVAE score 1.000 (study protocol, L = 64, 100 + 50 votes)"), "{text}");
        assert!(text.contains("active latents  4 of 4"), "{text}");
        assert!(text.lines().any(|line| line.contains("kind") && line.contains("100 %")), "{text}");
    }

    #[test]
    fn too_few_images_are_refused() {
        let options = Options { samples: 1, ..options() };
        let error = evaluate(&Coder::ground_truth(), &Grid::new(), &options, &|_, _| {}).unwrap_err();
        assert_eq!(error.to_string(), "samples = 1: expected at least 2");
    }
}
