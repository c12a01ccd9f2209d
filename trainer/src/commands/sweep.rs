//! `unbraid sweep`

use std::{
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, bail};
use unbraid_trainer::{
    Error,
    sweep::{Engine, Entry, Leaderboard, State, Sweep, job, local::Local, slurm::Slurm},
    train::files::write_atomic,
};

use super::train::set_threads;

/// Options of `unbraid sweep`.
///
/// The same command again goes on: finished runs are left alone, interrupted ones go on, failed ones are tried again.
#[derive(clap::Args)]
pub struct Args {
    /// A TOML file with the list of runs (docs/sweep.md), or the folder of a sweep.
    sweep: PathBuf,
    /// The folder for a file's runs [default: sweeps/NAME, after the file].
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Where the runs go: processes here, or an array of Slurm tasks.
    #[arg(long, value_enum, default_value_t = EngineName::Local)]
    engine: EngineName,
    /// Runs at once [default: as many as there are cores; Slurm: what the cluster grants].
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Start nothing: print what each run is at, and the leaderboard.
    #[arg(long, conflicts_with_all = ["engine", "jobs"])]
    status: bool,
    /// Also write all scores as a Markdown table.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Work off this run of the sweep in this process; what the engines start.
    #[arg(long, value_name = "RUN", hide = true, conflicts_with_all = ["output", "engine", "jobs", "status", "markdown"])]
    job: Option<String>,
    /// Its threads, where its settings do not say.
    #[arg(long, value_name = "N", hide = true, requires = "job", default_value_t = 0)]
    threads: usize,
}

/// What `--engine` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum EngineName {
    /// Processes on this machine.
    Local,
    /// An array of Slurm tasks, which share the folder.
    Slurm,
}

pub fn run(args: Args) -> Result<()> {
    if let Some(name) = &args.job {
        return work(&Sweep::open(&args.sweep)?, name, args.threads);
    }
    if args.jobs == Some(0) {
        return Err(Error::setting("jobs", 0, "1 or more").into());
    }
    let sweep = open(&args)?;
    let states = sweep.states()?;
    let entries = &sweep.plan().entries;
    if !args.status {
        let startable = |state: &State| matches!(state, State::Waiting | State::Interrupted | State::Failed(_));
        let to_start: Vec<&Entry> =
            entries.iter().zip(&states).filter(|(_, state)| startable(state)).map(|(entry, _)| entry).collect();
        say!("{}: {} runs, {} to do", sweep.folder().display(), entries.len(), to_start.len());
        engine(&args)?.start(&sweep, &to_start, &|sentence| eprintln!("{sentence}"))?;
    }
    report(&sweep, &args)
}

/// The sweep that the command line means, its list checked and kept.
fn open(args: &Args) -> Result<Sweep> {
    if args.sweep.is_dir() {
        if let Some(output) = &args.output {
            return Err(Error::setting("output", output.display(), "none: the sweep has a folder already").into());
        }
        return Sweep::open(&args.sweep).map_err(in_file(&args.sweep));
    }
    let name = args.sweep.file_stem().unwrap_or_default();
    let folder = args.output.clone().unwrap_or_else(|| Path::new("sweeps").join(name));
    if args.status {
        return Sweep::open(&folder).map_err(in_file(&folder));
    }
    Sweep::create(&args.sweep, &folder).map_err(in_file(&args.sweep))
}

/// Says of which list a setting is told; other errors name their file.
fn in_file(path: &Path) -> impl Fn(Error) -> anyhow::Error {
    move |error| match error {
        Error::Setting { .. } => anyhow::Error::new(error).context(path.display().to_string()),
        other => other.into(),
    }
}

fn engine(args: &Args) -> Result<Box<dyn Engine>> {
    let program = std::env::current_exe().context("the path of this command")?;
    Ok(match args.engine {
        EngineName::Local => {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            let jobs = args.jobs.unwrap_or(cores);
            Box::new(Local { program, jobs, threads: (cores / jobs).max(1) })
        }
        EngineName::Slurm => Box::new(Slurm { program, jobs: args.jobs.unwrap_or(0) }),
    })
}

/// Works off one run in this process.
fn work(sweep: &Sweep, name: &str, threads: usize) -> Result<()> {
    let config = &sweep.entry(name)?.config;
    set_threads(if config.threads > 0 { config.threads } else { threads })?;
    Ok(job::work(sweep, name, &mut |line| eprintln!("{line}"))?)
}

/// Writes the leaderboard, and prints it with what has become of the runs.
fn report(sweep: &Sweep, args: &Args) -> Result<()> {
    let board = Leaderboard::gather(sweep)?;
    board.write(sweep)?;
    if let Some(path) = &args.markdown {
        let command = format!("unbraid sweep {} --markdown {}", args.sweep.display(), path.display());
        write_atomic(path, board.markdown(&command).as_bytes())?;
    }
    if args.status {
        for run in &board.runs {
            let reason = run.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            say!("{:<11}  {}{reason}", run.state, run.name);
        }
        say!("");
    }
    say!("{}", board.to_string().trim_end());
    say!("{}", sweep.folder().join("leaderboard.html").display());
    let failed = board.runs.iter().filter(|run| ["failed", "interrupted"].contains(&&*run.state)).count();
    if failed > 0 && !args.status && args.engine == EngineName::Local {
        bail!("{failed} of {} runs failed; the same command tries them again", board.runs.len());
    }
    Ok(())
}
