//! Every architecture goes all the way: fresh weights, export, int8, and the same answers at each station.

use std::collections::BTreeMap;

use candle_core::Device;
use unbraid_trainer::{
    data::{self, Dataset},
    model::{
        Activation, Architecture, Autoencoder, F32Model, ImageShape, Int8Model, Layer, PixelOutput, Window,
        presets::PRESETS,
    },
    nn::Init,
    objective::vae::Vae,
    quantize::{
        Options, quantize,
        report::{Report, compare},
    },
};

mod support;

use support::blobs::Blobs;

fn fresh(architecture: Architecture) -> F32Model {
    architecture.validate().unwrap();
    let vae = Vae::new(&architecture, Init::He, 3, &Device::Cpu).unwrap();
    F32Model::of_networks(architecture, (&vae.encoder, &vae.decoder), &Device::Cpu)
}

/// What quantizing costs on few images.
fn int8_report(model: &F32Model, dataset: &dyn Dataset) -> Report {
    let options = Options { images: 24, ..Options::default() };
    let bytes = quantize(model, Some(dataset), &[], BTreeMap::new(), &options).unwrap();
    let int8 = Int8Model::new(bytes, "fresh".as_ref()).unwrap();
    compare(model, &int8, Some(dataset), 8, 0).unwrap()
}

#[test]
fn presets_keep_their_answers_in_int8() {
    let sprites = data::open("sprites").unwrap();
    for preset in PRESETS.iter().filter(|preset| preset.name != "factor-vae-64-rgb") {
        let report = int8_report(&fresh(Architecture::preset(preset.name, 6).unwrap()), &*sprites);
        println!("{}: {report}", preset.name);
        // The decoder's error alone is rounding; a wrong layer would come out below 20 dB.
        assert!(report.decoder_psnr > Some(38.0) && report.psnr > Some(34.0), "{}: {report}", preset.name);
        assert!(report.median_mean_error < Some(0.05), "{}: {report}", preset.name);
    }
}

/// Windows that overlap or leave a rest, tanh before pooling and convolutions, pixels without a sigmoid, four channels.
fn mixed(output: PixelOutput) -> Architecture {
    let (relu, tanh, none) = (Activation::Relu, Activation::Tanh, Activation::Identity);
    let conv = |in_channels, out_channels, kernel, stride, activation| {
        Layer::conv2d(in_channels, out_channels, Window::square(kernel, stride, kernel / 2), activation)
    };
    let linear = |in_features, out_features, activation| Layer::Linear { in_features, out_features, activation };
    Architecture {
        name: "mixed".into(),
        image: ImageShape { channels: 4, height: 20, width: 28 },
        latents: 4,
        encoder: vec![
            conv(4, 12, 3, 1, tanh),
            Layer::max_pool(Window::square(3, 2, 0)),
            conv(12, 16, 3, 2, Activation::LeakyRelu(0.2)),
            Layer::max_pool(Window::square(2, 2, 0)),
            Layer::Flatten,
            linear(16 * 2 * 3, 40, tanh),
            linear(40, 8, none),
        ],
        decoder: vec![
            linear(4, 8 * 5 * 7, tanh),
            Layer::Unflatten { channels: 8, height: 5, width: 7 },
            Layer::UpsampleNearest { factor: [2; 2] },
            conv(8, 12, 3, 1, tanh),
            Layer::conv_transpose2d(12, 10, Window::square(4, 2, 1), relu),
            conv(10, 4, 3, 1, none),
        ],
        output,
    }
}

#[test]
fn other_sizes_layers_and_pixels_keep_their_answers() {
    for output in [PixelOutput::Sigmoid, PixelOutput::Linear] {
        let model = fresh(mixed(output));
        let report = int8_report(&model, &Blobs(model.image()));
        println!("{output:?}: {report}");
        assert!(report.decoder_psnr > Some(32.0) && report.median_mean_error < Some(0.1), "{output:?}: {report}");
    }
}

#[test]
fn what_int8_cannot_end_in_is_refused() {
    let mut net = mixed(PixelOutput::Sigmoid);
    let Some(Layer::Linear { activation, .. }) = net.encoder.last_mut() else {
        panic!("the encoder ends in a linear layer")
    };
    *activation = Activation::Tanh;
    let model = fresh(net);
    let options = Options { images: 8, ..Options::default() };
    let error = quantize(&model, Some(&Blobs(model.image())), &[], BTreeMap::new(), &options).unwrap_err().to_string();
    assert!(error.starts_with("encoder.6: found activation Tanh, expected none"), "{error}");
}
