//! Row streaming: each layer takes rows and gives rows, and keeps only those that it still needs.
//!
//! In front of each layer lies a ring buffer of as many rows as its kernel spans. The deepest layer that has the input
//! of its next row runs first; a row enters a ring only when the layer behind it lacks one, so the row that it replaces
//! is no longer needed. `plan::Rings` lays out the buffers. How far each has come is noted in the arena: the stack would
//! have to hold room for the most layers that there can be.

use core::ops::Range;

use crate::code::Code;
use crate::error::RunError;
use crate::format::size_of_u32;
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

/// The buffer before a layer, or behind the last one, and how far it has come. It lies in the arena: any bytes are one.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Ring {
    /// Where it starts, counted from the row buffers' start behind the scratch.
    offset: u32,
    /// Rows that have entered it.
    rows: u16,
    /// Rows that have to, for the layer behind it to compute its next row; `ALL_MADE` when it has made all.
    needed: u16,
}

/// More rows than any layer has: `format::MAX_SIDE` is the most.
const ALL_MADE: u16 = u16::MAX;

/// A network at work.
#[derive(Debug)]
struct Stream<'a> {
    network: &'a Network<'a>,
    /// One before each layer, one behind the last.
    rings: &'a mut [Ring],
}

impl<'a> Stream<'a> {
    /// A network that is not at work yet, [`start`](Self::start) follows; and the rest of its `working_memory`.
    #[inline(always)]
    fn idle(network: &'a Network<'a>, arena: &'a mut [u8]) -> (Self, &'a mut [u8]) {
        let (table, rest) = arena.split_at_mut(network.need.table.min(arena.len()));
        (Stream { network, rings: kernels::rings_mut(table) }, rest)
    }

    /// Lays out the buffers.
    #[inline(never)]
    fn start(&mut self) {
        let network = self.network;
        let mut layout = Rings::new();
        for index in 0..network.layers {
            let layer = network.layer(index);
            let element = self.element(index);
            layout.add_input(&layer.record, element);
            let offset = layout.offset(plan::input_bytes(&layer.record, element), network.need.rings);
            self.set_ring(index, Ring { offset: short(offset), rows: 0, needed: narrow(layer.rows_needed(0)) });
        }
        let last = network.record(network.layers.saturating_sub(1));
        layout.add_output(&last);
        let offset = layout.offset(plan::output_row_bytes(&last), network.need.rings);
        self.set_ring(network.layers, Ring { offset: short(offset), rows: 0, needed: ALL_MADE });
    }

    fn ring(&self, index: usize) -> Ring {
        self.rings.get(index).copied().unwrap_or(Ring { offset: 0, rows: 0, needed: ALL_MADE })
    }

    fn set_ring(&mut self, index: usize, ring: Ring) {
        if let Some(to) = self.rings.get_mut(index) {
            *to = ring;
        }
    }

    fn count_row(&mut self, index: usize) {
        if let Some(ring) = self.rings.get_mut(index) {
            ring.rows += 1;
        }
    }

    /// Whether the last layer has made all rows.
    fn is_done(&self) -> bool {
        self.ring(self.network.layers.saturating_sub(1)).needed == ALL_MADE
    }

    /// Where the next row goes in the buffer before layer `index`, or behind the last, counted from the row buffers.
    // Its variables are on the stack only while it runs.
    #[inline(never)]
    fn slot(&self, index: usize) -> Range<usize> {
        let (slots, row_bytes) = if index < self.network.layers {
            let record = self.network.record(index);
            let [_, width, channels] = record.input_shape();
            (record.ring_rows(), width * channels * self.element(index))
        } else {
            (1, plan::output_row_bytes(&self.network.record(self.network.layers.saturating_sub(1))))
        };
        let ring = self.ring(index);
        let start = size_of_u32(ring.offset) + usize::from(ring.rows) % slots.max(1) * row_bytes;
        start..start + row_bytes
    }

    /// Bytes of an element of the input of layer `index`.
    fn element(&self, index: usize) -> usize {
        if index == 0 { self.network.element() } else { 1 }
    }

    /// Adds a row in front of the first layer; its bytes are to be written. None when no more is needed.
    #[inline(never)]
    fn push<'m>(&mut self, arena: &'m mut [u8]) -> &'m mut [u8] {
        if self.is_done() {
            return &mut [];
        }
        let slot = self.slot(0);
        self.count_row(0);
        let (_, rings) = arena.split_at_mut(self.network.need.scratch.min(arena.len()));
        rings.get_mut(slot).unwrap_or(&mut [])
    }

    /// Runs every layer that can; `emit` takes the index and the bytes of each row of the last one.
    fn run(&mut self, arena: &mut [u8], probe: &mut impl Probe, mut emit: impl FnMut(usize, &[u8])) {
        while let Some(index) = self.deepest_ready() {
            probe.begin(index);
            let (y, row) = self.run_row(index, arena);
            probe.end(index);
            if index + 1 == self.network.layers {
                emit(y, row);
            }
        }
    }

    /// The deepest layer that has the input of its next row, unless all is done.
    fn deepest_ready(&self) -> Option<usize> {
        if self.is_done() {
            return None;
        }
        let rings = self.rings.get(..self.network.layers)?;
        rings.iter().rposition(|ring| ring.rows >= ring.needed)
    }

    /// Computes the next row of layer `index`; returns its index and bytes.
    // The same code for every probe and closure.
    #[inline(never)]
    fn run_row<'m>(&mut self, index: usize, arena: &'m mut [u8]) -> (usize, &'m [u8]) {
        let layer = self.network.layer(index);
        let y = usize::from(self.ring(index + 1).rows);
        let element = self.element(index);
        let start = size_of_u32(self.ring(index).offset);
        let input = start..start + plan::input_bytes(&layer.record, element);
        let output = self.slot(index + 1);

        let (scratch, rings) = arena.split_at_mut(self.network.need.scratch.min(arena.len()));
        let (input, output) = apart(rings, input, output);
        let shape = layer.input();
        let rows = Rows { bytes: input, row_bytes: shape.row_len(), height: shape.height };
        kernels::run_row(&layer, element == plan::LATENT_BYTES, y, rows, scratch, output);
        // Here and not behind the kernels' calls: what a layer keeps for it would deepen their stack.
        kernels::look_up_row(&layer, output);

        self.count_row(index + 1);
        let next = if y + 1 == layer.output().height { ALL_MADE } else { narrow(layer.rows_needed(y + 1)) };
        if let Some(ring) = self.rings.get_mut(index) {
            ring.needed = next;
        }
        (y, output)
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

/// A number of rows, at most `format::MAX_SIDE`.
fn narrow(rows: usize) -> u16 {
    u16::try_from(rows).unwrap_or(ALL_MADE)
}

/// An offset in an arena, which `addressable` keeps so small.
fn short(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// The part of an arena that a network needs.
// Once in a small device's flash.
#[inline(never)]
pub(crate) fn working_memory<'m>(network: &Network<'_>, arena: &'m mut [u8]) -> Result<&'m mut [u8], RunError> {
    let (expected, found) = (network.need.total(), arena.len());
    arena.get_mut(..expected).ok_or(RunError::ArenaSize { expected, found })
}

/// An image on its way through the encoder.
#[derive(Debug)]
pub(crate) struct Encoding<'m> {
    stream: Stream<'m>,
    arena: &'m mut [u8],
    image: ImageShape,
    pushed: usize,
}

impl<'m> Encoding<'m> {
    /// `arena` is the network's `working_memory`.
    #[inline(always)]
    pub(crate) fn new(network: &'m Network<'m>, image: ImageShape, arena: &'m mut [u8]) -> Self {
        let (stream, arena) = Stream::idle(network, arena);
        Encoding { stream, arena, image, pushed: 0 }
    }

    /// Takes the next row and computes all that it makes possible; the last one completes `code`.
    pub(crate) fn push_row(&mut self, row: &[u8], code: &mut Code, probe: &mut impl Probe) -> Result<(), RunError> {
        let (expected, found) = (self.image.row_len(), row.len());
        if found != expected {
            return Err(RunError::RowSize { expected, found });
        }
        if self.pushed == self.image.height {
            return Err(RunError::RowCount { expected: self.image.height, found: self.pushed + 1 });
        }
        self.add_row(row, code, probe);
        Ok(())
    }

    /// [`push_row`](Self::push_row) of a row that fits.
    pub(crate) fn add_row(&mut self, row: &[u8], code: &mut Code, probe: &mut impl Probe) {
        if self.pushed == 0 {
            self.stream.start();
        }
        self.pushed += 1;
        // p - 128 in two's complement is p with its top bit flipped.
        for (to, pixel) in self.stream.push(self.arena).iter_mut().zip(row) {
            *to = pixel ^ 0x80;
        }
        self.stream.run(self.arena, probe, |y, row| {
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
    }

    /// Refuses an image of which rows are missing.
    fn finish(&self) -> Result<(), RunError> {
        let (expected, found) = (self.image.height, self.pushed);
        if found == expected { Ok(()) } else { Err(RunError::RowCount { expected, found }) }
    }
}

/// Encodes an image that arrives row by row, from the top.
#[derive(Debug)]
pub struct Encoder<'m> {
    encoding: Encoding<'m>,
    code: Code,
}

impl<'m> Encoder<'m> {
    pub(crate) fn new(encoding: Encoding<'m>, code: Code) -> Self {
        Encoder { encoding, code }
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
        self.encoding.push_row(row, &mut self.code, probe)
    }

    /// The code of the image.
    ///
    /// # Errors
    ///
    /// If rows are missing.
    pub fn finish(self) -> Result<Code, RunError> {
        self.encoding.finish()?;
        Ok(self.code)
    }
}

/// Decodes int16 latents, `(L)`; `draw` takes each row of pixels.
pub(crate) fn decode(
    network: &Network<'_>,
    latents: &[i16],
    arena: &mut [u8],
    probe: &mut impl Probe,
    draw: impl FnMut(usize, &[u8]),
) -> Result<(), RunError> {
    let arena = working_memory(network, arena)?;
    let (mut stream, arena) = Stream::idle(network, arena);
    stream.start();
    for (to, latent) in stream.push(arena).as_chunks_mut().0.iter_mut().zip(latents) {
        *to = latent.to_le_bytes();
    }
    stream.run(arena, probe, draw);
    Ok(())
}
