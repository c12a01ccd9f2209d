//! The operators as their specification defines them, one node and one batch of one at a time: slow, obvious, and what imported
//! layers are compared with. Known parts of a graph are folded by the same code.

mod arithmetic;
pub mod movement;
mod network;
pub mod window;

use std::collections::BTreeMap;

use self::movement::Parameters;
pub use self::{
    arithmetic::{clip_bounds, groups, shape_value},
    network::normalization,
};
use super::{
    array::{Array, Fitting},
    graph::{Graph, Node},
    refusal::Understood,
    value::Value,
};

/// The known inputs of a node by position.
pub type Inputs<'a> = [Option<&'a Value>];

/// The results of `graph` for the given inputs, by name. Random numbers are their mean.
///
/// # Errors
/// An operator is not known, or a node does not fit its inputs.
pub fn run(graph: &Graph, given: BTreeMap<String, Value>) -> Understood<BTreeMap<String, Value>> {
    let mut values = given;
    for node in &graph.nodes {
        let known = |name: &String| values.get(name).or_else(|| graph.constants.get(name));
        let inputs: Vec<_> = node.inputs.iter().map(known).collect();
        for (name, result) in node.outputs.iter().zip(evaluate(node, &inputs)?) {
            values.insert(name.clone(), result);
        }
    }
    Ok(values)
}

/// The results of `node`.
///
/// # Errors
/// As [`run`].
pub fn evaluate(node: &Node, inputs: &Inputs) -> Understood<Vec<Value>> {
    if movement::is_movement(&node.operator) {
        return moved(node, inputs);
    }
    if node.operator == "Constant" {
        return Ok(vec![node.constant()?]);
    }
    let found = match network::evaluate(node, inputs)? {
        Some(value) => Some(value),
        None => arithmetic::evaluate(node, inputs)?,
    };
    match found {
        Some(value) => Ok(vec![value]),
        None => node.refuse("is not known", unknown(&node.operator)),
    }
}

/// What to use instead of an operator that has no layer.
pub fn unknown(operator: &str) -> &'static str {
    match operator {
        "InstanceNormalization" | "LayerNormalization" | "GroupNormalization" | "LpNormalization" | "LRN" => {
            "train with batch normalization, which is folded into the layers"
        }
        "Softmax" | "LogSoftmax" | "Attention" | "MultiHeadAttention" | "Einsum" => {
            "use convolutions and linear layers; attention has no layer here"
        }
        "Gelu" | "HardSwish" | "Mish" | "Swish" | "Erf" | "Softsign" | "ThresholdedRelu" | "Sin" | "Cos" => {
            "use Relu, LeakyRelu, Elu, Sigmoid, Tanh, Softplus, HardSigmoid or Clip"
        }
        "LSTM" | "GRU" | "RNN" | "Loop" | "Scan" | "If" => "export a network without loops and branches",
        "QLinearConv" | "QuantizeLinear" | "DequantizeLinear" | "ConvInteger" | "MatMulInteger" | "QLinearMatMul" => {
            "export the f32 model; `unbraid quantize` makes the integers"
        }
        "GridSample" | "RoiAlign" | "AffineGrid" => "resize with whole factors in mode nearest",
        _ => "a chain of convolutions, linear layers, pooling, nearest resizing and pointwise functions",
    }
}

fn moved(node: &Node, inputs: &Inputs) -> Understood<Vec<Value>> {
    let n = movement::moved_inputs(node);
    let known = |i: usize| inputs.get(i).copied().flatten().ok_or_else(|| node.misfit(format!("input {i} is missing")));
    let data = (0..n).map(known).collect::<Understood<Vec<_>>>()?;
    let parameters = Parameters(inputs.to_vec());
    let ints: Option<Vec<_>> = data.iter().map(|value| value.ints().ok()).collect();
    match ints {
        Some(ints) => {
            let moved = movement::apply(node, &ints, &parameters, |v| v as i64)?;
            Ok(moved.into_iter().map(Value::Int).collect())
        }
        None => {
            let floats: Vec<_> = data.iter().map(|value| value.floats()).collect();
            let moved = movement::apply(node, &floats.iter().collect::<Vec<_>>(), &parameters, |v| v)?;
            Ok(moved.into_iter().map(Value::Float).collect())
        }
    }
}

/// Input `i`.
fn required<'a>(node: &Node, inputs: &Inputs<'a>, i: usize) -> Understood<&'a Value> {
    let found = inputs.get(i).copied().flatten();
    found.ok_or_else(|| node.misfit(format!("input {i} is missing")))
}

/// Dimensions that a reduction or a pooling of everything goes over, ascending.
///
/// # Errors
/// They are not known, or not there.
pub fn reduced_axes(node: &Node, inputs: &Inputs, rank: usize) -> Fitting<Vec<usize>> {
    if node.operator.starts_with("Global") {
        return Ok((2..rank).collect());
    }
    let listed = match inputs.get(1).copied().flatten() {
        Some(axes) => Some(axes.ints()?.data()),
        None => node.ints("axes"),
    };
    let mut axes = match listed {
        Some(axes) if !axes.is_empty() => {
            axes.iter().map(|&axis| Array::<f32>::axis(axis, rank)).collect::<Fitting<Vec<_>>>()?
        }
        _ if node.flag("noop_with_empty_axes") => Vec::new(),
        _ => (0..rank).collect(),
    };
    axes.sort_unstable();
    axes.dedup();
    Ok(axes)
}

/// The shape that remains of `shape` after a reduction over `axes`.
pub fn reduced_shape(node: &Node, shape: &[usize], axes: &[usize]) -> Vec<usize> {
    let keeps = node.operator.starts_with("Global") || node.int("keepdims") != Some(0);
    let size = |(axis, &size): (usize, &usize)| match axes.contains(&axis) {
        true => keeps.then_some(1),
        false => Some(size),
    };
    shape.iter().enumerate().filter_map(size).collect()
}
