//! A small model for the tests of this folder.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::{ModelConfig, weights::shapes};
use crate::{
    model::{Activation, Architecture, Factor, ImageShape, Layer, PixelOutput, Window},
    rng::{self, Purpose},
};

/// 2 x 6 x 4 images, 3 latents, each kind of layer and activation.
pub fn architecture() -> Architecture {
    let window = Window::square(4, 2, 1);
    let (leaky, relu, none) = (Activation::LeakyRelu(0.2), Activation::Relu, Activation::Identity);
    Architecture {
        name: "small".into(),
        image: ImageShape { channels: 2, height: 6, width: 4 },
        latents: 3,
        encoder: vec![
            Layer::conv2d(2, 5, window, leaky),
            Layer::Flatten,
            Layer::Linear { in_features: 30, out_features: 6, activation: none },
        ],
        decoder: vec![
            Layer::Linear { in_features: 3, out_features: 30, activation: relu },
            Layer::Unflatten { channels: 5, height: 3, width: 2 },
            Layer::conv_transpose2d(5, 2, window, none),
        ],
        output: PixelOutput::Sigmoid,
    }
}

/// Random weights.
pub fn weights(architecture: &Architecture) -> BTreeMap<String, Tensor> {
    let mut rng = rng::stream(7, Purpose::Init, 0);
    let tensor = |(name, shape): (String, Vec<usize>)| {
        let values = rng::normals(&mut rng, shape.iter().product());
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    shapes(architecture).into_iter().map(tensor).collect()
}

/// A configuration with one factor.
pub fn config() -> ModelConfig {
    let factor = Factor {
        latent: 2,
        name: "rotation".into(),
        low: -2.1,
        high: 1.7,
        center: 0.1,
        scale: 0.9,
        importance: 2.5,
        agreement: 0.75,
    };
    ModelConfig {
        architecture: architecture(),
        objective: "factor-vae".into(),
        dataset: "sprites".into(),
        steps: 300_000,
        seed: u64::MAX,
        training: serde_json::json!({ "gamma": 35.0, "batch_size": 64 }),
        factors: vec![factor],
    }
}
