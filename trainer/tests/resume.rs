//! Runs that are interrupted, damaged, continued and extended end where undisturbed ones do, bit for bit.

mod support;

use std::{
    fs::{self, File},
    path::Path,
    time::{Duration, Instant},
};

use support::{assert_same, command, copy, edit, files, replace, results, train, unbraid};
use tempfile::tempdir;

const NEWEST: &str = "checkpoints/step-00000006.safetensors";
const BEFORE: &str = "checkpoints/step-00000004.safetensors";

/// A finished run of six steps with checkpoints of steps 4 and 6.
fn six_steps(folder: &Path, name: &str) {
    train(folder, &format!("--run {name} --steps 6 --checkpoint-every 2 --log-every 1")).succeeds();
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let folder = tempdir().unwrap();
    let settings = "--steps 40 --checkpoint-every 5 --log-every 1 --sample-every 10";
    train(folder.path(), &format!("--run whole {settings}")).succeeds();

    let killed = folder.path().join("killed");
    let words = format!("train {} --run killed {settings}", support::SMALL.join(" "));
    for (words, checkpoint) in [(words.as_str(), 5), ("train --resume killed", 20)] {
        let mut child = command(folder.path(), words.split_whitespace()).spawn().unwrap();
        let checkpoint = killed.join(format!("checkpoints/step-{checkpoint:08}.safetensors"));
        let patience = Instant::now();
        while !checkpoint.exists() {
            assert!(patience.elapsed() < Duration::from_secs(120), "no {}", checkpoint.display());
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success());
        assert!(!killed.join("model").exists(), "killed too late to show anything");
    }

    // What a kill can leave: lines of steps that will be made again, the last one torn, and files half-written.
    edit(&killed.join("metrics.jsonl"), |text| text.extend(b"{\"step\":39,\"loss\":1}\n{\"step\":40,\"lo"));
    fs::create_dir(killed.join(".unbraid-model")).unwrap();
    for file in [".unbraid-model/new", ".unbraid-config", "checkpoints/.unbraid-123", "samples/.unbraid-456"] {
        fs::write(killed.join(file), "half").unwrap();
    }

    let resumed = unbraid(folder.path(), "train --resume killed").succeeds();
    assert!(resumed.err.contains("going on after step "), "{}", resumed.err);
    assert_same(&results(&killed), &results(&folder.path().join("whole")));
    let metrics = fs::read_to_string(killed.join("metrics.jsonl")).unwrap();
    assert_eq!(metrics.lines().count(), 40);
}

#[test]
fn the_seed_names_the_run_and_threads_do_not_matter() {
    let folder = tempdir().unwrap();
    let settings = "--steps 3 --log-every 1 --batch-size 48";
    let words = |more: &str| format!("train --discriminator-units 200 --discriminator-layers 2 {settings} {more}");
    for more in ["--run one --threads 1", "--run two --threads 2", "--run five --threads 5", "--run other --seed 1"] {
        unbraid(folder.path(), &words(more)).succeeds();
    }
    let of = |run: &str, file: &str| fs::read(folder.path().join(run).join(file)).unwrap();
    for file in ["checkpoints/step-00000003.safetensors", "metrics.jsonl", "model/model.safetensors"] {
        assert!(of("one", file) == of("two", file), "{file} differs between 1 and 2 threads");
        assert!(of("one", file) == of("five", file), "{file} differs between 1 and 5 threads");
        assert!(of("one", file) != of("other", file), "{file} is the same for another seed");
    }
}

/// Changes the bytes of a file.
type Damage = fn(&mut Vec<u8>);

#[test]
fn a_damaged_checkpoint_is_named_and_the_one_before_used() {
    let folder = tempdir().unwrap();
    six_steps(folder.path(), "whole");
    let whole = folder.path().join("whole");
    let damages: [(&str, Damage, &str); 6] = [
        ("truncated", |bytes| bytes.truncate(bytes.len() / 2), "a whole safetensors file"),
        ("bit-flipped", |bytes| bytes[3_000_001] ^= 4, "checksum"),
        ("renamed-tensor", |bytes| flip(bytes, b"encoder.0.bias", 8), "a whole safetensors file"),
        ("of-another-kind", |bytes| flip(bytes, b"unbraid-checkpoint-1", 19), "expected unbraid-checkpoint-1"),
        ("garbage", |bytes| *bytes = b"not a checkpoint at all".to_vec(), "a whole safetensors file"),
        ("empty", Vec::clear, "a whole safetensors file"),
    ];
    for (name, damage, reason) in damages {
        let run = folder.path().join(name);
        copy(&whole, &run);
        edit(&run.join(NEWEST), damage);
        let resumed = unbraid(folder.path(), &format!("train --resume {name}")).succeeds();
        for word in ["damaged checkpoint", NEWEST, reason, "going on after step 4"] {
            assert!(resumed.err.contains(word), "no {word:?} in: {}", resumed.err);
        }
        assert_same(&results(&run), &results(&whole));
    }
}

/// Changes a bit of the byte `at` behind the first `text`.
fn flip(bytes: &mut [u8], text: &[u8], at: usize) {
    let start = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[start + at] ^= 1;
}

#[test]
fn a_run_with_no_whole_checkpoint_stops_and_keeps_its_files() {
    let folder = tempdir().unwrap();
    six_steps(folder.path(), "run");
    let run = folder.path().join("run");
    for checkpoint in [BEFORE, NEWEST] {
        edit(&run.join(checkpoint), |bytes| bytes.truncate(1000));
    }
    let before = files(&run);
    unbraid(folder.path(), "train --resume run").fails(1, &[BEFORE, NEWEST, "a whole safetensors file"]);
    unbraid(folder.path(), "export run -o model").fails(1, &[BEFORE, NEWEST]);
    assert_same(&files(&run), &before);
    assert!(!folder.path().join("model").exists());
}

#[test]
fn a_checkpoint_of_other_networks_is_refused() {
    let folder = tempdir().unwrap();
    train(folder.path(), "--run four --latents 4 --steps 2").succeeds();
    replace(&folder.path().join("four/config.toml"), "latents = 4", "latents = 5");
    let before = results(&folder.path().join("four"));
    let words = ["four/checkpoints", "step 2", "encoder.6.weight", "[8, 128]", "[10, 128]"];
    unbraid(folder.path(), "train --resume four --steps 4").fails(1, &words);
    let mut after = results(&folder.path().join("four"));
    // The number of steps is the user's to change.
    after.insert("config.toml".into(), before[Path::new("config.toml")].clone());
    assert_same(&after, &before);
}

#[test]
fn only_how_long_and_where_may_change() {
    let folder = tempdir().unwrap();
    six_steps(folder.path(), "run");
    let run = folder.path().join("run");
    let before = files(&run);
    for (change, words) in [
        ("--gamma 3", ["gamma", "3.0", "expected 35.0"]),
        ("--seed 1", ["seed", "= 1", "expected 0"]),
        ("--latents 9", ["latents", "= 9", "expected 10"]),
        ("--init glorot", ["init", "glorot", "expected \"he\""]),
        ("--learning-rate 1e-3", ["learning_rate", "0.001", "expected 0.0001"]),
        ("--discriminator-units 8", ["discriminator_units", "= 8", "expected 16"]),
        // Fewer steps than were made would leave a run that says less than it is.
        ("--steps 3", ["steps", "= 3", "6 or more"]),
        ("--steps 0", ["steps", "= 0", "1 or more"]),
        ("--keep-checkpoints 1", ["keep_checkpoints", "= 1", "2 or more"]),
        ("--device gpu", ["device", "= gpu", "auto, cpu, cuda or cuda:N"]),
    ] {
        unbraid(folder.path(), &format!("train --resume run {change}")).fails(2, &words);
    }
    assert_same(&files(&run), &before);

    let same_and_free = "--gamma 35 --threads 1 --device cpu --log-every 3 --sample-every 5 --checkpoint-every 4";
    unbraid(folder.path(), &format!("train --resume run {same_and_free}")).succeeds();
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    for line in ["threads = 1", "device = \"cpu\"", "log_every = 3", "sample_every = 5", "checkpoint_every = 4"] {
        assert!(config.contains(line), "{config}");
    }
}

#[test]
fn resuming_a_finished_run_changes_nothing_and_more_steps_extend_it() {
    let folder = tempdir().unwrap();
    let settings = "--log-every 2 --checkpoint-every 2 --sample-every 4";
    train(folder.path(), &format!("--run run --steps 4 {settings}")).succeeds();
    let run = folder.path().join("run");
    // Work on the model that was made of it is not lost.
    fs::write(run.join("model/model.int8.safetensors"), "mine").unwrap();
    let before = results(&run);
    unbraid(folder.path(), "train --resume run").succeeds();
    assert_same(&results(&run), &before);

    train(folder.path(), &format!("--run long --steps 8 {settings}")).succeeds();
    unbraid(folder.path(), "train --resume run --steps 8").succeeds();
    assert_same(&results(&run), &results(&folder.path().join("long")));
}

#[test]
fn two_processes_do_not_train_in_one_folder() {
    let folder = tempdir().unwrap();
    train(folder.path(), "--run run --steps 2").succeeds();
    let before = files(&folder.path().join("run"));
    let lock = File::open(folder.path().join("run/.lock")).unwrap();
    lock.lock().unwrap();
    unbraid(folder.path(), "train --resume run --steps 4").fails(1, &["run: another process is training"]);
    assert_same(&files(&folder.path().join("run")), &before);
    lock.unlock().unwrap();
    unbraid(folder.path(), "train --resume run --steps 4").succeeds();
}

#[test]
fn what_is_not_a_run_is_not_resumed() {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    for path in ["nowhere", "empty", "file"] {
        let words = [path, "config.toml", "expected the folder of a run"];
        unbraid(folder.path(), &format!("train --resume {path}")).fails(1, &words);
    }
    assert_eq!(fs::read_dir(folder.path().join("empty")).unwrap().count(), 0);

    train(folder.path(), "--run run --steps 1").succeeds();
    for (from, to, word) in [
        ("gamma = 35.0", "gamma = -35.0", "gamma = -35"),
        ("gamma = -35.0", "gamma = ", "TOML parse error"),
        ("gamma = ", "delta = 1", "delta = 1"),
    ] {
        replace(&folder.path().join("run/config.toml"), from, to);
        let before = files(&folder.path().join("run"));
        unbraid(folder.path(), "train --resume run").fails(1, &["run/config.toml", word, "as `unbraid train` writes"]);
        assert_same(&files(&folder.path().join("run")), &before);
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_with_step_and_term() {
    let folder = tempdir().unwrap();
    // Finite for the command line, infinite as f32.
    train(folder.path(), "--run gamma --steps 3 --gamma 1e39").fails(1, &["step 1: loss is", "inf"]);
    // Its squares are infinite: the first checkpoint finds them in Adam's second moments.
    let words = ["step 1: vae.v.", "is inf"];
    train(folder.path(), "--run moments --steps 3 --gamma 3e38 --checkpoint-every 1").fails(1, &words);
    train(folder.path(), "--run rate --steps 9 --learning-rate 1").fails(1, &["step ", " is NaN"]);
    for run in ["gamma", "moments", "rate"] {
        let run = folder.path().join(run);
        assert!(!run.join("checkpoints").exists() && !run.join("model").exists());
    }

    // A run that breaks at step 5 keeps what it has, and goes on once the cause is gone.
    let settings = "--log-every 1 --checkpoint-every 2";
    train(folder.path(), &format!("--run whole --steps 8 {settings}")).succeeds();
    train(folder.path(), &format!("--run run --steps 4 {settings}")).succeeds();
    let run = folder.path().join("run");
    let before = results(&run);
    replace(&run.join("config.toml"), "gamma = 35.0", "gamma = 1e39");
    let words = ["step 5: loss is", "inf", "the last good checkpoint is kept"];
    unbraid(folder.path(), "train --resume run --steps 8").fails(1, &words);
    unbraid(folder.path(), "export run -o model").succeeds();
    let mut after = results(&run);
    after.insert("config.toml".into(), before[Path::new("config.toml")].clone());
    assert_same(&after, &before);

    edit(&run.join("config.toml"), |text| text.clone_from(&before[Path::new("config.toml")]));
    unbraid(folder.path(), "train --resume run --steps 8").succeeds();
    let (mut resumed, mut whole) = (results(&run), results(&folder.path().join("whole")));
    // A sheet of the last step of each start.
    for files in [&mut resumed, &mut whole] {
        files.retain(|path, _| !path.starts_with("samples"));
    }
    assert_same(&resumed, &whole);
}
