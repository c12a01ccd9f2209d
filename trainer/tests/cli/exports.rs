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
    let folder = with(&["run", "tiny"]);
    for path in ["nowhere", "tiny", "run/config.toml"] {
        let words = [&*format!("{path}: config.toml"), "no such file", "the folder of a run"];
        refused(&folder, &format!("export {path} -o model"), 1, &words);
    }
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
