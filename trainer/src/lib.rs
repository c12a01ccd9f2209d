//! Trains disentangling autoencoders and prepares them for devices.
//!
//! The folders follow the way of a model: [`data`] → [`nn`] (layers and their operations) → [`objective`] (one
//! file a system) → [`train`] (loop, checkpoints, logs) → [`model`] (a trained encoder and decoder, f32 or int8)
//! → [`metrics`] (one file a metric), [`export`] (safetensors, ONNX), [`mod@quantize`] (int8) and [`viz`] (pictures).
//! [`sweep`] goes this way many times; [`mod@import`] joins it with models that others trained.

pub mod data;
pub mod error;
pub mod export;
pub mod import;
pub mod metrics;
pub mod model;
pub mod nn;
pub mod objective;
pub mod parallel;
pub mod profile;
pub mod quantize;
pub mod report;
pub mod rng;
pub mod sweep;
pub mod train;
pub mod viz;

pub use error::{Error, Result};
