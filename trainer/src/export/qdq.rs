//! An int8 model as ONNX in the QDQ form: int8 tensors between QuantizeLinear and DequantizeLinear around the operators of the
//! f32 files, operator set 17, with the same inputs and outputs as theirs.
//!
//! All numbers come from the int8 file (`docs/format.md`), which holds multipliers in place of scales. Activations get the scale
//! 1 and weights the scale multiplier·2^-shift, so that what a layer computes, rounded, is the next one's int8.

use unbraid::{
    Shape,
    writer::{FileSpec, LayerSpec, OutputSpec, Parameters, Window},
};

use super::graph::{self, Graph, size};
use super::onnx_proto::{AttributeProto, INT8, INT32};
use crate::model::{Autoencoder, Int8Model};
use crate::{Error, Result};

/// The scale and zero point of pixels, which are 0 to 255 for 0 to 1.
const PIXEL_SCALE: f32 = 1.0 / 255.0;
const PIXEL_ZERO_POINT: i8 = -128;

/// `encoder.qdq.onnx` and `decoder.qdq.onnx`, those of them that there are.
///
/// `image` `(batch, C, H, W)` in \[0, 1\] to `mean` and `log_var`, each `(batch, latents)`; `latent` `(batch, latents)` to `image`.
/// The same file gives the same bytes.
///
/// # Errors
/// ONNX has no operator for a layer: a transposed convolution whose phases have biases of their own or that reaches a whole
/// stride beyond its input, or a leaky layer that passes negative numbers alone.
pub fn qdq_onnx(model: &Int8Model) -> Result<[Option<Vec<u8>>; 2]> {
    let spec = model.spec()?;
    let metadata = metadata(model, &spec)?;
    let encoder = || encoder(&spec, metadata.clone());
    let decoder = || decoder(&spec, metadata.clone());
    Ok([model.has_encoder().then(encoder).transpose()?, model.has_decoder().then(decoder).transpose()?])
}

/// The file's text for people, the shapes, and the factors as JSON.
fn metadata(model: &Int8Model, spec: &FileSpec) -> Result<Vec<(String, String)>> {
    let [channels, height, width] = channels_first(spec.image);
    let mut entries: Vec<_> = spec.metadata.clone().into_iter().filter(|(key, _)| key != "format").collect();
    entries.push(("image".into(), format!("{channels}x{height}x{width}")));
    entries.push(("latents".into(), spec.latents.to_string()));
    let factors = model.factors()?;
    if !factors.is_empty() {
        let json = serde_json::to_string(&factors).map_err(|e| Error::Unsupported(format!("factors as JSON: {e}")))?;
        entries.push(("factors".into(), json));
    }
    Ok(entries)
}

fn encoder(spec: &FileSpec, metadata: Vec<(String, String)>) -> Result<Vec<u8>> {
    let mut network = Network { graph: Graph::new("encoder") };
    let pixels = network.units("image", PIXEL_SCALE, PIXEL_ZERO_POINT);
    let image = Value { name: "image".into(), units: None, shape: spec.image, flat: false };
    let image = network.quantize("image.quantized", image, pixels);
    let code = network.layers("encoder", &spec.encoder, image)?;
    let mut graph = network.graph;

    let units = [spec.mean_bits, spec.log_var_bits].map(|bits| vec![(-f32::from(bits)).exp2(); spec.latents]).concat();
    let units = graph.floats("code.units", &[units.len()], &units);
    let code = graph.node("Mul", "code", &[&code.name, &units], "code", vec![]);
    graph.slice(&code, 1, 0, spec.latents, "mean");
    graph.slice(&code, 1, spec.latents, 2 * spec.latents, "log_var");
    graph.input("image", &channels_first(spec.image), "pixels from 0 to 1");
    graph.output("mean", &[spec.latents], "means of q(z|x)");
    graph.output("log_var", &[spec.latents], "logarithms of the variances of q(z|x)");
    Ok(graph.finish("The encoder of a disentangling autoencoder, int8".into(), metadata))
}

fn decoder(spec: &FileSpec, metadata: Vec<(String, String)>) -> Result<Vec<u8>> {
    let mut network = Network { graph: Graph::new("decoder") };
    let steps = network.graph.floats("latent.steps", &[], &[f32::from(spec.mean_bits).exp2()]);
    let latent = network.graph.node("Mul", "latent.scaled", &["latent", &steps], "latent.scaled", vec![]);
    let name = network.whole("latent", &latent, [i16::MIN.into(), i16::MAX.into()]);
    let shape = Shape { height: 1, width: 1, channels: spec.latents };
    let pixels = network.layers("decoder", &spec.decoder, Value { name, units: None, shape, flat: true })?;
    let mut graph = network.graph;

    graph.unflatten("image", &pixels.name, channels_first(spec.image), "image");
    graph.input("latent", &[spec.latents], "a point in latent space, N(0, I) where the prior is");
    graph.output("image", &channels_first(spec.image), "pixels from 0 to 1");
    Ok(graph.finish("The decoder of a disentangling autoencoder, int8".into(), metadata))
}

/// What passes between operators.
struct Value {
    name: String,
    /// What its int8 stand for; none where it is f32.
    units: Option<Units>,
    shape: Shape,
    /// Whether it is `(batch, C·H·W)`, not `(batch, C, H, W)`.
    flat: bool,
}

/// A scale, and the constants that hold it and the zero point.
struct Units {
    scale: f32,
    names: [String; 2],
}

/// A network on its way into a graph.
struct Network {
    graph: Graph,
}

impl Network {
    fn layers(&mut self, part: &str, layers: &[LayerSpec], input: Value) -> Result<Value> {
        layers.iter().enumerate().try_fold(input, |x, (i, layer)| self.layer(&format!("{part}.{i}"), layer, x))
    }

    fn layer(&mut self, name: &str, layer: &LayerSpec, x: Value) -> Result<Value> {
        match layer {
            LayerSpec::Conv2d { window, output, parameters } => {
                let x = self.unflattened(name, x);
                let kernel = kernel(window, x.shape);
                let ordered = reordered(parameters, &(0..output.channels).collect::<Vec<_>>(), &order(kernel));
                let [channels, height, width] = channels_first(kernel);
                let shape = [output.channels, channels, height, width];
                let inputs = self.weights(name, &x, &ordered, (&ordered.weights, &shape, 0));
                let y = self.windows("Conv", name, &inputs, window, x.shape, *output);
                self.finish_layer(name, Value { name: y, units: None, shape: *output, flat: false }, &ordered)
            }
            LayerSpec::ConvTranspose2d { window, output, parameters } => {
                let x = self.unflattened(name, x);
                let kernel = kernel(window, x.shape);
                let ordered = reordered(parameters, &(0..output.channels).collect::<Vec<_>>(), &order(kernel));
                let [channels, height, width] = channels_first(kernel);
                let weights = inputs_first(&ordered.weights, channels, height * width);
                let shape = [channels, output.channels, height, width];
                let inputs = self.weights(name, &x, &ordered, (&weights, &shape, 1));
                let attributes = transposed(name, window, x.shape, *output)?;
                let y = self.operator("ConvTranspose", name, &inputs, attributes);
                self.finish_layer(name, Value { name: y, units: None, shape: *output, flat: false }, &ordered)
            }
            LayerSpec::Linear { output, parameters } => {
                let x = self.flattened(name, x);
                // Means and log-variances are told apart by their place in the file.
                let is_code = parameters.output == OutputSpec::Code;
                let rows = if is_code { (0..output.len()).collect() } else { order(*output) };
                let ordered = reordered(parameters, &rows, &order(x.shape));
                let shape = [output.len(), x.shape.len()];
                let inputs = self.weights(name, &x, &ordered, (&ordered.weights, &shape, 0));
                let y = self.operator("Gemm", name, &inputs, vec![AttributeProto::int("transB", 1)]);
                self.finish_layer(name, Value { name: y, units: None, shape: *output, flat: true }, &ordered)
            }
            LayerSpec::UpsampleNearest { factor } => {
                let x = self.unflattened(name, x);
                let [height, width] = [x.shape.height * factor[0], x.shape.width * factor[1]];
                let y = self.graph.upsample_nearest(name, &x.name, *factor, &format!("{name}.output"));
                Ok(Value { name: y, shape: Shape { height, width, ..x.shape }, ..x })
            }
            LayerSpec::MaxPool { window, output: [height, width] } => {
                let x = self.unflattened(name, x);
                let shape = Shape { height: *height, width: *width, ..x.shape };
                let y = self.windows("MaxPool", name, std::slice::from_ref(&x.name), window, x.shape, shape);
                Ok(Value { name: y, shape, ..x })
            }
        }
    }

    /// Adds the operator of layer `name` and returns the name of its result.
    fn operator(&mut self, op: &str, name: &str, inputs: &[String], attributes: Vec<AttributeProto>) -> String {
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.graph.node(op, name, &inputs, &format!("{name}.output"), attributes)
    }

    /// Adds an operator whose windows move over `input`; of those that fit, `output` are kept.
    fn windows(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[String],
        window: &Window,
        input: Shape,
        output: Shape,
    ) -> String {
        let Window { kernel, stride, padding } = *window;
        let axes = [(input.height, output.height), (input.width, output.width)];
        let behind = [0, 1].map(|axis| {
            let (input, output) = axes[axis];
            ((output - 1) * stride[axis] + kernel[axis]).saturating_sub(padding[axis] + input)
        });
        let mut y = self.operator(op, name, inputs, graph::window(kernel, stride, pads(padding, behind)));
        for axis in [0, 1] {
            let (input, output) = axes[axis];
            if (padding[axis] + input + behind[axis] - kernel[axis]) / stride[axis] + 1 > output {
                y = self.graph.slice(&y, 2 + axis, 0, output, &format!("{y}.cropped"));
            }
        }
        y
    }

    /// The inputs of an operator with weights: its input, weights and biases as real numbers. `weights` come with their shape and the
    /// axis of its output channels.
    fn weights(
        &mut self,
        name: &str,
        x: &Value,
        parameters: &Parameters,
        (weights, shape, axis): (&[i8], &[usize], i64),
    ) -> [String; 3] {
        let (input, input_scale) = match &x.units {
            Some(Units { scale, names: [scale_name, zero_point] }) => {
                let output = format!("{name}.input");
                let inputs = [&x.name, scale_name, zero_point].map(String::as_str);
                (self.graph.node("DequantizeLinear", &output, &inputs, &output, vec![]), *scale)
            }
            None => (x.name.clone(), 1.0),
        };
        let unit = (-f64::from(parameters.shift)).exp2() / f64::from(input_scale);
        let scales: Vec<f32> = parameters.multipliers.iter().map(|m| (f64::from(*m) * unit) as f32).collect();
        let bias_scales: Vec<f32> = scales.iter().map(|scale| scale * input_scale).collect();
        let weights = weights.iter().map(|w| w.cast_unsigned()).collect();
        let biases = parameters.biases.iter().flat_map(|b| b.to_le_bytes()).collect();
        let weight = self.per_channel(&format!("{name}.weight"), (INT8, shape, weights), axis, &scales);
        let bias = self.per_channel(&format!("{name}.bias"), (INT32, &[scales.len()], biases), 0, &bias_scales);
        [input, weight, bias]
    }

    /// Adds constant integers, given with type and shape, that stand for real numbers by a scale for each place on `axis`.
    fn per_channel(
        &mut self,
        name: &str,
        (data_type, shape, data): (i32, &[usize], Vec<u8>),
        axis: i64,
        scales: &[f32],
    ) -> String {
        let zeros = vec![0; data.len() / shape.iter().product::<usize>() * scales.len()];
        let integers = self.graph.initializer(name, shape, data_type, data);
        let scale = self.graph.floats(&format!("{name}.scale"), &[scales.len()], scales);
        let zero_point = self.graph.initializer(&format!("{name}.zero_point"), &[scales.len()], data_type, zeros);
        let real = format!("{name}.real");
        let axis = vec![AttributeProto::int("axis", axis)];
        self.graph.node("DequantizeLinear", &real, &[&integers, &scale, &zero_point], &real, axis)
    }

    /// Adds what happens to the results of a layer's operator, which count in units of its multipliers.
    fn finish_layer(&mut self, name: &str, y: Value, parameters: &Parameters) -> Result<Value> {
        let mut y = y;
        if let Some(negative) = &parameters.negative_multipliers {
            let slopes = slopes(name, &parameters.multipliers, negative)?;
            let shape = if y.flat { vec![slopes.len()] } else { vec![slopes.len(), 1, 1] };
            let slopes = self.graph.floats(&format!("{name}.slope"), &shape, &slopes);
            let output = format!("{name}.leaky");
            y.name = self.graph.node("PRelu", &output, &[&y.name, &slopes], &output, vec![]);
        }
        Ok(match &parameters.output {
            OutputSpec::Int8 { zero_point, minimum, maximum } => {
                // Rounding never changes the order: clipping first is the same.
                if (*minimum, *maximum) == (*zero_point, i8::MAX) {
                    let output = format!("{name}.relu");
                    y.name = self.graph.node("Relu", &output, &[&y.name], &output, vec![]);
                } else if (*minimum, *maximum) != (i8::MIN, i8::MAX) {
                    let range = [minimum, maximum].map(|end| f32::from(*end) - f32::from(*zero_point));
                    y.name = self.clip(&format!("{name}.clip"), &y.name, range);
                }
                let units = self.units(name, 1.0, *zero_point);
                self.quantize(&format!("{name}.quantized"), y, units)
            }
            OutputSpec::Table { zero_point, table, table_zero_point } => {
                let units = self.units(name, 1.0, *zero_point);
                let y = self.quantize(&format!("{name}.quantized"), y, units);
                let table = from_zero(table).into_iter().map(i8::cast_unsigned).collect();
                let table = self.graph.initializer(&format!("{name}.table"), &[256], INT8, table);
                let units = Some(self.units(&format!("{name}.table"), 1.0, *table_zero_point));
                Value { name: self.look_up(name, &table, &y.name), units, ..y }
            }
            OutputSpec::Code => Value { name: self.whole(name, &y.name, [i16::MIN.into(), i16::MAX.into()]), ..y },
            OutputSpec::Pixels { table } => {
                let half = (table.len() / 2) as f32;
                let index = self.whole(name, &y.name, [-half, half - 1.0]);
                let table: Vec<f32> = from_zero(table).into_iter().map(|pixel| f32::from(pixel) / 255.0).collect();
                let table = self.graph.floats(&format!("{name}.table"), &[table.len()], &table);
                Value { name: self.look_up(name, &table, &index), ..y }
            }
        })
    }

    /// The entries of `table` at `index`, which counts from its end where it is negative.
    fn look_up(&mut self, name: &str, table: &str, index: &str) -> String {
        let output = format!("{name}.index");
        let to = vec![AttributeProto::int("to", INT32.into())];
        let index = self.graph.node("Cast", &output, &[index], &output, to);
        let output = format!("{name}.entry");
        self.graph.node("Gather", &output, &[table, &index], &output, vec![])
    }

    /// `x` rounded, from the first of `range` to the second.
    fn whole(&mut self, name: &str, x: &str, range: [f32; 2]) -> String {
        let output = format!("{name}.rounded");
        let rounded = self.graph.node("Round", &output, &[x], &output, vec![]);
        self.clip(&format!("{name}.integer"), &rounded, range)
    }

    fn clip(&mut self, name: &str, x: &str, [low, high]: [f32; 2]) -> String {
        let low = self.graph.floats(&format!("{name}.low"), &[], &[low]);
        let high = self.graph.floats(&format!("{name}.high"), &[], &[high]);
        self.graph.node("Clip", name, &[x, &low, &high], name, vec![])
    }

    /// The constants of what int8 stand for.
    fn units(&mut self, name: &str, scale: f32, zero_point: i8) -> Units {
        let scale_name = self.graph.floats(&format!("{name}.scale"), &[], &[scale]);
        let zero_point = vec![zero_point.cast_unsigned()];
        let zero_point_name = self.graph.initializer(&format!("{name}.zero_point"), &[], INT8, zero_point);
        Units { scale, names: [scale_name, zero_point_name] }
    }

    fn quantize(&mut self, name: &str, x: Value, units: Units) -> Value {
        let [scale, zero_point] = &units.names;
        let quantized = self.graph.node("QuantizeLinear", name, &[&x.name, scale, zero_point], name, vec![]);
        Value { name: quantized, units: Some(units), ..x }
    }

    /// `x` as `(batch, C, H, W)` for layer `name`.
    fn unflattened(&mut self, name: &str, x: Value) -> Value {
        if !x.flat {
            return x;
        }
        let name = format!("{name}.unflattened");
        Value { name: self.graph.unflatten(&name, &x.name, channels_first(x.shape), &name), flat: false, ..x }
    }

    /// `x` as `(batch, C·H·W)` for layer `name`.
    fn flattened(&mut self, name: &str, x: Value) -> Value {
        if x.flat {
            return x;
        }
        let name = format!("{name}.flattened");
        let axis = vec![AttributeProto::int("axis", 1)];
        Value { name: self.graph.node("Flatten", &name, &[&x.name], &name, axis), flat: true, ..x }
    }
}

/// The attributes of a transposed convolution from `input` to `output`.
fn transposed(name: &str, window: &Window, input: Shape, output: Shape) -> Result<Vec<AttributeProto>> {
    let Window { kernel, stride, padding } = *window;
    let axes = [(input.height, output.height), (input.width, output.width)];
    // What the windows cover, and what is wanted of it, from the input's padded start on.
    let covered = [0, 1].map(|axis| (axes[axis].0 - 1) * stride[axis] + kernel[axis]);
    let wanted = [0, 1].map(|axis| axes[axis].1 + padding[axis]);
    let behind = [0, 1].map(|axis| covered[axis].saturating_sub(wanted[axis]));
    let beyond = [0, 1].map(|axis| wanted[axis].saturating_sub(covered[axis]));
    if (0..2).any(|axis| beyond[axis] >= stride[axis]) {
        return Err(Error::Unsupported(format!(
            "{name}: found output padding {beyond:?}, expected less than the stride {stride:?}: ONNX has no more"
        )));
    }
    let mut attributes = graph::window(kernel, stride, pads(padding, behind));
    if beyond != [0; 2] {
        attributes.push(AttributeProto::ints("output_padding", beyond.map(size).into()));
    }
    Ok(attributes)
}

/// Padding above, left, below, right.
fn pads([above, left]: [usize; 2], [below, right]: [usize; 2]) -> [usize; 4] {
    [above, left, below, right]
}

/// The slope of each channel below zero.
fn slopes(name: &str, multipliers: &[i32], negative: &[i32]) -> Result<Vec<f32>> {
    let slope = |(&multiplier, &negative): (&i32, &i32)| match (multiplier, negative) {
        (0, 0) => Ok(0.0),
        (0, _) => Err(Error::Unsupported(format!(
            "{name}: found multiplier 0 with negative multiplier {negative}, expected a channel that passes positive numbers"
        ))),
        _ => Ok((f64::from(negative) / f64::from(multiplier)) as f32),
    };
    multipliers.iter().zip(negative).map(slope).collect()
}

/// A table whose middle entry stands for 0 as one that starts there: Gather counts negative places from the end.
fn from_zero<T: Copy>(table: &[T]) -> Vec<T> {
    let (negative, positive) = table.split_at(table.len() / 2);
    [positive, negative].concat()
}

/// `parameters` with other orders of the outputs and of each one's weights.
fn reordered(parameters: &Parameters, outputs: &[usize], inputs: &[usize]) -> Parameters {
    let Parameters { weights, biases, multipliers, negative_multipliers, shift, output } = parameters;
    let each = |values: &[i32]| outputs.iter().map(|&to| values[to]).collect::<Vec<_>>();
    let row = |to: &usize| {
        let row = &weights[to * inputs.len()..][..inputs.len()];
        inputs.iter().map(|&from| row[from])
    };
    Parameters {
        weights: outputs.iter().flat_map(row).collect(),
        biases: each(biases),
        multipliers: each(multipliers),
        negative_multipliers: negative_multipliers.as_deref().map(each),
        shift: *shift,
        output: output.clone(),
    }
}

/// `(out, in, taps)` as `(in, out, taps)`.
fn inputs_first(weights: &[i8], inputs: usize, taps: usize) -> Vec<i8> {
    let row = |input: usize| weights.chunks_exact(taps).skip(input).step_by(inputs).flatten().copied();
    (0..inputs).flat_map(row).collect()
}

/// A kernel as an image of the input's channels.
fn kernel(window: &Window, input: Shape) -> Shape {
    let [height, width] = window.kernel;
    Shape { height, width, channels: input.channels }
}

/// For each element of an image in the order `(C, H, W)`, its place in the order `(H, W, C)`.
fn order(Shape { height, width, channels }: Shape) -> Vec<usize> {
    (0..channels).flat_map(|c| (0..height * width).map(move |pixel| pixel * channels + c)).collect()
}

fn channels_first(Shape { height, width, channels }: Shape) -> [usize; 3] {
    [channels, height, width]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_onnx_has_no_operator_for_is_refused_by_layer() {
        assert_eq!(slopes("decoder.0", &[4, 0], &[-1, 0]).unwrap(), [-0.25, 0.0]);
        let error = slopes("decoder.0", &[4, 0], &[1, 2]).unwrap_err().to_string();
        assert!(error.starts_with("decoder.0: found multiplier 0 with negative multiplier 2"), "{error}");

        let window = Window { kernel: [3; 2], stride: [2; 2], padding: [1, 0] };
        let input = Shape { height: 4, width: 4, channels: 1 };
        // The windows cover 9 rows and columns.
        let output = |width| Shape { height: 8, width, channels: 1 };
        assert_eq!(transposed("decoder.1", &window, input, output(9)).unwrap().len(), 3);
        assert_eq!(transposed("decoder.1", &window, input, output(10)).unwrap()[3].ints, [0, 1]);
        let error = transposed("decoder.1", &window, input, output(11)).unwrap_err().to_string();
        assert!(error.starts_with("decoder.1: found output padding [0, 2], expected less than"), "{error}");
    }

    #[test]
    fn tables_are_looked_up_from_zero_both_ways() {
        let table = from_zero(&[-2, -1, 0, 1]);
        assert_eq!(table, [0, 1, -2, -1]);
    }

    #[test]
    fn weights_change_their_order() {
        // 2 pixels of 3 channels.
        let shape = Shape { height: 1, width: 2, channels: 3 };
        assert_eq!(order(shape), [0, 3, 1, 4, 2, 5]);
        // 2 outputs, 3 inputs, 2 taps.
        let weights = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        assert_eq!(inputs_first(&weights, 3, 2), [1, 2, 7, 8, 3, 4, 9, 10, 5, 6, 11, 12]);
    }
}
