//! Jobs as processes on this machine, several at once.

use std::{
    fs::File,
    io,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{Engine, Entry, Sweep};
use crate::{
    Error, Result,
    train::files::{make_folder, parent},
};

/// Processes of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    /// The command `unbraid`.
    pub program: PathBuf,
    /// Jobs at once.
    pub jobs: usize,
    /// Threads of each, where its settings do not say.
    pub threads: usize,
}

impl Engine for Local {
    fn start(&self, sweep: &Sweep, entries: &[&Entry], tell: &(dyn Fn(&str) + Sync)) -> Result<()> {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = || -> Result<()> {
            while let Some(entry) = entries.get(next.fetch_add(1, Ordering::Relaxed)) {
                tell(&format!("{}: started", entry.name));
                let status = self.process(sweep, entry)?;
                let of = format!("[{}/{}]", done.fetch_add(1, Ordering::Relaxed) + 1, entries.len());
                if status.success() {
                    tell(&format!("{of} {}: finished", entry.name));
                } else {
                    let log = sweep.log(entry);
                    let end = sweep.end_of_log(entry);
                    tell(&format!("{of} {}: failed, {status}; {} ends in:{end}", entry.name, log.display()));
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs.min(entries.len())).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    }
}

impl Local {
    /// Runs the job of `entry` to its end; what it prints goes to its log.
    fn process(&self, sweep: &Sweep, entry: &Entry) -> Result<ExitStatus> {
        let path = sweep.log(entry);
        make_folder(&parent(&path))?;
        let log = File::options().create(true).append(true).open(&path).map_err(Error::io(&path))?;
        let start = |log: File| -> io::Result<ExitStatus> {
            let mut command = Command::new(&self.program);
            command.arg("sweep").arg(sweep.folder()).args([
                "--job",
                &entry.name,
                "--threads",
                &self.threads.to_string(),
            ]);
            command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).status()
        };
        start(log).map_err(Error::io(&self.program))
    }
}
