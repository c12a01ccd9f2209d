//! Settings of a run: on the command line, in a file, and the folder they start.

use std::fs;

use tempfile::tempdir;

use crate::{
    refused, support,
    support::{assert_same, train, unbraid},
    with,
};

#[test]
fn settings_out_of_range_are_refused_by_name_value_and_range() {
    let folder = tempdir().unwrap();
    for (option, values, allowed) in [
        ("latents", "0 129", "1 to 128"),
        ("batch-size", "0 1 65537", "2 to 65536"),
        ("steps", "0", "1 or more"),
        ("log-every", "0", "1 or more"),
        ("sample-every", "0", "1 or more"),
        ("checkpoint-every", "0", "1 or more"),
        ("keep-checkpoints", "0 1", "2 or more"),
        ("threads", "1025", "0 (all cores) to 1024"),
        ("learning-rate", "0 -1 1.5 NaN inf", "above 0, at most 1"),
        ("discriminator-learning-rate", "0 -1 1.5 NaN inf", "above 0, at most 1"),
        ("beta1", "1 -0.1 NaN", "0 or more, below 1"),
        ("beta2", "1 -0.1 NaN", "0 or more, below 1"),
        ("discriminator-beta1", "1 -0.1 NaN", "0 or more, below 1"),
        ("discriminator-beta2", "1 -0.1 NaN", "0 or more, below 1"),
        ("gamma", "-1 NaN inf", "a finite number, 0 or more"),
        ("discriminator-layers", "0 17", "1 to 16"),
        ("discriminator-units", "0 16385", "1 to 16384"),
        ("dataset", "faces", "expected sprites, scenes, npz:FILE"),
        ("architecture", "huge", "factor-vae-64, factor-vae-64-rgb"),
        // It exists, but sees colors.
        ("architecture", "factor-vae-64-rgb", "64 x 64 x 1 (H x W x C), the images of sprites"),
        ("device", "gpu cuda:x", "auto, cpu, cuda or cuda:N"),
    ] {
        for value in values.split_whitespace() {
            let named = format!("{} = {value}: ", option.replace('-', "_"));
            refused(&folder, &format!("train --run run --{option} {value}"), 2, &[&named, allowed]);
            assert!(!folder.path().join("run").exists());
        }
    }
}

#[test]
fn settings_of_the_systems_are_refused_out_of_range_and_with_another_objective() {
    let folder = tempdir().unwrap();
    let weight = "a finite number, 0 or more";
    for (objective, option, value, allowed) in [
        ("beta-vae", "beta", "-1", weight),
        ("annealed-vae", "capacity-gamma", "inf", weight),
        ("annealed-vae", "capacity-max", "NaN", weight),
        ("annealed-vae", "capacity-steps", "0", "1 or more"),
        ("beta-tcvae", "tcvae-alpha", "-1", weight),
        ("beta-tcvae", "tcvae-beta", "-1", weight),
        ("beta-tcvae", "tcvae-gamma", "-1", weight),
        ("dip-vae-i", "dip-i-lambda-od", "-1", weight),
        ("dip-vae-ii", "dip-ii-lambda-d", "-1", weight),
        ("dc-ign", "dcign-intrinsic", "color", "factors of sprites, separated by commas: shape, scale, rotation, x, y"),
        ("dc-ign", "dcign-latents-per-factor", "0", "1 or more"),
        ("dc-ign", "dcign-intrinsic-ratio", "-1", weight),
        ("dc-ign", "dcign-gradient-scale", "NaN", weight),
        ("dc-ign", "latents", "4", "5 or more: 1 for each of 4 factors that are not intrinsic, and 1"),
        ("pca", "architecture", "factor-vae-64", "linear, the only one that PCA and ICA have"),
        ("vae", "architecture", "linear", "networks whose decoder gives logits"),
        ("ica", "learning-rate", "0.1", "one of the keys of ica"),
        ("info-gan", "info-coefficient", "-1", weight),
        ("info-gan", "noise-size", "5000", "0 to 4096"),
        ("info-gan", "categorical-classes", "1", "2 or more"),
        ("info-gan", "categorical-codes", "2", "at most 1, each with 10 of the 10 latents"),
        ("info-gan", "gan-generator-learning-rate", "0", "above 0, at most 1"),
        ("info-gan", "gan-discriminator-learning-rate", "2", "above 0, at most 1"),
        ("info-gan", "gan-beta1", "1", "0 or more, below 1"),
        ("info-gan", "gan-beta2", "-1", "0 or more, below 1"),
        ("info-wgan-gp", "gradient-penalty", "-1", weight),
        ("info-wgan-gp", "critic-steps", "0", "1 to 100"),
        ("info-wgan-gp", "wgan-learning-rate", "0", "above 0, at most 1"),
        ("info-wgan-gp", "wgan-beta2", "1", "0 or more, below 1"),
        ("info-wgan-gp", "architecture", "dc-ign", "a second derivative; layer 1 is MaxPool"),
        ("info-gan", "critic-steps", "5", "one of the keys of info-gan"),
        ("info-gan", "learning-rate", "0.1", "one of the keys of info-gan"),
        ("info-wgan-gp", "beta1", "0.5", "one of the keys of info-wgan-gp"),
        ("factor-vae", "noise-size", "5", "one of the keys of factor-vae"),
        ("beta-vae", "gamma", "3", "one of the keys of beta-vae: architecture, batch_size, beta, beta1"),
        ("factor-vae", "beta", "4", "one of the keys of factor-vae"),
        ("dip-vae-i", "dip-ii-lambda-od", "4", "one of the keys of dip-vae-i"),
    ] {
        let named = format!("{} = {value}", option.replace('-', "_"));
        let line = format!("train --run run --objective {objective} --{option} {value}");
        refused(&folder, &line, 2, &[&named, allowed]);
    }
    fs::write(folder.path().join("settings.toml"), "objective = \"beta-vae\"\nbeta = 3.0\n").unwrap();
    let words = ["tcvae_beta = 3", "one of the keys of beta-vae"];
    refused(&folder, "train --run run --config settings.toml --tcvae-beta 3", 2, &words);
    assert!(!folder.path().join("run").exists());
}

#[test]
fn values_of_the_wrong_kind_are_refused_with_the_option() {
    let folder = tempdir().unwrap();
    for option in ["latents", "batch-size", "steps", "seed", "threads", "keep-checkpoints", "discriminator-units"] {
        for value in ["-1", "1.5", "many", "99999999999999999999"] {
            let words = [option, &format!("'{value}'"), "a whole number from 0 to 9223372036854775807"];
            refused(&folder, &format!("train --run run --{option} {value}"), 2, &words);
        }
    }
    refused(&folder, "train --run run --gamma much", 2, &["--gamma", "'much'"]);
    refused(&folder, "train --run run --objective gan", 2, &["--objective", "'gan'", "beta-vae", "factor-vae"]);
    refused(&folder, "train --run run --init zero", 2, &["--init", "'zero'", "he, glorot"]);
    refused(&folder, "train --run run --gama 3", 2, &["--gama"]);
    refused(&folder, "train --run run --resume run", 2, &["--run", "--resume", "cannot be used with"]);
    refused(&folder, "train --config c.toml --resume run", 2, &["--config", "--resume"]);
    for path in [folder.path().join("run"), folder.path().join("runs")] {
        assert!(!path.exists());
    }
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_build_without_cuda_says_so() {
    let folder = tempdir().unwrap();
    for device in ["cuda", "cuda:1"] {
        let words = [&*format!("device = {device}"), "auto or cpu", "--features cuda"];
        refused(&folder, &format!("train --run run --device {device}"), 2, &words);
    }
    assert!(!folder.path().join("run").exists());
}

#[test]
fn settings_files_are_checked_by_key() {
    let folder = tempdir().unwrap();
    for (text, code, words) in [
        ("latent = 3", 2, ["latent = 3", "one of the keys of factor-vae: architecture, batch_size"]),
        ("batch-size = 8", 2, ["batch-size = 8", "batch_size"]),
        ("[train]\nlatents = 3", 2, ["train = ", "one of the keys"]),
        ("latents = \"3\"", 2, ["latents = \"3\"", "of type integer"]),
        ("latents = 3.5", 2, ["latents = 3.5", "of type integer"]),
        ("latents = -3", 2, ["latents = -3", "0 or more"]),
        ("latents = 400", 2, ["latents = 400", "1 to 128"]),
        ("gamma = true", 2, ["gamma = true", "of type float"]),
        ("gamma = nan", 2, ["gamma = NaN", "a finite number"]),
        ("init = \"zero\"", 2, ["init = \"zero\"", "`he` or `glorot`"]),
        ("device = \"gpu\"", 2, ["device = gpu", "auto, cpu"]),
        ("latents =", 1, ["line 1", "latents ="]),
        ("latents = 3\nlatents = 4", 1, ["line 2", "duplicate key"]),
    ] {
        fs::write(folder.path().join("settings.toml"), text).unwrap();
        let words = [words[0], words[1], if text.contains("gpu") { "" } else { "settings.toml: " }];
        refused(&folder, "train --run run --config settings.toml", code, &words);
    }
    fs::write(folder.path().join("settings.toml"), [0xff, 0xfe]).unwrap();
    refused(&folder, "train --run run --config settings.toml", 1, &["settings.toml: ", "UTF-8"]);
    refused(&folder, "train --run run --config missing.toml", 1, &["missing.toml: No such file"]);
    refused(&folder, "train --run run --config .", 1, &["error: .: Is a directory (os error 21)\n"]);
    assert!(!folder.path().join("run").exists());
}

#[test]
fn the_command_line_wins_over_the_file_and_what_came_of_it_is_kept() {
    let folder = tempdir().unwrap();
    // An integer where a fraction may be.
    fs::write(folder.path().join("settings.toml"), "latents = 3\ngamma = 7\nseed = 5\ninit = \"glorot\"\n").unwrap();
    train(folder.path(), "--run one --config settings.toml --latents 4 --steps 2").succeeds();
    let config = fs::read_to_string(folder.path().join("one/config.toml")).unwrap();
    for line in
        ["latents = 4", "gamma = 7.0", "seed = 5", "steps = 2", "batch_size = 4", "beta1 = 0.9", "init = \"glorot\""]
    {
        assert!(config.lines().any(|l| l == line), "no {line} in {config}");
    }
    unbraid(folder.path(), "train --run two --config one/config.toml").succeeds();
    let [one, two] = ["one", "two"].map(|run| support::results(&folder.path().join(run)));
    assert_same(&one, &two);
}

#[test]
fn existing_and_impossible_run_folders_are_left_alone() {
    let folder = with(&["run"]);
    refused(&folder, "train --run run", 1, &["run: exists already", "--resume run", "--run"]);
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/diary.txt"), "dear diary").unwrap();
    refused(&folder, "train --run mine", 1, &["mine: exists already"]);
    refused(&folder, "train --run mine/diary.txt", 1, &["mine/diary.txt: Not a directory"]);
    refused(&folder, "train --run mine/diary.txt/run", 1, &["mine/diary.txt/run: Not a directory"]);
}

#[cfg(unix)]
#[test]
fn folders_without_permission_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = with(&["tiny"]);
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(locked.join("probe"), "").is_ok() {
        // The superuser may write anywhere.
        return;
    }
    refused(&folder, "train --run locked/run", 1, &["locked/run: Permission denied"]);
    refused(&folder, "traverse tiny -o locked/t.png --center", 1, &["locked/t.png: Permission denied"]);
    refused(&folder, "quantize tiny -o locked/q --images 4 --compare 4", 1, &["locked/q: Permission denied"]);
}
