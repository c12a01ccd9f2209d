//! Row streaming: each layer takes rows and gives rows, and keeps only those that it still needs.
//!
//! In front of each layer lies a ring buffer of as many rows as its kernel spans. The deepest layer that has the input
//! of its next row runs first; a row enters a ring only when the layer behind it lacks one, so the row that it replaces
//! is no longer needed. `plan::Rings` lays out the buffers.

use core::ops::Range;

use crate::code::Code;
use crate::error::RunError;
use crate::format::MAX_LAYERS;
use crate::kernels::{self, Rows};
use crate::layer::ImageShape;
use crate::model::Network;
use crate::plan::{self, Rings};
use crate::profile::Probe;

/// Copies what fits.
#[inline]
pub(crate) fn copy(to: &mut [u8], from: &[u8]) {
    let length = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..length), from.get(..length)) {
        to.copy_from_slice(from);
    }
}

/// How far each layer has come.
#[derive(Debug)]
struct Stream<'a> {
    network: Network<'a>,
    /// Offset of the buffer before each layer, and behind the last, behind the scratch.
    offsets: [usize; MAX_LAYERS + 1],
    /// Rows that have entered the buffer before each layer, and behind the last.
    rows: [usize; MAX_LAYERS + 1],
    /// Input rows that each layer needs for its next row; `usize::MAX` when it has made all.
    needed: [usize; MAX_LAYERS],
}

impl<'a> Stream<'a> {
    fn new(network: Network<'a>) -> Self {
        let mut stream = Stream {
            network,
            offsets: [0; MAX_LAYERS + 1],
            rows: [0; MAX_LAYERS + 1],
            needed: [usize::MAX; MAX_LAYERS],
        };
        let mut rings = Rings::new();
        let mut output_bytes = 0;
        for index in 0..network.layers {
            let layer = network.layer(index);
            let element = if index == 0 { network.element } else { 1 };
            rings = rings.add_input(&layer.record, element);
            stream.place(index, rings, plan::input_bytes(&layer.record, element));
            stream.expect(index, layer.rows_needed(0));
            output_bytes = plan::output_row_bytes(&layer.record);
            if index + 1 == network.layers {
                rings = rings.add_output(&layer.record);
            }
        }
        stream.place(network.layers, rings, output_bytes);
        stream
    }

    fn place(&mut self, index: usize, rings: Rings, bytes: u64) {
        if let Some(offset) = self.offsets.get_mut(index) {
            *offset = size(rings.offset(bytes, self.network.need.rings));
        }
    }

    fn expect(&mut self, index: usize, rows: usize) {
        if let Some(needed) = self.needed.get_mut(index) {
            *needed = rows;
        }
    }

    fn offset(&self, index: usize) -> usize {
        self.offsets.get(index).copied().unwrap_or(0)
    }

    fn rows(&self, index: usize) -> usize {
        self.rows.get(index).copied().unwrap_or(0)
    }

    fn count_row(&mut self, index: usize) {
        if let Some(rows) = self.rows.get_mut(index) {
            *rows += 1;
        }
    }

    /// Whether the last layer has made all rows.
    fn is_done(&self) -> bool {
        self.needed.get(self.network.layers.saturating_sub(1)) == Some(&usize::MAX)
    }

    /// Where the next row goes in the buffer before layer `index`, `row_bytes` long, counted from the row buffers.
    fn slot(&self, index: usize, slots: usize, row_bytes: usize) -> Range<usize> {
        let start = self.offset(index) + self.rows(index) % slots.max(1) * row_bytes;
        start..start + row_bytes
    }

    /// Puts one row in front of the first layer: `fill` writes its bytes. Nothing happens when no more is needed.
    fn push(&mut self, arena: &mut [u8], fill: impl FnOnce(&mut [u8])) {
        if self.is_done() {
            return;
        }
        let record = self.network.layer(0).record;
        let [_, width, channels] = record.input_shape;
        let slot = self.slot(0, record.ring_rows(), width * channels * size(self.network.element));
        let (_, rings) = arena.split_at_mut(size(self.network.need.scratch).min(arena.len()));
        if let Some(row) = rings.get_mut(slot) {
            fill(row);
        }
        self.count_row(0);
    }

    /// Runs every layer that can; `emit` takes the index and the bytes of each row of the last one.
    fn run(&mut self, arena: &mut [u8], probe: &mut impl Probe, mut emit: impl FnMut(usize, &[u8])) {
        while let Some(index) = self.deepest_ready() {
            self.run_row(index, arena, probe, &mut emit);
        }
    }

    /// The deepest layer that has the input of its next row, unless all is done.
    fn deepest_ready(&self) -> Option<usize> {
        if self.is_done() {
            return None;
        }
        let ready = self.rows.iter().zip(&self.needed).take(self.network.layers);
        ready.rev().position(|(rows, needed)| rows >= needed).map(|from_end| self.network.layers - 1 - from_end)
    }

    /// Computes the next row of layer `index`.
    fn run_row(&mut self, index: usize, arena: &mut [u8], probe: &mut impl Probe, emit: &mut impl FnMut(usize, &[u8])) {
        probe.begin(index);
        let layer = self.network.layer(index);
        let y = self.rows(index + 1);
        let last = index + 1 == self.network.layers;
        let element = if index == 0 { self.network.element } else { 1 };
        let start = self.offset(index);
        let input = start..start + size(plan::input_bytes(&layer.record, element));
        let slots = if last { 1 } else { self.network.layer(index + 1).record.ring_rows() };
        let output = self.slot(index + 1, slots, size(plan::output_row_bytes(&layer.record)));

        let (scratch, rings) = arena.split_at_mut(size(self.network.need.scratch).min(arena.len()));
        let (input, output) = apart(rings, input, output);
        let shape = layer.input();
        let rows = Rows { bytes: input, row_bytes: shape.row_len(), height: shape.height };
        kernels::run_row(&layer, element == plan::LATENT_BYTES, y, rows, scratch, output);

        self.count_row(index + 1);
        let next = if y + 1 == layer.output().height { usize::MAX } else { layer.rows_needed(y + 1) };
        self.expect(index, next);
        probe.end(index);
        if last {
            emit(y, output);
        }
    }
}

/// Two ranges of `bytes` that do not overlap: one to read, one to write.
fn apart(bytes: &mut [u8], input: Range<usize>, output: Range<usize>) -> (&[u8], &mut [u8]) {
    let later = input.start.max(output.start);
    let (before, behind) = bytes.split_at_mut(later.min(bytes.len()));
    if later == output.start {
        (before.get(input).unwrap_or(&[]), behind.get_mut(..output.len()).unwrap_or(&mut []))
    } else {
        (behind.get(..input.len()).unwrap_or(&[]), before.get_mut(output).unwrap_or(&mut []))
    }
}

/// A size that loading has found to fit.
fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The part of an arena that a network needs.
fn working_memory<'m>(network: &Network<'_>, arena: &'m mut [u8]) -> Result<&'m mut [u8], RunError> {
    let (expected, found) = (size(network.need.total()), arena.len());
    arena.get_mut(..expected).ok_or(RunError::ArenaSize { expected, found })
}

/// Encodes an image that arrives row by row, from the top.
#[derive(Debug)]
pub struct Encoder<'m> {
    stream: Stream<'m>,
    arena: &'m mut [u8],
    code: Code,
    image: ImageShape,
    pushed: usize,
}

impl<'m> Encoder<'m> {
    pub(crate) fn new(
        network: Network<'m>,
        code: Code,
        image: ImageShape,
        arena: &'m mut [u8],
    ) -> Result<Self, RunError> {
        let arena = working_memory(&network, arena)?;
        Ok(Encoder { stream: Stream::new(network), arena, code, image, pushed: 0 })
    }

    /// Takes the next row, `(W, C)` bytes, and computes all that it makes possible.
    ///
    /// # Errors
    ///
    /// If the row has another size, or the image is already complete.
    pub fn push_row(&mut self, row: &[u8]) -> Result<(), RunError> {
        self.push_row_profiled(row, &mut ())
    }

    /// [`push_row`](Self::push_row), with a probe called around each row of each layer.
    ///
    /// # Errors
    ///
    /// As `push_row`.
    pub fn push_row_profiled(&mut self, row: &[u8], probe: &mut impl Probe) -> Result<(), RunError> {
        let (expected, found) = (self.image.row_len(), row.len());
        if found != expected {
            return Err(RunError::RowSize { expected, found });
        }
        if self.pushed == self.image.height {
            return Err(RunError::RowCount { expected: self.image.height, found: self.pushed + 1 });
        }
        self.pushed += 1;
        // p - 128 in two's complement is p with its top bit flipped.
        self.stream.push(self.arena, |slot| {
            for (to, pixel) in slot.iter_mut().zip(row) {
                *to = pixel ^ 0x80;
            }
        });
        let Encoder { stream, arena, code, .. } = self;
        stream.run(arena, probe, |y, row| {
            let values = row.as_chunks().0.iter().map(|raw| i16::from_le_bytes(*raw));
            let first = y * values.len();
            for (feature, raw) in (first..).zip(values) {
                // The last layer's features are the means, then the log-variances: `load` has counted them.
                let _ = match feature.checked_sub(code.latents()) {
                    None => code.set_raw(feature, raw),
                    Some(latent) => code.set_log_var_raw(latent, raw),
                };
            }
        });
        Ok(())
    }

    /// The code of the image.
    ///
    /// # Errors
    ///
    /// If rows are missing.
    pub fn finish(self) -> Result<Code, RunError> {
        let (expected, found) = (self.image.height, self.pushed);
        if found == expected { Ok(self.code) } else { Err(RunError::RowCount { expected, found }) }
    }
}

/// Decodes int16 latents, `(L)`; `draw` takes each row of pixels.
pub(crate) fn decode(
    network: Network<'_>,
    latents: &[i16],
    arena: &mut [u8],
    probe: &mut impl Probe,
    draw: impl FnMut(usize, &[u8]),
) -> Result<(), RunError> {
    let arena = working_memory(&network, arena)?;
    let mut stream = Stream::new(network);
    stream.push(arena, |slot| {
        for (to, latent) in slot.as_chunks_mut().0.iter_mut().zip(latents) {
            *to = latent.to_le_bytes();
        }
    });
    stream.run(arena, probe, draw);
    Ok(())
}
