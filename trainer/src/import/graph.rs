//! An ONNX file as a graph: nodes in the order of computation, constants, inputs and outputs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use prost::Message;

use super::{
    array::Array,
    refusal::{Refusal, Understood},
    value::Value,
};
use crate::{
    Error, Result,
    export::onnx_proto::{AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, ValueInfoProto},
};

/// The oldest operator set whose operators are understood; there is no newest one.
const OLDEST: i64 = 9;

/// A graph, and the file that it came from.
#[derive(Debug)]
pub struct Graph {
    /// The file.
    pub path: PathBuf,
    /// Version of ONNX's operator set.
    pub opset: i64,
    /// The program that wrote the file.
    pub producer: String,
    /// What computes the outputs, in order; nothing else.
    pub nodes: Vec<Node>,
    /// Initializers by name.
    pub constants: BTreeMap<String, Value>,
    /// What is fed, constants left out.
    pub inputs: Vec<Input>,
    /// Names of the results.
    pub outputs: Vec<String>,
}

/// An input, with the sizes that the file gives.
#[derive(Debug, Clone)]
pub struct Input {
    /// Name.
    pub name: String,
    /// Sizes; nothing for those known only when the model runs.
    pub shape: Vec<Option<usize>>,
}

/// One operation.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name, or that of its first output.
    pub name: String,
    /// `Conv`; with its domain if that is not ONNX's own.
    pub operator: String,
    /// Names of values; empty where an optional one is left out.
    pub inputs: Vec<String>,
    /// Names of results.
    pub outputs: Vec<String>,
    /// The operator set's version.
    pub opset: i64,
    attributes: BTreeMap<String, AttributeProto>,
}

impl Graph {
    /// Reads the file at `path`, and the file of weights that lies beside it if it names one.
    ///
    /// # Errors
    /// It cannot be read or is no ONNX file of operator set 9 or newer.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        let malformed = |field: &str, found: String, expected: &str| Error::malformed(path, field, found, expected);
        let model = ModelProto::decode(bytes.as_slice())
            .map_err(|e| malformed("content", e.to_string(), "an ONNX file, whole"))?;
        let own = model.opset_import.iter().find(|set| set.domain.is_empty() || set.domain == "ai.onnx");
        let opset = own.and_then(|set| set.version).unwrap_or_default();
        let graph = model.graph.ok_or_else(|| malformed("graph", "nothing".into(), "a graph, as in an ONNX file"))?;
        if opset < OLDEST {
            let expected = format!("{OLDEST} or newer; export with opset_version={OLDEST} or convert the file");
            return Err(malformed("opset_import", opset.to_string(), &expected));
        }
        let mut constants = BTreeMap::new();
        for tensor in &graph.initializer {
            let value = Value::of_tensor(tensor, path.parent().unwrap_or(Path::new("")))
                .map_err(|reason| malformed(&format!("initializer {}", tensor.name), reason, "whole weights"))?;
            constants.insert(tensor.name.clone(), value);
        }
        let given = |info: &&ValueInfoProto| !constants.contains_key(&info.name);
        let inputs = graph.input.iter().filter(given).map(Input::of).collect();
        let outputs: Vec<_> = graph.output.iter().map(|output| output.name.clone()).collect();
        let nodes = needed(&graph, &outputs, opset);
        Ok(Self { path: path.into(), opset, producer: model.producer_name, nodes, constants, inputs, outputs })
    }
}

/// The nodes that `outputs` depend on.
fn needed(graph: &GraphProto, outputs: &[String], opset: i64) -> Vec<Node> {
    let mut wanted: BTreeSet<&str> = outputs.iter().map(String::as_str).collect();
    let mut nodes = Vec::new();
    for node in graph.node.iter().rev() {
        if node.output.iter().any(|name| wanted.contains(name.as_str())) {
            wanted.extend(node.input.iter().map(String::as_str).filter(|name| !name.is_empty()));
            nodes.push(Node::of(node, opset));
        }
    }
    nodes.reverse();
    nodes
}

impl Input {
    fn of(info: &ValueInfoProto) -> Self {
        let shape = info.r#type.as_ref().and_then(|t| t.tensor_type.as_ref()).and_then(|t| t.shape.as_ref());
        let size = |dim: &DimensionProto| dim.dim_value.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        Self { name: info.name.clone(), shape: shape.iter().flat_map(|shape| shape.dim.iter().map(size)).collect() }
    }
}

impl Node {
    fn of(node: &NodeProto, opset: i64) -> Self {
        let name =
            if node.name.is_empty() { node.output.first().cloned().unwrap_or_default() } else { node.name.clone() };
        let operator = match node.domain.as_str() {
            "" | "ai.onnx" => node.op_type.clone(),
            domain => format!("{domain}.{}", node.op_type),
        };
        let attributes = node.attribute.iter().map(|a| (a.name.clone(), a.clone())).collect();
        Self { name, operator, inputs: node.input.clone(), outputs: node.output.clone(), opset, attributes }
    }

    /// A node of operator set `opset` with attributes by their names.
    pub fn new(name: &str, operator: &str, opset: i64, inputs: Vec<String>, outputs: Vec<String>) -> Self {
        let (name, operator, attributes) = (name.to_owned(), operator.to_owned(), BTreeMap::new());
        Self { name, operator, inputs, outputs, opset, attributes }
    }

    /// The same node with an attribute more.
    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attributes.insert(attribute.name.clone(), attribute);
        self
    }

    /// Says that this node cannot be represented.
    pub fn refuse<T>(&self, reason: impl Into<String>, instead: impl Into<String>) -> Understood<T> {
        Err(self.refusal(reason, instead))
    }

    /// [`Self::refuse`] as an error alone.
    pub fn refusal(&self, reason: impl Into<String>, instead: impl Into<String>) -> Refusal {
        let (node, operator) = (self.name.clone(), self.operator.clone());
        Refusal { node, operator, reason: reason.into(), instead: instead.into() }
    }

    /// For what contradicts the operator's definition.
    pub fn misfit(&self, reason: impl Into<String>) -> Refusal {
        self.refusal(reason, "the operator's inputs have to be those that ONNX defines")
    }

    /// The name of input `i`, unless it is left out.
    pub fn input(&self, i: usize) -> Option<&str> {
        self.inputs.get(i).map(String::as_str).filter(|name| !name.is_empty())
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Option<i64> {
        self.attributes.get(name)?.i
    }

    /// A truth value.
    pub fn flag(&self, name: &str) -> bool {
        self.int(name).is_some_and(|value| value != 0)
    }

    /// A real number.
    pub fn float(&self, name: &str) -> Option<f32> {
        self.attributes.get(name)?.f
    }

    /// Whole numbers.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attributes.get(name).map(|a| a.ints.as_slice())
    }

    /// Real numbers.
    pub fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attributes.get(name).map(|a| a.floats.as_slice())
    }

    /// Text.
    pub fn text(&self, name: &str) -> Option<String> {
        Some(String::from_utf8_lossy(self.attributes.get(name)?.s.as_ref()?).into_owned())
    }

    /// A constant.
    ///
    /// # Errors
    /// It is damaged, or of a type that cannot be read.
    pub fn tensor(&self, name: &str) -> Understood<Option<Value>> {
        let tensor = self.attributes.get(name).and_then(|a| a.t.as_ref());
        tensor.map(|t| Value::of_tensor(t, Path::new("")).map_err(|reason| self.misfit(reason))).transpose()
    }

    /// The value of a `Constant`.
    ///
    /// # Errors
    /// It has none that can be read.
    pub fn constant(&self) -> Understood<Value> {
        let number = |v: f32| Value::Float(Array::scalar(v));
        let value = match self.attributes.keys().next().map(String::as_str) {
            Some("value") => self.tensor("value")?,
            Some("value_float") => self.float("value_float").map(number),
            Some("value_floats") => self.floats("value_floats").map(|v| Value::Float(Array::vector(v.to_vec()))),
            Some("value_int") => self.int("value_int").map(|v| Value::Int(Array::scalar(v))),
            Some("value_ints") => self.ints("value_ints").map(|v| Value::Int(Array::vector(v.to_vec()))),
            _ => None,
        };
        value.ok_or_else(|| self.misfit("holds no number"))
    }
}
