//! UDR of the runs of a sweep: which of them a user without labels would take.
//!
//! Runs with the same settings and other seeds are compared with each other (Duan et al. 2020, arXiv 1905.12614, section 4).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    folder::Sweep,
    plan::{Entry, Evaluate},
};
use crate::{
    Result, data,
    metrics::{
        Score,
        selection::{self, Options, Selection},
    },
    model::{self, Autoencoder},
    train::files::{read_json, write_json},
};

/// The UDR scores of `finished` runs by name, as [`selection::select`] gives them. A run without another one of its
/// settings has none.
///
/// They are kept in the sweep's folder and computed again when runs have joined or left.
///
/// # Errors
/// A model or a file cannot be read, or a model failed.
pub fn udr(sweep: &Sweep, finished: &[&Entry]) -> Result<BTreeMap<String, Vec<Score>>> {
    let mut of_settings = BTreeMap::<&str, Vec<&Entry>>::new();
    for &entry in finished {
        of_settings.entry(&entry.settings).or_default().push(entry);
    }
    let mut scores = BTreeMap::new();
    for (settings, runs) in of_settings.into_iter().filter(|(_, runs)| runs.len() > 1) {
        let selection = select(sweep, settings, &runs)?;
        scores.extend(selection.ranking.into_iter().map(|ranked| (ranked.model, ranked.scores)));
    }
    Ok(scores)
}

fn select(sweep: &Sweep, settings: &str, runs: &[&Entry]) -> Result<Selection> {
    let path = sweep.folder().join("selection").join(format!("{settings}.json"));
    let evaluate = &sweep.plan().evaluate;
    if let Some(kept) = read_json(&path)?.filter(|kept| is_of(kept, runs, evaluate)) {
        return Ok(kept);
    }
    let models = runs.iter().map(|entry| model::open(&sweep.model(entry))).collect::<Result<Vec<_>>>()?;
    let names = runs.iter().map(|entry| entry.name.clone());
    let named: Vec<(String, &dyn Autoencoder)> = names.zip(models.iter().map(|model| model.autoencoder())).collect();
    let dataset = data::open(&runs[0].config.dataset)?;
    let options = Options { seed: evaluate.seed, samples: evaluate.samples, ..Options::default() };
    let selection = selection::select(&named, &*dataset, &options, &|_, _| {})?;
    write_json(&path, &selection)?;
    // As it is read from now on: JSON may change the last bit of a figure.
    Ok(read_json(&path)?.unwrap_or(selection))
}

/// Whether `kept` compared these runs on these images.
fn is_of(kept: &Selection, runs: &[&Entry], evaluate: &Evaluate) -> bool {
    let compared: BTreeSet<&str> = kept.ranking.iter().map(|ranked| &*ranked.model).collect();
    let mut scores = kept.ranking.iter().flat_map(|ranked| &ranked.scores);
    compared == runs.iter().map(|entry| &*entry.name).collect()
        && scores.all(|score| score.seed == evaluate.seed && score.samples.get("images") == Some(&evaluate.samples))
}
