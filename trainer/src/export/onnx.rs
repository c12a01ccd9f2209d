//! ONNX files of the encoder and the decoder, f32, operator set 17: Conv, ConvTranspose, Gemm, MaxPool, Resize, Flatten, Reshape,
//! Slice, and an operator for each activation, which every runtime has. The batch size is free.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::graph::{Graph, size, window};
use super::onnx_proto::AttributeProto;
use super::weights::{Values, values};
use crate::model::{Activation, Architecture, Layer, PixelOutput, missing};
use crate::{Error, Result};

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
    let mut network = Network { graph: Graph::new("encoder"), values };
    let code = network.layers("encoder", &architecture.encoder, "image");
    let mut graph = network.graph;
    let latents = architecture.latents;
    graph.slice(&code, 1, 0, latents, "mean");
    graph.slice(&code, 1, latents, 2 * latents, "log_var");
    graph.input("image", &image_shape(architecture), "pixels from 0 to 1");
    graph.output("mean", &[latents], "means of q(z|x)");
    graph.output("log_var", &[latents], "logarithms of the variances of q(z|x)");
    finish(graph, "encoder", architecture)
}

/// [`decoder_onnx`] for values that are known to fit.
pub(super) fn decoder(architecture: &Architecture, values: &Values) -> Vec<u8> {
    let mut network = Network { graph: Graph::new("decoder"), values };
    let last = network.layers("decoder", &architecture.decoder, "latent");
    let mut graph = network.graph;
    match architecture.output {
        PixelOutput::Sigmoid => graph.node("Sigmoid", "sigmoid", &[&last], "image", vec![]),
        PixelOutput::Linear => {
            let (low, high) = (graph.floats("pixel.low", &[], &[0.0]), graph.floats("pixel.high", &[], &[1.0]));
            graph.node("Clip", "clip", &[&last, &low, &high], "image", vec![])
        }
    };
    graph.input("latent", &[architecture.latents], "a point in latent space, N(0, I) where the prior is");
    graph.output("image", &image_shape(architecture), "pixels from 0 to 1");
    finish(graph, "decoder", architecture)
}

/// The file's bytes.
fn finish(graph: Graph, part: &str, architecture: &Architecture) -> Vec<u8> {
    let [channels, height, width] = image_shape(architecture);
    let metadata = vec![
        ("architecture".into(), architecture.name.clone()),
        ("image".into(), format!("{channels}x{height}x{width}")),
        ("latents".into(), architecture.latents.to_string()),
    ];
    graph.finish(format!("The {part} of a disentangling autoencoder, {}", architecture.name), metadata)
}

fn image_shape(architecture: &Architecture) -> [usize; 3] {
    [architecture.image.channels, architecture.image.height, architecture.image.width]
}

/// A network on its way into a graph.
struct Network<'a> {
    graph: Graph,
    values: &'a Values,
}

impl Network<'_> {
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
                ("Conv", vec![x, &weight, &bias], window(kernel, stride, padding.sides()), activation)
            }
            Layer::ConvTranspose2d { kernel, stride, padding, output_padding, activation, .. } => {
                let mut attributes = window(kernel, stride, padding.sides());
                if output_padding != [0; 2] {
                    attributes.push(AttributeProto::ints("output_padding", output_padding.map(size).into()));
                }
                ("ConvTranspose", vec![x, &weight, &bias], attributes, activation)
            }
            Layer::Linear { activation, .. } => {
                ("Gemm", vec![x, &weight, &bias], vec![AttributeProto::int("transB", 1)], activation)
            }
            Layer::MaxPool { kernel, stride, padding } => {
                ("MaxPool", vec![x], window(kernel, stride, padding.sides()), Activation::Identity)
            }
            Layer::UpsampleNearest { factor } => return self.graph.upsample_nearest(name, x, factor, &result),
            Layer::Flatten => ("Flatten", vec![x], vec![AttributeProto::int("axis", 1)], Activation::Identity),
            Layer::Unflatten { channels, height, width } => {
                return self.graph.unflatten(name, x, [channels, height, width], &result);
            }
        };
        let linear = self.graph.node(op, name, &inputs, &result, attributes);
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
            inputs.push(self.graph.floats(&format!("{name}.min"), &[], &[min]));
            inputs.push(self.graph.floats(&format!("{name}.max"), &[], &[max]));
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        self.graph.node(op, &format!("{name}.{suffix}"), &inputs, &format!("{name}.activation"), attributes)
    }

    fn weight(&mut self, name: &str, shape: &[usize]) {
        self.graph.floats(name, shape, self.values.get(name).map_or(&[], Vec::as_slice));
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::super::fixture;
    use super::super::onnx_proto::{GraphProto, ModelProto};
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
