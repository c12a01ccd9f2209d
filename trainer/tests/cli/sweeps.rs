//! Sweeps: a list of runs worked off here or by Slurm, whatever becomes of single ones, and what they say in the end.

use std::{collections::BTreeMap, fs, path::Path};

use tempfile::{TempDir, tempdir};

use crate::{
    refused,
    support::{Outcome, assert_same, command, files, replace, unbraid},
};

/// Networks whose step takes a millisecond.
const NET: &str = r#"
name = "tiny"
image = { height = 64, width = 64, channels = 1 }
encoder = [{ kind = "conv2d", channels = 2, kernel = 4, stride = 4 }, { kind = "max_pool", kernel = 4 }]
decoder = [
    { kind = "linear", features = 32 },
    { kind = "unflatten", channels = 2, height = 4, width = 4 },
    { kind = "conv_transpose2d", channels = 2, kernel = 4, stride = 4 },
    { kind = "conv_transpose2d", channels = 1, kernel = 4, stride = 4 },
]
"#;

/// Two β, two seeds.
const SWEEP: &str = r#"
seeds = [0, 1]

[train]
architecture = "nets/tiny.toml"
latents = 3
batch_size = 4
steps = 4
checkpoint_every = 2
log_every = 2

[[group]]
objective = "beta-vae"
beta = [1, 4]

[evaluate]
metrics = "mig,mutual-information"
samples = 200
"#;

/// A folder with [`NET`] and `text` as `sweep.toml`.
fn with_sweep(text: &str) -> TempDir {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("nets")).unwrap();
    fs::write(folder.path().join("nets/tiny.toml"), NET).unwrap();
    fs::write(folder.path().join("sweep.toml"), text).unwrap();
    folder
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))).unwrap()
}

/// What a job makes that does not tell the time: the runs' files but logs of events.
fn runs(sweep: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = files(&sweep.join("runs"));
    files.retain(|path, _| !path.to_string_lossy().contains("tfevents"));
    files
}

#[test]
fn a_sweep_is_trained_measured_ranked_and_left_alone_when_it_is_done() {
    let folder = with_sweep(SWEEP);
    let line = "sweep sweep.toml -o s --jobs 2 --markdown results.md";
    let outcome = unbraid(folder.path(), line).succeeds();
    assert!(outcome.out.contains("s: 4 runs, 4 to do"), "{}", outcome.out);
    for words in ["[4/4] beta-vae,beta=", "finished"] {
        assert!(outcome.err.contains(words), "{}", outcome.err);
    }
    let sweep = folder.path().join("s");
    let board = json(&sweep.join("leaderboard.json"));
    assert_eq!(board["ranked_by"]["name"], "mig (study)");
    for run in board["runs"].as_array().unwrap() {
        let model = sweep.join("runs").join(run["name"].as_str().unwrap()).join("model");
        for (precision, file) in [("f32", "evaluation.json"), ("int8", "evaluation.int8.json")] {
            let evaluation = json(&model.join(file));
            assert_eq!(run[precision]["mig (study)"], evaluation["scores"][0]["value"]);
            assert_eq!(run[precision]["reconstruction"], evaluation["statistics"]["reconstruction"]);
        }
        // The model is labeled, and its int8 file has the same names.
        let names = |line: &str| unbraid(&model, line).succeeds().err;
        assert!(!names("traverse . -o t.png --force").contains("no names yet"));
        assert!(!names("traverse model.int8.safetensors -o t.png --force").contains("no names yet"));
        fs::remove_file(model.join("t.png")).unwrap();
        assert!(run["udr"].is_number() && run["state"] == "finished", "{run}");
    }
    let rows = board["settings"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["finished"]), (2, &2.into()));
    assert!(outcome.out.contains("best run by mig (study): ") && outcome.out.contains("best run by UDR"));
    let page = fs::read_to_string(sweep.join("leaderboard.html")).unwrap();
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let page = roxmltree::Document::parse_with_options(&page, options).unwrap();
    let elements = |name| page.descendants().filter(|node| node.has_tag_name(name)).count();
    // A plot for each score with a point for each run, and the best run's traversal.
    assert_eq!((elements("circle"), elements("img"), elements("h3")), (2 * 4, 1, 2 + 2 + 1));
    let markdown = fs::read_to_string(folder.path().join("results.md")).unwrap();
    assert_eq!(
        markdown.lines().filter(|line| line.starts_with("| beta-vae,beta=") && line.contains("| f32 |")).count(),
        2
    );
    assert!(markdown.contains(&format!("`unbraid {line}`").replace(" -o s --jobs 2", "")), "{markdown}");

    let before = files(&sweep);
    let again = unbraid(folder.path(), "sweep s").succeeds();
    assert!(again.out.contains("4 runs, 0 to do"), "{}", again.out);
    assert_same(&files(&sweep), &before);
    let status = unbraid(folder.path(), "sweep s --status").succeeds();
    assert_eq!(status.out.matches("finished     beta-vae").count(), 4, "{}", status.out);

    // The list may grow, and more may be measured; runs stay what they were.
    replace(&folder.path().join("sweep.toml"), "beta = [1, 4]", "beta = [4, 1, 8]");
    replace(&folder.path().join("sweep.toml"), "mig,", "");
    let trained = fs::read(sweep.join("runs/beta-vae,beta=4,seed=0/model/model.safetensors")).unwrap();
    let grown = unbraid(folder.path(), "sweep sweep.toml -o s").succeeds();
    assert!(grown.out.contains("6 runs, 6 to do"), "{}", grown.out);
    assert!(!grown.err.contains("going on after"), "{}", grown.err);
    assert!(fs::read(sweep.join("runs/beta-vae,beta=4,seed=0/model/model.safetensors")).unwrap() == trained);
    let board = json(&sweep.join("leaderboard.json"));
    assert_eq!(board["ranked_by"]["name"], "mutual-information (study)");
    assert!(board["runs"].as_array().unwrap().iter().all(|run| run["int8"].get("mig (study)").is_none()));

    // Another list is refused where it would make other runs of these.
    for (from, to, words) in [
        ("steps = 4", "steps = 6", ["beta-vae,beta=4,seed=0: steps = 6", "4, as this run was started"]),
        ("latents = 3", "latents = 2", ["latents = 2", "another folder"]),
        ("beta = [4, 1, 8]", "beta = [4, inf]", ["beta = inf", "a finite number"]),
    ] {
        replace(&folder.path().join("sweep.toml"), from, to);
        refused(&folder, "sweep sweep.toml -o s", 2, &words);
        replace(&folder.path().join("sweep.toml"), to, from);
    }
    replace(
        &folder.path().join("nets/tiny.toml"),
        "channels = 2, kernel = 4, stride = 4 }, {",
        "channels = 3, kernel = 4, stride = 4 }, {",
    );
    refused(&folder, "sweep sweep.toml -o s", 2, &["architecture = ", "the networks that the run keeps"]);
}

#[test]
fn lists_and_folders_that_cannot_be_are_refused_before_anything_is_written() {
    let folder = with_sweep(SWEEP);
    replace(&folder.path().join("sweep.toml"), "beta = [1, 4]", "beta = [1, -4]");
    for (line, code, words) in [
        ("sweep sweep.toml", 2, ["sweep.toml: group[0].beta = -4", "a finite number"]),
        ("sweep missing.toml", 1, ["missing.toml", "No such file"]),
        ("sweep nets", 1, ["nets: sweep.toml: found no such file", "expected the folder of a sweep"]),
        ("sweep sweep.toml --status", 1, ["sweeps/sweep: sweep.toml: found no such file", ""]),
        ("sweep sweep.toml --jobs 0", 2, ["jobs = 0", "1 or more"]),
        ("sweep nets -o s", 2, ["output = s", "none"]),
        ("sweep sweep.toml --engine moon", 2, ["moon", "local, slurm"]),
    ] {
        refused(&folder, line, code, &words);
    }
    replace(&folder.path().join("sweep.toml"), "-4", "4");
    refused(&folder, "sweep sweep.toml -o nets", 1, &["nets: holds something that is no sweep"]);
    replace(&folder.path().join("nets/tiny.toml"), "features = 32", "features = 33");
    refused(&folder, "sweep sweep.toml", 1, &["nets/tiny.toml: decoder[1]", "features"]);
    assert!(!folder.path().join("sweeps").exists());
}

#[test]
fn a_job_that_fails_keeps_no_other_from_running_and_is_tried_again() {
    let text = SWEEP.replace("[0, 1]", "[0]");
    let folder = with_sweep(&text);
    let sweep = folder.path().join("s");
    // Another process got there first: a file where the run folder belongs. The list is not there yet, so it is no sweep.
    fs::create_dir(&sweep).unwrap();
    fs::write(sweep.join("sweep.toml"), &text).unwrap();
    fs::create_dir(sweep.join("runs")).unwrap();
    let blocked = sweep.join("runs/beta-vae,beta=1,seed=0");
    fs::write(&blocked, "").unwrap();
    let outcome = unbraid(folder.path(), "sweep sweep.toml -o s --jobs 1");
    let log = "s/jobs/beta-vae,beta=1,seed=0.log ends in:\n    error: ";
    outcome.fails(
        1,
        &["beta-vae,beta=1,seed=0: failed, exit status: 1", log, "beta=4,seed=0: finished", "1 of 2 runs failed"],
    );
    let status = unbraid(folder.path(), "sweep s --status").succeeds().out;
    assert!(status.contains("failed       beta-vae,beta=1,seed=0: ") && status.contains("Not a directory"), "{status}");
    assert!(status.contains("1/1") && status.contains("0/1"), "{status}");

    fs::remove_file(blocked).unwrap();
    let again = unbraid(folder.path(), "sweep s").succeeds();
    assert!(again.out.contains("2 runs, 1 to do"), "{}", again.out);
}

#[test]
fn a_killed_job_goes_on_where_it_was() {
    let text = SWEEP.replace("[0, 1]", "[0]").replace("beta = [1, 4]", "beta = 4").replace("steps = 4", "steps = 400");
    let text = text.replace("checkpoint_every = 2", "checkpoint_every = 20");
    let folder = with_sweep(&text);
    unbraid(folder.path(), "sweep sweep.toml -o whole").succeeds();

    fs::create_dir(folder.path().join("killed")).unwrap();
    fs::write(folder.path().join("killed/sweep.toml"), &text).unwrap();
    fs::create_dir(folder.path().join("killed/nets")).unwrap();
    fs::write(folder.path().join("killed/nets/tiny.toml"), NET).unwrap();
    let run = folder.path().join("killed/runs/beta-vae,seed=0");
    let begun = || fs::read_dir(run.join("checkpoints")).is_ok_and(|mut entries| entries.next().is_some());
    let mut job = command(folder.path(), ["sweep", "killed", "--job", "beta-vae,seed=0"]).spawn().unwrap();
    while !begun() {
        assert!(job.try_wait().unwrap().is_none(), "the job ended early");
        std::thread::yield_now();
    }
    let running = unbraid(folder.path(), "sweep killed --status").succeeds().out;
    job.kill().unwrap();
    job.wait().unwrap();
    let interrupted = unbraid(folder.path(), "sweep killed --status").succeeds().out;
    assert!(running.contains("running      beta-vae,seed=0"), "{running}");
    assert!(interrupted.contains("interrupted  beta-vae,seed=0"), "{interrupted}");
    unbraid(folder.path(), "sweep killed").succeeds();
    let log = fs::read_to_string(folder.path().join("killed/jobs/beta-vae,seed=0.log")).unwrap();
    assert!(log.contains("going on after step"), "{log}");
    let [whole, killed] = ["whole", "killed"].map(|sweep| runs(&folder.path().join(sweep)));
    assert_same(&whole, &killed);

    // Killed between two measurements: what is there already is not made again.
    let sweep = folder.path().join("whole");
    let record = sweep.join("jobs/beta-vae,seed=0.json");
    replace(&record, "\"finished\"", "\"begun\"");
    let model = sweep.join("runs/beta-vae,seed=0/model");
    fs::remove_file(model.join("evaluation.int8.json")).unwrap();
    replace(&model.join("evaluation.json"), "\"images\": 200", "\"images\": 201");
    unbraid(folder.path(), "sweep whole").succeeds();
    assert_eq!(json(&model.join("evaluation.json"))["statistics"]["images"], 201);
    assert_eq!(
        json(&model.join("evaluation.int8.json")),
        json(&folder.path().join("killed/runs/beta-vae,seed=0/model/evaluation.int8.json"))
    );
}

/// A folder of commands that stand for Slurm's: `sbatch` notes what it is given and answers `answer`, `squeue` answers the file
/// `queue`.
#[cfg(unix)]
fn fake_slurm(folder: &Path, sbatch: &str) {
    use std::os::unix::fs::PermissionsExt;
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).unwrap();
    fs::write(folder.join("queue"), "").unwrap();
    let queue = format!("echo \"$@\" >>{0}/asked\ncat {0}/queue", folder.display());
    let note = format!("echo \"$@\" >>{}/submitted\n{sbatch}", folder.display());
    for (name, text) in [("sbatch", note), ("squeue", queue)] {
        fs::write(bin.join(name), format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn slurm_gets_a_task_a_run_and_the_folder_says_what_became_of_them() {
    use std::process::Command;
    let folder = with_sweep(&SWEEP.replace("[0, 1]", "[0]"));
    fs::write(
        folder.path().join("sweep.toml"),
        fs::read_to_string(folder.path().join("sweep.toml")).unwrap()
            + "[slurm]\npartition = \"small\"\ntime = \"0:10:00\"\ncpus_per_task = 2\ngpus = 1\nextra = [\"--mem=1G\"]\n",
    )
    .unwrap();
    let path = format!("{}:{}", folder.path().join("bin").display(), std::env::var("PATH").unwrap());
    let with_slurm = |line: &str| -> Outcome {
        command(folder.path(), line.split_whitespace()).env("PATH", &path).output().unwrap().into()
    };
    let submit = "sweep sweep.toml -o s --engine slurm --jobs 3";
    fake_slurm(folder.path(), "echo 'sbatch: error: invalid partition specified: small' >&2; exit 1");
    with_slurm(submit).fails(1, &["sbatch refused", "invalid partition specified: small"]);
    fake_slurm(folder.path(), "echo all is well");
    with_slurm(submit).fails(1, &["sbatch printed \"all is well\"", "expected the number of a job"]);
    let nowhere = command(folder.path(), submit.split_whitespace()).env("PATH", "nowhere").output().unwrap();
    Outcome::from(nowhere).fails(1, &["sbatch: not found; submit s/slurm.sh"]);

    fake_slurm(folder.path(), "echo '77;cluster'");
    let outcome = with_slurm(submit).succeeds();
    assert!(outcome.err.contains("Slurm job 77: 2 tasks"), "{}", outcome.err);
    let script = fs::read_to_string(folder.path().join("s/slurm.sh")).unwrap();
    for option in ["array=0-1%3", "partition=small", "time=0:10:00", "cpus-per-task=2", "gpus=1", "mem=1G", "ntasks=1"]
    {
        assert!(script.lines().any(|line| line == format!("#SBATCH --{option}")), "{option}: {script}");
    }
    assert!(fs::read_to_string(folder.path().join("submitted")).unwrap().ends_with("--parsable slurm.sh\n"));

    // What waits in the queue is not handed over twice.
    fs::write(folder.path().join("queue"), "0 RUNNING\n1 PENDING\n").unwrap();
    let status = with_slurm("sweep s --status").succeeds().out;
    assert!(status.contains("running      beta-vae,beta=1,seed=0"), "{status}");
    assert!(status.contains("queued       beta-vae,beta=4,seed=0"), "{status}");
    assert!(fs::read_to_string(folder.path().join("asked")).unwrap().contains("--jobs 77"));
    assert!(with_slurm(submit).succeeds().out.contains("2 runs, 0 to do"));
    assert_eq!(fs::read_to_string(folder.path().join("submitted")).unwrap().lines().count(), 3);

    // A task does its run alone, whatever the cluster says about ranks.
    fs::write(folder.path().join("queue"), "").unwrap();
    let task = |index: &str| {
        let mut bash = Command::new("bash");
        bash.current_dir(folder.path().join("s")).arg("slurm.sh").env("SLURM_ARRAY_TASK_ID", index);
        bash.envs([("RANK", "1"), ("WORLD_SIZE", "4")]).status().unwrap()
    };
    assert!(task("1").success());
    let status = with_slurm("sweep s --status").succeeds().out;
    assert!(status.contains("waiting      beta-vae,beta=1,seed=0"), "{status}");
    assert!(status.contains("finished     beta-vae,beta=4,seed=0"), "{status}");
    assert!(with_slurm(submit).succeeds().out.contains("2 runs, 1 to do"));
    let script = fs::read_to_string(folder.path().join("s/slurm.sh")).unwrap();
    assert!(script.contains("--array=0-0%3") && !script.contains("beta=4"), "{script}");
}
