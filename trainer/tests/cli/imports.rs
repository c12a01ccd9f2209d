//! Models of others.

use std::{fs, path::Path};

use tempfile::{TempDir, tempdir};

use crate::{
    refused,
    support::{replace, unbraid},
    with,
};

/// A fresh folder with files of `tests/import`.
fn foreign(names: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import");
    for name in names {
        let path = from.join(name);
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

const VAE: [&str; 2] = ["foreign-vae/encoder.onnx", "foreign-vae/decoder.onnx"];

#[test]
fn two_files_become_a_model_that_every_command_takes() {
    let folder = foreign(&VAE);
    let run = |line: &str| unbraid(folder.path(), line).succeeds();
    // The data is not the model's, but has images of the same size.
    let outcome = run("import decoder.onnx encoder.onnx -o chairs --name chairs --dataset sprites");
    for words in
        ["chairs: images of 64 x 64 x 1", "10 latents", "against its graph on 11 inputs: off by ", "next: unbraid"]
    {
        assert!(outcome.out.contains(words), "{words}: {}", outcome.out);
    }
    run("quantize chairs -o chairs/model.int8.safetensors --images 32 --compare 32");
    run("traverse chairs -o traversal.png");
    run("card chairs");
    let card = fs::read_to_string(folder.path().join("chairs/README.md")).unwrap();
    assert!(
        card.contains("license: other") && card.contains("- decoder: `decoder.onnx`, written by pytorch"),
        "{card}"
    );

    // Its own files are a foreign model like any other.
    run("import chairs/encoder.onnx chairs/decoder.onnx -o again");
    run("import chairs -o copy");
    let weights = |dir: &str| fs::read(folder.path().join(dir).join("model.safetensors")).unwrap();
    assert!(weights("copy") == weights("chairs"));
    refused(&folder, "import chairs -o copy", 1, &["copy: exists already"]);
    refused(&folder, "import encoder.onnx -o copy", 1, &["copy: exists already"]);
}

#[test]
fn explaining_writes_nothing() {
    let folder = foreign(&VAE);
    let outcome = unbraid(folder.path(), "import decoder.onnx --explain").succeeds();
    assert!(outcome.out.contains("decoder.4  transposed convolution 4x4, stride 2, padding 1, ReLU -> 32 x 8 x 8"));
    assert!(outcome.out.contains("from /convs.0/ConvTranspose (ConvTranspose), /Relu_3 (Relu)"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    unbraid(folder.path(), "import decoder.onnx").fails(2, &["--output"]);
}

#[test]
fn mistakes_are_named_and_nothing_is_written() {
    let folder = foreign(&["models/refused_residual.onnx", "models/refused_tanh_decoder.onnx", VAE[0], VAE[1]]);
    let refused = |line: &str, code: i32, words: &[&str]| refused(&folder, line, code, words);
    refused(
        "import refused_residual.onnx -o m",
        1,
        &["refused_residual.onnx: node add (Add) joins", "what works instead: "],
    );
    refused(
        "import encoder.onnx encoder.onnx -o m",
        2,
        &["encoder = encoder.onnx and encoder.onnx", "--encoder and --decoder"],
    );
    refused("import nowhere.onnx -o m", 1, &["nowhere.onnx: No such file"]);
    refused("import -o m", 2, &["expected an encoder, a decoder or both"]);
    refused("import encoder.onnx -o m --pixels 1..1", 2, &["pixels = 1..1"]);
    refused("import encoder.onnx -o m --pixels white", 2, &["LOW..HIGH"]);
    refused("import encoder.onnx -o m --mean-pixel 0.5,0.5 --std-pixel 1", 2, &["pixels = mean [0.5, 0.5], std [1.0]"]);
    refused("import encoder.onnx -o m --mean-pixel 0.5", 2, &["--std-pixel"]);
    refused("import encoder.onnx -o m --image 32x32", 1, &["input: found an image of 64 x 64 x 1", "32 x 32 x 1"]);
    refused("import encoder.onnx -o m --mean mu", 1, &["no output mu; there are mean, log_var"]);
    refused("import encoder.onnx -o m --latents 7", 1, &["10 means, expected 7 latents"]);
    refused("import encoder.onnx -o m --dataset nothing", 2, &["dataset = nothing"]);
    refused("import decoder.onnx -o m --logits", 1, &["(Sigmoid) gives no logits"]);
    refused("import refused_tanh_decoder.onnx -o m", 1, &["--pixels=-1..1"]);
}

#[test]
fn a_state_dict_becomes_a_model() {
    let folder = foreign(&["state_dict.safetensors", "state_dict.toml"]);
    let outcome = unbraid(folder.path(), "import state_dict.safetensors --layers state_dict.toml -o small").succeeds();
    assert!(outcome.out.contains("note: tensors that no layer names: spare.bias, spare.weight"), "{}", outcome.out);
    refused(&folder, "import --layers state_dict.toml -o m", 2, &["FILE = 0 files"]);
    replace(&folder.path().join("state_dict.toml"), "down.0", "down.9");
    let words = ["state_dict.toml: encoder[0]: found no tensor down.9.weight", "down.0.bias"];
    refused(&folder, "import state_dict.safetensors --layers state_dict.toml -o m", 1, &words);
}

#[test]
fn a_damaged_directory_is_not_imported() {
    let folder = with(&["tiny"]);
    replace(&folder.path().join("tiny/config.json"), "\"latents\"", "\"latent\"");
    refused(&folder, "import tiny -o m", 1, &["tiny/config.json: architecture"]);
}
