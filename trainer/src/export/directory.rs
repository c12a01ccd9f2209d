//! The model directory: written whole or not at all, read with every part checked.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use candle_core::{Device, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::card::model_card;
use super::config::ModelConfig;
use super::weights::{Header, Mismatch, Values, check_finite, check_headers, values};
use super::{onnx, weights};
use crate::model::architecture_file::ARCHITECTURE_FILE;
use crate::train::files::{UNFINISHED, make_folder, parent, sync_folder, write_atomic};
use crate::{Error, Result};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const CARD: &str = "README.md";
/// The file name of the int8 model in a model directory.
pub const INT8: &str = "model.int8.safetensors";
/// The scores of the f32 model.
pub const EVALUATION: &str = "evaluation.json";
/// The scores of the int8 model.
pub const INT8_EVALUATION: &str = "evaluation.int8.json";
/// What int8 costs against f32.
pub const QUANTIZATION: &str = "quantization.json";

/// What goes into a model directory beside configuration and weights.
#[derive(Debug, Clone, Default)]
pub struct Extras {
    /// The command line that trained the model; without it the card names the options that matter.
    pub command: Option<String>,
    /// Lines of Markdown for the card's section on scores.
    pub evaluation: Vec<String>,
    /// More files by name; the card shows those that end in `.png` or `.gif`.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Writes a model directory: `config.json`, `model.safetensors` (f32, sorted names), `encoder.onnx` and `decoder.onnx` (as far as
/// there is an encoder and a decoder), `README.md` and the extra files.
///
/// Everything is written beside `dir` and renamed into place, so that `dir` is never half a model. With `force` an
/// earlier model directory is replaced, once the new one is complete.
///
/// # Errors
/// [`Error::Exists`] without `force`; with it, `dir` holds something that no export writes. The weights are not those
/// of the architecture or not finite, the configuration contradicts itself, the disk is full. `dir` is then as it was.
pub fn write(
    dir: &Path,
    config: &ModelConfig,
    weights: &BTreeMap<String, Tensor>,
    extras: &Extras,
    force: bool,
) -> Result<()> {
    check_replaceable(dir, force)?;
    let files = contents(config, weights, extras)?;
    let folder = parent(dir);
    make_folder(&folder)?;
    let staging = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(&folder).map_err(Error::io(&folder))?;
    // The staging folder is private; a folder made in it gets the permissions of any new one.
    let new = staging.path().join("new");
    fs::create_dir(&new).map_err(Error::io(dir))?;
    for (name, bytes) in &files {
        write_atomic(&new.join(name), bytes).map_err(|error| match error {
            Error::Io { cause, .. } => Error::Io { path: dir.join(name), cause },
            other => other,
        })?;
    }
    let old = staging.path().join("old");
    let replaces = dir.symlink_metadata().is_ok();
    if replaces {
        fs::rename(dir, &old).map_err(Error::io(dir))?;
    }
    if let Err(cause) = fs::rename(&new, dir) {
        if replaces && fs::rename(&old, dir).is_err() {
            // Deleting the staging folder would delete the only copy of the earlier model.
            let kept = staging.keep().join("old");
            return Err(Error::Unsupported(format!(
                "{}: {cause}; the earlier model is in {}",
                dir.display(),
                kept.display()
            )));
        }
        return Err(Error::Io { path: dir.into(), cause });
    }
    sync_folder(&folder)
}

/// Reads a model directory and checks it: the configuration, and that `model.safetensors` holds exactly the tensors of
/// the architecture, f32 and finite. The tensors are on the CPU.
///
/// # Errors
/// [`Error::Malformed`] with the file, the field or tensor, what was found and what was expected.
pub fn read(dir: &Path) -> Result<(ModelConfig, BTreeMap<String, Tensor>)> {
    let bytes = read_file(dir, CONFIG)?;
    let config = ModelConfig::from_json(&bytes).map_err(|m| m.in_file(&dir.join(CONFIG)))?;
    let bytes = read_file(dir, WEIGHTS)?;
    let mut tensors = BTreeMap::new();
    for (name, (shape, values)) in parse_weights(&config, &bytes).map_err(|m| m.in_file(&dir.join(WEIGHTS)))? {
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu)?);
    }
    Ok((config, tensors))
}

/// Replaces `config.json` of the model directory `dir`.
///
/// # Errors
/// The configuration contradicts itself, or the file cannot be written; it is then as it was.
pub fn write_config(dir: &Path, config: &ModelConfig) -> Result<()> {
    config.check().map_err(Mismatch::in_memory)?;
    write_atomic(&dir.join(CONFIG), config.to_json()?.as_bytes())
}

/// Writes the model card of `dir` anew, from what lies in the directory now.
///
/// # Errors
/// It is no model directory, or the card cannot be written.
pub fn write_card(dir: &Path, command: Option<String>, evaluation: Vec<String>) -> Result<()> {
    let (config, _) = read(dir)?;
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).map_err(Error::io(dir))? {
        let name = entry.map_err(Error::io(dir))?.file_name();
        // The card needs names alone.
        files.insert(name.to_string_lossy().into_owned(), Vec::new());
    }
    write_atomic(&dir.join(CARD), model_card(&config, &Extras { command, evaluation, files }).as_bytes())
}

/// The files of a model directory by name.
fn contents(
    config: &ModelConfig,
    weights: &BTreeMap<String, Tensor>,
    extras: &Extras,
) -> Result<BTreeMap<String, Vec<u8>>> {
    config.check().map_err(Mismatch::in_memory)?;
    let values = values(&config.architecture, weights)?;
    let mut own = BTreeMap::from([
        (CONFIG.to_owned(), config.to_json()?.into_bytes()),
        (WEIGHTS.to_owned(), weights_file(config, &values)?),
        (CARD.to_owned(), model_card(config, extras).into_bytes()),
    ]);
    if config.architecture.has_encoder() {
        own.insert("encoder.onnx".into(), onnx::encoder(&config.architecture, &values));
    }
    if config.architecture.has_decoder() {
        own.insert("decoder.onnx".into(), onnx::decoder(&config.architecture, &values));
    }
    for name in extras.files.keys() {
        if own.contains_key(name) || Path::new(name).file_name() != Some(OsStr::new(name)) {
            return Err(Error::setting("file", name, "a plain file name that the export does not use itself"));
        }
    }
    Ok(own.into_iter().chain(extras.files.clone()).collect())
}

/// The bytes of `model.safetensors`. The metadata says `"format": "pt"`, the Hub's word for PyTorch's layout.
fn weights_file(config: &ModelConfig, values: &Values) -> Result<Vec<u8>> {
    let unsupported = |e: safetensors::SafeTensorError| Error::Unsupported(format!("{WEIGHTS}: {e}"));
    let shapes = weights::shapes(&config.architecture);
    let bytes: BTreeMap<_, Vec<u8>> =
        values.iter().map(|(name, v)| (name, v.iter().flat_map(|v| v.to_le_bytes()).collect())).collect();
    let view = |(name, shape): (&String, &Vec<usize>)| {
        let bytes = bytes.get(name).map_or(&[][..], Vec::as_slice);
        Ok((name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).map_err(unsupported)?))
    };
    let views = shapes.iter().map(view).collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, Some(HashMap::from([("format".into(), "pt".into())]))).map_err(unsupported)
}

type Shaped = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn parse_weights(config: &ModelConfig, bytes: &[u8]) -> std::result::Result<Shaped, Mismatch> {
    let whole = |e: safetensors::SafeTensorError| Mismatch::new("content", e, "a whole safetensors file");
    let file = SafeTensors::deserialize(bytes).map_err(whole)?;
    let views: BTreeMap<_, _> = file.iter().map(|(name, view)| (name.to_owned(), view)).collect();
    let header = |v: &TensorView| Header { shape: v.shape().into(), dtype: format!("{:?}", v.dtype()) };
    let headers = views.iter().map(|(name, view)| (name.clone(), header(view))).collect();
    check_headers(&config.architecture, &headers)?;
    let tensor = |(name, view): (String, TensorView)| {
        let words = view.data().as_chunks::<4>().0;
        let values: Vec<_> = words.iter().map(|&word| f32::from_le_bytes(word)).collect();
        check_finite(&name, &values)?;
        Ok((name, (view.shape().into(), values)))
    };
    views.into_iter().map(tensor).collect()
}

fn read_file(dir: &Path, name: &str) -> Result<Vec<u8>> {
    let path = dir.join(name);
    fs::read(&path).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            Mismatch::new(name, "no such file", "a model directory with config.json and model.safetensors").in_file(dir)
        }
        _ => Error::Io { path, cause },
    })
}

/// Refuses an existing `dir`; with `force`, only one that is no model directory or holds more than a model.
fn check_replaceable(dir: &Path, force: bool) -> Result<()> {
    if dir.symlink_metadata().is_err() {
        return Ok(());
    }
    let names = fs::read_dir(dir).and_then(|entries| {
        entries
            .map(|e| e.and_then(|e| Ok((e.file_name().to_string_lossy().into_owned(), e.file_type()?.is_file()))))
            .collect()
    });
    let names: BTreeMap<String, bool> = match names {
        Err(_) if !force => return Err(Error::Exists { path: dir.into() }),
        names => names.map_err(Error::io(dir))?,
    };
    if names.is_empty() {
        return Ok(());
    }
    if !force {
        return Err(Error::Exists { path: dir.into() });
    }
    let refuse = |found: String| {
        let expected = "only the files of a model, to be replaced; remove it or choose another path";
        Err(Mismatch::new("content", found, expected).in_file(dir))
    };
    if !names.contains_key(CONFIG) {
        return refuse(format!("no {CONFIG}"));
    }
    match names.iter().find(|(name, is_file)| !**is_file || !is_written_by_export(name)) {
        Some((name, _)) => refuse(name.clone()),
        None => Ok(()),
    }
}

fn is_written_by_export(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    [CONFIG, CARD, ARCHITECTURE_FILE].contains(&name)
        || matches!(extension, Some("safetensors" | "onnx" | "png" | "gif" | "json"))
}
