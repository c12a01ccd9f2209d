//! Layers as other people's networks have them: rectangles, another padding on each side, every activation; and networks that are
//! an encoder or a decoder alone.

use std::{collections::BTreeMap, fs, path::Path};

use candle_core::Device;
use unbraid_trainer::{
    data::Dataset,
    export::{self, Extras, ModelConfig},
    model::{
        Activation::{self, Clip, Elu, HardSigmoid, Identity, LeakyRelu, Sigmoid, Softplus, Tanh},
        Architecture, Autoencoder, F32Model, ImageShape, Int8Model, Layer, Padding, PixelOutput, Window,
    },
    nn::Init,
    quantize::{
        Options, quantize,
        report::{Report, compare},
    },
    rng::{self, Purpose},
};

mod support;

use support::blobs::Blobs;

fn window(kernel: [usize; 2], stride: [usize; 2], [top, left, bottom, right]: [usize; 4]) -> Window {
    Window { kernel, stride, padding: Padding { top, left, bottom, right } }
}

fn linear(in_features: usize, out_features: usize, activation: Activation) -> Layer {
    Layer::Linear { in_features, out_features, activation }
}

/// No two sides are alike, no channels a multiple of anything.
fn uneven() -> Architecture {
    let up = window([3, 2], [2, 3], [1, 0, 0, 1]);
    Architecture {
        name: "uneven".into(),
        image: ImageShape { channels: 3, height: 21, width: 30 },
        latents: 5,
        encoder: vec![
            Layer::conv2d(3, 7, window([3, 4], [2, 1], [1, 2, 0, 1]), Elu(0.8)),
            Layer::max_pool(window([2, 3], [2, 3], [0, 1, 0, 0])),
            Layer::conv2d(7, 9, window([2, 5], [1, 2], [1, 0, 0, 3]), Tanh),
            Layer::conv2d(9, 11, window([3, 1], [1, 1], [2, 0, 0, 0]), Clip { min: 0.0, max: 6.0 }),
            Layer::Flatten,
            linear(275, 33, Softplus),
            linear(33, 20, Sigmoid),
            linear(20, 10, Identity),
        ],
        decoder: vec![
            linear(5, 72, Softplus),
            Layer::Unflatten { channels: 6, height: 3, width: 4 },
            Layer::ConvTranspose2d {
                in_channels: 6,
                out_channels: 7,
                kernel: up.kernel,
                stride: up.stride,
                padding: up.padding,
                output_padding: [1, 2],
                activation: Elu(1.0),
            },
            Layer::UpsampleNearest { factor: [3, 2] },
            Layer::conv2d(7, 5, window([4, 3], [1, 1], [2, 1, 1, 1]), LeakyRelu(0.1)),
            Layer::conv2d(5, 6, window([1, 1], [1, 1], [0; 4]), HardSigmoid { alpha: 0.2, beta: 0.5 }),
            Layer::conv_transpose2d(6, 3, window([1, 7], [1, 1], [0; 4]), Identity),
        ],
        output: PixelOutput::Sigmoid,
    }
}

/// Random weights, larger where a flat function would hide what goes through it.
fn fresh(architecture: Architecture) -> F32Model {
    architecture.validate().unwrap();
    let mut weights = F32Model::untrained(architecture.clone(), Init::Glorot, 3, &Device::Cpu).unwrap().weights();
    for (part, layers) in [("encoder", &architecture.encoder), ("decoder", &architecture.decoder)] {
        for (i, layer) in layers.iter().enumerate() {
            let gain = match layer.activation() {
                Sigmoid | HardSigmoid { .. } => 6.5,
                Elu(_) => 1.0,
                Softplus => 2.0,
                _ => 1.5,
            };
            if let Some(weight) = weights.get_mut(&format!("{part}.{i}.weight")) {
                *weight = (&*weight * gain).unwrap();
            }
        }
    }
    F32Model::new(architecture, &weights, &Device::Cpu).unwrap()
}

/// The standard deviation of a pixel over many latents, of 255.
fn spread(model: &F32Model) -> f64 {
    let latents = rng::normals(&mut rng::stream(1, Purpose::Report, 0), 64 * model.latents());
    let pictures = model.decode(&latents).unwrap();
    let size = model.image().size();
    let deviation = |pixel: usize| {
        let values: Vec<f64> = pictures.iter().skip(pixel).step_by(size).map(|&v| v.into()).collect();
        let mean = values.iter().sum::<f64>() / 64.0;
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 64.0).sqrt()
    };
    (0..size).map(deviation).sum::<f64>() / size as f64
}

/// Writes a model directory and reads it back.
fn written(model: &F32Model, dir: &Path) -> F32Model {
    let config = ModelConfig {
        architecture: model.architecture().clone(),
        objective: export::IMPORTED.into(),
        dataset: export::UNKNOWN_DATASET.into(),
        steps: 0,
        seed: 0,
        training: serde_json::Value::Null,
        factors: Vec::new(),
    };
    export::write(dir, &config, &model.weights(), &Extras::default(), false).unwrap();
    let (read, weights) = export::read(dir).unwrap();
    assert_eq!(read, config);
    #[cfg(feature = "onnx")]
    export::check::check_directory(dir).unwrap();
    F32Model::new(read.architecture, &weights, &Device::Cpu).unwrap()
}

fn int8(model: &F32Model, dataset: Option<&dyn Dataset>) -> (Int8Model, Report) {
    let options = Options { images: 64, ..Options::default() };
    let bytes = quantize(model, dataset, &[], BTreeMap::new(), &options).unwrap();
    let int8 = Int8Model::new(bytes, "uneven".as_ref()).unwrap();
    let report = compare(model, &int8, dataset, 16, 0).unwrap();
    (int8, report)
}

/// int8 changes pictures by less than a `share` of what latents do, and means hardly.
fn check(name: &str, model: &F32Model, report: &Report, share: f64) {
    let error = 255.0 / 10_f64.powf(report.decoder_psnr.unwrap() / 20.0);
    let spread = spread(model);
    println!("{name}, pixels vary by {spread:.1} and are off by {error:.2}: {report}");
    assert!(spread > 4.0 && error < share * spread, "{name}: {report}");
    assert!((0.001..0.1).contains(&report.median_mean_error.unwrap()), "{name}: {report}");
}

#[test]
fn uneven_layers_go_all_the_way() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs(uneven().image);
    for output in [PixelOutput::Sigmoid, PixelOutput::Linear] {
        let model = fresh(Architecture { output, ..uneven() });
        let read = written(&model, &folder.path().join(format!("{output:?}")));
        let images = blobs.batch(&[1, 2, 3]).unwrap();
        assert_eq!(model.encode(&images).unwrap(), read.encode(&images).unwrap());
        let (_, report) = int8(&read, Some(&blobs));
        check(&format!("{output:?}"), &read, &report, 0.15);
    }
}

/// Networks whose layers have `activation` and a leaky ReLU by turns.
fn alternating(activation: Activation) -> Architecture {
    let mut net = uneven();
    for layers in [&mut net.encoder, &mut net.decoder] {
        let mut turns = [activation, LeakyRelu(0.2)].into_iter().cycle();
        for layer in layers.iter_mut().rev().skip(1) {
            if let Layer::Conv2d { activation: own, .. }
            | Layer::ConvTranspose2d { activation: own, .. }
            | Layer::Linear { activation: own, .. } = layer
            {
                turns.next().into_iter().for_each(|next| *own = next);
            }
        }
    }
    net
}

#[test]
fn each_activation_is_itself_in_int8() {
    let activations =
        [Elu(1.5), Tanh, Sigmoid, Softplus, HardSigmoid { alpha: 0.3, beta: 0.4 }, Clip { min: -0.3, max: 0.9 }];
    for activation in activations {
        let model = fresh(alternating(activation));
        let (_, report) = int8(&model, Some(&Blobs(model.image())));
        // Random weights turn what is never below ln 2 into logits far from 0, whose pixels hardly vary.
        let share = if activation == Softplus { 0.45 } else { 0.15 };
        check(&format!("{activation:?}"), &model, &report, share);
    }
}

#[test]
fn an_encoder_alone_encodes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("encoder");
    let model = written(&fresh(Architecture { decoder: vec![], ..uneven() }), &dir);
    assert!(dir.join("encoder.onnx").exists() && !dir.join("decoder.onnx").exists());
    assert!(!fs::read_to_string(dir.join("config.json")).unwrap().contains("\"decoder\""));
    let blobs = Blobs(model.image());
    let (int8, report) = int8(&model, Some(&blobs));
    assert!(report.median_mean_error < Some(0.1) && report.picture_psnr().is_none(), "{report}");
    let codes = int8.encode(&blobs.batch(&[5, 6]).unwrap()).unwrap();
    for error in [model.decode(&codes.mean).unwrap_err(), int8.decode(&codes.mean).unwrap_err()] {
        assert_eq!(error.to_string(), "the model has no decoder, which this needs; it has its encoder alone");
    }
    let options = Options { images: 8, ..Options::default() };
    let error = quantize(&model, None, &[], BTreeMap::new(), &options).unwrap_err().to_string();
    assert!(error.contains("images, to quantize an encoder with"), "{error}");
}

#[test]
fn a_decoder_alone_decodes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("decoder");
    let model = written(&fresh(Architecture { encoder: vec![], ..uneven() }), &dir);
    assert!(dir.join("decoder.onnx").exists() && !dir.join("encoder.onnx").exists());
    let (int8, report) = int8(&model, None);
    assert!(report.picture_psnr() > Some(38.0) && report.median_mean_error.is_none(), "{report}");
    let image = Blobs(model.image()).batch(&[5]).unwrap();
    for error in [model.encode(&image).unwrap_err(), int8.encode(&image).unwrap_err()] {
        assert_eq!(error.to_string(), "the model has no encoder, which this needs; it has its decoder alone");
    }
}

#[test]
fn neither_is_refused() {
    let net = Architecture { encoder: vec![], decoder: vec![], ..uneven() };
    assert_eq!(net.validate(), Err("neither an encoder nor a decoder".into()));
}
