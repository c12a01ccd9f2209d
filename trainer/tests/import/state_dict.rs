//! Tensors and a TOML file that says what they are.

use std::{fs, path::Path};

use tempfile::tempdir;
use unbraid_trainer::{
    import::{self, Options},
    model::Autoencoder,
};

use super::{f32_model, folder, images, largest_difference, pixels, vector};

fn text() -> String {
    fs::read_to_string(folder().join("state_dict.toml")).unwrap()
}

/// The error of importing the tensors as `text` says.
fn refusal(text: &str) -> String {
    let folder_of_text = tempdir().unwrap();
    let layers = folder_of_text.path().join("layers.toml");
    fs::write(&layers, text).unwrap();
    import(&folder().join("state_dict.safetensors"), &layers).unwrap_err().to_string()
}

fn import(weights: &Path, layers: &Path) -> unbraid_trainer::Result<import::Imported> {
    import::import_state_dict(weights, layers, &Options::default())
}

#[test]
fn it_computes_what_pytorch_does() {
    let imported = import(&folder().join("state_dict.safetensors"), &folder().join("state_dict.toml")).unwrap();
    let model = f32_model(&imported);
    let code = model.encode(&images([3, 16, 16])).unwrap();
    let vector = |name: &str| vector(&format!("state_dict.{name}")).unwrap();
    assert!(largest_difference(&code.mean, &vector("mean")) < 1e-4);
    assert!(largest_difference(&code.log_var, &vector("log_var")) < 1e-4);
    // The decoder's pixels are from -1 to 1 too, and a sigmoid gives the upper half of them.
    let expected: Vec<f32> = vector("image").into_iter().map(|v| (v + 1.0) / 2.0).collect();
    assert!(largest_difference(&pixels(&model, &code.mean), &expected) < 1e-4);
    assert_eq!(imported.config.architecture.name, "small");
    assert!(imported.notes.iter().any(|note| note.contains("spare.weight")), "{:?}", imported.notes);
}

#[test]
fn mistakes_in_the_file_are_named() {
    let text = text();
    for (from, to, words) in [
        ("down.1", "down.2", "encoder[2]: found no tensor down.2.weight"),
        ("code = \"head\"", "code = \"heads\"", "code: found no tensor heads.weight"),
        ("code = \"head\"", "", "mean: found nothing"),
        ("latents = 4", "latents = 3", "node code.pairs (Reshape)"),
        ("latents = 4", "latent = 4", "content: found "),
        ("kind = \"max_pool\"", "kind = \"pool\"", "unknown variant `pool`"),
        ("stride = 2, padding = 1, batch_norm", "stride = 3, padding = 1, batch_norm", "node encoder[3] (Gemm)"),
        ("width = 16", "width = 20", "node encoder[3] (Gemm)"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = refusal(&text.replacen(from, to, 1));
        assert!(error.contains(words), "{to}: {error}");
    }
    let pickled = tempdir().unwrap();
    let path = pickled.path().join("model.pt");
    fs::write(&path, b"PK\x03\x04 a pickle").unwrap();
    let error = import(&path, &folder().join("state_dict.toml")).unwrap_err().to_string();
    assert!(error.contains("save_file(model.state_dict(), ...)"), "{error}");
}
