//! Pages for people: one HTML file each, which holds everything that it shows.
//!
//! [`Report`] is the page of a run: one file a section, in the order of the page. [`svg`] and [`html`] are what sections are made
//! with.

mod factors;
pub mod html;
mod int8;
mod latents;
mod losses;
mod pictures;
mod scores;
mod settings;
mod sheets;
pub mod svg;

pub use int8::Quantized;
pub use losses::Log;
pub use scores::kept_scores;
pub use sheets::Sheets;

use crate::{
    Result,
    data::Dataset,
    export::ModelConfig,
    metrics::{Evaluation, Histogram},
    model::{Autoencoder, Factor},
    train::config::TrainConfig,
};

/// All that the page of a run, or of a model alone, shows.
#[derive(Clone, Copy)]
pub struct Report<'a> {
    /// The heading.
    pub title: &'a str,
    /// What the run wrote while it went; none for a model alone.
    pub run: Option<(&'a Log, &'a Sheets)>,
    /// The settings of the training, where they are known.
    pub settings: Option<&'a TrainConfig>,
    /// What the model is.
    pub config: &'a ModelConfig,
    /// The f32 model.
    pub model: &'a dyn Autoencoder,
    /// The data that it was measured on.
    pub dataset: &'a dyn Dataset,
    /// What was measured of it.
    pub evaluation: &'a Evaluation,
    /// How each latent's mean is spread.
    pub histograms: &'a [Histogram],
    /// The int8 model beside it, or why there is none.
    pub int8: std::result::Result<&'a Quantized, &'a str>,
    /// What more there is to say of the scores.
    pub notes: &'a [String],
    /// Names and sizes in bytes of the model's files.
    pub files: &'a [(String, u64)],
}

impl Report<'_> {
    /// The page.
    ///
    /// # Errors
    /// A model failed, or its images cannot be drawn.
    pub fn html(&self) -> Result<String> {
        let mut page = html::Page::new(self.title);
        page.section("Settings", settings::section(self.config, self.settings)?);
        if let Some((log, sheets)) = self.run {
            page.section("Losses", losses::section(log));
            page.section("Samples", sheets::section(sheets));
        }
        page.section("Reconstructions", pictures::reconstructions(self)?);
        page.section("Traversals", pictures::traversals(self)?);
        page.section("Latents", latents::section(self));
        page.section("Factors", factors::section(self));
        page.section("Scores", scores::section(self));
        page.section("int8 and files", int8::section(self));
        Ok(page.html())
    }

    /// The active latents under the names that the model's files give them, else those that were measured.
    fn factors(&self) -> &[Factor] {
        if self.config.factors.is_empty() { &self.evaluation.factors } else { &self.config.factors }
    }

    /// The int8 model.
    fn quantized(&self) -> Option<&Quantized> {
        self.int8.ok()
    }
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, ParsingOptions};

    use super::*;
    use crate::{
        metrics::{
            Metric, Options,
            fake::{Coder, Grid, Unlabeled},
            measure,
        },
        model::Architecture,
    };

    fn page(model: &Coder, dataset: &dyn Dataset) -> String {
        let metrics = vec![Metric::Mig, Metric::GaussianTc];
        let options = Options { samples: 300, pairs: 50, metrics, resamples: 20, ..Options::default() };
        let measured = measure(model, dataset, &options, &|_, _| {}).unwrap();
        let config = ModelConfig {
            architecture: Architecture::preset("factor-vae-64", model.latents()).unwrap(),
            objective: "by hand".into(),
            dataset: dataset.name().into(),
            steps: 0,
            seed: 0,
            training: serde_json::json!({}),
            factors: Vec::new(),
        };
        let report = Report {
            title: "page",
            run: None,
            settings: None,
            config: &config,
            model,
            dataset,
            evaluation: &measured.evaluation,
            histograms: &measured.histograms,
            int8: Err("it is no network"),
            notes: &[],
            files: &[],
        };
        let html = report.html().unwrap();
        let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
        Document::parse_with_options(&html, options).unwrap();
        html
    }

    #[test]
    fn labeled_data_has_matrices_and_all_scores() {
        let html = page(&Coder::ground_truth(), &Grid::new());
        for part in
            ["variance that goes with", "Mutual information, nats", "<td>mig</td>", "no int8 model: it is no network"]
        {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("<td>gaussian-tc</td><td>study</td><td><svg"));
    }

    #[test]
    fn unlabeled_data_has_neither() {
        let html = page(&Coder::ground_truth(), &Unlabeled(Grid::new()));
        assert!(html.contains("unlabeled has no labels") && !html.contains("<td>mig</td>"));
        assert!(html.contains("<td>gaussian-tc</td>") && html.contains("data-name=\"z0\""));
    }

    #[test]
    fn a_model_that_says_nothing_is_shown_as_such() {
        let html = page(&Coder::new(4, |_, _| {}), &Grid::new());
        assert!(html.contains("0 of 4 latents are active") && html.contains("No latent is active"));
    }
}
