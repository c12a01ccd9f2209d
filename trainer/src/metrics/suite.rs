//! The metrics by name, and what they are computed from.

use std::{fmt, str::FromStr};

use nalgebra::DMatrix;

use super::{
    beta_vae::{self, BetaVaeScore},
    bootstrap::Bootstrap,
    codes::{Codes, draw_indices, position},
    covariance,
    dci::Dci,
    explicitness::Explicitness,
    factor_vae::{FactorVaeScore, Protocol},
    irs::Irs,
    labeled::Labeled,
    mig::Mig,
    modularity::Modularity,
    pairwise::Pairwise,
    sap::Sap,
    score::{Detail, Measured},
};
use crate::{Error, data::Dataset};

/// A metric, as `--metrics` names it; one file each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// [`super::factor_vae`].
    FactorVae,
    /// [`super::beta_vae`].
    BetaVae,
    /// [`super::mig`].
    Mig,
    /// [`super::sap`].
    Sap,
    /// [`super::dci`].
    Dci,
    /// [`super::modularity`].
    Modularity,
    /// [`super::explicitness`].
    Explicitness,
    /// [`super::irs`].
    Irs,
    /// [`super::covariance`], total correlation.
    GaussianTc,
    /// [`super::covariance`], Wasserstein correlation.
    WassersteinCorrelation,
    /// [`super::pairwise`].
    MutualInformation,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 11] = [
        Self::FactorVae,
        Self::BetaVae,
        Self::Mig,
        Self::Sap,
        Self::Dci,
        Self::Modularity,
        Self::Explicitness,
        Self::Irs,
        Self::GaussianTc,
        Self::WassersteinCorrelation,
        Self::MutualInformation,
    ];

    /// The name that `--metrics` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::FactorVae => "factor-vae",
            Self::BetaVae => "beta-vae",
            Self::Mig => "mig",
            Self::Sap => "sap",
            Self::Dci => "dci",
            Self::Modularity => "modularity",
            Self::Explicitness => "explicitness",
            Self::Irs => "irs",
            Self::GaussianTc => "gaussian-tc",
            Self::WassersteinCorrelation => "wasserstein-correlation",
            Self::MutualInformation => "mutual-information",
        }
    }

    /// Whether it compares codes with the generative factors.
    pub fn needs_labels(self) -> bool {
        !matches!(self, Self::GaussianTc | Self::WassersteinCorrelation | Self::MutualInformation)
    }

    /// Whether it can be computed on `dataset`: what has no labels, or not all combinations of factor values, does not do for all.
    pub fn takes(self, dataset: &dyn Dataset) -> bool {
        dataset.is_grid() || !self.needs_grid() && (!self.needs_labels() || !dataset.factors().is_empty())
    }

    /// Whether it draws images by factor values, of which the data must then have every combination.
    pub fn needs_grid(self) -> bool {
        matches!(self, Self::FactorVae | Self::BetaVae)
    }

    /// Whether it fits learners, which takes longer than all others together.
    pub fn fits_learners(self) -> bool {
        matches!(self, Self::BetaVae | Self::Sap | Self::Dci | Self::Explicitness)
    }

    /// Whether it can be computed of thousands of latents, as [`super::baseline`]'s raw pixels are: it looks at each latent by
    /// itself, and at images that are drawn for it alone.
    pub fn takes_many_latents(self) -> bool {
        matches!(self, Self::Mig | Self::Modularity)
    }

    /// What is measured when nobody asks for more: all that fit no learner.
    pub fn quick() -> Vec<Self> {
        Self::ALL.into_iter().filter(|metric| !metric.fits_learners()).collect()
    }

    /// The metrics of a list such as `mig,sap`; `all` stands for all.
    ///
    /// # Errors
    /// A name is not known.
    pub fn list(text: &str) -> crate::Result<Vec<Self>> {
        if text == "all" {
            return Ok(Self::ALL.to_vec());
        }
        text.split(',').map(str::parse).collect()
    }

    /// Its scores of a representation; none of the two metrics that have draws of their own.
    pub(super) fn scores(self, points: &Points, bootstrap: &Bootstrap) -> Vec<Measured> {
        let Points { train, test, sample } = points;
        match self {
            Self::FactorVae | Self::BetaVae => Vec::new(),
            Self::Mig => vec![mig(train, bootstrap)],
            Self::Sap => vec![sap(train, test, bootstrap)],
            Self::Dci => dci(train, test, bootstrap),
            Self::Modularity => vec![modularity(train, bootstrap)],
            Self::Explicitness => vec![explicitness(train, test, bootstrap)],
            Self::Irs => vec![irs(train, bootstrap)],
            Self::GaussianTc => gaussian_tc(sample, bootstrap),
            Self::WassersteinCorrelation => wasserstein_correlation(sample, bootstrap),
            Self::MutualInformation => vec![mutual_information(sample, bootstrap)],
        }
    }
}

/// The FactorVAE score with its interval.
pub(super) fn factor_vae(score: &FactorVaeScore, bootstrap: &Bootstrap) -> Measured {
    let Protocol { name, images_per_vote, train_votes, eval_votes, scale_samples, .. } = score.protocol;
    let (train, eval) = score.cast();
    let replicates = bootstrap.replicates(|resample| score.resampled(&resample.counts(train), &resample.counts(eval)));
    let votes = score.votes.iter().map(|votes| votes.iter().map(|&n| n as f64).collect()).collect();
    let active = score.active.iter().map(|&latent| latent as f64).collect();
    Measured::new("factor-vae", name, score.score, replicates, 1.0)
        .counted("images_per_vote", images_per_vote)
        .counted("train_votes", train_votes)
        .counted("eval_votes", eval_votes)
        .counted("scale", scale_samples)
        .with("train_score", Detail::Value(score.train_score))
        .with("active_latents", Detail::Vector(active))
        .with("votes", Detail::Matrix(votes))
        .under(bootstrap.seed, score.active.len())
}

/// The beta-VAE score with its interval.
pub(super) fn beta_vae(protocol: &beta_vae::Protocol, score: &BetaVaeScore, bootstrap: &Bootstrap) -> Measured {
    let beta_vae::Protocol { name, pairs, train_points, eval_points } = *protocol;
    let replicates = bootstrap.replicates(|resample| score.resampled(&resample.counts(eval_points)));
    Measured::new("beta-vae", name, score.score, replicates, 1.0)
        .counted("pairs", pairs)
        .counted("train", train_points)
        .counted("test", eval_points)
        .with("train_score", Detail::Value(score.train_score))
}

fn mig(train: &Labeled, bootstrap: &Bootstrap) -> Measured {
    let mig = Mig::measure(train);
    let replicates = bootstrap.replicates(|resample| mig.resampled(&resample.counts(train.len())));
    Measured::new("mig", "study", mig.score, replicates, 1.0)
        .counted("train", train.len())
        .with("gaps", Detail::Vector(mig.gaps))
        .with("mutual_information", Detail::Matrix(mig.mutual_information))
}

fn sap(train: &Labeled, test: &Labeled, bootstrap: &Bootstrap) -> Measured {
    let sap = Sap::measure(train, test);
    let replicates = bootstrap.replicates(|resample| sap.resampled(&resample.counts(test.len())));
    Measured::new("sap", "study", sap.score, replicates, 1.0)
        .counted("train", train.len())
        .counted("test", test.len())
        .with("accuracy", Detail::Matrix(sap.accuracy))
}

fn dci(train: &Labeled, test: &Labeled, bootstrap: &Bootstrap) -> Vec<Measured> {
    let dci = Dci::measure(train, test);
    let replicates = bootstrap.replicates(|resample| dci.resampled_informativeness(&resample.counts(test.len())));
    let disentanglement = Measured::new("dci-disentanglement", "study", dci.disentanglement, Vec::new(), 1.0)
        .counted("train", train.len())
        .with("latents", Detail::Vector(dci.latent_disentanglement))
        .with("importances", Detail::Matrix(dci.importances));
    let completeness = Measured::new("dci-completeness", "study", dci.completeness, Vec::new(), 1.0)
        .counted("train", train.len())
        .with("factors", Detail::Vector(dci.factor_completeness));
    let informativeness = Measured::new("dci-informativeness", "study", dci.informativeness, replicates, 1.0)
        .counted("train", train.len())
        .counted("test", test.len())
        .with("train_score", Detail::Value(dci.train_informativeness))
        .with("accuracy", Detail::Vector(dci.accuracy));
    vec![disentanglement, completeness, informativeness]
}

fn modularity(train: &Labeled, bootstrap: &Bootstrap) -> Measured {
    let modularity = Modularity::measure(train);
    let replicates = bootstrap.replicates(|resample| modularity.resampled(&resample.counts(train.len())));
    Measured::new("modularity", "study", modularity.score, replicates, 1.0)
        .counted("train", train.len())
        .with("latents", Detail::Vector(modularity.latents))
}

fn explicitness(train: &Labeled, test: &Labeled, bootstrap: &Bootstrap) -> Measured {
    let explicitness = Explicitness::measure(train, test);
    let replicates = bootstrap.replicates(|resample| explicitness.resampled(&resample.counts(test.len())));
    Measured::new("explicitness", "study", explicitness.score, replicates, 1.0)
        .counted("train", train.len())
        .counted("test", test.len())
        .with("train_score", Detail::Value(explicitness.train_score))
        .with("factors", Detail::Vector(explicitness.factors))
}

fn irs(train: &Labeled, bootstrap: &Bootstrap) -> Measured {
    let irs = Irs::measure(train);
    let replicates = bootstrap.replicates(|resample| irs.resampled(&resample.rows(train.len())));
    Measured::new("irs", "study", irs.score, replicates, 1.0)
        .counted("train", train.len())
        .with("robustness", Detail::Matrix(irs.robustness))
        .with("deviations", Detail::Vector(irs.deviations))
}

fn gaussian_tc(sample: &Labeled, bootstrap: &Bootstrap) -> Vec<Measured> {
    of_covariance(sample, bootstrap, &[("gaussian-tc", covariance::total_correlation, f64::INFINITY)])
}

fn wasserstein_correlation(sample: &Labeled, bootstrap: &Bootstrap) -> Vec<Measured> {
    let scores: [OfCovariance; 2] = [
        ("wasserstein-correlation", covariance::wasserstein_correlation, f64::INFINITY),
        ("wasserstein-correlation-normalized", covariance::normalized_wasserstein_correlation, 2.0),
    ];
    of_covariance(sample, bootstrap, &scores)
}

/// A name, a score of a covariance matrix, and the greatest that it can be.
type OfCovariance = (&'static str, fn(&DMatrix<f64>) -> f64, f64);

fn of_covariance(sample: &Labeled, bootstrap: &Bootstrap, scores: &[OfCovariance]) -> Vec<Measured> {
    let all = covariance::covariance(sample, &vec![1; sample.len()]);
    let measured = |&(name, score, greatest): &OfCovariance| {
        let again = |counts: Vec<u32>| score(&covariance::covariance(sample, &counts));
        let replicates = bootstrap.replicates(|resample| again(resample.counts(sample.len())));
        Measured::new(name, "study", score(&all), replicates, greatest).counted("images", sample.len())
    };
    scores.iter().map(measured).collect()
}

fn mutual_information(sample: &Labeled, bootstrap: &Bootstrap) -> Measured {
    let pairwise = Pairwise::measure(sample);
    let replicates = bootstrap.replicates(|resample| pairwise.resampled(&resample.counts(sample.len())));
    Measured::new("mutual-information", "study", pairwise.score, replicates, f64::INFINITY)
        .counted("images", sample.len())
        .with("mutual_information", Detail::Matrix(pairwise.mutual_information))
}

/// How many labeled images the metrics look at that share them: all but [`super::factor_vae`] and [`super::beta_vae`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Labeled images that a metric is computed from, or its learner learns from.
    pub train: usize,
    /// Labeled images that learners are scored on.
    pub test: usize,
}

impl Counts {
    /// Those of the large study (Locatello et al. 2019, appendix C; `disentanglement_lib`).
    pub const STUDY: Self = Self { train: 10_000, test: 5_000 };
}

/// The images behind all metrics but FactorVAE's, drawn before anything is encoded.
pub(super) struct Draws<'a> {
    train: Vec<usize>,
    test: Vec<usize>,
    sample: &'a [usize],
}

impl<'a> Draws<'a> {
    /// Draws what `metrics` need; those without labels look at `sample`.
    pub fn new(dataset: &dyn Dataset, metrics: &[Metric], counts: Counts, sample: &'a [usize], seed: u64) -> Self {
        let own = [Metric::FactorVae, Metric::BetaVae];
        let needed = metrics.iter().any(|metric| metric.needs_labels() && !own.contains(metric));
        let tested = needed && metrics.iter().any(|metric| metric.fits_learners() && !own.contains(metric));
        let draw = |needed, count, position| draw_indices(dataset, if needed { count } else { 0 }, seed, position);
        let train = draw(needed, counts.train, position::TRAIN_POINTS);
        Self { train, test: draw(tested, counts.test, position::TEST_POINTS), sample }
    }

    /// The images that have to be encoded, with repetitions.
    pub fn images(&self) -> impl Iterator<Item = usize> + '_ {
        self.train.iter().chain(&self.test).chain(self.sample).copied()
    }

    /// The codes of these images.
    pub fn points(&self, codes: &Codes, dataset: &dyn Dataset) -> Points {
        let gather = |indices: &[usize]| Labeled::gather(codes, dataset, indices);
        Points { train: gather(&self.train), test: gather(&self.test), sample: gather(self.sample) }
    }
}

/// Codes that the metrics share.
pub(super) struct Points {
    /// What a metric is computed from, or its learner learns from.
    pub train: Labeled,
    /// What learners are scored on.
    pub test: Labeled,
    /// Images for the metrics without labels.
    pub sample: Labeled,
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(name: &str) -> crate::Result<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|metric| metric.name()).collect();
            Error::setting("metrics", name, &format!("all, or some of {}", names.join(", ")))
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
