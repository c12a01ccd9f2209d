//! The end of a decoder: its last function and what becomes pixels.

use super::{
    array::Array,
    graph::Node,
    pixels::{Layout, Pixels},
    refusal::Understood,
    trace::{Element, Traced, Tracer},
};
use crate::model::{Activation, PixelOutput};

/// What the caller knows of a decoder's output.
#[derive(Debug, Clone, Copy)]
pub struct Hints<'a> {
    /// The numbers that stand for pixels; the range from 0 to 1 if nobody said.
    pub pixels: Option<&'a Pixels>,
    /// Whether a sigmoid, which the graph does not have, makes them pixels.
    pub logits: bool,
}

/// Ends `traced`, the value of the output that lies as `layout` says, in a last layer without a function; returns its stage and what
/// makes pixels of it.
///
/// # Errors
/// It cannot be represented.
pub fn image(
    tracer: &mut Tracer,
    node: &Node,
    traced: &Traced,
    layout: &Layout,
    hints: Hints,
    notes: &mut Vec<String>,
) -> Understood<(usize, PixelOutput)> {
    let pixels = hints.pixels.cloned().unwrap_or_default();
    let image = layout.image;
    let mut placed = vec![Element::constant(0.0); image.size()];
    for (&index, element) in layout.order.data().iter().zip(traced.elements.data()) {
        placed[index] = if hints.logits {
            *element
        } else {
            let (scale, offset) = pixels.inverse(index / (image.height * image.width));
            element.affine(scale, offset)
        };
    }
    let shape = vec![1, image.channels, image.height, image.width];
    let elements = Array::new(shape, placed).map_err(|reason| node.misfit(reason))?;
    let traced = Traced { elements, nodes: traced.nodes.clone() };
    let (bare, output) = without_function(tracer, node, traced, hints, notes)?;
    Ok((tracer.last_layer(node, &bare)?, output))
}

/// Takes away the function at the end where [`PixelOutput`] says the same.
fn without_function(
    tracer: &mut Tracer,
    node: &Node,
    traced: Traced,
    hints: Hints,
    notes: &mut Vec<String>,
) -> Understood<(Traced, PixelOutput)> {
    let id = tracer.stage_of(node, &traced)?;
    let activation = tracer.stages[id].activation();
    let factors = |f: &dyn Fn(f32, f32) -> bool| {
        traced.elements.data().iter().filter(|e| e.source.is_some()).all(|e| f(e.scale, e.offset))
    };
    let near = |a: f32, b: f32| (a - b).abs() < 1e-6;
    // Pixels are held in 0..=1 in any case: what holds them in a wider range says nothing new.
    let covers = |low: f32, high: f32| factors(&|a, b| a > 0.0 && a * low + b < 1e-6 && a * high + b > 1.0 - 1e-6);
    // The function before pixels, as what its input is multiplied with and what is added.
    let (inner, output) = match activation {
        Activation::Identity if hints.logits => ((1.0, 0.0), PixelOutput::Sigmoid),
        _ if hints.logits => {
            let instead = "leave out --logits";
            return node.refuse(format!("gives no logits: its last layer ends in {activation:?}"), instead);
        }
        Activation::Tanh if hints.pixels.is_none() && factors(&|a, b| near(a, 1.0) && near(b, 0.0)) => {
            return node.refuse(
                "ends in Tanh, whose values go from -1 to 1, and nobody said which of them is black",
                "--pixels=-1..1 if white is 1 and black is -1, --pixels 0..1 if black is 0",
            );
        }
        Activation::Sigmoid if factors(&|a, b| near(a, 1.0) && near(b, 0.0)) => ((1.0, 0.0), PixelOutput::Sigmoid),
        // (tanh(x) + 1) / 2 is the sigmoid of 2x.
        Activation::Tanh if factors(&|a, b| near(a, 0.5) && near(b, 0.5)) => ((2.0, 0.0), PixelOutput::Sigmoid),
        Activation::Identity => {
            notes.push("the decoder ends without a function: its numbers are the pixels, held in 0..1 (--logits if a sigmoid makes them)".into());
            return Ok((traced, PixelOutput::Linear));
        }
        Activation::Relu if factors(&|a, b| a > 0.0 && b < 1e-6) => return stripped(tracer, id, &traced, (1.0, 0.0)),
        Activation::Clip { min, max } if covers(min, max) => return stripped(tracer, id, &traced, (1.0, 0.0)),
        Activation::HardSigmoid { alpha, beta } if covers(0.0, 1.0) => {
            return stripped(tracer, id, &traced, (alpha, beta));
        }
        _ => {
            notes.push(format!(
                "a layer is added behind the decoder's {activation:?}, since pixels are no such function of a layer"
            ));
            return Ok((traced, PixelOutput::Linear));
        }
    };
    let copy = tracer.stages[id].with_activation(Activation::Identity);
    tracer.stages.push(copy);
    let last = tracer.stages.len() - 1;
    let elements = traced.elements.map(|element| match element.index() {
        Some(index) if hints.logits => Element::of(last, index).affine(element.scale, element.offset),
        Some(index) => Element::of(last, index).affine(inner.0, inner.1),
        None => *element,
    });
    Ok((Traced { elements, ..traced }, output))
}

/// `traced` from a copy of stage `id` without its function, `scale · x + offset` taken in its place.
fn stripped(
    tracer: &mut Tracer,
    id: usize,
    traced: &Traced,
    (scale, offset): (f32, f32),
) -> Understood<(Traced, PixelOutput)> {
    let copy = tracer.stages[id].with_activation(Activation::Identity);
    tracer.stages.push(copy);
    let last = tracer.stages.len() - 1;
    let elements = traced.elements.map(|element| match element.index() {
        Some(index) => Element::of(last, index).affine(scale, offset).affine(element.scale, element.offset),
        None => *element,
    });
    Ok((Traced { elements, nodes: traced.nodes.clone() }, PixelOutput::Linear))
}
