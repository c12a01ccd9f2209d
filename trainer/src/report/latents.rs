//! The latents over the data: KL, range, and how their means are spread beside the prior.

use std::f64::consts::TAU;

use super::{
    Report,
    html::{Cell, paragraph, table, thousands},
    svg::{Axis, Marks, Plot, Series},
};
use crate::{
    metrics::{Histogram, elbo::ACTIVE_KL},
    model::Factor,
};

/// A table of the active latents and a histogram of each.
pub(super) fn section(report: &Report) -> String {
    let statistics = &report.evaluation.statistics;
    let (active, all) = (statistics.active.len(), statistics.kl.len());
    let images = thousands(&statistics.images.to_string());
    let mut html = paragraph(&format!(
        "{active} of {all} latents are active (a KL of {ACTIVE_KL} nats or more). Posterior means over {images} images of {}, seed {}.",
        report.evaluation.dataset, statistics.seed
    ));
    let inactive: Vec<String> =
        (0..all).filter(|latent| !statistics.active.contains(latent)).map(|latent| format!("z{latent}")).collect();
    if !inactive.is_empty() {
        html.push_str(&paragraph(&format!("Not active: {}.", inactive.join(", "))));
    }
    let factors = report.factors();
    if factors.is_empty() {
        return html;
    }
    let row = |factor: &Factor| {
        let Factor { latent, name, low, high, center, scale, importance, agreement } = factor;
        let mut row = vec![Cell::text(name), Cell::number(latent.to_string())];
        row.extend([importance, center, scale, low, high].map(|value| Cell::number(format!("{value:.2}"))));
        // 0 is for names nobody voted on.
        row.push(Cell::number(if *agreement > 0.0 { format!("{:.0} %", 100.0 * agreement) } else { "-".into() }));
        row
    };
    let headings = ["name", "latent", "KL, nats", "mean", "std", "1 %", "99 %", "agreement"];
    html.push_str(&table(&headings, &factors.iter().map(row).collect::<Vec<_>>()));
    html.push_str(&paragraph("Histograms of the means; the line is the prior, N(0, 1)."));
    let plots = factors.iter().filter_map(|factor| Some(plot(factor, report.histograms.get(factor.latent)?).svg()));
    html + "<div class=\"tiles\">\n" + &plots.collect::<String>() + "</div>\n"
}

fn plot(factor: &Factor, histogram: &Histogram) -> Plot {
    let Histogram { low, width, density } = histogram;
    let edge = |i: usize| low + i as f64 * width;
    let bars = density.iter().enumerate().map(|(i, &density)| (edge(i), edge(i + 1), density)).collect();
    let prior = |i: usize| (edge(i), (-0.5 * edge(i).powi(2)).exp() / TAU.sqrt());
    let series = |color, marks| Series { name: String::new(), color, marks };
    Plot {
        title: format!("means of {} beside the prior", factor.name),
        x: Axis { label: format!("{} (latent {})", factor.name, factor.latent), ..Axis::default() },
        y: Axis { label: "density".into(), covers: vec![0.0], logarithmic: false },
        series: vec![series(0, Marks::Bars(bars)), series(1, Marks::Line((0..=density.len()).map(prior).collect()))],
    }
}
