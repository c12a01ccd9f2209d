//! A run and its folder:
//!
//! ```text
//! RUN/config.toml      the settings, resolved
//! RUN/architecture.toml the networks, if they are no preset
//! RUN/metrics.jsonl    one line every log_every steps
//! RUN/events.out.*     the same for TensorBoard
//! RUN/samples/         sheets of inputs, reconstructions and traversals
//! RUN/checkpoints/     what is needed to go on
//! RUN/model/           the export, once the run is complete
//! ```

use std::{
    fmt,
    fs::{self, File, TryLockError},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use candle_core::{Device, Tensor};

use super::{
    checkpoint,
    config::TrainConfig,
    device,
    files::{make_folder, remove_unfinished, write_atomic},
    loader::{Draw, Loader},
    samples::Samples,
    tensorboard::EventWriter,
};
use crate::{
    Error, Result,
    data::Dataset,
    export,
    model::architecture_file::{self, ARCHITECTURE_FILE},
    objective::{Company, Objective, Setup, Terms},
    parallel::{self, Communicator, Launch},
    profile,
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

/// A run folder that this process works on alone, or, of several ranks, that rank 0 alone writes to.
pub struct Run {
    folder: PathBuf,
    config: TrainConfig,
    dataset: Box<dyn Dataset>,
    launch: Launch,
    device: Device,
    /// What there is to say about the device.
    note: Option<String>,
    // Held for its lock; a killed process loses it. The other ranks have none.
    _lock: Option<File>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("folder", &self.folder).field("config", &self.config).finish_non_exhaustive()
    }
}

impl Run {
    /// Starts a run in a folder that does not exist yet, or is empty.
    ///
    /// # Errors
    /// The settings make no sense, or the folder holds something.
    pub fn create(folder: &Path, mut config: TrainConfig, launch: Launch) -> Result<Self> {
        let dataset = config.validate()?;
        check_share(&config, &launch)?;
        let (device, note) = device::open_rank(&config.device, &launch)?;
        if !launch.writes() {
            return Ok(Self { folder: folder.into(), config, dataset, launch, device, note, _lock: None });
        }
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
        let lock = Some(lock(folder)?);
        if architecture_file::is_file(&config.architecture) {
            let text = fs::read(&config.architecture).map_err(Error::io(&config.architecture))?;
            write_atomic(&folder.join(ARCHITECTURE_FILE), &text)?;
            config.architecture = kept_architecture(folder);
        }
        let run = Self { folder: folder.into(), config, dataset, launch, device, note, _lock: lock };
        run.write_config()?;
        Ok(run)
    }

    /// Goes on with a run; `changes` replaces settings that say how long and where, not what is trained.
    ///
    /// # Errors
    /// It is no run folder, another process trains in it, or a change would make it another run.
    pub fn resume(folder: &Path, changes: toml::Table, launch: Launch) -> Result<Self> {
        let mut config = read_config(folder)?.to_table()?;
        let lock = launch.writes().then(|| lock(folder)).transpose()?;
        for (key, value) in changes {
            let same = config.get(&key) == Some(&value);
            if !same && !TrainConfig::changeable(&key) {
                let was = config.get(&key).map_or_else(|| "nothing".into(), ToString::to_string);
                return Err(Error::setting(&key, value, &format!("{was}, as the run was started; it cannot change")));
            }
            config.insert(key, value);
        }
        let config = TrainConfig::from_table(config)?;
        let dataset = config.validate()?;
        check_share(&config, &launch)?;
        let newest = checkpoint::list(&folder.join(CHECKPOINTS))?.first().map_or(0, |(step, _)| *step);
        if config.steps < newest {
            return Err(Error::setting("steps", config.steps, &format!("{newest} or more, the steps made already")));
        }
        let (device, note) = device::open_rank(&config.device, &launch)?;
        let run = Self { folder: folder.into(), config, dataset, launch, device, note, _lock: lock };
        if run.launch.writes() {
            for written in [folder, &folder.join(CHECKPOINTS), &folder.join("samples")] {
                remove_unfinished(written)?;
            }
            run.write_config()?;
        }
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
        let text = to_toml(&self.config.portable().to_table()?)?;
        write_atomic(&self.folder.join("config.toml"), text.as_bytes())
    }

    /// Trains from the newest whole checkpoint to the last step; returns that step.
    ///
    /// Of several ranks, all call this; `lost` is called with a sentence for the user when another rank goes away, and has to end
    /// the process.
    ///
    /// # Errors
    /// A loss is not finite, a file cannot be written, the ranks do not find each other; the checkpoints so far stay.
    pub fn train(&self, tell: impl FnMut(Event), lost: impl Fn(&str) + Send + Sync + 'static) -> Result<u64> {
        // Each rank has a device and threads of its own; the rest has to be the same.
        let mut settings = self.config.to_table()?;
        settings.retain(|key, _| key != "device" && key != "threads");
        let networks = toml::Value::try_from(self.config.architecture()?);
        settings
            .insert("architecture".into(), networks.map_err(|e| Error::Unsupported(format!("networks as TOML: {e}")))?);
        let settings = to_toml(&settings)?;
        let ranks = parallel::connect(&self.launch, &self.device, settings.as_bytes(), lost)?;
        let steps = self.train_with(&*ranks, tell)?;
        ranks.finish()?;
        Ok(steps)
    }

    /// [`Self::train`] with ranks that have met already.
    pub fn train_with(&self, ranks: &dyn Communicator, mut tell: impl FnMut(Event)) -> Result<u64> {
        let (config, dataset, device) = (&self.config, &*self.dataset, &self.device);
        self.note.iter().for_each(|note| tell(Event::Note(note.clone())));
        dataset.skipped().iter().for_each(|skipped| tell(Event::Note(format!("skipped: {skipped}"))));
        if !dataset.skipped().is_empty() {
            tell(Event::Note(format!("{} images were skipped, {} are left", dataset.skipped().len(), dataset.len())));
        }
        let mut objective = start(config, dataset, device)?;
        let writes = ranks.rank() == 0;
        let start = self.restore(&mut *objective, ranks, &mut tell)?;

        let mut output = writes.then(|| Output::open(self, dataset, start)).transpose()?;
        let (rank, world_size) = (ranks.rank(), ranks.world_size());
        let draw = Draw { rank, world_size, ..Draw::new(&*objective, config.seed, config.batch_size) };
        std::thread::scope(|scope| {
            let mut loader = Loader::start(scope, dataset, draw, start + 1..=config.steps, device);
            for step in start + 1..=config.steps {
                let _step = profile::section(profile::STEP, "");
                let batch = {
                    let _section = profile::section("data", "wait");
                    loader.next_batch()?
                };
                // A CPU has nothing to wait for; a checkpoint must not keep what is not finite.
                let terms =
                    device.is_cpu() || self.due(step, config.log_every) || self.due(step, config.checkpoint_every);
                let terms = objective.step(&batch, Company { ranks, terms })?;
                if let Some(output) = &mut output {
                    let _section = profile::section("files", "write");
                    output.write(self, step, &*objective, &terms)?;
                }
                tell(Event::Step { step, terms: &terms });
            }
            Ok::<_, Error>(())
        })?;

        let model = self.folder.join("model");
        if !writes || start == config.steps && export::read(&model).is_ok_and(|(written, _)| written.steps == start) {
            // Nothing is new, but names or an int8 file may have been added to it.
            return Ok(config.steps);
        }
        let trained = export::model_of_run(&self.folder, |_| {})?;
        export::write(&model, &trained.config, &trained.weights, &trained.extras, true)?;
        Ok(trained.config.steps)
    }

    /// Whether what is done `every` so many steps, and after the last one, is done after `step`.
    fn due(&self, step: u64, every: u64) -> bool {
        step.is_multiple_of(every) || step == self.config.steps
    }

    /// Takes the newest whole checkpoint, which rank 0 reads for all; returns its step, 0 if there is none.
    fn restore(
        &self,
        objective: &mut dyn Objective,
        ranks: &dyn Communicator,
        tell: &mut impl FnMut(Event),
    ) -> Result<u64> {
        let checkpoints = self.folder.join(CHECKPOINTS);
        let mut start = 0;
        if ranks.rank() == 0 {
            let damaged = |e: &Error| tell(Event::Note(format!("passed over a damaged checkpoint: {e}")));
            if let Some(checkpoint) = checkpoint::latest(&checkpoints, damaged)? {
                checkpoint.restore(objective, &checkpoints)?;
                start = checkpoint.step;
                tell(Event::Note(format!("going on after step {start}")));
            }
        }
        if ranks.world_size() > 1 {
            let (names, mut tensors): (Vec<_>, Vec<_>) = objective.state().into_iter().unzip();
            tensors.push(Tensor::new(start as i64, &self.device)?);
            let mut tensors = ranks.broadcast(&tensors)?;
            if let Some(step) = tensors.pop() {
                start = u64::try_from(step.to_scalar::<i64>()?).unwrap_or(0);
            }
            objective.restore(&names.into_iter().zip(tensors).collect(), start)?;
        }
        Ok(start)
    }
}

fn to_toml(table: &toml::Table) -> Result<String> {
    toml::to_string(table).map_err(|e| Error::Unsupported(format!("settings as TOML: {e}")))
}

/// Refuses a batch that the ranks cannot share evenly.
fn check_share(config: &TrainConfig, launch: &Launch) -> Result<()> {
    if config.batch_size.is_multiple_of(launch.world_size) {
        return Ok(());
    }
    let expected = format!("a multiple of {}, the number of processes that share it", launch.world_size);
    Err(Error::setting("batch_size", config.batch_size, &expected))
}

/// What a run writes while it goes.
struct Output {
    metrics: Metrics,
    samples: Samples,
}

impl Output {
    fn open(run: &Run, dataset: &dyn Dataset, start: u64) -> Result<Self> {
        let config = &run.config;
        Ok(Self {
            metrics: Metrics::open(&run.folder, start)?,
            samples: Samples::new(&run.folder, dataset, &config.architecture()?, config.seed, &run.device)?,
        })
    }

    /// What is due after `step`.
    fn write(&mut self, run: &Run, step: u64, objective: &dyn Objective, terms: &Terms) -> Result<()> {
        let (config, metrics) = (&run.config, &mut self.metrics);
        if run.due(step, config.log_every) {
            metrics.write(step, terms)?;
        }
        if run.due(step, config.sample_every) {
            self.samples.write(step, objective, &mut metrics.events).map_err(|e| match e {
                Error::Unsupported(reason) => Error::Unsupported(format!("step {step}, samples: {reason}")),
                other => other,
            })?;
        }
        if run.due(step, config.checkpoint_every) {
            metrics.flush()?;
            checkpoint::save(&run.folder.join(CHECKPOINTS), step, &objective.state(), config.keep_checkpoints)?;
        }
        Ok(())
    }
}

/// The system that the settings name, to be trained on `dataset`.
pub fn start(config: &TrainConfig, dataset: &dyn Dataset, device: &Device) -> Result<Box<dyn Objective>> {
    let architecture = config.architecture()?;
    let setup = Setup { architecture: &architecture, init: config.init, seed: config.seed, dataset, device };
    config.objective.start(setup, &config.options)
}

/// The setting that names the architecture file which a run keeps.
fn kept_architecture(folder: &Path) -> String {
    folder.join(ARCHITECTURE_FILE).to_string_lossy().into_owned()
}

/// The settings of the run in `folder`.
///
/// # Errors
/// There is no `config.toml`, or it is damaged.
pub fn read_config(folder: &Path) -> Result<TrainConfig> {
    let path = folder.join("config.toml");
    let text = fs::read_to_string(&path).map_err(|cause| match cause.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            let expected = "the folder of a run, as `unbraid train` makes it";
            Error::malformed(folder, "config.toml", "no such file", expected)
        }
        _ => Error::Io { path: path.clone(), cause },
    })?;
    let expected = "the settings of a run, as `unbraid train` writes them";
    let malformed = |found: String| Error::malformed(&path, "settings", found, expected);
    let table = text.parse::<toml::Table>().map_err(|e| malformed(e.to_string()))?;
    let mut config = TrainConfig::from_table(table).map_err(|e| malformed(e.to_string()))?;
    if architecture_file::is_file(&config.architecture) {
        config.architecture = kept_architecture(folder);
    }
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
