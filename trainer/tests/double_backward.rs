//! The second derivative of piecewise linear networks against candle's operations and against finite differences.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor};
use proptest::prelude::*;
use unbraid_trainer::{
    model::{Activation, Layer, Padding, Window},
    nn::Network,
    rng::{self, Purpose},
};

const IMAGE: (usize, usize, usize) = (9, 8, 2);

fn random(shape: &[usize], seed: u64) -> Tensor {
    let values = rng::normals(&mut rng::stream(seed, Purpose::Report, 0), shape.iter().product());
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Every kind of layer: from images of 9x8 with two channels to three numbers.
fn layers(activation: Activation) -> Vec<Layer> {
    layers_from((Window::square(3, 2, 1), 100), activation)
}

/// The same with another first window, which gives so many features.
fn layers_from((first, features): (Window, usize), activation: Activation) -> Vec<Layer> {
    let conv = |in_channels, out_channels, window| Layer::conv2d(in_channels, out_channels, window, activation);
    let linear = |in_features, out_features, activation| Layer::Linear { in_features, out_features, activation };
    vec![
        conv(2, 5, first),
        Layer::Flatten,
        linear(features, 16, activation),
        Layer::Unflatten { channels: 4, height: 2, width: 2 },
        Layer::conv_transpose2d(4, 16, Window::square(4, 2, 1), activation),
        conv(16, 3, Window::square(4, 2, 1)),
        Layer::Flatten,
        linear(12, 3, Activation::Identity),
    ]
}

fn weights(layers: &[Layer], seed: u64) -> BTreeMap<String, Tensor> {
    let mut weights = BTreeMap::new();
    for (i, layer) in layers.iter().enumerate() {
        let Some((shape, bias)) = layer.parameters() else { continue };
        let weight = (random(&shape, seed + 2 * i as u64) * 0.4).unwrap();
        weights.insert(format!("net.{i}.weight"), weight);
        weights.insert(format!("net.{i}.bias"), random(&[bias], seed + 2 * i as u64 + 1));
    }
    weights
}

fn network(layers: &[Layer], weights: &BTreeMap<String, Tensor>) -> Network {
    Network::from_tensors("net", layers, weights, &Device::Cpu).unwrap()
}

/// As [`network`], composed of candle's operations.
fn composed(layers: &[Layer], weights: &BTreeMap<String, Tensor>) -> Network {
    let mut network = network(layers, weights);
    network.compose_layers();
    network
}

/// Whether rounding may decide on which side of zero an input of an activation is, and with it the slope there.
fn near_a_kink(layers: &[Layer], weights: &BTreeMap<String, Tensor>, x: &Tensor) -> bool {
    (0..layers.len() - 1).any(|i| {
        let mut start = layers[..=i].to_vec();
        match &mut start[i] {
            Layer::Conv2d { activation, .. }
            | Layer::ConvTranspose2d { activation, .. }
            | Layer::Linear { activation, .. } => *activation = Activation::Identity,
            _ => return false,
        }
        let inputs = network(&start, weights).forward(x).unwrap().abs().unwrap();
        inputs.min_all().unwrap().to_scalar::<f32>().unwrap() < 1e-5
    })
}

/// E(‖g‖ - 1)² of the gradients of output 1. The square root has no derivative at 0, where no unit is active.
fn penalty(network: &Network, x: &Tensor) -> Result<Tensor> {
    let g = network.input_gradient(x, 1).unwrap();
    let norm = (g.flatten_from(1)?.sqr()?.sum(1)? + 1e-12)?.sqrt()?;
    (norm - 1.0)?.sqr()?.mean_all()
}

/// The penalty's gradients, with half the sum of the outputs' squares added, through which biases count as well.
fn gradients(network: &Network, x: &Tensor) -> Vec<Tensor> {
    let outputs = (network.forward(x).unwrap().sqr().unwrap().sum_all().unwrap() * 0.5).unwrap();
    let loss = (penalty(network, x).unwrap() + outputs).unwrap();
    network.take_gradients(&loss.backward().unwrap()).unwrap()
}

fn greatest(tensor: &Tensor) -> f32 {
    tensor.abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

#[track_caller]
fn assert_close(what: &str, a: &Tensor, b: &Tensor, scale: f32) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let (difference, scale) = (greatest(&(a - b).unwrap()), scale.max(1.0));
    assert!(difference <= 2e-5 * scale, "{what}: differs by {difference}, values up to {scale}");
}

/// Windows that leave a rest without padding, that leave one which padding makes them see, and that are no squares.
fn firsts() -> impl Strategy<Value = (Window, usize)> {
    let padding = Padding { top: 1, left: 0, bottom: 0, right: 2 };
    prop_oneof![
        Just((Window::square(3, 2, 0), 60)),
        Just((Window::square(3, 2, 1), 100)),
        Just((Window { kernel: [3, 4], stride: [2, 1], padding }, 140)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn fused_and_composed_networks_agree(
        first in firsts(), leaky in any::<bool>(), n in 1_usize..5, seed in 0_u64..10_000,
    ) {
        let layers = layers_from(first, if leaky { Activation::LeakyRelu(0.2) } else { Activation::Relu });
        let weights = weights(&layers, seed);
        let (fused, composed) = (network(&layers, &weights), composed(&layers, &weights));
        let x = random(&[n, IMAGE.0, IMAGE.1, IMAGE.2], seed + 100);
        prop_assume!(!near_a_kink(&layers, &weights, &x));
        let [ours, theirs] = [&fused, &composed].map(|network| network.input_gradient(&x, 1).unwrap());
        assert_close("input gradient", &ours, &theirs, greatest(&theirs));
        let [ours, theirs] = [&fused, &composed].map(|network| gradients(network, &x));
        // A bias's gradient is a sum that may cancel: it rounds as its terms do, not as what is left.
        let scale = theirs.iter().map(greatest).fold(0.0, f32::max);
        for ((name, _), (ours, theirs)) in fused.variables().iter().zip(ours.iter().zip(&theirs)) {
            assert_close(name, ours, theirs, scale);
        }
    }
}

/// Without trusting any backward pass: g from outputs alone, and the penalty's gradient from penalties alone, in f64.
#[test]
fn both_derivatives_are_those_of_finite_differences() {
    let layers = layers(Activation::LeakyRelu(0.2));
    let weights = weights(&layers, 5);
    let x = random(&[2, IMAGE.0, IMAGE.1, IMAGE.2], 77);
    let double = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
    let weights_64: BTreeMap<_, _> = weights.iter().map(|(name, weight)| (name.clone(), double(weight))).collect();
    let values = |tensor: &Tensor| double(&tensor.flatten_all().unwrap()).to_vec1::<f64>().unwrap();
    let value = |tensor: Tensor| tensor.to_scalar::<f64>().unwrap();
    // The slope of `f` along each of some of the values of `tensor`.
    let slopes = |tensor: &Tensor, f: &dyn Fn(Tensor) -> f64| -> Vec<(usize, f64)> {
        let start = values(tensor);
        let nudged = |i: usize, by: f64| {
            let mut values = start.clone();
            values[i] += by;
            f(Tensor::from_vec(values, tensor.dims(), &Device::Cpu).unwrap())
        };
        let some = (0..start.len()).step_by(start.len().div_ceil(12));
        some.map(|i| (i, (nudged(i, 1e-6) - nudged(i, -1e-6)) / 2e-6)).collect()
    };

    let network = network(&layers, &weights);
    let g = values(&network.input_gradient(&x, 1).unwrap());
    let reference = composed(&layers, &weights_64);
    let output = |x: Tensor| value(reference.forward(&x).unwrap().narrow(1, 1, 1).unwrap().sum_all().unwrap());
    for (i, numeric) in slopes(&x, &output) {
        assert!((numeric - g[i]).abs() < 1e-5 * numeric.abs().max(1.0), "g[{i}]: {} vs {numeric}", g[i]);
    }

    let loss = penalty(&network, &x).unwrap();
    let analytic = network.take_gradients(&loss.backward().unwrap()).unwrap();
    for ((name, _), analytic) in network.variables().iter().zip(&analytic) {
        let analytic = values(analytic);
        let penalty = |weight: Tensor| {
            let mut weights = weights_64.clone();
            weights.insert(name.clone(), weight);
            value(penalty(&composed(&layers, &weights), &double(&x)).unwrap())
        };
        for (i, numeric) in slopes(&weights_64[name], &penalty) {
            let difference = (numeric - analytic[i]).abs();
            assert!(difference < 1e-4 * numeric.abs().max(0.1), "{name}[{i}]: {} vs {numeric}", analytic[i]);
            assert!(!name.ends_with("bias") || analytic[i] == 0.0, "{name} moves no slope");
        }
    }
    assert!(analytic.iter().any(|g| values(g).iter().any(|v| v.abs() > 0.1)), "the penalty has a gradient at all");
}

#[test]
fn networks_without_a_second_derivative_here_are_refused() {
    let refused = |layers: &[Layer], output: usize, words: &str| {
        let network = network(layers, &weights(layers, 1));
        let x = random(&[1, IMAGE.0, IMAGE.1, IMAGE.2], 1);
        let error = network.input_gradient(&x, output).unwrap_err().to_string();
        assert!(error.starts_with("net: ") && error.contains(words), "{error}");
    };
    refused(&layers(Activation::Relu), 3, "the last layer is Linear { in_features: 12, out_features: 3");
    refused(&[], 0, "no layers");
    refused(&layers(Activation::Relu)[..2], 3, "the last layer is Flatten");
    refused(&layers(Activation::Tanh), 1, "layer 0 is Conv2d");
    refused(&[Layer::max_pool(Window::square(2, 2, 0)), Layer::Flatten], 1, "layer 0 is MaxPool");
}
