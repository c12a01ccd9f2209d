//! The runtime's ONNX autoencoder gives what the trainer's f32 model gives.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use unbraid::Autoencoder as _;
use unbraid::onnx::OnnxAutoencoder;
use unbraid_trainer::data;
use unbraid_trainer::export::{decoder_onnx, encoder_onnx};
use unbraid_trainer::model::{self, Architecture, Autoencoder, F32Model, Model};
use unbraid_trainer::nn::{Init, Network};

/// Rounding of the code to 1/4096 and 1/256, and of sums.
const MEAN_LIMIT: f32 = 0.5 / 4096.0 + 1e-4;
const LOG_VAR_LIMIT: f32 = 0.5 / 256.0 + 1e-4;

/// Encodes and decodes `pictures` both ways.
fn compare(onnx: &mut OnnxAutoencoder, f32: &F32Model, pictures: &[u8]) {
    let shape = f32.image();
    let latents = f32.latents();
    assert_eq!((onnx.image().height, onnx.image().width), (shape.height, shape.width));
    assert_eq!((onnx.image().channels, onnx.latents()), (shape.channels, latents));
    let posterior = f32.encode(pictures).unwrap();
    for (index, picture) in pictures.chunks_exact(shape.size()).enumerate() {
        let code = onnx.encode(picture).unwrap();
        for latent in 0..latents {
            let (mean, log_var) =
                (posterior.mean[index * latents + latent], posterior.log_var[index * latents + latent]);
            assert!((code.mean(latent) - mean).abs() <= MEAN_LIMIT, "{} {mean}", code.mean(latent));
            assert!((code.log_var(latent) - log_var).abs() <= LOG_VAR_LIMIT, "{} {log_var}", code.log_var(latent));
        }
        // The same latents for both, as the code holds them.
        let means: Vec<f32> = (0..latents).map(|latent| code.mean(latent)).collect();
        let mut pixels = vec![0; picture.len()];
        onnx.decode(&code, &mut pixels).unwrap();
        let expected = f32.decode(&means).unwrap();
        assert!(pixels.iter().zip(&expected).all(|(a, b)| a.abs_diff(*b) <= 1), "rounding only");
        assert!(pixels.iter().zip(&expected).filter(|(a, b)| a != b).count() <= pixels.len() / 100);
    }
}

#[test]
fn color_pictures_agree() {
    let net = Architecture::preset("factor-vae-64-rgb", 6).unwrap();
    let mut weights = BTreeMap::<String, Tensor>::new();
    for (part, layers) in [("encoder", &net.encoder), ("decoder", &net.decoder)] {
        let network = Network::new(part, layers, Init::He, 5, &Device::Cpu).unwrap();
        weights.extend(network.variables().into_iter().map(|(name, variable)| (name, variable.as_tensor().clone())));
    }
    let folder = tempfile::tempdir().unwrap();
    let [encoder, decoder] = ["encoder.onnx", "decoder.onnx"].map(|name| folder.path().join(name));
    std::fs::write(&encoder, encoder_onnx(&net, &weights).unwrap()).unwrap();
    std::fs::write(&decoder, decoder_onnx(&net, &weights).unwrap()).unwrap();
    let pictures: Vec<u8> = (0..2 * net.image.size()).map(|i| (i * 37 % 251) as u8).collect();
    let f32 = F32Model::new(net, &weights, &Device::Cpu).unwrap();
    compare(&mut OnnxAutoencoder::open(&encoder, &decoder).unwrap(), &f32, &pictures);
}

#[test]
fn the_shipped_model_agrees() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/sprites-factorvae"));
    let mut onnx = OnnxAutoencoder::open(&folder.join("encoder.onnx"), &folder.join("decoder.onnx")).unwrap();
    let Model::F32 { model, .. } = model::open(folder).unwrap() else { panic!("a directory is an f32 model") };
    let sprites = data::open("sprites").unwrap();
    let indices: Vec<usize> = (0..5).map(|i| i * (sprites.len() / 5)).collect();
    compare(&mut onnx, &model, &sprites.batch(&indices).unwrap());
}
