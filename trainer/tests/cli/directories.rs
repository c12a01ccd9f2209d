//! Damaged model directories.

use std::{fs, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{
    made, refused,
    support::{edit, replace},
    with,
};

type Damage = fn(&Path);

#[test]
fn damaged_configurations_are_named_by_file_and_field() {
    let cases: [(&str, Damage, &[&str]); 11] = [
        ("not JSON", |c| fs::write(c, "{").unwrap(), &["content", "valid JSON"]),
        ("not text", |c| fs::write(c, [0xff; 9]).unwrap(), &["content", "valid JSON"]),
        ("a list", |c| fs::write(c, "[]").unwrap(), &["a list", "an object"]),
        ("empty", |c| fs::write(c, "").unwrap(), &["content", "valid JSON"]),
        ("another version", |c| replace(c, "\"version\": 1", "\"version\": 2"), &["version: found 2, expected 1"]),
        ("another format", |c| replace(c, "\"unbraid\"", "\"keras\""), &["format: found \"keras\"", "unbraid"]),
        ("no image", |c| replace(c, "\"height\": 64", "\"height\": 0"), &["architecture.image", "1 to 65536"]),
        (
            "absurd channels",
            |c| replace(c, "\"out_channels\": 2", "\"out_channels\": 4294967296"),
            &["architecture.encoder[0]", "4294967296", "sizes of 1 to 65536"],
        ),
        (
            "overflowing padding",
            |c| replace(c, "\"padding\": 0", "\"padding\": 18446744073709551615"),
            &["architecture.encoder[0]", "sizes of 1 to 65536"],
        ),
        (
            "other latents",
            |c| replace(c, "\"latents\": 2", "\"latents\": 3"),
            &["architecture.decoder[0]", "takes 2", "gets 3"],
        ),
        ("an unknown field", |c| replace(c, "\"steps\"", "\"note\": 1, \"steps\""), &["note", "no such field"]),
    ];
    for (name, damage, words) in cases {
        let folder = with(&["tiny"]);
        damage(&folder.path().join("tiny/config.json"));
        let words: Vec<_> = words.iter().copied().chain(["tiny/config.json: "]).collect();
        eprintln!("{name}");
        refused(&folder, "quantize tiny -o q", 1, &words);
    }
}

#[test]
fn absurd_networks_are_refused_before_they_take_memory() {
    let folder = with(&["tiny"]);
    let path = folder.path().join("tiny/config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let layers = config["architecture"]["encoder"].as_array_mut().unwrap();
    // Within the limits, and they fit each other; the second has 16 GiB of weights.
    layers.truncate(3);
    for (from, to) in [(64, 65536), (65536, 65536), (65536, 4)] {
        layers.push(serde_json::json!({
            "kind": "linear", "in_features": from, "out_features": to, "activation": "relu",
        }));
    }
    fs::write(&path, config.to_string()).unwrap();
    let words = ["tiny/model.safetensors: encoder.3.bias", "F32 [4]", "F32 [65536]"];
    refused(&folder, "evaluate tiny", 1, &words);
}

/// Writes a safetensors file anew with one tensor changed by `change`; one without a name is dropped.
fn rewrite(path: &Path, name: &str, change: impl Fn(&mut Vec<usize>, &mut Vec<u8>, &mut String)) {
    let bytes = fs::read(path).unwrap();
    let mut tensors = Vec::new();
    for (own, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
        let (mut shape, mut data, mut called) = (view.shape().to_vec(), view.data().to_vec(), own.to_owned());
        if own == name {
            change(&mut shape, &mut data, &mut called);
        }
        if !called.is_empty() {
            tensors.push((called, shape, data));
        }
    }
    let views =
        tensors.iter().map(|(name, shape, data)| (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn damaged_weights_are_named_by_file_and_tensor() {
    const WEIGHT: &str = "decoder.0.weight";
    let cases: [(&str, Damage, &[&str]); 11] = [
        ("truncated", |w| edit(w, |b| b.truncate(b.len() / 2)), &["content", "a whole safetensors file"]),
        ("trailing bytes", |w| edit(w, |b| b.extend([0; 9])), &["content", "a whole safetensors file"]),
        ("empty", |w| edit(w, Vec::clear), &["content", "a whole safetensors file"]),
        ("a flipped bit in the header", |w| edit(w, |b| b[9] ^= 1), &["content", "a whole safetensors file"]),
        ("an absurd header", |w| edit(w, |b| b[..8].fill(0xff)), &["content", "a whole safetensors file"]),
        ("missing", |w| rewrite(w, WEIGHT, |_, _, name| name.clear()), &[WEIGHT, "no such tensor", "F32 [64, 2]"]),
        ("extra", |w| rewrite(w, WEIGHT, |_, _, name| name.push('x')), &[WEIGHT, "no such tensor"]),
        ("transposed", |w| rewrite(w, WEIGHT, |shape, _, _| shape.reverse()), &[WEIGHT, "[2, 64]", "[64, 2]"]),
        (
            "NaN",
            |w| rewrite(w, WEIGHT, |_, b, _| b[20..24].copy_from_slice(&f32::NAN.to_le_bytes())),
            &["decoder.0.weight[5]", "NaN", "a finite number"],
        ),
        (
            "infinite",
            |w| rewrite(w, WEIGHT, |_, b, _| b[..4].copy_from_slice(&f32::INFINITY.to_le_bytes())),
            &["decoder.0.weight[0]", "inf"],
        ),
        (
            "int8",
            |w| edit(w, |b| *b = fs::read(made().join("tiny.int8")).unwrap()),
            &["decoder.0.bias", "I32 [64]", "F32 [64]"],
        ),
    ];
    for (name, damage, words) in cases {
        let folder = with(&["tiny"]);
        damage(&folder.path().join("tiny/model.safetensors"));
        let words: Vec<_> = words.iter().copied().chain(["tiny/model.safetensors: "]).collect();
        eprintln!("{name}");
        refused(&folder, "evaluate tiny", 1, &words);
    }
    for file in ["config.json", "model.safetensors"] {
        let folder = with(&["tiny"]);
        fs::remove_file(folder.path().join("tiny").join(file)).unwrap();
        let words = [&*format!("tiny: {file}: found no such file"), "a model directory with config.json"];
        refused(&folder, "traverse tiny -o t.png", 1, &words);
    }
}

#[test]
fn a_code_that_is_no_number_is_no_picture() {
    // Finite weights whose products are not: the means of every image are infinite or NaN.
    let folder = with(&["tiny"]);
    let huge = |_: &mut Vec<usize>, bytes: &mut Vec<u8>, _: &mut String| {
        bytes.as_chunks_mut::<4>().0.iter_mut().for_each(|word| *word = 3e38_f32.to_le_bytes());
    };
    let weights = folder.path().join("tiny/model.safetensors");
    for name in ["encoder.0.weight", "encoder.1.weight", "encoder.3.weight"] {
        rewrite(&weights, name, huge);
    }
    for line in ["traverse tiny -o t.png", "label tiny --samples 10", "quantize tiny -o q --images 8 --compare 8"] {
        refused(&folder, line, 1, &["expected a finite number"]);
    }
}
