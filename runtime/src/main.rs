//! The device command `unbraid-run`: looks into a model, encodes, turns factors, decodes, measures.
#![forbid(unsafe_code)]
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cli;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let result = cli::Cli::parse().run().and_then(|text| Ok(print(&text)?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::tell(format_args!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output. A reader that has seen enough, as `head` has, is no error.
fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    let result = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}
