//! The commands, one file each. A command gives its text for standard output, so that nothing is said before it is done.

mod decode;
mod edit;
mod edits;
mod encode;
mod files;
mod grid;
mod info;
mod layers;
mod model;
#[cfg(feature = "onnx")]
mod onnx_factors;
mod picture;
mod predict;
mod profile;
mod table;
mod trace;
mod traverse;

use std::fmt::Arguments;
use std::io::Write;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Runs 8-bit disentangling autoencoders: encode a picture, turn one factor, decode
#[derive(Parser)]
#[command(
    name = "unbraid-run",
    version,
    after_help = "Exit codes: 0 done; 1 a file is not what it should be; 2 the command line is not."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show a model: factors, layers, working memory
    Info(info::Args),
    /// Encode a picture: mean and log-variance of each latent
    Encode(encode::Args),
    /// Decode a code into a picture
    Decode(decode::Args),
    /// Turn factors of a picture: encode, set, decode
    Edit(edit::Args),
    /// Draw a sheet with a row for each factor, from low to high
    Traverse(traverse::Args),
    /// Measure the time of each layer, or predict it for a board
    Profile(profile::Args),
}

impl Cli {
    /// Does what the command line asks for; returns the text for standard output.
    pub fn run(self) -> Result<String> {
        match self.command {
            Command::Info(args) => info::run(&args),
            Command::Encode(args) => encode::run(&args),
            Command::Decode(args) => decode::run(&args),
            Command::Edit(args) => edit::run(&args),
            Command::Traverse(args) => traverse::run(&args),
            Command::Profile(args) => profile::run(&args),
        }
    }
}

/// Says something on standard error; where that is closed, nobody wants to hear it.
pub fn tell(text: Arguments) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
