//! Data from files, from the first look at it to a trained model that knows where it lies.

use std::fs;

use image::RgbImage;

use super::*;

/// A folder `pictures` of forty pictures of different sizes.
fn with_pictures() -> TempDir {
    let folder = tempdir().unwrap();
    fs::create_dir(folder.path().join("pictures")).unwrap();
    for i in 0..40u8 {
        let side = 20 + u32::from(i);
        let picture = RgbImage::from_fn(side, 30, |x, y| image::Rgb([6 * i, 4 * x as u8, 8 * y as u8]));
        picture.save(folder.path().join(format!("pictures/{i:02}.png"))).unwrap();
    }
    folder
}

fn data_file(name: &str) -> String {
    format!("{}/tests/data/datasets/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn data_is_told_and_shown() {
    let folder = tempdir().unwrap();
    let told = unbraid(folder.path(), "data info --dataset scenes").succeeds().out;
    for line in
        ["scenes: 480000 images of 64 x 64 x 3 (H x W x C)", "one image for each combination", "orientation     15"]
    {
        assert!(told.contains(line), "no {line:?} in {told}");
    }
    let spec = format!("npz:{}", data_file("stored.npz"));
    let told = unbraid(folder.path(), &format!("data info --json --dataset {spec} --size 4x3")).succeeds().out;
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["images"], &told["height"], &told["width"]), (&5.into(), &4.into(), &3.into()));
    assert_eq!(told["dataset"], format!("{spec}?size=4x3"));
    assert_eq!(told["factors"], serde_json::json!([{"name": "size", "size": 2}, {"name": "angle", "size": 3}]));
    assert_eq!(told["grid"], false);

    unbraid(folder.path(), "data preview --dataset scenes -o sheet.png --columns 3").succeeds();
    assert_eq!(image::open(folder.path().join("sheet.png")).unwrap().height(), 6 * 66 + 2);
    let again = "data preview --dataset scenes -o sheet.png";
    refused(&folder, again, 1, &["sheet.png: exists already"]);
    unbraid(folder.path(), &format!("{again} --force")).succeeds();

    refused(&folder, "data info --dataset faces", 2, &["sprites, scenes, npz:FILE"]);
    refused(&folder, "data info --dataset npz:none.npz", 1, &["none.npz: "]);
    refused(&folder, "data info --dataset scenes --gray", 2, &["dataset = scenes", "data from files"]);
    refused(&folder, "data info --dataset folder:. --size 0", 2, &["--size", "1 to 4096"]);
    refused(&folder, "data preview --dataset sprites -o s.png --columns 0", 2, &["columns = 0"]);
}

#[test]
fn pictures_train_a_model_that_finds_them_again() {
    let folder = with_pictures();
    let line = "--dataset folder:pictures --run run --steps 3 --checkpoint-every 2 --sample-every 3 --log-every 1";
    train(folder.path(), line).succeeds();
    let config = fs::read_to_string(folder.path().join("run/config.toml")).unwrap();
    let place = folder.path().canonicalize().unwrap();
    // The networks are for 64 x 64 pixels of one channel.
    let spec = format!("folder:{}?size=64&gray", place.join("pictures").display());
    assert!(config.contains(&format!("dataset = \"{spec}\"")), "{config}");

    let card = fs::read_to_string(folder.path().join("run/model/README.md")).unwrap();
    assert!(card.contains(&format!(" --dataset '{spec}'")), "{card}");

    // From another folder, and after the first steps.
    let elsewhere = tempdir().unwrap();
    let run = place.join("run");
    unbraid(elsewhere.path(), &format!("train --resume {} --steps 4", run.display())).succeeds();
    refused(&folder, "train --resume run --size 32", 2, &["cannot change"]);
    refused(&folder, "train --resume run --dataset sprites", 2, &["dataset = ", "cannot change"]);
    let model = run.join("model").display().to_string();
    unbraid(elsewhere.path(), &format!("quantize {model} -o q.int8 --images 16 --compare 8")).succeeds();
    unbraid(elsewhere.path(), "traverse q.int8 -o t.png --steps 2").succeeds();
    let scored = unbraid(elsewhere.path(), &format!("evaluate {model} --samples 20")).succeeds().out;
    assert!(scored.contains(&spec) && !scored.contains("factor-vae"), "{scored}");

    // A file of settings names the data from its own folder.
    fs::write(folder.path().join("mine.toml"), "dataset = \"folder:pictures?crop=16\"\nsteps = 1\n").unwrap();
    let toml = folder.path().join("mine.toml").display().to_string();
    train(elsewhere.path(), &format!("--config {toml} --run second --fit stretch")).succeeds();
    let config = fs::read_to_string(elsewhere.path().join("second/config.toml")).unwrap();
    assert!(config.contains("pictures?size=64&crop=16&fit=stretch&gray\""), "{config}");
}

#[test]
fn a_damaged_picture_stops_training_or_is_skipped_and_counted() {
    let folder = with_pictures();
    fs::write(folder.path().join("pictures/07.png"), "no picture").unwrap();
    let line = "--dataset folder:pictures --steps 12 --log-every 4 --run";
    let failed = train(folder.path(), &format!("{line} stopped"));
    failed.fails(1, &["07.png: image 7: found", "expected an image that can be read"]);
    let trained = train(folder.path(), &format!("{line} skipped --skip-bad")).succeeds();
    assert!(
        trained.err.contains("07.png") && trained.err.contains("1 images were skipped, 39 are left"),
        "{}",
        trained.err
    );
    let told = unbraid(folder.path(), "data info --dataset folder:pictures --skip-bad --size 8").succeeds();
    assert!(told.out.contains("39 images") && told.out.contains("cannot be read: 1"), "{}", told.out);
}

#[test]
fn labeled_data_without_all_combinations_gets_the_scores_that_need_none() {
    let folder = with_pictures();
    let mut table = "file,half,rest\n".to_string();
    (0..40).for_each(|i| table += &format!("{i:02}.png,{},{}\n", i / 20, i % 3));
    fs::write(folder.path().join("pictures/factors.csv"), table).unwrap();
    train(folder.path(), "--dataset folder:pictures --run run --steps 2").succeeds();
    let scored = unbraid(folder.path(), "evaluate run/model --samples 30 --metrics mig,factor-vae").succeeds();
    assert!(scored.err.contains("note: factor-vae need an image for each combination"), "{}", scored.err);
    assert!(scored.out.contains("mig") && !scored.out.contains("factor-vae"), "{}", scored.out);
    let line = "train --dataset folder:pictures --run other --objective dc-ign";
    refused(&folder, line, 1, &["has not one image for each combination of factor values, which dc-ign needs"]);
}
