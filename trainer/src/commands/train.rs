//! `unbraid train`

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};
use clap::{ArgMatches, parser::ValueSource};
use unbraid_trainer::{
    Error,
    data::{Spec, spec::DataOptions},
    model::architecture_file,
    parallel::Launch,
    profile,
    train::{
        config::TrainConfig,
        run::{Event, Run},
    },
};

use super::progress_bar;

/// Options of `unbraid train`: each setting is also a key of `--config FILE`, with `_` for `-`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder of the run, which must not exist yet [default: runs/OBJECTIVE].
    #[arg(long, conflicts_with = "resume")]
    run: Option<PathBuf>,
    /// Go on with the run in this folder. Only how long and where may be changed.
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// TOML file with settings; options on the command line win.
    #[arg(long, conflicts_with = "resume")]
    config: Option<PathBuf>,
    /// Print where a step's time went, at the end.
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    settings: TrainConfig,
    #[command(flatten)]
    data: DataOptions,
}

pub fn run(args: Args, matches: &ArgMatches) -> Result<()> {
    let given = given_settings(&args.settings, matches)?;
    let launch = Launch::from_env()?;
    let run = match &args.resume {
        Some(_) if args.data != DataOptions::default() => {
            let expected = "the run's own: --size, --crop, --fit, --gray and --skip-bad cannot change";
            return Err(Error::setting("resume", "other options of the data", expected).into());
        }
        Some(folder) => Run::resume(folder, given, launch)?,
        None => {
            let mut table = match &args.config {
                Some(path) => {
                    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
                    settings_file(&text, path).with_context(|| path.display().to_string())?
                }
                None => toml::Table::new(),
            };
            table.extend(given);
            let mut config = TrainConfig::from_table(table)?;
            config.dataset = dataset(&config, args.data)?;
            let folder = args.run.unwrap_or_else(|| Path::new("runs").join(config.objective.name()));
            Run::create(&folder, config, launch)?
        }
    };
    set_threads(run.config().threads)?;

    if args.profile {
        profile::start();
    }
    let steps = train_with_bar(&run)?;
    if args.profile {
        say!("{}", profile::table(&profile::stop()));
    }
    say!("trained to step {steps}; the model is in {}", run.folder().join("model").display());
    Ok(())
}

/// [`Run::train`] behind a progress bar with speed, losses and remaining time; without a terminal, as lines.
pub(super) fn train_with_bar(run: &Run) -> Result<u64> {
    let bar = progress_bar(run.config().steps, "{bar:20} {pos}/{len} {per_sec} ETA {eta}  {wide_msg}");
    let log_every = run.config().log_every;
    let visible = !bar.is_hidden();
    let mut first = None;
    let tell = |event: Event| match event {
        Event::Note(note) => bar.suspend(|| eprintln!("{note}")),
        Event::Step { step, terms } => {
            // Steps made before this start are no speed of it.
            let &mut (before, start) = first.get_or_insert_with(|| {
                bar.set_position(step - 1);
                bar.reset_eta();
                (step, Instant::now())
            });
            bar.set_position(step);
            if step.is_multiple_of(log_every) {
                let text: Vec<String> = terms.iter().map(|(name, value)| format!("{name} {value:.3}")).collect();
                if visible {
                    bar.set_message(text.join("  "));
                } else {
                    let speed = (step - before) as f64 / start.elapsed().as_secs_f64();
                    eprintln!("step {step}  {speed:.2}/s  {}", text.join("  "));
                }
            }
        }
    };
    let steps = run.train(tell, |reason| {
        eprintln!("error: {reason}");
        std::process::exit(1);
    })?;
    bar.finish();
    Ok(steps)
}

/// The settings in a TOML file, checked before others join them, so that what is wrong is told of the file. The path of an
/// architecture file counts from the folder of this one.
fn settings_file(text: &str, path: &Path) -> Result<toml::Table> {
    let mut table = text.parse::<toml::Table>()?;
    if let Some(toml::Value::String(architecture)) = table.get_mut("architecture")
        && architecture_file::is_file(architecture)
    {
        *architecture = path.with_file_name(&architecture).to_string_lossy().into_owned();
    }
    if let Some(toml::Value::String(dataset)) = table.get_mut("dataset") {
        *dataset = dataset.parse::<Spec>()?.absolute(path.parent().unwrap_or(path))?.to_string();
    }
    let mut config = TrainConfig::from_table(table.clone())?;
    config.dataset = dataset(&config, DataOptions::default())?;
    config.validate()?;
    Ok(table)
}

/// The data that is trained on, in words that mean the same from any folder and for any networks.
fn dataset(config: &TrainConfig, options: DataOptions) -> Result<String> {
    let spec = config.dataset.parse::<Spec>()?.with(options)?.absolute(Path::new(""))?;
    Ok(spec.for_image(config.architecture()?.image).to_string())
}

/// The settings that were given on the command line, not their defaults, as TOML.
fn given_settings(settings: &TrainConfig, matches: &ArgMatches) -> Result<toml::Table> {
    // The objective may stand in a file: settings of others are refused where all come together.
    let mut table = settings.to_whole_table()?;
    table.retain(|key, _| matches.value_source(key) == Some(ValueSource::CommandLine));
    Ok(table)
}

/// Makes `threads` the size of the pool that everything runs on; 0 keeps one thread a core.
pub(super) fn set_threads(threads: usize) -> Result<()> {
    if threads > 0 {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("threads")?;
    }
    Ok(())
}
