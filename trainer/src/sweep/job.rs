//! One run of a sweep, from its first step to its scores.
//!
//! A killed job goes on where it was: training from the newest checkpoint, the rest from the last file that is there, since
//! each appears whole or not at all.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    folder::Sweep,
    plan::{Entry, Evaluate},
};
use crate::{
    Error, Result, data,
    data::Dataset,
    export::{self, EVALUATION, INT8, INT8_EVALUATION, ModelConfig, QUANTIZATION},
    metrics::{self, Evaluation},
    model::{self, Autoencoder, F32Model, Int8Model, Model},
    parallel::Launch,
    quantize::{self, report},
    train::{
        config::TrainConfig,
        files::{read_json, write_atomic, write_json},
        run::{Event, Run},
    },
};

/// How far a job has come, and under which `[evaluate]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// How far.
    pub outcome: Outcome,
    /// What it measures.
    pub evaluate: Evaluate,
}

/// How far a job has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It has begun.
    Begun,
    /// It ended for this reason.
    Failed(String),
    /// All is done.
    Finished,
}

/// Trains the run `name`, exports, labels and quantizes it, and measures f32 and int8; does what of this is not done yet.
/// Waits while another process works on the same run.
///
/// `tell` hears sentences for a log.
///
/// # Errors
/// A step failed; the sweep's record says so too.
pub fn work(sweep: &Sweep, name: &str, tell: &mut dyn FnMut(String)) -> Result<()> {
    let entry = sweep.entry(name)?;
    let _lock = sweep.lock(entry)?;
    let evaluate = &sweep.plan().evaluate;
    let note = |outcome| sweep.write_record(entry, &Record { outcome, evaluate: evaluate.clone() });
    match sweep.record(entry)? {
        Some(record) if record.evaluate != *evaluate => forget(&sweep.model(entry))?,
        Some(Record { outcome: Outcome::Finished, .. }) => {
            tell("finished before".into());
            return Ok(());
        }
        _ => {}
    }
    note(Outcome::Begun)?;
    let result = train(sweep, entry, tell).and_then(|()| measure(sweep, entry, tell));
    note(match &result {
        Ok(()) => Outcome::Finished,
        Err(error) => Outcome::Failed(error.to_string()),
    })?;
    result
}

/// Removes what was measured, and what was made of it.
fn forget(model: &Path) -> Result<()> {
    for name in [EVALUATION, INT8, INT8_EVALUATION] {
        let path = model.join(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(path)(e)),
            _ => {}
        }
    }
    Ok(())
}

/// Trains to the last step, from where it was. A model that made them all is enough: its checkpoints may be gone.
fn train(sweep: &Sweep, entry: &Entry, tell: &mut dyn FnMut(String)) -> Result<()> {
    let model = sweep.model(entry);
    if model.is_dir() && export::read(&model)?.0.steps == entry.config.steps {
        return Ok(());
    }
    let folder = sweep.run(entry);
    // A job is one process, whatever a cluster tells its tasks about ranks.
    let launch = Launch::default();
    let run = if folder.join("config.toml").is_file() {
        let mut changes = entry.config.to_table()?;
        changes.retain(|key, _| TrainConfig::changeable(key));
        Run::resume(&folder, changes, launch)?
    } else {
        // Killed before the settings were written, it holds nothing else.
        match fs::remove_dir_all(&folder) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io(folder)(e)),
            _ => Run::create(&folder, entry.config.clone(), launch)?,
        }
    };
    let log_every = entry.config.log_every;
    let tell_of = |event: Event| match event {
        Event::Note(note) => tell(note),
        Event::Step { step, terms } => {
            if step.is_multiple_of(log_every) {
                let terms: Vec<String> = terms.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
                tell(format!("step {step}  {}", terms.join("  ")));
            }
        }
    };
    // There are no other ranks that could be lost.
    run.train(tell_of, |_| {})?;
    Ok(())
}

/// Labels, quantizes and measures the trained model.
fn measure(sweep: &Sweep, entry: &Entry, tell: &mut dyn FnMut(String)) -> Result<()> {
    let evaluate = &sweep.plan().evaluate;
    let dir = sweep.model(entry);
    let Model::F32 { model, mut config } = model::open(&dir)? else {
        return Err(Error::Unsupported(format!("{}: expected an f32 model directory", dir.display())));
    };
    let dataset = data::open(&config.dataset)?;
    let measured = Measured { dir: &dir, dataset: &*dataset, evaluate };

    tell("measure f32".into());
    let evaluation = measured.evaluation(&model, EVALUATION)?;
    if config.factors != evaluation.factors {
        config.factors = evaluation.factors;
        export::write_config(&dir, &config)?;
    }
    if evaluate.int8 {
        tell("quantize, measure int8".into());
        let int8 = measured.int8(&model, &config)?;
        measured.evaluation(&int8, INT8_EVALUATION)?;
    }
    Ok(())
}

/// A model directory that is filled.
struct Measured<'a> {
    dir: &'a Path,
    dataset: &'a dyn Dataset,
    evaluate: &'a Evaluate,
}

impl Measured<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The evaluation in the file `name`, made if it is not there.
    fn evaluation(&self, model: &dyn Autoencoder, name: &str) -> Result<Evaluation> {
        if let Some(evaluation) = read_json(&self.path(name))? {
            return Ok(evaluation);
        }
        let evaluation = metrics::evaluate(model, self.dataset, &self.evaluate.options()?, &|_, _| {})?;
        write_json(&self.path(name), &evaluation)?;
        Ok(evaluation)
    }

    /// The int8 file, made if it is not there.
    fn int8(&self, model: &F32Model, config: &ModelConfig) -> Result<Int8Model> {
        let path = self.path(INT8);
        if path.is_file() {
            return Int8Model::open(&path);
        }
        let (options, metadata) = (quantize::Options::default(), quantize::metadata(config));
        let bytes = quantize::quantize(model, Some(self.dataset), &config.factors, metadata, &options)?;
        let int8 = Int8Model::new(bytes, &path)?;
        let cost = report::compare(model, &int8, Some(self.dataset), report::COMPARED, options.seed)?;
        write_json(&self.path(QUANTIZATION), &cost)?;
        write_atomic(&path, int8.bytes())?;
        Ok(int8)
    }
}
