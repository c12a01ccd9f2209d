//! Making int8 files, and damaged ones.

use std::fs;

use safetensors::SafeTensors;

use crate::{refused, support::unbraid, with};

#[test]
fn a_model_is_quantized() {
    let folder = with(&["run"]);
    let line = "quantize run/model -o new/q.safetensors --images 16 --compare 16 --report r.json --min-psnr -100";
    let outcome = unbraid(folder.path(), line).succeeds();
    assert!(outcome.out.contains("PSNR") && outcome.out.contains("10 latents"), "{}", outcome.out);
    let bytes = fs::read(folder.path().join("new/q.safetensors")).unwrap();
    assert_eq!(unbraid::Model::load(&bytes).unwrap().latents(), 10);
    assert!(SafeTensors::deserialize(&bytes).is_ok());
    let report: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("r.json")).unwrap()).unwrap();
    assert!(report["psnr"].as_f64().unwrap() > 10.0 && report["images"] == 16, "{report}");

    for (output, report) in [("new/q.safetensors", "other.json"), ("other", "r.json")] {
        let line = format!("quantize run/model -o {output} --images 16 --compare 16 --report {report}");
        refused(&folder, &line, 1, &["exists already", "--force"]);
    }
    unbraid(folder.path(), &format!("{line} --force")).succeeds();
}

#[test]
fn what_cannot_be_quantized_is_refused_and_nothing_written() {
    let folder = with(&["tiny", "tiny.int8", "run"]);
    for (line, code, words) in [
        ("tiny -o q --images 0", 2, ["images = 0", "1 or more"]),
        ("tiny -o q --images 999999999", 2, ["images = 999999999", "at most 725800"]),
        ("tiny -o q --images -1", 2, ["--images", "'-1'"]),
        ("tiny -o q --compare 0", 2, ["compare = 0", "1 or more"]),
        ("tiny -o q --encoder-calibration best", 2, ["'best'", "min-max, percentile, mse"]),
        ("tiny -o q --dataset faces", 2, ["dataset = faces", "sprites"]),
        ("tiny -o q --report q", 2, ["report = q", "another file"]),
        ("tiny -o q --images 8 --compare 8 --report r --min-psnr 200", 1, ["q: not written", "at least 200 dB"]),
        ("tiny -o q --images 8 --compare 8 --report r --min-psnr NaN", 1, ["q: not written", "at least NaN dB"]),
        ("tiny.int8 -o q", 1, ["tiny.int8: this is an int8 file already", "an f32 model directory"]),
        ("run -o q", 1, ["run: this is the folder of a run", "unbraid export run -o DIR"]),
        ("nowhere -o q", 1, ["nowhere: ", "No such file"]),
        ("run/checkpoints -o q", 1, ["run/checkpoints: config.json: found no such file", "a model directory"]),
        ("tiny -o tiny --images 8 --compare 8 --force", 1, ["tiny: ", "directory"]),
        ("tiny -o tiny.int8/q --images 8 --compare 8", 1, ["tiny.int8: not a directory", ""]),
    ] {
        refused(&folder, &format!("quantize {line}"), code, &words);
    }
}

#[test]
fn files_of_another_kind_are_no_int8_models() {
    let folder = with(&["run", "tiny"]);
    fs::write(folder.path().join("empty"), "").unwrap();
    fs::copy(folder.path().join("run/samples/step-00000006-traversal.png"), folder.path().join("picture")).unwrap();
    fs::create_dir(folder.path().join("folder")).unwrap();
    for (path, words) in [
        ("empty", ["0 found", "expected an int8 file"]),
        ("picture", ["expected an int8 file", "`unbraid quantize`"]),
        ("tiny/model.safetensors", ["not an Unbraid model", "expected an int8 file"]),
        ("tiny/config.json", ["expected an int8 file", ""]),
        ("folder", ["config.json: found no such file", "a model directory"]),
        ("nowhere", ["No such file", ""]),
    ] {
        for line in [format!("evaluate {path}"), format!("label {path}"), format!("traverse {path} -o t.png")] {
            refused(&folder, &line, 1, &[&format!("{path}: "), words[0], words[1]]);
        }
    }
}

#[test]
fn a_damaged_int8_file_is_refused_wherever_the_damage_is() {
    let folder = with(&["tiny.int8"]);
    let whole = fs::read(folder.path().join("tiny.int8")).unwrap();
    let header = 8 + usize::try_from(u64::from_le_bytes(*whole.first_chunk().unwrap())).unwrap();
    let file = folder.path().join("broken");
    let open = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let outcome = unbraid(folder.path(), "traverse broken -o t.png --center --steps 2 --force");
        assert!(outcome.code == 0 || outcome.err.contains("error: broken: "), "{}", outcome.err);
        outcome
    };
    open(&whole).succeeds();
    for length in [0, 1, 7, 8, 9, header - 1, header, header + 63, header + 64, whole.len() / 2, whole.len() - 1] {
        open(&whole[..length]).fails(1, &["broken: ", "expected an int8 file, whole"]);
    }
    for more in [1, 4096] {
        let long = [whole.clone(), vec![0; more]].concat();
        open(&long).fails(1, &["broken: ", &format!("expected {}", long.len() - header)]);
    }
    // Every part of what is executed is under the checksum; the text in the header is not.
    for position in (header..whole.len()).step_by(whole.len() / 40) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        open(&bytes).fails(1, &["broken: "]);
    }
    for position in (0..header).step_by(header / 40) {
        let mut bytes = whole.clone();
        bytes[position] ^= 1 << (position % 8);
        open(&bytes);
    }
}
