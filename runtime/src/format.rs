//! The numbers of `docs/format.md`: offsets, limits and how a field is read. Reader and writer share them.
//!
//! The readers return 0 outside the bytes given; `Model::load` checks lengths before it looks at fields.

pub(crate) const MAGIC: [u8; 8] = *b"UNBRAID\0";
pub(crate) const VERSION: u16 = 1;
/// Bytes of the plan header and of every record after it.
pub(crate) const RECORD_BYTES: usize = 64;
/// Bytes of the length in front of the JSON header.
pub(crate) const PREFIX_BYTES: usize = 8;

/// Most latents a model may have.
pub const MAX_LATENTS: usize = 128;
/// Most layers an encoder or decoder may have.
pub const MAX_LAYERS: usize = 32;
/// Most bytes of a factor's name.
pub const MAX_NAME_BYTES: usize = 40;
pub(crate) const MAX_SIDE: usize = 1024;
pub(crate) const MAX_IMAGE_CHANNELS: usize = 4;
pub(crate) const MAX_KERNEL: usize = 16;
pub(crate) const MAX_BITS: u8 = 15;
pub(crate) const MAX_SHIFT: u8 = 62;
pub(crate) const MAX_TABLE: usize = 65534;
/// Entries of a table of activations: one for each int8.
pub(crate) const ACTIVATIONS: usize = 256;
/// Zero point of the image: pixel p enters as p - 128.
pub(crate) const IMAGE_ZERO_POINT: i8 = -128;
/// 1 nat and the whole share of votes, in the units of a factor record.
pub(crate) const FACTOR_ONE: u32 = 1 << 16;

/// Byte offsets in the plan header.
pub(crate) mod header {
    pub(crate) const VERSION: usize = 8;
    pub(crate) const LENGTH: usize = 10;
    pub(crate) const PLAN_BYTES: usize = 12;
    pub(crate) const DATA_BYTES: usize = 16;
    pub(crate) const CHECKSUM: usize = 20;
    pub(crate) const HEIGHT: usize = 24;
    pub(crate) const WIDTH: usize = 26;
    pub(crate) const CHANNELS: usize = 28;
    pub(crate) const LATENTS: usize = 30;
    pub(crate) const MEAN_BITS: usize = 32;
    pub(crate) const LOG_VAR_BITS: usize = 33;
    pub(crate) const ENCODER_LAYERS: usize = 34;
    pub(crate) const DECODER_LAYERS: usize = 36;
    pub(crate) const FACTORS: usize = 38;
    pub(crate) const RESERVED: usize = 40;
}

/// Byte offsets in a layer record.
pub(crate) mod layer {
    pub(crate) const KIND: usize = 0;
    pub(crate) const OUTPUT: usize = 1;
    pub(crate) const SHIFT: usize = 2;
    pub(crate) const FLAGS: usize = 3;
    pub(crate) const INPUT_SHAPE: usize = 4;
    pub(crate) const OUTPUT_SHAPE: usize = 10;
    pub(crate) const KERNEL: usize = 16;
    pub(crate) const STRIDE: usize = 18;
    pub(crate) const PADDING: usize = 20;
    pub(crate) const INPUT_ZERO_POINT: usize = 22;
    pub(crate) const OUTPUT_ZERO_POINT: usize = 23;
    pub(crate) const MINIMUM: usize = 24;
    pub(crate) const MAXIMUM: usize = 25;
    pub(crate) const TABLE_LENGTH: usize = 26;
    pub(crate) const WEIGHT: usize = 28;
    pub(crate) const BIAS: usize = 32;
    pub(crate) const MULTIPLIER: usize = 36;
    pub(crate) const NEGATIVE_MULTIPLIER: usize = 40;
    pub(crate) const TABLE: usize = 44;
    pub(crate) const TABLE_ZERO_POINT: usize = 48;
    pub(crate) const RESERVED: usize = 49;
}

/// Values of a layer record's `kind`.
pub(crate) mod kind {
    pub(crate) const CONV2D: u8 = 1;
    pub(crate) const CONV_TRANSPOSE2D: u8 = 2;
    pub(crate) const LINEAR: u8 = 3;
    pub(crate) const UPSAMPLE_NEAREST: u8 = 4;
    pub(crate) const MAX_POOL: u8 = 5;
}

/// Values of a layer record's `output`.
pub(crate) mod output {
    pub(crate) const INT8: u8 = 0;
    pub(crate) const CODE: u8 = 1;
    pub(crate) const PIXELS: u8 = 2;
}

/// The one flag of a layer record.
pub(crate) const FLAG_NEGATIVE_MULTIPLIERS: u8 = 1;

/// Byte offsets in a factor record.
pub(crate) mod factor {
    pub(crate) const LATENT: usize = 0;
    pub(crate) const NAME_LENGTH: usize = 2;
    pub(crate) const RESERVED: usize = 3;
    pub(crate) const NAME: usize = 4;
    pub(crate) const LOW: usize = 44;
    pub(crate) const HIGH: usize = 46;
    pub(crate) const CENTER: usize = 48;
    pub(crate) const SCALE: usize = 50;
    pub(crate) const IMPORTANCE: usize = 52;
    pub(crate) const AGREEMENT: usize = 56;
    pub(crate) const PADDING: usize = 60;
}

/// The plan header or a record.
pub(crate) type RecordBytes = [u8; RECORD_BYTES];

/// The byte at `at`, 0 outside.
#[inline(always)]
#[expect(clippy::indexing_slicing, reason = "guarded, and `get` is not const yet")]
pub(crate) const fn u8_at(record: &RecordBytes, at: usize) -> u8 {
    if at < record.len() { record[at] } else { 0 }
}

/// The signed byte at `at`, 0 outside.
pub(crate) const fn i8_at(record: &RecordBytes, at: usize) -> i8 {
    u8_at(record, at).cast_signed()
}

/// The `u16` at `at`.
pub(crate) const fn u16_at(record: &RecordBytes, at: usize) -> u16 {
    u16::from_le_bytes([u8_at(record, at), u8_at(record, at.saturating_add(1))])
}

/// The `u16` at `at`, as a size.
pub(crate) const fn size16_at(record: &RecordBytes, at: usize) -> usize {
    size16(u16_at(record, at))
}

/// The `i16` at `at`.
pub(crate) const fn i16_at(record: &RecordBytes, at: usize) -> i16 {
    i16::from_le_bytes([u8_at(record, at), u8_at(record, at.saturating_add(1))])
}

/// The `u32` at `at`.
pub(crate) const fn u32_at(record: &RecordBytes, at: usize) -> u32 {
    u32::from_le_bytes([
        u8_at(record, at),
        u8_at(record, at.saturating_add(1)),
        u8_at(record, at.saturating_add(2)),
        u8_at(record, at.saturating_add(3)),
    ])
}

/// The byte at `at`, as a size.
pub(crate) const fn size8_at(record: &RecordBytes, at: usize) -> usize {
    size8(u8_at(record, at))
}

/// A byte as a size.
#[expect(clippy::as_conversions, reason = "u8 to usize, and `From` is not const yet")]
pub(crate) const fn size8(value: u8) -> usize {
    value as usize
}

/// A `u16` as a size.
#[expect(clippy::as_conversions, reason = "u16 to usize, and `From` is not const yet")]
pub(crate) const fn size16(value: u16) -> usize {
    value as usize
}

/// A `u32` as a size; `usize::MAX` on machines whose memory it does not fit.
#[expect(clippy::as_conversions, reason = "checked by converting back, and `TryFrom` is not const yet")]
pub(crate) const fn size_of_u32(value: u32) -> usize {
    let size = value as usize;
    if size as u64 == value as u64 { size } else { usize::MAX }
}

/// Where the data section starts: behind the length and the JSON header. `None` if the file ends before.
#[expect(clippy::as_conversions, reason = "no more than the file's length, and `TryFrom` is not const yet")]
pub(crate) const fn data_start(file: &[u8]) -> Option<usize> {
    let Some((prefix, rest)) = file.split_first_chunk() else { return None };
    let json = u64::from_le_bytes(*prefix);
    if json > wide(rest.len()) { None } else { Some((json as usize).saturating_add(PREFIX_BYTES)) }
}

/// A size as a `u64`.
#[expect(clippy::as_conversions, reason = "no machine has more than 64 address bits, and `From` is not const yet")]
pub(crate) const fn wide(size: usize) -> u64 {
    size as u64
}

/// The bytes from `at` on; none outside.
pub(crate) const fn from_byte(bytes: &[u8], at: usize) -> &[u8] {
    match bytes.split_at_checked(at) {
        Some((_, rest)) => rest,
        None => &[],
    }
}
