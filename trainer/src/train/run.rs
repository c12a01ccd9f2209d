//! A run and its folder:
//!
//! ```text
//! RUN/config.toml      the settings, resolved
//! RUN/metrics.jsonl    one line every log_every steps
//! RUN/events.out.*     the same for TensorBoard
//! RUN/samples/         sheets of inputs, reconstructions and traversals
//! RUN/checkpoints/     what is needed to go on
//! RUN/model/           the export, once the run is complete
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use candle_core::Device;

use super::{
    checkpoint::{self, Checkpoint},
    config::TrainConfig,
    device,
    files::{make_folder, remove_unfinished, write_atomic},
    loader::{Draw, Loader},
    samples::Samples,
    tensorboard::EventWriter,
};
use crate::{
    Error, Result, data,
    export::{self, Extras},
    objective::{Objective, Terms, factor_vae::FactorVae},
};

const CHECKPOINTS: &str = "checkpoints";

/// What a run tells while it goes.
#[derive(Debug)]
pub enum Event<'a> {
    /// A sentence for the user.
    Note(String),
    /// A step was made.
    Step {
        /// Its number, from 1.
        step: u64,
        /// Its loss terms.
        terms: &'a Terms,
    },
}

/// A run folder that this process works on alone.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    config: TrainConfig,
    device: Device,
    /// What there is to say about the device.
    note: Option<String>,
    // Held for its lock; a killed process loses it.
    _lock: File,
}

impl Run {
    /// Starts a run in a folder that does not exist yet, or is empty.
    ///
    /// # Errors
    /// The settings make no sense, or the folder holds something.
    pub fn create(folder: &Path, config: TrainConfig) -> Result<Self> {
        config.validate()?;
        let (device, note) = device::open(&config.device)?;
        let occupied = match fs::read_dir(folder) {
            Ok(mut entries) => entries.next().is_some(),
            Err(e) if e.kind() == ErrorKind::NotFound => false,
            Err(e) => return Err(Error::io(folder)(e)),
        };
        if occupied {
            return Err(Error::Unsupported(format!(
                "{}: exists already; go on with --resume {0}, or choose another folder with --run",
                folder.display()
            )));
        }
        make_folder(folder)?;
        let lock = lock(folder)?;
        let run = Self { folder: folder.into(), config, device, note, _lock: lock };
        run.write_config()?;
        Ok(run)
    }

    /// Goes on with a run; `changes` replaces settings that say how long and where, not what is trained.
    ///
    /// # Errors
    /// It is no run folder, another process trains in it, or a change would make it another run.
    pub fn resume(folder: &Path, changes: toml::Table) -> Result<Self> {
        let mut config = read_config(folder)?.to_table()?;
        let lock = lock(folder)?;
        for (key, value) in changes {
            let same = config.get(&key) == Some(&value);
            if !same && !TrainConfig::changeable(&key) {
                let was = config.get(&key).map_or_else(|| "nothing".into(), ToString::to_string);
                return Err(Error::setting(&key, value, &format!("{was}, as the run was started; it cannot change")));
            }
            config.insert(key, value);
        }
        let config = TrainConfig::from_table(config)?;
        config.validate()?;
        let newest = checkpoint::list(&folder.join(CHECKPOINTS))?.first().map_or(0, |(step, _)| *step);
        if config.steps < newest {
            return Err(Error::setting("steps", config.steps, &format!("{newest} or more, the steps made already")));
        }
        let (device, note) = device::open(&config.device)?;
        for written in [folder, &folder.join(CHECKPOINTS), &folder.join("samples")] {
            remove_unfinished(written)?;
        }
        let run = Self { folder: folder.into(), config, device, note, _lock: lock };
        run.write_config()?;
        Ok(run)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    fn write_config(&self) -> Result<()> {
        let text = toml::to_string(&self.config.to_table()?)
            .map_err(|e| Error::Unsupported(format!("settings as TOML: {e}")))?;
        write_atomic(&self.folder.join("config.toml"), text.as_bytes())
    }

    /// Trains from the newest whole checkpoint to the last step; returns that step.
    ///
    /// # Errors
    /// A loss is not finite, a file cannot be written; the checkpoints so far stay.
    pub fn train(&self, mut tell: impl FnMut(Event)) -> Result<u64> {
        let (config, device) = (&self.config, &self.device);
        self.note.iter().for_each(|note| tell(Event::Note(note.clone())));
        let dataset = data::open(&config.dataset)?;
        let architecture = config.architecture()?;

        let mut objective = objective(config, device)?;
        let checkpoints = self.folder.join(CHECKPOINTS);
        let found =
            checkpoint::latest(&checkpoints, |e| tell(Event::Note(format!("passed over a damaged checkpoint: {e}"))))?;
        let start = match found {
            Some(Checkpoint { step, state }) => {
                objective.restore(&state, step).map_err(|e| {
                    let folder = checkpoints.display();
                    Error::Unsupported(format!("{folder}: the checkpoint of step {step} is not one of this run: {e}"))
                })?;
                tell(Event::Note(format!("going on after step {step}")));
                step
            }
            None => 0,
        };

        let mut metrics = Metrics::open(&self.folder, start)?;
        let samples = Samples::new(&self.folder, &*dataset, &architecture, config.seed, device);
        let draw = Draw { seed: config.seed, minibatches: objective.minibatches(), batch_size: config.batch_size };
        std::thread::scope(|scope| {
            let mut loader = Loader::start(scope, &*dataset, draw, start + 1..=config.steps, device);
            for step in start + 1..=config.steps {
                let terms = objective.step(&loader.next_batch()?)?;
                let last = step == config.steps;
                if step.is_multiple_of(config.log_every) || last {
                    metrics.write(step, &terms)?;
                }
                if step.is_multiple_of(config.sample_every) || last {
                    samples.write(step, &*objective, &mut metrics.events).map_err(|e| match e {
                        Error::Unsupported(reason) => Error::Unsupported(format!("step {step}, samples: {reason}")),
                        other => other,
                    })?;
                }
                if step.is_multiple_of(config.checkpoint_every) || last {
                    metrics.flush()?;
                    checkpoint::save(&checkpoints, step, &objective.state(), config.keep_checkpoints)?;
                }
                tell(Event::Step { step, terms: &terms });
            }
            Ok::<_, Error>(())
        })?;

        let model = self.folder.join("model");
        if start == config.steps && export::read(&model).is_ok_and(|(written, _)| written.steps == start) {
            // Nothing is new, but names or an int8 file may have been added to it.
            return Ok(start);
        }
        let trained = export::model_of_run(&self.folder, |_| {})?;
        let extras = Extras { command: Some(trained.command), ..Extras::default() };
        export::write(&model, &trained.config, &trained.weights, &extras, true)?;
        Ok(trained.config.steps)
    }
}

/// The system that the settings name.
pub fn objective(config: &TrainConfig, device: &Device) -> Result<Box<dyn Objective>> {
    let architecture = config.architecture()?;
    match config.objective.as_str() {
        "factor-vae" => Ok(Box::new(FactorVae::new(
            &architecture,
            &config.factor_vae,
            config.adam(),
            config.init,
            config.seed,
            device,
        )?)),
        other => Err(Error::setting("objective", other, "factor-vae")),
    }
}

/// The settings of the run in `folder`.
///
/// # Errors
/// There is no `config.toml`, or it is damaged.
pub fn read_config(folder: &Path) -> Result<TrainConfig> {
    let path = folder.join("config.toml");
    let text = fs::read_to_string(&path).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Error::Malformed {
            path: folder.into(),
            field: "config.toml".into(),
            found: "no such file".into(),
            expected: "the folder of a run, as `unbraid train` makes it".into(),
        },
        _ => Error::Io { path: path.clone(), cause },
    })?;
    let malformed = |found: String| Error::Malformed {
        path: path.clone(),
        field: "settings".into(),
        found,
        expected: "the settings of a run, as `unbraid train` writes them".into(),
    };
    let table = text.parse::<toml::Table>().map_err(|e| malformed(e.to_string()))?;
    let config = TrainConfig::from_table(table).map_err(|e| malformed(e.to_string()))?;
    config.validate().map_err(|e| malformed(e.to_string()))?;
    Ok(config)
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Unsupported(format!("{}: another process is training in this run folder", folder.display())))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(&path)(e)),
    }
}

/// `metrics.jsonl` and the TensorBoard events.
struct Metrics {
    path: PathBuf,
    file: File,
    events: EventWriter,
}

impl Metrics {
    /// Opens both for a run that goes on after `start`: lines of later steps, which a killed run may have left, are dropped.
    fn open(folder: &Path, start: u64) -> Result<Self> {
        let path = folder.join("metrics.jsonl");
        if let Ok(text) = fs::read_to_string(&path) {
            let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).ok()?.get("step")?.as_u64();
            let kept = text.lines().filter(|line| step(line).is_some_and(|s| s <= start));
            let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
            write_atomic(&path, kept.as_bytes())?;
        }
        let file = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        Ok(Self { path, file, events: EventWriter::create(folder, start + 1)? })
    }

    fn write(&mut self, step: u64, terms: &Terms) -> Result<()> {
        let mut line = format!("{{\"step\":{step}");
        for (name, value) in terms {
            line.push_str(&format!(",\"{name}\":{value}"));
            self.events.scalar(step, name, *value)?;
        }
        line.push_str("}\n");
        self.file.write_all(line.as_bytes()).map_err(Error::io(&self.path))
    }

    fn flush(&mut self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))?;
        self.events.flush()
    }
}
