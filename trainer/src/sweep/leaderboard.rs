//! The scores of all runs, and the settings ranked by them.

use std::{cmp::Ordering, collections::BTreeMap, path::Path};

use serde::Serialize;

use super::{
    folder::{State, Sweep},
    html::Picture,
    plan::Entry,
    selection,
};
use crate::{
    Result, data,
    export::{EVALUATION, INT8, INT8_EVALUATION},
    metrics::{Evaluation, Metric},
    model,
    train::files::{read_json, write_atomic, write_json},
    viz::{Traversal, samples},
};

/// What is known of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Leaderboard {
    /// What was measured, in the order of the evaluations.
    pub columns: Vec<Column>,
    /// The column that ranks, with labels: the first score in which more is better. None before a run is finished.
    pub ranked_by: Option<Column>,
    /// The settings, the best mean first; those without a finished run last.
    pub settings: Vec<Row>,
    /// All runs, in the order of the list.
    pub runs: Vec<Run>,
}

/// Something that was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// A score with its protocol, as in `factor-vae (paper)`; or `reconstruction` and `KL`, nats; or `active latents`.
    pub name: String,
    /// Whether a smaller value is the better one.
    pub less_is_better: bool,
    /// Whether it is a score.
    pub score: bool,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    /// Its name.
    pub name: String,
    /// What it has in common with others that differ in their seed.
    pub settings: String,
    /// What it minimizes.
    pub objective: String,
    /// Optimizer steps in all.
    pub steps: u64,
    /// `finished`, `running`, ...
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// What was measured of the f32 model, by column.
    pub f32: BTreeMap<String, f64>,
    /// The same of the int8 model.
    pub int8: BTreeMap<String, f64>,
    /// UDR with the Lasso, against runs of other seeds.
    pub udr: Option<f64>,
}

/// Runs that differ in their seed alone.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What they have in common.
    pub settings: String,
    /// Optimizer steps of each.
    pub steps: u64,
    /// How many there are.
    pub runs: usize,
    /// How many are finished.
    pub finished: usize,
    /// Over the finished runs' f32 models, by column.
    pub f32: BTreeMap<String, Spread>,
    /// Over their int8 models.
    pub int8: BTreeMap<String, Spread>,
    /// Over their UDR.
    pub udr: Option<Spread>,
}

/// Values of several seeds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation, of a sample; none of one value.
    pub std: Option<f64>,
}

impl Spread {
    /// Of `values`; none if there are none.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (!values.is_empty()).then_some(Self { mean, std: (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt()) })
    }
}

impl Leaderboard {
    /// Gathers what the folder of `sweep` has.
    ///
    /// # Errors
    /// A file of a finished run cannot be read.
    pub fn gather(sweep: &Sweep) -> Result<Self> {
        let states = sweep.states()?;
        let entries = &sweep.plan().entries;
        let finished: Vec<&Entry> = entries
            .iter()
            .zip(&states)
            .filter(|(_, state)| **state == State::Finished)
            .map(|(entry, _)| entry)
            .collect();
        let udr = selection::udr(sweep, &finished)?;
        let mut columns = Vec::new();
        let mut runs = Vec::new();
        for (entry, state) in entries.iter().zip(states) {
            let mut measured = |name| -> Result<_> {
                let path = sweep.model(entry).join(name);
                let evaluation: Option<Evaluation> = if state == State::Finished { read_json(&path)? } else { None };
                Ok(evaluation.map_or_else(BTreeMap::new, |evaluation| values(&evaluation, &mut columns)))
            };
            let (f32, int8) = (measured(EVALUATION)?, measured(INT8_EVALUATION)?);
            runs.push(Run {
                name: entry.name.clone(),
                settings: entry.settings.clone(),
                objective: entry.config.objective.name(),
                steps: entry.config.steps,
                state: state.to_string(),
                reason: if let State::Failed(reason) = state { Some(reason) } else { None },
                f32,
                int8,
                udr: udr.get(&entry.name).and_then(|scores| scores.first()).map(|score| score.value),
            });
        }
        Ok(Self::of(columns, runs))
    }

    /// Writes `leaderboard.json`, `leaderboard.html` and `traversals/` into the sweep's folder.
    ///
    /// # Errors
    /// A file cannot be written, or a model not be read.
    pub fn write(&self, sweep: &Sweep) -> Result<()> {
        let mut pictures = Vec::new();
        for run in self.best_of_objectives() {
            let entry = sweep.entry(&run.name)?;
            if let Some(png) = traversal(&sweep.model(entry))? {
                write_atomic(&sweep.folder().join("traversals").join(format!("{}.png", run.name)), &png)?;
                pictures.push(Picture { run: run.name.clone(), png });
            }
        }
        let title = sweep.folder().file_name().map_or_else(|| "Sweep".into(), |name| name.to_string_lossy());
        write_json(&sweep.folder().join("leaderboard.json"), self)?;
        write_atomic(&sweep.folder().join("leaderboard.html"), self.html(&title, &pictures).as_bytes())
    }

    /// Ranks `runs`.
    fn of(columns: Vec<Column>, runs: Vec<Run>) -> Self {
        let scores = || columns.iter().filter(|column| column.score);
        let ranked_by = scores().find(|column| !column.less_is_better).or_else(|| scores().next()).cloned();
        let mut settings = Vec::<Row>::new();
        for run in &runs {
            if settings.iter().all(|row| row.settings != run.settings) {
                let of_row: Vec<&Run> = runs.iter().filter(|other| other.settings == run.settings).collect();
                settings.push(Row::of(&columns, &of_row));
            }
        }
        if let Some(column) = &ranked_by {
            let key = |row: &Row| row.f32.get(&column.name).map(|spread| spread.mean);
            settings.sort_by(|a, b| column.better(key(a), key(b)));
        }
        Self { columns, ranked_by, settings, runs }
    }

    /// The finished runs, the best by labels first.
    pub fn by_labels(&self) -> Vec<&Run> {
        let Some(column) = &self.ranked_by else { return Vec::new() };
        let mut runs: Vec<&Run> = self.runs.iter().filter(|run| run.f32.contains_key(&column.name)).collect();
        let key = |run: &Run| run.f32.get(&column.name).copied();
        runs.sort_by(|a, b| column.better(key(a), key(b)));
        runs
    }

    /// The finished runs that have a UDR, the greatest first.
    pub fn by_udr(&self) -> Vec<&Run> {
        let mut runs: Vec<&Run> = self.runs.iter().filter(|run| run.udr.is_some()).collect();
        runs.sort_by(|a, b| b.udr.unwrap_or(f64::NAN).total_cmp(&a.udr.unwrap_or(f64::NAN)));
        runs
    }

    /// The run with the best score of each objective, the best first.
    pub fn best_of_objectives(&self) -> Vec<&Run> {
        let mut best = Vec::<&Run>::new();
        for run in self.by_labels() {
            if best.iter().all(|other| other.objective != run.objective) {
                best.push(run);
            }
        }
        best
    }
}

/// Values of each latent in a traversal, and screen pixels for each pixel, as `unbraid traverse` has them.
const TRAVERSAL: (usize, u32) = (11, 2);

/// A PNG of the model in `dir`, int8 if it is there: its named latents turned one by one in a held-out image. None where no
/// latent is active.
fn traversal(dir: &Path) -> Result<Option<Vec<u8>>> {
    let int8 = dir.join(INT8);
    let opened = model::open(if int8.is_file() { &int8 } else { dir })?;
    let (model, factors) = (opened.autoencoder(), opened.factors()?);
    let Some(name) = opened.dataset()?.filter(|_| !factors.is_empty()) else { return Ok(None) };
    let dataset = data::open(&name)?;
    let image = dataset.batch(&samples::choose(&*dataset, 1, 0))?;
    let traversal = Traversal::decode(model, &factors, &model.encode(&image)?.mean, TRAVERSAL.0)?;
    traversal.png(TRAVERSAL.1).map(Some)
}

impl Column {
    fn new(name: String, less_is_better: bool, score: bool) -> Self {
        Self { name, less_is_better, score }
    }

    /// The better value first, what has none last.
    fn better(&self, a: Option<f64>, b: Option<f64>) -> Ordering {
        match (a, b) {
            (Some(a), Some(b)) if self.less_is_better => a.total_cmp(&b),
            (Some(a), Some(b)) => b.total_cmp(&a),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

impl Row {
    fn of(columns: &[Column], runs: &[&Run]) -> Self {
        let spreads = |values: &dyn Fn(&Run) -> &BTreeMap<String, f64>| {
            let spread = |column: &Column| {
                let of_runs: Vec<f64> = runs.iter().filter_map(|run| values(run).get(&column.name).copied()).collect();
                Some((column.name.clone(), Spread::of(&of_runs)?))
            };
            columns.iter().filter_map(spread).collect()
        };
        let udr: Vec<f64> = runs.iter().filter_map(|run| run.udr).collect();
        Self {
            settings: runs.first().map_or_else(String::new, |run| run.settings.clone()),
            steps: runs.first().map_or(0, |run| run.steps),
            runs: runs.len(),
            finished: runs.iter().filter(|run| !run.f32.is_empty()).count(),
            f32: spreads(&|run| &run.f32),
            int8: spreads(&|run| &run.int8),
            udr: Spread::of(&udr),
        }
    }
}

/// The column of the reconstruction loss.
pub const RECONSTRUCTION: &str = "reconstruction";

/// What `evaluation` says, by column; columns that are not there yet are added.
fn values(evaluation: &Evaluation, columns: &mut Vec<Column>) -> BTreeMap<String, f64> {
    let statistics = &evaluation.statistics;
    let plain = |name: &str, less_is_better| Column::new(name.into(), less_is_better, false);
    let reconstruction = statistics.reconstruction.map(|nats| (plain(RECONSTRUCTION, true), nats));
    let mut measured: Vec<(Column, f64)> = reconstruction.into_iter().collect();
    measured.push((plain("KL", false), statistics.total_kl()));
    measured.push((plain("active latents", false), statistics.active.len() as f64));
    // Those that need no labels measure dependence; a metric may give several scores, whose names begin with its own.
    let dependence = |metric: &str| Metric::ALL.iter().any(|m| !m.needs_labels() && metric.starts_with(m.name()));
    for score in &evaluation.scores {
        let name = format!("{} ({})", score.metric, score.protocol);
        measured.push((Column::new(name, dependence(&score.metric), true), score.value));
    }
    let mut values = BTreeMap::new();
    for (column, value) in measured {
        values.insert(column.name.clone(), value);
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(settings: &str, seed: u64, score: Option<f64>, udr: Option<f64>) -> Run {
        let values: BTreeMap<String, f64> = score.map(|score| ("mig (study)".into(), score)).into_iter().collect();
        Run {
            name: format!("{settings},seed={seed}"),
            settings: settings.into(),
            objective: settings.split(',').next().unwrap().into(),
            steps: 2,
            state: String::new(),
            reason: None,
            f32: values.clone(),
            int8: values,
            udr,
        }
    }

    #[test]
    fn settings_and_runs_are_ranked_by_mean_by_labels_and_by_udr() {
        let columns = vec![
            Column::new(RECONSTRUCTION.into(), true, false),
            Column::new("gaussian-tc (study)".into(), true, true),
            Column::new("mig (study)".into(), false, true),
        ];
        let runs = vec![
            run("vae", 0, Some(0.1), Some(0.5)),
            run("vae", 1, Some(0.3), Some(0.25)),
            run("beta-vae,beta=4", 0, None, None),
            run("beta-vae,beta=8", 0, Some(0.25), None),
            run("beta-vae,beta=8", 1, None, None),
        ];
        let board = Leaderboard::of(columns, runs);
        assert_eq!(board.ranked_by.as_ref().unwrap().name, "mig (study)");
        let names: Vec<&str> = board.settings.iter().map(|row| &*row.settings).collect();
        assert_eq!(names, ["beta-vae,beta=8", "vae", "beta-vae,beta=4"]);
        let [eight, vae, four] = &board.settings[..] else { panic!() };
        assert_eq!((eight.finished, eight.runs, vae.finished, four.finished), (1, 2, 2, 0));
        let spread = vae.f32["mig (study)"];
        assert!((spread.mean - 0.2).abs() < 1e-12 && (spread.std.unwrap() - 0.02f64.sqrt()).abs() < 1e-12);
        assert_eq!(eight.int8["mig (study)"], Spread { mean: 0.25, std: None });
        assert_eq!(vae.udr.unwrap().mean, 0.375);
        assert!(four.f32.is_empty() && four.udr.is_none());
        let names = |runs: Vec<&Run>| runs.iter().map(|run| run.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(board.by_labels()), ["vae,seed=1", "beta-vae,beta=8,seed=0", "vae,seed=0"]);
        assert_eq!(names(board.by_udr()), ["vae,seed=0", "vae,seed=1"]);
        assert_eq!(names(board.best_of_objectives()), ["vae,seed=1", "beta-vae,beta=8,seed=0"]);
    }
}
