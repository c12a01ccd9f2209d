//! What every metric returns: a value with its protocol, its counts and an interval.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::bootstrap::Interval;

/// One score of one representation. A score without its protocol says nothing, so each carries its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// What was measured, as in `factor-vae` or `dci-completeness`; `docs/metrics.md` has them all.
    pub metric: String,
    /// Whose numbers turned the metric into a score: `study`, `paper`, `infogan-cr`.
    pub protocol: String,
    /// The score.
    pub value: f64,
    /// 95 % bootstrap interval; none where nothing that was sampled can be drawn again without fitting anew.
    pub interval: Option<Interval>,
    /// How many of each kind of sample stand behind the value.
    pub samples: BTreeMap<String, usize>,
    /// The seed of all draws.
    pub seed: u64,
    /// How many latents took part where the protocol prunes, else how many of the model's are active.
    pub active: usize,
    /// What the value was made of.
    pub details: BTreeMap<String, Detail>,
}

/// A part of a score, in the metric's own units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Detail {
    /// One number.
    Value(f64),
    /// One for each factor or each latent.
    Vector(Vec<f64>),
    /// `(latents, factors)` unless the metric's file says otherwise.
    Matrix(Vec<Vec<f64>>),
}

impl Score {
    /// The value with its interval, as in `0.773 [0.744, 0.801]`.
    pub fn value_and_interval(&self) -> String {
        match &self.interval {
            Some(interval) => format!("{:.3} {interval}", self.value),
            None => format!("{:.3}", self.value),
        }
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<String> = self.samples.iter().map(|(what, n)| format!("{what} {n}")).collect();
        let Self { metric, protocol, .. } = self;
        write!(f, "{metric:<34}  {protocol:<10}  {:<22}  {}", self.value_and_interval(), counts.join(", "))
    }
}

/// A score with its values under the bootstrap's resamples, by which two models are compared.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measured {
    pub score: Score,
    /// One for each resample; empty for a score without interval.
    pub replicates: Vec<f64>,
}

impl Measured {
    /// A `value` in 0..=`greatest`; the interval is cut there.
    pub fn new(metric: &str, protocol: &str, value: f64, replicates: Vec<f64>, greatest: f64) -> Self {
        let interval = Interval::around(value, &replicates).map(|interval| interval.within(0.0, greatest));
        let score = Score {
            metric: metric.into(),
            protocol: protocol.into(),
            value,
            interval,
            samples: BTreeMap::new(),
            seed: 0,
            active: 0,
            details: BTreeMap::new(),
        };
        Self { score, replicates }
    }

    /// Notes that `n` samples of the kind `what` stand behind the value.
    pub fn counted(mut self, what: &str, n: usize) -> Self {
        self.score.samples.insert(what.into(), n);
        self
    }

    /// Adds a part.
    pub fn with(mut self, name: &str, detail: Detail) -> Self {
        self.score.details.insert(name.into(), detail);
        self
    }

    /// Says under which seed and with how many active latents.
    pub fn under(mut self, seed: u64, active: usize) -> Self {
        (self.score.seed, self.score.active) = (seed, active);
        self
    }
}
