//! Int8 models exported as ONNX in the QDQ form, run by tract, give what the runtime gives, but for ties and the rounding of f32.

#[path = "../../runtime/tests/networks/mod.rs"]
mod networks;

use std::path::Path;

use candle_core::{Device, Tensor};
use networks::Random;
use unbraid::Shape;
use unbraid::writer::{self, FileSpec, LayerSpec, OutputSpec, Parameters};
use unbraid_trainer::export::check::run;
use unbraid_trainer::export::qdq_onnx;
use unbraid_trainer::model::{Autoencoder, Int8Model};

const BATCH: usize = 2;
const NETWORKS: u64 = 100;

/// How far numbers are from the runtime's, in steps of its integers.
#[derive(Debug, Default)]
struct Differences {
    count: usize,
    unequal: usize,
    largest: f32,
}

impl Differences {
    fn add(&mut self, found: &Tensor, expected: impl IntoIterator<Item = f32>, unit: f32) {
        let found = found.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (found, expected) in found.into_iter().zip(expected) {
            let difference = ((found - expected) / unit).abs();
            self.count += 1;
            self.unequal += usize::from(difference.is_nan() || difference >= 0.01);
            self.largest = self.largest.max(if difference.is_nan() { f32::INFINITY } else { difference });
        }
    }

    /// At most one step apart, and in one of a hundred numbers at most.
    #[track_caller]
    fn assert_rounding(&self) {
        assert!(self.largest < 1.01 && self.unequal * 100 <= self.count, "{self:?}");
    }
}

fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn int8(spec: &FileSpec) -> Int8Model {
    Int8Model::new(writer::write(spec).unwrap(), Path::new("a model of the tests")).unwrap()
}

/// Runs both ways the networks that `spec` has, on random images and latents.
fn compare(spec: &FileSpec, random: &mut Random, differences: &mut Differences) -> unbraid_trainer::Result<()> {
    let model = int8(spec);
    let [encoder, decoder] = qdq_onnx(&model)?;
    let Shape { height, width, channels } = spec.image;
    if let Some(encoder) = encoder {
        let images = random.bytes(BATCH * spec.image.len());
        let posterior = model.encode(&images).unwrap();
        let pixels = images.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
        let pixels = tensor(pixels, &[BATCH, height, width, channels]).permute((0, 3, 1, 2)).unwrap();
        let found = run(&encoder, &pixels).unwrap();
        assert!(found.iter().all(|found| found.dims() == [BATCH, spec.latents]));
        differences.add(&found[0], posterior.mean, (-f32::from(spec.mean_bits)).exp2());
        differences.add(&found[1], posterior.log_var, (-f32::from(spec.log_var_bits)).exp2());
    }
    if let Some(decoder) = decoder {
        let unit = (-f32::from(spec.mean_bits)).exp2();
        let latents = random.latents(BATCH * spec.latents).into_iter().map(|q| f32::from(q) * unit);
        let latents: Vec<f32> = latents.collect();
        let pixels = model.decode(&latents).unwrap();
        let found = run(&decoder, &tensor(latents, &[BATCH, spec.latents])).unwrap();
        assert_eq!(found[0].dims(), [BATCH, channels, height, width]);
        let found = found[0].permute((0, 2, 3, 1)).unwrap();
        differences.add(&found, pixels.into_iter().map(|pixel| f32::from(pixel) / 255.0), 1.0 / 255.0);
    }
    Ok(())
}

fn parameters(layer: &mut LayerSpec) -> Option<&mut Parameters> {
    match layer {
        LayerSpec::Conv2d { parameters, .. }
        | LayerSpec::ConvTranspose2d { parameters, .. }
        | LayerSpec::Linear { parameters, .. } => Some(parameters),
        _ => None,
    }
}

/// Pixels that rise with their index: neighbors in a table of random ones have nothing to do with each other.
fn smooth_pixels(spec: &mut FileSpec) {
    if let Some(last) = spec.decoder.last_mut().and_then(parameters) {
        last.output = OutputSpec::Pixels { table: (0..512).map(|i| (i / 2) as u8).collect() };
    }
}

/// Every kind of layer, window, activation and output, in all orders, encoders and decoders alone among them.
#[test]
fn random_networks_agree() {
    let mut refused = 0;
    let mut differences = Differences::default();
    for seed in 0..NETWORKS {
        let mut spec = networks::random(seed);
        smooth_pixels(&mut spec);
        if let Err(error) = compare(&spec, &mut Random(seed), &mut differences) {
            assert!(error.to_string().contains("output padding"), "seed {seed}: {error}");
            refused += 1;
        }
    }
    println!("{refused} of {NETWORKS} refused; {differences:?}");
    assert!(refused < NETWORKS / 4);
    differences.assert_rounding();
}

/// The decoder of the shipped model's size. Not its encoder: f32 has no room for sums of 1,024 products, so that an activation can be
/// one off, and random weights make many steps of a code of that.
#[test]
fn a_decoder_of_the_published_size_agrees() {
    let mut differences = Differences::default();
    let mut spec = networks::normalized(networks::sprites(3));
    spec.encoder.clear();
    smooth_pixels(&mut spec);
    compare(&spec, &mut Random(4), &mut differences).unwrap();
    println!("{differences:?}");
    differences.assert_rounding();
}

/// One bias off by a step of the outputs is more than rounding.
#[test]
fn a_changed_bias_is_noticed() {
    let spec = networks::tiny();
    let [_, decoder] = qdq_onnx(&int8(&spec)).unwrap();
    let mut changed = spec.clone();
    let last = changed.decoder.last_mut().and_then(parameters).unwrap();
    last.biases[0] += ((4_i64 << last.shift) / i64::from(last.multipliers[0])) as i32;
    let latents = vec![0.5; spec.latents];
    let pixels = int8(&changed).decode(&latents).unwrap();
    let found = run(&decoder.unwrap(), &tensor(latents, &[1, spec.latents])).unwrap();
    let mut differences = Differences::default();
    differences.add(&found[0], pixels.into_iter().map(|pixel| f32::from(pixel) / 255.0), 1.0 / 255.0);
    assert!(differences.largest > 1.5, "{differences:?}");
}
