//! The folder of a sweep: the list, and how far each run has come.

use std::{
    fmt,
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use super::{
    job::{Outcome, Record},
    plan::{Entry, Plan},
    slurm,
};
use crate::{
    Error, Result,
    train::{
        config::TrainConfig,
        files::{make_folder, parent, read_json, write_atomic, write_json},
        run::read_config,
    },
};

const PLAN: &str = "sweep.toml";

/// A sweep and its folder.
#[derive(Debug)]
pub struct Sweep {
    folder: PathBuf,
    plan: Plan,
}

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing was done, or it has to be measured anew because `[evaluate]` has changed.
    Waiting,
    /// Slurm has it in its queue.
    Queued,
    /// A process works on it.
    Running,
    /// A process worked on it and was killed.
    Interrupted,
    /// It failed, for this reason.
    Failed(String),
    /// Trained, quantized and measured.
    Finished,
}

impl Sweep {
    /// The sweep in `folder`.
    ///
    /// # Errors
    /// There is none, or its list is not as it should be.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(PLAN);
        if !path.is_file() {
            let expected = "the folder of a sweep, as `unbraid sweep FILE` makes it";
            return Err(Error::malformed(folder, PLAN, "no such file", expected));
        }
        Ok(Self { folder: folder.into(), plan: Plan::read(&path)? })
    }

    /// Starts the sweep of the list `file` in `folder`, or goes on with one, of which the list may have grown.
    ///
    /// # Errors
    /// The list is not as it should be, the folder holds something else, or a run in it was started with other settings;
    /// nothing is written then.
    pub fn create(file: &Path, folder: &Path) -> Result<Self> {
        let plan = Plan::read(file)?;
        if !folder.join(PLAN).is_file() && fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
            let folder = folder.display();
            return Err(Error::Unsupported(format!(
                "{folder}: holds something that is no sweep; choose another folder"
            )));
        }
        let sweep = Self { folder: folder.into(), plan };
        for entry in &sweep.plan.entries {
            sweep.check_unchanged(entry)?;
        }
        make_folder(folder)?;
        for file_of_plan in &sweep.plan.files {
            let source = parent(file).join(file_of_plan);
            write_atomic(&folder.join(file_of_plan), &fs::read(&source).map_err(Error::io(&source))?)?;
        }
        write_atomic(&folder.join(PLAN), sweep.plan.text.as_bytes())?;
        Self::open(folder)
    }

    /// Refuses an entry whose run was started as something else.
    fn check_unchanged(&self, entry: &Entry) -> Result<()> {
        let run = self.run(entry);
        if !run.join("config.toml").is_file() {
            return Ok(());
        }
        let was = read_config(&run)?;
        let [before, now] = [&was, &entry.config].map(|config| config.portable().to_table());
        let (before, now) = (before?, now?);
        for (key, value) in &now {
            let free = TrainConfig::changeable(key) && key != "steps";
            if !free && before.get(key) != Some(value) {
                return Err(changed(entry, key, value, &before.get(key).map_or("nothing".into(), ToString::to_string)));
            }
        }
        let [before, now] = [was.architecture()?, entry.config.architecture()?];
        if before != now {
            let name = &entry.config.architecture;
            return Err(changed(entry, "architecture", name, "the networks that the run keeps in architecture.toml"));
        }
        Ok(())
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The list.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The entry of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        self.plan.entries.iter().find(|entry| entry.name == name).ok_or_else(|| {
            let expected = format!("a run of {}", self.folder.join(PLAN).display());
            Error::setting("job", name, &expected)
        })
    }

    /// The run folder of an entry.
    pub fn run(&self, entry: &Entry) -> PathBuf {
        self.folder.join("runs").join(&entry.name)
    }

    /// The model directory of an entry, once it is trained.
    pub fn model(&self, entry: &Entry) -> PathBuf {
        self.run(entry).join("model")
    }

    /// What the job of an entry prints.
    pub fn log(&self, entry: &Entry) -> PathBuf {
        self.of_job(entry, "log")
    }

    /// The last lines of [`Self::log`], each after a line break and four spaces; empty where nothing was printed.
    pub fn end_of_log(&self, entry: &Entry) -> String {
        let text = fs::read(self.log(entry)).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines.iter().skip(lines.len().saturating_sub(5)).flat_map(|line| ["\n    ", line]).collect()
    }

    /// How far the job of an entry has come; none before it begins.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn record(&self, entry: &Entry) -> Result<Option<Record>> {
        read_json(&self.of_job(entry, "json"))
    }

    /// Notes how far the job of an entry has come.
    pub(super) fn write_record(&self, entry: &Entry, record: &Record) -> Result<()> {
        write_json(&self.of_job(entry, "json"), record)
    }

    /// Waits until no other process works on `entry`, and keeps others from it. A killed process loses the lock.
    pub(super) fn lock(&self, entry: &Entry) -> Result<File> {
        let path = self.of_job(entry, "lock");
        make_folder(&parent(&path))?;
        let file = File::create(&path).map_err(Error::io(&path))?;
        file.lock().map_err(Error::io(&path))?;
        Ok(file)
    }

    /// How far each run has come, in the order of the list.
    ///
    /// # Errors
    /// A record cannot be read or is damaged.
    pub fn states(&self) -> Result<Vec<State>> {
        let queue = slurm::queue(self)?;
        let state = |entry: &Entry| {
            let state = self.state(entry)?;
            let queued = queue.get(&entry.name).filter(|_| !matches!(state, State::Running | State::Finished));
            Ok(queued.cloned().unwrap_or(state))
        };
        self.plan.entries.iter().map(state).collect()
    }

    fn state(&self, entry: &Entry) -> Result<State> {
        // A job that asks for its lock in this moment waits for it.
        let running = File::open(self.of_job(entry, "lock"))
            .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)));
        if running {
            return Ok(State::Running);
        }
        let record = self.record(entry)?.filter(|record| record.evaluate == self.plan.evaluate);
        Ok(match record.map(|record| record.outcome) {
            None => State::Waiting,
            Some(Outcome::Begun) => State::Interrupted,
            Some(Outcome::Failed(reason)) => State::Failed(reason),
            Some(Outcome::Finished) => State::Finished,
        })
    }

    fn of_job(&self, entry: &Entry, extension: &str) -> PathBuf {
        self.folder.join("jobs").join(format!("{}.{extension}", entry.name))
    }
}

fn changed(entry: &Entry, key: &str, found: impl ToString, was: &str) -> Error {
    let expected = format!("{was}, as this run was started; give the group a new `name`, or sweep into another folder");
    Error::setting(&format!("{}: {key}", entry.name), found, &expected)
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Failed(_) => "failed",
            Self::Finished => "finished",
        })
    }
}
