//! `unbraid report`

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use unbraid_trainer::{
    Error,
    data::Dataset,
    export::{EVALUATION, INT8, INT8_EVALUATION, ModelConfig},
    metrics::{self, Comparison, Evaluation, Metric, Options},
    model::{self, F32Model, Int8Model, Model},
    quantize,
    report::{Log, Quantized, Report, Sheets, kept_scores},
    train::{
        config::TrainConfig,
        files::{read_json, refuse_existing, write_atomic},
        run::read_config,
    },
};

use super::{dataset_of, extension, measure_with_bar};

/// Options of `unbraid report`.
///
/// Scores that `evaluation.json` and `evaluation.int8.json` in the model directory hold and that are not asked for are taken from
/// there, if they are of this model. Without an int8 file in it, one is made in memory.
#[derive(clap::Args)]
pub struct Args {
    /// The folder of a run, or a model directory, whose page has no losses and no samples over time.
    run: PathBuf,
    /// The page; RUN/report.html if not given. For a model directory it has to be given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Scores to measure: quick (all that fit no learner), all, or a list such as mig,irs; see docs/metrics.md.
    #[arg(long, value_name = "LIST", default_value = "quick")]
    metrics: String,
    /// Images for reconstruction loss, KL, histograms and the scores without labels.
    #[arg(long, default_value_t = Options::default().samples)]
    samples: usize,
    /// Names all draws.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// The data; the model's own if not given.
    #[arg(long)]
    dataset: Option<String>,
    /// Replace an existing page.
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<()> {
    let place = Place::find(&args.run)?;
    let output = match (&args.output, &place.run) {
        (Some(output), _) => output.clone(),
        (None, Some(run)) => run.join("report.html"),
        (None, None) => bail!("{}: this is a model directory; name the page's file with -o", args.run.display()),
    };
    refuse_existing(&output, args.force)?;
    let metrics = if args.metrics == "quick" { Metric::quick() } else { Metric::list(&args.metrics)? };
    let options = Options { seed: args.seed, samples: args.samples, metrics, ..Options::default() };
    let run = place.run.as_deref().map(read_run).transpose()?;

    let opened = model::open(&place.model)?;
    opened.autoencoder().need_encoder()?;
    let dataset = dataset_of(&opened, args.dataset.as_deref())?;
    let Model::F32 { model, config } = opened else {
        bail!("{}: expected a model directory", place.model.display());
    };
    let int8 = open_int8(&place.model, &model, &config, &*dataset)?;
    let first = measure_with_bar(&model, &*dataset, &options)?;
    let histograms = first.histograms.clone();
    let (mut evaluation, mut int8) = match int8 {
        Err(reason) => (first.evaluation, Err(reason)),
        Ok((int8, origin)) => {
            let second = measure_with_bar(&int8, &*dataset, &options)?;
            let cost =
                quantize::report::compare(&model, &int8, Some(&*dataset), quantize::report::COMPARED, args.seed)?;
            let Comparison { first, second, differences } = metrics::compare(first, second)?;
            (first, Ok(Quantized { model: int8, origin, evaluation: second, differences, cost }))
        }
    };
    let mut notes = keep_scores(&mut evaluation, &place.model, EVALUATION)?;
    if let Ok(int8) = &mut int8 {
        notes.extend(keep_scores(&mut int8.evaluation, &place.model, INT8_EVALUATION)?);
    }

    let settings = match &run {
        Some((settings, ..)) => Some(settings.clone()),
        None => toml::Table::try_from(&config.training).ok().and_then(|table| TrainConfig::from_table(table).ok()),
    };
    let page = Report {
        title: &place.title()?,
        run: run.as_ref().map(|(_, log, sheets)| (log, sheets)),
        settings: settings.as_ref(),
        config: &config,
        model: &model,
        dataset: &*dataset,
        evaluation: &evaluation,
        histograms: &histograms,
        int8: int8.as_ref().map_err(String::as_str),
        notes: &notes,
        files: &sizes(&place.model)?,
    };
    let html = page.html()?;
    write_atomic(&output, html.as_bytes())?;
    say!("{}: {} bytes", output.display(), html.len());
    Ok(())
}

/// What the page is about.
struct Place {
    /// The folder of the run, if it is about one.
    run: Option<PathBuf>,
    /// The model directory.
    model: PathBuf,
}

impl Place {
    fn find(path: &Path) -> Result<Self> {
        if path.join("config.json").is_file() {
            return Ok(Self { run: None, model: path.into() });
        }
        if !path.join("config.toml").is_file() {
            bail!(
                "{}: expected the folder of a run (with config.toml) or a model directory (config.json)",
                path.display()
            );
        }
        let model = path.join("model");
        if !model.join("config.json").is_file() {
            bail!(
                "{}: the run has no model yet; go on with `unbraid train --resume {0}`, or see how far it is with \
                 `unbraid export {0} -o DIR` and a report of DIR",
                path.display()
            );
        }
        Ok(Self { run: Some(path.into()), model })
    }

    /// The name of the folder.
    fn title(&self) -> Result<String> {
        let path = self.run.as_ref().unwrap_or(&self.model);
        let path = path.canonicalize().map_err(Error::io(path))?;
        Ok(path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned())
    }
}

/// Settings, losses and sample sheets of a run.
fn read_run(folder: &Path) -> Result<(TrainConfig, Log, Sheets)> {
    let log = Log::read(&folder.join("metrics.jsonl"))?;
    Ok((read_config(folder)?, log, Sheets::read(&folder.join("samples"))?))
}

/// The int8 model with where it is from: the one in the model directory, else one made of `model`; or why that cannot be.
fn open_int8(
    directory: &Path,
    model: &F32Model,
    config: &ModelConfig,
    dataset: &dyn Dataset,
) -> Result<std::result::Result<(Int8Model, &'static str), String>> {
    let path = directory.join(INT8);
    if path.exists() {
        return Ok(Ok((Int8Model::open(&path)?, INT8)));
    }
    let bytes = quantize::quantize(
        model,
        Some(dataset),
        &config.factors,
        quantize::metadata(config),
        &quantize::Options::default(),
    );
    let int8 = bytes.and_then(|bytes| Int8Model::new(bytes, &path));
    let origin = "made for this page with the defaults of unbraid quantize, and kept nowhere";
    Ok(int8.map(|int8| (int8, origin)).map_err(|e| e.to_string()))
}

/// Adds the scores of an earlier evaluation that this one lacks; says which.
fn keep_scores(evaluation: &mut Evaluation, directory: &Path, name: &str) -> Result<Vec<String>> {
    let stored = read_json(&directory.join(name))?;
    let kept = stored.map(|stored| kept_scores(evaluation, stored)).unwrap_or_default();
    if kept.is_empty() {
        return Ok(Vec::new());
    }
    let mut names: Vec<&str> = kept.iter().map(|score| score.metric.as_str()).collect();
    // Protocols of one metric stand together.
    names.dedup();
    let note = format!("From {name}: {}.", names.join(", "));
    evaluation.scores.extend(kept);
    Ok(vec![note])
}

/// Names and sizes of the files that hold the model, by name.
fn sizes(directory: &Path) -> Result<Vec<(String, u64)>> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir(directory).map_err(Error::io(directory))? {
        let entry = entry.map_err(Error::io(directory))?;
        let path = entry.path();
        if ["safetensors", "onnx"].contains(&extension(&path).as_str()) {
            let bytes = entry.metadata().map_err(Error::io(&path))?.len();
            sizes.push((entry.file_name().to_string_lossy().into_owned(), bytes));
        }
    }
    sizes.sort();
    Ok(sizes)
}
