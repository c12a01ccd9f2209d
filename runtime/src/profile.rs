//! Time spent in each layer.

use crate::format::MAX_LAYERS;

/// Something that counts up: microseconds, cycles, instructions.
pub trait Clock {
    /// Ticks since some start; may wrap.
    fn now(&self) -> u64;
}

impl<F: Fn() -> u64> Clock for F {
    fn now(&self) -> u64 {
        self()
    }
}

/// Is called around each row that a layer computes.
pub trait Probe {
    /// Layer `layer` of the running encoder or decoder starts a row.
    fn begin(&mut self, layer: usize);
    /// It has computed the row.
    fn end(&mut self, layer: usize);
}

/// Observes nothing, at no cost.
impl Probe for () {
    #[inline]
    fn begin(&mut self, _: usize) {}

    #[inline]
    fn end(&mut self, _: usize) {}
}

/// Sums the ticks of each layer over all images that it is given to.
#[derive(Debug, Clone)]
pub struct Profile<C> {
    clock: C,
    started: u64,
    ticks: [u64; MAX_LAYERS],
}

impl<C: Clock> Profile<C> {
    /// Starts from zero.
    pub fn new(clock: C) -> Self {
        Profile { clock, started: 0, ticks: [0; MAX_LAYERS] }
    }

    /// Ticks of layer `layer`, from 0; 0 for layers that there are not.
    pub fn ticks(&self, layer: usize) -> u64 {
        self.ticks.get(layer).copied().unwrap_or(0)
    }

    /// Ticks of all layers.
    pub fn total(&self) -> u64 {
        self.ticks.iter().fold(0, |sum, ticks| sum.wrapping_add(*ticks))
    }

    /// Forgets what was measured.
    pub fn reset(&mut self) {
        self.ticks = [0; MAX_LAYERS];
    }
}

impl<C: Clock> Probe for Profile<C> {
    fn begin(&mut self, _: usize) {
        self.started = self.clock.now();
    }

    fn end(&mut self, layer: usize) {
        let ticks = self.clock.now().wrapping_sub(self.started);
        if let Some(sum) = self.ticks.get_mut(layer) {
            *sum = sum.wrapping_add(ticks);
        }
    }
}
