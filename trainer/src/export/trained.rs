//! From a run's newest checkpoint to what a model directory is made of.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::{Device, Tensor};

use super::{Extras, ModelConfig};
use crate::{
    Error, Result, data,
    model::{
        F32Model,
        architecture_file::{self, ARCHITECTURE_FILE},
    },
    train::{checkpoint, run},
};

/// A model in training, ready to be written.
#[derive(Debug)]
pub struct Trained {
    /// What goes into `config.json`.
    pub config: ModelConfig,
    /// The weights of encoder and decoder by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The command line that trains it, and the architecture file that this line names, if it does.
    pub extras: Extras,
}

/// The model in the newest whole checkpoint of the run in `folder`; `warn` hears of damaged ones.
///
/// # Errors
/// It is no run folder, or there is no whole checkpoint.
pub fn model_of_run(folder: &Path, warn: impl FnMut(&Error)) -> Result<Trained> {
    let training = run::read_config(folder)?;
    let checkpoints = folder.join("checkpoints");
    let checkpoint = checkpoint::latest(&checkpoints, warn)?.ok_or_else(|| {
        Error::Unsupported(format!("{}: no checkpoint yet; expected at least one", checkpoints.display()))
    })?;
    let architecture = training.architecture()?;
    let mut objective = run::start(&training, &*data::open(&training.dataset)?, &Device::Cpu)?;
    checkpoint.restore(&mut *objective, &checkpoints)?;
    let (encoder, decoder) = objective.networks()?;
    let weights = F32Model::of_networks(architecture.clone(), (&encoder, &decoder), &Device::Cpu).weights();
    let config = ModelConfig {
        architecture,
        objective: training.objective.name(),
        dataset: training.dataset.clone(),
        steps: checkpoint.step,
        seed: training.seed,
        training: serde_json::to_value(training.portable().to_table()?)
            .map_err(|e| Error::Unsupported(format!("settings as JSON: {e}")))?,
        factors: Vec::new(),
    };
    let mut extras = Extras { command: Some(training.command_line(checkpoint.step)?), ..Extras::default() };
    if architecture_file::is_file(&training.architecture) {
        let text = fs::read(&training.architecture).map_err(Error::io(&training.architecture))?;
        extras.files.insert(ARCHITECTURE_FILE.into(), text);
    }
    Ok(Trained { config, weights, extras })
}
