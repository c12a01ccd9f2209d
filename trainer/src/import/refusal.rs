//! Why a graph cannot become a model.

use std::path::Path;

use crate::Error;

/// A node that no layer of ours can stand for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node {node} ({operator}) {reason}; what works instead: {instead}")]
pub struct Refusal {
    /// The node's name.
    pub node: String,
    /// Its operator.
    pub operator: String,
    /// What it does that cannot be represented.
    pub reason: String,
    /// What would work.
    pub instead: String,
}

/// What a step of the import gives.
pub type Understood<T> = Result<T, Refusal>;

impl Refusal {
    /// The error for the file that the node is in.
    pub fn in_file(self, path: &Path) -> Error {
        Error::Refused { path: path.into(), refusal: Box::new(self) }
    }
}
