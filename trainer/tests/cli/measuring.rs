//! Scores, names and pictures.

use std::fs;

use crate::{
    refused, support,
    support::{assert_same, command, edit, files, unbraid},
    with,
};

#[test]
fn evaluation_gives_scores_and_refuses_what_it_cannot_measure() {
    let folder = with(&["tiny", "tiny.int8"]);
    for (line, code, words) in [
        ("tiny --protocol best", 2, ["protocol = best", "paper, study or infogan-cr"]),
        ("tiny --metrics mig,best", 2, ["metrics = best", "factor-vae"]),
        ("tiny --samples 0", 2, ["samples = 0", "at least 2"]),
        ("tiny --samples 1", 2, ["samples = 1", "at least 2"]),
        ("tiny --samples few", 2, ["--samples", "'few'"]),
        ("tiny --dataset faces", 2, ["dataset = faces", "sprites"]),
        ("tiny -o tiny.int8", 1, ["tiny.int8: exists already", "--force"]),
        ("tiny --samples 2 --protocol infogan-cr -o tiny.int8/e.json", 1, ["tiny.int8: not a directory", ""]),
    ] {
        refused(&folder, &format!("evaluate {line}"), code, &words);
    }
    let line = "evaluate tiny --samples 100 --protocol infogan-cr --json -o evaluation.json";
    let printed = unbraid(folder.path(), line).succeeds().out;
    assert_eq!(fs::read_to_string(folder.path().join("evaluation.json")).unwrap(), printed);
    let evaluation: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(evaluation["scores"][0]["protocol"], "infogan-cr");
    let table = unbraid(folder.path(), "evaluate tiny.int8 --samples 100 --protocol infogan-cr").succeeds().out;
    assert!(table.contains("factor-vae") && table.contains("reconstruction"), "{table}");
}

#[test]
fn models_are_compared_and_ranked() {
    let folder = with(&["tiny", "tiny.int8"]);
    let line = "evaluate tiny --compare tiny.int8 --metrics mig,mutual-information --samples 200 -o c.json";
    let table = unbraid(folder.path(), line).succeeds().out;
    assert!(table.contains("A: tiny\nB: tiny.int8") && table.contains("A - B"), "{table}");
    let comparison: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("c.json")).unwrap()).unwrap();
    let differences = comparison["differences"].as_array().unwrap();
    assert_eq!(differences.iter().map(|d| &d["metric"]).collect::<Vec<_>>(), ["mig", "mutual-information"]);
    assert!(differences.iter().all(|d| d["interval"]["low"].as_f64() <= d["interval"]["high"].as_f64()));

    let line = "select tiny tiny.int8 --metrics udr-spearman,model-centrality --votes 4 --samples 200 --json -o s.json";
    let printed = unbraid(folder.path(), line).succeeds().out;
    assert_eq!(fs::read_to_string(folder.path().join("s.json")).unwrap(), printed);
    let selection: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(selection["ranking"][0]["scores"][1]["metric"], "model-centrality");
    for (line, code, words) in [
        ("tiny", 2, ["2 values required", "1 was provided"]),
        ("tiny tiny.int8 --metrics udr", 2, ["metrics = udr", "udr-lasso"]),
        ("tiny tiny.int8 --votes 0 --samples 20 --metrics model-centrality", 2, ["votes = 0", "at least 1"]),
        ("tiny nowhere", 1, ["nowhere", "No such file"]),
        ("tiny tiny.int8 -o s.json", 1, ["s.json: exists already", "--force"]),
    ] {
        refused(&folder, &format!("select {line}"), code, &words);
    }
}

#[test]
fn baselines_are_measured_without_reconstruction() {
    let folder = with(&["tiny"]);
    let line = "evaluate --baseline ground-truth --metrics mig --samples 200 --json";
    let evaluation: serde_json::Value = serde_json::from_str(&unbraid(folder.path(), line).succeeds().out).unwrap();
    // 20 bins do not tell 32 and 40 values apart: 0.896 is the most that this protocol gives on sprites.
    assert!((0.88..0.91).contains(&evaluation["scores"][0]["value"].as_f64().unwrap()), "{evaluation}");
    assert!(evaluation["statistics"]["reconstruction"].is_null());
    for (line, code, words) in [
        ("--baseline raw-pixels --metrics mig,sap", 2, ["metrics = sap", "mig, modularity for 4096 latents"]),
        ("--baseline untrained --latents 0", 2, ["latents = 0", "1 to 128"]),
        ("--baseline pca", 2, ["'pca'", "raw-pixels"]),
        ("tiny --baseline untrained", 2, ["--baseline", "cannot be used with"]),
        ("tiny --latents 3", 2, ["--latents", "cannot be used with"]),
        ("", 2, ["MODEL", "required"]),
    ] {
        refused(&folder, &format!("evaluate {line}"), code, &words);
    }
}

#[test]
fn names_that_cannot_be_given_are_refused() {
    let folder = with(&["tiny", "tiny.int8"]);
    let long = format!("0={}", "n".repeat(41));
    for (names, words) in [
        (&["0"][..], ["'0'", "expected LATENT=NAME, as in 3=rotation"]),
        (&["rotation=0"], ["\"rotation\"", "a number"]),
        (&["0="], ["name = 0=", "1 to 40 bytes"]),
        (&[&long], ["nnn", "1 to 40 bytes"]),
        (&["0=a\tb"], ["0=a\\tb", "without control characters"]),
        (&["7=tilt"], ["name = 7=tilt", "one of [0, 1]"]),
        (&["0=tilt", "0=turn"], ["name = 0=turn", "one name for latent 0"]),
        (&["0=tilt", "1=tilt"], ["name = tilt", "different names for latents"]),
    ] {
        for model in ["tiny", "tiny.int8"] {
            let before = files(folder.path());
            let words_of_line = ["label", model].into_iter().chain(names.iter().flat_map(|name| ["--name", name]));
            let outcome = support::Outcome::from(command(folder.path(), words_of_line).output().unwrap());
            outcome.fails(2, &words);
            assert_same(&files(folder.path()), &before);
        }
    }
    refused(&folder, "label tiny --samples 1", 2, &["samples = 1", "at least 2"]);
    refused(&folder, "label tiny --dataset faces", 2, &["dataset = faces", "sprites"]);
}

#[test]
fn names_are_kept_by_every_file_of_a_model() {
    let folder = with(&["tiny"]);
    unbraid(folder.path(), "quantize tiny -o tiny/model.int8.safetensors --images 16 --compare 16").succeeds();
    let int8 = folder.path().join("tiny/model.int8.safetensors");
    let weights = |bytes: &[u8]| bytes[bytes.len() - 500..].to_vec();
    let before = fs::read(&int8).unwrap();

    let line = "label tiny --samples 200 --name 0=tilt --name 1=größe";
    let outcome = unbraid(folder.path(), line).succeeds();
    assert!(outcome.out.contains("tiny/model.int8.safetensors: the same names"), "{}", outcome.out);
    let names = |bytes: &[u8]| -> Vec<(usize, String)> {
        let model = unbraid::Model::load(bytes).unwrap();
        let mut names: Vec<_> = model.factors().map(|factor| (factor.latent, factor.name.to_owned())).collect();
        names.sort_unstable();
        names
    };
    let expected = [(0, "tilt".to_owned()), (1, "größe".to_owned())];
    let after = fs::read(&int8).unwrap();
    assert_eq!(names(&after), expected);
    assert_eq!(weights(&after), weights(&before));
    let config: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("tiny/config.json")).unwrap()).unwrap();
    let mut stored: Vec<_> =
        config["factors"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    stored.sort_unstable();
    assert_eq!(stored, ["größe", "tilt"]);

    // A quantization has the names of the directory; looking at a model changes none of its files.
    let labeled = files(&folder.path().join("tiny"));
    unbraid(folder.path(), "quantize tiny -o q --images 16 --compare 16").succeeds();
    assert_eq!(names(&fs::read(folder.path().join("q")).unwrap()), expected);
    for model in ["tiny", "q"] {
        let outcome = unbraid(folder.path(), &format!("traverse {model} -o t.png --force")).succeeds();
        assert!(!outcome.err.contains("no names yet") && outcome.out.contains("2 factors"), "{}", outcome.err);
        unbraid(folder.path(), &format!("evaluate {model} --samples 10 --protocol infogan-cr")).succeeds();
    }
    assert_same(&files(&folder.path().join("tiny")), &labeled);

    // Labeling the int8 file alone.
    unbraid(folder.path(), "label q --samples 100 --name 0=turn --name 1=tilt").succeeds();
    assert_eq!(names(&fs::read(folder.path().join("q")).unwrap()), [(0, "turn".into()), (1, "tilt".into())]);

    // A damaged int8 file beside is told, and the directory keeps the names that it had.
    edit(&int8, |bytes| bytes.truncate(100));
    let words = ["tiny/model.int8.safetensors: ", "expected an int8 file, whole"];
    refused(&folder, "label tiny --samples 10 --name 0=a --name 1=b", 1, &words);
}

#[test]
fn traversals_are_drawn_and_refused() {
    let folder = with(&["tiny", "tiny.int8"]);
    for (model, line, start) in [
        ("tiny", "-o a.png", &b"\x89PNG"[..]),
        ("tiny.int8", "-o b.GIF --steps 3 --image 5 --upscale 1", b"GIF89a"),
        ("tiny", "-o new/c.png --center --steps 2", b"\x89PNG"),
    ] {
        let outcome = unbraid(folder.path(), &format!("traverse {model} {line}")).succeeds();
        assert!(outcome.err.contains("no names yet (`unbraid label"), "{}", outcome.err);
        let path = line.split_whitespace().nth(1).unwrap();
        assert!(fs::read(folder.path().join(path)).unwrap().starts_with(start), "{path}");
    }
    for (line, code, words) in [
        ("-o a.png", 1, ["a.png: exists already", "--force"]),
        ("-o t.bmp", 2, ["output = t.bmp", ".png or .gif"]),
        ("-o t", 2, ["output = t", ".png or .gif"]),
        ("-o t.png --steps 0", 2, ["steps = 0", "2 to 1000"]),
        ("-o t.png --steps 1", 2, ["steps = 1", "2 to 1000"]),
        ("-o t.png --steps 99999999", 2, ["steps = 99999999", "2 to 1000"]),
        ("-o t.png --upscale 0", 2, ["upscale = 0", "1 to 16"]),
        ("-o t.png --upscale 4294967295", 2, ["upscale = 4294967295", "1 to 16"]),
        ("-o t.png --steps 1000", 1, ["pixels", "at most 65535 a side"]),
        ("-o t.png --image 737280", 2, ["image = 737280", "0 to 737279"]),
        ("-o t.png --image -1", 2, ["--image", "'-1'"]),
        ("-o t.png --image 1 --center", 2, ["--image", "--center"]),
        ("-o t.png --dataset faces", 2, ["dataset = faces", "sprites"]),
        ("-o a.png/t.png", 1, ["a.png: not a directory", ""]),
    ] {
        refused(&folder, &format!("traverse tiny {line}"), code, &words);
    }
}
