//! Constants added and multiplied: kept with each element, then folded into a layer.

use super::super::{graph::Node, operators::normalization, refusal::Understood};
use super::{Element, Stage, Traced, Tracer, check_weights, label, value};
use crate::model::{Activation, Layer, Padding, Shape};

impl Tracer {
    /// What a node that adds, subtracts, multiplies or divides constants makes of its input; nothing for other nodes.
    pub(super) fn affine(&self, node: &Node) -> Understood<Option<Traced>> {
        let factors = match node.operator.as_str() {
            "Neg" => self.traced(node, 0)?.elements.map(|_| (-1.0, 0.0)),
            "BatchNormalization" => {
                let inputs: Vec<_> = node.inputs.iter().map(|name| value(self.values.get(name))).collect();
                normalization(node, &inputs, self.traced(node, 0)?.elements.shape().len())?
            }
            "Cast" | "CastLike" => {
                // f32, f16, f64, bf16.
                if node.int("to").is_some_and(|to| ![1, 10, 11, 16].contains(&to)) {
                    return node.refuse("makes whole numbers of the network's values", "keep them real numbers");
                }
                self.traced(node, 0)?.elements.map(|_| (1.0, 0.0))
            }
            "Add" | "Sub" | "Mul" | "Div" | "Sum" => return self.binary(node).map(Some),
            _ => return Ok(None),
        };
        let traced = self.traced(node, 0)?;
        let elements = traced.elements.zip(&factors, |(element, (scale, offset))| element.affine(scale, offset));
        let elements = elements.map_err(|reason| node.misfit(reason))?;
        Ok(Some(Traced { elements, nodes: [&traced.nodes[..], &[label(node)]].concat() }))
    }

    /// A node of two inputs, of which one is constant.
    fn binary(&self, node: &Node) -> Understood<Traced> {
        let known = |i: usize| value(node.input(i).and_then(|name| self.values.get(name)));
        let (traced, constant, swapped) = match (known(0), known(1), node.inputs.len()) {
            (None, Some(constant), 2) => (self.traced(node, 0)?, constant.floats(), false),
            (Some(constant), None, 2) => (self.traced(node, 1)?, constant.floats(), true),
            _ => return self.two_computed(node),
        };
        let factors: fn(f32) -> (f32, f32) = match (node.operator.as_str(), swapped) {
            ("Add" | "Sum", _) => |c| (1.0, c),
            ("Sub", false) => |c| (1.0, -c),
            ("Sub", true) => |c| (-1.0, c),
            ("Mul", _) => |c| (c, 0.0),
            ("Div", false) => |c| (1.0 / c, 0.0),
            _ => return node.refuse("divides by the network's values", "multiply by constants instead"),
        };
        let elements = traced.elements.zip(&constant, |(element, c)| {
            let (scale, offset) = factors(c);
            element.affine(scale, offset)
        });
        let elements = elements.map_err(|reason| node.misfit(reason))?;
        Ok(Traced { elements, nodes: [&traced.nodes[..], &[label(node)]].concat() })
    }

    /// Explains why two computed values cannot be joined.
    fn two_computed<T>(&self, node: &Node) -> Understood<T> {
        self.traced(node, 0)?;
        self.traced(node, 1)?;
        match node.operator.as_str() {
            "Mul" => node.refuse(
                "multiplies two computed values, as SiLU, GLU and attention do",
                "use Relu, LeakyRelu, Elu, Sigmoid, Tanh, Softplus, HardSigmoid or Clip",
            ),
            "Div" => {
                node.refuse("divides two computed values, as normalization by the input does", "batch normalization")
            }
            _ => node.refuse(
                "joins the outputs of two layers, as residual connections do",
                "a chain of layers; train without skip connections",
            ),
        }
    }

    /// `traced` with all factors folded into the layer that it comes from, and `activation` applied: plain elements.
    ///
    /// Where that layer has an activation already or has no weights, a layer is put behind it that multiplies each channel.
    pub(super) fn settle(&mut self, node: &Node, traced: &Traced, activation: Activation) -> Understood<Traced> {
        if traced.is_plain() && activation == Activation::Identity {
            return Ok(traced.clone());
        }
        let id = self.stage_of(node, traced)?;
        if let Some(settled) = self.settle_before_pooling(node, id, traced, activation)? {
            return Ok(settled);
        }
        let stage = self.stages[id].clone();
        let factors = factors(&stage, traced);
        let id = match factors {
            Some(factors) if stage.has_weights() && stage.activation() == Activation::Identity => {
                let mut scaled = stage.scaled(&factors, activation);
                scaled.nodes.extend(traced.nodes.iter().cloned());
                self.push(node, scaled)?
            }
            Some(factors) => self.multiply(node, id, &factors, activation, traced)?,
            None => {
                let instead = "the same factor for all pixels of a channel";
                return node.refuse("scales or moves the pixels of a channel differently", instead);
            }
        };
        let settled = |element: &Element| match element.index() {
            Some(index) => Element::of(id, index),
            None => Element::constant(activation.apply(element.offset)),
        };
        Ok(Traced { elements: traced.elements.map(settled), nodes: Vec::new() })
    }

    /// Whether [`Self::settle`] needs no layer of its own.
    pub(super) fn settles_freely(&self, id: usize, traced: &Traced) -> bool {
        let stage = &self.stages[id];
        traced.is_plain()
            || stage.has_weights() && stage.activation() == Activation::Identity && factors(stage, traced).is_some()
    }

    /// The greatest of rising functions is the rising function of the greatest: what follows a pooling moves in front of it.
    fn settle_before_pooling(
        &mut self,
        node: &Node,
        id: usize,
        traced: &Traced,
        activation: Activation,
    ) -> Understood<Option<Traced>> {
        let stage = self.stages[id].clone();
        let before = self.stages[stage.source].clone();
        let pooled = matches!(stage.layer, Some(Layer::MaxPool { .. } | Layer::UpsampleNearest { .. }));
        let folds = before.has_weights() && before.activation() == Activation::Identity;
        let factors = factors(&stage, traced).filter(|factors| factors.iter().all(|&(scale, _)| scale > 0.0));
        let (true, true, Some(factors)) = (pooled, folds && !before.is_linear(), factors) else { return Ok(None) };
        let source = self.push(node, before.scaled(&factors, activation))?;
        let nodes = [&stage.nodes[..], &traced.nodes[..]].concat();
        let id = self.push(node, Stage { source, nodes, ..stage })?;
        let settled = |element: &Element| match element.index() {
            Some(index) => Element::of(id, index),
            None => Element::constant(activation.apply(element.offset)),
        };
        Ok(Some(Traced { elements: traced.elements.map(settled), nodes: Vec::new() }))
    }

    /// A layer behind stage `id` that multiplies each of its units and adds to it.
    fn multiply(
        &mut self,
        node: &Node,
        id: usize,
        factors: &[(f32, f32)],
        activation: Activation,
        traced: &Traced,
    ) -> Understood<usize> {
        let (n, output) = (factors.len(), self.stages[id].output);
        check_weights(node, n, n)?;
        let layer = match output {
            Shape::Image(image) if n == image.channels && image.height * image.width > 1 => Layer::Conv2d {
                in_channels: n,
                out_channels: n,
                kernel: [1; 2],
                stride: [1; 2],
                padding: Padding::default(),
                activation,
            },
            _ => Layer::Linear { in_features: n, out_features: n, activation },
        };
        let mut weight = vec![0.0; n * n];
        factors.iter().enumerate().for_each(|(i, &(scale, _))| weight[i * n + i] = scale);
        let bias = factors.iter().map(|&(_, offset)| offset).collect();
        let nodes = [&traced.nodes[..], &[label(node)]].concat();
        self.push(node, Stage { source: id, layer: Some(layer), weight, bias, output, nodes })
    }
}

/// The factor of each unit of `stage`, if all elements of a unit have the same one; 1 and 0 where there are none.
fn factors(stage: &Stage, traced: &Traced) -> Option<Vec<(f32, f32)>> {
    let mut factors = vec![None; stage.units()];
    for element in traced.elements.data() {
        let Some(index) = element.index() else { continue };
        let (own, factor) = ((element.scale, element.offset), &mut factors[stage.unit(index)]);
        if *factor.get_or_insert(own) != own {
            return None;
        }
    }
    Some(factors.into_iter().map(|factor| factor.unwrap_or((1.0, 0.0))).collect())
}
