//! Instructions for each layer, counted in QEMU on the shipped model, and what they say of other layers.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::fit::{Fit, Point, leave_one_out};
use super::range::Range;
use crate::cli::layers::Description;

/// Written by `scripts/firmware.sh --update`.
const BUDGETS: &str = include_str!("../../../firmware/budgets.json");

/// What the runtime took on one core.
#[derive(Deserialize)]
pub struct Counts {
    load: Load,
    pub encode: Call,
    pub decode: Call,
    code_bytes: Code,
}

#[derive(Deserialize)]
struct Load {
    stack_bytes: usize,
}

/// Of all that loads, encodes, edits and decodes.
#[derive(Deserialize)]
struct Code {
    text: usize,
    rodata: usize,
}

#[derive(Deserialize)]
pub struct Call {
    /// Of the whole call.
    instructions: u64,
    pub stack_bytes: usize,
    layers: Vec<Counted>,
}

#[derive(Deserialize)]
struct Counted {
    kind: String,
    macs: u64,
    outputs: u64,
    instructions: u64,
}

/// How many instructions a layer takes.
#[derive(Clone, Copy)]
pub struct Instructions {
    pub range: Range,
    /// Whether a layer of this kind and size was counted, rather than others.
    pub counted: bool,
}

impl Counts {
    /// The counts of a core.
    pub fn of(core: &str) -> Result<Counts> {
        let mut cores: BTreeMap<String, Counts> = serde_json::from_str(BUDGETS).context("budgets.json")?;
        cores.remove(core).with_context(|| format!("budgets.json: no core {core}"))
    }

    /// `None` if no layer of its family was counted.
    pub fn predict(&self, layer: &Description) -> Option<Instructions> {
        let outputs = layer.output.iter().map(|size| *size as u64).product::<u64>();
        let same =
            |counted: &&Counted| counted.kind == layer.kind && (counted.macs, counted.outputs) == (layer.macs, outputs);
        if let Some(counted) = self.layers().find(same) {
            return Some(Instructions { range: Range::exactly(counted.instructions as f64), counted: true });
        }
        let points = self.points(layer.kind);
        let instructions = Fit::new(&points)?.instructions(layer.macs as f64, outputs as f64);
        let error = leave_one_out(&points)?;
        let range = Range::new((1.0 - error).max(0.0), 1.0 + error) * instructions;
        Some(Instructions { range, counted: false })
    }

    /// The relative error of predictions for layers of that kind which were not counted.
    pub fn error(&self, kind: &str) -> Option<f64> {
        leave_one_out(&self.points(kind))
    }

    /// The deepest stack of all calls.
    pub fn stack_bytes(&self) -> usize {
        self.load.stack_bytes.max(self.encode.stack_bytes).max(self.decode.stack_bytes)
    }

    pub fn code_bytes(&self) -> usize {
        self.code_bytes.text + self.code_bytes.rodata
    }

    fn layers(&self) -> impl Iterator<Item = &Counted> {
        self.encode.layers.iter().chain(&self.decode.layers)
    }

    /// The layers of the same family.
    fn points(&self, kind: &str) -> Vec<Point> {
        let point = |layer: &Counted| Point {
            macs: layer.macs as f64,
            outputs: layer.outputs as f64,
            instructions: layer.instructions as f64,
        };
        self.layers().filter(|layer| family(&layer.kind) == family(kind)).map(point).collect()
    }
}

/// Kinds of layers that one kernel serves have one name.
pub fn family(kind: &str) -> &str {
    match kind {
        "conv2d" | "conv_transpose2d" => "convolution",
        other => other,
    }
}

impl Call {
    /// Instructions of the whole call for each that is spent in a layer: what moves rows between layers comes on top.
    pub fn overhead(&self) -> f64 {
        let in_layers: u64 = self.layers.iter().map(|layer| layer.instructions).sum();
        self.instructions as f64 / in_layers.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::super::boards::BOARDS;
    use super::super::mix::Mix;
    use super::*;

    #[test]
    fn every_board_has_counts_and_a_mix() {
        for board in &BOARDS {
            let counts = Counts::of(board.core.counted).unwrap();
            for call in [&counts.encode, &counts.decode] {
                assert!((0.9..1.5).contains(&call.overhead()), "{}: {}", board.name, call.overhead());
            }
            let mix = Mix::of(board.core.counted).unwrap();
            let cycles = board.core.cycles_per_instruction(&mix, Range::exactly(0.0));
            assert!(0.4 < cycles.low && cycles.low <= cycles.high && cycles.high < 3.0, "{}: {cycles:?}", board.name);
        }
    }

    #[test]
    fn counted_layers_predict_one_another() {
        for board in &BOARDS {
            let counts = Counts::of(board.core.counted).unwrap();
            for kind in ["conv2d", "linear"] {
                let error = counts.error(kind).unwrap();
                // The linear layers that are counted differ fifty-fold in size; on the smallest ones what a row costs at all shows.
                assert!(error < 0.5, "{} {kind}: {error:.3}", board.core.counted);
            }
        }
    }
}
