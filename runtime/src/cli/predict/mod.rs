//! `unbraid-run profile --board`: how long encoding and decoding take on a board, without the board.
//!
//! Cycles are instructions, counted in QEMU (`counts`), times cycles for each, from makers' manuals (`cores`) and
//! the kernels' mix of instructions (`mix`), and those in which a core waits for its flash (`boards`).

mod boards;
mod cores;
mod counts;
mod fit;
mod mix;
mod range;
mod report;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use serde::Serialize;
use unbraid::{Layer, Model};

use self::boards::{BOARDS, Board, Flash};
use self::counts::{Call, Counts, family};
use self::mix::Mix;
use self::range::Range;
use super::layers::Description;

/// Outputs for which a kernel uses a byte of weights that it has loaded.
const COLUMNS: f64 = 2.0;

/// Boards to predict for, as `--board` takes them.
pub type Boards = &'static [Board];

/// What `--board all` stands for, or the board of that name.
pub fn boards(name: &str) -> Result<Boards, String> {
    if name == "all" {
        return Ok(&BOARDS);
    }
    let names = || BOARDS.iter().map(|board| board.name).collect::<Vec<_>>().join(", ");
    boards::find(name).map(std::slice::from_ref).ok_or_else(|| format!("expected all or one of {}", names()))
}

/// Predicts for one board in full, or for several with a line for each.
pub fn run(path: &Path, file_bytes: usize, model: &Model<'_>, boards: Boards, json: bool) -> Result<String> {
    let predictions = boards.iter().map(|board| Prediction::new(model, file_bytes, board));
    let predictions = predictions.collect::<Result<Vec<_>>>()?;
    match predictions.as_slice() {
        [only] if json => Ok(serde_json::to_string_pretty(only)? + "\n"),
        all if json => Ok(serde_json::to_string_pretty(all)? + "\n"),
        [only] => Ok(format!("{}: {only}", path.display())),
        all => Ok(format!("{}: {}", path.display(), report::overview(all))),
    }
}

/// What is expected of a model on a board. Ranges reach from the least to the most that the sources allow.
#[derive(Serialize)]
struct Prediction {
    #[serde(rename = "board", serialize_with = "report::name")]
    board: &'static Board,
    core: &'static str,
    megahertz: f64,
    encode: Option<Predicted>,
    decode: Option<Predicted>,
    cycles_per_instruction: Range,
    ram: Need,
    flash: Need,
    /// Of layers that were not counted: the relative error of their instructions, by family.
    instruction_errors: BTreeMap<&'static str, f64>,
    sources: [&'static str; 2],
}

/// One call.
#[derive(Serialize)]
struct Predicted {
    layers: Vec<Row>,
    instructions: Range,
    milliseconds: Range,
    arena_bytes: usize,
    stack_bytes: usize,
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    layer: Description,
    /// Not known of kinds of layers that no counted model has.
    instructions: Option<Range>,
    counted: bool,
    milliseconds: Option<Range>,
}

/// Bytes that a model needs, and bytes that a board has.
#[derive(Serialize)]
struct Need {
    needed: usize,
    available: usize,
}

impl Need {
    fn fits(&self) -> bool {
        self.needed <= self.available
    }
}

impl Prediction {
    fn new(model: &Model<'_>, file_bytes: usize, board: &'static Board) -> Result<Self> {
        let counts = Counts::of(board.core.counted)?;
        let mix = Mix::of(board.core.counted)?;
        let branch = Range::new(0.0, board.weights.branch);
        let core = Timing { counts: &counts, board, cycles: board.core.cycles_per_instruction(&mix, branch) };
        let encode = core.call(model.encoder_layers(), &counts.encode, model.encode_arena_bytes());
        let decode = core.call(model.decoder_layers(), &counts.decode, model.decode_arena_bytes());
        let rows = encode.iter().chain(&decode).flat_map(|call: &Predicted| &call.layers);
        let kinds = rows.filter(|row| !row.counted).map(|row| row.layer.kind);
        let instruction_errors = kinds.filter_map(|kind| Some((family(kind), counts.error(kind)?))).collect();
        Ok(Prediction {
            board,
            core: board.core.name,
            megahertz: board.megahertz,
            cycles_per_instruction: core.cycles,
            ram: Need { needed: model.arena_bytes() + counts.stack_bytes(), available: board.ram },
            flash: Need { needed: file_bytes + counts.code_bytes(), available: board.flash },
            instruction_errors,
            encode,
            decode,
            sources: [board.core.source, board.source],
        })
    }
}

/// What a board needs for instructions and weights.
struct Timing<'a> {
    counts: &'a Counts,
    board: &'static Board,
    /// For each instruction.
    cycles: Range,
}

impl Timing<'_> {
    /// `None` without layers.
    fn call<'m>(
        &self,
        layers: impl Iterator<Item = Layer<'m>>,
        counted: &Call,
        arena_bytes: usize,
    ) -> Option<Predicted> {
        let rows: Vec<_> = layers.enumerate().map(|(index, layer)| self.row(Description::new(index, &layer))).collect();
        let mut in_layers = Range::exactly(0.0);
        let mut milliseconds = Range::exactly(0.0);
        for row in &rows {
            in_layers += row.instructions.unwrap_or(Range::exactly(0.0));
            milliseconds += row.milliseconds.unwrap_or(Range::exactly(0.0));
        }
        let between_layers = in_layers * (counted.overhead() - 1.0).max(0.0);
        (!rows.is_empty()).then_some(Predicted {
            layers: rows,
            instructions: in_layers + between_layers,
            milliseconds: milliseconds + self.milliseconds(between_layers * self.cycles),
            arena_bytes,
            stack_bytes: counted.stack_bytes,
        })
    }

    fn row(&self, layer: Description) -> Row {
        let instructions = self.counts.predict(&layer);
        let waiting = waiting(&self.board.weights, &layer);
        let time = |range: Range| self.milliseconds(range * self.cycles + waiting);
        Row {
            layer,
            instructions: instructions.map(|known| known.range),
            counted: instructions.is_some_and(|known| known.counted),
            milliseconds: instructions.map(|known| time(known.range)),
        }
    }

    fn milliseconds(&self, cycles: Range) -> Range {
        cycles * (1e-3 / self.board.megahertz)
    }
}

/// Cycles in which the core waits for a layer's weights: each byte comes from flash once, or, where no cache keeps them
/// all, as often as the kernel loads it.
fn waiting(flash: &Flash, layer: &Description) -> Range {
    let once = layer.weight_bytes as f64;
    let loads = if layer.weight_bytes > flash.cache { layer.macs as f64 / COLUMNS } else { once };
    Range::new(once, loads.max(once)) * (flash.wait / flash.line as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A convolution of 100 weights, each used 50 times.
    fn layer() -> Description {
        Description {
            layer: 0,
            kind: "conv2d",
            input: [5, 10, 1],
            output: [5, 10, 1],
            kernel: [10, 10],
            stride: [1, 1],
            padding: [0, 0],
            activation_table: false,
            macs: 5000,
            weight_bytes: 100,
            parameter_bytes: 108,
        }
    }

    #[test]
    fn weights_come_once_or_as_often_as_they_are_loaded() {
        let flash = Flash { line: 4, wait: 2.0, cache: 99, branch: 0.0 };
        assert_eq!(waiting(&flash, &layer()), Range::new(50.0, 1250.0));
        assert_eq!(waiting(&Flash { cache: 100, ..flash }, &layer()), Range::exactly(50.0));
        let linear = Description { macs: 100, ..layer() };
        assert_eq!(waiting(&Flash { cache: 0, ..flash }, &linear), Range::exactly(50.0));
    }

    #[test]
    fn names_of_boards() {
        assert_eq!(boards("all").unwrap().len(), BOARDS.len());
        assert_eq!(boards("pico").unwrap()[0].title, "Raspberry Pi Pico (RP2040)");
        let Err(error) = boards("pic") else { panic!("there is a board pic") };
        assert!(BOARDS.iter().all(|board| error.contains(board.name)), "{error}");
    }
}
