//! ONNX graphs under construction, operator set 17. The batch size is free.

use prost::Message;

use super::onnx_proto::{
    AttributeProto, DimensionProto, FLOAT, GraphProto, INT64, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

const IR_VERSION: i64 = 8;
const OPERATOR_SET: i64 = 17;

/// Operations in order, constants, inputs and outputs.
pub(super) struct Graph(GraphProto);

impl Graph {
    pub fn new(name: &str) -> Self {
        Self(GraphProto { name: name.into(), ..GraphProto::default() })
    }

    /// Adds an operation and returns the name of its result.
    pub fn node(
        &mut self,
        op: &str,
        name: &str,
        input: &[&str],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.0.node.push(NodeProto {
            input: input.iter().map(ToString::to_string).collect(),
            output: vec![output.into()],
            name: name.into(),
            op_type: op.into(),
            attribute,
            domain: String::new(),
        });
        output.into()
    }

    /// Adds elements `start..end` of `x` along `axis`.
    pub fn slice(&mut self, x: &str, axis: usize, start: usize, end: usize, output: &str) -> String {
        let start = self.integers(&format!("{output}.start"), &[start]);
        let end = self.integers(&format!("{output}.end"), &[end]);
        let axis = self.integers(&format!("{output}.axis"), &[axis]);
        self.node("Slice", output, &[x, &start, &end, &axis], output, vec![])
    }

    /// Repeats rows and columns of `x` `(batch, C, H, W)` `factor` times.
    pub fn upsample_nearest(&mut self, name: &str, x: &str, factor: [usize; 2], output: &str) -> String {
        let [vertical, horizontal] = factor.map(|factor| factor as f32);
        let scales = self.floats(&format!("{name}.scales"), &[4], &[1.0, 1.0, vertical, horizontal]);
        let attributes = vec![
            AttributeProto::string("mode", "nearest"),
            AttributeProto::string("coordinate_transformation_mode", "asymmetric"),
            AttributeProto::string("nearest_mode", "floor"),
        ];
        // The second input, a region of interest, is left out.
        self.node("Resize", name, &[x, "", &scales], output, attributes)
    }

    /// Makes `(batch, C, H, W)` of `x`.
    pub fn unflatten(&mut self, name: &str, x: &str, [channels, height, width]: [usize; 3], output: &str) -> String {
        // 0 keeps the batch.
        let shape = self.integers(&format!("{name}.shape"), &[0, channels, height, width]);
        self.node("Reshape", name, &[x, &shape], output, vec![])
    }

    /// A constant of real numbers; returns its name.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.initializer(name, shape, FLOAT, values.iter().flat_map(|v| v.to_le_bytes()).collect())
    }

    /// A vector of whole numbers; returns its name.
    pub fn integers(&mut self, name: &str, values: &[usize]) -> String {
        let data = values.iter().flat_map(|&v| size(v).to_le_bytes()).collect();
        self.initializer(name, &[values.len()], INT64, data)
    }

    /// A constant of little-endian elements of type `data_type`; returns its name.
    pub fn initializer(&mut self, name: &str, shape: &[usize], data_type: i32, data: Vec<u8>) -> String {
        self.0.initializer.push(TensorProto {
            dims: shape.iter().map(|&n| size(n)).collect(),
            data_type: Some(data_type),
            name: name.into(),
            raw_data: Some(data),
            ..TensorProto::default()
        });
        name.into()
    }

    /// Declares an input `(batch, shape…)` of f32.
    pub fn input(&mut self, name: &str, shape: &[usize], meaning: &str) {
        self.0.input.push(value_info(name, shape, meaning));
    }

    /// Declares an output `(batch, shape…)` of f32.
    pub fn output(&mut self, name: &str, shape: &[usize], meaning: &str) {
        self.0.output.push(value_info(name, shape, meaning));
    }

    /// The file's bytes.
    pub fn finish(self, description: String, metadata: Vec<(String, String)>) -> Vec<u8> {
        let model = ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: "unbraid".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            doc_string: description,
            graph: Some(self.0),
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: Some(OPERATOR_SET) }],
            metadata_props: metadata.into_iter().map(|(key, value)| StringStringEntryProto { key, value }).collect(),
        };
        model.encode_to_vec()
    }
}

/// A window's attributes; `pads` are above, left, below, right.
pub(super) fn window(kernel: [usize; 2], stride: [usize; 2], pads: [usize; 4]) -> Vec<AttributeProto> {
    vec![
        AttributeProto::ints("kernel_shape", kernel.map(size).into()),
        AttributeProto::ints("pads", pads.map(size).into()),
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
pub(super) fn size(n: usize) -> i64 {
    n as i64
}
