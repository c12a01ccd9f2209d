//! `unbraid-run traverse`

use std::path::PathBuf;

use anyhow::{Context, Result};
use unbraid::Autoencoder;

use super::files::PictureOutput;
use super::grid::sheet;
use super::model::Opened;
use super::picture::Fit;
use super::table::Table;

/// Options of `unbraid-run traverse`.
#[derive(clap::Args)]
pub struct Args {
    /// The int8 file, or a folder with encoder.onnx and decoder.onnx
    model: PathBuf,
    /// Turn the factors of this picture, a PNG; without it those of an average code
    #[arg(value_name = "PHOTO")]
    picture: Option<PathBuf>,
    #[command(flatten)]
    fit: Fit,
    /// Values of each factor, from the low to the high end of its useful range
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u16).range(2..=256))]
    steps: u16,
    /// Only this factor, or latent (z3 or 3); may be given several times
    #[arg(long, value_name = "FACTOR")]
    factor: Vec<String>,
    #[command(flatten)]
    output: PictureOutput,
}

pub fn run(args: &Args) -> Result<String> {
    args.output.check()?;
    let mut model = Opened::new(&args.model)?;
    let latents: Vec<usize> = if !args.factor.is_empty() {
        args.factor.iter().map(|name| model.latent(name).context("--factor")).collect::<Result<_>>()?
    } else if !model.factors().is_empty() {
        model.factors().iter().map(|factor| factor.latent).collect()
    } else {
        // Nobody has named anything yet.
        (0..model.latents()).collect()
    };
    let base = match &args.picture {
        Some(path) => {
            let pixels = args.fit.read(path, model.image())?;
            model.encode(&pixels)?
        }
        None => model.center()?,
    };

    let columns = usize::from(args.steps);
    let mut tiles = Vec::with_capacity(latents.len() * columns);
    let mut table = Table::new([">row", "factor", ">from", ">to"]);
    for (row, latent) in latents.into_iter().enumerate() {
        let (low, high) = model.range(latent);
        for step in 0..args.steps {
            let share = f32::from(step) / f32::from(args.steps - 1);
            let code = base.with(latent, low + share * (high - low))?;
            tiles.push(model.picture(&code)?);
        }
        let label = model.label(latent);
        table.row([&(row + 1), &label, &format_args!("{low:.4}"), &format_args!("{high:.4}")]);
    }
    let (shape, picture) = sheet(&tiles, columns, model.image());
    args.output.write(shape, &picture)?;
    Ok(table.to_string())
}
