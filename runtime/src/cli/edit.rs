//! `unbraid-run edit`

use std::path::PathBuf;

use anyhow::Result;
use clap::ArgGroup;
use unbraid::Autoencoder;

use super::edits::{Edits, lines};
use super::files::{PictureOutput, check_output, write};
use super::grid::sheet;
use super::model::Opened;
use super::picture::{PictureInput, png};

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
    let output = &args.output;
    check_output(&output.path, output.force)?;
    let mut model = Opened::new(&args.model)?;
    let pixels = args.picture.fit.read(&args.picture.path, model.image())?;
    let code = model.encode(&pixels)?;
    let (edited, changes) = args.edits.apply(&model, code)?;
    let picture = model.picture(&edited)?;
    let (shape, picture) = if args.compare {
        sheet(&[pixels, model.picture(&code)?, picture], 3, model.image())
    } else {
        (model.image(), picture)
    };
    write(&output.path, &png(shape, &picture)?)?;
    Ok(lines(&changes))
}
