//! `README.md` of a model directory: a model card with the Hugging Face Hub's front matter.

use std::fmt::{self, Write};

use super::config::{IMPORTED, ModelConfig};
use super::directory::{Extras, INT8};
use crate::model::{Activation, Axes, ImageShape, Layer, PixelOutput, Shape, Window};
use crate::train::config::shell_word;

/// The model card of a model directory, Markdown.
pub fn model_card(config: &ModelConfig, extras: &Extras) -> String {
    let mut card = String::new();
    // Writing to a string does not fail.
    let _ = write_card(&mut card, config, extras);
    card
}

fn write_card(out: &mut String, config: &ModelConfig, extras: &Extras) -> fmt::Result {
    front_matter(out, config)?;
    let net = &config.architecture;
    let (c, h, w) = (net.image.channels, net.image.height, net.image.width);
    let imported = config.objective == IMPORTED;
    if imported {
        writeln!(out, "# {}, imported\n", line(&net.name))?;
    } else {
        writeln!(out, "# {} on {}\n", line(&config.objective), line(&config.dataset))?;
    }
    let image = format!("an image of {w}x{h} pixels with {c} channel{}", if c == 1 { "" } else { "s" });
    let latents = format!("{} latent numbers", net.latents);
    let what = match (net.has_encoder(), net.has_decoder()) {
        (true, true) => format!("An autoencoder that turns {image} into {latents} and back."),
        (true, false) => format!("An encoder that turns {image} into {latents}."),
        _ => format!("A decoder that turns {latents} into {image}."),
    };
    writeln!(
        out,
        "{what} Where training succeeded, a single latent carries a single factor of the data: change it, decode, and one \
         thing in the image changes. The factors and scores below say how far this model got.\n"
    )?;
    if imported {
        origin(out, config)?;
    } else {
        training(out, config, extras)?;
    }
    architecture(out, config)?;
    factors(out, config)?;
    writeln!(out, "## Scores\n")?;
    if extras.evaluation.is_empty() {
        writeln!(out, "This model has not been scored.\n")?;
    } else {
        writeln!(out, "{}\n", extras.evaluation.join("\n"))?;
    }
    pictures(out, extras)?;
    usage(out, config, extras)
}

/// The Hub takes a list where either license may be chosen.
fn front_matter(out: &mut String, config: &ModelConfig) -> fmt::Result {
    let tag: String = config.objective.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    // Whose terms an imported model has, its owner knows.
    let license = if config.objective == IMPORTED { " other" } else { "\n- mit\n- apache-2.0" };
    writeln!(out, "---\nlicense:{license}\nlibrary_name: unbraid\ntags:\n- unbraid")?;
    writeln!(out, "- disentanglement\n- autoencoder")?;
    if !tag.is_empty() {
        // Quoted, since YAML would read a name like `1e3` as a number.
        writeln!(out, "- \"{tag}\"")?;
    }
    writeln!(out, "---\n")
}

fn training(out: &mut String, config: &ModelConfig, extras: &Extras) -> fmt::Result {
    let short = format!(
        "unbraid train --objective {} --dataset {} --architecture {} --latents {} --steps {} --seed {}",
        config.objective,
        shell_word(&config.dataset),
        config.architecture.name,
        config.architecture.latents,
        config.steps,
        config.seed
    );
    let command = extras.command.as_ref().unwrap_or(&short);
    writeln!(out, "## Training\n\n```sh\n{}\n```\n", command.trim())?;
    writeln!(
        out,
        "{} steps with seed {}. `config.json` has every option under `training`, defaults included.\n",
        config.steps, config.seed
    )
}

/// Where an imported model came from.
fn origin(out: &mut String, config: &ModelConfig) -> fmt::Result {
    writeln!(out, "## Training\n\nOthers trained this model; it was imported.\n")?;
    for part in ["encoder", "decoder"] {
        let text = |key: &str| config.training[part][key].as_str().map(line);
        if let Some(file) = text("file") {
            writeln!(out, "- {part}: `{file}`, written by {}", text("producer").unwrap_or_default())?;
        }
    }
    writeln!(out)
}

fn architecture(out: &mut String, config: &ModelConfig) -> fmt::Result {
    let net = &config.architecture;
    writeln!(out, "## Architecture\n\n`{}`, shapes without the batch:\n", line(&net.name))?;
    writeln!(out, "| layer | what | output | parameters |\n|---|---|---|---:|")?;
    let parts =
        [("encoder", &net.encoder, Shape::Image(net.image)), ("decoder", &net.decoder, Shape::Features(net.latents))];
    let mut total = 0;
    for (part, layers, input) in parts {
        let mut shape = input;
        for (i, layer) in layers.iter().enumerate() {
            let Ok(output) = layer.output(shape) else { continue };
            shape = output;
            let parameters = layer.parameters().map_or(0, |(weight, bias)| weight.iter().product::<usize>() + bias);
            total += parameters;
            let output = match output {
                Shape::Image(s) => format!("{} x {} x {}", s.channels, s.height, s.width),
                Shape::Features(n) => n.to_string(),
            };
            writeln!(out, "| {part}.{i} | {} | {output} | {parameters} |", describe(layer))?;
        }
    }
    let code = format!("The encoder ends in {} means and as many logarithms of variances", net.latents);
    let pixels = match net.output {
        PixelOutput::Sigmoid => "decoder's logits go through a sigmoid",
        PixelOutput::Linear => "decoder's outputs are the pixels, held between 0 and 1",
    };
    let ends = match (net.has_encoder(), net.has_decoder()) {
        (true, true) => format!("{code}; the {pixels}"),
        (true, false) => code,
        _ => format!("The {pixels}"),
    };
    writeln!(out, "\n{total} parameters. {ends}.\n")
}

/// A layer in words.
pub fn describe(layer: &Layer) -> String {
    let window = |window: Option<Window>| {
        let Some(Window { kernel: [height, width], stride, padding }) = window else { return String::new() };
        let padding = if padding.is_none() { String::new() } else { format!(", padding {padding}") };
        format!(" {height}x{width}, stride {}{padding}", Axes(stride))
    };
    let text = match *layer {
        Layer::Conv2d { .. } => format!("convolution{}", window(layer.window())),
        Layer::ConvTranspose2d { .. } => format!("transposed convolution{}", window(layer.window())),
        Layer::Linear { .. } => "linear".into(),
        Layer::MaxPool { .. } => format!("max-pooling{}", window(layer.window())),
        Layer::UpsampleNearest { factor } => format!("nearest upsampling by {}", Axes(factor)),
        Layer::Flatten => "flatten".into(),
        Layer::Unflatten { .. } => "reshape".into(),
    };
    match layer.activation() {
        Activation::Identity => text,
        Activation::Relu => text + ", ReLU",
        Activation::LeakyRelu(slope) => format!("{text}, leaky ReLU {slope}"),
        Activation::Elu(alpha) => format!("{text}, ELU {alpha}"),
        Activation::Tanh => text + ", tanh",
        Activation::Sigmoid => text + ", sigmoid",
        Activation::Softplus => text + ", softplus",
        Activation::HardSigmoid { alpha, beta } => format!("{text}, hard sigmoid {alpha} x + {beta}"),
        Activation::Clip { min, max } => format!("{text}, clipped to {min} to {max}"),
    }
}

fn factors(out: &mut String, config: &ModelConfig) -> fmt::Result {
    writeln!(out, "## Factors\n")?;
    if config.factors.is_empty() {
        return writeln!(out, "The latents have not been labeled.\n");
    }
    writeln!(out, "| latent | factor | useful range | center | KL, nats | agreement |\n|---:|---|---|---:|---:|---:|")?;
    for f in &config.factors {
        writeln!(
            out,
            "| {} | {} | {:.2} to {:.2} | {:.2} | {:.3} | {:.2} |",
            f.latent,
            cell(&f.name),
            f.low,
            f.high,
            f.center,
            f.importance,
            f.agreement
        )?;
    }
    writeln!(
        out,
        "\nA latent is named after the factor that moves it most. Agreement is the share of its votes in the FactorVAE score \
         that are for this factor; 0 where it got no such vote.\n"
    )
}

fn pictures(out: &mut String, extras: &Extras) -> fmt::Result {
    let mut names = extras.files.keys().filter(|n| n.ends_with(".png") || n.ends_with(".gif")).peekable();
    if names.peek().is_some() {
        writeln!(out, "## Pictures\n")?;
    }
    for name in names {
        let title = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem).replace(['_', '-'], " ");
        writeln!(out, "![{title}](<{name}>)\n")?;
    }
    Ok(())
}

fn usage(out: &mut String, config: &ModelConfig, extras: &Extras) -> fmt::Result {
    let net = &config.architecture;
    writeln!(out, "## Use\n")?;
    let (encodes, decodes) = (net.has_encoder(), net.has_decoder());
    if extras.files.contains_key(INT8) {
        let factor = config.factors.first().map_or("z0", |f| f.name.as_str());
        let code = if encodes {
            "let code = model.encode(&frame, &mut arena)?;\n"
        } else {
            "let code = unbraid::Code::new(&model);\n"
        };
        let picture = format!(
            "let code = code.with(model.factor({factor:?})?, 1.5)?;\n\
             model.decode(&code, &mut arena, |y, row| display.draw_row(y, row))?;\n"
        );
        writeln!(
            out,
            "`{INT8}` runs on devices with the crate `unbraid`, in integer arithmetic and without a heap:\n\n```rust\n\
             const MODEL: &[u8] = include_bytes!(\"{INT8}\");\n\
             let model = unbraid::Model::load(MODEL)?;\n\
             let mut arena = unbraid::Arena::<{{ unbraid::arena_bytes(MODEL) }}>::new();\n\
             {code}{}```\n",
            if decodes { &picture } else { "" }
        )?;
    } else {
        writeln!(out, "`unbraid quantize` makes the 8-bit file for devices out of this directory.\n")?;
    }
    let files = match (encodes, decodes) {
        (true, true) => "`encoder.onnx` and `decoder.onnx` are the same networks",
        (true, false) => "`encoder.onnx` is the same network",
        _ => "`decoder.onnx` is the same network",
    };
    writeln!(
        out,
        "{files} in f32 for any ONNX runtime, the batch size is free:\n\n```python\nimport numpy, onnxruntime"
    )?;
    for part in [encodes.then_some("encoder"), decodes.then_some("decoder")].into_iter().flatten() {
        writeln!(out, "{part} = onnxruntime.InferenceSession(\"{part}.onnx\")")?;
    }
    if encodes {
        let ImageShape { channels, height, width } = net.image;
        writeln!(
            out,
            "image = numpy.zeros((1, {channels}, {height}, {width}), numpy.float32)  # from 0 to 1\n\
             mean, log_var = encoder.run(None, {{\"image\": image}})"
        )?;
    } else {
        writeln!(out, "mean = numpy.zeros((1, {}), numpy.float32)", net.latents)?;
    }
    if decodes {
        writeln!(
            out,
            "mean[:, 0] = 1.5  # turn one latent\n\
             (image,) = decoder.run(None, {{\"latent\": mean}})"
        )?;
    }
    let first = if encodes { "encoder" } else { "decoder" };
    writeln!(
        out,
        "```\n\n`model.safetensors` holds the weights in PyTorch's layout: `{first}.0.weight` and `{first}.0.bias` belong to \
         the first layer of the table above."
    )
}

/// Text that stays on its line.
fn line(text: &str) -> String {
    text.split(char::is_control).collect::<Vec<_>>().join(" ")
}

/// Text that stays in its table cell.
fn cell(text: &str) -> String {
    line(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::fixture;
    use super::*;

    #[test]
    fn the_card_says_what_is_known_and_what_is_not() {
        let card = model_card(&fixture::config(), &Extras::default());
        assert!(card.starts_with("---\nlicense:\n- mit\n- apache-2.0\nlibrary_name: unbraid\n"), "{card}");
        for text in [
            "unbraid train --objective factor-vae --dataset sprites --architecture small --latents 3 --steps 300000 ",
            "| encoder.0 | convolution 4x4, stride 2, padding 1, leaky ReLU 0.2 | 5 x 3 x 2 | 165 |",
            "| decoder.2 | transposed convolution 4x4, stride 2, padding 1 | 2 x 6 x 4 | 162 |",
            "633 parameters",
            "| 2 | rotation | -2.10 to 1.70 | 0.10 | 2.500 | 0.75 |",
            "This model has not been scored.",
            "`unbraid quantize` makes",
            "numpy.zeros((1, 2, 6, 4), numpy.float32)",
        ] {
            assert!(card.contains(text), "{text}\n{card}");
        }
        assert!(!card.contains("## Pictures"));
    }

    #[test]
    fn extras_are_shown() {
        let names = ["latent_traversal.gif", INT8, "golden.bin"];
        let extras = Extras {
            command: Some("unbraid demo".into()),
            evaluation: vec!["| metric | score |".into(), "|---|---|".into(), "| FactorVAE | 0.8 |".into()],
            files: names.into_iter().map(|n| (n.into(), vec![])).collect::<BTreeMap<_, _>>(),
        };
        let mut config = fixture::config();
        config.factors[0].name = "a|b".into();
        let card = model_card(&config, &extras);
        for text in [
            "```sh\nunbraid demo\n```",
            "| metric | score |\n|---|---|\n| FactorVAE | 0.8 |\n",
            "![latent traversal](<latent_traversal.gif>)",
            "include_bytes!(\"model.int8.safetensors\")",
            "| 2 | a\\|b |",
        ] {
            assert!(card.contains(text), "{text}\n{card}");
        }
        assert!(!card.contains("golden"));
    }
}
