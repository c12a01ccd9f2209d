//! Weights against an architecture: names, shapes, element type, finite values.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::model::{Architecture, Layer};
use crate::{Error, Result};

/// The values of tensors by name, row-major.
pub(super) type Values = BTreeMap<String, Vec<f32>>;

/// The part of a model that is not as it should be.
#[derive(Debug, PartialEq)]
pub(super) struct Mismatch {
    /// The tensor or field.
    pub field: String,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub expected: String,
}

impl Mismatch {
    pub fn new(field: impl Into<String>, found: impl ToString, expected: impl ToString) -> Self {
        Self { field: field.into(), found: found.to_string(), expected: expected.to_string() }
    }

    /// The error for a file.
    pub fn in_file(self, path: &Path) -> Error {
        let Self { field, found, expected } = self;
        Error::Malformed { path: path.into(), field, found, expected }
    }

    /// The error for a model in memory.
    pub fn in_memory(self) -> Error {
        Error::Unsupported(format!("{}: found {}, expected {}", self.field, self.found, self.expected))
    }
}

/// What is known of a tensor without its values.
pub(super) struct Header {
    /// Shape.
    pub shape: Vec<usize>,
    /// `F32` if it can be used.
    pub dtype: String,
}

/// The tensors of an architecture: `encoder.0.weight` belongs to the encoder's first layer; layers without weights
/// count too.
pub(super) fn shapes(architecture: &Architecture) -> BTreeMap<String, Vec<usize>> {
    let parts = [("encoder", &architecture.encoder), ("decoder", &architecture.decoder)];
    let layers = parts.iter().flat_map(|(part, layers)| layers.iter().enumerate().map(move |(i, l)| (part, i, l)));
    let tensors = |(part, i, layer): (&&str, usize, &Layer)| {
        let (weight, bias) = layer.parameters()?;
        Some([(format!("{part}.{i}.weight"), weight), (format!("{part}.{i}.bias"), vec![bias])])
    };
    layers.filter_map(tensors).flatten().collect()
}

/// Refuses a set of tensors in which one is missing, is not the architecture's, or has another shape or type.
pub(super) fn check_headers(
    architecture: &Architecture,
    headers: &BTreeMap<String, Header>,
) -> std::result::Result<(), Mismatch> {
    let shapes = shapes(architecture);
    for (name, shape) in &shapes {
        let found = match headers.get(name) {
            None => "no such tensor".into(),
            Some(h) if h.shape != *shape || h.dtype != "F32" => format!("{} {:?}", h.dtype, h.shape),
            Some(_) => continue,
        };
        return Err(Mismatch::new(name, found, format!("F32 {shape:?}")));
    }
    match headers.iter().find(|(name, _)| !shapes.contains_key(*name)) {
        None => Ok(()),
        Some((name, h)) => {
            let expected = format!("only the {} tensors of {}", shapes.len(), architecture.name);
            Err(Mismatch::new(name, format!("{} {:?}", h.dtype, h.shape), expected))
        }
    }
}

/// Refuses NaN and infinities.
pub(super) fn check_finite(name: &str, values: &[f32]) -> std::result::Result<(), Mismatch> {
    match values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
        None => Ok(()),
        Some((i, v)) => Err(Mismatch::new(format!("{name}[{i}]"), v, "a finite number")),
    }
}

/// The values of `weights`, which must be exactly those of `architecture`, f32 and finite.
pub(super) fn values(architecture: &Architecture, weights: &BTreeMap<String, Tensor>) -> Result<Values> {
    let header = |t: &Tensor| Header {
        shape: t.dims().into(),
        dtype: if t.dtype() == DType::F32 { "F32".into() } else { t.dtype().as_str().to_uppercase() },
    };
    let headers = weights.iter().map(|(name, t)| (name.clone(), header(t))).collect();
    check_headers(architecture, &headers).map_err(Mismatch::in_memory)?;
    let value = |(name, tensor): (&String, &Tensor)| {
        let values = tensor.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        check_finite(name, &values).map_err(Mismatch::in_memory)?;
        Ok((name.clone(), values))
    };
    weights.iter().map(value).collect()
}
