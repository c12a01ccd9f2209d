//! `profile --board`.

use std::fs;

use serde_json::Value;
use unbraid::writer::{FileSpec, LayerSpec};

use crate::bench::Bench;
use crate::networks;

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/sprites-factorvae/model.int8.safetensors");

/// A folder with the shipped model in it.
fn shipped() -> Bench {
    let bench = Bench::tiny();
    fs::copy(SHIPPED, bench.path("model")).unwrap();
    bench
}

fn predict(bench: &Bench, board: &str) -> Value {
    serde_json::from_str(&bench.run(&format!("profile model --board {board} --json")).quiet()).unwrap()
}

fn range(value: &Value) -> (f64, f64) {
    (value["low"].as_f64().unwrap(), value["high"].as_f64().unwrap())
}

#[test]
fn a_counted_model_takes_its_instructions_times_their_cycles() {
    let bench = shipped();
    // Without wait states.
    let prediction = predict(&bench, "microbit-v1");
    let (cycles_low, cycles_high) = range(&prediction["cycles_per_instruction"]);
    let hertz = 1e6 * prediction["megahertz"].as_f64().unwrap();
    for call in ["encode", "decode"] {
        let call = &prediction[call];
        let (instructions, most) = range(&call["instructions"]);
        assert_eq!(instructions, most);
        let (low, high) = range(&call["milliseconds"]);
        assert!((low - 1e3 * instructions * cycles_low / hertz).abs() < 1e-6 * low, "{call}");
        assert!((high - 1e3 * instructions * cycles_high / hertz).abs() < 1e-6 * high, "{call}");
        let layers = call["layers"].as_array().unwrap();
        assert!(layers.iter().all(|layer| layer["counted"] == true), "{call}");
        let in_layers: f64 = layers.iter().map(|layer| range(&layer["milliseconds"]).0).sum();
        assert!(in_layers <= low && low < 1.2 * in_layers, "{in_layers} of {low}");
    }
    assert_eq!(prediction["instruction_errors"], serde_json::json!({}));

    let text = bench.run("profile model --board microbit-v1").quiet();
    for part in ["BBC micro:bit v1", "Cortex-M0 at 16 MHz", "conv_transpose2d", "Arm DDI 0432C", "Nordic"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[test]
fn a_model_that_does_not_fit_is_said() {
    let bench = shipped();
    let prediction = predict(&bench, "microbit-v1");
    let flash = &prediction["flash"];
    assert!(flash["needed"].as_u64().unwrap() > fs::metadata(SHIPPED).unwrap().len());
    assert_eq!(flash["available"], 262_144);
    let text = bench.run("profile model --board microbit-v1").quiet();
    assert!(text.contains("does not fit: needs 5") && text.contains(" bytes of flash, has 262,144\n"), "{text}");
    assert!(!bench.run("profile model --board pico").quiet().contains("does not fit"));
}

#[test]
fn other_models_are_predicted_with_an_error() {
    let bench = Bench::tiny();
    let prediction = predict(&bench, "stm32f407-discovery");
    let layers = prediction["decode"]["layers"].as_array().unwrap();
    assert!(layers.iter().all(|layer| layer["counted"] == false), "{layers:?}");
    for layer in layers {
        let family = if layer["kind"] == "linear" { "linear" } else { "convolution" };
        let error = prediction["instruction_errors"][family].as_f64().unwrap();
        let (low, high) = range(&layer["instructions"]);
        assert!((high / low - (1.0 + error) / (1.0 - error)).abs() < 1e-6, "{low} to {high}, error {error}");
    }
    let text = bench.run("profile model --board stm32f407-discovery").quiet();
    assert!(text.contains("~ convolution: from MACs and outputs"), "{text}");
}

#[test]
fn kinds_that_were_not_counted_are_left_out() {
    let pools = |spec: &FileSpec| spec.encoder.iter().any(|layer| matches!(layer, LayerSpec::MaxPool { .. }));
    let bench = Bench::new(&(0..).map(networks::random).find(pools).unwrap());
    let text = bench.run("profile model --board pico").quiet();
    let pool = text.lines().find(|line| line.contains("max_pool")).unwrap();
    assert!(pool.ends_with("unknown"), "{text}");
    let layers = predict(&bench, "pico")["encode"]["layers"].clone();
    let pool = layers.as_array().unwrap().iter().find(|layer| layer["kind"] == "max_pool").unwrap().clone();
    assert_eq!((&pool["instructions"], &pool["milliseconds"]), (&Value::Null, &Value::Null));
}

#[test]
fn all_boards_have_a_line_each() {
    let bench = shipped();
    let all = predict(&bench, "all");
    let all = all.as_array().unwrap();
    assert!(all.len() >= 12);
    let text = bench.run("profile model --board all").quiet();
    for prediction in all {
        let board = prediction["board"].as_str().unwrap();
        assert_eq!(*prediction, predict(&bench, board));
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(board)).unwrap();
        let fits = |need: &Value| need["needed"].as_u64() <= need["available"].as_u64();
        assert_eq!(line.contains("needs"), !fits(&prediction["ram"]) || !fits(&prediction["flash"]), "{line}");
    }
}

#[test]
fn boards_that_there_are_not_are_refused_with_those_that_there_are() {
    let bench = Bench::tiny();
    for board in ["pice", "list", "PICO"] {
        bench.refuses(&format!("profile model --board {board}"), 2, &["--board", "all", "microbit-v1", "esp32-c3"]);
    }
    bench.refuses("profile model --board pico --runs 3", 2, &["--board", "--runs"]);
    bench.refuses("profile model --board pico --trace trace.json", 2, &["--board", "--trace"]);
}
