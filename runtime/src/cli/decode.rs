//! `unbraid-run decode`

use std::path::PathBuf;

use anyhow::Result;
use unbraid::Autoencoder;

use super::edits::{Edits, lines};
use super::encode::read_code;
use super::files::PictureOutput;
use super::model::Opened;

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
    args.output.check()?;
    let mut model = Opened::new(&args.model)?;
    let mut code = model.center()?;
    if let Some(path) = &args.code {
        read_code(path, &mut code)?;
    }
    let (code, changes) = args.edits.apply(&model, code)?;
    let picture = model.picture(&code)?;
    args.output.write(model.image(), &picture)?;
    Ok(lines(&changes))
}
