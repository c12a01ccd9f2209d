//! One file a command: its options, and what it prints.

/// `println!` that does not mind when nobody reads any more, as behind `| head`.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

pub mod bench_step;
pub mod card;
pub mod dataset;
pub mod demo;
pub mod evaluate;
pub mod export;
pub mod golden;
pub mod import;
pub mod label;
mod memory;
mod output;
pub mod quantize;
pub mod report;
pub mod select;
pub mod sweep;
pub mod train;
pub mod traverse;

use std::path::Path;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use unbraid_trainer::{
    data::{self, Dataset},
    metrics::{self, Evaluation, Measurement, Options},
    model::{Autoencoder, Model},
};

/// The data set that `name` asks for, else the one that `model` was trained on.
fn dataset_of(model: &Model, name: Option<&str>) -> Result<Box<dyn Dataset>> {
    let trained_on = model.dataset()?;
    let name =
        name.or(trained_on.as_deref()).context("the model does not say what it was trained on; pass --dataset")?;
    let dataset = data::open(name)?;
    dataset.skipped().iter().for_each(|skipped| eprintln!("skipped: {skipped}"));
    Ok(dataset)
}

/// [`metrics::evaluate`] behind a progress bar.
fn evaluate_with_bar(model: &dyn Autoencoder, dataset: &dyn Dataset, options: &Options) -> Result<Evaluation> {
    Ok(measure_with_bar(model, dataset, options)?.evaluation)
}

/// [`metrics::measure`] behind a progress bar.
fn measure_with_bar(model: &dyn Autoencoder, dataset: &dyn Dataset, options: &Options) -> Result<Measurement> {
    let left_out: Vec<_> =
        options.metrics.iter().filter(|metric| !metric.takes(dataset)).map(|metric| metric.name()).collect();
    if !dataset.factors().is_empty() && !left_out.is_empty() {
        let lack = "need an image for each combination of factor values, which the data has not";
        eprintln!("note: {} {lack}", left_out.join(", "));
    }
    let bar = progress_bar(0, "{bar:30} {pos}/{len} images, ETA {eta}");
    let measurement = metrics::measure(model, dataset, options, &|done, total| {
        bar.set_length(total);
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    Ok(measurement)
}

/// A bar of `length` steps that looks as `template` says.
fn progress_bar(length: u64, template: &str) -> ProgressBar {
    // A template that does not parse shows the standard bar: looks are not worth failing for.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length).with_style(style)
}

/// The file's extension in lower case.
fn extension(path: &Path) -> String {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_lowercase()
}
