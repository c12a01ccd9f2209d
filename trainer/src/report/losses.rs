//! Losses over time, from a run's `metrics.jsonl`.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use super::{
    html::paragraph,
    svg::{Axis, Marks, Plot, Series},
};
use crate::{Error, Result};

/// Points of a line; of more, neighbors are averaged.
const POINTS: usize = 240;
/// Positive values that span more than this ratio get a logarithmic axis.
const WIDE: f64 = 5.0;

/// The terms that a run logged.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// The values `(step, value)` of each term.
    terms: BTreeMap<String, Vec<(f64, f64)>>,
}

impl Log {
    /// Reads `metrics.jsonl`.
    ///
    /// # Errors
    /// The file cannot be read, or a line is not what a run writes; the message names it.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io(path))?;
        let mut terms: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let damaged = || {
                let (field, found) = (format!("line {}", number + 1), line.chars().take(60).collect::<String>());
                Error::malformed(path, &field, found, "a step and its loss terms, as `unbraid train` writes them")
            };
            let values: BTreeMap<String, Value> = serde_json::from_str(line).map_err(|_| damaged())?;
            let step = values.get("step").and_then(Value::as_u64).ok_or_else(damaged)?;
            for (name, value) in values.iter().filter(|(name, _)| *name != "step") {
                let value = value.as_f64().ok_or_else(damaged)?;
                terms.entry(name.clone()).or_default().push((step as f64, value));
            }
        }
        Ok(Self { terms })
    }
}

/// One plot a term, the whole loss first.
pub(super) fn section(log: &Log) -> String {
    if log.terms.is_empty() {
        return paragraph("The run has logged nothing yet.");
    }
    let mut names: Vec<&String> = log.terms.keys().collect();
    names.sort_by_key(|name| *name != "loss");
    let mut html = String::new();
    if log.terms.values().any(|values| values.len() > POINTS) {
        html.push_str(&paragraph("Lines are averages of neighboring values; the bands behind them hold all values."));
    }
    let plots: String = names.into_iter().map(|name| plot(name, &log.terms[name]).svg()).collect();
    html + "<div class=\"tiles\">\n" + &plots + "</div>\n"
}

fn plot(name: &str, values: &[(f64, f64)]) -> Plot {
    let thinned = thin(values);
    let (least, greatest) = values
        .iter()
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value.1), high.max(value.1)));
    let line = Marks::Line(thinned.iter().map(|group| (group.step, group.mean)).collect());
    let band = Marks::Band(thinned.iter().map(|group| (group.step, group.least, group.greatest)).collect());
    let series = |marks| Series { name: String::new(), color: 0, marks };
    let series = if thinned.len() < values.len() { vec![series(band), series(line)] } else { vec![series(line)] };
    Plot {
        title: format!("{name} over the steps of the run"),
        x: Axis {
            label: "step".into(),
            covers: vec![0.0, values.last().map_or(0.0, |value| value.0)],
            logarithmic: false,
        },
        y: Axis {
            label: name.replace('_', " "),
            covers: Vec::new(),
            logarithmic: least > 0.0 && greatest / least > WIDE,
        },
        series,
    }
}

/// Neighboring values.
struct Group {
    step: f64,
    mean: f64,
    least: f64,
    greatest: f64,
}

/// At most [`POINTS`] groups of equally many values; the last may have fewer.
fn thin(values: &[(f64, f64)]) -> Vec<Group> {
    let group = |values: &[(f64, f64)]| {
        let n = values.len() as f64;
        let (step, mean) =
            values.iter().fold((0.0, 0.0), |(step, mean), value| (step + value.0 / n, mean + value.1 / n));
        let least = values.iter().map(|value| value.1).fold(f64::INFINITY, f64::min);
        let greatest = values.iter().map(|value| value.1).fold(f64::NEG_INFINITY, f64::max);
        Group { step, mean, least, greatest }
    };
    values.chunks(values.len().div_ceil(POINTS).max(1)).map(group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(text: &str) -> Result<Log> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        fs::write(&path, text).unwrap();
        Log::read(&path)
    }

    #[test]
    fn each_term_gets_a_plot_and_the_loss_is_first() {
        let log = log("{\"step\":50,\"kl\":2.5,\"loss\":900}\n{\"step\":100,\"kl\":3,\"loss\":40}\n").unwrap();
        assert_eq!(log.terms["kl"], [(50.0, 2.5), (100.0, 3.0)]);
        let html = section(&log);
        let place = |word: &str| html.find(word).unwrap();
        assert!(place("loss over") < place("kl over"), "{html}");
        assert!(section(&Log { terms: BTreeMap::new() }).contains("nothing"));
    }

    #[test]
    fn long_runs_are_averaged() {
        let values: Vec<(f64, f64)> = (0..6000).map(|i| (f64::from(i), f64::from(i % 2))).collect();
        let thinned = thin(&values);
        assert_eq!(thinned.len(), POINTS);
        assert!(thinned.iter().all(|g| (g.mean - 0.5).abs() < 0.03 && (g.least, g.greatest) == (0.0, 1.0)));
        assert!((thinned[0].step - 12.0).abs() < 1e-9);
        assert_eq!(thin(&values[..100]).len(), 100);
    }

    #[test]
    fn damaged_lines_are_named() {
        for line in ["{\"step\":1", "{}", "{\"step\":-1}", "{\"step\":1,\"loss\":\"x\"}", ""] {
            let error = log(&format!("{{\"step\":1,\"loss\":1}}\n{line}\n{{\"step\":3}}\n")).unwrap_err().to_string();
            assert!(error.contains("metrics.jsonl: line 2: found ") && error.contains("a step and its"), "{error}");
        }
    }
}
