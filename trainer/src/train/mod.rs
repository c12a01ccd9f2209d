//! The training run: settings, loop, checkpoints, logs.

pub mod checkpoint;
pub mod config;
pub mod device;
pub mod files;
pub mod loader;
pub mod run;
mod samples;
pub mod tensorboard;
