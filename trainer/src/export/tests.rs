//! Model directories: what is written is read back, what is wrong is named, what exists is safe.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fixture::{architecture, config, weights};
use super::{Extras, read, write};
use crate::Error;

/// A folder with a written model in it.
fn model() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    write(&dir, &config(), &weights(&architecture()), &Extras::default(), false).unwrap();
    (folder, dir)
}

/// The names in a folder.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The field, the finding and the expectation of the error that reading `dir` gives.
fn refusal(dir: &Path) -> (PathBuf, String, String, String) {
    match read(dir).unwrap_err() {
        Error::Malformed { path, field, found, expected } => (path, field, found, expected),
        other => panic!("{other}"),
    }
}

#[test]
fn what_is_written_is_read_back() {
    let (folder, dir) = model();
    assert_eq!(names(folder.path()), ["model"]);
    assert_eq!(names(&dir), ["README.md", "config.json", "decoder.onnx", "encoder.onnx", "model.safetensors"]);
    let (found, tensors) = read(&dir).unwrap();
    assert_eq!(found, config());
    let expected = weights(&architecture());
    assert!(tensors.keys().eq(expected.keys()));
    for (name, tensor) in &tensors {
        assert_eq!(tensor.dims(), expected[name].dims(), "{name}");
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(tensor), values(&expected[name]), "{name}");
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let ((_a, a), (_b, b)) = (model(), model());
    for name in names(&a) {
        assert!(fs::read(a.join(&name)).unwrap() == fs::read(b.join(&name)).unwrap(), "{name}");
    }
}

#[test]
fn the_weights_file_is_what_other_tools_expect() {
    let (_folder, dir) = model();
    let bytes = fs::read(dir.join("model.safetensors")).unwrap();
    let length = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    assert_eq!(header["__metadata__"], json!({ "format": "pt" }));
    let mut tensors: Vec<_> = header.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__").collect();
    tensors.sort_by_key(|(_, t)| t["data_offsets"][0].as_u64());
    assert!(tensors.is_sorted_by_key(|(name, _)| *name));
    assert!(tensors.iter().all(|(_, t)| t["dtype"] == "F32"));
    assert_eq!(header["encoder.0.weight"]["shape"], json!([5, 2, 4, 4]));
    assert_eq!(header["decoder.2.weight"]["shape"], json!([5, 2, 4, 4]));
}

#[test]
fn an_existing_output_is_kept_unless_forced() {
    let (folder, dir) = model();
    let mut newer = config();
    newer.steps = 1;
    let save = |force| write(&dir, &newer, &weights(&architecture()), &Extras::default(), force);
    assert!(matches!(save(false), Err(Error::Exists { path }) if path == dir));
    assert_eq!(read(&dir).unwrap().0.steps, 300_000);
    fs::write(dir.join("traversal.png"), "of the earlier model").unwrap();
    save(true).unwrap();
    assert_eq!(read(&dir).unwrap().0.steps, 1);
    assert!(!names(&dir).contains(&"traversal.png".into()));
    assert_eq!(names(folder.path()), ["model"]);
}

#[test]
fn force_does_not_delete_what_is_no_model() {
    let (folder, dir) = model();
    let save = |dir: &Path| write(dir, &config(), &weights(&architecture()), &Extras::default(), true);
    fs::write(dir.join("notes.txt"), "mine").unwrap();
    assert!(save(&dir).unwrap_err().to_string().contains("notes.txt"));
    assert!(dir.join("notes.txt").exists());
    let other = folder.path().join("other");
    fs::create_dir_all(other.join(".git")).unwrap();
    assert!(save(&other).unwrap_err().to_string().contains("no config.json"));
    fs::write(other.join("config.json"), "{}").unwrap();
    assert!(save(&other).unwrap_err().to_string().contains(".git"));
    let file = folder.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(save(&file).is_err());
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn an_empty_folder_may_be_filled() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("deeper/model");
    fs::create_dir_all(&dir).unwrap();
    write(&dir, &config(), &weights(&architecture()), &Extras::default(), false).unwrap();
    read(&dir).unwrap();
}

#[test]
fn a_failed_write_changes_nothing() {
    let (folder, dir) = model();
    // A name that is longer than file systems take: the failure comes after other files have been written.
    let files = BTreeMap::from([("z".repeat(300) + ".png", vec![])]);
    let extras = Extras { files, ..Extras::default() };
    for dir in [dir.clone(), folder.path().join("fresh")] {
        let error = write(&dir, &config(), &weights(&architecture()), &extras, true).unwrap_err();
        assert!(matches!(error, Error::Io { path, .. } if path.starts_with(&dir)));
    }
    assert_eq!(names(folder.path()), ["model"]);
    read(&dir).unwrap();
}

#[test]
fn extra_files_have_plain_names_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    for name in ["../escaped", "a/b", "", "..", "config.json"] {
        let extras = Extras { files: BTreeMap::from([(name.into(), vec![])]), ..Extras::default() };
        let error = write(&dir, &config(), &weights(&architecture()), &extras, false).unwrap_err();
        assert!(matches!(error, Error::Setting { .. }), "{name}: {error}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn weights_that_do_not_fit_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("model");
    let name = "encoder.0.bias";
    let cases = [
        (None, "no such tensor"),
        (Some(Tensor::zeros(4, DType::F32, &Device::Cpu)), "F32 [4], expected F32 [5]"),
        (Some(Tensor::zeros(5, DType::F64, &Device::Cpu)), "F64 [5]"),
        (Some(Tensor::new(&[0f32, 1., f32::NAN, 3., 4.], &Device::Cpu)), "encoder.0.bias[2]: found NaN"),
    ];
    for (tensor, text) in cases {
        let mut weights = weights(&architecture());
        match tensor {
            None => weights.remove(name),
            Some(t) => weights.insert(name.into(), t.unwrap()),
        };
        let error = write(&dir, &config(), &weights, &Extras::default(), false).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(text), "{error}");
    }
    assert!(names(folder.path()).is_empty());
}

#[test]
fn damaged_weights_are_named() {
    let (_folder, dir) = model();
    let path = dir.join("model.safetensors");
    let good = fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        let (file, field, ..) = refusal(&dir);
        assert_eq!((file.as_path(), field.as_str()), (path.as_path(), "content"), "{length}");
    }
    let mut infinite = good.clone();
    let end = infinite.len();
    infinite[end - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&path, infinite).unwrap();
    let (_, field, found, expected) = refusal(&dir);
    assert_eq!(
        (field.as_str(), found.as_str(), expected.as_str()),
        ("encoder.2.weight[179]", "inf", "a finite number")
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(refusal(&dir).1, "model.safetensors");
}

#[test]
fn tensors_of_another_network_are_named() {
    let (_folder, dir) = model();
    let store = |change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut weights = weights(&architecture());
        change(&mut weights);
        candle_core::safetensors::save(&weights.into_iter().collect(), dir.join("model.safetensors")).unwrap();
        let (_, field, found, expected) = refusal(&dir);
        (field, found, expected)
    };
    let is = |found: (String, String, String), expected: [&str; 3]| {
        assert_eq!([found.0.as_str(), &found.1, &found.2], expected);
    };
    let name = "decoder.0.weight";
    is(store(&|w| drop(w.remove(name))), [name, "no such tensor", "F32 [30, 3]"]);
    let put = |tensor: Tensor| store(&move |w| drop(w.insert(name.into(), tensor.clone())));
    is(put(Tensor::zeros((3, 30), DType::F32, &Device::Cpu).unwrap()), [name, "F32 [3, 30]", "F32 [30, 3]"]);
    is(put(Tensor::zeros((30, 3), DType::F16, &Device::Cpu).unwrap()), [name, "F16 [30, 3]", "F32 [30, 3]"]);
    let extra = Tensor::zeros(1, DType::F32, &Device::Cpu).unwrap();
    let extra = store(&|w| drop(w.insert("discriminator.0.bias".into(), extra.clone())));
    is(extra, ["discriminator.0.bias", "F32 [1]", "only the 8 tensors of small"]);
}

#[test]
fn a_wrong_configuration_is_named() {
    let (_folder, dir) = model();
    let path = dir.join("config.json");
    let good: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let long = json!({ "kind": "conv_transpose2d", "in_channels": 5, "out_channels": 2, "kernel": 4, "stride": u64::MAX,
        "padding": 1, "activation": "relu" });
    let cases: [(&str, Value, &str); 19] = [
        ("/format", json!("onnx"), "format"),
        ("/version", json!(2), "version"),
        ("/seed", json!(-1), "seed"),
        ("/steps", json!("many"), "steps"),
        ("/objective", json!(3), "objective"),
        ("/architecture", json!([]), "architecture"),
        ("/architecture/latents", json!(4), "architecture.decoder[0]"),
        ("/architecture/encoder/2/out_features", json!(8), "architecture"),
        ("/architecture/latents", json!(0), "architecture.image"),
        ("/architecture/image/width", json!(u64::MAX), "architecture.image"),
        ("/architecture/encoder/0/kernel", json!(null), "architecture.encoder[0]"),
        ("/architecture/encoder/0/stride", json!(0), "architecture.encoder[0]"),
        ("/architecture/encoder/2/kind", json!("attention"), "architecture.encoder[2]"),
        ("/architecture/decoder/2", long, "architecture.decoder[2]"),
        ("/factors/0/latent", json!(3), "factors[0].latent"),
        ("/factors/0/low", json!(1.0), "factors[0].low, center, high"),
        ("/factors/0/agreement", json!(1.5), "factors[0].agreement"),
        ("/factors/0/importance", json!(1e300), "factors[0].low to agreement"),
        ("/factors/0", json!({ "name": "rotation" }), "factors[0]"),
    ];
    for (pointer, value, expected) in cases {
        let mut config = good.clone();
        *config.pointer_mut(pointer).unwrap() = value;
        fs::write(&path, config.to_string()).unwrap();
        let (file, field, ..) = refusal(&dir);
        assert_eq!((file.as_path(), field.as_str()), (path.as_path(), expected), "{pointer}");
    }
    for name in ["format", "version", "seed", "training", "factors"] {
        let mut config = good.clone();
        config.as_object_mut().unwrap().remove(name);
        fs::write(&path, config.to_string()).unwrap();
        let (_, field, found, _) = refusal(&dir);
        assert_eq!((field.as_str(), found.as_str()), (name, "nothing"));
    }
    let mut config = good.clone();
    config["sedd"] = json!(1);
    config["factors"] = json!([good["factors"][0].clone(), good["factors"][0].clone()]);
    fs::write(&path, config.to_string()).unwrap();
    assert_eq!(refusal(&dir).1, "sedd");
    config.as_object_mut().unwrap().remove("sedd");
    fs::write(&path, config.to_string()).unwrap();
    assert_eq!(refusal(&dir).1, "factors[1].latent");
    for text in ["", "{", "[]", "{\"format\": \"unbraid\"} trailing"] {
        fs::write(&path, text).unwrap();
        assert_eq!(refusal(&dir).1, "content");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(refusal(&dir).1, "config.json");
    assert_eq!(refusal(&dir.join("nowhere")).0, dir.join("nowhere"));
}

#[test]
fn a_configuration_that_contradicts_itself_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config();
    config.factors[0].scale = f32::NAN;
    let result = write(&folder.path().join("m"), &config, &weights(&architecture()), &Extras::default(), false);
    assert!(result.unwrap_err().to_string().contains("factors[0]"));
    assert!(names(folder.path()).is_empty());
}
