//! Models that PyTorch and others exported, imported: what they compute, and why some are refused.
//!
//! `models/`, `cases.json` and `vectors.safetensors` are made by `make_models.py`; `foreign-vae/` was trained by others.

mod foreign_vae;
mod int8;
mod refusals;
mod state_dict;
#[path = "../support/mod.rs"]
mod support;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use candle_core::{Device, Tensor, safetensors};
use serde_json::Value;
use unbraid_trainer::{
    import::{self, Imported, Options, Pixels},
    model::{Autoencoder, F32Model},
};

/// Vectors in `vectors.safetensors`, of so many inputs.
const COUNT: usize = 2;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

fn model(name: &str) -> PathBuf {
    folder().join("models").join(format!("{name}.onnx"))
}

/// The test images, `(N, H, W, C)`; `make_models.py` has the same formula.
fn images([channels, height, width]: [usize; 3]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for n in 0..COUNT {
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            bytes.extend((0..channels).map(|c| ((97 * n + 7 * y + 11 * x + 53 * c + x * y * (2 + c)) % 256) as u8));
        }
    }
    bytes
}

/// The test latents, `(N, latents)`.
fn latents(n: usize) -> Vec<f32> {
    let value = |i: usize, j: usize| ((31 * i + 17 * j + i * j) % 41) as f32 / 10.0 - 2.0;
    (0..COUNT).flat_map(|i| (0..n).map(move |j| value(i, j))).collect()
}

/// The options of a case in `cases.json`.
fn options(name: &str, case: &Value) -> Options {
    let path = Some(model(name));
    let is_encoder = case["part"] == "encoder";
    let set = &case["options"];
    let text = |key: &str| set[key].as_str();
    let numbers = |key: &str| set[key].as_array().map(|v| v.iter().map(|v| v.as_f64().unwrap() as f32).collect());
    let range = text("pixels").map(|range| range.parse().unwrap());
    let normalized =
        numbers("mean_pixel").zip(numbers("std_pixel")).map(|(mean, std)| Pixels::Normalized { mean, std });
    Options {
        encoder: path.clone().filter(|_| is_encoder),
        decoder: path.filter(|_| !is_encoder),
        image: text("image").map(|image| import::image_shape(image).unwrap()),
        pixels: range.or(normalized),
        logits: set["logits"] == true,
        ..Options::default()
    }
}

fn cases() -> BTreeMap<String, Value> {
    serde_json::from_slice(&fs::read(folder().join("cases.json")).unwrap()).unwrap()
}

/// The vector `name` in `vectors.safetensors`.
fn vector(name: &str) -> Option<Vec<f32>> {
    static VECTORS: OnceLock<HashMap<String, Tensor>> = OnceLock::new();
    let load = || safetensors::load(folder().join("vectors.safetensors"), &Device::Cpu).unwrap();
    VECTORS.get_or_init(load).get(name).map(|v| v.flatten_all().unwrap().to_vec1::<f32>().unwrap())
}

fn f32_model(imported: &Imported) -> F32Model {
    F32Model::new(imported.config.architecture.clone(), &imported.weights, &Device::Cpu).unwrap()
}

/// The pixels, from 0 to 1 and in (C, H, W) order, that `model` makes of `latents`.
fn pixels(model: &F32Model, latents: &[f32]) -> Vec<f32> {
    let last = model.decoder().forward_frozen(&model.latent_vectors(latents).unwrap()).unwrap();
    let image = last.permute((0, 3, 1, 2)).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    image.into_iter().map(|value| model.architecture().output.pixel(value)).collect()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn imported_networks_compute_what_the_exported_ones_did() {
    assert!(cases().len() >= 15);
    for (name, case) in &cases() {
        let imported = import::import(&options(name, case)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let model = f32_model(&imported);
        let sizes: Vec<_> = case["image"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect();
        let image = model.image();
        assert_eq!(sizes, [image.channels, image.height, image.width], "{name}");
        if let Some(mean) = vector(&format!("{name}.mean")) {
            let code = model.encode(&images([sizes[0], sizes[1], sizes[2]])).unwrap();
            let log_var = vector(&format!("{name}.log_var")).unwrap_or(code.log_var.clone());
            // Clipping of log-variances is left out, as a note says.
            let range = if name == "branches" { -6.0..=2.0 } else { -1e30..=1e30 };
            let found: Vec<_> = code.log_var.iter().map(|v: &f32| v.clamp(*range.start(), *range.end())).collect();
            let difference = largest_difference(&code.mean, &mean).max(largest_difference(&found, &log_var));
            assert!(difference < 1e-4, "{name}: {difference}");
            assert!(mean.iter().any(|v| v.abs() > 0.1), "{name} gives nothing to compare");
        } else {
            let expected = vector(&format!("{name}.image")).unwrap();
            let difference = largest_difference(&pixels(&model, &latents(model.latents())), &expected);
            assert!(difference < 1e-4, "{name}: {difference}");
            let (low, high) = expected.iter().fold((1.0_f32, 0.0_f32), |(l, h), &v| (l.min(v), h.max(v)));
            assert!(high - low > 0.1, "{name} gives nothing to compare");
        }
    }
}

#[test]
fn samples_without_log_variances_of_their_own_still_have_them() {
    let imported = import::import(&Options { encoder: Some(model("sample")), ..Options::default() }).unwrap();
    let code = f32_model(&imported).encode(&images([1, 24, 20])).unwrap();
    assert!(code.log_var.iter().any(|v| v.abs() > 0.1), "{:?}", code.log_var);
    assert!(imported.notes.iter().any(|note| note.contains("cut at its mean")), "{:?}", imported.notes);
}

#[test]
fn the_explanation_names_layers_shapes_and_nodes() {
    let imported = import::import(&Options { encoder: Some(model("keras_encoder")), ..Options::default() }).unwrap();
    for words in [
        "encoder: an image of 18 x 18 x 3",
        "convolution 3x3, stride 2",
        "-> 5 x 9 x 9, ",
        "from to_nchw (Transpose), conv1 (Conv), relu1 (Relu)",
        "z_mean/MatMul (MatMul)",
        "multiply-adds",
    ] {
        assert!(imported.explanation.contains(words), "{words}\n{}", imported.explanation);
    }
}

#[test]
fn an_encoder_and_a_decoder_have_to_fit() {
    let both = |encoder: &str, decoder: &str| {
        let options = Options { encoder: Some(model(encoder)), decoder: Some(model(decoder)), ..Options::default() };
        import::import(&options).unwrap_err().to_string()
    };
    let error = both("batch_norm", "upsampling");
    assert!(error.contains("3 means, expected 4 latents"), "{error}");
    let error = both("batch_norm", "keras_decoder");
    assert!(error.contains("an image of 13 x 13 x 3") && error.contains("expected 32 x 32 x 3"), "{error}");
}
