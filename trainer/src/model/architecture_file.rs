//! Architectures of one's own, in TOML: what each layer adds is written down, what follows from its input is not.
//!
//! ```toml
//! name = "small"
//! image = { height = 32, width = 48, channels = 3 }
//! encoder = [
//!     { kind = "conv2d", channels = 32, kernel = 4, stride = 2, padding = 1 },
//!     { kind = "max_pool", kernel = 2 },
//!     { kind = "linear", features = 128 },
//! ]
//! decoder = [
//!     { kind = "linear", features = 768 },
//!     { kind = "unflatten", channels = 8, height = 8, width = 12 },
//!     { kind = "upsample_nearest", factor = 2 },
//!     { kind = "conv_transpose2d", channels = 3, kernel = 4, stride = 2, padding = 1 },
//! ]
//! ```
//!
//! Input channels and features are those of the layer before; images are flattened in front of a linear layer; the encoder's last
//! layer, linear to means and log-variances, is not written down. Layers have a ReLU unless `activation` says otherwise, but for
//! the decoder's last one, whose outputs are pixel logits.

use std::{fs, path::Path};

use serde::{Deserialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::{Activation, Architecture, Axes, ImageShape, Layer, Padding, PixelOutput, Shape, Window, window::axes};
use crate::{Error, Result};

/// The name under which a run and a model keep the file that they were made from.
pub const ARCHITECTURE_FILE: &str = "architecture.toml";

/// Rows and columns of an image.
const SIDES: std::ops::RangeInclusive<usize> = 16..=256;
/// Channels of an image; more is more than a device's file can hold.
const IMAGE_CHANNELS: std::ops::RangeInclusive<usize> = 1..=4;
/// Sizes of windows, as a device's file holds them.
const WINDOWS: std::ops::RangeInclusive<usize> = 1..=16;
/// Channels, features and values between layers.
const SIZES: std::ops::RangeInclusive<usize> = 1..=1 << 16;
/// Written layers of a network; a device's file holds 32.
const LAYERS: std::ops::RangeInclusive<usize> = 1..=31;

/// Whether `architecture`, as a setting has it, is a file and no preset.
pub fn is_file(architecture: &str) -> bool {
    Path::new(architecture).extension().is_some_and(|extension| extension == "toml")
}

/// Reads an architecture with `latents` latent dimensions.
///
/// # Errors
/// The file cannot be read, or is none: [`Error::Malformed`] names the layer, what was found and what was expected.
pub fn read(path: &Path, latents: usize) -> Result<Architecture> {
    let text = fs::read_to_string(path).map_err(Error::io(path))?;
    parse(&text, latents).map_err(|Wrong { field, found, expected }| Error::Malformed {
        path: path.into(),
        field,
        found,
        expected,
    })
}

/// The part of a file that is not as it should be.
#[derive(Debug)]
struct Wrong {
    field: String,
    found: String,
    expected: String,
}

type Parsed<T> = std::result::Result<T, Wrong>;

fn wrong<T>(field: &str, found: impl ToString, expected: impl ToString) -> Parsed<T> {
    Err(Wrong { field: field.into(), found: found.to_string(), expected: expected.to_string() })
}

/// A layer as it is written down.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Entry {
    Conv2d(Convolution),
    ConvTranspose2d(Transposed),
    Linear {
        features: usize,
        activation: Option<Activation>,
    },
    MaxPool(Pooling),
    UpsampleNearest {
        #[serde(with = "axes")]
        factor: [usize; 2],
    },
    Unflatten {
        channels: usize,
        height: usize,
        width: usize,
    },
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Convolution {
    channels: usize,
    #[serde(with = "axes")]
    kernel: [usize; 2],
    #[serde(with = "axes", default = "ones")]
    stride: [usize; 2],
    #[serde(default)]
    padding: Padding,
    activation: Option<Activation>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transposed {
    channels: usize,
    #[serde(with = "axes")]
    kernel: [usize; 2],
    #[serde(with = "axes", default = "ones")]
    stride: [usize; 2],
    #[serde(default)]
    padding: Padding,
    #[serde(with = "axes", default)]
    output_padding: [usize; 2],
    activation: Option<Activation>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pooling {
    #[serde(with = "axes")]
    kernel: [usize; 2],
    stride: Option<Stride>,
    #[serde(default)]
    padding: Padding,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Stride(#[serde(with = "axes")] [usize; 2]);

fn ones() -> [usize; 2] {
    [1; 2]
}

fn parse(text: &str, latents: usize) -> Parsed<Architecture> {
    let mut table = text.parse::<Table>().or_else(|e| wrong("content", e.to_string().trim_end(), "TOML"))?;
    let name: String = take(&mut table, "name", "a text")?;
    let image: ImageShape = take(&mut table, "image", "height, width and channels")?;
    let [encoder, decoder] =
        ["encoder", "decoder"].map(|part| take::<Vec<Value>>(&mut table, part, "a list of layers"));
    if let Some(key) = table.keys().next() {
        return wrong(key, "this key", "name, image, encoder and decoder");
    }
    for (field, side) in [("image.height", image.height), ("image.width", image.width)] {
        within(field, side, &SIDES)?;
    }
    within("image.channels", image.channels, &IMAGE_CHANNELS)?;

    let mut encoder_layers = Layers::new(Shape::Image(image));
    encoder_layers.extend("encoder", &encoder?, Activation::Relu)?;
    encoder_layers.linear("encoder", 2 * latents, Activation::Identity)?;

    let decoder = decoder?;
    let mut decoder_layers = Layers::new(Shape::Features(latents));
    decoder_layers.extend("decoder", &decoder, Activation::Identity)?;
    decoder_layers.end_in(image, decoder.len() - 1)?;
    Ok(Architecture {
        name,
        image,
        latents,
        encoder: encoder_layers.layers,
        decoder: decoder_layers.layers,
        output: PixelOutput::Sigmoid,
    })
}

/// Layers so far, and the shape of what they give.
struct Layers {
    layers: Vec<Layer>,
    shape: Shape,
}

impl Layers {
    fn new(input: Shape) -> Self {
        Self { layers: Vec::new(), shape: input }
    }

    /// Adds what is written down; the last one has activation `last` if it says none.
    fn extend(&mut self, part: &str, entries: &[Value], last: Activation) -> Parsed<()> {
        if !LAYERS.contains(&entries.len()) {
            return wrong(part, format!("{} layers", entries.len()), format!("1 to {}", LAYERS.end()));
        }
        for (index, value) in entries.iter().enumerate() {
            let field = format!("{part}[{index}]");
            let entry = match Entry::deserialize(value.clone()) {
                Ok(entry) => entry,
                Err(e) => return wrong(&field, e.message(), "a layer with its kind and sizes"),
            };
            let default = if index + 1 == entries.len() { last } else { Activation::Relu };
            self.add(&field, entry, default)?;
        }
        Ok(())
    }

    fn add(&mut self, field: &str, entry: Entry, default: Activation) -> Parsed<()> {
        let image = |shape| match shape {
            Shape::Image(image) => Ok(image),
            Shape::Features(n) => {
                wrong(field, format!("{n} features in front of it"), "an image, as unflatten makes one")
            }
        };
        let layer = match entry {
            Entry::Conv2d(Convolution { channels, kernel, stride, padding, activation }) => Layer::Conv2d {
                in_channels: image(self.shape)?.channels,
                out_channels: channels,
                kernel,
                stride,
                padding,
                activation: activation.unwrap_or(default),
            },
            Entry::ConvTranspose2d(Transposed { channels, kernel, stride, padding, output_padding, activation }) => {
                Layer::ConvTranspose2d {
                    in_channels: image(self.shape)?.channels,
                    out_channels: channels,
                    kernel,
                    stride,
                    padding,
                    output_padding,
                    activation: activation.unwrap_or(default),
                }
            }
            Entry::Linear { features, activation } => {
                return self.linear(field, features, activation.unwrap_or(default));
            }
            Entry::MaxPool(Pooling { kernel, stride, padding }) => {
                Layer::MaxPool { kernel, stride: stride.map_or(kernel, |Stride(stride)| stride), padding }
            }
            Entry::UpsampleNearest { factor } => Layer::UpsampleNearest { factor },
            Entry::Unflatten { channels, height, width } => Layer::Unflatten { channels, height, width },
        };
        self.push(field, layer)
    }

    /// A linear layer, behind a Flatten if an image is in front of it.
    fn linear(&mut self, field: &str, out_features: usize, activation: Activation) -> Parsed<()> {
        if let Shape::Image(_) = self.shape {
            self.push(field, Layer::Flatten)?;
        }
        let Shape::Features(in_features) = self.shape else { return Ok(()) };
        self.push(field, Layer::Linear { in_features, out_features, activation })
    }

    fn push(&mut self, field: &str, layer: Layer) -> Parsed<()> {
        let mut sizes = match layer {
            Layer::Conv2d { out_channels, .. } | Layer::ConvTranspose2d { out_channels, .. } => {
                vec![("channels", out_channels, &SIZES)]
            }
            Layer::Linear { out_features, .. } => vec![("features", out_features, &SIZES)],
            Layer::UpsampleNearest { factor } => factor.map(|factor| ("factor", factor, &WINDOWS)).into(),
            Layer::MaxPool { .. } | Layer::Flatten => vec![],
            Layer::Unflatten { channels, height, width } => {
                vec![("channels", channels, &SIZES), ("height", height, &SIZES), ("width", width, &SIZES)]
            }
        };
        if let Some(Window { kernel, stride, .. }) = layer.window() {
            sizes.extend(kernel.map(|kernel| ("kernel", kernel, &WINDOWS)));
            sizes.extend(stride.map(|stride| ("stride", stride, &WINDOWS)));
        }
        layer.activation().check().or_else(|found| wrong(field, found, "a function that does not fall"))?;
        for (size, found, range) in sizes {
            within(&format!("{field}.{size}"), found, range)?;
        }
        if let Some(Window { kernel, padding, .. }) = layer.window()
            && (0..2).any(|axis| padding.before()[axis].max(padding.after()[axis]) >= kernel[axis])
        {
            return wrong(field, format!("padding {padding}"), format!("less than the kernel, {}", Axes(kernel)));
        }
        self.shape = layer.output(self.shape).or_else(|reason| wrong(field, reason, "a layer that fits"))?;
        let largest = match self.shape {
            Shape::Image(image) => image.channels.max(image.height).max(image.width),
            Shape::Features(n) => n,
        };
        if !SIZES.contains(&largest) {
            return wrong(field, self.shape, format!("at most {} of anything behind it", SIZES.end()));
        }
        self.layers.push(layer);
        Ok(())
    }

    /// Checks that the layers are a decoder's, whose last written one is number `last`, for `image`.
    fn end_in(&mut self, image: ImageShape, last: usize) -> Parsed<()> {
        let field = format!("decoder[{last}]");
        match self.layers.last() {
            Some(
                Layer::Conv2d { activation, .. }
                | Layer::ConvTranspose2d { activation, .. }
                | Layer::Linear { activation, .. },
            ) if *activation == Activation::Identity => {}
            Some(layer) => return wrong(&field, format!("{layer:?}"), "a layer with weights and without activation"),
            None => {}
        }
        if !matches!(self.layers.first(), Some(Layer::Linear { .. })) {
            return wrong("decoder[0]", "another kind", "linear, which takes the latents");
        }
        if self.shape == Shape::Features(image.size()) {
            let ImageShape { channels, height, width } = image;
            self.push(&field, Layer::Unflatten { channels, height, width })?;
        }
        if self.shape != Shape::Image(image) {
            return wrong(&field, self.shape, Shape::Image(image));
        }
        Ok(())
    }
}

fn take<T: DeserializeOwned>(table: &mut Table, key: &str, expected: &str) -> Parsed<T> {
    let Some(value) = table.remove(key) else { return wrong(key, "nothing", expected) };
    value.try_into().or_else(|e: toml::de::Error| wrong(key, e.message(), expected))
}

fn within(field: &str, found: usize, range: &std::ops::RangeInclusive<usize>) -> Parsed<()> {
    if range.contains(&found) { Ok(()) } else { wrong(field, found, format!("{} to {}", range.start(), range.end())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
name = "small"
image = { height = 32, width = 48, channels = 3 }
encoder = [
    { kind = "conv2d", channels = 8, kernel = 4, stride = 2, padding = 1, activation = { leaky_relu = 0.1 } },
    { kind = "max_pool", kernel = 2 },
    { kind = "linear", features = 20, activation = "tanh" },
]
decoder = [
    { kind = "linear", features = 768 },
    { kind = "unflatten", channels = 8, height = 8, width = 12 },
    { kind = "upsample_nearest", factor = 2 },
    { kind = "conv_transpose2d", channels = 3, kernel = 4, stride = 2, padding = 1 },
]
"#;

    fn parsed(text: &str) -> std::result::Result<Architecture, String> {
        parse(text, 5)
            .map_err(|Wrong { field, found, expected }| format!("{field}: found {found}, expected {expected}"))
    }

    #[test]
    fn what_is_not_written_follows_from_the_layer_before() {
        let net = parsed(FILE).unwrap();
        net.validate().unwrap();
        assert_eq!((net.name.as_str(), net.latents, net.image.width), ("small", 5, 48));
        let (tanh, none) = (Activation::Tanh, Activation::Identity);
        let encoder = [
            Layer::max_pool(Window::square(2, 2, 0)),
            Layer::Flatten,
            Layer::Linear { in_features: 768, out_features: 20, activation: tanh },
            Layer::Linear { in_features: 20, out_features: 10, activation: none },
        ];
        assert_eq!(net.encoder[1..], encoder);
        assert_eq!(net.decoder[3], Layer::conv_transpose2d(8, 3, Window::square(4, 2, 1), none));
        assert_eq!(net.decoder[0], Layer::Linear { in_features: 5, out_features: 768, activation: Activation::Relu });
    }

    #[test]
    fn a_decoder_may_end_in_features() {
        let decoder = r#"decoder = [{ kind = "linear", features = 4608 }]"#;
        let text = FILE.split("decoder").next().unwrap().to_owned() + decoder;
        assert_eq!(parsed(&text).unwrap().decoder[1], Layer::Unflatten { channels: 3, height: 32, width: 48 });
    }

    #[test]
    fn mistakes_are_named() {
        for (from, to, error) in [
            ("height = 32", "height = 15", "image.height: found 15, expected 16 to 256"),
            ("channels = 3 }\nenc", "channels = 5 }\nenc", "image.channels: found 5, expected 1 to 4"),
            ("channels = 3 }\nenc", "channels = 3, depth = 1 }\nenc", "image: found unknown field `depth`"),
            ("name = ", "title = ", "name: found nothing, expected a text"),
            ("name = ", "latents = 3\nname = ", "latents: found this key, expected name, image, encoder and decoder"),
            ("\"max_pool\"", "\"pool\"", "encoder[1]: found unknown variant `pool`"),
            ("kernel = 2 }", "kernel = 0 }", "encoder[1].kernel: found 0, expected 1 to 16"),
            ("kernel = 2 }", "kernel = 2, stride = 17 }", "encoder[1].stride: found 17, expected 1 to 16"),
            ("kernel = 2 }", "kernel = 16, stride = 2, channels = 3 }", "encoder[1]: found unknown field `channels`"),
            ("padding = 1, act", "padding = 4, act", "encoder[0]: found padding 4, expected less than the kernel, 4"),
            (
                "\"unflatten\", channels = 8",
                "\"unflatten\", channels = 9",
                "decoder[1]: found does not take 768 features",
            ),
            (
                "factor = 2",
                "factor = 3",
                "decoder[3]: found an image of 48 x 72 x 3 (H x W x C), expected an image of 32",
            ),
            ("padding = 1 },\n]\n", "padding = 1, activation = \"relu\" },\n]\n", "decoder[3]: found ConvTranspose2d"),
            (
                "kernel = 2 }",
                "kernel = 2 },{ kind = \"linear\", features = 70000 }",
                "encoder[2].features: found 70000",
            ),
            ("    { kind = \"linear\", features = 768 },\n", "", "decoder[0]: found does not take 5 features"),
            ("encoder = [", "encoder = [ 3,", "encoder[0]: found "),
        ] {
            assert!(FILE.contains(from), "{from}");
            let found = parsed(&FILE.replacen(from, to, 1)).unwrap_err();
            assert!(found.starts_with(error), "{found}\nnot {error}");
        }
        assert!(parsed("name = ").unwrap_err().starts_with("content: found TOML parse error at line 1"));
        let empty = FILE.split("decoder").next().unwrap().to_owned() + "decoder = []";
        assert_eq!(parsed(&empty).unwrap_err(), "decoder: found 0 layers, expected 1 to 31");
    }
}
