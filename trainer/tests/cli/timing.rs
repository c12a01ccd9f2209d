//! Where a step's time goes.

use tempfile::tempdir;

use crate::{
    refused,
    support::{train, unbraid},
};

/// A short `unbraid bench-step`.
const BENCH: &str = "bench-step --steps 2 --warm-up 1 --batch-size 4 --discriminator-layers 1";

/// The names and shares of the rows of a table, checked to add up.
#[track_caller]
fn shares(text: &str) -> Vec<(String, f64)> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let (name, [_, "ms", share, "%"]) = words.split_last_chunk::<4>()? else { return None };
        Some((name.join(" "), share.parse().unwrap()))
    };
    let rows: Vec<(String, f64)> = text.lines().filter_map(row).collect();
    let (step, parts) = rows.split_last().unwrap_or_else(|| panic!("no table in {text}"));
    assert_eq!(*step, ("step".into(), 100.0), "{text}");
    // Each is rounded to a tenth.
    let sum: f64 = parts.iter().map(|(_, share)| share).sum();
    assert!((sum - 100.0).abs() <= 0.05 * parts.len() as f64 + 1e-6, "{sum} % in {text}");
    assert!(parts.iter().all(|(_, share)| (0.0..=100.0).contains(share)), "{text}");
    rows
}

#[track_caller]
fn has_rows(rows: &[(String, f64)], names: &[&str]) {
    for name in names {
        assert!(rows.iter().any(|(row, _)| row == name), "no {name:?} in {rows:?}");
    }
}

const PARTS: [&str; 12] = [
    "data wait",
    "encoder forward",
    "encoder backward",
    "decoder forward",
    "decoder backward",
    "discriminator forward",
    "discriminator backward",
    "loss forward",
    "loss backward",
    "optimizer vae",
    "optimizer discriminator",
    "other",
];

#[test]
fn steps_are_timed_without_a_run() {
    let folder = tempdir().unwrap();
    let out = unbraid(folder.path(), &format!("{BENCH} --threads 1")).succeeds().out;
    for words in ["factor-vae-64 of sprites, batch 4, ", "threads 1\n", "\nstep ", " steps/s, ", " images/s\n"] {
        assert!(out.contains(words), "no {words:?} in {out}");
    }
    has_rows(&shares(&out), &PARTS);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn json_is_one_line_with_all_figures() {
    let folder = tempdir().unwrap();
    for (architecture, data) in [("factor-vae-64", "sprites"), ("factor-vae-64-rgb", "noise")] {
        let line = format!("{BENCH} --json --device cpu --threads 2 --architecture {architecture}");
        let out = unbraid(folder.path(), &line).succeeds().out;
        assert_eq!(out.lines().count(), 1, "{out}");
        let found: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&out).unwrap();
        let mut keys: Vec<_> = found.keys().map(String::as_str).collect();
        keys.sort_unstable();
        let expected = [
            "architecture",
            "batch_size",
            "data",
            "device",
            "images_per_s",
            "peak_rss_mib",
            "step_ms",
            "step_ms_quartiles",
            "steps_per_s",
            "threads",
        ];
        assert_eq!(keys, expected);
        assert_eq!((&found["architecture"], &found["data"]), (&architecture.into(), &data.into()));
        assert_eq!((&found["batch_size"], &found["threads"], &found["device"]), (&4.into(), &2.into(), &"cpu".into()));
        let [low, high] = [0, 1].map(|i| found["step_ms_quartiles"][i].as_f64().unwrap());
        let median = found["step_ms"].as_f64().unwrap();
        assert!(0.0 < low && low <= median && median <= high, "{out}");
    }
}

#[test]
fn what_cannot_be_timed_is_refused_by_name_value_and_range() {
    let folder = tempdir().unwrap();
    for (option, words) in [
        ("--steps 0", ["steps = 0: ", "1 or more"]),
        ("--steps -1", ["--steps", "'-1'"]),
        ("--steps 99999999999999999999", ["--steps", "a whole number from 0 to 9223372036854775807"]),
        ("--warm-up few", ["--warm-up", "'few'"]),
        ("--architecture huge", ["architecture = huge: ", "factor-vae-64, factor-vae-64-rgb"]),
        ("--batch-size 1", ["batch_size = 1: ", "2 to 65536"]),
        ("--latents 0", ["latents = 0: ", "1 to 128"]),
        ("--discriminator-layers 17", ["discriminator_layers = 17: ", "1 to 16"]),
        ("--threads 1025", ["threads = 1025: ", "0 (all cores) to 1024"]),
        ("--device gpu", ["device = gpu: ", "auto, cpu, cuda or cuda:N"]),
    ] {
        refused(&folder, &format!("bench-step {option}"), 2, &words);
    }
    if !cfg!(feature = "cuda") {
        refused(&folder, "bench-step --device cuda", 2, &["device = cuda: ", "auto or cpu", "--features cuda"]);
    }
}

#[test]
fn a_run_says_where_its_time_went_if_asked() {
    let folder = tempdir().unwrap();
    // Samples of the last step run the networks inside of what counts for the files.
    let out = train(folder.path(), "--run run --steps 2 --profile").succeeds().out;
    let rows = shares(&out);
    has_rows(&rows, &PARTS);
    has_rows(&rows, &["files write"]);
    assert!(out.trim_end().ends_with("the model is in run/model"), "{out}");

    let again = unbraid(folder.path(), "train --resume run --profile").succeeds().out;
    assert!(again.contains("no step was timed"), "{again}");
    let without = unbraid(folder.path(), "train --resume run --steps 3").succeeds().out;
    assert!(!without.contains(" % ") && without.lines().count() == 1, "{without}");
}
