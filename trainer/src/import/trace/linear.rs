//! Matrix products and averages: whatever order their inputs come in, it ends up in the order of the weights.

use super::super::{
    array::Array,
    graph::Node,
    operators::{groups, reduced_axes, reduced_shape},
    refusal::Understood,
};
use super::{Stage, Symbol, Traced, Tracer, check_weights, label, value};
use crate::model::{Activation, Layer, Shape};

impl Tracer {
    /// `MatMul` and `Gemm` with constant weights.
    pub(super) fn product(&mut self, node: &Node) -> Understood<Traced> {
        let gemm = node.operator == "Gemm";
        let left = value(node.input(0).and_then(|name| self.values.get(name))).is_some();
        let (traced, matrix) = if left {
            (self.traced(node, 1)?.clone(), self.weights(node, 0)?.floats())
        } else {
            (self.traced(node, 0)?.clone(), self.product_weights(node)?)
        };
        let flip = |array: &Array<f32>| array.transpose(&[1, 0]).map_err(|reason| node.misfit(reason));
        let [rows, columns] = matrix.shape() else {
            return node
                .refuse(format!("multiplies with weights of shape {:?}", matrix.shape()), "weights of two dimensions");
        };
        // As (inputs, outputs).
        let transposed = gemm && node.flag(if left { "transA" } else { "transB" });
        let matrix = if left == transposed { matrix.clone() } else { flip(&matrix)? };
        let (inputs, outputs) = if left == transposed { (*rows, *columns) } else { (*columns, *rows) };
        let alpha = if gemm { node.float("alpha").unwrap_or(1.0) } else { 1.0 };
        let shape = traced.elements.shape().to_vec();
        if shape.len() == 4 && !left && shape.last() == Some(&inputs) && shape[1] * shape[2] > 1 {
            return self.pointwise_product(node, &traced, &matrix);
        }
        let n = traced.elements.data().len();
        if n != inputs {
            return node.refuse(
                format!("multiplies {shape:?} with {inputs} x {outputs} weights"),
                "one vector for each image; flatten the image, or use a convolution",
            );
        }
        let mut bias = vec![0.0; outputs];
        if gemm && let Some(c) = self.known(node, 2)? {
            let beta = node.float("beta").unwrap_or(1.0);
            let c = c.floats();
            let flat = c.reshape(vec![c.data().len()]).and_then(|c| c.broadcast(&[outputs]));
            bias = flat.map_err(|reason| node.misfit(reason))?.data().iter().map(|c| beta * c).collect();
        }
        let output = match (left, shape.as_slice()) {
            (true, _) => vec![outputs, 1],
            (false, [front @ .., _]) => [front, &[outputs]].concat(),
            (false, []) => vec![outputs],
        };
        let output = if gemm && !left { vec![1, outputs] } else { output };
        let taps = (0..inputs).flat_map(|i| (0..outputs).map(move |o| (o, i)));
        let taps = taps.map(|(o, i)| (o, i, alpha * matrix.data()[i * outputs + o]));
        self.combine(node, &traced, bias, taps, output)
    }

    /// The second factor, which has to be constant.
    fn product_weights(&self, node: &Node) -> Understood<Array<f32>> {
        match node.input(1).and_then(|name| self.values.get(name)) {
            Some(Symbol::Known(value)) => Ok(value.floats()),
            _ => node
                .refuse("multiplies two computed matrices, as attention does", "linear layers with constant weights"),
        }
    }

    /// A product over the last dimension of `(1, H, W, C)`: a convolution of one pixel.
    fn pointwise_product(&mut self, node: &Node, traced: &Traced, matrix: &Array<f32>) -> Understood<Traced> {
        let moved = |array: &Traced, order: [usize; 4]| {
            let elements = array.elements.transpose(&order).map_err(|reason| node.misfit(reason))?;
            Ok(Traced { elements, nodes: array.nodes.clone() })
        };
        let (inputs, outputs) = (matrix.shape()[0], matrix.shape()[1]);
        let weight = matrix.transpose(&[1, 0]).and_then(|weight| weight.reshape(vec![outputs, inputs, 1, 1]));
        let weight = weight.map_err(|reason| node.misfit(reason))?;
        let channels_first = moved(traced, [0, 3, 1, 2])?;
        let result = self.convolve_pointwise(node, &channels_first, &weight)?;
        moved(&result, [0, 2, 3, 1])
    }

    /// `GlobalAveragePool`, `ReduceMean`, `ReduceSum`.
    pub(super) fn mean(&mut self, node: &Node) -> Understood<Traced> {
        let axes_given = [None, self.known(node, 1)?];
        let traced = self.traced(node, 0)?.clone();
        let shape = traced.elements.shape();
        let axes = reduced_axes(node, &axes_given, shape.len()).map_err(|reason| node.misfit(reason))?;
        let over: usize = axes.iter().map(|&axis| shape[axis]).product();
        let share = if node.operator == "ReduceSum" { 1.0 } else { 1.0 / over.max(1) as f32 };
        let output = reduced_shape(node, shape, &axes);
        let groups = groups(shape, &axes);
        let bias = vec![0.0; output.iter().product()];
        let taps = groups.into_iter().enumerate().map(|(i, group)| (group, i, share));
        self.combine(node, &traced, bias, taps, output)
    }

    /// A linear layer over all outputs of the stage that `traced` comes from; `taps` are (output, element, weight).
    pub(super) fn combine(
        &mut self,
        node: &Node,
        traced: &Traced,
        mut bias: Vec<f32>,
        taps: impl Iterator<Item = (usize, usize, f32)>,
        shape: Vec<usize>,
    ) -> Understood<Traced> {
        let source = self.stage_of(node, traced)?;
        let (inputs, outputs) = (self.stages[source].size(), bias.len());
        check_weights(node, outputs, inputs)?;
        let mut weight = vec![0.0; outputs * inputs];
        for (output, i, w) in taps {
            let element = traced.elements.data()[i];
            if let Some(index) = element.index() {
                weight[output * inputs + index] += w * element.scale;
            }
            bias[output] += w * element.offset;
        }
        let layer = Layer::Linear { in_features: inputs, out_features: outputs, activation: Activation::Identity };
        let nodes = [&traced.nodes[..], &[label(node)]].concat();
        let output = Shape::Features(outputs);
        let id = self.push(node, Stage { source, layer: Some(layer), weight, bias, output, nodes })?;
        Ok(Traced::of_stage(id, shape))
    }
}
