//! Trained models as files: the model directory (`config.json`, `model.safetensors`, `README.md`) and ONNX.
//!
//! [`write()`] makes a directory in the layout of the Hugging Face Hub, [`read`] checks one and loads it.

mod card;
#[cfg(feature = "onnx")]
pub mod check;
mod config;
mod directory;
#[cfg(test)]
mod fixture;
pub mod golden;
mod graph;
mod onnx;
pub(crate) mod onnx_proto;
mod qdq;
#[cfg(test)]
mod tests;
mod trained;
mod weights;

pub(crate) use card::describe;
pub use card::model_card;
pub use config::{IMPORTED, ModelConfig, UNKNOWN_DATASET};
pub use directory::{EVALUATION, Extras, INT8, INT8_EVALUATION, QUANTIZATION, read, write, write_card, write_config};
pub use onnx::{decoder_onnx, encoder_onnx};
pub use qdq::qdq_onnx;
pub use trained::{Trained, model_of_run};
