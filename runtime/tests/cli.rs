//! The command `unbraid-run`, run as a user runs it.

mod networks;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use image::{DynamicImage, GrayImage, Luma, RgbImage, RgbaImage};
use serde_json::Value;
use tempfile::TempDir;
use unbraid::writer::{self, FileSpec};
use unbraid::{Code, Model};

const PROGRAM: &str = env!("CARGO_BIN_EXE_unbraid-run");

/// A folder with `model` in it, and what the library makes of that model.
struct Bench {
    folder: TempDir,
    file: &'static [u8],
}

impl Bench {
    /// 8x8 gray, three latents: `rotation` is z1, `scale` is z0, z2 has no name.
    fn tiny() -> Self {
        Bench::new(&networks::tiny())
    }

    fn new(spec: &FileSpec) -> Self {
        let file = writer::write(spec).unwrap().leak();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model"), &file).unwrap();
        Bench { folder, file }
    }

    fn model(&self) -> Model<'static> {
        Model::load(self.file).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the command in the folder.
    fn run(&self, arguments: &str) -> Run {
        let mut command = Command::new(PROGRAM);
        Run::new(command.args(arguments.split_whitespace()).current_dir(self.folder.path()).output().unwrap())
    }

    /// A picture with something in it, saved as `photo.png`; returns its bytes.
    fn photo(&self) -> Vec<u8> {
        let shape = self.model().image();
        let pixels = networks::Random(7).bytes(shape.len());
        let raw = pixels.clone();
        let (width, height) = (shape.width as u32, shape.height as u32);
        let picture = match shape.channels {
            1 => DynamicImage::ImageLuma8(GrayImage::from_raw(width, height, raw).unwrap()),
            2 => DynamicImage::ImageLumaA8(image::GrayAlphaImage::from_raw(width, height, raw).unwrap()),
            3 => DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, raw).unwrap()),
            _ => DynamicImage::ImageRgba8(RgbaImage::from_raw(width, height, raw).unwrap()),
        };
        picture.save(self.path("photo.png")).unwrap();
        pixels
    }

    fn picture(&self, name: &str) -> DynamicImage {
        image::open(self.path(name)).unwrap()
    }

    fn encode(&self, pixels: &[u8]) -> Code {
        let model = self.model();
        model.encode(pixels, &mut vec![0; model.arena_bytes()]).unwrap()
    }

    fn decode(&self, code: &Code) -> Vec<u8> {
        let model = self.model();
        let mut pixels = vec![0; model.image().len()];
        model.decode_into(code, &mut vec![0; model.arena_bytes()], &mut pixels).unwrap();
        pixels
    }

    fn center(&self) -> Code {
        let model = self.model();
        model.factors().fold(Code::new(&model), |code, factor| code.with(factor, factor.center).unwrap())
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// The files in the folder, sorted.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs a command that has to fail with `code`, saying all of `parts`, and leave nothing behind.
    fn refuses(&self, arguments: &str, code: i32, parts: &[&str]) {
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
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    fn new(output: Output) -> Self {
        Run {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The standard output of a run that went well without a word on standard error.
    #[track_caller]
    fn quiet(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        self.stdout
    }

    /// The notes of a run that went well.
    #[track_caller]
    fn notes(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stderr
    }
}

#[test]
fn info_shows_factors_layers_and_memory() {
    let bench = Bench::tiny();
    let model = bench.model();
    let text = bench.run("info model").quiet();
    let arenas =
        [model.encode_arena_bytes(), model.decode_arena_bytes()].map(|bytes| format!("{bytes} bytes of arena"));
    let file = format!("{},{:03} bytes", bench.file.len() / 1000, bench.file.len() % 1000);
    for part in [
        "image 8x8x1, 3 latents",
        "rotation  z1",
        "scale     z0",
        "conv_transpose2d",
        "4x4",
        &arenas[0],
        &arenas[1],
        &file,
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.lines().all(|line| !line.ends_with(' ')));

    let info: Value = serde_json::from_str(&bench.run("info model --json").quiet()).unwrap();
    assert_eq!(info["image"], serde_json::json!([8, 8, 1]));
    assert_eq!(info["factors"][0]["name"], "rotation");
    assert_eq!(info["factors"][0]["importance"], 3.0);
    assert_eq!(info["encoder"]["layers"].as_array().unwrap().len(), model.encoder_layers().len());
    assert_eq!(info["decoder"]["macs"], model.decoder_layers().map(|layer| layer.macs()).sum::<u64>());
    assert_eq!(info["decoder"]["arena_bytes"], model.decode_arena_bytes());
    assert_eq!(info["file_bytes"], bench.file.len());
    assert_eq!(info["metadata"]["producer"], "unbraid's tests");
}

#[test]
fn a_codes_file_is_exact() {
    let bench = Bench::tiny();
    let code = bench.encode(&bench.photo());
    let text = bench.run("encode model photo.png -o code.json").quiet();
    let first: Vec<_> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(first, ["z1", "rotation", &format!("{:.4}", code.mean(1)), &format!("{:.4}", code.log_var(1))]);
    assert_eq!(bench.run("encode model photo.png").quiet(), text);
    let file = bench.json("code.json");
    for latent in 0..3 {
        let entry = &file["latents"][latent];
        assert_eq!(entry["latent"], latent);
        assert_eq!(entry["mean"].as_f64().unwrap() as f32, code.mean(latent));
        assert_eq!(entry["log_var"].as_f64().unwrap() as f32, code.log_var(latent));
    }
    assert_eq!((&file["latents"][1]["factor"], &file["latents"][2]["factor"]), (&"rotation".into(), &Value::Null));

    assert_eq!(bench.run("decode model --code code.json -o plain.png").quiet(), "");
    assert_eq!(bench.picture("plain.png").into_bytes(), bench.decode(&code));
}

#[test]
fn decode_starts_from_the_factors_centers() {
    let mut spec = networks::tiny();
    spec.factors[0].center = 0.75;
    let bench = Bench::new(&spec);
    bench.run("decode model -o center.png").quiet();
    assert_eq!(bench.picture("center.png").into_bytes(), bench.decode(&bench.center()));
    assert_eq!(bench.run("decode model --set z2=-1.5 -o set.png").quiet(), "z2: 0.0000 -> -1.5000\n");
    assert_eq!(bench.picture("set.png").into_bytes(), bench.decode(&bench.center().with(2, -1.5).unwrap()));
}

#[test]
fn edit_turns_one_latent_and_no_other() {
    let bench = Bench::tiny();
    let code = bench.encode(&bench.photo());
    let expected = bench.decode(&code.with(1, 1.5).unwrap());
    assert_ne!(expected, bench.decode(&code));
    for (index, name) in ["rotation", "z1", "1"].into_iter().enumerate() {
        let text = bench.run(&format!("edit model photo.png --set {name}=1.5 -o edit{index}.png")).quiet();
        assert_eq!(text, format!("rotation (z1): {:.4} -> 1.5000\n", code.mean(1)));
        assert_eq!(bench.picture(&format!("edit{index}.png")).into_bytes(), expected);
    }

    let rotation = bench.model().factor("rotation").unwrap();
    let stepped = code.step(rotation, -1.0).unwrap().with(2, 0.5).unwrap();
    let text = bench.run("edit model photo.png --step rotation=-1 --set z2=0.5 -o both.png").quiet();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert_eq!(bench.picture("both.png").into_bytes(), bench.decode(&stepped));
}

#[test]
fn values_beyond_the_useful_range_and_the_code_are_said() {
    let bench = Bench::tiny();
    bench.photo();
    let run = bench.run("edit model photo.png --set rotation=3 -o a.png");
    assert!(run.quiet().contains("-> 3.0000 (outside its useful range, -2.0000 to 2.0000)"));
    let notes = bench.run("edit model photo.png --set rotation=100 -o b.png").notes();
    assert!(notes.starts_with("note: rotation (z1): 100 is beyond what a code can hold"), "{notes}");
}

#[test]
fn compare_shows_photo_reconstruction_and_edit() {
    let bench = Bench::tiny();
    let photo = bench.photo();
    let code = bench.encode(&photo);
    bench.run("edit model photo.png --set scale=-1 --compare -o three.png").quiet();
    let sheet = bench.picture("three.png");
    assert_eq!((sheet.width(), sheet.height()), (2 + 3 * 10, 2 + 10));
    let tile = |index: u32| sheet.crop_imm(2 + 10 * index, 2, 8, 8).into_bytes();
    let edited = bench.decode(&code.with(0, -1.0).unwrap());
    assert_eq!([tile(0), tile(1), tile(2)], [photo, bench.decode(&code), edited]);
}

#[test]
fn traverse_has_a_row_for_each_factor_from_low_to_high() {
    let bench = Bench::tiny();
    let code = bench.encode(&bench.photo());
    let tile =
        |sheet: &DynamicImage, row: u32, column: u32| sheet.crop_imm(2 + 10 * column, 2 + 10 * row, 8, 8).into_bytes();

    let text = bench.run("traverse model -o center.png").quiet();
    let rows: Vec<Vec<_>> = text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows, [["1", "rotation", "(z1)", "-2.0000", "2.0000"], ["2", "scale", "(z0)", "-2.0000", "2.0000"]]);
    let sheet = bench.picture("center.png");
    assert_eq!((sheet.width(), sheet.height()), (2 + 11 * 10, 2 + 2 * 10));
    assert_eq!(tile(&sheet, 0, 0), bench.decode(&bench.center().with(1, -2.0).unwrap()));
    assert_eq!(tile(&sheet, 1, 10), bench.decode(&bench.center().with(0, 2.0).unwrap()));
    assert_eq!(tile(&sheet, 1, 5), bench.decode(&bench.center()));

    bench.run("traverse model photo.png --steps 3 --factor z2 --factor scale -o photo_sheet.png").quiet();
    let sheet = bench.picture("photo_sheet.png");
    assert_eq!((sheet.width(), sheet.height()), (2 + 3 * 10, 2 + 2 * 10));
    assert_eq!(tile(&sheet, 0, 2), bench.decode(&code.with(2, 2.0).unwrap()));
    assert_eq!(tile(&sheet, 1, 1), bench.decode(&code.with(0, 0.0).unwrap()));
}

#[test]
fn without_names_traverse_shows_all_latents() {
    let bench = Bench::new(&FileSpec { factors: vec![], ..networks::tiny() });
    assert_eq!(bench.run("traverse model -o sheet.png --steps 2").quiet().lines().count(), 1 + 3);
    assert_eq!(bench.picture("sheet.png").height(), 2 + 3 * 10);
    assert!(bench.run("info model").quiet().contains("none: the latents have not been labeled"));
    bench.refuses(
        "decode model --set rotation=1 -o a.png",
        1,
        &["no factor \"rotation\"; the model has the latents z0 to z2"],
    );
}

#[test]
fn profile_measures_each_layer() {
    let bench = Bench::tiny();
    let model = bench.model();
    let text = bench.run("profile model --runs 3").quiet();
    assert!(
        text.contains("medians over 3 runs") && text.contains("conv_transpose2d") && text.contains("MAC/ns"),
        "{text}"
    );

    let report: Value =
        serde_json::from_str(&bench.run("profile model --runs 3 --json --trace trace.json").quiet()).unwrap();
    for (direction, count) in [("encode", model.encoder_layers().len()), ("decode", model.decoder_layers().len())] {
        let layers = report[direction]["layers"].as_array().unwrap();
        assert_eq!(layers.len(), count);
        let shares: f64 = layers.iter().map(|layer| layer["share"].as_f64().unwrap()).sum();
        assert!((shares - 1.0).abs() < 1e-9, "{shares}");
        assert!(report[direction]["nanoseconds"].as_u64().unwrap() > 0);
    }
    let trace = bench.json("trace.json");
    let events = trace["traceEvents"].as_array().unwrap();
    // A span for each row of each layer.
    let rows: usize = model.encoder_layers().chain(model.decoder_layers()).map(|layer| layer.output().height).sum();
    assert_eq!(events.iter().filter(|event| event["ph"] == "X").count(), rows);
    assert!(events.iter().all(|event| event["pid"] == 1 || event["pid"] == 2));
    bench.refuses("profile model --trace trace.json", 1, &["trace.json: exists already"]);
    bench.refuses("profile model --runs 0", 2, &["--runs"]);
}

#[test]
fn models_of_all_channel_counts_take_and_give_pictures() {
    for channels in 1..=4 {
        let fits =
            |spec: &FileSpec| spec.image.channels == channels && !spec.encoder.is_empty() && !spec.decoder.is_empty();
        let bench = Bench::new(&(0..).map(networks::random).find(fits).unwrap());
        let code = bench.encode(&bench.photo());
        bench.run("encode model photo.png -o code.json").quiet();
        bench.run("decode model --code code.json -o out.png").quiet();
        let picture = bench.picture("out.png");
        assert_eq!(usize::from(picture.color().channel_count()), channels);
        assert_eq!(picture.into_bytes(), bench.decode(&code));
    }
}

/// A gray 8x8 picture.
fn gray() -> DynamicImage {
    DynamicImage::ImageLuma8(GrayImage::from_fn(8, 8, |x, y| Luma([(x * 30 + y) as u8])))
}

#[test]
fn pictures_that_lose_nothing_are_taken_silently() {
    let bench = Bench::tiny();
    gray().save(bench.path("gray.png")).unwrap();
    let expected = bench.run("encode model gray.png").quiet();
    for (name, picture) in
        [("rgb.png", gray().into_rgb8().into()), ("rgba.png", DynamicImage::from(gray().into_rgba8()))]
    {
        picture.save(bench.path(name)).unwrap();
        assert_eq!(bench.run(&format!("encode model {name}")).quiet(), expected);
    }
}

#[test]
fn other_pictures_need_resize() {
    let bench = Bench::tiny();
    let mut color = gray().into_rgba8();
    color.get_pixel_mut(3, 3).0 = [200, 0, 0, 255];
    color.save(bench.path("color.png")).unwrap();
    color.get_pixel_mut(3, 3).0 = [9, 9, 9, 0];
    color.save(bench.path("clear.png")).unwrap();
    gray().into_luma16().save(bench.path("deep.png")).unwrap();
    gray().resize_exact(24, 16, image::imageops::FilterType::Nearest).save(bench.path("large.png")).unwrap();
    for (name, reason) in [
        ("color.png", "colors, the model takes 8-bit gray; --resize converts it"),
        ("clear.png", "transparency, the model takes 8-bit gray; --resize converts it"),
        ("deep.png", "16 bits a channel, the model takes 8-bit gray; --resize converts it"),
        ("large.png", "24x16 pixels, the model takes 8x8; --resize stretches it"),
    ] {
        bench.refuses(&format!("encode model {name}"), 1, &[name, reason]);
        let notes = bench.run(&format!("encode model {name} --resize")).notes();
        assert!(notes.starts_with(&format!("note: {name}: converted")), "{notes}");
    }
    // Luma of (200, 0, 0), and black behind what is transparent.
    let mut expected = gray().into_luma8();
    for (name, value) in [("color.png", 43), ("clear.png", 0)] {
        expected.get_pixel_mut(3, 3).0 = [value];
        expected.save(bench.path("expected.png")).unwrap();
        let run = bench.run(&format!("encode model {name} --resize"));
        assert_eq!(run.stdout, bench.run("encode model expected.png").quiet());
    }
}

#[test]
fn what_is_no_picture_is_named() {
    let bench = Bench::tiny();
    bench.photo();
    let png = fs::read(bench.path("photo.png")).unwrap();
    fs::write(bench.path("cut.png"), &png[..png.len() / 2]).unwrap();
    for name in ["model", "cut.png"] {
        bench.refuses(&format!("encode model {name}"), 1, &[name, "not a PNG picture that can be read"]);
    }
    bench.refuses("encode model none.png", 1, &["none.png", "No such file"]);
}

#[test]
fn what_is_no_model_is_named() {
    let bench = Bench::tiny();
    bench.photo();
    let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, vec![100], &[0; 400]).unwrap();
    fs::write(bench.path("f32"), safetensors::serialize([("encoder.0.weight", view)], None).unwrap()).unwrap();
    fs::write(bench.path("empty"), []).unwrap();
    fs::write(bench.path("text"), "a text of some length, not a model").unwrap();
    fs::create_dir(bench.path("folder")).unwrap();
    let advice = "not an int8 file made by `unbraid quantize`";
    for command in ["info", "profile", "decode -o out.png", "traverse -o out.png"] {
        bench.refuses(&format!("{command} photo.png"), 1, &["photo.png: this is a PNG picture", advice]);
        bench.refuses(&format!("{command} f32"), 1, &["f32: this is a safetensors file of another kind", advice]);
        bench.refuses(&format!("{command} empty"), 1, &["empty: this is an empty file", advice]);
        bench.refuses(&format!("{command} text"), 1, &["text: this is a file of another kind", advice]);
        bench.refuses(&format!("{command} missing"), 1, &["missing: No such file"]);
        bench.refuses(&format!("{command} folder"), 1, &["folder"]);
    }
}

#[test]
fn damaged_models_are_refused_with_the_reason() {
    let bench = Bench::tiny();
    let length = bench.file.len();
    for (length, part) in [(4, "header length"), (20, "header"), (length - 1, "data section")] {
        fs::write(bench.path("cut"), &bench.file[..length]).unwrap();
        bench.refuses("info cut", 1, &[&format!("cut: the file ends in the {part}: "), "bytes needed"]);
    }
    let mut changed = bench.file.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(bench.path("changed"), changed).unwrap();
    bench.refuses("decode changed -o out.png", 1, &["changed: checksum"]);
}

#[test]
fn half_a_model_does_its_half() {
    let encoder = Bench::new(&FileSpec { decoder: vec![], ..networks::tiny() });
    encoder.photo();
    encoder.run("encode model photo.png").quiet();
    assert!(encoder.run("info model").quiet().contains("no decoder"));
    assert!(!encoder.run("profile model --runs 1").quiet().contains("decode\n"));
    encoder.refuses("edit model photo.png --set rotation=1 -o out.png", 1, &["the model has no decoder"]);
    let decoder = Bench::new(&FileSpec { encoder: vec![], ..networks::tiny() });
    decoder.photo();
    decoder.run("traverse model -o out.png").quiet();
    decoder.refuses("encode model photo.png", 1, &["the model has no encoder"]);
}

#[test]
fn factors_that_there_are_not_are_refused_with_those_that_there_are() {
    let bench = Bench::tiny();
    bench.photo();
    let names = "there is no factor \"rotaton\"; the model has rotation, scale or the latents z0 to z2";
    bench.refuses("edit model photo.png --set rotaton=1 -o out.png", 1, &["--set rotaton", names]);
    bench.refuses("decode model --step rotaton=1 -o out.png", 1, &["--step rotaton", names]);
    bench.refuses("traverse model --factor rotaton -o out.png", 1, &["--factor", names]);
    bench.refuses("decode model --set z3=1 -o out.png", 1, &["there is no latent 3; the model has z0 to z2"]);
    bench.refuses("decode model --step z2=1 -o out.png", 1, &["z2 is not in the model's factor table", "--set"]);
    bench.refuses("decode model --set scale=1 --set z0=2 -o out.png", 1, &["scale (z0) is turned twice"]);
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let bench = Bench::tiny();
    bench.photo();
    for value in ["rotation=NaN", "rotation=inf", "rotation=", "rotation", "=1"] {
        bench.refuses(&format!("edit model photo.png --set {value} -o out.png"), 2, &["--set"]);
    }
    bench.refuses("edit model photo.png -o out.png", 2, &["--set", "--step"]);
    bench.refuses("decode model", 2, &["--output"]);
    bench.refuses("decode model -o out.jpg", 2, &["end in .png"]);
    bench.refuses("traverse model -o out.png --steps 1", 2, &["--steps"]);
    bench.refuses("enkode model", 2, &["enkode"]);
    bench.refuses("", 2, &["Usage"]);
    assert!(bench.run("--help").quiet().contains("Exit codes"));
    assert!(bench.run("--version").quiet().starts_with("unbraid-run "));
}

#[test]
fn codes_that_do_not_fit_are_refused() {
    let bench = Bench::tiny();
    let refuses = |json: &str, reason: &str| {
        fs::write(bench.path("code.json"), json).unwrap();
        bench.refuses("decode model --code code.json -o out.png", 1, &["code.json", reason]);
    };
    refuses("{", "not a code made by `encode`");
    refuses(r#"{"latents": [], "more": 1}"#, "unknown field");
    refuses(r#"{"latents": [{"latent": 0, "mean": 0.5}]}"#, "1 latents, the model has 3");
    refuses(
        r#"{"latents": [{"latent": 0, "mean": 1}, {"latent": 0, "mean": 1}, {"latent": 2, "mean": 1}]}"#,
        "entry 1 is latent 0",
    );
    refuses(r#"{"latents": [{"latent": 0, "mean": NaN}]}"#, "line 1");
    bench.refuses("decode model --code none.json -o out.png", 1, &["none.json: No such file"]);
}

#[test]
fn outputs_are_replaced_only_with_force() {
    let bench = Bench::tiny();
    bench.photo();
    fs::write(bench.path("kept.png"), "kept").unwrap();
    for command in
        ["decode model -o", "traverse model -o", "edit model photo.png --set z0=1 -o", "encode model photo.png -o"]
    {
        bench.refuses(&format!("{command} kept.png"), 1, &["kept.png: exists already; --force replaces it"]);
        assert_eq!(fs::read(bench.path("kept.png")).unwrap(), b"kept");
        assert_eq!(bench.run(&format!("{command} kept.png --force")).code, 0);
        assert_ne!(fs::read(bench.path("kept.png")).unwrap(), b"kept");
        fs::write(bench.path("kept.png"), "kept").unwrap();
    }
    fs::create_dir(bench.path("folder.png")).unwrap();
    bench.refuses("decode model -o folder.png --force", 1, &["folder.png: exists and is not a regular file"]);
    bench.refuses("decode model -o none/out.png", 1, &["none/out.png: there is no folder none"]);
    bench.refuses("decode model -o kept.png/out.png", 1, &["there is no folder kept.png"]);
    assert_eq!(bench.run("decode model -o folder.png/out.png").code, 0);
}

/// A limit on file sizes stands for a full disk: the write fails half way.
#[cfg(unix)]
#[test]
fn a_write_that_fails_leaves_nothing_behind() {
    let bench = Bench::tiny();
    let before = bench.files();
    let script = format!("trap '' XFSZ; ulimit -f 0; exec '{PROGRAM}' decode model -o out.png");
    let run = Run::new(Command::new("sh").args(["-c", &script]).current_dir(bench.folder.path()).output().unwrap());
    assert_eq!((run.code, bench.files()), (1, before), "{run:?}");
    assert!(run.stderr.starts_with("error: out.png: "), "{run:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_an_error_and_a_closed_pipe_is_not() {
    let bench = Bench::tiny();
    let with = |stdout: Stdio, arguments: &[&str]| {
        Run::new(
            Command::new(PROGRAM).args(arguments).current_dir(bench.folder.path()).stdout(stdout).output().unwrap(),
        )
    };
    let full = || fs::File::options().write(true).open("/dev/full").unwrap().into();
    let run = with(full(), &["info", "model"]);
    assert!(run.code == 1 && run.stderr.starts_with("error: standard output: "), "{run:?}");
    bench.photo();
    bench.refuses("encode model photo.png -o /dev/full --force", 1, &["/dev/full: exists and is not a regular file"]);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    with(writer.into(), &["info", "model"]).quiet();
}
