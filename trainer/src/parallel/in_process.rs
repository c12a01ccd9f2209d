//! Ranks that are threads of one process: the reference that tests run on the CPU.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Tensor};

use super::Communicator;
use crate::{Error, Result};

/// One of several ranks in this process. Dropping it, as a panic does, is an error for ranks that wait for it.
#[derive(Debug)]
pub struct InProcess {
    rank: usize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// Exchanges that are complete.
    round: u64,
    /// What each rank brought to the exchange under way.
    brought: Vec<Option<Brought>>,
    /// The last complete exchange. The next one needs all ranks, so each has taken this one before it is replaced.
    complete: Arc<Vec<Brought>>,
    /// Ranks that will not come again.
    gone: Vec<bool>,
}

#[derive(Debug)]
struct Brought {
    call: &'static str,
    tensors: Vec<Tensor>,
}

impl InProcess {
    /// `world_size` ranks, one for each thread.
    pub fn ranks(world_size: usize) -> Vec<Self> {
        let state = State {
            round: 0,
            brought: (0..world_size).map(|_| None).collect(),
            complete: Arc::default(),
            gone: vec![false; world_size],
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        (0..world_size).map(|rank| Self { rank, shared: Arc::clone(&shared) }).collect()
    }

    // The state is whole after each change, so a thread that panicked elsewhere leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, world_size: usize, reason: String) -> Error {
        Error::Rank { rank: self.rank, world_size, reason }
    }

    /// Brings `tensors` and takes what all ranks brought, in rank order, checked to be alike.
    fn exchange(&self, call: &'static str, tensors: &[Tensor]) -> Result<Arc<Vec<Brought>>> {
        // Copies: a rank that is ahead may overwrite its gradients in place while another still adds them up.
        let tensors = tensors.iter().map(|t| t.detach().copy()).collect::<candle_core::Result<_>>()?;
        let mut state = self.lock();
        let world_size = state.gone.len();
        let round = state.round;
        state.brought[self.rank] = Some(Brought { call, tensors });
        if state.brought.iter().all(Option::is_some) {
            state.complete = Arc::new(state.brought.iter_mut().filter_map(Option::take).collect());
            state.round += 1;
            self.shared.changed.notify_all();
        }
        while state.round == round {
            if let Some(gone) = (0..world_size).find(|&rank| state.gone[rank] && state.brought[rank].is_none()) {
                state.brought[self.rank] = None;
                return Err(self.error(world_size, format!("rank {gone} is gone; {call} takes all ranks")));
            }
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let complete = Arc::clone(&state.complete);
        drop(state);
        self.check(&complete)?;
        Ok(complete)
    }

    fn check(&self, ranks: &[Brought]) -> Result<()> {
        let Some((first, others)) = ranks.split_first() else { return Ok(()) };
        for (rank, other) in others.iter().enumerate().map(|(i, other)| (i + 1, other)) {
            let differ = |what: &str, found: String, expected: String| {
                Err(self.error(ranks.len(), format!("{what}: rank {rank} has {found}, rank 0 has {expected}")))
            };
            if other.call != first.call {
                return differ("call", other.call.into(), first.call.into());
            }
            if other.tensors.len() != first.tensors.len() {
                return differ(first.call, format!("{} tensors", other.tensors.len()), first.tensors.len().to_string());
            }
            for (i, (a, b)) in other.tensors.iter().zip(&first.tensors).enumerate() {
                if a.dims() != b.dims() || a.dtype() != b.dtype() {
                    let text = |t: &Tensor| format!("{:?} {}", t.dims(), t.dtype().as_str());
                    return differ(&format!("{}, tensor {i}", first.call), text(a), text(b));
                }
            }
        }
        Ok(())
    }
}

impl Communicator for InProcess {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.lock().gone.len()
    }

    fn average(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        check_f32(tensors)?;
        let ranks = self.exchange("average", tensors)?;
        let mean = |i: usize| {
            let mut sum = ranks[0].tensors[i].clone();
            for rank in &ranks[1..] {
                sum = (sum + &rank.tensors[i])?;
            }
            Ok((sum * (1.0 / ranks.len() as f64))?)
        };
        (0..tensors.len()).map(mean).collect()
    }

    fn gather(&self, tensor: &Tensor) -> Result<Tensor> {
        let ranks = self.exchange("gather", std::slice::from_ref(tensor))?;
        let tensors: Vec<_> = ranks.iter().flat_map(|rank| &rank.tensors).collect();
        Ok(Tensor::cat(&tensors, 0)?)
    }

    fn broadcast(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>> {
        let ranks = self.exchange("broadcast", tensors)?;
        Ok(ranks[0].tensors.iter().map(Tensor::copy).collect::<candle_core::Result<_>>()?)
    }

    fn barrier(&self) -> Result<()> {
        self.exchange("barrier", &[]).map(|_| ())
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.lock().gone[self.rank] = true;
        self.shared.changed.notify_all();
    }
}

/// Means of whole numbers are seldom whole.
pub(super) fn check_f32(tensors: &[Tensor]) -> Result<()> {
    match tensors.iter().find(|t| t.dtype() != DType::F32) {
        Some(other) => {
            Err(Error::Unsupported(format!("average: found a tensor of {}, expected f32", other.dtype().as_str())))
        }
        None => Ok(()),
    }
}
