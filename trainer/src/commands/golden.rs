//! `unbraid golden`

use std::path::PathBuf;

use anyhow::Result;
use unbraid_trainer::{
    export::{INT8, golden},
    model,
};

use super::dataset_of;

/// Options of `unbraid golden`.
#[derive(clap::Args)]
pub struct Args {
    /// The model directory; its int8 model is run.
    model: PathBuf,
    /// Compare with the vectors that are there instead of writing them.
    #[arg(long)]
    check: bool,
    /// The data to take inputs from; the model's own if not given.
    #[arg(long)]
    dataset: Option<String>,
}

pub fn run(args: Args) -> Result<()> {
    let vectors = if args.check {
        golden::check(&args.model)?
    } else {
        let model = model::open(&args.model.join(INT8))?;
        model.autoencoder().need_encoder()?;
        model.autoencoder().need_decoder()?;
        golden::write(&args.model, &*dataset_of(&model, args.dataset.as_deref())?)?
    };
    let (inputs, codes) = (vectors.means.len(), vectors.random_means.len());
    let what = if args.check { "this machine computes the golden vectors" } else { "golden vectors written" };
    say!("{}: {what}: {inputs} images encoded and decoded, {codes} random codes decoded", args.model.display());
    Ok(())
}
