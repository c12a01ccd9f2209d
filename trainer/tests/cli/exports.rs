//! From a run to a model directory.

use std::fs;

use safetensors::SafeTensors;

use crate::{
    refused,
    support::{assert_same, edit, files, unbraid},
    with,
};

#[test]
fn a_run_becomes_a_model_directory() {
    let folder = with(&["run"]);
    let outcome = unbraid(folder.path(), "export run -o model").succeeds();
    assert!(outcome.out.contains("model: step 6"), "{}", outcome.out);
    assert_same(&files(&folder.path().join("model")), &files(&folder.path().join("run/model")));
    let read = |name: &str| fs::read(folder.path().join("model").join(name)).unwrap();
    assert_eq!(SafeTensors::deserialize(&read("model.safetensors")).unwrap().len(), 24);
    let config: serde_json::Value = serde_json::from_slice(&read("config.json")).unwrap();
    assert_eq!((&config["steps"], &config["version"]), (&6.into(), &1.into()));
    assert!(String::from_utf8(read("README.md")).unwrap().contains("unbraid train --steps 6"));
    assert!(!read("encoder.onnx").is_empty() && !read("decoder.onnx").is_empty());

    // The directory alone tells the same command.
    let command = |card: Vec<u8>| {
        let card = String::from_utf8(card).unwrap();
        card.lines().find(|line| line.starts_with("unbraid train")).map(str::to_owned)
    };
    let of_run = command(read("README.md"));
    unbraid(folder.path(), "card model").succeeds();
    assert_eq!(command(read("README.md")), of_run);
    unbraid(folder.path(), "import model -o copy").succeeds();
    assert_eq!(command(fs::read(folder.path().join("copy/README.md")).unwrap()), of_run);

    // Again: not by accident, and not over anything but a model.
    refused(&folder, "export run -o model", 1, &["model: exists already", "--force"]);
    unbraid(folder.path(), "export run -o model --force").succeeds();
    fs::write(folder.path().join("model/diary.txt"), "dear diary").unwrap();
    refused(&folder, "export run -o model --force", 1, &["model: ", "diary.txt", "only the files of a model"]);
    refused(&folder, "export run -o run --force", 1, &["run: ", "no config.json"]);
    refused(&folder, "export run -o run/config.toml", 1, &["run/config.toml: exists already"]);
    refused(&folder, "export run -o run/config.toml --force", 1, &["run/config.toml: Not a directory"]);
    refused(&folder, "export run -o run/config.toml/model", 1, &["run/config.toml: not a directory"]);
}

#[test]
fn what_is_no_run_is_not_exported() {
    let folder = with(&["run", "tiny", "tiny.int8"]);
    for path in ["nowhere", "tiny.int8", "run/config.toml"] {
        let words = [&*format!("{path}: config.toml"), "no such file", "the folder of a run"];
        refused(&folder, &format!("export {path} -o model"), 1, &words);
    }
    let words = ["tiny: this is a model directory already", "the folder of a run", "--format qdq-onnx"];
    refused(&folder, "export tiny -o model", 1, &words);
    fs::remove_dir_all(folder.path().join("run/checkpoints")).unwrap();
    refused(&folder, "export run -o model", 1, &["run/checkpoints: no checkpoint yet"]);
    assert!(!folder.path().join("model").exists());
}

#[test]
fn a_damaged_checkpoint_is_passed_over_by_export_too() {
    let folder = with(&["run"]);
    edit(&folder.path().join("run/checkpoints/step-00000006.safetensors"), |bytes| bytes.truncate(5000));
    let outcome = unbraid(folder.path(), "export run -o model").succeeds();
    assert!(outcome.err.contains("step-00000006.safetensors") && outcome.out.contains("step 4"), "{}", outcome.err);
}

#[test]
fn an_int8_model_becomes_onnx() {
    let folder = with(&["tiny", "tiny.int8", "run"]);
    let line = "export tiny.int8 --format qdq-onnx -o onnx";
    let outcome = unbraid(folder.path(), line).succeeds();
    assert!(outcome.out.contains("onnx/encoder.qdq.onnx: ") && outcome.out.contains("onnx/decoder.qdq.onnx: "));
    let written = files(&folder.path().join("onnx"));
    assert_eq!(written.len(), 2);
    refused(&folder, line, 1, &["onnx/encoder.qdq.onnx: exists already", "--force"]);

    // A model directory that holds the same file, to the same bytes.
    fs::rename(folder.path().join("tiny.int8"), folder.path().join("tiny/model.int8.safetensors")).unwrap();
    unbraid(folder.path(), "export tiny --format qdq-onnx -o onnx --force").succeeds();
    assert_same(&files(&folder.path().join("onnx")), &written);

    for (source, words) in [
        ("run", ["run: no model.int8.safetensors here", "expected an int8 file or a model directory"]),
        ("run/model", ["run/model: no model.int8.safetensors here", "`unbraid quantize run/model -o"]),
        ("tiny/config.json", ["tiny/config.json: ", "expected an int8 file"]),
        ("nowhere", ["nowhere: ", "No such file"]),
    ] {
        refused(&folder, &format!("export {source} --format qdq-onnx -o new"), 1, &words);
    }
    refused(&folder, "export tiny --format pdf -o new", 2, &["'pdf'", "model, qdq-onnx"]);
    assert!(!folder.path().join("new").exists());
}
