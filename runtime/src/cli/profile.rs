//! `unbraid-run profile`

use std::fmt;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use unbraid::{Code, Model, Probe, Profile};

use super::files::{check_output, write};
use super::layers::{Description, times};
use super::model::{arena, load};
use super::table::{Table, grouped};
use super::trace::Trace;

/// Options of `unbraid-run profile`.
#[derive(clap::Args)]
pub struct Args {
    /// The int8 file
    model: PathBuf,
    /// Runs to take medians over
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write each row of each layer of one run as a Chrome trace, for chrome://tracing or ui.perfetto.dev
    #[arg(long, value_name = "JSON")]
    trace: Option<PathBuf>,
    /// Replace an existing trace
    #[arg(long)]
    force: bool,
}

/// Medians over runs, on one thread.
#[derive(Serialize)]
struct Report {
    runs: u32,
    encode: Option<Measured>,
    decode: Option<Measured>,
}

#[derive(Serialize)]
struct Measured {
    layers: Vec<Timed>,
    /// Of whole runs, without the clock calls around rows.
    nanoseconds: u64,
    macs: u64,
    macs_per_nanosecond: f64,
    arena_bytes: usize,
}

#[derive(Serialize)]
struct Timed {
    #[serde(flatten)]
    layer: Description,
    nanoseconds: u64,
    /// Of the sum over layers, 0 to 1.
    share: f64,
    macs_per_nanosecond: f64,
}

pub fn run(args: &Args) -> Result<String> {
    if let Some(path) = &args.trace {
        check_output(path, args.force)?;
    }
    let (_, model) = load(&args.model)?;
    let mut bench = Bench::new(&model)?;
    let report = Report {
        runs: args.runs,
        encode: model.has_encoder().then(|| bench.measure(Direction::Encode, args.runs)).transpose()?,
        decode: model.has_decoder().then(|| bench.measure(Direction::Decode, args.runs)).transpose()?,
    };
    if let Some(path) = &args.trace {
        write(path, (serde_json::to_string(&bench.trace()?)? + "\n").as_bytes())?;
    }
    if args.json {
        return Ok(serde_json::to_string_pretty(&report)? + "\n");
    }
    Ok(format!("{}: {report}", args.model.display()))
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Encode,
    Decode,
}

/// A model with something to work on. What the numbers are does not matter: the kernels do not branch on them.
struct Bench<'a> {
    model: &'a Model<'static>,
    arena: Vec<u8>,
    pixels: Vec<u8>,
    code: Code,
}

impl<'a> Bench<'a> {
    fn new(model: &'a Model<'static>) -> Result<Self> {
        let pixels = (0..model.image().len()).map(|index| index as u8).collect();
        Ok(Bench { model, arena: arena(model)?, pixels, code: Code::new(model) })
    }

    fn layers(&self, direction: Direction) -> Vec<Description> {
        let describe = |(index, layer)| Description::new(index, &layer);
        match direction {
            Direction::Encode => self.model.encoder_layers().enumerate().map(describe).collect(),
            Direction::Decode => self.model.decoder_layers().enumerate().map(describe).collect(),
        }
    }

    fn once(&mut self, direction: Direction, probe: &mut impl Probe) -> Result<()> {
        match direction {
            Direction::Encode => {
                black_box(self.model.encode_profiled(&self.pixels, &mut self.arena, probe)?);
            }
            Direction::Decode => {
                self.model.decode_profiled(&self.code, &mut self.arena, probe, |_, row| {
                    black_box(row);
                })?;
            }
        }
        Ok(())
    }

    fn measure(&mut self, direction: Direction, runs: u32) -> Result<Measured> {
        let layers = self.layers(direction);
        let start = Instant::now();
        let clock = move || start.elapsed().as_nanos() as u64;
        let mut profile = Profile::new(clock);
        let mut whole = Vec::new();
        let mut parts = vec![Vec::new(); layers.len()];
        // Caches, branch predictors and the clock rate settle first.
        for _ in 0..runs.div_ceil(10) {
            self.once(direction, &mut ())?;
        }
        for _ in 0..runs {
            let before = clock();
            self.once(direction, &mut ())?;
            whole.push(clock() - before);
            profile.reset();
            self.once(direction, &mut profile)?;
            for (index, times) in parts.iter_mut().enumerate() {
                times.push(profile.ticks(index));
            }
        }

        let parts: Vec<u64> = parts.into_iter().map(median).collect();
        let sum = parts.iter().sum::<u64>().max(1);
        let macs = layers.iter().map(|layer| layer.macs).fold(0, u64::saturating_add);
        let nanoseconds = median(whole);
        let timed = |(layer, nanoseconds): (Description, u64)| Timed {
            nanoseconds,
            share: nanoseconds as f64 / sum as f64,
            macs_per_nanosecond: rate(layer.macs, nanoseconds),
            layer,
        };
        Ok(Measured {
            layers: layers.into_iter().zip(parts).map(timed).collect(),
            nanoseconds,
            macs,
            macs_per_nanosecond: rate(macs, nanoseconds),
            arena_bytes: match direction {
                Direction::Encode => self.model.encode_arena_bytes(),
                Direction::Decode => self.model.decode_arena_bytes(),
            },
        })
    }

    /// One encode and one decode, row by row.
    fn trace(&mut self) -> Result<Trace> {
        let mut trace = Trace::new();
        let directions = [
            ("encode", Direction::Encode, self.model.has_encoder()),
            ("decode", Direction::Decode, self.model.has_decoder()),
        ];
        for (name, direction, _) in directions.into_iter().filter(|(.., exists)| *exists) {
            let layers = self.layers(direction);
            self.once(direction, &mut trace.process(name, &layers))?;
        }
        Ok(trace)
    }
}

/// The middle of the times; 0 for none.
fn median(mut times: Vec<u64>) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

fn rate(macs: u64, nanoseconds: u64) -> f64 {
    macs as f64 / nanoseconds.max(1) as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "medians over {} runs, one thread", self.runs)?;
        for (name, measured) in [("encode", &self.encode), ("decode", &self.decode)] {
            if let Some(measured) = measured {
                write!(f, "\n{name}\n{measured}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new([">layer", "kind", "output", ">MACs", ">µs", ">share", ">MAC/ns"]);
        for Timed { layer, nanoseconds, share, macs_per_nanosecond } in &self.layers {
            table.row([
                &layer.layer,
                &layer.kind,
                &times(&layer.output),
                &grouped(layer.macs),
                &micros(*nanoseconds),
                &format_args!("{:.1}%", 100.0 * share),
                &format_args!("{macs_per_nanosecond:.2}"),
            ]);
        }
        let macs_per_nanosecond = format!("{:.2}", self.macs_per_nanosecond);
        table.row([&"", &"total", &"", &grouped(self.macs), &micros(self.nanoseconds), &"", &macs_per_nanosecond]);
        writeln!(f, "{table}  {} bytes of arena", grouped(self.arena_bytes as u64))
    }
}

/// Nanoseconds as microseconds.
fn micros(nanoseconds: u64) -> String {
    format!("{:.1}", nanoseconds as f64 / 1000.0)
}
