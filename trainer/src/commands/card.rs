//! `unbraid card`

use std::path::PathBuf;

use anyhow::Result;
use unbraid_trainer::{
    export,
    metrics::{Evaluation, Score},
    quantize::report::Report,
    train::files::read_json,
};

/// Options of `unbraid card`.
///
/// Scores come from files in the directory: `evaluation.json` (`unbraid evaluate DIR -o …`), `evaluation.int8.json` (of the
/// int8 file) and `quantization.json` (`unbraid quantize --report …`); pictures are those that end in .png or .gif.
#[derive(clap::Args)]
pub struct Args {
    /// The model directory.
    model: PathBuf,
}

pub fn run(args: Args) -> Result<()> {
    let (config, _) = export::read(&args.model)?;
    let f32: Option<Evaluation> = read_json(&args.model.join(export::EVALUATION))?;
    let int8: Option<Evaluation> = read_json(&args.model.join(export::INT8_EVALUATION))?;
    let cost: Option<Report> = read_json(&args.model.join(export::QUANTIZATION))?;

    export::write_card(&args.model, config.command(), scores(f32.as_ref(), int8.as_ref(), cost.as_ref()))?;
    say!("{}", args.model.join("README.md").display());
    Ok(())
}

/// The card's section on scores, f32 beside int8.
fn scores(f32: Option<&Evaluation>, int8: Option<&Evaluation>, cost: Option<&Report>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(any) = f32.or(int8) {
        let row = |what: String, value: &dyn Fn(&Evaluation) -> Option<String>| {
            let cell = |e: Option<&Evaluation>| e.and_then(value).unwrap_or_else(|| "-".into());
            format!("| {what} | {} | {} |", cell(f32), cell(int8))
        };
        lines.push("| | f32 | int8 |\n|---|---:|---:|".into());
        for Score { metric, protocol, .. } in &any.scores {
            lines.push(row(format!("{metric}, {protocol} protocol"), &|e| {
                e.score(metric, protocol).map(Score::value_and_interval)
            }));
        }
        lines.push(row("reconstruction loss, nats".into(), &|e| {
            e.statistics.reconstruction.map(|nats| format!("{nats:.1}"))
        }));
        lines.push(row("KL, nats".into(), &|e| Some(format!("{:.1}", e.statistics.total_kl()))));
        lines.push(row("active latents".into(), &|e| Some(e.statistics.active.len().to_string())));
        lines.push(format!(
            "\nOver {} images of {}, seed {}; scores with 95 % bootstrap intervals.",
            any.statistics.images, any.dataset, any.statistics.seed
        ));
    }
    lines.extend(cost.map(cost_line));
    lines
}

/// What int8 costs, in a sentence.
fn cost_line(cost: &Report) -> String {
    let Report { images, psnr, worst_pixel, decoder_psnr, median_mean_error, worst_mean_error } = cost;
    let what = if median_mean_error.is_some() { "held-out images" } else { "latents drawn from the prior" };
    let pictures = |name: &str, psnr: &f64| {
        let worst = worst_pixel.map_or_else(String::new, |worst| format!(", worst pixel off by {worst} of 255"));
        format!("{name} {psnr:.2} dB PSNR{worst}")
    };
    let round_trip = psnr.as_ref().map(|psnr| pictures("round trip", psnr));
    let decoder = decoder_psnr.as_ref().filter(|_| psnr.is_none()).map(|psnr| pictures("decoder", psnr));
    let means = median_mean_error.zip(*worst_mean_error).map(|(median, worst)| {
        format!("latent means off by {median:.4} standard deviations (median), {worst:.4} (99 %)")
    });
    let parts: Vec<String> = [round_trip, decoder, means].into_iter().flatten().collect();
    format!("\nint8 against f32 on {images} {what}: {}.", parts.join("; "))
}
