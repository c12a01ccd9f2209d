//! `unbraid import`

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use unbraid_trainer::{
    Error,
    export::{self, Extras, UNKNOWN_DATASET},
    import::{self, Imported, Options, Part, Pixels, Verified},
    model::ImageShape,
    train::files::refuse_existing,
};

/// Options of `unbraid import`.
#[derive(clap::Args)]
pub struct Args {
    /// ONNX files of an encoder, a decoder or both, told apart by their names or by what they take; or a safetensors file with
    /// --layers; or a model directory, to check it and to write its ONNX files and card anew.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A TOML file that says which layers the tensors of a state_dict, saved as safetensors, belong to.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["encoder", "decoder", "image", "latents", "mean", "log_var"])]
    layers: Option<PathBuf>,
    /// The encoder's file: image to means, or to means and log-variances.
    #[arg(long, value_name = "FILE")]
    encoder: Option<PathBuf>,
    /// The decoder's file, or a generator's: latents to image.
    #[arg(long, value_name = "FILE")]
    decoder: Option<PathBuf>,
    /// The model directory to write.
    #[arg(short, long, value_name = "DIR", required_unless_present = "explain")]
    output: Option<PathBuf>,
    /// Print the networks as they are understood, layer by layer; without -o nothing is written.
    #[arg(long)]
    explain: bool,
    /// The model's name.
    #[arg(long)]
    name: Option<String>,
    /// The numbers that stand for black and white, in and out.
    #[arg(long, value_name = "LOW..HIGH", conflicts_with = "mean_pixel")]
    pixels: Option<Pixels>,
    /// Pixels are (pixel - mean) / std: the means, one or one for each channel.
    #[arg(long, value_name = "M,M,M", value_delimiter = ',', requires = "std_pixel")]
    mean_pixel: Option<Vec<f32>>,
    /// The standard deviations that go with --mean-pixel.
    #[arg(long, value_name = "S,S,S", value_delimiter = ',', requires = "mean_pixel")]
    std_pixel: Option<Vec<f32>>,
    /// The decoder gives logits: a sigmoid that is not in its file makes them pixels.
    #[arg(long)]
    logits: bool,
    /// The images' size, where the files do not say: HEIGHTxWIDTHxCHANNELS.
    #[arg(long, value_name = "HxWxC", value_parser = import::image_shape)]
    image: Option<ImageShape>,
    /// How the files lay out images, where the sizes do not say.
    #[arg(long, value_enum)]
    layout: Option<Layout>,
    /// Latents, where the files do not say.
    #[arg(long)]
    latents: Option<usize>,
    /// The encoder's output of means, where its files leave it open.
    #[arg(long, value_name = "OUTPUT")]
    mean: Option<String>,
    /// The encoder's output of log-variances.
    #[arg(long, value_name = "OUTPUT")]
    log_var: Option<String>,
    /// The data that the model was trained on: later commands take it, and a few of its images are compared here.
    #[arg(long, value_name = "DATA")]
    dataset: Option<String>,
    /// Replace an existing model directory.
    #[arg(long)]
    force: bool,
}

/// The order of an image's sizes.
#[derive(Clone, Copy, ValueEnum)]
enum Layout {
    /// Batch, channels, rows, columns: PyTorch.
    Nchw,
    /// Batch, rows, columns, channels: TensorFlow, Keras.
    Nhwc,
}

pub fn run(args: Args) -> Result<()> {
    if let Some(output) = &args.output {
        refuse_existing(output, args.force)?;
    }
    let (explain, force, output) = (args.explain, args.force, args.output.clone());
    if let ([dir], Some(output)) = (args.files.as_slice(), &output)
        && dir.is_dir()
    {
        let (config, weights) = export::read(dir)?;
        let extras = Extras { command: config.command(), ..Extras::default() };
        export::write(output, &config, &weights, &extras, force)?;
        say!("{}: {}, whole; written to {}", dir.display(), config.architecture.name, output.display());
        return Ok(());
    }
    let imported = match (&args.layers, args.files.as_slice()) {
        (Some(layers), [weights]) => {
            let (weights, layers) = (weights.clone(), layers.clone());
            import::import_state_dict(&weights, &layers, &known(&args))?
        }
        (Some(_), files) => {
            return Err(Error::setting("FILE", format!("{} files", files.len()), "the one file of weights").into());
        }
        (None, _) => import::import(&with_files(known(&args), args)?)?,
    };
    if explain {
        say!("{}", imported.explanation.trim_end());
    }
    summarize(&imported);
    let Some(output) = output else { return Ok(()) };
    export::write(&output, &imported.config, &imported.weights, &Extras::default(), force)?;
    say!("{}: written", output.display());
    next_steps(&imported, &output.display().to_string());
    Ok(())
}

/// What is said of the model beside its files.
fn known(args: &Args) -> Options {
    let normalized = args.mean_pixel.clone().zip(args.std_pixel.clone());
    Options {
        name: args.name.clone(),
        image: args.image,
        channels_last: args.layout.map(|layout| matches!(layout, Layout::Nhwc)),
        pixels: args.pixels.clone().or(normalized.map(|(mean, std)| Pixels::Normalized { mean, std })),
        logits: args.logits,
        latents: args.latents,
        mean: args.mean.clone(),
        log_var: args.log_var.clone(),
        dataset: args.dataset.clone(),
        ..Options::default()
    }
}

/// `options` with the files of the encoder and the decoder.
fn with_files(options: Options, args: Args) -> Result<Options> {
    let (mut encoder, mut decoder) = (args.encoder, args.decoder);
    for file in args.files {
        let (slot, part) = match import::part_of(&file)? {
            Part::Encoder => (&mut encoder, "encoder"),
            Part::Decoder => (&mut decoder, "decoder"),
        };
        if let Some(other) = slot {
            let found = format!("{} and {}", other.display(), file.display());
            return Err(Error::setting(part, found, "one file; say which is which with --encoder and --decoder").into());
        }
        *slot = Some(file);
    }
    Ok(Options { encoder, decoder, ..options })
}

/// What was understood, and how far it is from the files.
fn summarize(imported: &Imported) {
    let net = &imported.config.architecture;
    let layers = |n: usize| if n == 0 { "none".into() } else { format!("{n} layers") };
    say!(
        "{}: images of {}, {} latents; encoder {}, decoder {}",
        net.name,
        net.image,
        net.latents,
        layers(net.encoder.len()),
        layers(net.decoder.len())
    );
    imported.notes.iter().for_each(|note| say!("note: {note}"));
    let verified = |part: &str, found: Option<Verified>| {
        if let Some(Verified { inputs, difference }) = found {
            say!("{part} against its graph on {inputs} inputs: off by {difference:.1e} at most");
        }
    };
    verified("encoder", imported.encoder);
    verified("decoder", imported.decoder);
}

/// What the directory is good for.
fn next_steps(imported: &Imported, output: &str) {
    let net = &imported.config.architecture;
    let data = if imported.config.dataset == UNKNOWN_DATASET && net.has_encoder() { " --dataset DATA" } else { "" };
    say!("next: unbraid quantize {output} -o {output}/model.int8.safetensors{data}");
    if net.has_encoder() {
        say!("      unbraid label {output}{data}");
    }
    if net.has_decoder() {
        say!("      unbraid traverse {output} -o traversal.png{data}");
    }
}
