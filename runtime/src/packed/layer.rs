//! A layer rearranged for an instruction set: whole images in, whole images out.

use core::ops::Range;
use std::vec;
use std::vec::Vec;

use super::geometry::{Phase, Plane, phases};
use super::isa::{DOTS, Element, Isa, Scales, Window};
use super::output::{ActivationTable, Output, Sink};
use crate::layer::{self, LayerKind};

/// Where a window starts in the input and where its outputs go, counted in elements.
#[derive(Debug, Clone, Copy)]
struct Position {
    input: usize,
    output: usize,
}

/// The weights of the windows of one phase.
struct Products {
    outputs: usize,
    weights: Vec<i8>,
    numbers: Numbers,
    window: Window,
    positions: Vec<Position>,
}

/// What turns the sums of each output into bytes; zeros fill up the last block.
struct Numbers {
    biases: Vec<i32>,
    multipliers: Vec<i32>,
    negative_multipliers: Vec<i32>,
}

impl Numbers {
    /// From the bytes of a layer's numbers and its biases, for `outputs` outputs or more.
    fn new(mut biases: Vec<i32>, multipliers: &[u8], negative_multipliers: &[u8], outputs: usize) -> Self {
        let [mut multipliers, mut negative_multipliers] = [multipliers, negative_multipliers].map(words);
        for numbers in [&mut biases, &mut multipliers, &mut negative_multipliers] {
            numbers.resize(outputs, 0);
        }
        Numbers { biases, multipliers, negative_multipliers }
    }

    #[inline(always)]
    fn of(&self, outputs: Range<usize>) -> Scales<'_> {
        Scales {
            biases: &self.biases[outputs.clone()],
            multipliers: &self.multipliers[outputs.clone()],
            negative_multipliers: &self.negative_multipliers[outputs],
        }
    }
}

/// How products are laid out: by which function of [`Isa`] they are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Tile,
    Single,
    Dot,
}

impl Layout {
    /// The one for that many positions and outputs.
    fn of<I: Isa>(positions: usize, outputs: usize) -> Layout {
        if positions == 1 {
            Layout::Single
        } else if outputs * 8 <= I::OUTPUTS {
            Layout::Dot
        } else {
            Layout::Tile
        }
    }

    /// Outputs that are computed together.
    fn block<I: Isa>(self) -> usize {
        match self {
            Layout::Tile => I::OUTPUTS,
            Layout::Single => I::SINGLE,
            Layout::Dot => 1,
        }
    }

    /// Products that are computed together.
    fn group<I: Isa>(self) -> usize {
        match self {
            Layout::Tile | Layout::Single => I::GROUP,
            Layout::Dot => I::CHUNK,
        }
    }
}

enum Operation {
    Products {
        layout: Layout,
        phases: Vec<Products>,
    },
    /// A linear layer whose input is int16. Weights are `(inputs, outputs)`; the outputs fill rows of `row` elements, which
    /// start at `rows`.
    Latents {
        weights: Vec<i16>,
        numbers: Numbers,
        rows: Vec<usize>,
        row: usize,
    },
    /// A window of pixels whose maximum is taken, for each output: input offsets.
    Maximum {
        windows: Vec<(usize, Vec<usize>)>,
        channels: usize,
    },
}

/// A layer for instruction set `I`.
pub(super) struct Layer<I: Isa> {
    operation: Operation,
    output: Output,
    table: Option<ActivationTable<I::Element>>,
}

/// Bytes that [`Layer::new`] will take for its weights.
pub(super) fn weight_bytes<I: Isa>(layer: &layer::Layer<'_>) -> u64 {
    let phases = phases(layer).into_iter().map(|phase| {
        let layout = Layout::of::<I>(phase.positions.len(), phase.outputs);
        let run = phase.run.next_multiple_of(layout.group::<I>());
        [phase.rows, run, phase.outputs.next_multiple_of(layout.block::<I>())]
            .into_iter()
            .fold(1, |product, factor| factor as u64 * product)
    });
    phases.sum()
}

impl<I: Isa> Layer<I> {
    /// Rearranges a layer of a loaded model whose input lies in `input` and whose output goes to `output`.
    /// `latents`: the input is int16.
    pub(super) fn new(layer: &layer::Layer<'_>, latents: bool, input: &Plane, output: &Plane) -> Self {
        let operation = match layer.kind {
            LayerKind::Linear if latents => {
                let (inputs, outputs) = (layer.input().len(), layer.output().len());
                let weights =
                    (0..inputs * outputs).map(|at| int8(layer.weights[at % outputs * inputs + at / outputs]).into());
                let (biases, padded) = (words(layer.biases), outputs.next_multiple_of(DOTS));
                Operation::Latents {
                    weights: weights.collect(),
                    numbers: Numbers::new(biases, layer.multipliers, layer.negative_multipliers, padded),
                    rows: (0..layer.output().height).map(|y| output.at([y.cast_signed(), 0])).collect(),
                    row: layer.output().row_len(),
                }
            }
            LayerKind::Conv2d | LayerKind::ConvTranspose2d | LayerKind::Linear => {
                let phases = phases(layer);
                let positions = phases.iter().map(|phase| phase.positions.len()).max().unwrap_or(0);
                let layout = Layout::of::<I>(positions, phases.first().map_or(0, |phase| phase.outputs));
                let phases = phases.iter().map(|phase| Products::new::<I>(phase, layout, input, output));
                Operation::Products { layout, phases: phases.collect() }
            }
            LayerKind::UpsampleNearest | LayerKind::MaxPool => {
                let windows = phases(layer).iter().flat_map(|phase| windows(phase, input, output)).collect();
                Operation::Maximum { windows, channels: layer.input().channels }
            }
        };
        Layer { operation, output: Output::new(layer), table: ActivationTable::new(layer, output) }
    }

    /// Computes the layer.
    #[inline(always)]
    pub(super) fn run_with(&self, isa: I, input: &[I::Element], latents: &[i16], mut sink: Sink<'_, I::Element>) {
        self.compute(isa, input, latents, sink.reborrow());
        if let (Some(table), Sink::Activations(memory)) = (&self.table, sink) {
            table.look_up(memory);
        }
    }

    /// Computes the layer, but for its table.
    #[inline(always)]
    fn compute(&self, isa: I, input: &[I::Element], latents: &[i16], mut sink: Sink<'_, I::Element>) {
        match &self.operation {
            Operation::Products { layout: Layout::Tile, phases } => {
                for phase in phases {
                    self.tiles(isa, phase, input, &mut sink);
                }
            }
            Operation::Products { layout: Layout::Single, phases } => {
                for phase in phases {
                    self.singles(isa, phase, input, &mut sink);
                }
            }
            Operation::Products { layout: Layout::Dot, phases } => {
                for phase in phases {
                    self.dots(isa, phase, input, &mut sink);
                }
            }
            Operation::Latents { weights, numbers, rows, row } => {
                let mut sums = vec![0; numbers.biases.len()];
                for (x, weights) in latents.iter().zip(weights.chunks_exact((rows.len() * row).max(1))) {
                    for (sum, weight) in sums.iter_mut().zip(weights) {
                        *sum += i32::from(*x) * i32::from(*weight);
                    }
                }
                self.output.rescale(isa, &mut sums, numbers.of(0..numbers.biases.len()));
                for (at, sums) in rows.iter().zip(sums.chunks_exact(*row)) {
                    self.output.write(sums, *at.., &mut sink);
                }
            }
            Operation::Maximum { windows, channels } => {
                let Sink::Activations(to) = sink else { return };
                for (at, window) in windows {
                    let to = &mut to[*at..at + channels];
                    to.fill(I::Element::new(i8::MIN.into()));
                    for start in window {
                        for (to, from) in to.iter_mut().zip(&input[*start..start + channels]) {
                            *to = (*to).max(*from);
                        }
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn tiles(&self, isa: I, phase: &Products, input: &[I::Element], sink: &mut Sink<'_, I::Element>) {
        let mut sums = [0; 512];
        let sums = &mut sums[..I::POSITIONS * I::OUTPUTS];
        for (first, weights, scales) in phase.blocks(I::OUTPUTS) {
            for tile in phase.positions.chunks(I::POSITIONS) {
                isa.tile(weights, phase.window, input, &starts(tile), sums);
                for (position, sums) in tile.iter().zip(sums.chunks_exact_mut(I::OUTPUTS)) {
                    let count = sums.len().min(phase.outputs - first);
                    self.output.finish(isa, sums, scales, count, position.output + first, sink);
                }
            }
        }
    }

    #[inline(always)]
    fn singles(&self, isa: I, phase: &Products, input: &[I::Element], sink: &mut Sink<'_, I::Element>) {
        let mut sums = [0; 512];
        let sums = &mut sums[..I::SINGLE];
        for (first, weights, scales) in phase.blocks(I::SINGLE) {
            for position in &phase.positions {
                isa.single(weights, phase.window, input, position.input, sums);
                let count = sums.len().min(phase.outputs - first);
                self.output.finish(isa, sums, scales, count, position.output + first, sink);
            }
        }
    }

    #[inline(always)]
    fn dots(&self, isa: I, phase: &Products, input: &[I::Element], sink: &mut Sink<'_, I::Element>) {
        for (output, weights, scales) in phase.blocks(1) {
            let [biases, multipliers, negative_multipliers] =
                [scales.biases, scales.multipliers, scales.negative_multipliers].map(|one| [one[0]; DOTS]);
            let scales =
                Scales { biases: &biases, multipliers: &multipliers, negative_multipliers: &negative_multipliers };
            for tile in phase.positions.chunks(DOTS) {
                let mut sums = isa.dots(weights, phase.window, input, &starts(tile));
                self.output.rescale(isa, &mut sums, scales);
                self.output.write(&sums, tile.iter().map(|position| position.output + output), sink);
            }
        }
    }
}

/// Where the windows of a tile start; an incomplete one is filled up with its first.
#[inline(always)]
fn starts(tile: &[Position]) -> [usize; DOTS] {
    match tile.as_array::<DOTS>() {
        Some(tile) => tile.map(|position| position.input),
        None => core::array::from_fn(|index| tile[if index < tile.len() { index } else { 0 }].input),
    }
}

impl Products {
    fn new<I: Isa>(phase: &Phase<'_>, layout: Layout, input: &Plane, output: &Plane) -> Self {
        let (block, group) = (layout.block::<I>(), layout.group::<I>());
        let window =
            Window { rows: phase.rows, run: phase.run.next_multiple_of(group), pitch: input.pitch(phase.rows) };
        let outputs = phase.outputs.next_multiple_of(block);
        let mut weights = Vec::with_capacity(outputs * window.rows * window.run);
        // `(outputs / block, rows, run / group, block, group)`
        for first in (0..outputs).step_by(block) {
            for row in 0..window.rows {
                for start in (0..window.run).step_by(group) {
                    for output in first..first + block {
                        weights.extend((start..start + group).map(|at| phase.weight(output, row, at)));
                    }
                }
            }
        }
        let biases = (0..outputs).map(|output| {
            let sum = phase.weights_of(output).iter().map(|weight| i32::from(int8(*weight))).sum::<i32>();
            // May wrap, as the sum of products may; together they end at the true accumulator.
            phase.bias(output).wrapping_sub(sum.wrapping_mul(I::Element::OFFSET))
        });
        let numbers = Numbers::new(biases.collect(), phase.multipliers, phase.negative_multipliers, outputs);
        let positions =
            phase.positions.iter().map(|[from, to]| Position { input: input.at(*from), output: output.at(*to) });
        Products { outputs: phase.outputs, weights, numbers, window, positions: positions.collect() }
    }

    /// For each block of outputs: the first one, the weights, and what turns sums into outputs.
    #[inline(always)]
    fn blocks(&self, block: usize) -> impl Iterator<Item = (usize, &[i8], Scales<'_>)> {
        let size = self.window.rows * self.window.run;
        (0..self.numbers.biases.len()).step_by(block).map(move |first| {
            (first, &self.weights[first * size..][..block * size], self.numbers.of(first..first + block))
        })
    }
}

/// The windows of a layer without weights: where each output goes, and the pixels inside the image.
fn windows(phase: &Phase<'_>, input: &Plane, output: &Plane) -> Vec<(usize, Vec<usize>)> {
    let window = |[[y, x], to]: &[[isize; 2]; 2]| {
        let pixels = (0..phase.rows).flat_map(|row| (0..phase.columns).map(move |column| [row, column]));
        let pixels = pixels.map(|[row, column]| [y + row.cast_signed(), x + column.cast_signed()]);
        (output.at(*to), pixels.filter(|at| input.contains(*at)).map(|at| input.at(at)).collect())
    };
    phase.positions.iter().map(window).collect()
}

fn int8(byte: u8) -> i8 {
    byte.cast_signed()
}

/// int32 from their bytes.
fn words(bytes: &[u8]) -> Vec<i32> {
    bytes.as_chunks().0.iter().map(|word| i32::from_le_bytes(*word)).collect()
}
