//! Working memory that is taken again in each step, so that training allocates nothing once it runs.

use std::{
    collections::HashMap,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, PoisonError},
};

/// A store of vectors that wait for their next use, by length.
#[derive(Debug, Clone, Default)]
pub struct Buffers(Arc<Mutex<HashMap<usize, Vec<Vec<f32>>>>>);

/// A vector that goes back to its [`Buffers`] when dropped.
#[derive(Debug)]
pub struct Buffer {
    values: Vec<f32>,
    home: Buffers,
}

impl Buffers {
    /// `len` values of any content: whoever takes them writes each one before reading it.
    pub fn take(&self, len: usize) -> Buffer {
        let waiting = self.store(|store| store.get_mut(&len).and_then(Vec::pop));
        Buffer { values: waiting.unwrap_or_else(|| vec![0.0; len]), home: self.clone() }
    }

    fn store<T>(&self, f: impl FnOnce(&mut HashMap<usize, Vec<Vec<f32>>>) -> T) -> T {
        // A panic elsewhere cannot leave the map half changed.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        self.home.store(|store| store.entry(values.len()).or_default().push(values));
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}
