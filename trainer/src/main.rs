//! The workstation command `unbraid`.

mod commands;

use std::process::ExitCode;

use clap::{Arg, CommandFactory, FromArgMatches, Parser, Subcommand};

// Each training step frees and takes the same tensors again; the system's allocator hands the large ones back to the kernel in
// between, and faulting them in again shows in the step's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Trains disentangling autoencoders and prepares them for devices.
#[derive(Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train for a minute, quantize, run and draw: the whole line, on built-in data.
    Demo(commands::demo::Args),
    /// Train a model, or go on with a run.
    Train(Box<commands::train::Args>),
    /// Look at data: how many images, which factors, a sheet of pictures.
    Data(commands::dataset::Args),
    /// Time training steps, without a run.
    BenchStep(commands::bench_step::Args),
    /// Make a model directory of a run: safetensors, ONNX, configuration, model card.
    Export(commands::export::Args),
    /// Make a model directory of ONNX files that others trained.
    Import(Box<commands::import::Args>),
    /// Make an int8 file of a model directory and report what it costs.
    Quantize(commands::quantize::Args),
    /// Measure a model: reconstruction, KL, active latents, scores of disentanglement.
    Evaluate(commands::evaluate::Args),
    /// Make a page of a run: losses, samples, traversals, latents and scores, f32 and int8, in one HTML file.
    Report(commands::report::Args),
    /// Rank several models by how far they agree, without labels.
    Select(commands::select::Args),
    /// Train and measure a grid of objectives, hyper-parameters and seeds, and rank them.
    Sweep(commands::sweep::Args),
    /// Name each active latent after the factor that it follows.
    Label(commands::label::Args),
    /// Write a model directory's card anew, with the scores and pictures that lie in it.
    Card(commands::card::Args),
    /// Write or check an int8 model's golden vectors: what every device must compute, bit for bit.
    Golden(commands::golden::Args),
    /// Draw what each latent changes.
    Traverse(commands::traverse::Args),
}

/// The command line. Negative numbers are values in it, so that what refuses them can say why.
fn command() -> clap::Command {
    let signed = |arg: Arg| if arg.get_action().takes_values() { arg.allow_negative_numbers(true) } else { arg };
    Cli::command().mut_subcommands(|command| command.mut_args(signed))
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let result = match (cli.command, matches.subcommand()) {
        (Command::Train(args), Some((_, matches))) => commands::train::run(*args, matches),
        (Command::Demo(args), _) => commands::demo::run(args),
        (Command::Data(args), _) => commands::dataset::run(args),
        (Command::BenchStep(args), _) => commands::bench_step::run(args),
        (Command::Export(args), _) => commands::export::run(args),
        (Command::Import(args), _) => commands::import::run(*args),
        (Command::Quantize(args), _) => commands::quantize::run(args),
        (Command::Evaluate(args), _) => commands::evaluate::run(args),
        (Command::Report(args), _) => commands::report::run(args),
        (Command::Select(args), _) => commands::select::run(args),
        (Command::Sweep(args), _) => commands::sweep::run(args),
        (Command::Label(args), _) => commands::label::run(args),
        (Command::Card(args), _) => commands::card::run(args),
        (Command::Golden(args), _) => commands::golden::run(args),
        (Command::Traverse(args), _) => commands::traverse::run(args),
        (_, None) => unreachable!("clap asks for a subcommand"),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            let usage = matches!(error.downcast_ref(), Some(unbraid_trainer::Error::Setting { .. }));
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
