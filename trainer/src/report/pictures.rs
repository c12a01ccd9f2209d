//! Pictures that the models draw: reconstructions, and traversals that one can step through.

use super::{
    Report,
    html::{escape, paragraph, picture},
};
use crate::{
    Result,
    model::{Autoencoder, Factor},
    viz::{self, Grid, Labels, Traversal, samples},
};

/// Images of the sheet of reconstructions in a row, and in all.
const COLUMNS: usize = 8;
const IMAGES: usize = 16;
/// Values of each latent in a traversal; odd, so that there is a middle.
const STEPS: usize = 11;

const NO_DECODER: &str = "The model is an encoder alone: there is nothing to draw pictures with.";

/// The models with the names of their arithmetic.
fn models<'a>(report: &'a Report) -> Vec<(&'static str, &'a dyn Autoencoder)> {
    let int8 = report.quantized().map(|quantized| ("int8", &quantized.model as &dyn Autoencoder));
    [("f32", report.model)].into_iter().chain(int8).collect()
}

/// Held-out images, each over what the models make of it.
pub(super) fn reconstructions(report: &Report) -> Result<String> {
    let (dataset, models) = (report.dataset, models(report));
    if !report.model.has_decoder() {
        return Ok(paragraph(NO_DECODER));
    }
    let chosen = samples::choose(dataset, IMAGES, 0);
    let columns = chosen.len().min(COLUMNS);
    if columns == 0 {
        return Ok(paragraph(&format!("{} has no images that were held out.", dataset.name())));
    }
    let (mut tiles, mut labels) = (Vec::new(), Vec::new());
    for row in chosen.chunks_exact(columns) {
        let images = dataset.batch(row)?;
        tiles.extend_from_slice(&images);
        labels.push("input".to_string());
        for (name, model) in &models {
            tiles.extend(model.decode(&model.encode(&images)?.mean)?);
            labels.push((*name).into());
        }
    }
    let grid = Grid { group: 1 + models.len(), labels: Labels::Rows(&labels), ..Grid::new(columns, 1) };
    let png = viz::small_png(&grid.draw(&tiles, report.model.image())?)?;
    let names: Vec<&str> = models.iter().map(|model| model.0).collect();
    let text = format!("Images held out from training, each over its reconstructions, {}.", names.join(" and "));
    Ok(paragraph(&text) + &picture(&png, "sheet", "inputs and reconstructions"))
}

/// Each active latent turned from the low to the high end of its range, around the code of a held-out image.
pub(super) fn traversals(report: &Report) -> Result<String> {
    let factors = report.factors();
    if !report.model.has_decoder() {
        return Ok(paragraph(NO_DECODER));
    }
    let Some(&base) = samples::choose(report.dataset, 1, 0).first().filter(|_| !factors.is_empty()) else {
        return Ok(paragraph("No latent is active: there is nothing to turn."));
    };
    let image = report.dataset.batch(&[base])?;
    let mut rows = Vec::new();
    for (name, model) in models(report) {
        let traversal = Traversal::decode(model, factors, &model.encode(&image)?.mean, STEPS)?;
        rows.push((name, traversal.rows()?));
    }
    let text = format!("Each latent at {STEPS} values of its range, all others as in the code of one held-out image.");
    let mut html = paragraph(&text) + "<div class=\"tiles\">\n";
    for (i, factor) in factors.iter().enumerate() {
        html.push_str(&heading(factor, report));
        for (arithmetic, rows) in &rows {
            let text = format!("{}, {arithmetic}", factor.name);
            let row = viz::small_png(&rows[i])?;
            html.push_str(&format!("<div class=\"row\"><span class=\"quiet\">{arithmetic}</span>"));
            html.push_str(&format!("{}</div>\n", picture(&row, "values", &text)));
        }
        html.push_str("</div>\n");
    }
    Ok(html + "</div>\n")
}

/// The start of a latent's traversal.
fn heading(factor: &Factor, report: &Report) -> String {
    let Factor { latent, name, low, high, importance, .. } = factor;
    let image = report.model.image();
    let name = escape(name);
    format!(
        "<div class=\"traversal\" style=\"--aspect:{}/{}\" data-steps=\"{STEPS}\" data-low=\"{low}\" data-high=\"{high}\" \
         data-name=\"{name}\">\n<h3>{name}</h3>\n\
         <p class=\"quiet\">latent {latent} · KL {importance:.2} nats · {low:.2} to {high:.2}</p>\n",
        image.width, image.height
    )
}
