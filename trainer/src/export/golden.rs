//! Golden vectors of an int8 model: what any reader of `docs/format.md` must get, bit for bit.
//!
//! `golden-inputs.png` holds the inputs side by side (their pixels, so that no other platform's arithmetic has a say),
//! `golden.json` the codes and the SHA-256 of decoded pixels.

use std::{fs, path::Path};

use rand::{RngExt, seq::SliceRandom};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use unbraid::{Code, Model};

use super::INT8;
use crate::{
    Error, Result,
    data::Dataset,
    model::{Autoencoder, Int8Model},
    rng::{self, Purpose},
    train::files::{write_atomic, write_json},
    viz::{self, samples},
};

const VECTORS: &str = "golden.json";
const INPUTS: &str = "golden-inputs.png";
/// How many inputs there are.
const COUNT: usize = 12;

/// The content of `golden.json`. Pixels are hashed as bytes `(N, H, W, C)`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// SHA-256 of the model file.
    pub model_sha256: String,
    /// SHA-256 of the inputs' pixels.
    pub inputs_sha256: String,
    /// Means of each input, raw int16.
    pub means: Vec<Vec<i16>>,
    /// Log-variances of each input, raw int16.
    pub log_vars: Vec<Vec<i16>>,
    /// SHA-256 of the decoded means of all inputs.
    pub round_trips_sha256: String,
    /// SHA-256 of decoded codes with every latent anywhere in int16, drawn by a fixed seed and written here.
    pub random_means: Vec<Vec<i16>>,
    /// SHA-256 of what they decode to.
    pub random_sha256: String,
}

/// Writes the golden vectors of the int8 model in the model directory `dir`, with held-out images of `dataset` as inputs.
///
/// # Errors
/// There is no int8 model, it is an encoder or a decoder alone, the data has other images, or a file cannot be written.
pub fn write(dir: &Path, dataset: &dyn Dataset) -> Result<Golden> {
    let int8 = Int8Model::open(&dir.join(INT8))?;
    if int8.image() != dataset.image() {
        return Err(Error::setting("dataset", dataset.name(), &format!("data with images of {:?}", int8.image())));
    }
    let inputs = dataset.batch(&samples::choose(dataset, COUNT, 0))?;
    let golden = compute(&int8, &inputs)?;
    // Without separators: a row of COUNT images.
    let sheet = viz::png(&viz::row(&inputs, int8.image())?)?;
    write_atomic(&dir.join(INPUTS), &sheet)?;
    write_json(&dir.join(VECTORS), &golden)?;
    Ok(golden)
}

/// Checks that the int8 model in `dir` gives its golden vectors on this machine.
///
/// # Errors
/// [`Error::Malformed`] with the first vector that differs; a file is missing or damaged.
pub fn check(dir: &Path) -> Result<Golden> {
    let path = dir.join(VECTORS);
    let bytes = fs::read(&path).map_err(Error::io(&path))?;
    let golden: Golden = serde_json::from_slice(&bytes)
        .map_err(|e| Error::malformed(&path, "content", e, "the golden vectors of a model"))?;
    let int8 = Int8Model::open(&dir.join(INT8))?;
    let inputs = viz::read_row(&dir.join(INPUTS), int8.image())?;
    let found = compute(&int8, &inputs)?;
    let [found_fields, expected_fields] = [&found, &golden].map(|g| serde_json::to_value(g).unwrap_or_default());
    for (field, expected) in expected_fields.as_object().into_iter().flatten() {
        if found_fields.get(field) != Some(expected) {
            let found = found_fields.get(field).map_or_else(String::new, ToString::to_string);
            return Err(Error::malformed(&path, field, found, &expected.to_string()));
        }
    }
    Ok(golden)
}

fn compute(int8: &Int8Model, inputs: &[u8]) -> Result<Golden> {
    let refused = |e: unbraid::Error| Error::Unsupported(e.to_string());
    let model = Model::load(int8.bytes()).map_err(|e| refused(e.into()))?;
    let mut arena = vec![0; model.arena_bytes()];
    let mut pixels = vec![0; int8.image().size()];

    let mut decoded = |codes: &[Code], arena: &mut Vec<u8>| -> Result<String> {
        let mut hash = Sha256::new();
        for code in codes {
            model.decode_into(code, arena, &mut pixels).map_err(|e| refused(e.into()))?;
            hash.update(&pixels);
        }
        Ok(hex(&hash.finalize()))
    };
    let encode = |image: &[u8], arena: &mut Vec<u8>| model.encode(image, arena).map_err(|e| refused(e.into()));
    let codes: Vec<Code> =
        inputs.chunks_exact(int8.image().size()).map(|image| encode(image, &mut arena)).collect::<Result<_>>()?;
    let random: Vec<Code> =
        (0..COUNT as u64).map(|i| random_code(&model, i).map_err(|e| refused(e.into()))).collect::<Result<_>>()?;
    Ok(Golden {
        model_sha256: hex(&Sha256::digest(int8.bytes())),
        inputs_sha256: hex(&Sha256::digest(inputs)),
        means: codes.iter().map(|code| code.means().to_vec()).collect(),
        log_vars: codes.iter().map(|code| code.log_vars().to_vec()).collect(),
        round_trips_sha256: decoded(&codes, &mut arena)?,
        random_means: random.iter().map(|code| code.means().to_vec()).collect(),
        random_sha256: decoded(&random, &mut arena)?,
    })
}

/// Latents spread over int16 with the extremes among them: what a device must take without a wrong bit.
fn random_code(model: &Model, position: u64) -> std::result::Result<Code, unbraid::CodeError> {
    let mut rng = rng::stream(0, Purpose::Report, 1 + position);
    let mut values: Vec<i16> = (0..model.latents()).map(|_| rng.random()).collect();
    for (value, extreme) in values.iter_mut().zip([i16::MIN, i16::MAX]) {
        *value = extreme;
    }
    values.shuffle(&mut rng);
    let mut code = Code::new(model);
    for (latent, value) in values.into_iter().enumerate() {
        code.set_raw(latent, value)?;
    }
    Ok(code)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
