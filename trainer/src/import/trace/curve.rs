//! Functions that exporters take apart, as `Where(x > 20, x, Log(Exp(x) + 1))` for a softplus: followed by their values at many
//! points, and recognized by them.

use super::super::{
    array::Array,
    graph::Node,
    operators,
    refusal::{Refusal, Understood},
    value::Value,
};
use super::{Symbol, Traced, Tracer, activation::Function};
use crate::model::Activation;

/// A value that is the same function of each element of another one, `root`.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    /// The value's name.
    root: String,
    /// The function at each of [`points`].
    values: Value,
}

/// Operators whose results depend on nothing but the elements at the same place.
const POINTWISE: [&str; 38] = [
    "Abs",
    "Add",
    "And",
    "Cast",
    "CastLike",
    "Ceil",
    "Celu",
    "Clip",
    "Div",
    "Elu",
    "Equal",
    "Exp",
    "Floor",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "Identity",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Sqrt",
    "Sub",
    "Tanh",
    "Where",
];

/// Where functions are looked at: ±40 is beyond any threshold, and e to the power of it still an f32.
fn points() -> Vec<f32> {
    (-320..=320).map(|i| i as f32 / 8.0).collect()
}

impl Tracer {
    /// What `node` gives as a function of the value that its inputs are functions of.
    pub(super) fn curve(&self, node: &Node) -> Option<Curve> {
        if !POINTWISE.contains(&node.operator.as_str()) {
            return None;
        }
        let mut root = None;
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for name in &node.inputs {
            inputs.push(match (self.curves.get(name), self.values.get(name)) {
                (_, Some(Symbol::Known(known))) => Some(scalar(known)?),
                (_, None) => None,
                (Some(curve), _) => {
                    (*root.get_or_insert(curve.root.clone()) == curve.root).then_some(())?;
                    Some(curve.values.clone())
                }
                (None, Some(_)) => {
                    (*root.get_or_insert(name.clone()) == *name).then_some(())?;
                    Some(Value::Float(Array::vector(points())))
                }
            });
        }
        let root = root?;
        let inputs: Vec<_> = inputs.iter().map(Option::as_ref).collect();
        let values = operators::evaluate(node, &inputs).ok()?.into_iter().next()?;
        (values.shape() == [points().len()]).then_some(Curve { root, values })
    }

    /// The layer's function that `curve` is, applied to its root; `refusal` for later if it is none.
    pub(super) fn recognize(&mut self, node: &Node, curve: &Curve, refusal: Refusal) -> Understood<Symbol> {
        let Some(Symbol::Traced(root)) = self.values.get(&curve.root) else { return Err(refusal) };
        let root: Traced = root.clone();
        let values = curve.values.floats();
        match function(values.data()) {
            Some(function) => Ok(Symbol::Traced(self.apply(node, &root, function)?)),
            None => Ok(Symbol::Unknown(refusal)),
        }
    }
}

/// A constant that is the same everywhere.
fn scalar(known: &Value) -> Option<Value> {
    let same = |equal: bool| equal.then_some(());
    match known {
        Value::Float(array) => {
            let first = array.data().first()?;
            same(array.data().iter().all(|v| v == first))?;
            Some(Value::Float(Array::scalar(*first)))
        }
        Value::Int(array) => {
            let first = array.data().first()?;
            same(array.data().iter().all(|v| v == first))?;
            Some(Value::Int(Array::scalar(*first)))
        }
    }
}

/// The layer's function that has `values` at [`points`].
fn function(values: &[f32]) -> Option<Function> {
    let points = points();
    let at = |x: f32| points.iter().position(|&point| point >= x).and_then(|i| Some((points[i], *values.get(i)?)));
    let ((low_x, low), (zero_x, zero), (high_x, high)) = (at(-40.0)?, at(0.0)?, at(39.0)?);
    let (next_x, next) = at(0.1)?;
    let slope = (next - zero) / (next_x - zero_x);
    // A softplus of βx over β is ln(2) / β at 0.
    let beta = 2.0_f32.ln() / zero;
    let plain = [
        Activation::Relu,
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::LeakyRelu(low / low_x),
        Activation::Elu(-low),
        Activation::Clip { min: low, max: high },
        Activation::HardSigmoid { alpha: slope, beta: zero },
    ];
    let softplus = Function { before: (beta, 0.0), after: (1.0 / beta, 0.0), ..Activation::Softplus.into() };
    let line = (high - low) / (high_x - low_x);
    let affine = Function { before: (line, line.mul_add(-low_x, low)), ..Activation::Identity.into() };
    let candidates = plain.into_iter().filter(|activation| activation.check().is_ok()).map(Function::from);
    let mut candidates = candidates.chain([softplus, affine]);
    candidates.find(|function| {
        points.iter().zip(values).all(|(&x, &value)| (function.at(x) - value).abs() <= 1e-5 * value.abs().max(1.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_by_their_values() {
        let found = |f: &dyn Fn(f32) -> f32| {
            let values: Vec<_> = points().into_iter().map(f).collect();
            function(&values).map(|function| (function.activation, function.before.0))
        };
        assert_eq!(found(&|x| x.max(0.2 * x)).map(|f| f.0), Some(Activation::LeakyRelu(0.2)));
        assert_eq!(found(&|x| 0.5 + 0.5 * (0.5 * x).tanh()).map(|f| f.0), Some(Activation::Sigmoid));
        assert!(matches!(found(&|x| (x / 6.0 + 0.5).clamp(0.0, 1.0)), Some((Activation::HardSigmoid { .. }, _))));
        assert!(matches!(found(&|x| x.clamp(0.0, 6.0)), Some((Activation::Clip { .. }, _))));
        let softplus = found(&|x| if 2.0 * x > 20.0 { x } else { ((2.0 * x).exp() + 1.0).ln() / 2.0 });
        assert!(matches!(softplus, Some((Activation::Softplus, beta)) if (beta - 2.0).abs() < 1e-3), "{softplus:?}");
        assert_eq!(found(&|x| x / (1.0 + (-x).exp())), None);
        assert_eq!(found(&|x| x.sin()), None);
        assert_eq!(found(&|_| f32::NAN), None);
    }
}
