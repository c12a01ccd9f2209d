//! What the 8-bit version costs, and how large the model's files are.

use super::{
    Report,
    html::{Cell, paragraph, table, thousands},
};
use crate::{
    metrics::{Difference, Evaluation},
    model::Int8Model,
    quantize::report::Report as Cost,
};

/// The int8 version of a model with all that was measured of it.
#[derive(Debug, Clone)]
pub struct Quantized {
    /// The model.
    pub model: Int8Model,
    /// Where it is from.
    pub origin: &'static str,
    /// What was measured of it, on the images of the f32 model.
    pub evaluation: Evaluation,
    /// The scores' differences, f32 less int8.
    pub differences: Vec<Difference>,
    /// How far its pictures and codes are off.
    pub cost: Cost,
}

/// What int8 costs, and the files.
pub(super) fn section(report: &Report) -> String {
    let mut html = match &report.int8 {
        Ok(quantized) => compared(quantized),
        Err(reason) => paragraph(&format!("There is no int8 model: {reason}.")),
    };
    let file = |(name, bytes): &(String, u64)| vec![Cell::text(name), Cell::number(thousands(&bytes.to_string()))];
    html.push_str(&table(&["file", "bytes"], &report.files.iter().map(file).collect::<Vec<_>>()));
    html
}

fn compared(quantized: &Quantized) -> String {
    let Cost { images, psnr, worst_pixel, decoder_psnr, median_mean_error, worst_mean_error } = quantized.cost;
    let bytes = thousands(&quantized.model.bytes().len().to_string());
    let origin = paragraph(&format!("The int8 model: {bytes} bytes, {}.", quantized.origin));
    let decibels = |psnr: Option<f64>| psnr.map(|psnr| format!("{psnr:.2} dB"));
    let deviations = |error: Option<f64>| error.map(|error| format!("{error:.4}"));
    let measured = [
        ("round trip, PSNR", decibels(psnr)),
        ("worst pixel off by, of 255", worst_pixel.map(|worst| worst.to_string())),
        ("decoder alone, PSNR", decibels(decoder_psnr)),
        ("means off by, standard deviations: median", deviations(median_mean_error)),
        ("the same: 99 %", deviations(worst_mean_error)),
    ];
    let row = |(what, value): (&str, Option<String>)| Some(vec![Cell::text(what), Cell::number(value?)]);
    let rows: Vec<_> = measured.into_iter().filter_map(row).collect();
    origin + &table(&[&format!("int8 against f32 on {images} held-out images"), ""], &rows)
}
