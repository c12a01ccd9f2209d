//! Disks that fill up while something is written.

use std::fs;

use crate::{
    support,
    support::{assert_same, replace, train, unbraid, unbraid_on_a_full_disk},
    with,
};

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let folder = with(&["run", "tiny"]);
    let full = |blocks: u32, line: &str, words: &[&str]| {
        let before = support::results(folder.path());
        unbraid_on_a_full_disk(folder.path(), blocks, line).fails(1, words);
        let after = support::results(folder.path());
        (before, after)
    };
    let unchanged = |blocks: u32, line: &str, word: &str| {
        let (before, after) = full(blocks, line, &[word, "File too large"]);
        assert_same(&after, &before);
    };
    unchanged(100, "quantize run/model -o q --images 8 --compare 8", "error: q: ");
    unchanged(1, "traverse tiny -o t.png", "error: t.png: ");
    unchanged(100, "export run -o model", "error: model/");
    unchanged(100, "export run -o run/model --force", "error: run/model/");

    // Training: what was there stays, the checkpoint that did not fit is not there, and the run can go on.
    let (mut before, mut after) =
        full(2048, "train --resume run --steps 10", &["run/checkpoints/step-00000008.safetensors: File too large"]);
    for files in [&mut before, &mut after] {
        // The steps made since are in the log, the number of steps in the settings.
        files.retain(|path, _| !(path.ends_with("metrics.jsonl") || path.ends_with("config.toml")));
    }
    assert_same(&after, &before);
    unbraid(folder.path(), "train --resume run").succeeds();
    let line = "--run whole --steps 10 --checkpoint-every 2 --log-every 2 --learning-rate 1e-3";
    train(folder.path(), line).succeeds();
    let of = |path: &str| fs::read(folder.path().join(path)).unwrap();
    assert!(of("run/model/model.safetensors") == of("whole/model/model.safetensors"));
    // The export at the end of a run: an earlier one stays.
    replace(&folder.path().join("run/model/config.json"), "\"steps\": 10", "\"steps\": 8");
    unchanged(1000, "train --resume run", "error: run/model/");
}
