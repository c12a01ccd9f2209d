//! The exported ONNX files, run by tract, give what candle gives: every preset, leaky ReLU, both pixel outputs, several batch
//! sizes.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use unbraid_trainer::export::check::{LIMIT, check, max_difference, run};
use unbraid_trainer::export::{decoder_onnx, encoder_onnx};
use unbraid_trainer::model::{
    Activation, Architecture, Autoencoder, F32Model, ImageShape, Layer, PixelOutput, Window, presets::PRESETS,
};

type Weights = BTreeMap<String, Tensor>;

/// Numbers from -1 to 1 that repeat: a linear congruential generator (Knuth's MMIX).
fn numbers(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn random(shape: &[usize], scale: f32, next: &mut impl FnMut() -> f32) -> Tensor {
    let values = (0..shape.iter().product()).map(|_| next() * scale).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Random weights, large enough that activations neither vanish nor explode (He et al. 2015).
fn weights(net: &Architecture, seed: u64) -> Weights {
    let mut next = numbers(seed);
    let mut weights = Weights::new();
    for (part, layers) in [("encoder", &net.encoder), ("decoder", &net.decoder)] {
        for (i, layer) in layers.iter().enumerate() {
            let Some((shape, bias)) = layer.parameters() else { continue };
            let inputs = match *layer {
                Layer::Conv2d { in_channels, kernel: [height, width], .. } => in_channels * height * width,
                // Each output sees (kernel / stride)² taps.
                Layer::ConvTranspose2d { in_channels, kernel, stride, .. } => {
                    in_channels * (kernel[0] / stride[0]) * (kernel[1] / stride[1])
                }
                _ => shape[1],
            };
            weights.insert(format!("{part}.{i}.weight"), random(&shape, (6.0 / inputs as f32).sqrt(), &mut next));
            weights.insert(format!("{part}.{i}.bias"), random(&[bias], 0.1, &mut next));
        }
    }
    weights
}

/// The layers `part` by candle's own operations, `(N, C, H, W)`: the same along both axes and on all sides.
fn forward(part: &str, layers: &[Layer], weights: &Weights, input: &Tensor) -> candle_core::Result<Tensor> {
    let mut x = input.clone();
    for (i, layer) in layers.iter().enumerate() {
        let tensor = |name: &str| &weights[&format!("{part}.{i}.{name}")];
        let channels = || tensor("bias").reshape((1, (), 1, 1));
        let n = x.dim(0)?;
        let y = match *layer {
            Layer::Conv2d { stride, padding, .. } => {
                x.conv2d(tensor("weight"), padding.top, stride[0], 1, 1)?.broadcast_add(&channels()?)?
            }
            Layer::ConvTranspose2d { stride, padding, .. } => {
                x.conv_transpose2d(tensor("weight"), padding.top, 0, stride[0], 1)?.broadcast_add(&channels()?)?
            }
            Layer::Linear { .. } => x.matmul(&tensor("weight").t()?)?.broadcast_add(tensor("bias"))?,
            Layer::MaxPool { kernel, stride, .. } => x.max_pool2d_with_stride(kernel[0], stride[0])?,
            Layer::UpsampleNearest { factor } => x.upsample_nearest2d(x.dim(2)? * factor[0], x.dim(3)? * factor[1])?,
            Layer::Flatten => x.flatten_from(1)?,
            Layer::Unflatten { channels, height, width } => x.reshape((n, channels, height, width))?,
        };
        x = match layer.activation() {
            Activation::Identity => y,
            Activation::Relu => y.relu()?,
            Activation::Tanh => y.tanh()?,
            Activation::LeakyRelu(slope) => (y.relu()? - (y.neg()?.relu()? * f64::from(slope))?)?,
            other => candle_core::bail!("{other:?} is in none of these networks"),
        };
    }
    Ok(x)
}

/// Checks both networks at batch sizes 1 and 3.
fn check_both(net: &Architecture, seed: u64) {
    let weights = weights(net, seed);
    let encoder = encoder_onnx(net, &weights).unwrap();
    let decoder = decoder_onnx(net, &weights).unwrap();
    assert_eq!(encoder, encoder_onnx(net, &weights).unwrap(), "the same bytes");
    let mut next = numbers(seed + 1);
    for batch in [1, 3] {
        let ImageShape { channels, height, width } = net.image;
        let image = random(&[batch, channels, height, width], 1.0, &mut next).abs().unwrap();
        let code = forward("encoder", &net.encoder, &weights, &image).unwrap();
        let half = |start| code.narrow(1, start, net.latents).unwrap();
        let encoded = check(&encoder, &image, &[half(0), half(net.latents)]).unwrap();
        let latent = random(&[batch, net.latents], 2.0, &mut next);
        let last = forward("decoder", &net.decoder, &weights, &latent).unwrap();
        let pixels = match net.output {
            PixelOutput::Sigmoid => (last.neg().unwrap().exp().unwrap() + 1.0).unwrap().recip().unwrap(),
            PixelOutput::Linear => last.clamp(0.0, 1.0).unwrap(),
        };
        let spread = pixels.max_all().unwrap().to_scalar::<f32>().unwrap()
            - pixels.min_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(spread > 0.1, "the test's images are all gray");
        let decoded = check(&decoder, &latent, &[pixels]).unwrap();
        println!("{}, batch {batch}: encoder {encoded:e}, decoder {decoded:e}", net.name);
    }
}

/// An asymmetric network with leaky ReLU, odd kernels and overlapping and separate windows.
fn uneven() -> Architecture {
    let leaky = Activation::LeakyRelu(0.2);
    Architecture {
        name: "uneven".into(),
        image: ImageShape { channels: 2, height: 12, width: 8 },
        latents: 3,
        encoder: vec![
            Layer::conv2d(2, 4, Window::square(3, 1, 0), leaky),
            Layer::conv2d(4, 3, Window::square(2, 2, 0), leaky),
            Layer::Flatten,
            Layer::Linear { in_features: 45, out_features: 6, activation: leaky },
        ],
        decoder: vec![
            Layer::Linear { in_features: 3, out_features: 45, activation: leaky },
            Layer::Unflatten { channels: 3, height: 5, width: 3 },
            Layer::conv_transpose2d(3, 4, Window::square(2, 2, 0), leaky),
            Layer::conv_transpose2d(4, 2, Window::square(3, 1, 0), Activation::Identity),
        ],
        output: PixelOutput::Sigmoid,
    }
}

#[test]
fn presets_agree() {
    for (preset, seed) in PRESETS.iter().zip(1..) {
        check_both(&Architecture::preset(preset.name, 6).unwrap(), seed);
    }
}

#[test]
fn leaky_relu_and_other_windows_agree() {
    let mut net = uneven();
    for output in [PixelOutput::Sigmoid, PixelOutput::Linear] {
        net.output = output;
        net.validate().unwrap();
        check_both(&net, 3);
    }
}

/// Windows that overlap, and rows and columns that fill none.
#[test]
fn pooling_and_upsampling_agree() {
    let relu = Activation::Relu;
    let linear = |in_features, out_features, activation| Layer::Linear { in_features, out_features, activation };
    let net = Architecture {
        name: "resampling".into(),
        image: ImageShape { channels: 2, height: 12, width: 18 },
        latents: 3,
        encoder: vec![
            Layer::conv2d(2, 4, Window::square(3, 1, 1), relu),
            Layer::max_pool(Window::square(3, 2, 0)),
            Layer::max_pool(Window::square(2, 3, 0)),
            Layer::Flatten,
            linear(24, 6, Activation::Tanh),
        ],
        decoder: vec![
            linear(3, 24, Activation::Tanh),
            Layer::Unflatten { channels: 4, height: 2, width: 3 },
            Layer::UpsampleNearest { factor: [3; 2] },
            Layer::UpsampleNearest { factor: [2; 2] },
            Layer::conv2d(4, 2, Window::square(3, 1, 1), Activation::Identity),
        ],
        output: PixelOutput::Sigmoid,
    };
    net.validate().unwrap();
    check_both(&net, 9);
}

#[test]
fn the_trainers_own_forward_pass_agrees() {
    let net = Architecture::preset("factor-vae-64-rgb", 6).unwrap();
    let weights = weights(&net, 4);
    let model = F32Model::new(net.clone(), &weights, &Device::Cpu).unwrap();
    let bytes: Vec<u8> = (0..2 * net.image.size()).map(|i| (i * 37 % 256) as u8).collect();
    let posterior = model.encode(&bytes).unwrap();
    let floats: Vec<f32> = bytes.iter().map(|&b| f32::from(b) / 255.0).collect();
    let image = Tensor::from_vec(floats, (2, 64, 64, 3), &Device::Cpu).unwrap().permute((0, 3, 1, 2)).unwrap();
    let tensor = |values| Tensor::from_vec(values, (2, 6), &Device::Cpu).unwrap();
    let expected = [tensor(posterior.mean), tensor(posterior.log_var)];
    check(&encoder_onnx(&net, &weights).unwrap(), &image, &expected).unwrap();
}

#[test]
fn a_changed_weight_is_noticed() {
    let net = uneven();
    let mut weights = weights(&net, 5);
    let latent = random(&[1, 3], 1.0, &mut numbers(6));
    let bytes = decoder_onnx(&net, &weights).unwrap();
    let expected = run(&bytes, &latent).unwrap();
    let bias = (&weights["decoder.3.bias"] + 0.01).unwrap();
    weights.insert("decoder.3.bias".into(), bias);
    let error = check(&decoder_onnx(&net, &weights).unwrap(), &latent, &expected).unwrap_err().to_string();
    assert!(error.contains("differs") && error.contains("1e-4"), "{error}");
}

#[test]
fn what_is_no_model_or_no_input_is_refused() {
    let net = uneven();
    let bytes = decoder_onnx(&net, &weights(&net, 7)).unwrap();
    let latent = Tensor::zeros((1, 3), DType::F32, &Device::Cpu).unwrap();
    assert!(run(&bytes[..bytes.len() / 2], &latent).unwrap_err().to_string().starts_with("tract: "));
    assert!(run(b"not a model", &latent).is_err());
    assert!(run(&bytes, &Tensor::zeros((1, 4), DType::F32, &Device::Cpu).unwrap()).is_err());
}

#[test]
fn a_difference_that_is_no_number_is_infinite() {
    let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    assert_eq!(max_difference(&[tensor(&[1.0, 2.0])], &[tensor(&[1.0, 2.5])]).unwrap(), 0.5);
    assert_eq!(max_difference(&[tensor(&[f32::NAN, 2.0])], &[tensor(&[1.0, 2.0])]).unwrap(), f32::INFINITY);
    assert!(max_difference(&[tensor(&[1.0])], &[tensor(&[1.0, 2.0])]).is_err());
    assert!(max_difference(&[], &[tensor(&[1.0])]).is_err());
    const { assert!(LIMIT <= 1e-4) };
}
