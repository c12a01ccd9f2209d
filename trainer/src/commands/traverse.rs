//! `unbraid traverse`

use std::path::PathBuf;

use anyhow::Result;
use unbraid_trainer::{
    Error,
    model::{self, Factor},
    train::files::{refuse_existing, write_atomic},
    viz::{Traversal, samples, traversal::center_code},
};

use super::{dataset_of, extension};

/// Options of `unbraid traverse`.
#[derive(clap::Args)]
pub struct Args {
    /// An f32 model directory or an int8 file.
    model: PathBuf,
    /// The picture: a sheet (.png) or an animation (.gif).
    #[arg(short, long)]
    output: PathBuf,
    /// Values of each latent, from the low to the high end of its range.
    #[arg(long, default_value_t = 11)]
    steps: usize,
    /// Turn the latents of this image of the data set, by its index; without it one that was held out from training.
    #[arg(long, value_name = "INDEX")]
    image: Option<usize>,
    /// Turn the latents of an average code, which need not look like any image; what a decoder alone does.
    #[arg(long, conflicts_with_all = ["image", "dataset"])]
    center: bool,
    /// The data; the model's own if not given.
    #[arg(long)]
    dataset: Option<String>,
    /// Screen pixels for each pixel.
    #[arg(long, default_value_t = 2)]
    upscale: u32,
    /// Replace an existing output.
    #[arg(long)]
    force: bool,
}

/// Hundredths of a second that an animation rests on each picture.
const DELAY: u16 = 8;

pub fn run(args: Args) -> Result<()> {
    refuse_existing(&args.output, args.force)?;
    let animate = match extension(&args.output).as_str() {
        "png" => false,
        "gif" => true,
        _ => return Err(Error::setting("output", args.output.display(), "a file name ending in .png or .gif").into()),
    };
    // More makes no picture that anything shows, but fills the memory first.
    if !(2..=1000).contains(&args.steps) {
        return Err(Error::setting("steps", args.steps, "2 to 1000").into());
    }
    if !(1..=16).contains(&args.upscale) {
        return Err(Error::setting("upscale", args.upscale, "1 to 16").into());
    }
    let opened = model::open(&args.model)?;
    let model = opened.autoencoder();
    model.need_decoder()?;
    let mut factors = opened.factors()?;
    if factors.is_empty() {
        eprintln!(
            "note: the latents have no names yet (`unbraid label {}`); showing all of them",
            args.model.display()
        );
        factors = (0..model.latents()).map(Factor::unnamed).collect();
    }
    // A decoder alone knows no image's code.
    let without_image = !model.has_encoder() && args.image.is_none() && args.dataset.is_none();
    let base = if args.center || without_image {
        center_code(&factors, model.latents())
    } else {
        model.need_encoder()?;
        let dataset = dataset_of(&opened, args.dataset.as_deref())?;
        let index = args.image.or_else(|| samples::choose(&*dataset, 1, 0).first().copied()).unwrap_or_default();
        if index >= dataset.len() {
            let expected = format!("an index of {}, 0 to {}", dataset.name(), dataset.len() - 1);
            return Err(Error::setting("image", index, &expected).into());
        }
        model.encode(&dataset.batch(&[index])?)?.mean
    };
    let traversal = Traversal::decode(model, &factors, &base, args.steps)?;
    let bytes = if animate { traversal.gif(args.upscale, DELAY)? } else { traversal.png(args.upscale)? };
    write_atomic(&args.output, &bytes)?;
    say!("{}: {} factors, {} values each", args.output.display(), factors.len(), args.steps);
    Ok(())
}
