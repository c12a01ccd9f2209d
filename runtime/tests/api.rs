//! The crate as its users see it.

mod networks;

use std::cell::Cell;

use networks::Random;
use proptest::prelude::*;
use unbraid::{
    Arena, Autoencoder, Code, CodeError, Error, Int8, LayerKind, Model, Profile, RunError, Shape, arena_bytes,
    checked_arena_bytes, writer,
};

const TINY: &[u8] = include_bytes!("data/tiny.int8.safetensors");

/// Known to the compiler.
const TINY_ARENA: usize = arena_bytes(TINY);

#[test]
fn tiny_file_is_what_the_writer_writes() {
    let written = writer::write(&networks::tiny()).unwrap();
    if std::env::var_os("UNBRAID_BLESS").is_some() {
        std::fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tiny.int8.safetensors"), &written).unwrap();
    }
    assert!(written == TINY, "the format has changed: UNBRAID_BLESS=1 cargo test -p unbraid --test api");
}

#[test]
fn encode_turn_decode() -> Result<(), Error> {
    let model = Model::load(TINY)?;
    let mut arena = Arena::<TINY_ARENA>::new();
    let image = Random(5).bytes(model.image().len());
    let code = model.encode(&image, &mut arena)?;
    let turned = code.with(model.factor("rotation")?, 1.5)?;
    assert_eq!(turned.mean(model.factor("rotation")?), 1.5);
    let (mut before, mut after) = (vec![0; image.len()], vec![0; image.len()]);
    model.decode_into(&code, &mut arena, &mut before)?;
    model.decode_into(&turned, &mut arena, &mut after)?;
    assert_ne!(before, after);
    Ok(())
}

#[test]
fn arena_of_the_sprites_net() {
    let file = writer::write(&networks::sprites(1)).unwrap();
    let model = Model::load(&file).unwrap();
    assert_eq!((model.encode_arena_bytes(), model.decode_arena_bytes()), (10302, 5630));
    assert_eq!(model.arena_bytes(), arena_bytes(&file));
    let macs = |layers: &mut dyn Iterator<Item = u64>| layers.sum::<u64>();
    assert_eq!(macs(&mut model.encoder_layers().map(|layer| layer.macs())), 7_997_952);
    assert_eq!(macs(&mut model.decoder_layers().map(|layer| layer.macs())), 7_996_672);
    let weights: usize = model.encoder_layers().map(|layer| layer.weight_bytes()).sum();
    assert_eq!(weights, 248_832);
    let first = model.encoder_layers().next().unwrap();
    assert_eq!(first.kind(), LayerKind::Conv2d);
    assert_eq!(first.output(), Shape { height: 32, width: 32, channels: 32 });
}

#[test]
fn arena_bytes_of_other_files() {
    assert_eq!(checked_arena_bytes(TINY), Some(TINY_ARENA));
    assert_eq!(Model::load(TINY).unwrap().arena_bytes(), TINY_ARENA);
    assert_eq!(checked_arena_bytes(b""), None);
    for length in 0..TINY.len().min(1000) {
        assert_eq!(checked_arena_bytes(&TINY[..length]), None);
    }
}

#[test]
fn wrong_buffers() {
    let model = Model::load(TINY).unwrap();
    let mut arena = vec![0; model.arena_bytes()];
    let image = vec![0; 64];
    assert_eq!(model.encode(&image[1..], &mut arena), Err(RunError::ImageSize { expected: 64, found: 63 }));
    let expected = model.encode_arena_bytes();
    assert_eq!(model.encode(&image, &mut [0; 7]), Err(RunError::ArenaSize { expected, found: 7 }));
    let mut encoder = model.encoder(&mut arena).unwrap();
    assert_eq!(encoder.push_row(&image[..7]), Err(RunError::RowSize { expected: 8, found: 7 }));
    for row in image.chunks(8).take(7) {
        encoder.push_row(row).unwrap();
    }
    assert_eq!(encoder.finish(), Err(RunError::RowCount { expected: 8, found: 7 }));
    let mut encoder = model.encoder(&mut arena).unwrap();
    for row in image.chunks(8) {
        encoder.push_row(row).unwrap();
    }
    assert_eq!(encoder.push_row(&image[..8]), Err(RunError::RowCount { expected: 8, found: 9 }));

    let foreign = Code::zeros(2, 11, 10).unwrap();
    let error = model.decode(&foreign, &mut arena, |_, _| unreachable!());
    assert_eq!(error, Err(RunError::Latents { expected: 3, found: 2 }));
    let foreign = Code::zeros(3, 10, 10).unwrap();
    let error = model.decode(&foreign, &mut arena, |_, _| unreachable!());
    assert_eq!(error, Err(RunError::MeanBits { expected: 11, found: 10 }));
    let error = model.decode_into(&Code::new(&model), &mut arena, &mut [0; 65]);
    assert_eq!(error, Err(RunError::ImageSize { expected: 64, found: 65 }));
}

#[test]
fn one_half_is_enough() {
    let mut spec = networks::tiny();
    spec.decoder.clear();
    let file = writer::write(&spec).unwrap();
    let encoder = Model::load(&file).unwrap();
    assert!(encoder.has_encoder() && !encoder.has_decoder() && encoder.decode_arena_bytes() == 0);
    let error = encoder.decode(&Code::new(&encoder), &mut [], |_, _| unreachable!());
    assert_eq!(error, Err(RunError::NoDecoder));
    let mut spec = networks::tiny();
    spec.encoder.clear();
    let file = writer::write(&spec).unwrap();
    let decoder = Model::load(&file).unwrap();
    assert_eq!(decoder.encode(&[0; 64], &mut [0; 0]), Err(RunError::NoEncoder));
}

#[test]
fn codes() {
    let model = Model::load(TINY).unwrap();
    let mut code = Code::new(&model);
    assert!(code.mean(3).is_nan() && code.mean(2) == 0.0);
    assert_eq!(code.set(3, 1.0), Err(CodeError::Latent { index: 3, latents: 3 }));
    assert_eq!(code.set(0, f32::NAN), Err(CodeError::NotANumber { index: 0 }));
    code.set(0, 1e9).unwrap();
    assert_eq!(code.means(), [32767, 0, 0]);
    let factor = model.factor("rotation").unwrap();
    let stepped = Code::new(&model).step(factor, -2.0).unwrap();
    assert_eq!(stepped.mean(factor), -2.0 * factor.scale);
    let error = model.factor("no such factor").unwrap_err();
    assert_eq!(error.name, "no such factor");
    let long = "ä".repeat(40);
    assert_eq!(model.factor(&long).unwrap_err().name, &long[..40]);
    assert!(Code::zeros(129, 0, 0).is_err() && Code::zeros(1, 16, 0).is_err());
}

proptest! {
    #[test]
    fn setting_one_latent_changes_no_other(values: [i16; 3], index in 0usize..3, value: f32) {
        let model = Model::load(TINY).unwrap();
        let mut code = Code::new(&model);
        for (latent, raw) in values.into_iter().enumerate() {
            code.set_raw(latent, raw).unwrap();
            code.set_log_var_raw(latent, raw ^ 0x55).unwrap();
        }
        if let Ok(changed) = code.with(index, value) {
            for other in (0..3).filter(|other| *other != index) {
                prop_assert_eq!(changed.means()[other], code.means()[other]);
            }
            prop_assert_eq!(changed.log_vars(), code.log_vars());
            let expected = f64::from(value) * 2048.0;
            let expected = expected.round().clamp(-32768.0, 32767.0);
            prop_assert_eq!(f64::from(changed.means()[index]), expected);
        } else {
            prop_assert!(value.is_nan());
        }
    }
}

#[test]
fn encode_into_leaves_nothing_of_the_code_that_was_there() {
    let model = Model::load(TINY).unwrap();
    let mut arena = Arena::<TINY_ARENA>::new();
    let image = Random(5).bytes(model.image().len());
    let fresh = model.encode(&image, &mut arena).unwrap();
    let mut used = Code::zeros(90, 3, 4).unwrap();
    used.set_raw(80, 7).unwrap();
    model.encode_into(&image, &mut arena, &mut used).unwrap();
    assert_eq!(used, fresh);
}

#[test]
fn autoencoder() {
    let model = Model::load(TINY).unwrap();
    assert!(Int8::new(model, [0; 3]).is_err());
    let mut int8 = Int8::new(model, Arena::<TINY_ARENA>::new()).unwrap();
    let mut pixels = vec![200; int8.image().len()];
    let code = int8.encode(&pixels).unwrap();
    assert_eq!(code.latents(), int8.latents());
    int8.decode(&code, &mut pixels).unwrap();
    assert_eq!(int8.model().factors().map(|factor| factor.name).collect::<Vec<_>>(), ["rotation", "scale"]);
}

#[test]
fn profile_counts_every_row() {
    let model = Model::load(TINY).unwrap();
    let mut arena = vec![0; TINY_ARENA];
    let ticks = Cell::new(0);
    let mut profile = Profile::new(|| ticks.replace(ticks.get() + 1));
    let code = model.encode_profiled(&[7; 64], &mut arena, &mut profile).unwrap();
    assert_eq!(code, model.encode(&[7; 64], &mut arena).unwrap());
    // One tick a row.
    let rows: Vec<_> = model.encoder_layers().map(|layer| layer.output().height as u64).collect();
    assert_eq!((0..4).map(|layer| profile.ticks(layer)).collect::<Vec<_>>(), rows);
    profile.reset();
    model.decode_profiled(&code, &mut arena, &mut profile, |_, _| ()).unwrap();
    let rows: u64 = model.decoder_layers().map(|layer| layer.output().height as u64).sum();
    assert_eq!(profile.total(), rows);
}
