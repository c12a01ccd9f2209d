//! `unbraid bench-step`

use std::{thread, time::Instant};

use anyhow::Result;
use candle_core::{Device, DeviceLocation, Tensor};
use unbraid_trainer::{
    data,
    objective::{Batch, Company, System},
    profile,
    rng::{self, Purpose},
    train::{
        config::{TrainConfig, count},
        device,
        loader::{Draw, Loader},
        run,
    },
};

use super::{memory, train};

/// Options of `unbraid bench-step`.
#[derive(clap::Args)]
pub struct Args {
    /// Steps to time.
    #[arg(long, default_value_t = 60, value_parser = count::<u64>)]
    steps: u64,
    /// Steps before them.
    #[arg(long, default_value_t = 5, value_parser = count::<u64>)]
    warm_up: u64,
    /// Print one line of JSON, without the sections.
    #[arg(long)]
    json: bool,
    /// What is minimized.
    #[arg(long, value_enum, default_value_t = TrainConfig::default().objective)]
    objective: System,
    /// The networks: a preset, or a TOML file of one's own.
    #[arg(long, default_value_t = TrainConfig::default().architecture)]
    architecture: String,
    /// Latent dimensions.
    #[arg(long, value_parser = count::<usize>, default_value_t = TrainConfig::default().latents)]
    latents: usize,
    /// Images in a minibatch.
    #[arg(long, value_parser = count::<usize>, default_value_t = TrainConfig::default().batch_size)]
    batch_size: usize,
    /// Hidden layers of the discriminator.
    #[arg(long, value_parser = count::<usize>, default_value_t = TrainConfig::default().options.factor_vae.discriminator_layers)]
    discriminator_layers: usize,
    /// Where to compute: auto, cpu, cuda or cuda:N.
    #[arg(long, default_value_t = TrainConfig::default().device)]
    device: String,
    /// CPU threads; 0 takes all cores.
    #[arg(long, value_parser = count::<usize>, default_value_t = TrainConfig::default().threads)]
    threads: usize,
}

/// Times steps of `unbraid train`: on sprites, rendered beside the step as there, where the networks take gray images; else on
/// noise that lies in memory.
pub fn run(args: Args) -> Result<()> {
    let mut config = TrainConfig {
        objective: args.objective,
        architecture: args.architecture,
        latents: args.latents,
        batch_size: args.batch_size,
        steps: args.steps,
        device: args.device,
        threads: args.threads,
        ..TrainConfig::default()
    };
    config.options.factor_vae.discriminator_layers = args.discriminator_layers;
    config.validate_settings()?;
    train::set_threads(config.threads)?;
    let (device, note) = device::open(&config.device)?;
    note.iter().for_each(|note| eprintln!("{note}"));
    let dataset = data::open(&config.dataset)?;
    let mut objective = run::start(&config, &*dataset, &device)?;
    let image = config.architecture()?.image;
    let steps = 1..=args.warm_up + args.steps;
    let draw = Draw::new(&*objective, config.seed, config.batch_size);

    let mut times = Vec::new();
    let mut time = |next: &mut dyn FnMut(u64) -> Result<Batch>| -> Result<()> {
        for step in steps.clone() {
            if step == args.warm_up + 1 {
                profile::start();
            }
            let start = Instant::now();
            let _step = profile::section(profile::STEP, "");
            let batch = {
                let _section = profile::section("data", "wait");
                next(step)?
            };
            objective.step(&batch, Company::ALONE)?;
            device.synchronize()?;
            if step > args.warm_up {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        Ok(())
    };
    let data = if dataset.image() == image {
        thread::scope(|scope| {
            let mut loader = Loader::start(scope, &*dataset, draw.clone(), steps.clone(), &device);
            time(&mut |_| Ok(loader.next_batch()?))
        })?;
        config.dataset.as_str()
    } else {
        let dims = (draw.batch_size, image.height, image.width, image.channels);
        let noise = |which| -> Result<Tensor> {
            let mut rng = rng::stream(config.seed, Purpose::Report, which);
            let pixels = rng::normals(&mut rng, draw.batch_size * image.size());
            let pixels: Vec<f32> = pixels.into_iter().map(|v| f32::from(u8::from(v > 1.0))).collect();
            Ok(Tensor::from_vec(pixels, dims, &device)?)
        };
        let images = (0..draw.minibatches as u64).map(noise).collect::<Result<Vec<_>>>()?;
        time(&mut |step| Ok(Batch { step, images: images.clone(), kind: 0 }))?;
        "noise"
    };
    let sections = profile::stop();

    times.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share).round() as usize];
    let (median, images) = (at(0.5), (draw.minibatches * draw.batch_size) as f64);
    let peak = memory::peak_mib();
    if args.json {
        let line = serde_json::json!({
            "architecture": config.architecture, "data": data, "batch_size": config.batch_size,
            "threads": rayon::current_num_threads(), "device": name(&device),
            "step_ms": round(1e3 * median), "step_ms_quartiles": [round(1e3 * at(0.25)), round(1e3 * at(0.75))],
            "steps_per_s": round(1.0 / median), "images_per_s": (images / median).round(), "peak_rss_mib": peak,
        });
        say!("{line}");
    } else {
        say!(
            "{} of {data}, batch {}, {}, threads {}",
            config.architecture,
            config.batch_size,
            name(&device),
            rayon::current_num_threads()
        );
        say!(
            "step {:.1} ms (quartiles {:.1} and {:.1}), {:.2} steps/s, {:.0} images/s",
            1e3 * median,
            1e3 * at(0.25),
            1e3 * at(0.75),
            1.0 / median,
            images / median
        );
        peak.iter().for_each(|peak| say!("peak memory {peak} MiB"));
        say!("{}", profile::table(&sections));
    }
    Ok(())
}

/// What `--device` would say for this device.
fn name(device: &Device) -> String {
    match device.location() {
        DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        _ => "cpu".into(),
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
