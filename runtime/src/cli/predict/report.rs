//! Predictions as text.

use std::fmt::{self, Display};

use serde::Serializer;

use super::boards::Board;
use super::range::Range;
use super::{Need, Predicted, Prediction, Row};
use crate::cli::layers::times;
use crate::cli::table::{Table, grouped};

/// A board as its name.
pub fn name<S: Serializer>(board: &Board, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(board.name)
}

/// A line for each board.
pub fn overview(predictions: &[Prediction]) -> String {
    let mut table = Table::new(["board", "core", ">MHz", ">encode, ms", ">decode, ms", "does not fit"]);
    for prediction in predictions {
        let ms = |call: &Option<Predicted>| call.as_ref().map_or("-".into(), |call| call.milliseconds.to_string());
        table.row([
            &prediction.board.name,
            &prediction.core,
            &prediction.megahertz,
            &ms(&prediction.encode),
            &ms(&prediction.decode),
            &misfits(prediction).join("; "),
        ]);
    }
    format!("predicted milliseconds, `--board NAME` says more\n\n{table}")
}

impl Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Prediction { board, core, megahertz, cycles_per_instruction, .. } = self;
        writeln!(f, "predicted for {}, {core} at {megahertz} MHz", board.title)?;
        for (name, call) in [("encode", &self.encode), ("decode", &self.decode)] {
            if let Some(call) = call {
                write!(f, "\n{name}\n{call}")?;
            }
        }
        writeln!(f, "\nmemory")?;
        for (name, what, Need { needed, available }) in
            [("RAM", "arena and stack", &self.ram), ("flash", "model and code", &self.flash)]
        {
            let [needed, available] = [*needed, *available].map(|bytes| grouped(bytes as u64));
            writeln!(f, "  {name:5}  {needed} bytes of {what}; {available} there are")?;
        }
        for misfit in misfits(self) {
            writeln!(f, "  does not fit: {misfit}")?;
        }
        writeln!(f, "\nwhere this comes from")?;
        writeln!(f, "  instructions: counted in QEMU for the shipped model")?;
        for (family, error) in &self.instruction_errors {
            let percent = 100.0 * error;
            writeln!(
                f,
                "    ~ {family}: from MACs and outputs, by which the counted predict one another to {percent:.0}%"
            )?;
        }
        let Range { low, high } = cycles_per_instruction;
        writeln!(f, "  cycles: {low:.2} to {high:.2} per instruction ({})", board.core.source)?;
        writeln!(f, "  flash: waited for once for each byte of weights, or for every second output")?;
        writeln!(f, "  board: {}", board.source)
    }
}

/// What a board has too little of.
fn misfits(prediction: &Prediction) -> Vec<String> {
    let needs = [("RAM", &prediction.ram), ("flash", &prediction.flash)];
    let misfit = |(name, Need { needed, available }): (&str, &Need)| {
        let [needed, available] = [*needed, *available].map(|bytes| grouped(bytes as u64));
        format!("needs {needed} bytes of {name}, has {available}")
    };
    needs.into_iter().filter(|(_, need)| !need.fits()).map(misfit).collect()
}

impl Display for Predicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([">layer", "kind", "output", ">MACs", ">instructions", ">ms (from to)"]);
        for Row { layer, instructions, counted, milliseconds } in &self.layers {
            let mark = if *counted { "" } else { "~" };
            let count = instructions.map_or("unknown".into(), |range| format!("{mark}{}", whole(range)));
            let ms = milliseconds.map_or("unknown".into(), |range| range.to_string());
            table.row([&layer.layer, &layer.kind, &times(&layer.output), &grouped(layer.macs), &count, &ms]);
        }
        let macs = self.layers.iter().map(|row| row.layer.macs).fold(0, u64::saturating_add);
        table.row([&"", &"total", &"", &grouped(macs), &whole(self.instructions), &self.milliseconds]);
        let [arena, stack] = [self.arena_bytes, self.stack_bytes].map(|bytes| grouped(bytes as u64));
        writeln!(f, "{table}  {arena} bytes of arena, {stack} of stack")
    }
}

/// A range's middle as a whole number.
fn whole(range: Range) -> String {
    grouped(range.middle().round() as u64)
}
