//! `unbraid-run encode`

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use unbraid::{Autoencoder, Code};

use super::files::{check_output, write};
use super::model::Opened;
use super::picture::PictureInput;
use super::table::Table;

/// Options of `unbraid-run encode`.
#[derive(clap::Args)]
pub struct Args {
    /// The int8 file, or a folder with encoder.onnx and decoder.onnx
    model: PathBuf,
    #[command(flatten)]
    picture: PictureInput,
    /// Write the code as JSON, for `decode --code`
    #[arg(short, long, value_name = "JSON")]
    output: Option<PathBuf>,
    /// Replace an existing output
    #[arg(long)]
    force: bool,
}

/// A code as JSON. Numbers are decimal and exact.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CodeFile {
    latents: Vec<Latent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Latent {
    latent: usize,
    /// For people; not read back.
    #[serde(skip_serializing_if = "Option::is_none")]
    factor: Option<String>,
    mean: f32,
    /// The decoder does not read it.
    log_var: Option<f32>,
}

pub fn run(args: &Args) -> Result<String> {
    if let Some(path) = &args.output {
        check_output(path, args.force)?;
    }
    let mut model = Opened::new(&args.model)?;
    let pixels = args.picture.read(model.image())?;
    let code = model.encode(&pixels)?;
    let mut table = Table::new(["latent", "factor", ">mean", ">log-variance"]);
    for latent in model.latents_in_order() {
        let name = model.factor_of(latent).map_or("", |factor| factor.name);
        let (mean, log_var) = (code.mean(latent), code.log_var(latent));
        table.row([&format_args!("z{latent}"), &name, &format_args!("{mean:.4}"), &format_args!("{log_var:.4}")]);
    }
    if let Some(path) = &args.output {
        let latents = (0..code.latents()).map(|latent| Latent {
            latent,
            factor: model.factor_of(latent).map(|factor| factor.name.to_string()),
            mean: code.mean(latent),
            log_var: Some(code.log_var(latent)),
        });
        let json = serde_json::to_string_pretty(&CodeFile { latents: latents.collect() })?;
        write(path, (json + "\n").as_bytes())?;
    }
    Ok(table.to_string())
}

/// Reads the means of a code file into `code`; every latent has to be there.
pub fn read_code(path: &Path, code: &mut Code) -> Result<()> {
    let name = path.display();
    let bytes = fs::read(path).with_context(|| name.to_string())?;
    let file: CodeFile =
        serde_json::from_slice(&bytes).with_context(|| format!("{name}: not a code made by `encode`"))?;
    let (found, expected) = (file.latents.len(), code.latents());
    if found != expected {
        bail!("{name}: {found} latents, the model has {expected}");
    }
    for (expected, Latent { latent: found, mean, .. }) in file.latents.into_iter().enumerate() {
        if found != expected {
            bail!("{name}: entry {expected} is latent {found}, expected {expected}");
        }
        code.set(found, mean)?;
    }
    Ok(())
}
