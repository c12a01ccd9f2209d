//! Jobs as an array of Slurm tasks, which share the sweep's folder with this machine.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::PathBuf,
    process::{Command, Output},
};

use serde::{Deserialize, Serialize};

use super::{Engine, Entry, State, Sweep};
use crate::{
    Error, Result,
    train::{
        config::quoted,
        files::{make_folder, read_json, write_atomic, write_json},
    },
};

/// The batch script in the sweep's folder.
const SCRIPT: &str = "slurm.sh";
/// What was submitted, in the sweep's folder.
const SUBMITTED: &str = "slurm.json";

/// What Slurm is asked for, each task: the table `[slurm]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The partition; the cluster's default if empty.
    pub partition: String,
    /// The longest that a task may take, as sbatch reads it; the partition's default if empty.
    pub time: String,
    /// Cores, and threads.
    pub cpus_per_task: usize,
    /// GPUs.
    pub gpus: usize,
    /// More options of sbatch, each beginning with `--`.
    pub extra: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { partition: String::new(), time: String::new(), cpus_per_task: 1, gpus: 0, extra: Vec::new() }
    }
}

impl Options {
    pub(super) fn validate(&self) -> Result<()> {
        if self.cpus_per_task == 0 {
            return Err(Error::setting("cpus_per_task", self.cpus_per_task, "1 or more"));
        }
        let extra = self.extra.iter().map(|option| ("extra", option));
        // Each becomes a line of the script.
        for (name, text) in [("partition", &self.partition), ("time", &self.time)].into_iter().chain(extra.clone()) {
            if text.chars().any(char::is_control) {
                return Err(Error::setting(name, format!("{text:?}"), "one line"));
            }
        }
        for (name, option) in extra {
            if !option.starts_with("--") {
                return Err(Error::setting(name, format!("{option:?}"), "options of sbatch, each beginning with --"));
            }
        }
        Ok(())
    }
}

/// A Slurm cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slurm {
    /// The command `unbraid`, as the nodes find it.
    pub program: PathBuf,
    /// Tasks at once; 0 leaves it to the cluster.
    pub jobs: usize,
}

/// An array that was submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Array {
    /// Slurm's number.
    job: u64,
    /// The run of each task.
    names: Vec<String>,
}

impl Engine for Slurm {
    fn start(&self, sweep: &Sweep, entries: &[&Entry], tell: &(dyn Fn(&str) + Sync)) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let folder = sweep.folder();
        make_folder(&folder.join("jobs"))?;
        let script = folder.join(SCRIPT);
        write_atomic(&script, self.script(sweep, entries).as_bytes())?;
        // From the folder, since the script's paths count from there.
        let output = Command::new("sbatch").current_dir(folder).args(["--parsable", SCRIPT]).output();
        let output = output.map_err(|e| match e.kind() {
            ErrorKind::NotFound => Error::Unsupported(format!(
                "sbatch: not found; submit {} where Slurm is, from the folder that it lies in",
                script.display()
            )),
            _ => Error::io("sbatch")(e),
        })?;
        let job = submitted(&output)?;
        let names = entries.iter().map(|entry| entry.name.clone()).collect();
        let mut arrays: Vec<Array> = read_json(&folder.join(SUBMITTED))?.unwrap_or_default();
        arrays.push(Array { job, names });
        write_json(&folder.join(SUBMITTED), &arrays)?;
        tell(&format!(
            "Slurm job {job}: {} tasks; `unbraid sweep {} --status` follows them",
            entries.len(),
            folder.display()
        ));
        Ok(())
    }
}

impl Slurm {
    /// The batch script; its paths count from the sweep's folder.
    fn script(&self, sweep: &Sweep, entries: &[&Entry]) -> String {
        let Options { partition, time, cpus_per_task, gpus, extra } = &sweep.plan().slurm;
        let at_once = if self.jobs > 0 { format!("%{}", self.jobs) } else { String::new() };
        let mut options = vec![
            "--job-name=unbraid-sweep".to_owned(),
            format!("--array=0-{}{at_once}", entries.len().saturating_sub(1)),
            "--ntasks=1".to_owned(),
            format!("--cpus-per-task={cpus_per_task}"),
            // What does not come from the jobs, which have logs of their own.
            "--output=jobs/slurm-%A_%a.out".to_owned(),
        ];
        let given = [("partition", partition), ("time", time)].into_iter().filter(|(_, value)| !value.is_empty());
        options.extend(given.map(|(name, value)| format!("--{name}={value}")));
        options.extend((*gpus > 0).then(|| format!("--gpus={gpus}")));
        options.extend(extra.iter().cloned());
        let options: String = options.iter().flat_map(|option| ["#SBATCH ", option, "\n"]).collect();
        // Names of runs have nothing in them that a shell minds; see `plan`.
        let names: String = entries.iter().flat_map(|entry| ["    ", &entry.name, "\n"]).collect();
        let program = quoted(&self.program.to_string_lossy());
        format!(
            "#!/bin/bash\n\
             # Written by `unbraid sweep --engine slurm`: one task a run. Submit it from the folder that it lies in.\n\
             {options}\
             set -euo pipefail\n\
             names=(\n{names})\n\
             name=${{names[$SLURM_ARRAY_TASK_ID]}}\n\
             exec {program} sweep . --job \"$name\" --threads {cpus_per_task} >>\"jobs/$name.log\" 2>&1\n"
        )
    }
}

/// Slurm's number of the job, from what `sbatch --parsable` prints: `JOB` or `JOB;CLUSTER`.
fn submitted(output: &Output) -> Result<u64> {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned());
    if !output.status.success() {
        return Err(Error::Unsupported(format!("sbatch refused, {}: {err}", output.status)));
    }
    let job = out.split(';').next().and_then(|job| job.parse().ok());
    job.ok_or_else(|| Error::Unsupported(format!("sbatch printed {out:?} {err}: expected the number of a job")))
}

/// The state of each run that has a task in Slurm's queue, by name. None where there is no Slurm, or it does not answer: the
/// folder then says what it can.
pub(super) fn queue(sweep: &Sweep) -> Result<BTreeMap<String, State>> {
    let arrays: Vec<Array> = read_json(&sweep.folder().join(SUBMITTED))?.unwrap_or_default();
    let mut states = BTreeMap::new();
    for Array { job, names } in arrays {
        let job = job.to_string();
        let squeue = Command::new("squeue").args(["--noheader", "--array", "--format=%K %T", "--jobs", &job]).output();
        let Some(output) = squeue.ok().filter(|output| output.status.success()) else { continue };
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.split_whitespace();
            let index = words.next().and_then(|index| index.parse::<usize>().ok());
            let Some(name) = index.and_then(|index| names.get(index)) else { continue };
            let state = if words.next() == Some("PENDING") { State::Queued } else { State::Running };
            states.insert(name.clone(), state);
        }
    }
    Ok(states)
}
