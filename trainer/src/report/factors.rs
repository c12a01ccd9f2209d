//! Which latent follows which generative factor, as matrices of latents and factors.

use super::{
    Report,
    html::{Cell, paragraph, table},
};
use crate::metrics::{Evaluation, score::Detail};

/// Matrices `(latents, factors)` that scores were made of: metric, part, and what it says.
const PARTS: [(&str, &str, &str, usize); 2] = [
    ("mig", "mutual_information", "Mutual information, nats (of MIG)", 2),
    ("dci-disentanglement", "importances", "Importance of a latent for telling a factor (of DCI)", 3),
];

/// The effects, and the matrices of the scores that have them.
pub(super) fn section(report: &Report) -> String {
    let Evaluation { dataset, factor_names, effects, .. } = report.evaluation;
    if factor_names.is_empty() {
        return paragraph(&format!("{dataset} has no labels: which factors its images were made from is not known."));
    }
    let percent = |effect: f64| format!("{:.0} %", 100.0 * effect);
    let effects: Vec<Vec<f64>> = effects.iter().map(|row| row.iter().copied().map(f64::from).collect()).collect();
    let mut html = String::from("<h3>Share of a latent's variance that goes with a factor</h3>\n");
    html.push_str(&paragraph("Total effects: rows sum to more than 100 % where factors act together."));
    html.push_str(&matrix(report, &effects, 1.0, &percent));
    for (metric, part, heading, digits) in PARTS {
        let score = report.evaluation.scores.iter().find(|score| score.metric == metric);
        if let Some(Detail::Matrix(values)) = score.and_then(|score| score.details.get(part)) {
            let greatest = values.iter().flatten().copied().fold(0.0, f64::max);
            html.push_str(&format!("<h3>{heading}</h3>\n"));
            html.push_str(&matrix(report, values, greatest, &|value| format!("{value:.digits$}")));
        }
    }
    html
}

/// A heat map with numbers; `greatest` gets the strongest color.
fn matrix(report: &Report, values: &[Vec<f64>], greatest: f64, text: &dyn Fn(f64) -> String) -> String {
    let named = report.factors().iter().map(|factor| (factor.latent, factor.name.clone()));
    let rest = (0..values.len()).filter(|latent| !report.factors().iter().any(|factor| factor.latent == *latent));
    let rest = rest.map(|latent| (latent, format!("z{latent}, not active")));
    let row = |(latent, name): (usize, String)| {
        let cells = values.get(latent)?.iter().map(|&value| Cell::Shade(text(value), value / greatest));
        Some([Cell::Text(name)].into_iter().chain(cells).collect())
    };
    let rows: Vec<Vec<Cell>> = named.chain(rest).filter_map(row).collect();
    let names = report.evaluation.factor_names.iter().map(String::as_str);
    table(&["latent"].into_iter().chain(names).collect::<Vec<_>>(), &rows)
}
