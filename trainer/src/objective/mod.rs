//! What is minimized: one file a system, readable from the top like its paper's algorithm box.

pub mod annealed_vae;
pub mod beta_tcvae;
pub mod beta_vae;
pub mod dc_ign;
pub mod dip_vae;
pub mod factor_vae;
mod ica;
pub mod info;
pub mod info_gan;
pub mod info_wgan_gp;
pub mod linear;
mod pca;
pub mod regularized;
mod system;
pub mod vae;

use std::collections::BTreeMap;

use candle_core::Tensor;
use rand::{Rng, RngExt};
use serde::Serialize;

pub use system::{Options, Setup, System};

use crate::{
    Error, Result,
    nn::Network,
    parallel::{Communicator, Single},
    train::config::to_toml,
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
    /// Which of [`Objective::kinds`] they are; 0 where there are none.
    pub kind: usize,
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

    /// The rows of all ranks in rank order, for a loss of the whole minibatch that is no average over its images. Gradients reach
    /// this rank's own rows, once for each rank, since the optimizer takes the ranks' average.
    pub fn whole(&self, own: &Tensor) -> Result<Tensor> {
        let (rank, world_size) = (self.ranks.rank(), self.ranks.world_size());
        if world_size == 1 {
            return Ok(own.clone());
        }
        let rows = own.dim(0)?;
        let all = self.ranks.gather(&own.detach())?;
        // The value of `own` with world_size times its gradient.
        let own = ((own * world_size as f64)? - (own.detach() * (world_size - 1) as f64)?)?;
        let part = |r: usize| if r == rank { Ok(own.clone()) } else { all.narrow(0, r * rows, rows) };
        Ok(Tensor::cat(&(0..world_size).map(part).collect::<candle_core::Result<Vec<_>>>()?, 0)?)
    }
}

/// The settings that belong to one system or to several.
pub trait Settings: Keys {
    /// Refuses values that make no sense, by name.
    fn validate(&self) -> Result<()>;
}

/// What serializes to a table.
pub trait Keys {
    /// The settings by name.
    fn table(&self) -> Result<toml::Table>;
}

impl<T: Serialize> Keys for T {
    fn table(&self) -> Result<toml::Table> {
        to_toml(self)
    }
}

/// A kind of minibatch: some factors vary in it, all others have one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Kind {
    /// The factors that vary, by their number in the data set.
    pub factors: Vec<usize>,
    /// How often such minibatches come, beside the other kinds' ratios.
    pub ratio: f64,
}

impl Kind {
    /// One of `kinds`, by their ratios.
    pub fn draw(kinds: &[Self], rng: &mut impl Rng) -> usize {
        let total: f64 = kinds.iter().map(|kind| kind.ratio).sum();
        let mut rest = total * rng.random::<f64>();
        let chosen = kinds.iter().position(|kind| {
            rest -= kind.ratio;
            rest < 0.0
        });
        chosen.unwrap_or(kinds.len().saturating_sub(1))
    }
}

/// A system in training: its networks, its optimizers and one step of its algorithm.
pub trait Objective {
    /// How many minibatches a step takes.
    fn minibatches(&self) -> usize;

    /// The kinds of minibatches, one of which each step has; none where images are drawn uniformly.
    fn kinds(&self) -> &[Kind] {
        &[]
    }

    /// One training step.
    ///
    /// # Errors
    /// A term that is not finite stops the step before the optimizer that would follow it.
    fn step(&mut self, batch: &Batch, company: Company) -> Result<Terms>;

    /// The networks that are exported, encoder and decoder, as they are now.
    fn networks(&self) -> Result<(Network, Network)>;

    /// Weights and optimizer state by name, for a checkpoint.
    fn state(&self) -> BTreeMap<String, Tensor>;

    /// Goes on from a checkpoint's state, saved after `steps` steps.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    fn restore(&mut self, state: &BTreeMap<String, Tensor>, steps: u64) -> Result<()>;
}
