//! How good a model is: reconstruction and KL, scores of its codes, and which latent follows which factor.
//!
//! One file a metric; [`suite`] has them by name. All draws come from one seed and are made before anything is encoded; an
//! image that several metrics ask for is encoded once. The same seed gives an f32 model and its int8 version the same images.

pub mod baseline;
pub mod beta_vae;
pub mod bootstrap;
mod codes;
pub mod compare;
pub mod covariance;
pub mod dci;
pub mod effects;
pub mod elbo;
pub mod explicitness;
pub mod factor_vae;
#[cfg(test)]
pub(crate) mod fake;
pub mod histogram;
pub mod irs;
pub mod label;
pub mod labeled;
pub mod learners;
pub mod mig;
pub mod model_centrality;
pub mod modularity;
pub mod mutual_information;
pub mod pairwise;
pub mod sap;
pub mod score;
pub mod selection;
pub mod suite;
pub mod udr;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use bootstrap::{Bootstrap, Interval};
pub use codes::Progress;
pub use compare::{Comparison, Difference, compare};
pub use elbo::LatentStatistics;
pub use factor_vae::{FactorVaeScore, Protocol};
pub use histogram::Histogram;
pub use label::apply_names;
pub use score::{Detail, Score};
pub use suite::{Counts, Metric};

use crate::{
    Error, Result,
    data::Dataset,
    model::{Autoencoder, Factor},
};
use codes::{Codes, check, draw_indices, position};
use score::Measured;

/// What to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The seed of all draws.
    pub seed: u64,
    /// Images for reconstruction, KL and the latents' ranges, at least 2.
    pub samples: usize,
    /// Image pairs a factor for the effects, at least 2.
    pub pairs: usize,
    /// The metrics to compute; data gets those that it has the labels for ([`Metric::takes`]).
    pub metrics: Vec<Metric>,
    /// FactorVAE scores to give; the votes of the first are also the names' agreement.
    pub protocols: Vec<Protocol>,
    /// The numbers of the beta-VAE score.
    pub beta_vae: beta_vae::Protocol,
    /// Labeled images for the other metrics.
    pub counts: Counts,
    /// Resamples behind each interval; 0 for no intervals.
    pub resamples: usize,
    /// Whether the decoder is measured too, if there is one; that of a [`baseline`] says nothing.
    pub reconstruct: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            samples: 10_000,
            pairs: 2_000,
            metrics: Metric::quick(),
            protocols: vec![Protocol::PAPER, Protocol::STUDY, Protocol::INFOGAN_CR],
            beta_vae: beta_vae::Protocol::STUDY,
            counts: Counts::STUDY,
            resamples: 1_000,
            reconstruct: true,
        }
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
    /// What the metrics gave, in the order of [`Metric::ALL`]; unlabeled data has no scores that need labels.
    pub scores: Vec<Score>,
    /// Names of the generative factors; empty for data that is no full grid of them.
    pub factor_names: Vec<String>,
    /// The share of each latent's variance that goes with each factor, `(latents, factors)`; see [`effects`].
    pub effects: Vec<Vec<f32>>,
    /// The active latents with their names, the most important first.
    pub factors: Vec<Factor>,
}

impl Evaluation {
    /// The score of `metric` under `protocol`, if it was measured.
    pub fn score(&self, metric: &str, protocol: &str) -> Option<&Score> {
        self.scores.iter().find(|score| score.metric == metric && score.protocol == protocol)
    }
}

/// An evaluation with what pictures of it and its comparison with another one take.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// What was measured.
    pub evaluation: Evaluation,
    /// The spread of each latent's posterior mean over the images of [`LatentStatistics`].
    pub histograms: Vec<Histogram>,
    /// Each score's values under the resamples, `(scores, resamples)`.
    replicates: Vec<Vec<f64>>,
}

/// Measures `model` on `dataset`. Unlabeled data gets the scores that need no labels, labeled data without all combinations of
/// factor values those that do not draw by them; both get names by number.
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
    Ok(measure(model, dataset, options, progress)?.evaluation)
}

/// [`evaluate`], ready to be compared.
///
/// # Errors
/// As [`evaluate`].
pub fn measure(
    model: &dyn Autoencoder,
    dataset: &dyn Dataset,
    options: &Options,
    progress: Progress,
) -> Result<Measurement> {
    model.need_encoder()?;
    check(model, dataset)?;
    let decodes = options.reconstruct && model.has_decoder();
    let Options { seed, samples, pairs, counts, .. } = *options;
    for (name, found) in [("samples", samples), ("pairs", pairs), ("train", counts.train), ("test", counts.test)] {
        if found < 2 {
            return Err(Error::setting(name, found, "at least 2"));
        }
    }
    let grid = dataset.is_grid();
    let metrics: Vec<Metric> =
        Metric::ALL.into_iter().filter(|metric| options.metrics.contains(metric) && metric.takes(dataset)).collect();
    let protocols: &[Protocol] = if metrics.contains(&Metric::FactorVae) { &options.protocols } else { &[] };

    let sample = draw_indices(dataset, samples, seed, position::STATISTICS);
    let votes = protocols.iter().map(|protocol| protocol.draw(dataset, seed)).collect::<Result<Vec<_>>>()?;
    let with_beta_vae = metrics.contains(&Metric::BetaVae);
    let differences = with_beta_vae.then(|| options.beta_vae.draw(dataset, seed)).transpose()?;
    let pairs = effects::Pairs::draw(dataset, pairs, seed);
    let points = suite::Draws::new(dataset, &metrics, counts, &sample, seed);
    let images = votes.iter().flat_map(|draws| draws.images()).chain(pairs.images()).chain(points.images());
    let images = images.chain(differences.iter().flat_map(|draws| draws.images())).collect();

    let to_decode = if decodes { sample.len() as u64 } else { 0 };
    let codes = Codes::encode(model, dataset, images, &|done, total| progress(done, total + to_decode))?;
    let encoded = codes.len() as u64;
    let decoded = |done| progress(encoded + done, encoded + to_decode);
    let reconstruct = || elbo::reconstruction(model, dataset, &codes, &sample, seed, &decoded);
    let reconstruction = decodes.then(reconstruct).transpose()?;
    let statistics = LatentStatistics::measure(&codes, &sample, seed, reconstruction);
    let means = |latent| sample.iter().map(|&index| f64::from(codes.mean(index)[latent])).collect::<Vec<_>>();
    let histograms = (0..model.latents()).map(|latent| Histogram::new(means(latent).into_iter())).collect();

    let bootstrap = Bootstrap { seed, resamples: options.resamples };
    let score = |(protocol, draws): (&Protocol, &factor_vae::Draws)| draws.score(protocol, dataset, &codes);
    let factor_vae: Vec<FactorVaeScore> = protocols.iter().zip(&votes).map(score).collect();
    let points = points.points(&codes, dataset);
    let active = statistics.active.len();
    let others = metrics.iter().flat_map(|metric| metric.scores(&points, &bootstrap));
    let beta_vae = differences.map(|draws| suite::beta_vae(&options.beta_vae, &draws.score(&codes), &bootstrap));
    let measured = factor_vae.iter().map(|score| suite::factor_vae(score, &bootstrap));
    let measured = measured.chain(beta_vae.into_iter().chain(others).map(|measured| measured.under(seed, active)));
    let (scores, replicates) = measured.map(|Measured { score, replicates }| (score, replicates)).unzip();

    let factor_names: Vec<String> = match grid {
        true => dataset.factors().iter().map(|factor| factor.name.to_string()).collect(),
        false => Vec::new(),
    };
    let effects = if grid { pairs.effects(&codes) } else { Vec::new() };
    let no_votes = vec![vec![0; factor_names.len()]; model.latents()];
    let votes = factor_vae.first().map_or(&no_votes, |score| &score.votes);
    let evidence = label::Evidence { names: &factor_names, effects: &effects, votes };
    let factors = label::label(&statistics, grid.then_some(&evidence));
    let evaluation = Evaluation { dataset: dataset.name().into(), statistics, scores, factor_names, effects, factors };
    Ok(Measurement { evaluation, histograms, replicates })
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statistics = &self.statistics;
        writeln!(f, "{}: {} images, seed {}", self.dataset, statistics.images, statistics.seed)?;
        let nats = |value: f64| format!("{value:.2} nats");
        writeln!(f, "reconstruction  {}", statistics.reconstruction.map_or_else(|| "-".into(), nats))?;
        writeln!(f, "KL              {}", nats(statistics.total_kl()))?;
        writeln!(f, "ELBO            {}", statistics.elbo().map_or_else(|| "-".into(), nats))?;
        writeln!(f, "active latents  {} of {}", statistics.active.len(), statistics.kl.len())?;
        if !self.scores.is_empty() {
            writeln!(f, "\n{:<34}  {:<10}  {:<22}  samples", "score", "protocol", "value and 95 % interval")?;
        }
        for score in &self.scores {
            writeln!(f, "{score}")?;
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
        Options {
            seed: 5,
            samples: 700,
            pairs: 200,
            metrics: Metric::ALL.to_vec(),
            protocols,
            beta_vae: beta_vae::Protocol { train_points: 400, eval_points: 200, ..beta_vae::Protocol::STUDY },
            counts: Counts { train: 800, test: 400 },
            resamples: 20,
            reconstruct: true,
        }
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
        for protocol in ["paper", "study"] {
            let score = evaluation.score("factor-vae", protocol).unwrap();
            assert_eq!((score.value, score.interval), (1.0, Some(Interval { low: 1.0, high: 1.0 })));
            assert_eq!((score.samples["train_votes"], score.seed, score.active), (100, 5, 4));
        }
        // Sorted by KL: the scales of the ground truth are 3, 0.5, 0.25 and 1.
        let names: Vec<&str> = evaluation.factors.iter().map(|factor| factor.name.as_str()).collect();
        assert_eq!(names, ["kind", "y", "size", "x"]);
        assert!(evaluation.factors.iter().all(|factor| factor.agreement == 1.0));

        let again = evaluate(&Coder::ground_truth(), &Grid::new(), &options(), &|_, _| {}).unwrap();
        assert_eq!(evaluation, again);
        let json = serde_json::to_string(&evaluation).unwrap();
        let read: Evaluation = serde_json::from_str(&json).unwrap();
        assert_eq!((&read.statistics, &read.factors), (&evaluation.statistics, &evaluation.factors));
        // Figures of 17 digits may come back with another last bit.
        for (read, written) in read.scores.iter().zip(&evaluation.scores) {
            assert!((read.value - written.value).abs() < 1e-15);
            assert_eq!(read.to_string(), written.to_string());
            assert!(read.details.keys().eq(written.details.keys()));
        }
    }

    /// Metrics, with what the ground truth scores at least, a rotation of its latents in pairs at most, and noise at most.
    const KNOWN: [(&str, f64, f64, f64); 9] = [
        ("factor-vae", 1.0, 0.85, 0.45),
        ("beta-vae", 1.0, 0.8, 0.45),
        ("mig", 0.9, 0.3, 0.05),
        ("sap", 0.2, 0.15, 0.04),
        ("dci-disentanglement", 0.999, 0.7, 0.3),
        ("dci-completeness", 0.999, 0.7, 0.3),
        ("modularity", 0.99, 0.8, 0.7),
        ("explicitness", 0.6, 0.9, 0.6),
        ("irs", 1.0, 0.8, 0.2),
    ];

    #[test]
    fn hand_made_representations_score_what_they_must() {
        let [truth, rotated, noise] = [Coder::ground_truth(), Coder::rotated(), Coder::noise()]
            .map(|model| evaluate(&model, &Grid::new(), &options(), &|_, _| {}).unwrap());
        let value = |evaluation: &Evaluation, metric| evaluation.score(metric, "study").unwrap().value;
        for (metric, truth_least, rotated_most, noise_most) in KNOWN {
            let [truth, rotated, noise] = [&truth, &rotated, &noise].map(|evaluation| value(evaluation, metric));
            assert!(
                truth >= truth_least && rotated <= rotated_most && noise <= noise_most,
                "{metric}: {truth} {rotated} {noise}"
            );
        }
        // Without labels less is better; the rotation's pairs are uncorrelated, but far from independent.
        for metric in ["gaussian-tc", "wasserstein-correlation-normalized", "mutual-information"] {
            assert!(value(&truth, metric) < 0.05, "{metric}: {}", value(&truth, metric));
        }
        assert!(value(&rotated, "mutual-information") > 0.3);
    }

    #[test]
    fn one_evaluation_scores_like_each_metric_alone() {
        let model = Coder::noise();
        let evaluation = evaluate(&model, &Grid::new(), &options(), &|_, _| {}).unwrap();
        for protocol in &options().protocols {
            let draws = protocol.draw(&Grid::new(), 5).unwrap();
            let codes = Codes::encode(&model, &Grid::new(), draws.images().collect(), &|_, _| {}).unwrap();
            let alone = draws.score(protocol, &Grid::new(), &codes).score;
            assert_eq!(evaluation.score("factor-vae", protocol.name).unwrap().value, alone);
        }
    }

    #[test]
    fn unlabeled_data_gets_statistics_and_numbers() {
        let evaluation = evaluate(&Coder::ground_truth(), &Unlabeled(Grid::new()), &options(), &|_, _| {}).unwrap();
        assert!(evaluation.score("factor-vae", "paper").is_none() && evaluation.effects.is_empty());
        assert_eq!(evaluation.factors[0].name, "z0");
        assert!(!evaluation.to_string().contains("variance by"));
    }

    #[test]
    fn the_table_says_protocol_and_names() {
        let evaluation = evaluate(&Coder::ground_truth(), &Grid::new(), &options(), &|_, _| {}).unwrap();
        let text = evaluation.to_string();
        let line = text.lines().find(|line| line.starts_with("factor-vae ") && line.contains("study")).unwrap();
        for part in ["1.000 [1.000, 1.000]", "images_per_vote 64", "train_votes 100", "eval_votes 50"] {
            assert!(line.contains(part), "{line}");
        }
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
