//! What the README promises of `models/sprites-factorvae`, on this machine.

use std::path::PathBuf;

use unbraid_trainer::{
    data::{self, Dataset},
    export::{self, INT8, golden},
    metrics::{Metric, Options, Protocol, evaluate},
    model::{self, Autoencoder, F32Model, Int8Model, Model},
    quantize::report::compare,
    viz::samples,
};

fn directory() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/sprites-factorvae"))
}

fn f32() -> F32Model {
    match model::open(&directory()).unwrap() {
        Model::F32 { model, .. } => model,
        Model::Int8(_) => panic!("a directory is an f32 model"),
    }
}

fn int8() -> Int8Model {
    Int8Model::open(&directory().join(INT8)).unwrap()
}

fn sprites() -> Box<dyn Dataset> {
    data::open("sprites").unwrap()
}

#[test]
fn computes_its_golden_vectors() {
    golden::check(&directory()).unwrap();
}

#[test]
fn int8_stays_close_to_f32() {
    let report = compare(&f32(), &int8(), Some(&*sprites()), 1000, 0).unwrap();
    assert_eq!(report.images, 1000);
    assert!(report.psnr >= Some(37.0), "{report}");
    assert!(report.median_mean_error <= Some(0.02), "{report}");
}

#[test]
fn fits_the_promised_memory() {
    let int8 = int8();
    let model = unbraid::Model::load(int8.bytes()).unwrap();
    assert!(model.encode_arena_bytes() <= 12 * 1024, "{}", model.encode_arena_bytes());
    assert!(model.decode_arena_bytes() <= 12 * 1024, "{}", model.decode_arena_bytes());
}

/// Turning a factor changes its latent and no other, bit for bit; in the decoded picture, encoded again, that latent moves
/// farther than any other, in standard deviations of its posterior.
#[test]
fn turning_a_factor_turns_that_factor() {
    let int8 = int8();
    let model = unbraid::Model::load(int8.bytes()).unwrap();
    let sprites = sprites();
    let mut arena = vec![0; model.arena_bytes()];
    let mut picture = vec![0; sprites.image().size()];
    let images = samples::choose(&*sprites, 40, 0);
    for name in ["x", "y", "scale"] {
        let factor = model.factor(name).unwrap();
        let mut moved_most = 0;
        for &index in &images {
            let code = model.encode(&sprites.batch(&[index]).unwrap(), &mut arena).unwrap();
            // To the far end of its range.
            let target = if code.mean(factor) > factor.center { factor.low } else { factor.high };
            let turned = code.with(factor, target).unwrap();
            for latent in 0..model.latents() {
                let same = turned.means()[latent] == code.means()[latent];
                assert_eq!(same, latent != factor.latent, "{name}, latent {latent}");
            }
            assert_eq!(turned.log_vars(), code.log_vars());

            let mut encode_again = |code: &unbraid::Code| {
                model.decode_into(code, &mut arena, &mut picture).unwrap();
                model.encode(&picture, &mut arena).unwrap()
            };
            let (before, after) = (encode_again(&code), encode_again(&turned));
            // A latent that carries nothing has a posterior as wide as the prior, however little its means differ.
            let move_of = |i| (after.mean(i) - before.mean(i)).abs() / (0.5 * before.log_var(i)).exp();
            let moves: Vec<f32> = (0..model.latents()).map(move_of).collect();
            let most = moves.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).map(|(latent, _)| latent);
            moved_most += usize::from(most == Some(factor.latent));
        }
        assert!(moved_most * 10 >= images.len() * 8, "{name}: moved most in {moved_most} of {} pictures", images.len());
    }
}

#[test]
fn scores_about_what_its_card_says() {
    let path = directory().join("evaluation.int8.json");
    let recorded: unbraid_trainer::metrics::Evaluation = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let recorded = recorded.score("factor-vae", "paper").unwrap().value;
    // A tenth of the paper's votes.
    let protocol = Protocol { train_votes: 80, scale_samples: 1000, ..Protocol::PAPER };
    let (metrics, protocols) = (vec![Metric::FactorVae], vec![protocol]);
    let options = Options { samples: 500, pairs: 2, metrics, protocols, seed: 1, ..Options::default() };
    let found = evaluate(&int8(), &*sprites(), &options, &|_, _| {}).unwrap().scores[0].value;
    assert!((found - recorded).abs() < 0.12, "found {found}, recorded {recorded}");
}

#[test]
fn its_onnx_files_are_its_weights() {
    let (config, weights) = export::read(&directory()).unwrap();
    for (name, bytes) in [
        ("encoder.onnx", export::encoder_onnx(&config.architecture, &weights).unwrap()),
        ("decoder.onnx", export::decoder_onnx(&config.architecture, &weights).unwrap()),
    ] {
        assert!(std::fs::read(directory().join(name)).unwrap() == bytes, "{name} differs from the weights");
    }
}

#[test]
fn its_onnx_files_give_what_candle_gives() {
    export::check::check_directory(&directory()).unwrap();
}

#[test]
fn both_files_name_the_same_factors() {
    let Model::F32 { config, .. } = model::open(&directory()).unwrap() else { panic!("a directory is an f32 model") };
    let names = |factors: Vec<model::Factor>| factors.into_iter().map(|f| (f.latent, f.name)).collect::<Vec<_>>();
    assert_eq!(names(int8().factors().unwrap()), names(config.factors));
    assert!(!int8().factors().unwrap().is_empty());
    assert_eq!(int8().latents(), f32().latents());
}
