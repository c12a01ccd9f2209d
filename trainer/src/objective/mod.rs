//! What is minimized: one file a system, readable from the top like its paper's algorithm box.

pub mod factor_vae;
pub mod vae;

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{Result, nn::Network};

/// The named terms of one step, in the order in which they are shown.
pub type Terms = Vec<(&'static str, f32)>;

/// The images of one step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The step, from 1; names the random streams.
    pub step: u64,
    /// Disjoint minibatches, each `(N, H, W, C)` in [0, 1]; as many as [`Objective::minibatches`] says.
    pub images: Vec<Tensor>,
}

/// A system in training: its networks, its optimizers and one step of its algorithm.
pub trait Objective {
    /// How many minibatches a step takes.
    fn minibatches(&self) -> usize;

    /// One training step.
    ///
    /// # Errors
    /// A term that is not finite stops the step before it changes any weight.
    fn step(&mut self, batch: &Batch) -> Result<Terms>;

    /// The networks that are exported: encoder and decoder.
    fn networks(&self) -> (&Network, &Network);

    /// Weights and optimizer state by name, for a checkpoint.
    fn state(&self) -> BTreeMap<String, Tensor>;

    /// Goes on from a checkpoint's state, saved after `steps` steps.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()>;
}
