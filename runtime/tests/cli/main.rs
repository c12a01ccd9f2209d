//! The command `unbraid-run`, run as a user runs it.

mod bench;
mod boards;
#[path = "../networks/mod.rs"]
mod networks;
mod pictures;
mod refusals;

use image::DynamicImage;
use serde_json::Value;
use unbraid::Backend;
use unbraid::writer::FileSpec;

use bench::Bench;

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

    let layers = || model.encoder_layers().chain(model.decoder_layers());
    let (rows, count) = (layers().map(|layer| layer.output().height).sum(), layers().count());
    // The fastest backend runs layer by layer, the model in place row by row.
    for (options, backend, spans, arena) in [
        ("", Backend::best().name(), count, Value::Null),
        ("--backend portable", "portable", count, Value::Null),
        ("--backend in-place", "in-place", rows, model.encode_arena_bytes().into()),
    ] {
        let report = bench.run(&format!("profile model --runs 3 --json --trace trace.json --force {options}")).quiet();
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!((&report["backend"], &report["encode"]["arena_bytes"]), (&backend.into(), &arena));
        for (direction, count) in [("encode", model.encoder_layers().len()), ("decode", model.decoder_layers().len())] {
            let layers = report[direction]["layers"].as_array().unwrap();
            assert_eq!(layers.len(), count);
            let shares: f64 = layers.iter().map(|layer| layer["share"].as_f64().unwrap()).sum();
            assert!((shares - 1.0).abs() < 1e-9, "{shares}");
            assert!(report[direction]["nanoseconds"].as_u64().unwrap() > 0);
        }
        let trace = bench.json("trace.json");
        let events = trace["traceEvents"].as_array().unwrap();
        assert_eq!(events.iter().filter(|event| event["ph"] == "X").count(), spans);
        assert!(events.iter().all(|event| event["pid"] == 1 || event["pid"] == 2));
    }
    bench.refuses("profile model --backend mmx", 2, &["there is no such backend; this machine has in-place, portable"]);
    bench.refuses("profile model --trace trace.json", 1, &["trace.json: exists already"]);
    bench.refuses("profile model --runs 0", 2, &["--runs"]);
}
