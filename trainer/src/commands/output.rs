//! Where a measurement goes: to the terminal, as a table or JSON, and to a file.

use std::path::PathBuf;

use anyhow::Result;
use serde::Serialize;
use unbraid_trainer::train::files::{refuse_existing, write_json};

/// The options of commands that measure.
#[derive(clap::Args)]
pub struct Output {
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Also write the JSON to a file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace an existing output.
    #[arg(long)]
    force: bool,
}

impl Output {
    /// Refuses a file that is there already: measurements take minutes.
    pub fn check(&self) -> Result<()> {
        Ok(self.output.iter().try_for_each(|path| refuse_existing(path, self.force))?)
    }

    /// Prints `result`, as a table under `heading`, and writes its JSON where asked to.
    pub fn give(&self, heading: Option<&str>, result: &(impl Serialize + ToString)) -> Result<()> {
        if self.json {
            say!("{}", serde_json::to_string_pretty(result)?);
        } else {
            heading.iter().for_each(|heading| say!("{heading}"));
            say!("{}", result.to_string().trim_end());
        }
        if let Some(path) = &self.output {
            write_json(path, result)?;
        }
        Ok(())
    }
}
