//! A β-VAE that others trained on chairs, against the reconstructions that they published: `foreign-vae/README.md` says whose.

use unbraid::Model;
use unbraid_trainer::{
    Result,
    data::Dataset,
    export,
    import::{self, Imported, Options},
    model::{Autoencoder, F32Model, ImageShape, Int8Model},
    quantize,
};

use super::{f32_model, folder, pixels};

/// Images in memory, without labels.
struct Images(Vec<u8>);

impl Dataset for Images {
    fn name(&self) -> &str {
        "chairs"
    }

    fn len(&self) -> usize {
        self.0.len() / self.image().size()
    }

    fn image(&self) -> ImageShape {
        ImageShape { channels: 1, height: 64, width: 64 }
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        pixels.copy_from_slice(&self.0[index * pixels.len()..][..pixels.len()]);
        Ok(())
    }
}

/// An array of bytes, `(50, 1, 64, 64)`, of `pairs.npz`, unpacked.
fn array(name: &str) -> Vec<u8> {
    let bytes = std::fs::read(folder().join("foreign-vae").join(name)).unwrap();
    bytes[bytes.len() - 50 * 64 * 64..].to_vec()
}

fn imported() -> Imported {
    let file = |name: &str| Some(folder().join("foreign-vae").join(name));
    import::import(&Options { encoder: file("encoder.onnx"), decoder: file("decoder.onnx"), ..Options::default() })
        .unwrap()
}

fn reconstructions(model: &F32Model, images: &[u8]) -> Vec<u8> {
    let mean = model.encode(images).unwrap().mean;
    // How the published pictures were rounded.
    pixels(model, &mean).into_iter().map(|pixel| (255.0 * pixel).floor() as u8).collect()
}

#[test]
fn f32_reproduces_the_published_reconstructions() {
    let (images, published) = (array("x.npy"), array("y.npy"));
    let found = reconstructions(&f32_model(&imported()), &images);
    let differences: Vec<u8> = found.iter().zip(&published).map(|(a, b)| a.abs_diff(*b)).collect();
    let same = differences.iter().filter(|d| **d == 0).count() as f64 / differences.len() as f64;
    let worst = differences.iter().max().unwrap();
    assert!(same >= 0.9999 && *worst <= 1, "{same} of all pixels are the same, the worst is off by {worst}");
}

#[test]
fn int8_stays_close_to_the_published_reconstructions_in_16_kib() {
    let (images, published) = (array("x.npy"), array("y.npy"));
    let imported = imported();
    let model = f32_model(&imported);
    let dataset = Images(images.clone());
    let options = quantize::Options { images: 48, ..quantize::Options::default() };
    let bytes =
        quantize::quantize(&model, Some(&dataset), &[], quantize::metadata(&imported.config), &options).unwrap();
    let arena = Model::load(&bytes).unwrap().arena_bytes();
    let int8 = Int8Model::new(bytes, std::path::Path::new("model.int8.safetensors")).unwrap();
    let found = int8.decode(&int8.encode(&images).unwrap().mean).unwrap();
    let squares: f64 = found.iter().zip(&published).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    let psnr = 10.0 * (255.0 * 255.0 * published.len() as f64 / squares).log10();
    assert!(psnr >= 38.0, "{psnr} dB");
    assert!(arena <= 16 * 1024, "{arena} bytes");
}

#[test]
fn the_directory_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, imported) = (folder.path().join("chairs"), imported());
    export::write(&dir, &imported.config, &imported.weights, &export::Extras::default(), false).unwrap();
    let (config, weights) = export::read(&dir).unwrap();
    assert_eq!((&config, weights.len()), (&imported.config, imported.weights.len()));
    // And what it exports is imported again.
    let file = |name: &str| Some(dir.join(name));
    let again = Options { encoder: file("encoder.onnx"), decoder: file("decoder.onnx"), ..Options::default() };
    let again = import::import(&again).unwrap();
    assert_eq!(again.config.architecture.encoder, config.architecture.encoder);
    assert_eq!(again.config.architecture.decoder, config.architecture.decoder);
}
