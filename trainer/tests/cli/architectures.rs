//! Networks of one's own: files that runs and models keep.

use std::fs;

use tempfile::tempdir;

use crate::{
    refused, support,
    support::{assert_same, train, unbraid},
};

/// The example in the documentation.
const EXAMPLE: &str = include_str!("../../../docs/architecture.toml");

#[test]
fn a_run_keeps_its_architecture_and_its_model_says_how_to_train_it() {
    let folder = tempdir().unwrap();
    let net = folder.path().join("nets/mine.toml");
    fs::create_dir(net.parent().unwrap()).unwrap();
    fs::write(&net, EXAMPLE).unwrap();
    train(
        folder.path(),
        "--architecture nets/mine.toml --latents 3 --steps 4 --checkpoint-every 2 --sample-every 2 --log-every 2 --run whole",
    )
    .succeeds();
    train(
        folder.path(),
        "--architecture nets/mine.toml --latents 3 --steps 2 --checkpoint-every 2 --sample-every 2 --log-every 2 --run parts",
    )
    .succeeds();
    // The run has what it needs, wherever it is.
    fs::remove_file(&net).unwrap();
    fs::rename(folder.path().join("parts"), folder.path().join("nets/parts")).unwrap();
    unbraid(folder.path(), "train --resume nets/parts --steps 4").succeeds();
    let [whole, parts] = ["whole", "nets/parts"].map(|run| support::results(&folder.path().join(run)));
    assert_same(&whole, &parts);

    unbraid(folder.path(), "export nets/parts -o model").succeeds();
    unbraid(folder.path(), "export nets/parts -o model --force").succeeds();
    assert_eq!(fs::read_to_string(folder.path().join("model/architecture.toml")).unwrap(), EXAMPLE);
    let card = fs::read_to_string(folder.path().join("model/README.md")).unwrap();
    let command = card.lines().find_map(|line| line.strip_prefix("unbraid train ")).unwrap();
    assert!(command.contains("--architecture architecture.toml") && card.contains("`pooled`, shapes"), "{card}");
    unbraid(&folder.path().join("model"), &format!("train --run ../again {command}")).succeeds();
    let weights = |dir: &str| fs::read(folder.path().join(dir).join("model.safetensors")).unwrap();
    assert!(weights("again/model") == weights("model"), "the card's command trains another model");

    unbraid(folder.path(), "quantize model -o model.int8 --images 32 --compare 8").succeeds();
    // The settings of a run name the file beside them.
    unbraid(folder.path(), "train --run more --config nets/parts/config.toml --steps 4").succeeds();
    assert_same(&support::results(&folder.path().join("more")), &whole);
}

/// A number for each axis and each side, and each activation.
const UNEVEN: &str = r#"
name = "uneven"
image = { height = 64, width = 64, channels = 1 }
encoder = [
    { kind = "conv2d", channels = 5, kernel = [4, 3], stride = [4, 2], padding = [0, 1], activation = { elu = 1.0 } },
    { kind = "max_pool", kernel = [3, 2], stride = 2, padding = [1, 0, 1, 0] },
    { kind = "conv2d", channels = 3, kernel = 3, stride = [1, 2], padding = [2, 0, 0, 1], activation = "softplus" },
    { kind = "linear", features = 9, activation = { hard_sigmoid = { alpha = 0.2, beta = 0.5 } } },
]
decoder = [
    { kind = "linear", features = 64, activation = "sigmoid" },
    { kind = "unflatten", channels = 4, height = 8, width = 2 },
    { kind = "conv_transpose2d", channels = 6, kernel = [3, 5], stride = [2, 4], padding = [1, 1], output_padding = [1, 1], activation = { clip = { min = 0.0, max = 6.0 } } },
    { kind = "upsample_nearest", factor = [4, 8] },
    { kind = "conv2d", channels = 1, kernel = [3, 2], padding = [1, 0, 1, 1] },
]
"#;

#[test]
fn uneven_layers_are_trained_exported_and_quantized() {
    let folder = tempdir().unwrap();
    fs::write(folder.path().join("uneven.toml"), UNEVEN).unwrap();
    train(folder.path(), "--architecture uneven.toml --latents 2 --steps 3 --run run").succeeds();
    let config = fs::read_to_string(folder.path().join("run/model/config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let layers = &config["architecture"];
    assert_eq!(layers["encoder"][0]["kernel"], serde_json::json!([4, 3]));
    assert_eq!(layers["encoder"][1]["padding"], serde_json::json!([1, 0]));
    assert_eq!(layers["encoder"][2]["kernel"], serde_json::json!(3));
    assert_eq!(layers["decoder"][2]["output_padding"], serde_json::json!(1));
    unbraid(folder.path(), "quantize run/model -o model.int8 --images 32 --compare 8").succeeds();
    for (from, to, words) in [
        ("[4, 3]", "[4, 17]", "encoder[0].kernel: found 17, expected 1 to 16"),
        (
            "[4, 3]",
            "[4, 3, 2]",
            "encoder[0]: found invalid length 3, expected a whole number or [vertical, horizontal]",
        ),
        ("[1, 0, 1, 0]", "[1, 0, 1, 2]", "encoder[1]: found padding [1, 0, 1, 2], expected less than the kernel, 3x2"),
        ("{ elu = 1.0 }", "{ elu = -1.0 }", "encoder[0]: found activation Elu(-1.0): expected an alpha above 0"),
        (
            "output_padding = [1, 1]",
            "output_padding = 2",
            "decoder[2]: found output padding 2 is not less than the stride",
        ),
    ] {
        assert!(UNEVEN.contains(from), "{from}");
        fs::write(folder.path().join("wrong.toml"), UNEVEN.replacen(from, to, 1)).unwrap();
        refused(&folder, "train --run other --architecture wrong.toml", 1, &[words]);
    }
}

#[test]
fn files_that_do_not_fit_are_told_by_layer() {
    let folder = tempdir().unwrap();
    let write = |name: &str, from: &str, to: &str| {
        assert!(EXAMPLE.contains(from), "{from}");
        fs::write(folder.path().join(name), EXAMPLE.replacen(from, to, 1)).unwrap();
    };
    write("wide.toml", "features = 1024", "features = 1025");
    write("kind.toml", "\"upsample_nearest\"", "\"upsample\"");
    let small =
        EXAMPLE.replace("height = 64, width = 64", "height = 32, width = 32").replace("factor = 4", "factor = 2");
    fs::write(folder.path().join("small.toml"), small).unwrap();
    for (file, code, words) in [
        ("wide.toml", 1, ["wide.toml: decoder[2]: found ", "does not take 1025 features"]),
        ("kind.toml", 1, ["kind.toml: decoder[3]: found unknown variant `upsample`", "`upsample_nearest`"]),
        ("small.toml", 2, ["architecture = small.toml: expected one for 64 x 64 x 1", "the images of sprites"]),
        ("none.toml", 1, ["none.toml: No such file", ""]),
    ] {
        refused(&folder, &format!("train --run run --architecture {file}"), code, &words);
    }
    fs::write(folder.path().join("mine.toml"), EXAMPLE).unwrap();
    train(folder.path(), "--architecture mine.toml --steps 1").succeeds();
    let words = ["architecture = \"mine.toml\"", "as the run was started; it cannot change"];
    refused(&folder, "train --resume runs/factor-vae --architecture mine.toml", 2, &words);
}
