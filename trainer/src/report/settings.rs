//! What was trained: the settings, those first that differ from the system's defaults.

use super::html::{Cell, escape, paragraph, table, thousands};
use crate::{Result, export::ModelConfig, train::config::TrainConfig};

/// The settings of `config`, from the run where there is one, else from what the model says of its training.
pub(super) fn section(config: &ModelConfig, settings: Option<&TrainConfig>) -> Result<String> {
    let ModelConfig { architecture, objective, dataset, steps, seed, .. } = config;
    let steps = thousands(&steps.to_string());
    let mut html = paragraph(&format!(
        "{objective} on {dataset}: {steps} steps, {} latents, networks {}, seed {seed}.",
        architecture.latents, architecture.name
    ));
    let Some(settings) = settings else {
        return Ok(html + &paragraph("The model does not say with which settings it was trained."));
    };
    html.push_str(&format!("<p><code>{}</code></p>\n", escape(&settings.command_line(config.steps)?)));
    let defaults = TrainConfig::of_objective(settings.objective).to_table()?;
    let all = settings.portable().to_table()?;
    let plain = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let changed: Vec<Vec<Cell>> = all
        .iter()
        .filter_map(|(key, value)| {
            let default = defaults.get(key);
            let differs = default != Some(value);
            let default = default.map_or_else(String::new, plain);
            differs.then(|| vec![Cell::text(key), Cell::number(plain(value)), Cell::number(default)])
        })
        .collect();
    if changed.is_empty() {
        html.push_str(&paragraph("All settings are the defaults."));
    } else {
        html.push_str(&table(&["differs from the default", "here", "default"], &changed));
    }
    let rows: Vec<Vec<Cell>> =
        all.iter().map(|(key, value)| vec![Cell::text(key), Cell::number(plain(value))]).collect();
    let all = table(&["setting", "value"], &rows);
    Ok(html + "<details><summary>All settings</summary>\n" + &all + "</details>\n")
}
