//! `unbraid demo`: the whole line on the built-in sprites, and factors of the model that ships turned one by one.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use unbraid_trainer::{
    Error, data,
    data::Dataset,
    export::INT8,
    metrics::{Evaluation, Metric, Options, Protocol, Score},
    model::{self, Autoencoder, Factor, Int8Model, Model},
    parallel::Launch,
    quantize::{self, report::Report},
    train::{config::TrainConfig, files::write_atomic, run::Run},
    viz::{self, Traversal, samples},
};

use super::{evaluate_with_bar, train::train_with_bar};

/// Options of `unbraid demo`.
#[derive(clap::Args)]
pub struct Args {
    /// Folder for everything; one that an earlier demo made is replaced.
    #[arg(short, long, default_value = "out")]
    output: PathBuf,
    /// Training steps.
    #[arg(long, default_value_t = 800)]
    steps: u64,
}

/// The model that ships, so that the demo runs from anywhere.
const SHIPPED: &[u8] = include_bytes!("../../../models/sprites-factorvae/model.int8.safetensors");
/// Says that a folder is a demo's.
const SUMMARY: &str = "demo.md";
/// A heart in the middle, large and upright: shape, scale, rotation, x, y.
const HEART: [usize; 5] = [2, 5, 0, 15, 15];

pub fn run(args: Args) -> Result<()> {
    let out = args.output.as_path();
    let mut config = TrainConfig {
        steps: args.steps,
        sample_every: args.steps.div_ceil(3).max(1),
        checkpoint_every: args.steps.max(1),
        log_every: 10,
        ..TrainConfig::default()
    };
    config.options.vae.learning_rate = 5e-4;
    config.validate()?;
    clear(out)?;
    let started = Instant::now();

    say!("1. train FactorVAE on the sprites for {} steps", args.steps);
    let training = Instant::now();
    let run = Run::create(&out.join("run"), config, Launch::default())?;
    train_with_bar(&run)?;
    let step = training.elapsed() / u32::try_from(args.steps).unwrap_or(u32::MAX);

    say!("2. export and quantize");
    let model_dir = out.join("run/model");
    let Model::F32 { model: f32, config } = model::open(&model_dir)? else {
        bail!("{}: not a directory", model_dir.display())
    };
    let dataset = data::open(&config.dataset)?;
    let (options, metadata) = (quantize::Options::default(), quantize::metadata(&config));
    let bytes = quantize::quantize(&f32, Some(&*dataset), &config.factors, metadata, &options)?;
    write_atomic(&model_dir.join(INT8), &bytes)?;
    let int8 = Int8Model::open(&model_dir.join(INT8))?;
    let cost = quantize::report::compare(&f32, &int8, Some(&*dataset), quantize::report::COMPARED, 0)?;
    say!("{cost}");

    say!("3. score f32, and int8 on the device's runtime");
    let (metrics, protocols) = (vec![Metric::FactorVae], vec![Protocol::PAPER]);
    let options = Options { samples: 2000, metrics, protocols, ..Options::default() };
    let scores = [evaluate_with_bar(&f32, &*dataset, &options)?, evaluate_with_bar(&int8, &*dataset, &options)?];

    say!("4. turn factors, fresh model and shipped model, both int8");
    let shipped = Int8Model::new(SHIPPED.to_vec(), Path::new("the shipped model"))?;
    let heart = dataset.batch(&[data::index_of(&*dataset, &HEART)?])?;
    draw(&int8, &scores[1].factors, &*dataset, &heart, out, "fresh")?;
    draw(&shipped, &shipped.factors()?, &*dataset, &heart, out, "shipped")?;
    let latency = Latency::measure(SHIPPED, &heart)?;

    let summary = summary(&config.steps, step, &cost, &scores, &latency)?;
    write_atomic(&out.join(SUMMARY), format!("# Unbraid demo\n\n{summary}").as_bytes())?;
    say!("\n{summary}\n{}: pictures and {SUMMARY}, in {:.0} s", out.display(), started.elapsed().as_secs_f64());
    Ok(())
}

/// Makes `out` an empty folder, if it is none of the user's.
fn clear(out: &Path) -> Result<()> {
    if out.join(SUMMARY).is_file() {
        fs::remove_dir_all(out).map_err(Error::io(out))?;
    } else if fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some()) {
        // What an interrupted demo left has no summary, but its run.
        if !out.join("run/config.toml").is_file() {
            bail!("{}: holds files that no demo made; choose another folder with -o", out.display());
        }
        fs::remove_dir_all(out).map_err(Error::io(out))?;
    }
    fs::create_dir_all(out).map_err(Error::io(out))?;
    Ok(())
}

/// Writes a model's pictures: reconstructions, a traversal around `image` as sheet and as animation.
fn draw(
    model: &dyn Autoencoder,
    factors: &[Factor],
    dataset: &dyn Dataset,
    image: &[u8],
    out: &Path,
    name: &str,
) -> Result<()> {
    let images = dataset.batch(&samples::choose(dataset, 16, 0))?;
    let sheet = viz::png(&samples::reconstructions(model, &images, 8, 2)?)?;
    write_atomic(&out.join(format!("{name}-reconstructions.png")), &sheet)?;
    if factors.is_empty() {
        say!("{name}: no active latent yet, no traversal");
        return Ok(());
    }
    let traversal = Traversal::decode(model, factors, &model.encode(image)?.mean, 11)?;
    write_atomic(&out.join(format!("{name}-traversal.png")), &traversal.png(2)?)?;
    write_atomic(&out.join(format!("{name}-traversal.gif")), &traversal.gif(2, 8)?)?;
    Ok(())
}

/// What the runtime takes on this machine, one thread, one image.
struct Latency {
    encode: Times,
    decode: Times,
}

struct Times {
    /// With the weights rearranged for this machine.
    packed: Duration,
    /// As on a device.
    in_place: Duration,
    arena_bytes: usize,
}

impl Latency {
    fn measure(file: &[u8], pixels: &[u8]) -> Result<Self> {
        use unbraid::Autoencoder as _;

        let model = unbraid::Model::load(file)?;
        let mut packed = unbraid::Packed::new(&model)?;
        let mut arena = vec![0; model.arena_bytes()];
        let mut decoded = vec![0; pixels.len()];
        let code = model.encode(pixels, &mut arena)?;
        let median = |run: &mut dyn FnMut() -> Result<()>| -> Result<Duration> {
            let mut times = Vec::with_capacity(201);
            for _ in 0..201 {
                let start = Instant::now();
                run()?;
                times.push(start.elapsed());
            }
            times.sort_unstable();
            Ok(times[times.len() / 2])
        };
        let encode = Times {
            packed: median(&mut || Ok(packed.encode(pixels).map(drop)?))?,
            in_place: median(&mut || Ok(model.encode(pixels, &mut arena).map(drop)?))?,
            arena_bytes: model.encode_arena_bytes(),
        };
        let decode = Times {
            packed: median(&mut || Ok(packed.decode(&code, &mut decoded)?))?,
            in_place: median(&mut || Ok(model.decode_into(&code, &mut arena, &mut decoded)?))?,
            arena_bytes: model.decode_arena_bytes(),
        };
        Ok(Self { encode, decode })
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { packed, in_place, arena_bytes } = self;
        let [packed, in_place] = [packed, in_place].map(Duration::as_micros);
        write!(f, "{packed} µs; as on a device, in {arena_bytes} bytes, {in_place} µs")
    }
}

fn summary(steps: &u64, step: Duration, cost: &Report, scores: &[Evaluation; 2], latency: &Latency) -> Result<String> {
    let mut text = String::new();
    let reconstruction =
        |e: &Evaluation| e.statistics.reconstruction.map_or_else(|| "-".into(), |nats| format!("{nats:.1}"));
    let score = |e: &Evaluation| e.scores.first().map_or_else(|| "-".into(), Score::value_and_interval);
    writeln!(text, "| | f32 | int8 |\n|---|---|---|")?;
    let [f32, int8] = scores;
    let both = |what: &str, a: String, b: String| format!("| {what} | {a} | {b} |\n");
    text += &both("reconstruction, nats", reconstruction(f32), reconstruction(int8));
    text +=
        &both("KL, nats", format!("{:.1}", f32.statistics.total_kl()), format!("{:.1}", int8.statistics.total_kl()));
    text += &both("active latents", f32.statistics.active.len().to_string(), int8.statistics.active.len().to_string());
    text += &both("FactorVAE score (paper protocol)", score(f32), score(int8));
    let psnr = cost.psnr.map_or_else(String::new, |psnr| format!("{psnr:.1} dB"));
    text += &both("round trip against f32", "".into(), psnr);
    text += &both("encode, one thread", "".into(), latency.encode.to_string());
    text += &both("decode, one thread", "".into(), latency.decode.to_string());
    writeln!(
        text,
        "\n{steps} training steps at {:.0} ms; a useful model takes tens of thousands.",
        step.as_secs_f64() * 1e3
    )?;
    Ok(text)
}
