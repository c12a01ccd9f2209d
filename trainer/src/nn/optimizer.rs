//! Adam over named variables.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::ops::adam::{AdamOptions, adam_update};
use crate::{Error, Result, parallel::Communicator, profile};

/// Adam with a moment pair for each variable.
#[derive(Debug)]
pub struct Adam {
    name: &'static str,
    options: AdamOptions,
    slots: Vec<Slot>,
    steps: u64,
}

#[derive(Debug)]
struct Slot {
    name: String,
    variable: Var,
    m: Var,
    v: Var,
}

impl Adam {
    /// An optimizer of `variables` that has made no step; `name` keeps its state apart in checkpoints.
    pub fn new(name: &'static str, variables: Vec<(String, Var)>, options: AdamOptions) -> Result<Self> {
        let slots = variables
            .into_iter()
            .map(|(name, variable)| {
                let (m, v) = (Var::from_tensor(&variable.zeros_like()?)?, Var::from_tensor(&variable.zeros_like()?)?);
                Ok(Slot { name, variable, m, v })
            })
            .collect::<Result<_>>()?;
        Ok(Self { name, options, slots, steps: 0 })
    }

    /// One step down the mean over `ranks` of `gradients`, one for each variable, in their order.
    pub fn step(&mut self, gradients: &[Tensor], ranks: &dyn Communicator) -> Result<()> {
        let _section = profile::section("optimizer", self.name);
        if gradients.len() != self.slots.len() {
            let (found, expected) = (gradients.len(), self.slots.len());
            return Err(Error::Unsupported(format!("{}: {found} gradients for {expected} variables", self.name)));
        }
        let gradients = ranks.average(gradients)?;
        self.steps += 1;
        for (slot, gradient) in self.slots.iter().zip(&gradients) {
            adam_update(&slot.variable, &slot.m, &slot.v, gradient, &self.options, self.steps)?;
        }
        Ok(())
    }

    /// The variables and their moments by name, for a checkpoint.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        self.named().map(|(name, var)| (name, var.as_detached_tensor())).collect()
    }

    /// Takes variables and moments from a checkpoint that was saved after `steps` steps.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn restore(&mut self, tensors: &BTreeMap<String, Tensor>, steps: u64) -> Result<()> {
        for (name, var) in self.named() {
            match tensors.get(&name) {
                Some(tensor) if tensor.shape() == var.shape() => var.set(&tensor.to_device(var.device())?)?,
                Some(tensor) => {
                    let (found, expected) = (tensor.dims(), var.dims());
                    return Err(Error::Unsupported(format!("{name}: found shape {found:?}, expected {expected:?}")));
                }
                None => return Err(Error::Unsupported(format!("{name} is missing"))),
            }
        }
        self.steps = steps;
        Ok(())
    }

    fn named(&self) -> impl Iterator<Item = (String, &Var)> {
        self.slots.iter().flat_map(|slot| {
            let state = |moment| format!("{}.{moment}.{}", self.name, slot.name);
            [(slot.name.clone(), &slot.variable), (state("m"), &slot.m), (state("v"), &slot.v)]
        })
    }
}
