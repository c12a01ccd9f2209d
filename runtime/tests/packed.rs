//! Every backend computes the bytes that the model in place computes.

mod networks;

use networks::Random;
use proptest::prelude::*;
use unbraid::writer::{self, FileSpec};
use unbraid::{Autoencoder, Backend, Code, Model, PackError, Packed, RunError};

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/sprites-factorvae/model.int8.safetensors");

fn random_code(model: &Model<'_>, random: &mut Random) -> Code {
    let mut code = Code::new(model);
    for (index, latent) in random.latents(model.latents()).into_iter().enumerate() {
        code.set_raw(index, latent).unwrap();
    }
    code
}

fn check(file: &[u8], seed: u64) {
    let model = Model::load(file).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let random = &mut Random(seed);
    for backend in Backend::available() {
        let mut packed = Packed::with_backend(&model, backend).unwrap();
        // Twice: the second run finds what the first one left in memory.
        for _ in 0..2 {
            if model.has_encoder() {
                let pixels = random.bytes(model.image().len());
                assert_eq!(packed.encode(&pixels), model.encode(&pixels, &mut arena), "{backend}");
            }
            if model.has_decoder() {
                let code = random_code(&model, random);
                let (mut found, mut expected) = (vec![0; model.image().len()], vec![1; model.image().len()]);
                packed.decode(&code, &mut found).unwrap();
                model.decode_into(&code, &mut arena, &mut expected).unwrap();
                assert!(found == expected, "{backend}: other pixels");
            }
        }
    }
}

fn written(spec: &FileSpec) -> Vec<u8> {
    writer::write(spec).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_networks(seed: u64) {
        check(&written(&networks::random(seed)), seed);
    }
}

#[test]
fn wide_random_networks() {
    for seed in 0..400 {
        check(&written(&networks::random_wide(seed)), seed);
    }
}

#[test]
fn sprites_net() {
    check(&written(&networks::sprites(3)), 5);
}

#[test]
fn shipped_model() {
    check(&std::fs::read(SHIPPED).unwrap(), 7);
}

#[test]
fn batches_are_single_images_in_order() {
    let file = written(&networks::tiny());
    let model = Model::load(&file).unwrap();
    let mut packed = Packed::new(&model).unwrap();
    let size = model.image().len();
    let images = Random(1).bytes(37 * size);
    let codes = packed.encode_batch(&images).unwrap();
    let decoded = packed.decode_batch(&codes).unwrap();
    assert_eq!((codes.len(), decoded.len()), (37, images.len()));
    for ((image, code), pixels) in images.chunks(size).zip(&codes).zip(decoded.chunks(size)) {
        assert_eq!(packed.encode(image).unwrap(), *code);
        let mut single = vec![0; size];
        packed.decode(code, &mut single).unwrap();
        assert_eq!(single, pixels);
    }
    assert_eq!(packed.encode_batch(&[]).unwrap(), []);
    assert!(packed.decode_batch(&[]).unwrap().is_empty());
}

#[test]
fn wrong_buffers_are_refused() {
    let file = written(&networks::tiny());
    let model = Model::load(&file).unwrap();
    let mut packed = Packed::new(&model).unwrap();
    let size = model.image().len();
    let expected = size;
    assert_eq!(packed.encode(&[0; 3]), Err(RunError::ImageSize { expected, found: 3 }));
    let found = size + 1;
    assert_eq!(packed.encode_batch(&vec![0; found]), Err(RunError::ImageSize { expected: 2 * size, found }));
    let code = Code::new(&model);
    assert_eq!(packed.decode(&code, &mut [0; 3]), Err(RunError::ImageSize { expected, found: 3 }));
    let other = Code::zeros(model.latents() + 1, model.mean_bits(), 0).unwrap();
    let (expected, found) = (model.latents(), model.latents() + 1);
    assert_eq!(packed.decode(&other, &mut vec![0; size]), Err(RunError::Latents { expected, found }));
    assert_eq!(packed.decode_batch(&[code, other]), Err(RunError::Latents { expected, found }));
}

/// Runs on processors that are emulated name the backend that they are there for.
#[test]
fn expected_backend_is_the_best() {
    if let Ok(expected) = std::env::var("UNBRAID_EXPECT_BACKEND") {
        assert_eq!(Backend::best().name(), expected);
    }
}

#[test]
fn names_are_read_back() {
    for backend in Backend::ALL {
        assert_eq!(backend.to_string().parse(), Ok(backend));
        if !backend.is_available() {
            let file = written(&networks::tiny());
            let error = Packed::with_backend(&Model::load(&file).unwrap(), backend).unwrap_err();
            assert_eq!(error, PackError::Unavailable { backend });
        }
    }
    let error = "mmx".parse::<Backend>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "no backend \"mmx\"; there are portable, wasm-simd128, avx2, neon-dotprod, avx512-vnni"
    );
}
