//! `unbraid quantize`

use std::path::PathBuf;

use anyhow::{Result, bail};
use unbraid_trainer::{
    Error,
    model::{self, Autoencoder, Int8Model, Model},
    quantize::{
        self, Options,
        calibrate::Calibration,
        report::{COMPARED, compare},
    },
    train::files::{refuse_existing, write_atomic, write_json},
};

use super::dataset_of;

/// Options of `unbraid quantize`.
#[derive(clap::Args)]
pub struct Args {
    /// The f32 model directory.
    model: PathBuf,
    /// The int8 file to write.
    #[arg(short, long)]
    output: PathBuf,
    /// How the ranges of the encoder's activations are chosen.
    #[arg(long, value_enum, default_value_t = Options::default().encoder)]
    encoder_calibration: Calibration,
    /// How the ranges of the decoder's activations are chosen.
    #[arg(long, value_enum, default_value_t = Options::default().decoder)]
    decoder_calibration: Calibration,
    /// Images to choose them from; for a decoder alone, latents from the prior.
    #[arg(long, default_value_t = Options::default().images)]
    images: usize,
    /// Draws the images.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// Leave channels as they are instead of moving scale between layers until the channels of an activation reach about as far.
    #[arg(long)]
    no_equalization: bool,
    /// Leave the encoder's last biases as they are instead of taking back what rounding shifts its outputs by on average.
    #[arg(long)]
    no_bias_correction: bool,
    /// The data; the model's own if not given.
    #[arg(long)]
    dataset: Option<String>,
    /// Held-out images to compare int8 and f32 on; for a decoder alone, latents from the prior.
    #[arg(long, default_value_t = COMPARED)]
    compare: usize,
    /// Write nothing if the round trip, or a decoder alone, comes out worse than this, dB against f32.
    #[arg(long, value_name = "DB")]
    min_psnr: Option<f64>,
    /// Also write the comparison as JSON.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Replace existing outputs.
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<()> {
    for path in [Some(&args.output), args.report.as_ref()].into_iter().flatten() {
        refuse_existing(path, args.force)?;
    }
    if args.report.as_ref() == Some(&args.output) {
        return Err(Error::setting("report", args.output.display(), "another file than the output").into());
    }
    if args.compare == 0 {
        return Err(Error::setting("compare", args.compare, "1 or more").into());
    }
    let opened = model::open(&args.model)?;
    // A decoder alone is quantized without images.
    let dataset =
        if opened.autoencoder().has_encoder() { Some(dataset_of(&opened, args.dataset.as_deref())?) } else { None };
    let dataset = dataset.as_deref();
    let Model::F32 { model, config } = opened else {
        bail!("{}: this is an int8 file already; expected an f32 model directory", args.model.display());
    };
    if args.min_psnr.is_some() {
        model.need_decoder()?;
    }
    let options = Options {
        encoder: args.encoder_calibration,
        decoder: args.decoder_calibration,
        images: args.images,
        seed: args.seed,
        equalize: !args.no_equalization,
        correct_bias: !args.no_bias_correction,
    };
    let bytes = quantize::quantize(&model, dataset, &config.factors, quantize::metadata(&config), &options)?;
    let int8 = Int8Model::new(bytes, &args.output)?;
    let report = compare(&model, &int8, dataset, args.compare, args.seed)?;
    say!("{report}");
    if let Some((psnr, least)) =
        report.picture_psnr().zip(args.min_psnr).filter(|(psnr, least)| psnr.total_cmp(least).is_lt())
    {
        bail!("{}: not written: PSNR {psnr:.2} dB, at least {least} dB asked for", args.output.display());
    }
    write_atomic(&args.output, int8.bytes())?;
    say!(
        "{}: {} bytes, {} latents, {} named factors",
        args.output.display(),
        int8.bytes().len(),
        int8.latents(),
        int8.factors()?.len()
    );
    if let Some(path) = args.report {
        write_json(&path, &report)?;
    }
    Ok(())
}
