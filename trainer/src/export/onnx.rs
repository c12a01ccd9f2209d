//! ONNX files of the encoder and the decoder, f32, operator set 17: Conv, ConvTranspose, Gemm, MaxPool, Resize, Flatten, Reshape,
//! Slice, and an operator for each activation, which every runtime has. The batch size is free.

use std::collections::BTreeMap;

use candle_core::Tensor;
use prost::Message;

use super::onnx_proto::{
    AttributeProto, DimensionProto, FLOAT, GraphProto, INT64, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::weights::{Values, values};
use crate::model::{Activation, Architecture, Layer, PixelOutput, Window, missing};
use crate::{Error, Result};

const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;

/// `encoder.onnx`: `image` `(batch, C, H, W)` in \[0, 1\] to `mean` and `log_var`, each `(batch, latents)`.
///
/// Weights keep their names and PyTorch layout. The same input gives the same bytes.
///
/// # Errors
/// There is no encoder, the architecture's layers do not fit each other, or `weights` are not exactly its tensors, f32 and finite.
pub fn encoder_onnx(architecture: &Architecture, weights: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    architecture.validate().map_err(Error::Unsupported)?;
    if !architecture.has_encoder() {
        return Err(missing("encoder", "decoder"));
    }
    Ok(encoder(architecture, &values(architecture, weights)?))
}

/// `decoder.onnx`: `latent` `(batch, latents)` to `image` `(batch, C, H, W)` in \[0, 1\], the sigmoid (or clamping) included.
///
/// Weights keep their names and PyTorch layout. The same input gives the same bytes.
///
/// # Errors
/// There is no decoder, the architecture's layers do not fit each other, or `weights` are not exactly its tensors, f32 and finite.
pub fn decoder_onnx(architecture: &Architecture, weights: &BTreeMap<String, Tensor>) -> Result<Vec<u8>> {
    architecture.validate().map_err(Error::Unsupported)?;
    if !architecture.has_decoder() {
        return Err(missing("decoder", "encoder"));
    }
    Ok(decoder(architecture, &values(architecture, weights)?))
}

/// [`encoder_onnx`] for values that are known to fit.
pub(super) fn encoder(architecture: &Architecture, values: &Values) -> Vec<u8> {
    let mut graph = Graph::new("encoder", values);
    let code = graph.layers("encoder", &architecture.encoder, "image");
    graph.slice(&code, 0, architecture.latents, "mean");
    graph.slice(&code, architecture.latents, 2 * architecture.latents, "log_var");
    let latents = [architecture.latents];
    graph.input("image", &image_shape(architecture), "pixels from 0 to 1");
    graph.output("mean", &latents, "means of q(z|x)");
    graph.output("log_var", &latents, "logarithms of the variances of q(z|x)");
    graph.finish(architecture)
}

/// [`decoder_onnx`] for values that are known to fit.
pub(super) fn decoder(architecture: &Architecture, values: &Values) -> Vec<u8> {
    let mut graph = Graph::new("decoder", values);
    let last = graph.layers("decoder", &architecture.decoder, "latent");
    match architecture.output {
        PixelOutput::Sigmoid => graph.node("Sigmoid", "sigmoid", &[&last], "image", vec![]),
        PixelOutput::Linear => {
            let (low, high) = (graph.floats("pixel.low", &[], &[0.0]), graph.floats("pixel.high", &[], &[1.0]));
            graph.node("Clip", "clip", &[&last, &low, &high], "image", vec![])
        }
    };
    graph.input("latent", &[architecture.latents], "a point in latent space, N(0, I) where the prior is");
    graph.output("image", &image_shape(architecture), "pixels from 0 to 1");
    graph.finish(architecture)
}

fn image_shape(architecture: &Architecture) -> [usize; 3] {
    [architecture.image.channels, architecture.image.height, architecture.image.width]
}

/// A graph under construction.
struct Graph<'a> {
    graph: GraphProto,
    values: &'a Values,
}

impl<'a> Graph<'a> {
    fn new(name: &str, values: &'a Values) -> Self {
        Self { graph: GraphProto { name: name.into(), ..GraphProto::default() }, values }
    }

    /// Adds an operation and returns the name of its result.
    fn node(&mut self, op: &str, name: &str, input: &[&str], output: &str, attribute: Vec<AttributeProto>) -> String {
        self.graph.node.push(NodeProto {
            input: input.iter().map(ToString::to_string).collect(),
            output: vec![output.into()],
            name: name.into(),
            op_type: op.into(),
            attribute,
            domain: String::new(),
        });
        output.into()
    }

    /// Adds `layers`, the first of which reads `input`, and returns the name of what the last one gives.
    fn layers(&mut self, part: &str, layers: &[Layer], input: &str) -> String {
        layers.iter().enumerate().fold(input.into(), |x, (i, layer)| self.layer(&format!("{part}.{i}"), layer, &x))
    }

    fn layer(&mut self, name: &str, layer: &Layer, x: &str) -> String {
        let result = format!("{name}.output");
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        if let Some((weight_shape, bias_shape)) = layer.parameters() {
            self.weight(&weight, &weight_shape);
            self.weight(&bias, &[bias_shape]);
        }
        let (op, inputs, attributes, activation) = match *layer {
            Layer::Conv2d { kernel, stride, padding, activation, .. } => {
                ("Conv", vec![x, &weight, &bias], window(Window { kernel, stride, padding }), activation)
            }
            Layer::ConvTranspose2d { kernel, stride, padding, output_padding, activation, .. } => {
                let mut attributes = window(Window { kernel, stride, padding });
                if output_padding != [0; 2] {
                    attributes.push(AttributeProto::ints("output_padding", output_padding.map(size).into()));
                }
                ("ConvTranspose", vec![x, &weight, &bias], attributes, activation)
            }
            Layer::Linear { activation, .. } => {
                ("Gemm", vec![x, &weight, &bias], vec![AttributeProto::int("transB", 1)], activation)
            }
            Layer::MaxPool { kernel, stride, padding } => {
                ("MaxPool", vec![x], window(Window { kernel, stride, padding }), Activation::Identity)
            }
            Layer::UpsampleNearest { factor } => {
                let [vertical, horizontal] = factor.map(|factor| factor as f32);
                let scales = self.floats(&format!("{name}.scales"), &[4], &[1.0, 1.0, vertical, horizontal]);
                let attributes = vec![
                    AttributeProto::string("mode", "nearest"),
                    AttributeProto::string("coordinate_transformation_mode", "asymmetric"),
                    AttributeProto::string("nearest_mode", "floor"),
                ];
                // The second input, a region of interest, is left out.
                return self.node("Resize", name, &[x, "", &scales], &result, attributes);
            }
            Layer::Flatten => ("Flatten", vec![x], vec![AttributeProto::int("axis", 1)], Activation::Identity),
            Layer::Unflatten { channels, height, width } => {
                // 0 keeps the batch.
                let shape = self.constant(&format!("{name}.shape"), &[0, channels, height, width]);
                return self.node("Reshape", name, &[x, &shape], &result, vec![]);
            }
        };
        let linear = self.node(op, name, &inputs, &result, attributes);
        self.activation(name, activation, linear)
    }

    /// Adds `activation` of layer `name` behind `x`, if it is any, and returns the name of its result.
    fn activation(&mut self, name: &str, activation: Activation, x: String) -> String {
        let (op, suffix, attributes) = match activation {
            Activation::Identity => return x,
            Activation::Relu => ("Relu", "relu", vec![]),
            Activation::LeakyRelu(slope) => ("LeakyRelu", "relu", vec![AttributeProto::float("alpha", slope)]),
            Activation::Elu(alpha) => ("Elu", "elu", vec![AttributeProto::float("alpha", alpha)]),
            Activation::Tanh => ("Tanh", "tanh", vec![]),
            Activation::Sigmoid => ("Sigmoid", "sigmoid", vec![]),
            Activation::Softplus => ("Softplus", "softplus", vec![]),
            Activation::HardSigmoid { alpha, beta } => {
                let attributes = vec![AttributeProto::float("alpha", alpha), AttributeProto::float("beta", beta)];
                ("HardSigmoid", "hard_sigmoid", attributes)
            }
            Activation::Clip { .. } => ("Clip", "clip", vec![]),
        };
        let mut inputs = vec![x];
        if let Activation::Clip { min, max } = activation {
            inputs.push(self.floats(&format!("{name}.min"), &[], &[min]));
            inputs.push(self.floats(&format!("{name}.max"), &[], &[max]));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.node(op, &format!("{name}.{suffix}"), &inputs, &format!("{name}.activation"), attributes)
    }

    /// Columns `start..end` of `x` `(batch, features)`.
    fn slice(&mut self, x: &str, start: usize, end: usize, output: &str) {
        let start = self.constant(&format!("{output}.start"), &[start]);
        let end = self.constant(&format!("{output}.end"), &[end]);
        let axis = self.constant(&format!("{output}.axis"), &[1]);
        self.node("Slice", output, &[x, &start, &end, &axis], output, vec![]);
    }

    fn weight(&mut self, name: &str, shape: &[usize]) {
        let data = self.values.get(name).into_iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
        self.initializer(name, shape, FLOAT, data);
    }

    /// A constant of real numbers; returns its name.
    fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.initializer(name, shape, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect());
        name.into()
    }

    /// A vector of whole numbers; returns its name.
    fn constant(&mut self, name: &str, values: &[usize]) -> String {
        let data = values.iter().flat_map(|&v| size(v).to_le_bytes()).collect();
        self.initializer(name, &[values.len()], INT64, data);
        name.into()
    }

    fn initializer(&mut self, name: &str, shape: &[usize], data_type: i32, data: Vec<u8>) {
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&n| size(n)).collect(),
            data_type: Some(data_type),
            name: name.into(),
            raw_data: Some(data),
            ..TensorProto::default()
        });
    }

    fn input(&mut self, name: &str, shape: &[usize], meaning: &str) {
        self.graph.input.push(value_info(name, shape, meaning));
    }

    fn output(&mut self, name: &str, shape: &[usize], meaning: &str) {
        self.graph.output.push(value_info(name, shape, meaning));
    }

    /// The file's bytes.
    fn finish(self, architecture: &Architecture) -> Vec<u8> {
        let [channels, height, width] = image_shape(architecture);
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: "unbraid".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: format!("The {} of a disentangling autoencoder, {}", self.graph.name, architecture.name),
            graph: Some(self.graph),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: Some(OPERATOR_SET) }],
            metadata_props: vec![
                entry("architecture", architecture.name.clone()),
                entry("image", format!("{channels}x{height}x{width}")),
                entry("latents", architecture.latents.to_string()),
            ],
        };
        model.encode_to_vec()
    }
}

fn window(Window { kernel, stride, padding }: Window) -> Vec<AttributeProto> {
    vec![
        AttributeProto::ints("kernel_shape", kernel.map(size).into()),
        AttributeProto::ints("pads", padding.sides().map(size).into()),
        AttributeProto::ints("strides", stride.map(size).into()),
    ]
}

/// A `(batch, ...)` tensor of f32.
fn value_info(name: &str, shape: &[usize], meaning: &str) -> ValueInfoProto {
    let batch = DimensionProto { dim_param: Some("batch".into()), dim_value: None };
    let fixed = shape.iter().map(|&n| DimensionProto { dim_value: Some(size(n)), dim_param: None });
    let shape = TensorShapeProto { dim: std::iter::once(batch).chain(fixed).collect() };
    let tensor = TensorTypeProto { elem_type: Some(FLOAT), shape: Some(shape) };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto { tensor_type: Some(tensor) }),
        doc_string: meaning.into(),
    }
}

/// Sizes of tensors that exist in memory fit i64.
#[allow(clippy::cast_possible_wrap)]
fn size(n: usize) -> i64 {
    n as i64
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn graph(bytes: &[u8]) -> GraphProto {
        ModelProto::decode(bytes).unwrap().graph.unwrap()
    }

    fn operators(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|n| n.op_type.as_str()).collect()
    }

    #[test]
    fn each_layer_becomes_its_operator() {
        let (net, weights) = (fixture::architecture(), fixture::weights(&fixture::architecture()));
        let encoder = graph(&encoder_onnx(&net, &weights).unwrap());
        assert_eq!(operators(&encoder), ["Conv", "LeakyRelu", "Flatten", "Gemm", "Slice", "Slice"]);
        assert_eq!(encoder.node[1].attribute, [AttributeProto::float("alpha", 0.2)]);
        let decoder = graph(&decoder_onnx(&net, &weights).unwrap());
        assert_eq!(operators(&decoder), ["Gemm", "Relu", "Reshape", "ConvTranspose", "Sigmoid"]);
        let names: Vec<_> = decoder.output.iter().map(|o| o.name.as_str()).collect();
        assert_eq!(names, ["image"]);
    }

    #[test]
    fn each_value_is_made_before_it_is_used_and_only_once() {
        let (net, weights) = (fixture::architecture(), fixture::weights(&fixture::architecture()));
        for bytes in [encoder_onnx(&net, &weights).unwrap(), decoder_onnx(&net, &weights).unwrap()] {
            let graph = graph(&bytes);
            let mut known: Vec<_> = graph.input.iter().map(|i| i.name.clone()).collect();
            known.extend(graph.initializer.iter().map(|t| t.name.clone()));
            for node in &graph.node {
                assert!(node.input.iter().all(|name| known.contains(name)), "{node:?}");
                assert!(node.output.iter().all(|name| !known.contains(name)), "{node:?}");
                known.extend(node.output.clone());
            }
            assert!(graph.output.iter().all(|o| known.contains(&o.name)));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (mut net, mut weights) = (fixture::architecture(), fixture::weights(&fixture::architecture()));
        let bias = weights.remove("decoder.2.bias").unwrap();
        let error = decoder_onnx(&net, &weights).unwrap_err().to_string();
        assert_eq!(error, "decoder.2.bias: found no such tensor, expected F32 [2]");
        weights.insert("decoder.2.bias".into(), bias);
        net.encoder.remove(1);
        assert!(encoder_onnx(&net, &weights).unwrap_err().to_string().starts_with("encoder.1: "));
    }
}
