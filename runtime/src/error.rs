//! What can go wrong, one variant a cause, with the values that disagree.

use core::fmt;

use crate::code::CodeError;
use crate::format::MAX_NAME_BYTES;
use crate::names::{Array, Field, Part};

/// Any error of this crate, for callers who only pass it on.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file is not a model.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Encoding or decoding was given the wrong buffers.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A latent could not be set.
    #[error(transparent)]
    Code(#[from] CodeError),
    /// The model has no factor of that name.
    #[error(transparent)]
    UnknownFactor(#[from] UnknownFactor),
}

/// The part of a file that an error speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The 64 bytes at the start of the plan.
    Header,
    /// An encoder layer, from 0.
    Encoder(usize),
    /// A decoder layer, from 0.
    Decoder(usize),
    /// A factor record, from 0.
    Factor(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Header => f.write_str("plan header"),
            Place::Encoder(index) => write!(f, "encoder layer {index}"),
            Place::Decoder(index) => write!(f, "decoder layer {index}"),
            Place::Factor(index) => write!(f, "factor {index}"),
        }
    }
}

/// What a field may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// One value.
    Exactly(i64),
    /// Anything between two values, both included.
    Between(i64, i64),
    /// Even numbers between two values, both included.
    EvenBetween(i64, i64),
    /// A multiple of the value.
    MultipleOf(i64),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Exactly(value) => write!(f, "{value}"),
            Expected::Between(low, high) => write!(f, "{low} to {high}"),
            Expected::EvenBetween(low, high) => write!(f, "an even number from {low} to {high}"),
            Expected::MultipleOf(value) => write!(f, "a multiple of {value}"),
        }
    }
}

/// Why a file is not a model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file ends too early.
    #[error("the file ends in the {part}: {expected} bytes needed, {found} found")]
    Truncated {
        /// What is cut off.
        part: Part,
        /// Bytes that it needs.
        expected: u64,
        /// Bytes that there are.
        found: u64,
    },
    /// The data section does not start with `UNBRAID\0`.
    #[error("not an Unbraid model: the first tensor starts with {found:02x?}, not with \"UNBRAID\\0\"")]
    Magic {
        /// Its first eight bytes.
        found: [u8; 8],
    },
    /// A newer or older layout than this reader knows.
    #[error("format version {found}, this reader knows version {expected}")]
    Version {
        /// The file's version.
        found: u64,
        /// The version read here.
        expected: u64,
    },
    /// The bytes have changed since they were written.
    #[error("checksum {found:08x} does not match the bytes, which have {expected:08x}")]
    Checksum {
        /// The checksum in the plan header.
        found: u32,
        /// The checksum of the bytes.
        expected: u32,
    },
    /// A field holds a value that it may not hold.
    #[error("{place}: {field} is {found}, expected {expected}")]
    Value {
        /// The record.
        place: Place,
        /// The field.
        field: Field,
        /// Its value.
        found: i64,
        /// What is allowed.
        expected: Expected,
    },
    /// An array reaches into the plan or out of the data section.
    #[error("{place}: {array} lies at {start}..{end}, outside the tensors at {first}..{last}")]
    Array {
        /// The layer.
        place: Place,
        /// The array.
        array: Array,
        /// First byte, counted from the data section.
        start: u64,
        /// Byte behind the last.
        end: u64,
        /// Where tensors start: the plan's end.
        first: u64,
        /// Where tensors end: the data section's end.
        last: u64,
    },
    /// A bias is so large that the 32-bit accumulator could overflow.
    #[error("{place}: bias {index} has magnitude {found}, more than {limit}: the accumulator could overflow")]
    Bias {
        /// The layer.
        place: Place,
        /// Index of the bias.
        index: usize,
        /// Its magnitude.
        found: u64,
        /// The most that is safe for this many products.
        limit: u64,
    },
    /// A factor's name is not UTF-8, or holds control characters.
    #[error("{place}: the name is not printable UTF-8")]
    Name {
        /// The factor.
        place: Place,
    },
    /// Two factors share a name or a latent.
    #[error("{place}: {field} is the same as that of {first}")]
    Duplicate {
        /// The later factor.
        place: Place,
        /// What they share.
        field: Field,
        /// The earlier factor.
        first: Place,
    },
    /// The working memory is more than this machine can address.
    #[error("the model needs {needed} bytes of working memory, more than this machine can address")]
    Memory {
        /// Bytes needed.
        needed: u64,
    },
    /// The JSON header is not a valid safetensors header.
    #[cfg(feature = "std")]
    #[error("safetensors header: {message}")]
    Json {
        /// What the safetensors reader said.
        message: std::string::String,
    },
    /// The JSON header does not name an array that the plan names.
    #[cfg(feature = "std")]
    #[error("safetensors header: no tensor {name:?}, which the plan places at {expected}")]
    MissingTensor {
        /// The tensor's name.
        name: std::string::String,
        /// Its offset in the plan.
        expected: u64,
    },
    /// The JSON header and the plan describe a tensor differently.
    #[cfg(feature = "std")]
    #[error("safetensors header: tensor {name:?} has {field} {found}, the plan says {expected}")]
    Tensor {
        /// The tensor's name.
        name: std::string::String,
        /// What disagrees: dtype, offset or length.
        field: &'static str,
        /// In the JSON header.
        found: std::string::String,
        /// In the plan.
        expected: std::string::String,
    },
}

/// Why an encode or decode could not start or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The model was exported without an encoder.
    #[error("the model has no encoder")]
    NoEncoder,
    /// The model was exported without a decoder.
    #[error("the model has no decoder")]
    NoDecoder,
    /// The arena is too small.
    #[error("the arena has {found} bytes, {expected} are needed")]
    ArenaSize {
        /// Bytes needed.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// The image has the wrong number of bytes.
    #[error("the image has {found} bytes, expected {expected} (height x width x channels)")]
    ImageSize {
        /// H x W x C.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// A row has the wrong number of bytes.
    #[error("the row has {found} bytes, expected {expected} (width x channels)")]
    RowSize {
        /// W x C.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Too few rows before `finish`, or one too many.
    #[error("{found} image rows, expected {expected}")]
    RowCount {
        /// The image's height.
        expected: usize,
        /// Rows pushed.
        found: usize,
    },
    /// The code has another number of latents than the model.
    #[error("the code has {found} latents, the model {expected}")]
    Latents {
        /// The model's.
        expected: usize,
        /// The code's.
        found: usize,
    },
    /// The code has another number of fraction bits than the model.
    #[error("the code has {found} fraction bits, the model {expected}")]
    MeanBits {
        /// The model's.
        expected: u8,
        /// The code's.
        found: u8,
    },
}

/// The model has no factor of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the model has no factor named {name:?}")]
pub struct UnknownFactor {
    /// The name that was asked for, its first 40 bytes.
    pub name: heapless::String<MAX_NAME_BYTES>,
}

impl UnknownFactor {
    /// Keeps what fits of the name that was asked for.
    pub(crate) fn new(asked: &str) -> Self {
        // A character that no longer fits is left out, and so are those behind it.
        let fits = asked.get(..asked.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or("");
        UnknownFactor { name: heapless::String::try_from(fits).unwrap_or_default() }
    }
}
