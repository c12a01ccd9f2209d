//! `unbraid export`

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use unbraid_trainer::{
    Error,
    export::{self, INT8},
    model::Int8Model,
    train::files::{refuse_existing, write_atomic},
};

/// Options of `unbraid export`.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of a run; with `--format qdq-onnx`, an int8 file or a model directory that holds one.
    source: PathBuf,
    /// What to write.
    #[arg(long, value_enum, default_value_t = Format::Model)]
    format: Format,
    /// The model directory to write, or the folder for ONNX files.
    #[arg(short, long)]
    output: PathBuf,
    /// Replace an existing model directory or existing files.
    #[arg(long)]
    force: bool,
}

/// What there is to write.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    /// A model directory of a run: f32 safetensors and ONNX, configuration, model card.
    Model,
    /// encoder.qdq.onnx and decoder.qdq.onnx of an int8 model.
    QdqOnnx,
}

pub fn run(args: Args) -> Result<()> {
    match args.format {
        Format::Model => model(&args),
        Format::QdqOnnx => qdq_onnx(&args),
    }
}

fn model(args: &Args) -> Result<()> {
    if args.source.join("config.json").is_file() {
        let expected = "expected the folder of a run; `--format qdq-onnx` exports the int8 model";
        bail!("{}: this is a model directory already, {expected}", args.source.display());
    }
    let warn = |warning: &Error| eprintln!("passed over a damaged checkpoint: {warning}");
    let trained = export::model_of_run(&args.source, warn)?;
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

fn qdq_onnx(args: &Args) -> Result<()> {
    let [encoder, decoder] = export::qdq_onnx(&Int8Model::open(&int8_file(&args.source)?)?)?;
    let files: Vec<(PathBuf, Vec<u8>)> = [("encoder.qdq.onnx", encoder), ("decoder.qdq.onnx", decoder)]
        .into_iter()
        .filter_map(|(name, bytes)| Some((args.output.join(name), bytes?)))
        .collect();
    for (path, _) in &files {
        refuse_existing(path, args.force)?;
    }
    for (path, bytes) in &files {
        write_atomic(path, bytes)?;
        say!("{}: {} bytes", path.display(), bytes.len());
    }
    Ok(())
}

/// The int8 file that `source` is or holds.
fn int8_file(source: &Path) -> Result<PathBuf> {
    if !source.is_dir() {
        return Ok(source.into());
    }
    let file = source.join(INT8);
    if !file.is_file() {
        let way = if source.join("config.json").is_file() {
            format!("`unbraid quantize {} -o {}` makes one", source.display(), file.display())
        } else {
            "expected an int8 file or a model directory that holds one".into()
        };
        bail!("{}: no {INT8} here; {way}", source.display());
    }
    Ok(file)
}
