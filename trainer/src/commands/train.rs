//! `unbraid train`

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{ArgMatches, parser::ValueSource};
use indicatif::{ProgressBar, ProgressStyle};
use unbraid_trainer::{
    Error,
    train::{
        config::TrainConfig,
        run::{Event, Run},
    },
};

/// Options of `unbraid train`: each setting is also a key of `--config FILE`, with `_` for `-`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run; must not exist yet.
    #[arg(long, default_value = "runs/factor-vae", conflicts_with = "resume")]
    run: PathBuf,
    /// Go on with the run in this folder. Only how long and where may be changed.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// TOML file with settings; options on the command line win.
    #[arg(long, conflicts_with = "resume")]
    config: Option<PathBuf>,
    #[command(flatten)]
    settings: TrainConfig,
}

pub fn run(args: Args, matches: &ArgMatches) -> Result<()> {
    let given = given_settings(&args.settings, matches)?;
    let run = match &args.resume {
        Some(folder) => Run::resume(folder, given)?,
        None => {
            let mut table = match &args.config {
                Some(path) => {
                    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
                    text.parse::<toml::Table>().with_context(|| path.display().to_string())?
                }
                None => toml::Table::new(),
            };
            table.extend(given);
            let context = || args.config.as_ref().map_or_else(|| "settings".into(), |p| p.display().to_string());
            Run::create(&args.run, TrainConfig::from_table(table).with_context(context)?)?
        }
    };
    set_threads(run.config().threads)?;

    let bar = ProgressBar::new(run.config().steps);
    // The style is a constant; a mistake in it would show in the first test of this command.
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {per_sec:>14} ETA {eta:<6} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let log_every = run.config().log_every;
    let visible = !bar.is_hidden();
    let mut started = false;
    let steps = run.train(|event| match event {
        Event::Note(note) => bar.suspend(|| eprintln!("{note}")),
        Event::Step { step, terms } => {
            if !started {
                // So that steps of an earlier session do not count as speed of this one.
                bar.reset_eta();
                bar.set_position(step - 1);
                started = true;
            }
            bar.set_position(step);
            if step % log_every == 0 {
                let text: Vec<String> = terms.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
                bar.set_message(text.join("  "));
                if !visible {
                    eprintln!("step {step}  {:.2}/s  {}", bar.per_sec(), text.join("  "));
                }
            }
        }
    })?;
    bar.finish();
    println!("trained to step {steps}");
    Ok(())
}

/// The settings that were given on the command line, not their defaults, as TOML.
fn given_settings(settings: &TrainConfig, matches: &ArgMatches) -> Result<toml::Table> {
    let mut table = settings.to_table()?;
    table.retain(|key, _| matches.value_source(key) == Some(ValueSource::CommandLine));
    Ok(table)
}

/// Makes `threads` the size of the pool that everything runs on; 0 keeps one thread a core.
fn set_threads(threads: usize) -> Result<()> {
    if threads > 0 {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("threads")?;
    }
    Ok(())
}
