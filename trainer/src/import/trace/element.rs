//! Traced values: arrays whose elements say which number of which layer they are.

use super::super::array::Array;

/// `scale · x + offset` of a layer's output x, or a constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Element {
    /// The stage whose output it is, and the output's position; nothing for a constant.
    pub source: Option<(u32, u32)>,
    /// What the output is multiplied with; 0 for a constant.
    pub scale: f32,
    /// What is added, or the constant.
    pub offset: f32,
}

impl Element {
    /// A number.
    pub fn constant(value: f32) -> Self {
        Self { source: None, scale: 0.0, offset: value }
    }

    /// Output `index` of `stage` as it is. Arrays are far smaller than 2^32.
    pub fn of(stage: usize, index: usize) -> Self {
        Self { source: Some((stage as u32, index as u32)), scale: 1.0, offset: 0.0 }
    }

    /// `scale` times this, and `offset`.
    pub fn affine(self, scale: f32, offset: f32) -> Self {
        Self { scale: scale * self.scale, offset: scale.mul_add(self.offset, offset), ..self }
    }

    /// The output's position.
    pub fn index(&self) -> Option<usize> {
        self.source.map(|(_, index)| index as usize)
    }

    /// Whether it is an output as it is, or a constant.
    pub fn is_plain(&self) -> bool {
        self.source.is_none() || (self.scale == 1.0 && self.offset == 0.0)
    }
}

/// An array of elements, and the nodes that have moved or scaled them since the last layer.
#[derive(Debug, Clone)]
pub struct Traced {
    /// The elements, for a batch of one.
    pub elements: Array<Element>,
    /// Names of nodes, with their operators.
    pub nodes: Vec<String>,
}

impl Traced {
    /// All outputs of `stage` in order.
    pub fn of_stage(stage: usize, shape: Vec<usize>) -> Self {
        let n: usize = shape.iter().product();
        let data = (0..n).map(|index| Element::of(stage, index)).collect();
        // The product of the sizes is the number of elements.
        let elements = Array::new(shape, data).unwrap_or_else(|_| Array::vector(Vec::new()));
        Self { elements, nodes: Vec::new() }
    }

    /// Whether the elements are only moved.
    pub fn is_plain(&self) -> bool {
        self.elements.data().iter().all(Element::is_plain)
    }
}
