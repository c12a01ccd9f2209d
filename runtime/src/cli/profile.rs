//! `unbraid-run profile`

use std::fmt;
use std::hint::black_box;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use serde::Serialize;
use unbraid::{Backend, Code, Model, Packed, Probe, Profile};

use super::files::{check_output, write};
use super::layers::{Description, times};
use super::model::{arena, load};
use super::predict::{self, Boards};
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
    /// What to measure: `in-place`, as devices run the model, or one of the backends for vector units; without it the
    /// fastest of these, which is what the other commands use
    #[arg(long, value_name = "NAME", value_parser = Engine::parse)]
    backend: Option<Engine>,
    /// Predict for a board instead of measuring here: its name, or `all`
    #[arg(long, value_name = "NAME", value_parser = predict::boards, conflicts_with_all = ["runs", "trace", "backend"])]
    board: Option<Boards>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write each layer of one run, in place each row of each layer, as a Chrome trace, for chrome://tracing or ui.perfetto.dev
    #[arg(long, value_name = "JSON")]
    trace: Option<PathBuf>,
    /// Replace an existing trace
    #[arg(long)]
    force: bool,
}

/// How a model is run.
#[derive(Clone, Copy)]
enum Engine {
    InPlace,
    Packed(Backend),
}

impl Engine {
    const IN_PLACE: &str = "in-place";

    fn parse(name: &str) -> Result<Self, String> {
        if name == Self::IN_PLACE {
            return Ok(Engine::InPlace);
        }
        let names = || [Self::IN_PLACE].into_iter().chain(Backend::available().map(Backend::name)).collect::<Vec<_>>();
        match name.parse::<Backend>() {
            Ok(backend) if backend.is_available() => Ok(Engine::Packed(backend)),
            Ok(_) => Err(format!("this machine does not have it; it has {}", names().join(", "))),
            Err(_) => Err(format!("there is no such backend; this machine has {}", names().join(", "))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Engine::InPlace => Self::IN_PLACE,
            Engine::Packed(backend) => backend.name(),
        }
    }
}

/// Medians over runs, on one thread.
#[derive(Serialize)]
struct Report {
    backend: &'static str,
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
    /// In place only.
    #[serde(skip_serializing_if = "Option::is_none")]
    arena_bytes: Option<usize>,
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
    let (file, model) = load(&args.model)?;
    if let Some(boards) = args.board {
        return predict::run(&args.model, file.len(), &model, boards, args.json);
    }
    let engine = args.backend.unwrap_or(Engine::Packed(Backend::best()));
    let mut bench = Bench::new(&model, engine)?;
    let report = Report {
        backend: engine.name(),
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
    memory: Memory,
    pixels: Vec<u8>,
    decoded: Vec<u8>,
    code: Code,
}

enum Memory {
    Arena(Vec<u8>),
    Packed(Box<Packed>),
}

impl<'a> Bench<'a> {
    fn new(model: &'a Model<'static>, engine: Engine) -> Result<Self> {
        let pixels: Vec<u8> = (0..model.image().len()).map(|index| index as u8).collect();
        let memory = match engine {
            Engine::InPlace => Memory::Arena(arena(model)?),
            Engine::Packed(backend) => Memory::Packed(Box::new(Packed::with_backend(model, backend)?)),
        };
        Ok(Bench { model, memory, decoded: vec![0; pixels.len()], pixels, code: Code::new(model) })
    }

    fn layers(&self, direction: Direction) -> Vec<Description> {
        let describe = |(index, layer)| Description::new(index, &layer);
        match direction {
            Direction::Encode => self.model.encoder_layers().enumerate().map(describe).collect(),
            Direction::Decode => self.model.decoder_layers().enumerate().map(describe).collect(),
        }
    }

    fn once(&mut self, direction: Direction, probe: &mut impl Probe) -> Result<()> {
        let Bench { model, memory, pixels, decoded, code } = self;
        match (memory, direction) {
            (Memory::Arena(arena), Direction::Encode) => {
                black_box(model.encode_profiled(pixels, arena, probe)?);
            }
            (Memory::Arena(arena), Direction::Decode) => {
                model.decode_profiled(code, arena, probe, |_, row| {
                    black_box(row);
                })?;
            }
            (Memory::Packed(packed), Direction::Encode) => {
                black_box(packed.encode_profiled(pixels, probe)?);
            }
            (Memory::Packed(packed), Direction::Decode) => {
                packed.decode_profiled(code, decoded, probe)?;
                black_box(decoded);
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
            arena_bytes: match (&self.memory, direction) {
                (Memory::Packed(_), _) => None,
                (Memory::Arena(_), Direction::Encode) => Some(self.model.encode_arena_bytes()),
                (Memory::Arena(_), Direction::Decode) => Some(self.model.decode_arena_bytes()),
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
        writeln!(f, "{}, medians over {} runs, one thread", self.backend, self.runs)?;
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
        write!(f, "{table}")?;
        match self.arena_bytes {
            Some(bytes) => writeln!(f, "  {} bytes of arena", grouped(bytes as u64)),
            None => Ok(()),
        }
    }
}

/// Nanoseconds as microseconds.
fn micros(nanoseconds: u64) -> String {
    format!("{:.1}", nanoseconds as f64 / 1000.0)
}
