//! `unbraid data`

use std::{fmt, path::PathBuf};

use anyhow::Result;
use clap::Subcommand;
use serde::Serialize;
use unbraid_trainer::{
    data::{self, Dataset, Spec, spec::DataOptions},
    train::files::{refuse_existing, write_atomic},
    viz::{self, preview::contact_sheet},
};

use super::output::Output;

/// Options of `unbraid data`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tell what a data set has: images, their shape, factors and their sizes.
    Info(InfoArgs),
    /// Draw a sheet of images, a row for each factor.
    Preview(PreviewArgs),
}

/// Which data, and how it is read.
#[derive(clap::Args)]
struct Source {
    /// The data, as `unbraid train` takes it.
    #[arg(long)]
    dataset: Spec,
    #[command(flatten)]
    options: DataOptions,
}

#[derive(clap::Args)]
struct InfoArgs {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,
}

#[derive(clap::Args)]
struct PreviewArgs {
    #[command(flatten)]
    source: Source,
    /// The picture, a PNG.
    #[arg(short, long)]
    output: PathBuf,
    /// Images in a row.
    #[arg(long, default_value_t = 8)]
    columns: usize,
    /// Screen pixels for each pixel.
    #[arg(long, default_value_t = 1)]
    upscale: u32,
    /// Draws the image whose factors are varied, or the images of data without factors.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace an existing output.
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Info(args) => info(args),
        Command::Preview(args) => preview(args),
    }
}

/// Opens the data, and says which images were left out.
fn open(source: Source) -> Result<Box<dyn Dataset>> {
    let dataset = source.dataset.with(source.options)?.open()?;
    dataset.skipped().iter().for_each(|skipped| eprintln!("skipped: {skipped}"));
    Ok(dataset)
}

fn preview(args: PreviewArgs) -> Result<()> {
    refuse_existing(&args.output, args.force)?;
    let dataset = open(args.source)?;
    let sheet = contact_sheet(&*dataset, args.columns, args.upscale, args.seed)?;
    write_atomic(&args.output, &viz::small_png(&sheet)?)?;
    say!("{}: {} x {} pixels", args.output.display(), sheet.width(), sheet.height());
    Ok(())
}

/// What there is to know of a data set.
#[derive(Serialize)]
struct Info {
    dataset: String,
    images: usize,
    height: usize,
    width: usize,
    channels: usize,
    held_out: usize,
    skipped: usize,
    factors: Vec<Factor>,
    /// Whether every combination of factor values has exactly one image.
    grid: bool,
}

#[derive(Serialize)]
struct Factor {
    name: String,
    size: usize,
}

fn info(args: InfoArgs) -> Result<()> {
    args.output.check()?;
    let dataset = open(args.source)?;
    let image = dataset.image();
    let factor = |factor: &data::FactorInfo| Factor { name: factor.name.to_string(), size: factor.size };
    let info = Info {
        dataset: dataset.name().into(),
        images: dataset.len(),
        height: image.height,
        width: image.width,
        channels: image.channels,
        held_out: (0..dataset.len()).filter(|&index| data::is_held_out(index)).count(),
        skipped: dataset.skipped().len(),
        factors: dataset.factors().iter().map(factor).collect(),
        grid: dataset.is_grid(),
    };
    args.output.give(None, &info)
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dataset, images, height, width, channels, held_out, skipped, factors, grid } = self;
        writeln!(f, "{dataset}: {images} images of {height} x {width} x {channels} (H x W x C)")?;
        writeln!(f, "held out from training: {held_out}")?;
        if *skipped > 0 {
            writeln!(f, "skipped, since they cannot be read: {skipped}")?;
        }
        match (factors.is_empty(), grid) {
            (true, _) => return writeln!(f, "factors: none are known"),
            (_, true) => writeln!(f, "factors, with one image for each combination of values:")?,
            (_, false) => writeln!(f, "factors, without an image for each combination of values:")?,
        }
        let width = factors.iter().map(|factor| factor.name.chars().count()).fold(0, usize::max);
        factors.iter().try_for_each(|Factor { name, size }| writeln!(f, "  {name:<width$}  {size:>5}"))
    }
}
