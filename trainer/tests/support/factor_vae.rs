//! A FactorVAE whose step takes milliseconds, and images for it.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use unbraid_trainer::{
    model::Architecture,
    nn::{AdamOptions, Init},
    objective::{
        Batch, Objective,
        factor_vae::{FactorVae, FactorVaeOptions},
    },
    rng::{self, Purpose},
};

pub const SEED: u64 = 3;

pub fn small() -> FactorVaeOptions {
    FactorVaeOptions { discriminator_units: 32, discriminator_layers: 2, ..FactorVaeOptions::default() }
}

pub fn adam() -> AdamOptions {
    AdamOptions { learning_rate: 1e-3, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }
}

pub fn factor_vae(options: &FactorVaeOptions) -> FactorVae {
    let net = Architecture::preset("factor-vae-64", 4).unwrap();
    FactorVae::new(&net, options, adam(), Init::He, SEED, &Device::Cpu).unwrap()
}

/// `n` images of black and white noise, `(N, 64, 64, 1)`.
pub fn images(n: usize, seed: u64) -> Tensor {
    let noise = rng::normals(&mut rng::stream(seed, Purpose::Report, 7), n * 64 * 64);
    let pixels: Vec<f32> = noise.into_iter().map(|v| f32::from(u8::from(v > 1.0))).collect();
    Tensor::from_vec(pixels, (n, 64, 64, 1), &Device::Cpu).unwrap()
}

/// Two minibatches of `n` images.
pub fn batch(n: usize, step: u64) -> Batch {
    Batch { step, images: vec![images(n, 10 + step), images(n, 100 + step)], kind: 0 }
}

/// Weights and moments as they are now: training changes them in place.
pub fn snapshot(objective: &dyn Objective) -> BTreeMap<String, Vec<f32>> {
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1().unwrap();
    objective.state().into_iter().map(|(name, tensor)| (name, values(tensor))).collect()
}
