//! A graph followed from its input to its outputs, with every value as an array of elements of layers ([`element`]).
//!
//! Operators that move elements move them; constants that are added or multiplied are kept with each element. What a layer takes
//! is then read off the elements: permutations, slices and transposed layouts end up in the order of its weights, zeros around an
//! image in its padding, equal neighbors in an upsampling, factors in its weights or in those of the layer before.

mod activation;
mod affine;
mod curve;
mod element;
mod linear;
mod slide;
mod spread;
mod stage;
mod view;

use std::collections::BTreeMap;

use self::curve::Curve;
pub use self::{
    element::{Element, Traced},
    stage::{Stage, size},
};
use super::{
    array::{Array, elements},
    graph::{Graph, Node},
    operators::{self, movement, movement::Parameters},
    refusal::{Refusal, Understood},
    value::Value,
};
use crate::{
    export::describe,
    model::{Layer, Shape},
};

/// What is known of a value of the graph.
#[derive(Debug, Clone)]
pub enum Symbol {
    /// All of it.
    Known(Value),
    /// Where it comes from.
    Traced(Traced),
    /// It is e to the power of this.
    Exponential(Traced),
    /// Random numbers of N(0, 1).
    Noise,
    /// Random numbers of N(0, σ²), with ln σ if that is traced.
    Spread(Option<Traced>),
    /// Random numbers of N(mean, σ²): a sample of the posterior.
    Sample(Traced, Option<Traced>),
    /// It is a function of a layer that layers do not have; perhaps another node makes one of it that they have.
    Unknown(Refusal),
}

/// A graph as layers.
#[derive(Debug)]
pub struct Tracer {
    /// The layers, the network's input first; not all lead to an output.
    pub stages: Vec<Stage>,
    values: BTreeMap<String, Symbol>,
    curves: BTreeMap<String, Curve>,
}

/// The first stage: what is fed.
pub const INPUT: usize = 0;

/// Kernels, strides and factors that a device's file can hold.
const WINDOWS: std::ops::RangeInclusive<usize> = 1..=16;
/// Channels, rows, columns and features of a layer.
const SIZES: std::ops::RangeInclusive<usize> = 1..=1 << 16;
/// Weights of a layer that was put together here.
const WEIGHTS: usize = 1 << 24;

impl Tracer {
    /// Follows `graph`, whose input `name` is `input`, elements of a stage of shape `shape`.
    ///
    /// # Errors
    /// A node cannot be represented.
    pub fn trace(graph: &Graph, name: &str, input: Array<Element>, shape: Shape) -> Understood<Self> {
        let (weight, bias, nodes) = (Vec::new(), Vec::new(), Vec::new());
        let first = Stage { source: INPUT, layer: None, weight, bias, output: shape, nodes };
        let input = Traced { elements: input, nodes: Vec::new() };
        let values = BTreeMap::from([(name.to_owned(), Symbol::Traced(input))]);
        let mut tracer = Self { stages: vec![first], values, curves: BTreeMap::new() };
        for (name, value) in &graph.constants {
            tracer.values.insert(name.clone(), Symbol::Known(value.clone()));
        }
        for node in &graph.nodes {
            let curve = tracer.curve(node);
            let results = match (tracer.node(node), &curve) {
                (Err(refusal), Some(curve)) => vec![tracer.recognize(node, curve, refusal)?],
                (results, _) => results?,
            };
            tracer.curves.extend(node.outputs.first().cloned().zip(curve));
            tracer.values.extend(node.outputs.iter().cloned().zip(results));
        }
        Ok(tracer)
    }

    /// What is known of the value `name`.
    pub fn symbol(&self, name: &str) -> Option<&Symbol> {
        self.values.get(name)
    }

    fn node(&mut self, node: &Node) -> Understood<Vec<Symbol>> {
        if let Some(results) = self.random(node)? {
            return Ok(results);
        }
        let symbol = |name: &String| self.values.get(name);
        let symbols: Vec<Option<&Symbol>> = node.inputs.iter().map(symbol).collect();
        let known = |symbol: &Option<&Symbol>| matches!(symbol, None | Some(Symbol::Known(_)));
        if symbols.iter().all(known) {
            let inputs: Vec<_> = symbols.into_iter().map(value).collect();
            return Ok(operators::evaluate(node, &inputs)?.into_iter().map(Symbol::Known).collect());
        }
        if let Some(result) = self.sampling(node)? {
            return Ok(vec![result]);
        }
        if movement::is_movement(&node.operator) {
            return self.movement(node);
        }
        let traced = match node.operator.as_str() {
            "Shape" | "Size" => return Ok(vec![Symbol::Known(self.shape(node)?)]),
            "Conv" | "ConvTranspose" => self.convolution(node)?,
            "MaxPool" | "GlobalMaxPool" | "ReduceMax" => self.max_pool(node)?,
            "AveragePool" => self.average_pool(node)?,
            "MatMul" | "Gemm" => self.product(node)?,
            "GlobalAveragePool" | "ReduceMean" | "ReduceSum" => self.mean(node)?,
            _ => match self.affine(node)? {
                Some(traced) => traced,
                None => self.function(node)?,
            },
        };
        Ok(vec![Symbol::Traced(traced)])
    }

    /// The traced input `i`.
    fn traced(&self, node: &Node, i: usize) -> Understood<&Traced> {
        match node.input(i).and_then(|name| self.values.get(name)) {
            Some(Symbol::Traced(traced)) => Ok(traced),
            Some(Symbol::Known(_)) => node.refuse(
                format!("has a constant as input {i}, where the network's values are due"),
                "the constant as the other input",
            ),
            Some(Symbol::Unknown(refusal)) => Err(refusal.clone()),
            Some(_) => node.refuse("computes with random numbers", "end the encoder in mean and log-variance"),
            None => Err(node.misfit(format!("input {i} is missing"))),
        }
    }

    /// The known input `i`, if it is there.
    ///
    /// # Errors
    /// It depends on the network's input.
    fn known(&self, node: &Node, i: usize) -> Understood<Option<&Value>> {
        match node.input(i).and_then(|name| self.values.get(name)) {
            Some(Symbol::Known(value)) => Ok(Some(value)),
            None => Ok(None),
            Some(_) => node.refuse(
                format!("has an input {i} that depends on the image or the latents"),
                "weights and sizes have to be constants",
            ),
        }
    }

    /// The known input `i`.
    fn weights(&self, node: &Node, i: usize) -> Understood<&Value> {
        self.known(node, i)?.ok_or_else(|| node.misfit(format!("input {i} is missing")))
    }

    fn shape(&self, node: &Node) -> Understood<Value> {
        let shape = self.traced(node, 0)?.elements.shape();
        operators::shape_value(node, shape).map_err(|reason| node.misfit(reason))
    }

    fn movement(&mut self, node: &Node) -> Understood<Vec<Symbol>> {
        let n = movement::moved_inputs(node);
        let mut arrays = Vec::with_capacity(n);
        let mut nodes = Vec::new();
        for (i, name) in node.inputs.iter().take(n).enumerate() {
            match self.values.get(name) {
                Some(Symbol::Known(value)) => arrays.push(value.floats().map(|&v| Element::constant(v))),
                _ => {
                    let traced = self.traced(node, i)?;
                    nodes.extend(traced.nodes.iter().cloned());
                    arrays.push(traced.elements.clone());
                }
            }
        }
        let mut parameters = vec![None; n];
        for i in n..node.inputs.len() {
            parameters.push(self.known(node, i)?);
        }
        let data: Vec<_> = arrays.iter().collect();
        let moved = movement::apply(node, &data, &Parameters(parameters), Element::constant)?;
        nodes.push(label(node));
        Ok(moved.into_iter().map(|elements| Symbol::Traced(Traced { elements, nodes: nodes.clone() })).collect())
    }

    /// The one stage whose outputs `traced` is made of.
    ///
    /// # Errors
    /// There are several, or none.
    pub fn stage_of(&self, node: &Node, traced: &Traced) -> Understood<usize> {
        let mut sources = traced.elements.data().iter().filter_map(|element| element.source);
        let Some((stage, _)) = sources.next() else {
            return node.refuse("does not depend on the network's input", "export the whole network");
        };
        if sources.any(|(other, _)| other != stage) {
            let instead = "a chain of layers; skip connections and parallel branches have no layer here";
            return node.refuse("takes the outputs of several layers at once", instead);
        }
        Ok(stage as usize)
    }

    /// Adds a stage; its layer has to be one that devices have.
    fn push(&mut self, node: &Node, stage: Stage) -> Understood<usize> {
        if let Some(layer) = stage.layer {
            let windows = match layer {
                Layer::UpsampleNearest { factor } => factor.to_vec(),
                _ => layer.window().map_or(Vec::new(), |w| [w.kernel, w.stride].concat()),
            };
            if windows.iter().any(|n| !WINDOWS.contains(n)) {
                let instead = format!("windows, strides and factors of 1 to {}", WINDOWS.end());
                return node.refuse(format!("becomes a {}", describe(&layer)), instead);
            }
            let input = self.stages.get(stage.source).map_or(stage.output, |source| source.output);
            let input = if stage.is_linear() { Shape::Features(size(input)) } else { input };
            let output = if stage.is_linear() { Shape::Features(stage.size()) } else { stage.output };
            match layer.output(input) {
                Ok(found) if found == output => {}
                Ok(found) => return Err(node.misfit(format!("becomes a layer with {found}, not {output}"))),
                Err(reason) => return Err(node.misfit(format!("becomes a layer that {reason}"))),
            }
        }
        let sizes = match stage.output {
            Shape::Image(image) => vec![image.channels, image.height, image.width],
            Shape::Features(n) => vec![n],
        };
        if sizes.iter().any(|n| !SIZES.contains(n)) {
            return node.refuse(format!("gives {}", stage.output), format!("sizes of 1 to {}", SIZES.end()));
        }
        if stage.weight.len() > WEIGHTS {
            return node.refuse(format!("becomes {} weights", stage.weight.len()), format!("at most {WEIGHTS}"));
        }
        if let Err(reason) = stage.activation().check() {
            return node.refuse(format!("has {reason}"), "another slope or range");
        }
        self.stages.push(stage);
        Ok(self.stages.len() - 1)
    }
}

/// How a node is called in what is shown to people.
fn label(node: &Node) -> String {
    format!("{} ({})", node.name, node.operator)
}

fn value(symbol: Option<&Symbol>) -> Option<&Value> {
    match symbol {
        Some(Symbol::Known(value)) => Some(value),
        _ => None,
    }
}

/// Refuses a layer of `rows` by `columns` weights that is too large to be put together.
fn check_weights(node: &Node, rows: usize, columns: usize) -> Understood<()> {
    match elements(&[rows, columns]) {
        Ok(n) if n <= WEIGHTS => Ok(()),
        _ => node.refuse(format!("becomes {rows} x {columns} weights"), format!("at most {WEIGHTS} in a layer")),
    }
}
