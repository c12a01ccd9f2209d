//! How tables and JSON describe a layer.

use serde::Serialize;
use unbraid::{Layer, Shape};

/// A layer, but for its weights.
#[derive(Serialize)]
pub struct Description {
    pub layer: usize,
    pub kind: &'static str,
    /// `(H, W, C)`
    pub input: [usize; 3],
    /// `(H, W, C)`
    pub output: [usize; 3],
    /// (vertical, horizontal)
    pub kernel: [usize; 2],
    /// (vertical, horizontal)
    pub stride: [usize; 2],
    /// (above, left)
    pub padding: [usize; 2],
    /// Whether activations go through a table.
    pub activation_table: bool,
    pub macs: u64,
    pub weight_bytes: usize,
    /// With biases, multipliers and table.
    pub parameter_bytes: usize,
}

impl Description {
    pub fn new(index: usize, layer: &Layer<'_>) -> Self {
        Description {
            layer: index,
            kind: layer.kind().name(),
            input: sizes(layer.input()),
            output: sizes(layer.output()),
            kernel: layer.kernel().into(),
            stride: layer.stride().into(),
            padding: layer.padding().into(),
            activation_table: layer.has_activation_table(),
            macs: layer.macs(),
            weight_bytes: layer.weight_bytes(),
            parameter_bytes: layer.parameter_bytes(),
        }
    }
}

/// `(H, W, C)`
pub fn sizes(shape: Shape) -> [usize; 3] {
    [shape.height, shape.width, shape.channels]
}

/// `64x64x1`
pub fn times(sizes: &[usize]) -> String {
    sizes.iter().map(ToString::to_string).collect::<Vec<_>>().join("x")
}
