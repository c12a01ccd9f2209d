//! The safetensors file around plan and arrays.
//!
//! Written by hand: the plan has to come first, its offsets have to be known before it is written, and equal models
//! have to become equal bytes, which the `safetensors` crate's hash map of metadata does not give.

use std::collections::BTreeMap;
use std::string::{String, ToString};
use std::vec::Vec;

use safetensors::tensor::Dtype;
use serde_json::{Value, json};

use super::{WriteError, field32, set};
use crate::checksum;
use crate::error::Place;
use crate::format::header;

/// A named array.
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    pub(super) bytes: Vec<u8>,
}

/// The file so far: the plan's size, and the arrays in order.
pub(super) struct Container {
    plan_bytes: usize,
    metadata: BTreeMap<String, String>,
    tensors: Vec<Tensor>,
    end: usize,
}

impl Container {
    pub(super) fn new(plan_bytes: usize, metadata: BTreeMap<String, String>) -> Self {
        Container { plan_bytes, metadata, tensors: Vec::new(), end: plan_bytes }
    }

    /// Adds a tensor behind the others; returns its offset.
    pub(super) fn append(&mut self, tensor: Tensor) -> usize {
        let offset = self.end;
        self.end += tensor.bytes.len();
        self.tensors.push(tensor);
        offset
    }

    /// The file's bytes, lengths and checksum filled in.
    pub(super) fn finish(self, mut plan: Vec<u8>) -> Result<Vec<u8>, WriteError> {
        let Container { plan_bytes, metadata, tensors, end } = self;
        set(&mut plan, header::PLAN_BYTES, field32(Place::Header, "plan length", plan_bytes)?);
        set(&mut plan, header::DATA_BYTES, field32(Place::Header, "data section length", end)?);
        set(&mut plan, header::CHECKSUM, [0; 4]);

        let plan = Tensor { name: "plan".to_string(), dtype: Dtype::U64, shape: [plan.len() / 8].into(), bytes: plan };
        let mut entries = Vec::new();
        if !metadata.is_empty() {
            entries.push(entry("__metadata__", &json!(metadata)));
        }
        let mut data = Vec::with_capacity(end);
        for Tensor { name, dtype, shape, bytes } in std::iter::once(plan).chain(tensors) {
            let offsets = [data.len(), data.len() + bytes.len()];
            let description = json!({ "dtype": dtype.to_string(), "shape": shape, "data_offsets": offsets });
            entries.push(entry(&name, &description));
            data.extend(bytes);
        }
        let checksum = checksum::of_data(&data);
        set(&mut data, header::CHECKSUM, checksum.to_le_bytes());

        let mut json = std::format!("{{{}}}", entries.join(","));
        json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
        Ok([&(json.len() as u64).to_le_bytes(), json.as_bytes(), &data].concat())
    }
}

/// One entry of a JSON object.
fn entry(key: &str, value: &Value) -> String {
    std::format!("{}:{value}", json!(key))
}
