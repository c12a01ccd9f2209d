//! A layer record as numbers, and the working memory that a network of them needs.
//!
//! The compiler can evaluate all of it, so that firmware knows its memory from the file it embeds.

use crate::format::{
    self, RECORD_BYTES, RecordBytes, header, i8_at, kind, layer, output, size8, size16, size16_at, u8_at, u16_at,
    u32_at,
};
use crate::kernels::MISALIGNMENT;
use crate::stream::Ring;

/// Outputs of a row that are computed at a time, and whose patches of the input lie in the scratch.
pub(crate) const COLUMNS: usize = 2;
/// Most bytes of their patches that are there at a time. How many elements that is depends on the instruction set; the
/// size does not, so that a workstation knows a device's. Twice as many make a Cortex-M4 2 % faster, half as many 5 %
/// slower.
const PATCHES_BYTES: usize = 256;
/// Most bytes of an element of a patch on any instruction set.
const ELEMENT_BYTES: usize = 4;
/// Elements of a patch are written in groups of so many on some.
const ELEMENT_GROUP: usize = 4;
/// Most features of a linear layer, or input columns of a narrow convolution, that are accumulated at a time.
pub(crate) const BLOCK_ROWS: usize = 64;
/// Bytes of what is kept of each row buffer.
const RING_BYTES: usize = size_of::<Ring>();
/// Bytes of an element of the encoder's input.
pub(crate) const PIXEL_BYTES: usize = 1;
/// Bytes of an element of the decoder's input, an int16.
pub(crate) const LATENT_BYTES: usize = 2;
/// Bytes of a 32-bit accumulator, bias or multiplier.
pub(crate) const WORD_BYTES: usize = 4;

/// A layer record as in the file, and as narrow: it lies on small stacks. Pairs are (vertical, horizontal), shapes
/// `(H, W, C)`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) weight: u32,
    pub(crate) bias: u32,
    pub(crate) multiplier: u32,
    pub(crate) negative_multiplier: u32,
    pub(crate) table: u32,
    input_shape: [u16; 3],
    output_shape: [u16; 3],
    table_length: u16,
    kernel: [u8; 2],
    stride: [u8; 2],
    padding: [u8; 2],
    pub(crate) kind: u8,
    pub(crate) output: u8,
    pub(crate) shift: u8,
    pub(crate) flags: u8,
    pub(crate) input_zero_point: i8,
    pub(crate) output_zero_point: i8,
    pub(crate) minimum: i8,
    pub(crate) maximum: i8,
    pub(crate) table_zero_point: i8,
}

impl Record {
    /// Reads a record from its 64 bytes.
    pub(crate) const fn read(bytes: &RecordBytes) -> Record {
        Record {
            weight: u32_at(bytes, layer::WEIGHT),
            bias: u32_at(bytes, layer::BIAS),
            multiplier: u32_at(bytes, layer::MULTIPLIER),
            negative_multiplier: u32_at(bytes, layer::NEGATIVE_MULTIPLIER),
            table: u32_at(bytes, layer::TABLE),
            input_shape: shape_at(bytes, layer::INPUT_SHAPE),
            output_shape: shape_at(bytes, layer::OUTPUT_SHAPE),
            table_length: u16_at(bytes, layer::TABLE_LENGTH),
            kernel: pair_at(bytes, layer::KERNEL),
            stride: pair_at(bytes, layer::STRIDE),
            padding: pair_at(bytes, layer::PADDING),
            kind: u8_at(bytes, layer::KIND),
            output: u8_at(bytes, layer::OUTPUT),
            shift: u8_at(bytes, layer::SHIFT),
            flags: u8_at(bytes, layer::FLAGS),
            input_zero_point: i8_at(bytes, layer::INPUT_ZERO_POINT),
            output_zero_point: i8_at(bytes, layer::OUTPUT_ZERO_POINT),
            minimum: i8_at(bytes, layer::MINIMUM),
            maximum: i8_at(bytes, layer::MAXIMUM),
            table_zero_point: i8_at(bytes, layer::TABLE_ZERO_POINT),
        }
    }

    pub(crate) const fn input_shape(&self) -> [usize; 3] {
        sizes(self.input_shape)
    }

    pub(crate) const fn output_shape(&self) -> [usize; 3] {
        sizes(self.output_shape)
    }

    pub(crate) const fn kernel(&self) -> [usize; 2] {
        pair(self.kernel)
    }

    pub(crate) const fn stride(&self) -> [usize; 2] {
        pair(self.stride)
    }

    pub(crate) const fn padding(&self) -> [usize; 2] {
        pair(self.padding)
    }

    /// Entries of the table.
    pub(crate) const fn table_length(&self) -> usize {
        size16(self.table_length)
    }

    /// The zero point of what the next layer gets.
    pub(crate) const fn next_zero_point(&self) -> i8 {
        if self.table_length() == 0 { self.output_zero_point } else { self.table_zero_point }
    }

    /// Whether the layer waits for its whole input.
    const fn needs_all_rows(&self) -> bool {
        self.kind == kind::LINEAR
    }

    /// Input rows that the layer has to see at once: the slots of its ring buffer.
    pub(crate) const fn ring_rows(&self) -> usize {
        let [height, _, _] = self.input_shape();
        let [kernel, _] = self.kernel();
        let [stride, _] = self.stride();
        let window = match self.kind {
            kind::CONV2D | kind::MAX_POOL => kernel,
            kind::CONV_TRANSPOSE2D => taps(kernel, stride, 0),
            kind::UPSAMPLE_NEAREST => 1,
            _ => height,
        };
        if window < height { window } else { height }
    }

    /// Bytes of scratch for one output row.
    const fn scratch_bytes(&self) -> usize {
        let [in_height, in_width, in_channels] = self.input_shape();
        let [_, out_width, out_channels] = self.output_shape();
        let [kernel_height, kernel_width] = self.kernel();
        let [stride_height, stride_width] = self.stride();
        let (rows, taps_height, taps_width) = match self.kind {
            kind::CONV2D => (out_channels, kernel_height, kernel_width),
            kind::CONV_TRANSPOSE2D => {
                let columns = smaller(in_width, BLOCK_ROWS);
                let rows = if columns < out_channels { out_channels } else { columns };
                (rows, taps(kernel_height, stride_height, 0), taps(kernel_width, stride_width, 0))
            }
            kind::LINEAR => {
                let features = out_width.saturating_mul(out_channels);
                (smaller(features, BLOCK_ROWS), in_height, in_width)
            }
            _ => return 0,
        };
        let patch = taps_height.saturating_mul(taps_width).saturating_mul(in_channels);
        block_bytes(rows, patch)
    }
}

/// Bytes of a block product: a sum for each row and column, and patches of up to `patch` elements.
const fn block_bytes(rows: usize, patch: usize) -> usize {
    let sums = rows.saturating_mul(COLUMNS).saturating_mul(WORD_BYTES);
    let groups = patch.div_ceil(ELEMENT_GROUP).saturating_mul(ELEMENT_GROUP);
    let patches = groups.saturating_mul(COLUMNS).saturating_mul(ELEMENT_BYTES);
    MISALIGNMENT.saturating_add(sums).saturating_add(smaller(patches, PATCHES_BYTES))
}

/// Kernel rows (or columns) of a transposed convolution that reach outputs of phase `phase`.
pub(crate) const fn taps(kernel: usize, stride: usize, phase: usize) -> usize {
    if stride == 0 { 0 } else { kernel.saturating_sub(phase).div_ceil(stride) }
}

const fn smaller(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
}

const fn pair_at(bytes: &RecordBytes, at: usize) -> [u8; 2] {
    [u8_at(bytes, at), u8_at(bytes, at.saturating_add(1))]
}

const fn shape_at(bytes: &RecordBytes, at: usize) -> [u16; 3] {
    [u16_at(bytes, at), u16_at(bytes, at.saturating_add(2)), u16_at(bytes, at.saturating_add(4))]
}

const fn pair([vertical, horizontal]: [u8; 2]) -> [usize; 2] {
    [size8(vertical), size8(horizontal)]
}

const fn sizes([height, width, channels]: [u16; 3]) -> [usize; 3] {
    [size16(height), size16(width), size16(channels)]
}

/// The plan's record `index`, the header counted as record 0; zeros outside.
// Once in a small device's flash.
#[inline(never)]
pub(crate) const fn record(plan: &[u8], index: usize) -> &RecordBytes {
    match format::from_byte(plan, index.saturating_mul(RECORD_BYTES)).first_chunk() {
        Some(record) => record,
        None => &[0; RECORD_BYTES],
    }
}

/// Where the row buffers of a network lie: one before each layer, one after the last.
///
/// A linear layer waits for its whole input. Once that has arrived, all buffers before it are dead, and only then those
/// behind it come to life. So buffers form stages, each from a linear layer's input to the next one's; a stage is alive
/// together with the first buffer of the next, and may share memory with the others. Stages are laid out from the two
/// ends of the arena in turn.
#[derive(Debug)]
pub(crate) struct Rings {
    from_end: bool,
    /// Bytes of the current stage.
    used: usize,
    /// Most bytes alive at a time so far.
    peak: usize,
}

impl Rings {
    pub(crate) const fn new() -> Rings {
        Rings { from_end: false, used: 0, peak: 0 }
    }

    /// Adds the buffer before a layer, whose elements have `element` bytes.
    pub(crate) const fn add_input(&mut self, record: &Record, element: usize) {
        let bytes = input_bytes(record, element);
        self.add(bytes);
        if record.needs_all_rows() {
            self.from_end = !self.from_end;
            self.used = bytes;
        }
    }

    /// Adds the buffer after the last layer, one row.
    pub(crate) const fn add_output(&mut self, record: &Record) {
        self.add(output_row_bytes(record));
    }

    const fn add(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes);
        if self.used > self.peak {
            self.peak = self.used;
        }
    }

    /// Offset of the buffer added last, `bytes` long, in an area of `total` bytes.
    pub(crate) const fn offset(&self, bytes: usize, total: usize) -> usize {
        if self.from_end { total.saturating_sub(self.used) } else { self.used.saturating_sub(bytes) }
    }
}

/// Bytes of the buffer before a layer, from the bytes of an element.
pub(crate) const fn input_bytes(record: &Record, element: usize) -> usize {
    let [_, width, channels] = record.input_shape();
    width.saturating_mul(channels).saturating_mul(record.ring_rows()).saturating_mul(element)
}

/// Bytes of one output row: codes are int16, all else bytes.
pub(crate) const fn output_row_bytes(record: &Record) -> usize {
    let [_, width, channels] = record.output_shape();
    let element = if record.output == output::CODE { 2 } else { 1 };
    width.saturating_mul(channels).saturating_mul(element)
}

/// The working memory of one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Need {
    /// Bytes of what is kept of the row buffers, first in the arena.
    pub(crate) table: usize,
    /// Bytes of patches and sums, behind it.
    pub(crate) scratch: usize,
    /// Bytes of row buffers, behind it.
    pub(crate) rings: usize,
}

impl Need {
    /// The need of `layers` layers whose records start at record `first` of the plan; `element` bytes are an element
    /// of the first layer's input.
    pub(crate) const fn of(plan: &[u8], first: usize, layers: usize, element: usize) -> Need {
        let mut need = Need { table: 0, scratch: 0, rings: 0 };
        let mut rings = Rings::new();
        let mut index = 0;
        while index < layers {
            let layer = Record::read(record(plan, first.saturating_add(index)));
            rings.add_input(&layer, if index == 0 { element } else { 1 });
            let scratch = layer.scratch_bytes();
            if scratch > need.scratch {
                need.scratch = scratch;
            }
            index = index.saturating_add(1);
            if index == layers {
                rings.add_output(&layer);
                need.table = index.saturating_add(1).saturating_mul(RING_BYTES).saturating_add(MISALIGNMENT);
            }
        }
        need.rings = rings.peak;
        need
    }

    pub(crate) const fn total(&self) -> usize {
        self.table.saturating_add(self.scratch).saturating_add(self.rings)
    }
}

/// Needs of the encoder and decoder of a file whose plan is there; only the magic is checked.
pub(crate) const fn needs(file: &[u8]) -> Option<(Need, Need)> {
    let Some(start) = format::data_start(file) else { return None };
    let plan = format::from_byte(file, start);
    let header_record = record(plan, 0);
    let Some(magic) = header_record.first_chunk() else { return None };
    if u64::from_le_bytes(*magic) != u64::from_le_bytes(format::MAGIC) {
        return None;
    }
    let encoder = size16_at(header_record, header::ENCODER_LAYERS);
    let decoder = size16_at(header_record, header::DECODER_LAYERS);
    if encoder > format::MAX_LAYERS || decoder > format::MAX_LAYERS {
        return None;
    }
    let records = encoder.saturating_add(decoder).saturating_add(1);
    if plan.len() < records.saturating_mul(RECORD_BYTES) {
        return None;
    }
    let decoder = Need::of(plan, encoder.saturating_add(1), decoder, LATENT_BYTES);
    Some((Need::of(plan, 1, encoder, PIXEL_BYTES), decoder))
}
