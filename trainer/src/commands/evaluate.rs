//! `unbraid evaluate`

use std::path::PathBuf;

use anyhow::Result;
use unbraid_trainer::{
    metrics::{Options, Protocol},
    model,
    train::files::{refuse_existing, write_atomic},
};

use super::{dataset_of, evaluate_with_bar};

/// Options of `unbraid evaluate`.
#[derive(clap::Args)]
pub struct Args {
    /// An f32 model directory or an int8 file.
    model: PathBuf,
    /// FactorVAE scores to give: paper, study, infogan-cr; may be repeated.
    #[arg(long = "protocol", value_name = "PROTOCOL", default_values = ["paper", "study"])]
    protocols: Vec<String>,
    /// Images for reconstruction loss, KL and ranges.
    #[arg(long, default_value_t = Options::default().samples)]
    samples: usize,
    /// Names all draws.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// The data; the model's own if not given.
    #[arg(long)]
    dataset: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Also write the JSON to a file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace an existing output.
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<()> {
    if let Some(path) = &args.output {
        refuse_existing(path, args.force)?;
    }
    let protocols = args.protocols.iter().map(|name| Protocol::named(name)).collect::<unbraid_trainer::Result<_>>()?;
    let options = Options { seed: args.seed, samples: args.samples, protocols, ..Options::default() };
    let model = model::open(&args.model)?;
    let dataset = dataset_of(&model, args.dataset.as_deref())?;
    let evaluation = evaluate_with_bar(model.autoencoder(), &*dataset, &options)?;
    let json = serde_json::to_string_pretty(&evaluation)? + "\n";
    if args.json {
        say!("{}", json.trim_end());
    } else {
        say!("{}", args.model.display());
        say!("{}", evaluation.to_string().trim_end());
    }
    if let Some(path) = args.output {
        write_atomic(&path, json.as_bytes())?;
    }
    Ok(())
}
