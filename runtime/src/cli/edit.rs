//! `unbraid-run edit`

use std::path::PathBuf;

use anyhow::Result;
use clap::ArgGroup;
use unbraid::Autoencoder;

use super::edits::{Edits, lines};
use super::files::PictureOutput;
use super::grid::sheet;
use super::model::Opened;
use super::picture::PictureInput;

/// Options of `unbraid-run edit`.
#[derive(clap::Args)]
#[command(group = ArgGroup::new("turn").args(["set", "step"]).required(true).multiple(true))]
pub struct Args {
    /// The int8 file, or a folder with encoder.onnx and decoder.onnx
    model: PathBuf,
    #[command(flatten)]
    picture: PictureInput,
    #[command(flatten)]
    edits: Edits,
    /// Show the picture, its plain reconstruction and the edit side by side
    #[arg(long)]
    compare: bool,
    #[command(flatten)]
    output: PictureOutput,
}

pub fn run(args: &Args) -> Result<String> {
    args.output.check()?;
    let mut model = Opened::new(&args.model)?;
    let pixels = args.picture.read(model.image())?;
    let code = model.encode(&pixels)?;
    let (edited, changes) = args.edits.apply(&model, code)?;
    let picture = model.picture(&edited)?;
    let (shape, picture) = if args.compare {
        sheet(&[pixels, model.picture(&code)?, picture], 3, model.image())
    } else {
        (model.image(), picture)
    };
    args.output.write(shape, &picture)?;
    Ok(lines(&changes))
}
