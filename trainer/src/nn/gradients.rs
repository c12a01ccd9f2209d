//! Where a network keeps the gradients of its weights on the CPU.

use std::sync::{Mutex, PoisonError};

use candle_core::{Result, Tensor, Var};

use super::ops::gemm::Output;

/// The gradients of all weights, in memory that each step uses again.
#[derive(Debug, Default)]
pub struct Gradients(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// One for each variable, in their order.
    tensors: Vec<Var>,
    /// Whether they hold the sum of backward passes since the last [`Gradients::take`].
    filled: bool,
}

impl Gradients {
    /// Hands the gradient tensors to a backward pass, with what it shall do with the values in them.
    pub fn fill<T>(&self, variables: &[Var], f: impl FnOnce(&[Var], Output) -> Result<T>) -> Result<T> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.tensors.is_empty() {
            state.tensors = variables.iter().map(|var| Var::from_tensor(&var.zeros_like()?)).collect::<Result<_>>()?;
        }
        let output = if state.filled { Output::Add } else { Output::Overwrite };
        state.filled = true;
        f(&state.tensors, output)
    }

    /// The gradients since the last time, none if there was no backward pass. The next backward pass overwrites them.
    pub fn take(&self) -> Option<Vec<Tensor>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut state.filled).then(|| state.tensors.iter().map(Var::as_detached_tensor).collect())
    }
}
