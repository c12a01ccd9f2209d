//! What the tests of the command line share: the binary itself, small runs, folders as bytes.
#![allow(dead_code, reason = "each test crate takes what it needs")]

pub mod blobs;
pub mod factor_vae;

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use candle_core::Device;
use unbraid_trainer::{
    data::{Dataset, sprites::Sprites},
    export::{self, Extras, ModelConfig},
    model::{Activation, Architecture, F32Model, ImageShape, Layer, PixelOutput, Window},
    nn::{Init, Network},
    objective::{Objective, Options, Setup, System, vae::Vae},
};

/// Settings that make a step take milliseconds.
pub const SMALL: [&str; 6] = ["--discriminator-units", "16", "--discriminator-layers", "1", "--batch-size", "4"];

/// Would make the process one of several, were they set where the tests run.
const RANK_VARIABLES: [&str; 5] = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"];

/// What a process said, and its exit code; -1 where a signal ended it.
pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Outcome {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap_or(-1);
        let outcome = Self { code, out: text(output.stdout), err: text(output.stderr) };
        assert!(!outcome.err.contains("panicked"), "{}", outcome.err);
        outcome
    }
}

impl Outcome {
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.err);
        self
    }

    /// The exit code is `code` and the error has each of `words`.
    #[track_caller]
    pub fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.lines().any(|line| line.starts_with("error: ")), "{}", self.err);
        for word in words {
            assert!(self.err.contains(word), "no {word:?} in: {}", self.err);
        }
        self
    }
}

/// The binary with `args`, to be run in `folder`.
pub fn command<S: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unbraid"));
    for name in RANK_VARIABLES {
        command.env_remove(name);
    }
    command.current_dir(folder).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the words of `line` as arguments in `folder`.
pub fn unbraid(folder: &Path, line: &str) -> Outcome {
    command(folder, line.split_whitespace()).output().unwrap().into()
}

/// `unbraid train` with [`SMALL`] settings and those in `line`.
pub fn train(folder: &Path, line: &str) -> Outcome {
    let words = ["train"].into_iter().chain(SMALL).chain(line.split_whitespace());
    command(folder, words).output().unwrap().into()
}

/// The same as [`unbraid`] where no file can grow beyond `blocks` of 512 or 1024 bytes, as the shell has it: writing fails
/// there as it does on a full disk.
#[cfg(unix)]
pub fn unbraid_on_a_full_disk(folder: &Path, blocks: u32, line: &str) -> Outcome {
    let unset = RANK_VARIABLES.join(" ");
    let script =
        format!("unset {unset}; trap '' XFSZ; ulimit -f {blocks}; exec {} {line}", env!("CARGO_BIN_EXE_unbraid"));
    Command::new("sh").current_dir(folder).args(["-c", &script]).output().unwrap().into()
}

/// Every file below `folder` by its path in it, hidden ones too.
pub fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(inner) = folders.pop() {
        for entry in fs::read_dir(inner).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().into(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// The files of a run but for TensorBoard's, which hold the time of day and one part a start.
pub fn results(run: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = files(run);
    files.retain(|path, _| !path.to_string_lossy().contains("tfevents"));
    files
}

/// Compares folders by name first: a difference of bytes would fill the screen.
#[track_caller]
pub fn assert_same(a: &BTreeMap<PathBuf, Vec<u8>>, b: &BTreeMap<PathBuf, Vec<u8>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (path, bytes) in a {
        assert!(b[path] == *bytes, "{} differs", path.display());
    }
}

pub fn copy(from: &Path, to: &Path) {
    for (path, bytes) in files(from) {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// Changes a file's bytes.
pub fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Replaces `from`, which must be there, in a text file.
#[track_caller]
pub fn replace(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// Networks for sprites whose step takes a millisecond.
pub fn tiny(latents: usize) -> Architecture {
    let (relu, none) = (Activation::Relu, Activation::Identity);
    let window = Window::square(4, 4, 0);
    let conv = |in_channels, out_channels| Layer::conv2d(in_channels, out_channels, window, relu);
    let back =
        |in_channels, out_channels, activation| Layer::conv_transpose2d(in_channels, out_channels, window, activation);
    let linear = |in_features, out_features, activation| Layer::Linear { in_features, out_features, activation };
    Architecture {
        name: "tiny".into(),
        image: ImageShape { channels: 1, height: 64, width: 64 },
        latents,
        encoder: vec![conv(1, 2), conv(2, 4), Layer::Flatten, linear(64, 2 * latents, none)],
        decoder: vec![
            linear(latents, 64, relu),
            Layer::Unflatten { channels: 4, height: 4, width: 4 },
            back(4, 2, relu),
            back(2, 1, none),
        ],
        output: PixelOutput::Sigmoid,
    }
}

/// `system` with [`tiny`] networks of five latents.
pub fn start(system: System, options: &Options) -> Box<dyn Objective> {
    start_on(&Sprites, &tiny(5), system, options)
}

/// `system` for other data and networks.
pub fn start_on(
    dataset: &dyn Dataset,
    architecture: &Architecture,
    system: System,
    options: &Options,
) -> Box<dyn Objective> {
    let setup = Setup { architecture, init: Init::He, seed: 3, dataset, device: &Device::Cpu };
    system.start(setup, options).unwrap()
}

/// Writes a model directory of [`tiny`] networks, so small that metrics over a hundred thousand images take seconds: two latents,
/// random weights.
pub fn write_tiny_model(dir: &Path) {
    let vae = Vae::new(&tiny(2), Init::He, 1, &Device::Cpu).unwrap();
    write_networks(dir, tiny(2), (&vae.encoder, &vae.decoder));
}

/// Writes a model directory of networks for sprites.
pub fn write_networks(dir: &Path, architecture: Architecture, networks: (&Network, &Network)) {
    let weights = F32Model::of_networks(architecture.clone(), networks, &Device::Cpu).weights();
    let config = ModelConfig {
        architecture,
        objective: "factor-vae".into(),
        dataset: "sprites".into(),
        steps: 0,
        seed: 1,
        training: serde_json::json!({}),
        factors: Vec::new(),
    };
    export::write(dir, &config, &weights, &Extras::default(), false).unwrap();
}
