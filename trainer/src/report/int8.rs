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
    let Cost { images, psnr, worst_pixel, decoder_psnr, median_mean_error, worst_mean_error } = &quantized.cost;
    let bytes = thousands(&quantized.model.bytes().len().to_string());
    let origin = paragraph(&format!("The int8 model: {bytes} bytes, {}.", quantized.origin));
    let row = |what: &str, value: String| vec![Cell::text(what), Cell::number(value)];
    let rows = [
        row("round trip, PSNR", format!("{psnr:.2} dB")),
        row("worst pixel off by, of 255", worst_pixel.to_string()),
        row("decoder alone, PSNR", format!("{decoder_psnr:.2} dB")),
        row("means off by, standard deviations: median", format!("{median_mean_error:.4}")),
        row("the same: 99 %", format!("{worst_mean_error:.4}")),
    ];
    origin + &table(&[&format!("int8 against f32 on {images} held-out images"), ""], &rows)
}
