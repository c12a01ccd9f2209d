//! The runtime computes what the slow references compute, bit for bit.

mod networks;
mod reference;

use networks::Random;
use proptest::prelude::*;
use reference::{Reference, natural};
use unbraid::writer::{self, FileSpec};
use unbraid::{Code, Model};

fn values(code: &Code) -> Vec<i64> {
    code.means().iter().chain(code.log_vars()).map(|value| i64::from(*value)).collect()
}

fn code(model: &Model<'_>, latents: &[i16]) -> Code {
    let mut code = Code::new(model);
    for (index, latent) in latents.iter().enumerate() {
        code.set_raw(index, *latent).unwrap();
    }
    code
}

/// Encodes and decodes random data every way there is.
fn check(spec: &FileSpec, seed: u64) {
    let file = writer::write(spec).unwrap();
    let model = Model::load(&file).unwrap();
    let reference = Reference::parse(&file);
    let random = &mut Random(seed ^ 1);
    let pixels = random.bytes(spec.image.len());
    let latents = random.latents(spec.latents);
    if model.has_encoder() {
        // Exactly the memory promised, and its content doesn't matter.
        let mut arena = random.bytes(model.encode_arena_bytes());
        let whole = model.encode(&pixels, &mut arena).unwrap();
        assert_eq!(values(&whole), reference.encode(&pixels));
        assert_eq!(values(&whole), natural::encode(spec, &pixels));
        let mut encoder = model.encoder(&mut arena).unwrap();
        for row in pixels.chunks(spec.image.row_len()) {
            encoder.push_row(row).unwrap();
        }
        assert_eq!(encoder.finish().unwrap(), whole);
        arena.pop();
        assert!(model.encode(&pixels, &mut arena).is_err());
    }
    if model.has_decoder() {
        let mut arena = random.bytes(model.decode_arena_bytes());
        let code = code(&model, &latents);
        let mut decoded = vec![0; spec.image.len()];
        model.decode_into(&code, &mut arena, &mut decoded).unwrap();
        assert_eq!(decoded, reference.decode(&latents));
        assert_eq!(decoded, natural::decode(spec, &latents));
        let mut rows = vec![];
        model
            .decode(&code, &mut arena, |y, row| {
                assert_eq!(y * row.len(), rows.len());
                rows.extend_from_slice(row);
            })
            .unwrap();
        assert_eq!(rows, decoded);
        arena.pop();
        assert!(model.decode_into(&code, &mut arena, &mut decoded).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_networks(seed: u64) {
        check(&networks::random(seed), seed);
        check(&networks::normalized(networks::random(seed)), seed);
    }
}

#[test]
fn wide_random_networks() {
    for seed in 0..300 {
        check(&networks::random_wide(seed), seed);
        check(&networks::normalized(networks::random_wide(seed)), seed);
    }
}

#[test]
fn odd_widths() {
    for seed in 0..200 {
        check(&networks::odd_widths(seed), seed);
        check(&networks::normalized(networks::odd_widths(seed)), seed);
    }
}

#[test]
fn sprites_net() {
    check(&networks::sprites(3), 5);
}

#[test]
fn color_net() {
    check(&networks::color(4), 6);
}
