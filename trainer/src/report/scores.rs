//! The scores with their intervals, f32 beside int8.

use super::{
    Report,
    html::{Cell, paragraph, table},
};
use crate::metrics::{Evaluation, LatentStatistics, Score};

/// Scores without an upper end, for which less is better; see `docs/metrics.md`.
const UNBOUNDED: [&str; 3] = ["gaussian-tc", "wasserstein-correlation", "mutual-information"];

/// How far two KLs of a latent over the same images may be apart, in nats: processors round differently.
const SAME_KL: f32 = 1e-3;

/// The scores of `stored`, an earlier evaluation, that `measured` lacks; none if it is not of the same model, as the KL of its
/// latents over the same images tells.
pub fn kept_scores(measured: &Evaluation, stored: Evaluation) -> Vec<Score> {
    let (a, b) = (&measured.statistics, &stored.statistics);
    let drawn = |statistics: &LatentStatistics| (statistics.images, statistics.seed, statistics.kl.len());
    let same = measured.dataset == stored.dataset
        && drawn(a) == drawn(b)
        && a.kl.iter().zip(&b.kl).all(|(a, b)| (a - b).abs() < SAME_KL);
    let lacking = |score: &Score| measured.score(&score.metric, &score.protocol).is_none();
    stored.scores.into_iter().filter(|score| same && lacking(score)).collect()
}

/// Terms of the bound, scores, and what stands behind them.
pub(super) fn section(report: &Report) -> String {
    let evaluation = report.evaluation;
    let int8 = report.quantized().map(|quantized| &quantized.evaluation);
    let mut html = bound(evaluation, int8);
    if evaluation.scores.is_empty() {
        html.push_str(&paragraph("No scores were measured."));
        return html;
    }
    html.push_str(&paragraph("Scores of different protocols do not compare. Brackets are 95 % bootstrap intervals."));
    let row = |score: &Score| {
        let Score { metric, protocol, samples, seed, active, .. } = score;
        let other = int8.and_then(|evaluation| evaluation.score(metric, protocol));
        let mut row = vec![Cell::text(metric), Cell::text(protocol), Cell::number(score.value_and_interval())];
        if int8.is_some() {
            row.push(Cell::number(other.map_or_else(String::new, Score::value_and_interval)));
            row.push(Cell::number(other.map_or_else(String::new, |other| difference(report, score, other))));
        }
        let counts: Vec<String> = samples.iter().map(|(what, n)| format!("{what} {n}")).collect();
        row.push(Cell::Html(intervals(score, other)));
        row.extend([Cell::number(active.to_string()), Cell::number(seed.to_string()), Cell::text(counts.join(", "))]);
        row
    };
    let rows: Vec<Vec<Cell>> = evaluation.scores.iter().map(row).collect();
    let compared: &[&str] = if int8.is_some() { &["f32", "int8", "f32 \u{2212} int8"] } else { &["f32"] };
    let headings = [&["score", "protocol"], compared, &["0 to 1", "latents", "seed", "samples"]].concat();
    html.push_str(&table(&headings, &rows));
    html.push_str(&paragraph(
        "0 to 1: the scores that have both ends, f32 above int8. Latents: how many took part where the protocol leaves some out, \
         else how many are active.",
    ));
    report.notes.iter().for_each(|note| html.push_str(&paragraph(note)));
    html
}

/// Reconstruction, KL and their sum.
fn bound(f32: &Evaluation, int8: Option<&Evaluation>) -> String {
    let row = |name: &str, value: fn(&LatentStatistics) -> Option<String>| {
        let evaluations = [Some(f32), int8].into_iter().flatten();
        let cells = evaluations.map(|e| Cell::number(value(&e.statistics).unwrap_or_else(|| "-".into())));
        [Cell::text(name)].into_iter().chain(cells).collect()
    };
    let rows: Vec<Vec<Cell>> = vec![
        row("reconstruction loss, nats", |s| s.reconstruction.map(|value| format!("{value:.2}"))),
        row("KL, nats", |s| Some(format!("{:.2}", s.total_kl()))),
        row("ELBO, nats", |s| s.elbo().map(|value| format!("{value:.2}"))),
        row("active latents", |s| Some(s.active.len().to_string())),
    ];
    let headings: &[&str] = if int8.is_some() { &["", "f32", "int8"] } else { &["", "f32"] };
    table(headings, &rows)
}

/// How far the f32 model's score is above the int8 model's, with the interval of the difference where both were resampled together.
fn difference(report: &Report, f32: &Score, int8: &Score) -> String {
    let paired = report.quantized().map_or(&[][..], |quantized| &quantized.differences);
    let paired = paired.iter().find(|d| d.metric == f32.metric && d.protocol == f32.protocol);
    let interval = paired.and_then(|difference| difference.interval);
    let difference = format!("{:+.3}", f32.value - int8.value);
    interval.map_or_else(|| difference.clone(), |interval| format!("{difference} {interval}"))
}

/// A score of 0 to 1 as a point with its interval, f32 above int8.
fn intervals(f32: &Score, int8: Option<&Score>) -> String {
    if UNBOUNDED.iter().any(|metric| f32.metric.starts_with(metric)) {
        return String::new();
    }
    let place = |value: f64| 4.0 + 152.0 * value.clamp(0.0, 1.0);
    let mark = |(i, score): (usize, &Score)| {
        let (y, center) = (5.0 + 8.0 * i as f64, place(score.value));
        let line = score.interval.map_or_else(String::new, |interval| {
            let (low, high) = (place(interval.low), place(interval.high));
            format!("<line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{y}\" y2=\"{y}\"/>")
        });
        format!("<g class=\"series-{i}\">{line}<circle cx=\"{center:.1}\" cy=\"{y}\" r=\"3\"/></g>")
    };
    let marks: String = [Some(f32), int8].into_iter().flatten().enumerate().map(mark).collect();
    format!(
        "<svg class=\"interval\" viewBox=\"0 0 160 18\" aria-hidden=\"true\">\
         <g class=\"axes\"><line x1=\"4\" x2=\"156\" y1=\"9\" y2=\"9\"/></g>{marks}</svg>"
    )
}
