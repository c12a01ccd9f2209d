//! The command line where it is given what it cannot use, and what it makes where it can.

mod architectures;
mod datasets;
mod directories;
mod exports;
#[cfg(unix)]
mod full_disk;
mod imports;
mod int8_files;
mod measuring;
mod one_network;
mod ranks;
mod reports;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod sweeps;
mod timing;

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use support::{assert_same, copy, files, train, unbraid, write_tiny_model};
use tempfile::{TempDir, tempdir};

/// A folder with a finished run `run`, a model directory `tiny` and its int8 file `tiny.int8`; made once, read by all.
fn made() -> &'static Path {
    // The lock keeps a second run of these tests from the same folder.
    static MADE: OnceLock<(PathBuf, File)> = OnceLock::new();
    let (folder, _) = MADE.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let lock = File::create(target.join("cli.lock")).unwrap();
        lock.lock().unwrap();
        let folder = target.join("cli");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        train(&folder, "--run run --steps 6 --checkpoint-every 2 --log-every 2 --learning-rate 1e-3").succeeds();
        write_tiny_model(&folder.join("tiny"));
        unbraid(&folder, "quantize tiny -o tiny.int8 --images 32 --compare 32").succeeds();
        (folder, lock)
    });
    folder
}

/// A fresh folder with copies of things from [`made`].
fn with(names: &[&str]) -> TempDir {
    let folder = tempdir().unwrap();
    for name in names {
        let (from, to) = (made().join(name), folder.path().join(name));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
    folder
}

/// `line` fails and leaves `folder` as it was.
#[track_caller]
fn refused(folder: &TempDir, line: &str, code: i32, words: &[&str]) {
    let before = files(folder.path());
    unbraid(folder.path(), line).fails(code, words);
    assert_same(&files(folder.path()), &before);
}
