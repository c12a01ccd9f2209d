//! A folder to run the command in, and what has to come out.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use image::{DynamicImage, GrayAlphaImage, GrayImage, RgbImage, RgbaImage};
use serde_json::Value;
use tempfile::TempDir;
use unbraid::writer::{self, FileSpec};
use unbraid::{Code, Model};

use crate::networks;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_unbraid-run");

/// A folder with `model` in it, and what the library makes of that model.
pub struct Bench {
    pub folder: TempDir,
    pub file: &'static [u8],
}

impl Bench {
    /// 8x8 gray, three latents: `rotation` is z1, `scale` is z0, z2 has no name.
    pub fn tiny() -> Self {
        Bench::new(&networks::tiny())
    }

    pub fn new(spec: &FileSpec) -> Self {
        let file = writer::write(spec).unwrap().leak();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model"), &file).unwrap();
        Bench { folder, file }
    }

    pub fn model(&self) -> Model<'static> {
        Model::load(self.file).unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the command in the folder.
    pub fn run(&self, arguments: &str) -> Run {
        let mut command = Command::new(PROGRAM);
        Run::new(command.args(arguments.split_whitespace()).current_dir(self.folder.path()).output().unwrap())
    }

    /// A picture with something in it, saved as `photo.png`; returns its bytes.
    pub fn photo(&self) -> Vec<u8> {
        let shape = self.model().image();
        let pixels = networks::Random(7).bytes(shape.len());
        let raw = pixels.clone();
        let (width, height) = (shape.width as u32, shape.height as u32);
        let picture = match shape.channels {
            1 => DynamicImage::ImageLuma8(GrayImage::from_raw(width, height, raw).unwrap()),
            2 => DynamicImage::ImageLumaA8(GrayAlphaImage::from_raw(width, height, raw).unwrap()),
            3 => DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, raw).unwrap()),
            _ => DynamicImage::ImageRgba8(RgbaImage::from_raw(width, height, raw).unwrap()),
        };
        picture.save(self.path("photo.png")).unwrap();
        pixels
    }

    pub fn picture(&self, name: &str) -> DynamicImage {
        image::open(self.path(name)).unwrap()
    }

    pub fn encode(&self, pixels: &[u8]) -> Code {
        let model = self.model();
        model.encode(pixels, &mut vec![0; model.arena_bytes()]).unwrap()
    }

    pub fn decode(&self, code: &Code) -> Vec<u8> {
        let model = self.model();
        let mut pixels = vec![0; model.image().len()];
        model.decode_into(code, &mut vec![0; model.arena_bytes()], &mut pixels).unwrap();
        pixels
    }

    pub fn center(&self) -> Code {
        let model = self.model();
        model.factors().fold(Code::new(&model), |code, factor| code.with(factor, factor.center).unwrap())
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The files in the folder, sorted.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs a command that has to fail with `code`, saying all of `parts`, and leave nothing behind.
    pub fn refuses(&self, arguments: &str, code: i32, parts: &[&str]) {
        let before = self.files();
        let run = self.run(arguments);
        assert_eq!(run.code, code, "{arguments}: {run:?}");
        assert_eq!(run.stdout, "", "{arguments}");
        for part in parts {
            assert!(run.stderr.contains(part), "{arguments}: {part:?} is not in\n{}", run.stderr);
        }
        assert!(!run.stderr.contains("panicked"), "{run:?}");
        assert_eq!(self.files(), before, "{arguments}");
    }
}

#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn new(output: Output) -> Self {
        Run {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The standard output of a run that went well without a word on standard error.
    #[track_caller]
    pub fn quiet(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        self.stdout
    }

    /// The notes of a run that went well.
    #[track_caller]
    pub fn notes(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stderr
    }
}
