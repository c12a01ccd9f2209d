//! From a run's newest checkpoint to what a model directory is made of.

use std::{collections::BTreeMap, path::Path};

use candle_core::Tensor;

use super::ModelConfig;
use crate::{
    Error, Result,
    train::{checkpoint, run::read_config},
};

/// A model in training, ready to be written.
#[derive(Debug)]
pub struct Trained {
    /// What goes into `config.json`.
    pub config: ModelConfig,
    /// The weights of encoder and decoder by name.
    pub weights: BTreeMap<String, Tensor>,
    /// The command line that trains it.
    pub command: String,
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
        training: serde_json::to_value(&training).map_err(|e| Error::Unsupported(format!("settings as JSON: {e}")))?,
        factors: Vec::new(),
    };
    Ok(Trained { command: training.command_line(checkpoint.step)?, config, weights })
}
