//! Which of several models is best, without labels: models of one kind and other seeds are compared with each other.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{
    bootstrap::Bootstrap,
    codes::{Codes, Progress, check, draw_indices, position},
    elbo::ACTIVE_KL,
    model_centrality,
    score::{Detail, Measured, Score},
    udr::{self, Similarity},
};
use crate::{Error, Result, data::Dataset, model::Autoencoder};

/// What models are ranked by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criterion {
    /// [`udr`] with the Lasso.
    UdrLasso,
    /// [`udr`] with rank correlations.
    UdrSpearman,
    /// [`model_centrality`].
    ModelCentrality,
}

impl Criterion {
    /// All criteria.
    pub const ALL: [Self; 3] = [Self::UdrLasso, Self::UdrSpearman, Self::ModelCentrality];

    /// The name that `--metrics` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::UdrLasso => "udr-lasso",
            Self::UdrSpearman => "udr-spearman",
            Self::ModelCentrality => "model-centrality",
        }
    }
}

impl FromStr for Criterion {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|criterion| criterion.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::setting("metrics", name, &format!("some of {names}"))
        })
    }
}

/// How to select.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The seed of all draws.
    pub seed: u64,
    /// Images that UDR compares codes of, at least 2.
    pub samples: usize,
    /// What to compute; the first one ranks. At least one.
    pub criteria: Vec<Criterion>,
    /// The numbers of ModelCentrality.
    pub centrality: model_centrality::Protocol,
    /// Resamples behind each interval; 0 for no intervals.
    pub resamples: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 0,
            samples: 10_000,
            criteria: vec![Criterion::UdrLasso, Criterion::UdrSpearman],
            centrality: model_centrality::Protocol::PAPER,
            resamples: 1_000,
        }
    }
}

/// Models, the best first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// The data set's name.
    pub dataset: String,
    /// Sorted by their first score, falling; equals in the order in which they were given.
    pub ranking: Vec<Ranked>,
}

/// A model in a [`Selection`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ranked {
    /// The name that was given.
    pub model: String,
    /// One for each criterion. Their intervals resample the other models: they say how much the score hangs on which
    /// other runs there were.
    pub scores: Vec<Score>,
}

/// Compares `models`, each with its name, on images of `dataset`.
///
/// # Errors
/// There are fewer than two models or no criterion, one takes other images than the data set has, an option is too small, or a
/// model failed.
pub fn select(
    models: &[(String, &dyn Autoencoder)],
    dataset: &dyn Dataset,
    options: &Options,
    progress: Progress,
) -> Result<Selection> {
    if models.len() < 2 {
        return Err(Error::setting("models", models.len(), "at least 2: they are compared with each other"));
    }
    if options.samples < 2 {
        return Err(Error::setting("samples", options.samples, "at least 2"));
    }
    if options.criteria.is_empty() {
        return Err(Error::setting("metrics", "none", "at least one"));
    }
    let sample = draw_indices(dataset, options.samples, options.seed, position::STATISTICS);
    let mut latents = Vec::new();
    for (i, (_, model)) in models.iter().enumerate() {
        check(*model, dataset)?;
        let share = |done, total| progress(i as u64 * total + done, models.len() as u64 * total);
        latents.push(informative(&Codes::encode(*model, dataset, sample.clone(), &share)?, &sample));
    }
    let autoencoders: Vec<&dyn Autoencoder> = models.iter().map(|&(_, model)| model).collect();
    let bootstrap = Bootstrap { seed: options.seed, resamples: options.resamples };
    let mut ranking: Vec<Ranked> =
        models.iter().map(|(model, _)| Ranked { model: model.clone(), scores: Vec::new() }).collect();
    for &criterion in &options.criteria {
        let agreements = match criterion {
            Criterion::UdrLasso => udr::agreements(&latents, Similarity::Lasso),
            Criterion::UdrSpearman => udr::agreements(&latents, Similarity::Spearman),
            Criterion::ModelCentrality => {
                model_centrality::agreements(&autoencoders, &options.centrality, options.seed, progress)?
            }
        };
        for (i, ranked) in ranking.iter_mut().enumerate() {
            let score = score(criterion, &agreements, i, options, &bootstrap).under(options.seed, latents[i].len());
            ranked.scores.push(score.score);
        }
    }
    ranking.sort_by(|a, b| b.scores[0].value.total_cmp(&a.scores[0].value));
    Ok(Selection { dataset: dataset.name().into(), ranking })
}

/// The latents with a KL of more than [`ACTIVE_KL`], of the images `sample`.
fn informative(codes: &Codes, sample: &[usize]) -> udr::Latents {
    let kl = codes.kl(sample);
    let informative = (0..codes.latents()).filter(|&latent| kl[latent] > f64::from(ACTIVE_KL));
    let column = |latent: usize| sample.iter().map(|&index| f64::from(codes.mean(index)[latent])).collect();
    informative.map(column).collect()
}

fn score(
    criterion: Criterion,
    agreements: &[Vec<f64>],
    model: usize,
    options: &Options,
    bootstrap: &Bootstrap,
) -> Measured {
    let others: Vec<usize> = (0..agreements.len()).filter(|&other| other != model).collect();
    let of = |others: &[usize]| match criterion {
        Criterion::UdrLasso | Criterion::UdrSpearman => udr::udr(agreements, model, others),
        Criterion::ModelCentrality => model_centrality::centrality(agreements, model, others),
    };
    let again = |rows: Vec<usize>| of(&rows.iter().map(|&row| others[row]).collect::<Vec<_>>());
    let replicates = bootstrap.replicates(|resample| again(resample.rows(others.len())));
    let pairs = others.iter().map(|&other| of(&[other])).collect();
    let measured = Measured::new(criterion.name(), "paper", of(&others), replicates, 1.0)
        .counted("models", agreements.len())
        .with("with_each_other_model", Detail::Vector(pairs));
    match criterion {
        Criterion::UdrLasso | Criterion::UdrSpearman => measured.counted("images", options.samples),
        Criterion::ModelCentrality => measured
            .counted("votes", options.centrality.votes)
            .counted("images_per_vote", options.centrality.images_per_vote)
            .counted("scale", options.centrality.scale_samples),
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank")?;
        for score in self.ranking.iter().take(1).flat_map(|ranked| &ranked.scores) {
            write!(f, "  {:<22}", score.metric)?;
        }
        writeln!(f, "  model")?;
        for (rank, Ranked { model, scores }) in self.ranking.iter().enumerate() {
            write!(f, "{:>4}", rank + 1)?;
            for score in scores {
                write!(f, "  {:<22}", score.value_and_interval())?;
            }
            writeln!(f, "  {model}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fake::{Coder, Grid};

    fn options() -> Options {
        let centrality = model_centrality::Protocol { images_per_vote: 10, votes: 40, scale_samples: 200 };
        Options { samples: 1500, criteria: Criterion::ALL.to_vec(), centrality, resamples: 50, ..Options::default() }
    }

    fn models() -> Vec<Coder> {
        let swapped = Coder::new(4, |pixels, z| {
            (0..4).for_each(|i| z[i] = f32::from(pixels[(i + 1) % 4]) - 3.0);
        });
        let mixed = Coder::new(4, |pixels, z| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| f32::from(pixels[i]));
            (z[0], z[1], z[2], z[3]) = (1.2 * a + b, 1.2 * a - b, c + d, c - d);
        });
        vec![mixed, Coder::ground_truth(), swapped]
    }

    fn run(models: &[Coder], options: &Options) -> Result<Selection> {
        let named: Vec<(String, &dyn Autoencoder)> =
            models.iter().enumerate().map(|(i, model)| (format!("m{i}"), model as &dyn Autoencoder)).collect();
        select(&named, &Grid::new(), options, &|_, _| {})
    }

    #[test]
    fn the_model_that_no_other_agrees_with_comes_last() {
        let selection = run(&models(), &options()).unwrap();
        assert_eq!(selection.ranking[2].model, "m0", "{selection}");
        for ranked in &selection.ranking {
            let names: Vec<&str> = ranked.scores.iter().map(|score| &*score.metric).collect();
            assert_eq!(names, ["udr-lasso", "udr-spearman", "model-centrality"]);
            for score in &ranked.scores {
                let interval = score.interval.unwrap();
                assert!(interval.low <= score.value && score.value <= interval.high);
                assert_eq!((score.samples["models"], score.active), (3, 4));
            }
        }
        assert_eq!(selection, run(&models(), &options()).unwrap());
        assert!(selection.to_string().lines().nth(3).unwrap().ends_with("  m0"), "{selection}");
    }

    #[test]
    fn what_cannot_be_compared_is_refused() {
        let error = run(&models()[..1], &options()).unwrap_err().to_string();
        assert!(error.starts_with("models = 1: expected at least 2"), "{error}");
        assert!(run(&models(), &Options { criteria: vec![], ..options() }).is_err());
        assert!(run(&models(), &Options { samples: 1, ..options() }).is_err());
        assert!("udr".parse::<Criterion>().unwrap_err().to_string().contains("udr-lasso, udr-spearman"));
    }
}
