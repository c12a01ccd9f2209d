//! From a run's newest checkpoint to what a model directory is made of.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::Tensor;

use super::{Extras, ModelConfig};
use crate::{
    Error, Result,
    model::architecture_file::{self, ARCHITECTURE_FILE},
    train::{checkpoint, run::read_config},
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

/// The model in the newest whole checkpoint of the run in folder `run`; `warn` hears of damaged ones.
///
/// # Errors
/// It is no run folder, or there is no whole checkpoint.
pub fn model_of_run(run: &Path, warn: impl FnMut(&Error)) -> Result<Trained> {
    let training = read_config(run)?;
    let folder = run.join("checkpoints");
    let checkpoint = checkpoint::latest(&folder, warn)?
        .ok_or_else(|| Error::Unsupported(format!("{}: no checkpoint yet; expected at least one", folder.display())))?;
    let of_model = |name: &str| name.starts_with("encoder.") || name.starts_with("decoder.");
    let weights = checkpoint.state.into_iter().filter(|(name, _)| of_model(name)).collect();
    let config = ModelConfig {
        architecture: training.architecture()?,
        objective: training.objective.name(),
        dataset: training.dataset.clone(),
        steps: checkpoint.step,
        seed: training.seed,
        training: serde_json::to_value(training.portable())
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
