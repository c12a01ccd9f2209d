//! `unbraid label`

use std::path::{Path, PathBuf};

use anyhow::Result;
use unbraid::writer::{FactorSpec, with_factors};
use unbraid_trainer::{
    Error, export,
    metrics::{Metric, Options, Protocol, apply_names},
    model::{self, Factor, Int8Model, Model},
    train::files::write_atomic,
};

use super::{dataset_of, evaluate_with_bar};

/// Options of `unbraid label`.
#[derive(clap::Args)]
pub struct Args {
    /// An f32 model directory or an int8 file; its factor table is replaced.
    model: PathBuf,
    /// Name a latent by hand; may be repeated.
    #[arg(long = "name", value_name = "LATENT=NAME", value_parser = parse_name)]
    names: Vec<(usize, String)>,
    /// Images to find ranges and scales with.
    #[arg(long, default_value_t = Options::default().samples)]
    samples: usize,
    /// Names all draws.
    #[arg(long, default_value_t = Options::default().seed)]
    seed: u64,
    /// The data; the model's own if not given.
    #[arg(long)]
    dataset: Option<String>,
}

fn parse_name(text: &str) -> std::result::Result<(usize, String), String> {
    let (latent, name) = text.split_once('=').ok_or("expected LATENT=NAME, as in 3=rotation")?;
    let latent = latent.parse().map_err(|_| format!("latent {latent:?}: expected a number"))?;
    Ok((latent, name.into()))
}

pub fn run(args: Args) -> Result<()> {
    let model = model::open(&args.model)?;
    model.autoencoder().need_encoder()?;
    let dataset = dataset_of(&model, args.dataset.as_deref())?;
    // The measurements take minutes; a name that cannot be given is refused before. No name can be equal to these.
    let anything = |latent| Factor { name: format!("\n{latent}"), ..Factor::unnamed(latent) };
    apply_names(&mut (0..model.autoencoder().latents()).map(anything).collect(), &args.names)?;
    let int8 = int8_of(&model, &args.model)?;

    let (metrics, protocols) = (vec![Metric::FactorVae], vec![Protocol::PAPER]);
    let options =
        Options { seed: args.seed, samples: args.samples, metrics, protocols, resamples: 0, ..Options::default() };
    let evaluation = evaluate_with_bar(model.autoencoder(), &*dataset, &options)?;
    let mut factors = evaluation.factors;
    apply_names(&mut factors, &args.names)?;

    // All is made before the first file is written, so that the two cannot come to differ.
    let relabeled = int8.map(|(path, int8)| Ok::<_, Error>((relabeled(&int8, &path, &factors)?, path))).transpose()?;
    if let Model::F32 { mut config, .. } = model {
        config.factors = factors.clone();
        export::write_config(&args.model, &config)?;
    }
    if let Some((bytes, path)) = relabeled {
        write_atomic(&path, &bytes)?;
        if path != args.model {
            say!("{}: the same names", path.display());
        }
    }
    say!("latent  name             KL     low    high  agreement");
    for Factor { latent, name, low, high, importance, agreement, .. } in &factors {
        say!("{latent:>6}  {name:<12}  {importance:>5.2}  {low:>6.2}  {high:>6.2}  {:>8.0} %", 100.0 * agreement);
    }
    Ok(())
}

/// The int8 file that gets the names: `model` itself, or the one in its directory, if there is one.
fn int8_of(model: &Model, path: &Path) -> Result<Option<(PathBuf, Int8Model)>> {
    let beside = path.join(export::INT8);
    Ok(match model {
        Model::Int8(int8) => Some((path.into(), int8.clone())),
        Model::F32 { .. } if beside.exists() => Some((beside.clone(), Int8Model::open(&beside)?)),
        Model::F32 { .. } => None,
    })
}

/// The bytes of `model` with another factor table.
fn relabeled(model: &Int8Model, path: &Path, factors: &[Factor]) -> unbraid_trainer::Result<Vec<u8>> {
    let table: Vec<FactorSpec> = factors.iter().cloned().map(FactorSpec::from).collect();
    with_factors(model.bytes(), &table).map_err(|e| Error::Runtime { path: path.into(), reason: e.to_string() })
}
