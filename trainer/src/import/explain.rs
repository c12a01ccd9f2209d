//! A network as it was understood, layer by layer.

use std::fmt::Write;

use super::network::Network;
use crate::{
    export::describe,
    model::{Layer, Shape},
};

/// One line a layer: what it is, what it gives, how many multiply-adds it takes and which nodes it stands for.
pub fn explain(name: &str, network: &Network, input: Shape) -> String {
    let mut text = format!("{name}: {input}\n");
    let mut shape = input;
    for (i, (layer, nodes)) in network.layers.iter().zip(&network.origins).enumerate() {
        let Ok(output) = layer.output(shape) else { break };
        let work = match multiply_adds(layer, shape, output) {
            0 => String::new(),
            n => format!(", {n} multiply-adds"),
        };
        let from = if nodes.is_empty() { String::new() } else { format!("\n      from {}", nodes.join(", ")) };
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {name}.{i}  {} -> {}{work}{from}", describe(layer), sizes(output));
        shape = output;
    }
    text
}

/// `32 x 16 x 16`, channels first, or the number of features.
fn sizes(shape: Shape) -> String {
    match shape {
        Shape::Image(image) => format!("{} x {} x {}", image.channels, image.height, image.width),
        Shape::Features(n) => n.to_string(),
    }
}

/// How many products a layer sums up.
fn multiply_adds(layer: &Layer, input: Shape, output: Shape) -> usize {
    let pixels = |shape| match shape {
        Shape::Image(image) => image.height * image.width,
        Shape::Features(_) => 1,
    };
    let weights = layer.parameters().map_or(0, |(weight, _)| weight.iter().product::<usize>());
    match layer {
        Layer::ConvTranspose2d { .. } => weights * pixels(input),
        _ => weights * pixels(output),
    }
}
