//! `unbraid-run decode`

use std::path::PathBuf;

use anyhow::Result;
use unbraid::Autoencoder;

use super::edits::{Edits, lines};
use super::encode::read_code;
use super::files::{PictureOutput, check_output, write};
use super::model::Opened;
use super::picture::png;

/// Options of `unbraid-run decode`.
#[derive(clap::Args)]
pub struct Args {
    /// The int8 file, or a folder with encoder.onnx and decoder.onnx
    model: PathBuf,
    /// A code that `encode -o` wrote; without it every factor starts at its center and the other latents at 0
    #[arg(long, value_name = "JSON")]
    code: Option<PathBuf>,
    #[command(flatten)]
    edits: Edits,
    #[command(flatten)]
    output: PictureOutput,
}

pub fn run(args: &Args) -> Result<String> {
    let output = &args.output;
    check_output(&output.path, output.force)?;
    let mut model = Opened::new(&args.model)?;
    let mut code = model.center()?;
    if let Some(path) = &args.code {
        read_code(path, &mut code)?;
    }
    let (code, changes) = args.edits.apply(&model, code)?;
    let picture = model.picture(&code)?;
    write(&output.path, &png(model.image(), &picture)?)?;
    Ok(lines(&changes))
}
