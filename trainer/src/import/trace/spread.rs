//! The end of a variational encoder: e to the power of a log-variance, random numbers, a sample of the posterior.

use super::super::{graph::Node, operators::movement, refusal::Understood};
use super::{Symbol, Traced, Tracer, label, value};

impl Tracer {
    /// What a node that makes random numbers gives; nothing for other nodes.
    pub(super) fn random(&self, node: &Node) -> Understood<Option<Vec<Symbol>>> {
        match node.operator.as_str() {
            "RandomNormal" | "RandomNormalLike" => {
                let standard = node.float("mean").unwrap_or(0.0) == 0.0 && node.float("scale").unwrap_or(1.0) == 1.0;
                if standard {
                    return Ok(Some(vec![Symbol::Noise]));
                }
                node.refuse(
                    "draws from another distribution than N(0, 1)",
                    "mean + exp(log_var / 2) · randn_like(mean)",
                )
            }
            "RandomUniform" | "RandomUniformLike" | "Bernoulli" | "Multinomial" => node
                .refuse("draws random numbers", "export a network without them, or one that ends in mean + σ·N(0, 1)"),
            _ => Ok(None),
        }
    }

    /// What a node of a trailing reparameterization gives; nothing for other nodes.
    pub(super) fn sampling(&self, node: &Node) -> Understood<Option<Symbol>> {
        let symbol = |i: usize| node.input(i).and_then(|name| self.values.get(name));
        let (first, second) = (symbol(0), symbol(1));
        let constant = |symbol: Option<&Symbol>, number: f32| {
            value(symbol).is_some_and(|value| value.floats().data().iter().all(|&v| v == number))
        };
        let moves = movement::is_movement(&node.operator) || ["Cast", "CastLike"].contains(&node.operator.as_str());
        let is_identity = node.operator == "Identity" || node.operator.starts_with("Cast");
        let found = match (node.operator.as_str(), first, second) {
            ("Exp", Some(Symbol::Traced(x)), _) => Symbol::Exponential(x.clone()),
            ("Sqrt", Some(Symbol::Exponential(x)), _) => Symbol::Exponential(scaled(x, 0.5, node)),
            ("Pow", Some(Symbol::Exponential(x)), Some(Symbol::Known(power))) => {
                let Some(&[power]) = Some(power.floats()).as_ref().map(|p| p.data()) else { return Ok(None) };
                Symbol::Exponential(scaled(x, power, node))
            }
            ("Mul", Some(Symbol::Noise), one) | ("Mul", one, Some(Symbol::Noise)) => match one {
                Some(Symbol::Exponential(x)) => Symbol::Spread(Some(x.clone())),
                Some(Symbol::Traced(_)) => Symbol::Spread(None),
                one if constant(one, 1.0) => Symbol::Noise,
                _ => return self.spoiled(node),
            },
            ("Add", Some(Symbol::Noise), zero) | ("Add", zero, Some(Symbol::Noise)) if constant(zero, 0.0) => {
                Symbol::Noise
            }
            ("Add", Some(Symbol::Traced(mean)), Some(Symbol::Spread(of)))
            | ("Add", Some(Symbol::Spread(of)), Some(Symbol::Traced(mean))) => Symbol::Sample(mean.clone(), of.clone()),
            (_, Some(Symbol::Noise), _) if moves => Symbol::Noise,
            (_, Some(kept @ (Symbol::Exponential(_) | Symbol::Spread(_) | Symbol::Sample(..))), _) if is_identity => {
                kept.clone()
            }
            (_, Some(kept), _) if node.operator == "Shape" && !matches!(kept, Symbol::Traced(_)) => {
                return self.shape_of_sample(node, kept).map(Some);
            }
            (_, Some(Symbol::Unknown(refusal)), _) | (_, _, Some(Symbol::Unknown(refusal))) => {
                return Err(refusal.clone());
            }
            _ if [first, second].into_iter().flatten().any(is_random) => return self.spoiled(node),
            _ => return Ok(None),
        };
        Ok(Some(found))
    }

    fn shape_of_sample(&self, node: &Node, kept: &Symbol) -> Understood<Symbol> {
        match kept {
            Symbol::Exponential(x) | Symbol::Sample(x, _) | Symbol::Spread(Some(x)) => {
                let shape = super::operators::shape_value(node, x.elements.shape());
                shape.map(Symbol::Known).map_err(|reason| node.misfit(reason))
            }
            _ => self.spoiled(node),
        }
    }

    fn spoiled<T>(&self, node: &Node) -> Understood<T> {
        node.refuse(
            "computes on with an exponential or random numbers",
            "end the encoder in mean and log-variance, or in mean + exp(log_var / 2) · randn_like(mean)",
        )
    }
}

fn is_random(symbol: &Symbol) -> bool {
    matches!(symbol, Symbol::Exponential(_) | Symbol::Noise | Symbol::Spread(_) | Symbol::Sample(..))
}

fn scaled(x: &Traced, factor: f32, node: &Node) -> Traced {
    let elements = x.elements.map(|element| element.affine(factor, 0.0));
    Traced { elements, nodes: [&x.nodes[..], &[label(node)]].concat() }
}
