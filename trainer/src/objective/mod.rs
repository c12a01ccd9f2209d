//! What is minimized: one file a system, readable from the top like its paper's algorithm box.

pub mod factor_vae;
pub mod vae;

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::{
    Error, Result,
    nn::Network,
    parallel::{Communicator, Single},
};

/// The named terms of one step, in the order in which they are shown.
pub type Terms = Vec<(&'static str, f32)>;

/// The images of one step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The step, from 1; names the random streams.
    pub step: u64,
    /// Disjoint minibatches, each `(N, H, W, C)` in [0, 1]; as many as [`Objective::minibatches`] says. Of several ranks, each has
    /// its share of every minibatch.
    pub images: Vec<Tensor>,
}

/// With whom a step is made, and what is wanted of it.
#[derive(Debug, Clone, Copy)]
pub struct Company<'a> {
    /// The processes that make it together.
    pub ranks: &'a dyn Communicator,
    /// Whether the terms are wanted. Reading them makes a GPU finish first; without, they are empty and nothing checks them.
    pub terms: bool,
}

impl Company<'_> {
    /// One process, which wants the terms.
    pub const ALONE: Self = Self { ranks: &Single, terms: true };

    /// The values of scalar `terms`, averaged over the ranks; none if they are not wanted.
    ///
    /// # Errors
    /// [`Error::NotFinite`], on all ranks, for the first one that is NaN or infinite.
    pub fn read(&self, step: u64, terms: &[(&'static str, &Tensor)]) -> Result<Terms> {
        if !self.terms {
            return Ok(Terms::new());
        }
        let tensors: Vec<_> = terms.iter().map(|(_, tensor)| tensor.detach()).collect();
        let averages = self.ranks.average(&[Tensor::stack(&tensors, 0)?])?;
        let values = averages.iter().map(Tensor::to_vec1::<f32>).collect::<candle_core::Result<Vec<_>>>()?.concat();
        let read = |(&(term, _), value): (&(&'static str, _), f32)| match value.is_finite() {
            true => Ok((term, value)),
            false => Err(Error::NotFinite { step, term: term.into(), value }),
        };
        terms.iter().zip(values).map(read).collect()
    }

    /// This rank's share of the rows of `all`, which are those of all ranks in rank order.
    pub fn share(&self, all: &Tensor) -> Result<Tensor> {
        let rows = all.dim(0)? / self.ranks.world_size();
        Ok(all.narrow(0, self.ranks.rank() * rows, rows)?)
    }
}

/// A system in training: its networks, its optimizers and one step of its algorithm.
pub trait Objective {
    /// How many minibatches a step takes.
    fn minibatches(&self) -> usize;

    /// One training step.
    ///
    /// # Errors
    /// A term that is not finite stops the step before the optimizer that would follow it.
    fn step(&mut self, batch: &Batch, company: Company) -> Result<Terms>;

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
