//! Convolutions and pooling.

use super::super::{
    array::Array,
    graph::Node,
    operators::{
        reduced_axes, reduced_shape,
        window::{Slides, Sliding, kernel_of},
    },
    refusal::Understood,
    value::Value,
};
use super::{Stage, Symbol, Traced, Tracer, check_weights, label, view::View};
use crate::model::{Activation, ImageShape, Layer, Padding, Shape};

/// Weights as (output, input, tap) with every channel seeing every other.
struct Dense {
    outputs: usize,
    inputs: usize,
    weight: Array<f32>,
    slides: Slides,
    groups: usize,
}

impl Dense {
    /// The weight between output and input channel at a tap; 0 where groups keep them apart.
    fn at(&self, output: usize, input: usize, [row, column]: [usize; 2]) -> f32 {
        let (own, other) = (self.outputs / self.groups, self.inputs / self.groups);
        if output / own != input / other {
            return 0.0;
        }
        let (first, second) = match self.slides {
            Slides::Over => (output, input % other),
            Slides::Back => (input, output % own),
        };
        let shape = self.weight.shape();
        self.weight.data()[((first * shape[1] + second) * shape[2] + row) * shape[3] + column]
    }
}

impl Tracer {
    /// `Conv` and `ConvTranspose`.
    pub(super) fn convolution(&mut self, node: &Node) -> Understood<Traced> {
        let slides = if node.operator == "Conv" { Slides::Over } else { Slides::Back };
        let weight = self.weights(node, 1)?.floats();
        let traced = self.traced(node, 0)?.clone();
        let sliding = Sliding::of(node, kernel_of(&weight), traced.elements.shape(), slides)?;
        let (first, second) = (weight.shape()[0], weight.shape()[1]);
        let (outputs, inputs) = match slides {
            Slides::Over => (first, second * sliding.groups),
            Slides::Back => (second * sliding.groups, first),
        };
        let fits = weight.shape()[2..] == sliding.kernel
            && traced.elements.shape()[1] == inputs
            && outputs.is_multiple_of(sliding.groups)
            && inputs.is_multiple_of(sliding.groups);
        let bias = self.known(node, 2)?.map(Value::floats);
        let bias = bias.map_or_else(|| vec![0.0; outputs], |bias| bias.data().to_vec());
        if !fits || bias.len() != outputs {
            let shapes = (traced.elements.shape(), weight.shape(), bias.len());
            return Err(node.misfit(format!("has input, weights and bias of shapes {shapes:?}")));
        }
        let dense = Dense { outputs, inputs, weight, slides, groups: sliding.groups };
        self.convolve(node, &traced, &dense, bias, sliding)
    }

    /// A convolution of one pixel with `weight (out, in, 1, 1)`.
    pub(super) fn convolve_pointwise(
        &mut self,
        node: &Node,
        traced: &Traced,
        weight: &Array<f32>,
    ) -> Understood<Traced> {
        let (outputs, inputs) = (weight.shape()[0], weight.shape()[1]);
        let output = [traced.elements.shape()[2], traced.elements.shape()[3]];
        let window = crate::model::Window { kernel: [1; 2], stride: [1; 2], padding: Padding::default() };
        let sliding = Sliding { output, ..Sliding::plain(window) };
        let dense = Dense { outputs, inputs, weight: weight.clone(), slides: Slides::Over, groups: 1 };
        self.convolve(node, traced, &dense, vec![0.0; outputs], sliding)
    }

    fn convolve(
        &mut self,
        node: &Node,
        traced: &Traced,
        dense: &Dense,
        bias: Vec<f32>,
        sliding: Sliding,
    ) -> Understood<Traced> {
        let source = self.stage_of(node, traced)?;
        if self.stages[source].image().is_none() && !self.stages[source].is_linear() {
            return self.convolve_features(node, traced, dense, &bias, sliding);
        }
        let traced = self.free(node, traced)?;
        let mut view = self.view(node, &traced)?;
        let moves = view.factors.iter().any(|&(_, offset)| offset != 0.0);
        let borders =
            dense.slides == Slides::Back || view.is_padded() || [sliding.before, sliding.after] != [[0; 2]; 2];
        if moves && borders {
            // Zeros around the image are not moved with it.
            let settled = self.settle(node, &traced, Activation::Identity)?;
            view = self.view(node, &settled)?;
        }
        if view.is_padded() && view.filling != 0.0 {
            return node.refuse(format!("takes an image padded with {}", view.filling), "pad with zeros");
        }
        match dense.slides {
            Slides::Over => self.convolve_over(node, view, dense, bias, sliding),
            Slides::Back => self.convolve_back(node, view, dense, bias, sliding),
        }
    }

    /// A convolution of features that nothing gave a place, as of latents: a linear layer.
    fn convolve_features(
        &mut self,
        node: &Node,
        traced: &Traced,
        dense: &Dense,
        bias: &[f32],
        sliding: Sliding,
    ) -> Understood<Traced> {
        let (input, output) = ([traced.elements.shape()[2], traced.elements.shape()[3]], sliding.output);
        let mut taps = Vec::new();
        let (cells, pixels) = if dense.slides == Slides::Over { (output, input) } else { (input, output) };
        sliding.taps(cells, pixels, |cell, pixel, tap| {
            let (from, to) = if dense.slides == Slides::Over { (pixel, cell) } else { (cell, pixel) };
            for o in 0..dense.outputs {
                for i in 0..dense.inputs {
                    let at = |channel: usize, size: [usize; 2], [row, column]: [usize; 2]| {
                        (channel * size[0] + row) * size[1] + column
                    };
                    taps.push((at(o, output, to), at(i, input, from), dense.at(o, i, tap)));
                }
            }
        });
        let bias = bias.iter().flat_map(|&b| vec![b; output[0] * output[1]]).collect();
        self.combine(node, traced, bias, taps.into_iter(), vec![1, dense.outputs, output[0], output[1]])
    }

    fn convolve_over(
        &mut self,
        node: &Node,
        view: View,
        dense: &Dense,
        mut bias: Vec<f32>,
        sliding: Sliding,
    ) -> Understood<Traced> {
        let channels = self.stages[view.stage].channels();
        // Padding adds up; what is cut off is seen by taps of weight 0.
        let total = |own: usize, side: isize| own.saturating_add_signed(side.max(0));
        let padding = Padding {
            top: total(sliding.before[0], view.before[0]),
            left: total(sliding.before[1], view.before[1]),
            bottom: total(sliding.after[0], view.after[0]),
            right: total(sliding.after[1], view.after[1]),
        };
        let cut = |sides: [isize; 2]| sides.map(|n| n.min(0).unsigned_abs());
        let (skip, rest) = (cut(view.before), cut(view.after));
        let crops = [skip, rest] != [[0; 2]; 2];
        if crops && [sliding.before, sliding.after] != [[0; 2]; 2] {
            // Zeros are due where the image was cut off.
            let view = self.cropped(node, view)?;
            return self.convolve_over(node, view, dense, bias, sliding);
        }
        let (kernel, padding) =
            lengthened([0, 1].map(|axis| skip[axis] + sliding.reach(axis) + rest[axis]), padding, [0; 2]);
        check_weights(node, dense.outputs * channels, kernel[0] * kernel[1])?;
        let mut weight = vec![0.0; dense.outputs * channels * kernel[0] * kernel[1]];
        for o in 0..dense.outputs {
            for (i, (&channel, &(scale, offset))) in view.channels.iter().zip(&view.factors).enumerate() {
                for tap in
                    (0..sliding.kernel[0]).flat_map(|row| (0..sliding.kernel[1]).map(move |column| [row, column]))
                {
                    let [row, column] = [0, 1].map(|axis| skip[axis] + tap[axis] * sliding.dilation[axis]);
                    let value = dense.at(o, i, tap);
                    weight[((o * channels + channel) * kernel[0] + row) * kernel[1] + column] += scale * value;
                    bias[o] += offset * value;
                }
            }
        }
        let layer = Layer::Conv2d {
            in_channels: channels,
            out_channels: dense.outputs,
            kernel,
            stride: sliding.stride,
            padding,
            activation: Activation::Identity,
        };
        self.give(node, view, layer, (weight, bias), (dense.outputs, sliding.output))
    }

    fn convolve_back(
        &mut self,
        node: &Node,
        view: View,
        dense: &Dense,
        bias: Vec<f32>,
        sliding: Sliding,
    ) -> Understood<Traced> {
        let view = self.cropped(node, view)?;
        let channels = self.stages[view.stage].channels();
        // Zeros in front of the input give rows that the padding cuts off again.
        let cut =
            |own: usize, zeros: isize, axis: usize| own.checked_add_signed(-zeros * sliding.stride[axis].cast_signed());
        let [top, left] = [0, 1].map(|axis| cut(sliding.before[axis], view.before[axis], axis));
        let [bottom, right] = [0, 1].map(|axis| cut(sliding.after[axis], view.after[axis], axis));
        let (Some(top), Some(left), Some(bottom), Some(right)) = (top, left, bottom, right) else {
            return node.refuse("widens an image with zeros around it", "padding behind the transposed convolution");
        };
        // Output padding of a whole step and more is longer than layers have it.
        let more = [0, 1].map(|axis| {
            if sliding.output_padding[axis] < sliding.stride[axis] { 0 } else { sliding.output_padding[axis] }
        });
        let output_padding = [0, 1].map(|axis| sliding.output_padding[axis] - more[axis]);
        let (kernel, padding) =
            lengthened([0, 1].map(|axis| sliding.reach(axis)), Padding { top, left, bottom, right }, more);
        check_weights(node, dense.outputs * channels, kernel[0] * kernel[1])?;
        let mut weight = vec![0.0; channels * dense.outputs * kernel[0] * kernel[1]];
        for (i, (&channel, &(scale, _))) in view.channels.iter().zip(&view.factors).enumerate() {
            for o in 0..dense.outputs {
                for tap in
                    (0..sliding.kernel[0]).flat_map(|row| (0..sliding.kernel[1]).map(move |column| [row, column]))
                {
                    let [row, column] = [0, 1].map(|axis| tap[axis] * sliding.dilation[axis]);
                    weight[((channel * dense.outputs + o) * kernel[0] + row) * kernel[1] + column] +=
                        scale * dense.at(o, i, tap);
                }
            }
        }
        let layer = Layer::ConvTranspose2d {
            in_channels: channels,
            out_channels: dense.outputs,
            kernel,
            stride: sliding.stride,
            padding,
            output_padding,
            activation: Activation::Identity,
        };
        self.give(node, view, layer, (weight, bias), (dense.outputs, sliding.output))
    }

    /// `MaxPool` and the greatest value of each channel.
    pub(super) fn max_pool(&mut self, node: &Node) -> Understood<Traced> {
        let axes_given = self.known(node, 1)?.cloned();
        let traced = self.traced(node, 0)?.clone();
        let traced = self.free(node, &traced)?;
        let shape = traced.elements.shape().to_vec();
        let (sliding, flat) = if node.operator == "MaxPool" {
            if node.outputs.get(1).is_some_and(|name| !name.is_empty()) {
                return node.refuse("also gives the positions of what is greatest", "max-pooling without indices");
            }
            (Sliding::of(node, None, &shape, Slides::Over)?, None)
        } else {
            let axes =
                reduced_axes(node, &[None, axes_given.as_ref()], shape.len()).map_err(|reason| node.misfit(reason))?;
            if shape.len() != 4 || axes != [2, 3] {
                return node.refuse(
                    format!("takes the greatest along dimensions {axes:?}"),
                    "the rows and columns of (N, C, H, W)",
                );
            }
            let window =
                crate::model::Window { kernel: [shape[2], shape[3]], stride: [1; 2], padding: Padding::default() };
            (Sliding { output: [1; 2], ..Sliding::plain(window) }, Some(reduced_shape(node, &shape, &axes)))
        };
        if sliding.dilation != [1; 2] {
            return node.refuse("skips pixels (dilations)", "max-pooling without dilation");
        }
        let mut view = self.view(node, &traced)?;
        if view.factors.iter().any(|&(scale, _)| scale <= 0.0) {
            let settled = self.settle(node, &traced, Activation::Identity)?;
            view = self.view(node, &settled)?;
        }
        let moved = view.factors.iter().any(|&factor| factor != (1.0, 0.0));
        let harmless = view.filling <= -1e30 || view.filling == 0.0 && !moved && self.is_positive(view.stage);
        if view.is_padded() && !harmless {
            return node
                .refuse(format!("pools an image padded with {}", view.filling), "the padding of the pooling itself");
        }
        let view = self.cropped(node, view)?;
        let total = |own: usize, side: isize| own.saturating_add_signed(side);
        let padding = Padding {
            top: total(sliding.before[0], view.before[0]),
            left: total(sliding.before[1], view.before[1]),
            bottom: total(sliding.after[0], view.after[0]),
            right: total(sliding.after[1], view.after[1]),
        };
        let layer = Layer::MaxPool { kernel: sliding.kernel, stride: sliding.stride, padding };
        let (channels, factors) = (view.channels.clone(), view.factors.clone());
        let source_channels = self.stages[view.stage].channels();
        let given = self.give(node, view, layer, (Vec::new(), Vec::new()), (source_channels, sliding.output))?;
        // The view's channels of what was pooled, and its factors behind the pooling.
        let [rows, columns] = sliding.output;
        let picked = given.elements.moved(vec![1, channels.len(), rows, columns], None, |to, from| {
            from.copy_from_slice(to);
            from[1] = channels[to[1]];
            true
        });
        let mut at = 0;
        let picked = picked.map_err(|reason| node.misfit(reason))?.map(|element| {
            let (scale, offset) = factors[at / (rows * columns)];
            at += 1;
            element.affine(scale, offset)
        });
        let elements = match flat {
            Some(shape) => picked.reshape(shape).map_err(|reason| node.misfit(reason))?,
            None => picked,
        };
        Ok(Traced { elements, nodes: Vec::new() })
    }

    /// `AveragePool`: a convolution with equal weights.
    pub(super) fn average_pool(&mut self, node: &Node) -> Understood<Traced> {
        let traced = self.traced(node, 0)?.clone();
        let sliding = Sliding::of(node, None, traced.elements.shape(), Slides::Over)?;
        let padded = [sliding.before, sliding.after] != [[0; 2]; 2];
        if padded && (!node.flag("count_include_pad") || node.flag("ceil_mode")) {
            return node.refuse(
                "averages over fewer pixels at the border",
                "pooling without padding, or AvgPool2d(count_include_pad=True, ceil_mode=False)",
            );
        }
        let channels = traced.elements.shape()[1];
        let [height, width] = sliding.kernel;
        let weight = Array::filled(vec![channels, 1, height, width], 1.0 / (height * width) as f32);
        let weight = weight.map_err(|reason| node.misfit(reason))?;
        let dense = Dense { outputs: channels, inputs: channels, weight, slides: Slides::Over, groups: channels };
        self.convolve(node, &traced, &dense, vec![0.0; channels], sliding)
    }

    /// Whether no output of stage `id` is negative.
    fn is_positive(&self, id: usize) -> bool {
        let stage = &self.stages[id];
        match stage.layer {
            Some(Layer::MaxPool { .. } | Layer::UpsampleNearest { .. }) => self.is_positive(stage.source),
            _ => match stage.activation() {
                Activation::Relu | Activation::Sigmoid | Activation::Softplus | Activation::HardSigmoid { .. } => true,
                Activation::Clip { min, .. } => min >= 0.0,
                _ => false,
            },
        }
    }

    /// `traced`, input 0 of `node`, with its factors folded into the layer in front where that costs nothing. What else takes the
    /// same value gets the same layer.
    fn free(&mut self, node: &Node, traced: &Traced) -> Understood<Traced> {
        let id = self.stage_of(node, traced)?;
        if traced.is_plain() || !self.settles_freely(id, traced) {
            return Ok(traced.clone());
        }
        let settled = self.settle(node, traced, Activation::Identity)?;
        if let Some(name) = node.input(0).filter(|_| settled.elements.shape() == traced.elements.shape()) {
            self.values.insert(name.to_owned(), Symbol::Traced(settled.clone()));
        }
        Ok(settled)
    }

    /// Adds a layer over the stage of `view` that gives an image of so many channels, rows and columns.
    fn give(
        &mut self,
        node: &Node,
        view: View,
        layer: Layer,
        (weight, bias): (Vec<f32>, Vec<f32>),
        (channels, [height, width]): (usize, [usize; 2]),
    ) -> Understood<Traced> {
        let output = Shape::Image(ImageShape { channels, height, width });
        let nodes = [&view.nodes[..], &[label(node)]].concat();
        let stage = Stage { source: view.stage, layer: Some(layer), weight, bias, output, nodes };
        let id = self.push(node, stage)?;
        Ok(Traced::of_stage(id, vec![1, channels, height, width]))
    }
}

/// A kernel with `more` taps of weight 0 at its end, and as many as it takes to be larger than the padding in front of it.
fn lengthened(kernel: [usize; 2], padding: Padding, more: [usize; 2]) -> ([usize; 2], Padding) {
    let extra = |axis: usize| {
        let kernel = kernel[axis] + more[axis];
        (padding.before()[axis] + 1).saturating_sub(kernel)
    };
    let [below, right] = [extra(0), extra(1)];
    let padding = Padding { bottom: padding.bottom + below, right: padding.right + right, ..padding };
    ([kernel[0] + more[0] + below, kernel[1] + more[1] + right], padding)
}
