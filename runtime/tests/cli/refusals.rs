//! What is refused, with which words and exit code; nothing is left behind.

use std::fs;
use std::process::{Command, Stdio};

use unbraid::writer::FileSpec;

use crate::bench::{Bench, PROGRAM, Run};
use crate::networks;

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
    if !cfg!(feature = "onnx") {
        bench.refuses("decode folder -o out.png", 1, &["folder: a folder", "--features cli,onnx"]);
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
