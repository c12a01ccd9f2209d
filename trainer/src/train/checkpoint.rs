//! Checkpoints: all that a run needs to go on, in one safetensors file, checked by a CRC-32.
//!
//! `checkpoints/step-00001000.safetensors` holds weights and Adam moments by name; `__metadata__` holds the step and the
//! checksum. Random numbers need no state: their streams are named by the step.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use candle_core::{DType, Device, Tensor};
use safetensors::{SafeTensors, tensor::TensorView};

use super::files::write_atomic;
use crate::{Error, Result, objective::Objective};

/// A checkpoint's content.
#[derive(Debug)]
pub struct Checkpoint {
    /// Optimizer steps made.
    pub step: u64,
    /// Weights and optimizer state.
    pub state: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Takes a fresh `objective` to where this checkpoint, one of those in `folder`, was saved.
    ///
    /// # Errors
    /// It is of another run.
    pub fn restore(&self, objective: &mut dyn Objective, folder: &Path) -> Result<()> {
        objective.restore(&self.state, self.step).map_err(|e| {
            let (folder, step) = (folder.display(), self.step);
            Error::Unsupported(format!("{folder}: the checkpoint of step {step} is not one of this run: {e}"))
        })
    }
}

const FORMAT: &str = "unbraid-checkpoint-1";

/// Writes the checkpoint of `step` and removes all but the `keep` newest.
///
/// # Errors
/// A weight is not finite (nothing is written), or the file cannot be written.
pub fn save(folder: &Path, step: u64, state: &BTreeMap<String, Tensor>, keep: usize) -> Result<PathBuf> {
    let mut data = BTreeMap::new();
    for (name, tensor) in state {
        let values = tensor.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        if let Some(&value) = values.iter().find(|v| !v.is_finite()) {
            return Err(Error::NotFinite { step, term: name.clone(), value });
        }
        let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
        data.insert(name.as_str(), (tensor.dims().to_vec(), bytes));
    }
    let views =
        data.iter().map(|(name, (shape, bytes))| Ok((*name, view(shape, bytes)?))).collect::<Result<Vec<_>>>()?;
    let metadata = BTreeMap::from([
        ("format".into(), FORMAT.into()),
        ("step".into(), step.to_string()),
        ("crc32".into(), format!("{:08x}", checksum(step, views.iter().map(|(name, v)| (*name, v))))),
    ]);
    let mut bytes = safetensors::serialize(views, Some(metadata.clone().into_iter().collect()))
        .map_err(|e| Error::Unsupported(format!("checkpoint: {e}")))?;
    sort_metadata(&mut bytes, &metadata)?;
    let path = path_of(folder, step);
    write_atomic(&path, &bytes)?;
    for (_, old) in list(folder)?.into_iter().skip(keep) {
        fs::remove_file(&old).map_err(Error::io(&old))?;
    }
    Ok(path)
}

/// Reads and checks one checkpoint.
///
/// # Errors
/// The file is missing, truncated or changed.
pub fn load(path: &Path) -> Result<Checkpoint> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let malformed = |field: &str, found: String, expected: &str| Error::malformed(path, field, found, expected);
    let broken = |e: safetensors::SafeTensorError| malformed("content", e.to_string(), "a whole safetensors file");
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let field = |name: &str| metadata.get(name).cloned().unwrap_or_else(|| "nothing".into());
    if field("format") != FORMAT {
        return Err(malformed("format", field("format"), FORMAT));
    }
    let step: u64 = field("step").parse().map_err(|_| malformed("step", field("step"), "a number"))?;
    let views: BTreeMap<String, TensorView> = tensors.iter().map(|(name, view)| (name.to_string(), view)).collect();
    let sum = format!("{:08x}", checksum(step, views.iter().map(|(name, view)| (name.as_str(), view))));
    if field("crc32") != sum {
        return Err(malformed("checksum", sum, &field("crc32")));
    }
    let mut state = BTreeMap::new();
    for (name, view) in views {
        if view.dtype() != safetensors::Dtype::F32 {
            return Err(malformed(&name, view.dtype().to_string(), "F32"));
        }
        let (chunks, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = chunks.iter().map(|&b| f32::from_le_bytes(b)).collect();
        state.insert(name, Tensor::from_vec(values, view.shape(), &Device::Cpu)?);
    }
    Ok(Checkpoint { step, state })
}

/// The newest checkpoint that is whole; `warn` hears of each damaged one passed over.
///
/// # Errors
/// There are checkpoints, but all are damaged.
pub fn latest(folder: &Path, mut warn: impl FnMut(&Error)) -> Result<Option<Checkpoint>> {
    let mut last_error = None;
    for (_, path) in list(folder)? {
        match load(&path) {
            Ok(checkpoint) => return Ok(Some(checkpoint)),
            Err(error) => {
                warn(&error);
                last_error = Some(error);
            }
        }
    }
    last_error.map_or(Ok(None), Err)
}

/// The checkpoints in `folder`, newest first.
pub fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(folder)(e)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let step = name.strip_prefix("step-").and_then(|n| n.strip_suffix(".safetensors"));
        if let Some(step) = step.and_then(|s| s.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}

/// Puts the metadata of a safetensors file in the order of its keys. The writer takes a hash map, whose order is another each
/// time; sorted, equal states are equal files.
fn sort_metadata(bytes: &mut [u8], metadata: &BTreeMap<String, String>) -> Result<()> {
    const START: &[u8] = br#"{"__metadata__":"#;
    let sorted = serde_json::to_string(metadata).map_err(|e| Error::Unsupported(format!("checkpoint: {e}")))?;
    if let Some(header) = bytes.get_mut(8..)
        && header.starts_with(START)
        && let Some(place) = header.get_mut(START.len()..START.len() + sorted.len())
    {
        place.copy_from_slice(sorted.as_bytes());
    }
    Ok(())
}

fn path_of(folder: &Path, step: u64) -> PathBuf {
    folder.join(format!("step-{step:08}.safetensors"))
}

fn view<'a>(shape: &[usize], bytes: &'a [u8]) -> Result<TensorView<'a>> {
    TensorView::new(safetensors::Dtype::F32, shape.to_vec(), bytes)
        .map_err(|e| Error::Unsupported(format!("checkpoint: {e}")))
}

/// CRC-32 over the step and, in the order of their names, each tensor's name, shape and bytes.
fn checksum<'a>(step: u64, tensors: impl Iterator<Item = (&'a str, &'a TensorView<'a>)>) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&step.to_le_bytes());
    for (name, view) in tensors {
        hasher.update(name.as_bytes());
        view.shape().iter().for_each(|&dim| hasher.update(&(dim as u64).to_le_bytes()));
        hasher.update(view.data());
    }
    hasher.finalize()
}
