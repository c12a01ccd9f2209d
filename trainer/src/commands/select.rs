//! `unbraid select`

use std::path::PathBuf;

use anyhow::{Context, Result};
use unbraid_trainer::{
    metrics::selection::{Criterion, Options, select},
    model::{self, Autoencoder},
};

use super::{dataset_of, output::Output, progress_bar};

/// Options of `unbraid select`.
#[derive(clap::Args)]
pub struct Args {
    /// F32 model directories or int8 files: runs of one kind that differ in their seed or settings.
    #[arg(required = true, num_args = 2..)]
    models: Vec<PathBuf>,
    /// What to compute: udr-lasso, udr-spearman, model-centrality; the first one ranks.
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values = ["udr-lasso", "udr-spearman"])]
    metrics: Vec<String>,
    /// Images that codes are compared on.
    #[arg(long, default_value_t = Options::default().samples)]
    samples: usize,
    /// Votes of each two models for model-centrality.
    #[arg(long, default_value_t = Options::default().centrality.votes)]
    votes: usize,
    /// Names all draws.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// The data; the first model's own if not given.
    #[arg(long)]
    dataset: Option<String>,
    #[command(flatten)]
    output: Output,
}

pub fn run(args: Args) -> Result<()> {
    args.output.check()?;
    let criteria = args.metrics.iter().map(|name| name.parse()).collect::<unbraid_trainer::Result<Vec<Criterion>>>()?;
    let mut options = Options { seed: args.seed, samples: args.samples, criteria, ..Options::default() };
    options.centrality.votes = args.votes;

    let models = args.models.iter().map(|path| model::open(path)).collect::<unbraid_trainer::Result<Vec<_>>>()?;
    models.iter().try_for_each(|model| model.autoencoder().need_encoder())?;
    let dataset = dataset_of(models.first().context("expected models")?, args.dataset.as_deref())?;
    let names = args.models.iter().map(|path| path.display().to_string());
    let named: Vec<(String, &dyn Autoencoder)> = names.zip(models.iter().map(|model| model.autoencoder())).collect();
    let bar = progress_bar(0, "{bar:30} {pos}/{len} images, ETA {eta}");
    let selection = select(&named, &*dataset, &options, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();

    args.output.give(None, &selection)
}
