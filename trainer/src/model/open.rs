//! Models by path.

use std::path::Path;

use candle_core::Device;

use super::{Autoencoder, F32Model, Factor, Int8Model};
use crate::{
    Error, Result,
    export::{self, ModelConfig, UNKNOWN_DATASET},
};

/// A model with what its files say about it.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "with CUDA a device takes 200 bytes; a process opens one or two models")]
pub enum Model {
    /// From a model directory.
    F32 {
        /// The networks.
        model: F32Model,
        /// `config.json`.
        config: Box<ModelConfig>,
    },
    /// From an int8 file.
    Int8(Int8Model),
}

/// Opens a model: a directory with `config.json` and `model.safetensors` (f32), or an int8 file.
///
/// # Errors
/// There is no such thing, or it is damaged; the message names the file and the field.
pub fn open(path: &Path) -> Result<Model> {
    if !path.is_dir() {
        return Int8Model::open(path).map(Model::Int8);
    }
    if path.join("config.toml").is_file() && !path.join("config.json").exists() {
        return Err(Error::Unsupported(format!(
            "{}: this is the folder of a run, not of a model; `unbraid export {0} -o DIR` makes a model of it",
            path.display()
        )));
    }
    let (config, weights) = export::read(path)?;
    let model = F32Model::new(config.architecture.clone(), &weights, &Device::Cpu)?;
    Ok(Model::F32 { model, config: Box::new(config) })
}

impl Model {
    /// Encoder and decoder.
    pub fn autoencoder(&self) -> &dyn Autoencoder {
        match self {
            Self::F32 { model, .. } => model,
            Self::Int8(model) => model,
        }
    }

    /// What is known of the latents; may be empty.
    ///
    /// # Errors
    /// None that an opened model can give.
    pub fn factors(&self) -> Result<Vec<Factor>> {
        match self {
            Self::F32 { config, .. } => Ok(config.factors.clone()),
            Self::Int8(model) => model.factors(),
        }
    }

    /// The data set that the model was trained on, if its files say so.
    ///
    /// # Errors
    /// None that an opened model can give.
    pub fn dataset(&self) -> Result<Option<String>> {
        let named = match self {
            Self::F32 { config, .. } => Some(config.dataset.clone()),
            Self::Int8(model) => model.metadata()?.get("dataset").cloned(),
        };
        Ok(named.filter(|name| name != UNKNOWN_DATASET))
    }
}
