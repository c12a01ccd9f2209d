//! The leaderboard as one HTML page.

use std::collections::BTreeMap;

use super::{
    leaderboard::{Column, Leaderboard, RECONSTRUCTION, Row, Run, Spread},
    table::DIGITS,
};
use crate::report::{
    html::{Cell, Page, escape, paragraph, picture, table},
    svg::{Axis, Marks, Plot, Point, Series},
};

/// A picture of a run, a PNG.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// The run's name.
    pub run: String,
    /// The file.
    pub png: Vec<u8>,
}

impl Leaderboard {
    /// The page of the sweep `title`, with traversals of its best runs.
    pub fn html(&self, title: &str, traversals: &[Picture]) -> String {
        let mut page = Page::new(title);
        page.section("Settings", self.settings_section());
        if self.ranked_by.is_some() {
            page.section("Scores against reconstruction", self.plots());
        }
        if !self.by_udr().is_empty() {
            page.section("Selection without labels", self.selection_section());
        }
        if !traversals.is_empty() {
            page.section("Traversals of the best", traversal_section(traversals));
        }
        page.section("Runs", self.runs_section());
        page.html()
    }

    /// What was measured of each setting, f32 and int8.
    fn settings_section(&self) -> String {
        let Some(ranked_by) = &self.ranked_by else { return paragraph("No run is finished yet.") };
        let less: Vec<&str> = self.columns.iter().filter(|column| column.less_is_better).map(|c| &*c.name).collect();
        let mut html = paragraph(&format!(
            "Ranked by the mean of {}, f32. Means over the finished runs, ± their standard deviation; reconstruction and KL in \
             nats. Less is better: {}.",
            ranked_by.name,
            less.join(", ")
        ));
        html += &self.settings_table("f32", |row| &row.f32);
        if self.settings.iter().any(|row| !row.int8.is_empty()) {
            html += &self.settings_table("int8", |row| &row.int8);
        }
        html
    }

    fn settings_table(&self, heading: &str, values: fn(&Row) -> &BTreeMap<String, Spread>) -> String {
        let mut headings = vec!["settings", "steps", "runs"];
        headings.extend(self.columns.iter().map(|column| &*column.name));
        headings.push("UDR (f32)");
        let cells = |row: &Row| {
            let mut cells = vec![
                Cell::text(&row.settings),
                Cell::number(row.steps.to_string()),
                Cell::number(format!("{}/{}", row.finished, row.runs)),
            ];
            cells.extend(self.columns.iter().map(|column| Cell::number(column.cell(values(row)))));
            cells.push(Cell::number(row.udr.map_or_else(|| "-".into(), |udr| udr.text(DIGITS))));
            cells
        };
        let rows: Vec<Vec<Cell>> = self.settings.iter().map(cells).collect();
        format!("<h3>{heading}</h3>\n{}", table(&headings, &rows))
    }

    /// Each score over the reconstruction, a point a run, as in the figures of Kim & Mnih 2018 (arXiv 1802.05983).
    fn plots(&self) -> String {
        let mut objectives: Vec<&str> = Vec::new();
        for run in &self.runs {
            if !objectives.contains(&&*run.objective) {
                objectives.push(&run.objective);
            }
        }
        let plot = |column: &Column| {
            let point = |run: &Run| {
                let (x, y) = (*run.f32.get(RECONSTRUCTION)?, *run.f32.get(&column.name)?);
                Some(Point { x, y, interval: None, title: run.name.clone() })
            };
            let series = |(color, &objective): (usize, &&str)| {
                let runs = self.runs.iter().filter(|run| run.objective == objective);
                Series { name: objective.into(), color, marks: Marks::Points(runs.filter_map(point).collect()) }
            };
            let plot = Plot {
                title: format!("{} over reconstruction", column.name),
                x: Axis { label: "reconstruction, nats".into(), ..Axis::default() },
                y: Axis { label: column.name.clone(), ..Axis::default() },
                series: objectives.iter().enumerate().map(series).collect(),
            };
            format!("<div><h3>{}</h3>\n{}</div>\n", escape(&column.name), plot.svg())
        };
        let scores = self.columns.iter().filter(|column| column.score);
        format!("<div class=\"tiles\">\n{}</div>\n", scores.map(plot).collect::<String>())
    }

    /// The runs by UDR, beside their rank by labels.
    fn selection_section(&self) -> String {
        let Some(ranked_by) = &self.ranked_by else { return String::new() };
        let by_labels = self.by_labels();
        let row = |(rank, run): (usize, &Run)| {
            let labeled = by_labels.iter().position(|other| other.name == run.name);
            vec![
                Cell::number((rank + 1).to_string()),
                Cell::text(&run.name),
                Cell::number(run.udr.map_or_else(|| "-".into(), |udr| format!("{udr:.3}"))),
                Cell::number(labeled.map_or_else(|| "-".into(), |rank| (rank + 1).to_string())),
                Cell::number(run.f32.get(&ranked_by.name).map_or_else(|| "-".into(), |value| format!("{value:.3}"))),
            ]
        };
        let rows: Vec<Vec<Cell>> = self.by_udr().into_iter().enumerate().map(row).collect();
        paragraph(
            "UDR (Duan et al. 2020) is how far a run agrees with those of its settings that had other seeds; a user without \
             labels would take the first one.",
        ) + &table(&["rank by UDR", "run", "UDR", "rank by labels", &ranked_by.name], &rows)
    }

    /// What has become of each run.
    fn runs_section(&self) -> String {
        let row = |run: &Run| {
            let reason = run.reason.clone().unwrap_or_default();
            vec![Cell::text(&run.name), Cell::text(&run.state), Cell::text(reason)]
        };
        table(&["run", "state", "reason"], &self.runs.iter().map(row).collect::<Vec<_>>())
    }
}

fn traversal_section(traversals: &[Picture]) -> String {
    let intro = "The best run of each objective, int8 where there is int8; each row turns one latent from the low to the high \
                 end of its range.";
    let one = |Picture { run, png }: &Picture| {
        let alt = format!("Traversal of {run}");
        format!("<h3>{}</h3>\n{}", escape(run), picture(png, "sheet", &alt))
    };
    paragraph(intro) + &traversals.iter().map(one).collect::<String>()
}
