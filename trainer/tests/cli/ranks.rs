//! Several processes, as the environment says them.

use tempfile::{TempDir, tempdir};

use crate::{
    support::{Outcome, SMALL, assert_same, command, files},
    with,
};

/// `unbraid train` with `variables` such as `RANK=0 WORLD_SIZE=2`.
fn train_with(folder: &TempDir, variables: &str, line: &str) -> Outcome {
    let mut command = command(folder.path(), ["train"].into_iter().chain(line.split_whitespace()));
    let variables = variables.split_whitespace().map(|variable| variable.split_once('=').unwrap());
    command.envs(variables).output().unwrap().into()
}

#[test]
fn variables_that_make_no_sense_are_refused_by_name() {
    let folder = with(&["run"]);
    let before = files(folder.path());
    for (variables, words) in [
        ("RANK=1", ["WORLD_SIZE = (not set)", "the number of processes, since RANK is 1"]),
        ("WORLD_SIZE=2", ["RANK = (not set)", "0 to 1, since WORLD_SIZE is 2"]),
        ("RANK=2 WORLD_SIZE=2", ["RANK = 2", "0 to 1, since WORLD_SIZE is 2"]),
        ("RANK=first WORLD_SIZE=2", ["RANK = first", "a whole number from 0 to 65535"]),
        ("RANK=0 WORLD_SIZE=0", ["WORLD_SIZE = 0", "a whole number from 1 to 65536"]),
        ("RANK=0 WORLD_SIZE=2", ["MASTER_ADDR = (not set)", "rank 0's machine, since WORLD_SIZE is 2"]),
        ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a MASTER_PORT=0", ["MASTER_PORT = 0", "from 1 to 65535"]),
        ("RANK=0 WORLD_SIZE=2 MASTER_ADDR=a LOCAL_RANK=x", ["LOCAL_RANK = x", "from 0 to 65535"]),
        // 4 images in a minibatch.
        ("RANK=0 WORLD_SIZE=3 MASTER_ADDR=localhost", ["batch_size = 4", "a multiple of 3, the number of processes"]),
    ] {
        let new = format!("--run new {}", SMALL.join(" "));
        for line in [new.as_str(), "--resume run --steps 8"] {
            train_with(&folder, variables, line).fails(2, &words);
        }
    }
    assert_same(&files(folder.path()), &before);
}

#[cfg(not(feature = "nccl"))]
#[test]
fn a_build_without_nccl_trains_in_one_process() {
    let folder = with(&["run"]);
    let before = files(folder.path());
    for line in ["--run new", "--resume run --steps 8"] {
        for rank in [0, 1] {
            let variables = format!("RANK={rank} WORLD_SIZE=2 MASTER_ADDR=localhost");
            let words = ["WORLD_SIZE = 2: expected 1: this build trains in one process", "--features nccl"];
            train_with(&folder, &variables, line).fails(2, &words);
        }
    }
    assert_same(&files(folder.path()), &before);
}

#[test]
fn one_process_of_a_launcher_is_one_process() {
    let folder = tempdir().unwrap();
    let line = format!("--run run --steps 1 {}", SMALL.join(" "));
    train_with(&folder, "RANK=0 WORLD_SIZE=1 LOCAL_RANK=0 MASTER_ADDR=localhost MASTER_PORT=1", &line).succeeds();
}
