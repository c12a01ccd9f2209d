//! The leaderboard as text: for terminals, and all of it as Markdown.

use std::{collections::BTreeMap, fmt};

use super::leaderboard::{Column, Leaderboard, RECONSTRUCTION, Row, Run, Spread};

impl Spread {
    /// `0.773 ± 0.020`.
    pub fn text(&self, digits: usize) -> String {
        match self.std {
            Some(std) => format!("{:.digits$} ± {std:.digits$}", self.mean),
            None => format!("{:.digits$}", self.mean),
        }
    }
}

/// Digits of scores; nats and counts have [`DIGITS_OF_NATS`].
pub(super) const DIGITS: usize = 3;
const DIGITS_OF_NATS: usize = 1;

impl Column {
    /// Its value among those of a row; a dash where there is none.
    pub(super) fn cell(&self, values: &BTreeMap<String, Spread>) -> String {
        let digits = if self.score { DIGITS } else { DIGITS_OF_NATS };
        values.get(&self.name).map_or_else(|| "-".into(), |spread| spread.text(digits))
    }
}

impl fmt::Display for Leaderboard {
    /// The settings by rank with the score that ranks, reconstruction and UDR, then the best runs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let score = self.ranked_by.as_ref().map_or("score", |column| &column.name);
        let cell = |values: &BTreeMap<String, Spread>, name: &str| {
            let column = self.columns.iter().find(|column| column.name == name);
            column.map_or_else(|| "-".into(), |column| column.cell(values))
        };
        let headings = ["rank", "settings", "runs", score, "int8", RECONSTRUCTION, "int8", "UDR"].map(str::to_owned);
        let row = |(i, row): (usize, &Row)| {
            [
                (i + 1).to_string(),
                row.settings.clone(),
                format!("{}/{}", row.finished, row.runs),
                cell(&row.f32, score),
                cell(&row.int8, score),
                cell(&row.f32, RECONSTRUCTION),
                cell(&row.int8, RECONSTRUCTION),
                row.udr.map_or_else(|| "-".into(), |udr| udr.text(DIGITS)),
            ]
        };
        let rows: Vec<_> = [headings].into_iter().chain(self.settings.iter().enumerate().map(row)).collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let widths: [usize; 8] = std::array::from_fn(width);
        for row in &rows {
            let cells: Vec<String> = row
                .iter()
                .zip(widths)
                .enumerate()
                // Words at the left, numbers at the right.
                .map(|(i, (cell, width))| if i == 1 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
                .collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        if let Some(best) = self.by_labels().first() {
            writeln!(f, "\nbest run by {score}: {}", self.run_text(best))?;
        }
        if let Some(best) = self.by_udr().first() {
            writeln!(f, "best run by UDR, without labels: {}", self.run_text(best))?;
        }
        Ok(())
    }
}

impl Leaderboard {
    /// A run with the values that it could be chosen for.
    fn run_text(&self, run: &Run) -> String {
        let score = self.ranked_by.as_ref().and_then(|column| Some((&column.name, run.f32.get(&column.name)?)));
        let score = score.map(|(name, value)| format!("{name} {value:.3}"));
        let udr = run.udr.map(|udr| format!("UDR {udr:.3}"));
        let values: Vec<String> = score.into_iter().chain(udr).collect();
        format!("{} ({})", run.name, values.join(", "))
    }

    /// One table of all that was measured, two rows a setting, f32 and int8; `command` is what made it.
    pub fn markdown(&self, command: &str) -> String {
        let names: Vec<&str> = self.columns.iter().map(|column| &*column.name).collect();
        let mut text = format!(
            "# Results\n\nMade by `{command}`. Means over the finished runs, ± their standard deviation where there are \
             several; reconstruction and KL in nats. Ranked by {}.\n\n",
            self.ranked_by.as_ref().map_or("nothing", |column| &column.name)
        );
        text += &format!("| settings | steps | runs | | {} | UDR |\n", names.join(" | "));
        text += &format!("|---|---:|---:|---|{}---:|\n", "---:|".repeat(names.len()));
        for row in &self.settings {
            let Row { settings, steps, runs, finished, f32, int8, udr } = row;
            let cells = |values| self.columns.iter().map(|column| column.cell(values)).collect::<Vec<_>>().join(" | ");
            let udr = udr.map_or_else(|| "-".into(), |udr| udr.text(DIGITS));
            text += &format!("| {settings} | {steps} | {finished}/{runs} | f32 | {} | {udr} |\n", cells(f32));
            if !int8.is_empty() {
                text += &format!("| | | | int8 | {} | |\n", cells(int8));
            }
        }
        let less: Vec<&str> =
            self.columns.iter().filter(|Column { less_is_better, .. }| *less_is_better).map(|c| &*c.name).collect();
        if !less.is_empty() {
            text += &format!("\nLess is better: {}.\n", less.join(", "));
        }
        text
    }
}
