//! `unbraid evaluate`

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use candle_core::Device;
use unbraid_trainer::{
    data::{self, Dataset},
    metrics::{
        Measurement, Metric, Options, Protocol,
        baseline::{FactorImages, Identity, check_many_latents},
        compare,
    },
    model::{self, Architecture, Autoencoder, F32Model},
    train::config::TrainConfig,
};

use super::{dataset_of, measure_with_bar, output::Output};

/// Options of `unbraid evaluate`.
#[derive(clap::Args)]
pub struct Args {
    /// An f32 model directory or an int8 file.
    #[arg(required_unless_present = "baseline")]
    model: Option<PathBuf>,
    /// Measure something untrained instead, without reconstruction.
    #[arg(long, value_enum, conflicts_with_all = ["model", "compare"])]
    baseline: Option<Baseline>,
    /// The network of `--baseline untrained`; --seed gives its weights, as it does to a run.
    #[arg(long, conflicts_with = "model")]
    architecture: Option<String>,
    /// Its latents.
    #[arg(long, conflicts_with = "model")]
    latents: Option<usize>,
    /// Measure a second model on the same images and say how far each score differs.
    #[arg(long, value_name = "MODEL")]
    compare: Option<PathBuf>,
    /// Scores to give: all, or a list such as mig,irs; see docs/metrics.md. Without it: all that fit no learner.
    #[arg(long, value_name = "LIST")]
    metrics: Option<String>,
    /// Protocols of the FactorVAE score: paper, study, infogan-cr; may be repeated.
    #[arg(long = "protocol", value_name = "PROTOCOL", default_values = ["paper", "study", "infogan-cr"])]
    protocols: Vec<String>,
    /// Images for reconstruction loss, KL, ranges and the scores without labels.
    #[arg(long, default_value_t = Options::default().samples)]
    samples: usize,
    /// Names all draws.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// The data; the model's own if not given.
    #[arg(long)]
    dataset: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// What `--baseline` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Baseline {
    /// Each pixel is a latent; only metrics that look at each latent by itself.
    RawPixels,
    /// The encoder as training starts from.
    Untrained,
    /// Each generative factor is a latent.
    GroundTruth,
}

impl Baseline {
    fn heading(self) -> &'static str {
        match self {
            Self::RawPixels => "baseline raw-pixels",
            Self::Untrained => "baseline untrained",
            Self::GroundTruth => "baseline ground-truth",
        }
    }
}

pub fn run(args: Args) -> Result<()> {
    args.output.check()?;
    let protocols = args.protocols.iter().map(|name| Protocol::named(name)).collect::<unbraid_trainer::Result<_>>()?;
    let mut options = Options { seed: args.seed, samples: args.samples, protocols, ..Options::default() };
    if let Some(list) = &args.metrics {
        options.metrics = Metric::list(list)?;
    }
    match (&args.model, args.baseline) {
        (_, Some(baseline)) => {
            options.reconstruct = false;
            let measurement = measure_baseline(baseline, &args, options)?;
            args.output.give(Some(baseline.heading()), &measurement.evaluation)
        }
        (model, None) => {
            let path = model.as_deref().context("expected a model, or --baseline")?;
            let first = measure_model(path, &args, &options)?;
            match &args.compare {
                None => args.output.give(Some(&path.display().to_string()), &first.evaluation),
                Some(other) => {
                    let second = measure_model(other, &args, &options)?;
                    let heading = format!("A: {}\nB: {}", path.display(), other.display());
                    args.output.give(Some(&heading), &compare(first, second)?)
                }
            }
        }
    }
}

fn measure_model(path: &Path, args: &Args, options: &Options) -> Result<Measurement> {
    let model = model::open(path)?;
    model.autoencoder().need_encoder()?;
    let dataset = dataset_of(&model, args.dataset.as_deref())?;
    measure_with_bar(model.autoencoder(), &*dataset, options)
}

fn measure_baseline(baseline: Baseline, args: &Args, mut options: Options) -> Result<Measurement> {
    let dataset: Box<dyn Dataset> = data::open(args.dataset.as_deref().unwrap_or(&TrainConfig::default().dataset))?;
    match baseline {
        Baseline::GroundTruth => {
            let images = FactorImages::new(&*dataset)?;
            measure_with_bar(&Identity::ground_truth(&images), &images, &options)
        }
        Baseline::RawPixels => {
            let model = Identity::raw_pixels(dataset.image());
            if args.metrics.is_none() {
                options.metrics.retain(|metric| metric.takes_many_latents());
            }
            check_many_latents(model.latents(), &options.metrics)?;
            measure_with_bar(&model, &*dataset, &options)
        }
        Baseline::Untrained => {
            let TrainConfig { architecture, latents, init, .. } = TrainConfig::default();
            let name = args.architecture.as_deref().unwrap_or(&architecture);
            let architecture = Architecture::open(name, args.latents.unwrap_or(latents))?;
            let model = F32Model::untrained(architecture, init, args.seed, &Device::Cpu)?;
            measure_with_bar(&model, &*dataset, &options)
        }
    }
}
