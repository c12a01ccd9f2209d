//! Models that are an encoder or a decoder alone.

use std::{collections::BTreeMap, fs, path::Path};

use tempfile::{TempDir, tempdir};
use unbraid_trainer::export::{self, Extras};

use crate::{
    made, refused,
    support::{replace, unbraid},
};

/// A fresh folder with the small model's `encoder` and `decoder`, each alone.
fn halves() -> TempDir {
    let folder = tempdir().unwrap();
    let (config, weights) = export::read(&made().join("tiny")).unwrap();
    for part in ["encoder", "decoder"] {
        let mut config = config.clone();
        let other = if part == "encoder" { &mut config.architecture.decoder } else { &mut config.architecture.encoder };
        other.clear();
        let weights: BTreeMap<_, _> = weights.clone().into_iter().filter(|(name, _)| name.starts_with(part)).collect();
        export::write(&folder.path().join(part), &config, &weights, &Extras::default(), false).unwrap();
    }
    folder
}

fn text(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn an_encoder_is_measured_named_and_quantized() {
    let folder = halves();
    let run = |line: &str| unbraid(folder.path(), line).succeeds();
    let outcome = run("quantize encoder -o encoder/model.int8.safetensors --images 32 --compare 32 --report q.json");
    assert!(outcome.out.contains("means") && !outcome.out.contains("PSNR"), "{}", outcome.out);
    assert!(!text(&folder.path().join("q.json")).contains("psnr"));
    for model in ["encoder", "encoder/model.int8.safetensors"] {
        let outcome = run(&format!("evaluate {model} --metrics mig --samples 100"));
        assert!(outcome.out.contains("mig") && outcome.out.contains("reconstruction  -"), "{}", outcome.out);
    }
    run("label encoder --samples 100");
    run("card encoder");
    let card = text(&folder.path().join("encoder/README.md"));
    assert!(card.contains("An encoder that turns an image") && !card.contains("decoder"), "{card}");
    run("report encoder -o page.html --samples 100 --metrics mig");
    assert!(text(&folder.path().join("page.html")).contains("The model is an encoder alone"));

    let sentence = &["the model has no decoder, which this needs; it has its encoder alone"];
    refused(&folder, "traverse encoder -o t.png", 1, sentence);
    refused(&folder, "traverse encoder/model.int8.safetensors -o t.png", 1, sentence);
    refused(&folder, "quantize encoder -o q.safetensors --min-psnr 30", 1, sentence);
    refused(&folder, "golden encoder", 1, sentence);
}

#[test]
fn a_decoder_is_traversed_and_quantized() {
    let folder = halves();
    // Nobody knows its data, and it needs none.
    replace(&folder.path().join("decoder/config.json"), "\"sprites\"", "\"none\"");
    let run = |line: &str| unbraid(folder.path(), line).succeeds();
    let outcome = run("quantize decoder -o decoder/model.int8.safetensors --images 32 --compare 32 --report q.json");
    assert!(outcome.out.contains("on 32 latents drawn from the prior\ndecoder alone  PSNR"), "{}", outcome.out);
    for model in ["decoder", "decoder/model.int8.safetensors"] {
        run(&format!("traverse {model} -o t.png --force"));
    }
    fs::rename(folder.path().join("q.json"), folder.path().join("decoder/quantization.json")).unwrap();
    run("card decoder");
    let card = text(&folder.path().join("decoder/README.md"));
    for part in ["A decoder that turns 2 latent numbers into an image", "on 32 latents drawn from the prior: decoder"] {
        assert!(card.contains(part), "{part}\n{card}");
    }
    assert!(!card.contains("encoder.onnx"), "{card}");

    let sentence = &["the model has no encoder, which this needs; it has its decoder alone"];
    for line in ["evaluate decoder", "label decoder", "report decoder -o p.html", "golden decoder"] {
        refused(&folder, line, 1, sentence);
    }
    refused(&folder, "traverse decoder -o u.png --image 3 --dataset sprites", 1, sentence);
    refused(&folder, "select decoder decoder", 1, sentence);
    refused(&folder, "quantize decoder -o q.safetensors --min-psnr 200", 1, &["not written: PSNR"]);
}
