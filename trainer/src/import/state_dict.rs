//! A PyTorch `state_dict` saved as safetensors, with a TOML file that says which layers its tensors belong to.
//!
//! Both become the graphs that PyTorch would have exported, which then go the way of all graphs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::Deserialize;

use super::{
    array::Array,
    graph::{Graph, Input, Node},
    pixels::Pixels,
    value::Value,
};
use crate::{
    Error, Result,
    export::onnx_proto::AttributeProto,
    model::{Activation, ImageShape, Padding, axes},
};

/// The operator set that the graphs are written in.
const OPSET: i64 = 17;

/// What the two files hold.
pub struct Model {
    /// The name in the TOML file.
    pub name: Option<String>,
    /// The encoder.
    pub encoder: Option<Graph>,
    /// The decoder.
    pub decoder: Option<Graph>,
    /// The numbers that stand for pixels.
    pub pixels: Option<Pixels>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// The TOML file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Option<String>,
    image: ImageShape,
    latents: usize,
    /// Black and white.
    pixels: Option<[f32; 2]>,
    encoder: Option<Vec<Entry>>,
    /// The linear layers of means and log-variances, or the one of both.
    mean: Option<String>,
    log_var: Option<String>,
    code: Option<String>,
    #[serde(default)]
    code_order: CodeOrder,
    decoder: Option<Vec<Entry>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CodeOrder {
    /// All means, then all log-variances.
    #[default]
    Halves,
    /// Mean and log-variance of one latent after another.
    Interleaved,
}

/// A layer as it is written down; sizes follow from its weights.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Entry {
    Conv2d(Weighted),
    ConvTranspose2d(Weighted),
    Linear {
        weights: String,
        batch_norm: Option<String>,
        activation: Option<Activation>,
    },
    BatchNorm {
        weights: String,
        activation: Option<Activation>,
    },
    MaxPool(Pool),
    AvgPool(Pool),
    UpsampleNearest {
        #[serde(with = "axes")]
        factor: [usize; 2],
    },
    Unflatten {
        channels: usize,
        height: usize,
        width: usize,
    },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Weighted {
    weights: String,
    #[serde(with = "axes", default = "ones")]
    stride: [usize; 2],
    #[serde(default)]
    padding: Padding,
    #[serde(with = "axes", default)]
    output_padding: [usize; 2],
    #[serde(with = "axes", default = "ones")]
    dilation: [usize; 2],
    #[serde(default = "one")]
    groups: usize,
    batch_norm: Option<String>,
    activation: Option<Activation>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pool {
    #[serde(with = "axes")]
    kernel: [usize; 2],
    #[serde(with = "axes", default)]
    stride: [usize; 2],
    #[serde(default)]
    padding: Padding,
}

fn one() -> usize {
    1
}

fn ones() -> [usize; 2] {
    [1; 2]
}

/// Reads the tensors in `weights` and the layers in `layers`.
///
/// # Errors
/// A file cannot be read or is none of these; a tensor is not there.
pub fn read(weights: &Path, layers: &Path) -> Result<Model> {
    let tensors = tensors(weights)?;
    let text = fs::read_to_string(layers).map_err(Error::io(layers))?;
    let malformed = |field: &str, found: String, expected: &str| Error::malformed(layers, field, found, expected);
    let file: File = toml::from_str(&text).map_err(|e| {
        malformed("content", e.to_string().trim_end().to_owned(), "image, latents, encoder and decoder")
    })?;
    if file.encoder.is_none() && file.decoder.is_none() {
        return Err(malformed("content", "no layers".into(), "an encoder, a decoder or both"));
    }
    let missing = |Missing { field, tensor }: Missing| {
        let near: Vec<_> = tensors.keys().map(String::as_str).take(20).collect();
        malformed(&field, format!("no tensor {tensor}"), &format!("one of {}: {}", weights.display(), near.join(", ")))
    };
    let mut used = BTreeSet::new();
    let build = |part: &str, entries: &[Entry], input: Vec<usize>| -> Result<Builder> {
        let mut builder = Builder::new(&tensors, input.len() == 4);
        for (i, entry) in entries.iter().enumerate() {
            builder.add(&format!("{part}[{i}]"), entry).map_err(missing)?;
        }
        Ok(builder)
    };
    let image = vec![1, file.image.channels, file.image.height, file.image.width];
    let encoder = match &file.encoder {
        Some(entries) => {
            let mut builder = build("encoder", entries, image.clone())?;
            let outputs = builder.heads(&file).map_err(missing)?;
            if outputs.is_empty() {
                return Err(malformed(
                    "mean",
                    "nothing".into(),
                    "mean, mean and log_var, or code: names of linear layers",
                ));
            }
            used.append(&mut builder.used);
            Some(builder.graph(layers, image, outputs))
        }
        None => None,
    };
    let decoder = match &file.decoder {
        Some(entries) => {
            let mut builder = build("decoder", entries, vec![1, file.latents])?;
            let outputs = vec![builder.value.clone()];
            used.append(&mut builder.used);
            Some(builder.graph(layers, vec![1, file.latents], outputs))
        }
        None => None,
    };
    let unused: Vec<_> = tensors
        .keys()
        .filter(|name| !used.contains(*name) && !name.ends_with("num_batches_tracked"))
        .cloned()
        .collect();
    let mut notes = Vec::new();
    if !unused.is_empty() {
        notes.push(format!("tensors that no layer names: {}", unused.join(", ")));
    }
    let pixels = file.pixels.map(|[low, high]| Pixels::Range { low, high });
    Ok(Model { name: file.name, encoder, decoder, pixels, notes })
}

/// The tensors of a safetensors file.
fn tensors(path: &Path) -> Result<BTreeMap<String, Value>> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let malformed = |field: &str, found: String, expected: &str| Error::malformed(path, field, found, expected);
    let file = SafeTensors::deserialize(&bytes).map_err(|e| {
        let expected = "a safetensors file, as safetensors.torch.save_file(model.state_dict(), ...) writes it";
        malformed("content", e.to_string(), expected)
    })?;
    let value = |(name, view): (&str, TensorView)| {
        // TensorProto.DataType.
        let code = match view.dtype() {
            Dtype::F32 => 1,
            Dtype::F64 => 11,
            Dtype::F16 => 10,
            Dtype::BF16 => 16,
            Dtype::I64 => 7,
            other => return Err(malformed(name, format!("{other:?}"), "F32, F64, F16 or BF16")),
        };
        let value = Value::of_bytes(code, view.shape().to_vec(), view.data());
        Ok((name.to_owned(), value.map_err(|e| malformed(name, e, "a whole tensor"))?))
    };
    file.iter().map(value).collect()
}

/// A tensor that a layer names and that is not there.
struct Missing {
    field: String,
    tensor: String,
}

/// A graph under construction.
struct Builder<'a> {
    tensors: &'a BTreeMap<String, Value>,
    nodes: Vec<Node>,
    constants: BTreeMap<String, Value>,
    used: BTreeSet<String>,
    /// The value that the next layer takes.
    value: String,
    is_image: bool,
}

const INPUT: &str = "input";

impl<'a> Builder<'a> {
    fn new(tensors: &'a BTreeMap<String, Value>, is_image: bool) -> Self {
        let (nodes, constants, used) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        Self { tensors, nodes, constants, used, value: INPUT.into(), is_image }
    }

    fn graph(self, path: &Path, shape: Vec<usize>, outputs: Vec<String>) -> Graph {
        let input = Input { name: INPUT.into(), shape: shape.into_iter().map(Some).collect() };
        let (path, producer) = (path.to_owned(), "a state_dict".to_owned());
        Graph {
            path,
            opset: OPSET,
            producer,
            nodes: self.nodes,
            constants: self.constants,
            inputs: vec![input],
            outputs,
        }
    }

    fn add(&mut self, field: &str, entry: &Entry) -> std::result::Result<(), Missing> {
        let pair = |name: &str, [a, b]: [usize; 2]| AttributeProto::ints(name, vec![size(a), size(b)]);
        let pads = |padding: Padding| AttributeProto::ints("pads", padding.sides().map(size).to_vec());
        match entry {
            Entry::Conv2d(layer) | Entry::ConvTranspose2d(layer) => {
                let is_transposed = matches!(entry, Entry::ConvTranspose2d(_));
                let inputs = self.weights(field, &layer.weights)?;
                let mut attributes = vec![
                    pair("strides", layer.stride),
                    pair("dilations", layer.dilation),
                    pads(layer.padding),
                    AttributeProto::int("group", size(layer.groups)),
                ];
                if is_transposed {
                    attributes.push(pair("output_padding", layer.output_padding));
                }
                self.push(field, if is_transposed { "ConvTranspose" } else { "Conv" }, inputs, attributes);
                self.after(field, layer.batch_norm.as_deref(), layer.activation)
            }
            Entry::Linear { weights, batch_norm, activation } => {
                self.linear(field, weights)?;
                self.after(field, batch_norm.as_deref(), *activation)
            }
            Entry::BatchNorm { weights, activation } => self.after(field, Some(weights.as_str()), *activation),
            Entry::MaxPool(pool) | Entry::AvgPool(pool) => {
                let stride = if pool.stride == [0; 2] { pool.kernel } else { pool.stride };
                let mut attributes =
                    vec![pair("kernel_shape", pool.kernel), pair("strides", stride), pads(pool.padding)];
                let operator = if matches!(entry, Entry::MaxPool(_)) { "MaxPool" } else { "AveragePool" };
                if operator == "AveragePool" {
                    // PyTorch's default.
                    attributes.push(AttributeProto::int("count_include_pad", 1));
                }
                self.push(field, operator, Vec::new(), attributes);
                Ok(())
            }
            Entry::UpsampleNearest { factor: [rows, columns] } => {
                let scales =
                    self.constant(field, Value::Float(Array::vector(vec![1.0, 1.0, *rows as f32, *columns as f32])));
                self.push(field, "Resize", vec![String::new(), scales], Vec::new());
                Ok(())
            }
            Entry::Unflatten { channels, height, width } => {
                let shape = vec![1, size(*channels), size(*height), size(*width)];
                let shape = self.constant(field, Value::Int(Array::vector(shape)));
                self.push(field, "Reshape", vec![shape], Vec::new());
                self.is_image = true;
                Ok(())
            }
        }
    }

    /// A linear layer, behind a flattening where an image is in front of it.
    fn linear(&mut self, field: &str, name: &str) -> std::result::Result<(), Missing> {
        if std::mem::take(&mut self.is_image) {
            self.push(&format!("{field}.flatten"), "Flatten", Vec::new(), Vec::new());
        }
        let inputs = self.weights(field, name)?;
        self.push(field, "Gemm", inputs, vec![AttributeProto::int("transB", 1)]);
        Ok(())
    }

    fn after(
        &mut self,
        field: &str,
        batch_norm: Option<&str>,
        activation: Option<Activation>,
    ) -> std::result::Result<(), Missing> {
        if let Some(name) = batch_norm {
            let tensor = |suffix: &str| format!("{name}.{suffix}");
            let names = ["weight", "bias", "running_mean", "running_var"].map(tensor);
            let inputs =
                names.into_iter().map(|name| self.tensor(field, name)).collect::<std::result::Result<_, _>>()?;
            self.push(&format!("{field}.batch_norm"), "BatchNormalization", inputs, Vec::new());
        }
        let (operator, attributes) = match activation.unwrap_or(Activation::Identity) {
            Activation::Identity => return Ok(()),
            Activation::Relu => ("Relu", Vec::new()),
            Activation::LeakyRelu(slope) => ("LeakyRelu", vec![AttributeProto::float("alpha", slope)]),
            Activation::Elu(alpha) => ("Elu", vec![AttributeProto::float("alpha", alpha)]),
            Activation::Tanh => ("Tanh", Vec::new()),
            Activation::Sigmoid => ("Sigmoid", Vec::new()),
            Activation::Softplus => ("Softplus", Vec::new()),
            Activation::HardSigmoid { alpha, beta } => {
                ("HardSigmoid", vec![AttributeProto::float("alpha", alpha), AttributeProto::float("beta", beta)])
            }
            Activation::Clip { min, max } => {
                ("Clip", vec![AttributeProto::float("min", min), AttributeProto::float("max", max)])
            }
        };
        self.push(&format!("{field}.activation"), operator, Vec::new(), attributes);
        Ok(())
    }

    /// Adds the layers behind the encoder; returns the names of what they give, none if the file names no layer.
    fn heads(&mut self, file: &File) -> std::result::Result<Vec<String>, Missing> {
        if let Some(name) = &file.code {
            self.linear("code", name)?;
            let (axis, n) = (AttributeProto::int("axis", 1), size(file.latents));
            let outputs = vec!["mean".to_owned(), "log_var".to_owned()];
            match file.code_order {
                CodeOrder::Halves => {
                    let split = self.constant("code", Value::Int(Array::vector(vec![n, n])));
                    let inputs = vec![self.value.clone(), split];
                    self.nodes.push(Node::new("code.halves", "Split", OPSET, inputs, outputs.clone()).with(axis));
                }
                CodeOrder::Interleaved => {
                    let shape = self.constant("code", Value::Int(Array::vector(vec![1, n, 2])));
                    self.push("code.pairs", "Reshape", vec![shape], Vec::new());
                    for (i, output) in outputs.iter().enumerate() {
                        let index = self.constant(output, Value::Int(Array::scalar(size(i))));
                        let (inputs, axis) = (vec![self.value.clone(), index], AttributeProto::int("axis", 2));
                        self.nodes.push(Node::new(output, "Gather", OPSET, inputs, vec![output.clone()]).with(axis));
                    }
                }
            }
            return Ok(outputs);
        }
        let (trunk, is_image) = (self.value.clone(), self.is_image);
        let mut outputs = Vec::new();
        for (output, name) in [("mean", &file.mean), ("log_var", &file.log_var)] {
            if let Some(name) = name {
                (self.value, self.is_image) = (trunk.clone(), is_image);
                self.linear(output, name)?;
                outputs.push(self.value.clone());
            }
        }
        Ok(outputs)
    }

    /// Adds a node that takes the last value and `inputs`.
    fn push(&mut self, name: &str, operator: &str, inputs: Vec<String>, attributes: Vec<AttributeProto>) {
        let inputs = std::iter::once(self.value.clone()).chain(inputs).collect();
        let node = Node::new(name, operator, OPSET, inputs, vec![name.to_owned()]);
        self.nodes.push(attributes.into_iter().fold(node, Node::with));
        name.clone_into(&mut self.value);
    }

    /// The weight of a layer, and its bias if it has one.
    fn weights(&mut self, field: &str, name: &str) -> std::result::Result<Vec<String>, Missing> {
        let mut inputs = vec![self.tensor(field, format!("{name}.weight"))?];
        let bias = format!("{name}.bias");
        if self.tensors.contains_key(&bias) {
            inputs.push(self.tensor(field, bias)?);
        }
        Ok(inputs)
    }

    fn tensor(&mut self, field: &str, name: String) -> std::result::Result<String, Missing> {
        let Some(value) = self.tensors.get(&name) else {
            return Err(Missing { field: field.to_owned(), tensor: name });
        };
        self.constants.insert(name.clone(), value.clone());
        self.used.insert(name.clone());
        Ok(name)
    }

    fn constant(&mut self, name: &str, value: Value) -> String {
        let name = format!("{name}.constant");
        self.constants.insert(name.clone(), value);
        name
    }
}

/// Sizes in files fit i64.
fn size(n: usize) -> i64 {
    n as i64
}
