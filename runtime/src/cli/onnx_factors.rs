//! The factor table of a model folder, from its `config.json`.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use unbraid::Factor;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    factors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    latent: usize,
    name: String,
    low: f32,
    high: f32,
    center: f32,
    scale: f32,
    importance: f32,
    agreement: f32,
}

/// Reads the factors, the most important first; none where there is no file.
pub fn read(path: &Path, latents: usize) -> Result<Vec<Factor<'static>>> {
    let name = path.display();
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| name.to_string()),
    };
    let config: Config = serde_json::from_slice(&bytes).with_context(|| name.to_string())?;
    let mut factors = Vec::new();
    let mut seen = (BTreeSet::new(), BTreeSet::new());
    for Entry { latent, name: factor, low, high, center, scale, importance, agreement } in config.factors {
        if latent >= latents {
            bail!("{name}: factor {factor:?}: latent is {latent}, expected less than {latents}");
        }
        if !seen.0.insert(latent) || !seen.1.insert(factor.clone()) {
            bail!("{name}: factor {factor:?}: its name or its latent {latent} is that of an earlier one");
        }
        factors.push(Factor { latent, name: factor.leak(), low, high, center, scale, importance, agreement });
    }
    factors.sort_by(|a, b| b.importance.total_cmp(&a.importance));
    Ok(factors)
}
