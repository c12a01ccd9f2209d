//! `unbraid export`

use std::path::PathBuf;

use anyhow::Result;
use unbraid_trainer::export;

/// Options of `unbraid export`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of a run.
    run: PathBuf,
    /// The model directory to write.
    #[arg(short, long)]
    output: PathBuf,
    /// Replace an existing model directory.
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<()> {
    let trained = export::model_of_run(&args.run, |warning| eprintln!("passed over a damaged checkpoint: {warning}"))?;
    export::write(&args.output, &trained.config, &trained.weights, &trained.extras, args.force)?;
    say!("{}: step {}", args.output.display(), trained.config.steps);
    #[cfg(feature = "onnx")]
    {
        let [encoder, decoder] = export::check::check_directory(&args.output)?;
        for (name, difference) in [("encoder", encoder), ("decoder", decoder)] {
            difference.iter().for_each(|most| say!("tract against candle: {name}.onnx off by {most:.1e} at most"));
        }
    }
    if !cfg!(feature = "onnx") {
        say!("ONNX files not run here: build with --features onnx to check them with tract");
    }
    Ok(())
}
