//! Which instructions the kernels execute, of each core in QEMU; `scripts/instruction_mix.py` counts them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

const MIXES: &str = include_str!("../../../firmware/mix.json");

/// Shares of all instructions, 0 to 1.
#[derive(Clone, Copy, Deserialize)]
pub struct Mix {
    /// Of one register.
    pub load: f64,
    pub store: f64,
    /// Loads and stores right behind a load whose result is not their address.
    pub pipelined: f64,
    /// Registers that instructions for several move.
    pub transferred: f64,
    pub multiply: f64,
    /// 32 x 32 bits to 64.
    pub long_multiply: f64,
    /// On 128 bits.
    pub vector: f64,
    /// Branches that were taken.
    pub taken: f64,
}

impl Mix {
    /// The mix of a core.
    pub fn of(core: &str) -> Result<Mix> {
        let mixes: BTreeMap<String, Mix> = serde_json::from_str(MIXES).context("mix.json")?;
        mixes.get(core).copied().with_context(|| format!("mix.json: no core {core}"))
    }
}
