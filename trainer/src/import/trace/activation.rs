//! Pointwise functions: they become the activation of the layer in front of them.

use super::super::{
    graph::Node,
    operators::{clip_bounds, unknown},
    refusal::Understood,
};
use super::{Element, Traced, Tracer, label, value};
use crate::model::Activation;

/// An activation, with what its input and its output are multiplied with, and what is added.
#[derive(Debug, Clone, Copy)]
pub(super) struct Function {
    pub before: (f32, f32),
    pub activation: Activation,
    pub after: (f32, f32),
}

impl Function {
    /// Its value.
    pub fn at(&self, x: f32) -> f32 {
        let inner = self.before.0.mul_add(x, self.before.1);
        self.after.0.mul_add(self.activation.apply(inner), self.after.1)
    }
}

impl From<Activation> for Function {
    fn from(activation: Activation) -> Self {
        Self { before: (1.0, 0.0), activation, after: (1.0, 0.0) }
    }
}

impl Tracer {
    /// What a node that applies a function to each value makes of its input.
    ///
    /// # Errors
    /// There is no such function.
    pub(super) fn function(&mut self, node: &Node) -> Understood<Traced> {
        let function = self.understood(node)?;
        // Of Min and Max the network's value may come second.
        let first_is_known = value(node.input(0).and_then(|name| self.values.get(name))).is_some();
        let traced = self.traced(node, usize::from(first_is_known))?.clone();
        self.apply(node, &traced, function)
    }

    /// `function` of each element of `traced`.
    pub(super) fn apply(&mut self, node: &Node, traced: &Traced, function: Function) -> Understood<Traced> {
        let Function { before, activation, after } = function;
        let elements = traced.elements.map(|element| element.affine(before.0, before.1));
        let unsettled = Traced { elements, nodes: [&traced.nodes[..], &[label(node)]].concat() };
        let settled = match activation {
            Activation::Identity => unsettled,
            _ => self.settle(node, &unsettled, activation)?,
        };
        let elements = settled.elements.map(|element: &Element| element.affine(after.0, after.1));
        Ok(Traced { elements, ..settled })
    }

    fn understood(&self, node: &Node) -> Understood<Function> {
        let float = |name: &str, default: f32| node.float(name).unwrap_or(default);
        let function = match node.operator.as_str() {
            "Relu" => Activation::Relu.into(),
            "LeakyRelu" => Activation::LeakyRelu(float("alpha", 0.01)).into(),
            "PRelu" => Activation::LeakyRelu(self.slope(node)?).into(),
            "Elu" => Activation::Elu(float("alpha", 1.0)).into(),
            "Celu" => {
                let alpha = float("alpha", 1.0);
                Function { before: (1.0 / alpha, 0.0), after: (alpha, 0.0), ..Activation::Elu(1.0).into() }
            }
            "Selu" => {
                let (alpha, gamma) = (float("alpha", 1.673_263_2), float("gamma", 1.050_701));
                Function { after: (gamma, 0.0), ..Activation::Elu(alpha).into() }
            }
            "Sigmoid" => Activation::Sigmoid.into(),
            "Tanh" => Activation::Tanh.into(),
            "Softplus" => Activation::Softplus.into(),
            "HardSigmoid" => Activation::HardSigmoid { alpha: float("alpha", 0.2), beta: float("beta", 0.5) }.into(),
            "Clip" | "Min" | "Max" => self.clip(node)?,
            operator => return node.refuse("has no layer", unknown(operator)),
        };
        Ok(function)
    }

    /// The one slope of a `PRelu`.
    fn slope(&self, node: &Node) -> Understood<f32> {
        let slopes = self.weights(node, 1)?.floats();
        match slopes.data() {
            [first, rest @ ..] if rest.iter().all(|slope| slope == first) => Ok(*first),
            _ => node.refuse("has a slope of its own for each channel", "a single slope, PReLU() or LeakyReLU"),
        }
    }

    fn clip(&self, node: &Node) -> Understood<Function> {
        let (min, max) = if node.operator == "Clip" {
            let inputs = (0..3).map(|i| if i == 0 { Ok(None) } else { self.known(node, i) });
            clip_bounds(node, &inputs.collect::<Understood<Vec<_>>>()?)
        } else {
            let known = |i| value(node.input(i).and_then(|name| self.values.get(name))).map(|v| v.floats());
            let bound = known(0).or(known(1));
            let Some(&[bound]) = bound.as_ref().filter(|_| node.inputs.len() == 2).map(|b| b.data()) else {
                return node.refuse("compares computed values", "compare with a single constant, as Clip does");
            };
            if node.operator == "Max" { (bound, f32::INFINITY) } else { (f32::NEG_INFINITY, bound) }
        };
        // PyTorch writes the greatest numbers where there is no bound.
        let open = |bound: f32| bound.abs() >= 1e30;
        Ok(match (open(min), open(max)) {
            (true, true) => Activation::Identity.into(),
            (false, true) if min == 0.0 => Activation::Relu.into(),
            // max(x, min) = min + relu(x - min), min(x, max) = max - relu(max - x).
            (false, true) => Function { before: (1.0, -min), after: (1.0, min), ..Activation::Relu.into() },
            (true, false) => Function { before: (-1.0, max), after: (-1.0, max), ..Activation::Relu.into() },
            (false, false) => Activation::Clip { min, max }.into(),
        })
    }
}
