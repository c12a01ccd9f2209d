//! The one error type of the library: a variant for each kind of cause.

use std::path::{Path, PathBuf};

use crate::import::Refusal;

/// Result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in training, export and evaluation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason; part of the message, so no source to be printed once more.
        cause: std::io::Error,
    },
    /// A file's content is not what it should be.
    #[error("{}: {field}: found {found}, expected {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The field or part.
        field: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: String,
    },
    /// A network of others has a node that no layer can stand for.
    #[error("{}: {refusal}", path.display())]
    Refused {
        /// The network's file.
        path: PathBuf,
        /// The node, and what would work instead.
        refusal: Box<Refusal>,
    },
    /// An output exists already and may not be overwritten.
    #[error("{}: exists already; choose another path or pass --force to replace it", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// A setting has a value that makes no sense.
    #[error("{name} = {found}: expected {expected}")]
    Setting {
        /// The option or TOML key.
        name: String,
        /// Its value.
        found: String,
        /// The allowed values.
        expected: String,
    },
    /// A loss stopped being a number.
    #[error("step {step}: {term} is {value}; training stopped, the last good checkpoint is kept")]
    NotFinite {
        /// The optimizer step, from 1.
        step: u64,
        /// The loss term.
        term: String,
        /// NaN or an infinity.
        value: f32,
    },
    /// What was asked for cannot be done with this model or data set.
    #[error("{0}")]
    Unsupported(String),
    /// The ranks of a data-parallel run cannot work together.
    #[error("rank {rank} of {world_size}: {reason}")]
    Rank {
        /// The rank that found out.
        rank: usize,
        /// How many there are.
        world_size: usize,
        /// What is wrong, with the rank that caused it.
        reason: String,
    },
    /// candle refused an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The runtime refused a model file.
    #[error("{}: {reason}", path.display())]
    Runtime {
        /// The model file.
        path: PathBuf,
        /// The runtime's reason.
        reason: String,
    },
}

impl Error {
    /// An [`Error::Io`] for `path`, for use in `map_err`.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |cause| Self::Io { path, cause }
    }

    /// An [`Error::Malformed`].
    pub fn malformed(path: &Path, field: &str, found: impl ToString, expected: &str) -> Self {
        let (found, expected) = (found.to_string(), expected.into());
        Self::Malformed { path: path.into(), field: field.into(), found, expected }
    }

    /// An [`Error::Setting`].
    pub fn setting(name: &str, found: impl ToString, expected: &str) -> Self {
        Self::Setting { name: name.into(), found: found.to_string(), expected: expected.into() }
    }
}
