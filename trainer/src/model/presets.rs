//! Published networks, by name.

use super::{
    Activation::{self, Identity, Relu, Tanh},
    Architecture, ImageShape, Layer, PixelOutput, Window, architecture_file,
};
use crate::{Error, Result};

/// A published network.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// The networks for a number of latents.
    networks: fn(usize) -> Networks,
}

/// What a preset's function makes.
struct Networks {
    image: ImageShape,
    encoder: Vec<Layer>,
    decoder: Vec<Layer>,
    output: PixelOutput,
}

/// All presets.
pub const PRESETS: [Preset; 6] = [
    Preset {
        name: "factor-vae-64",
        summary: "64x64x1, four strided convolutions and 128 hidden features (Kim & Mnih 2018, appendix A, sprites)",
        networks: |latents| factor_vae(1, 128, latents),
    },
    Preset {
        name: "factor-vae-64-rgb",
        summary: "64x64x3, four strided convolutions and 256 hidden features (Kim & Mnih 2018, appendix A, 3D data)",
        networks: |latents| factor_vae(3, 256, latents),
    },
    Preset {
        name: "burgess-64",
        summary: "64x64x1, four strided convolutions of 32 channels and two layers of 256 features (Burgess et al. 2018, \
                  appendix A)",
        networks: burgess,
    },
    Preset {
        name: "beta-vae-mlp",
        summary: "64x64x1, 1200 features a layer, ReLU in the encoder, tanh in the decoder (Higgins et al. 2017, appendix, \
                  2DShapes)",
        networks: beta_vae_mlp,
    },
    Preset {
        name: "dc-ign",
        summary: "64x64x1, convolution and max-pooling, nearest upsampling and convolution (Kulkarni et al. 2015, figure 1, \
                  made to fit)",
        networks: dc_ign,
    },
    Preset { name: "linear", summary: "64x64x1, one matrix each way, for PCA and ICA", networks: one_matrix },
];

impl Architecture {
    /// The networks that a setting names, a preset or a TOML file ([`architecture_file`]), with `latents` latent dimensions.
    ///
    /// # Errors
    /// There is no such preset, or the file is none; or `latents` is not in 1..=128.
    pub fn open(setting: &str, latents: usize) -> Result<Self> {
        if !architecture_file::is_file(setting) {
            return Self::preset(setting, latents);
        }
        check_latents(latents)?;
        architecture_file::read(setting.as_ref(), latents)
    }

    /// The preset `name` with `latents` latent dimensions.
    ///
    /// # Errors
    /// The name is not in [`PRESETS`], or `latents` is not in 1..=128.
    pub fn preset(name: &str, latents: usize) -> Result<Self> {
        check_latents(latents)?;
        let Some(preset) = PRESETS.iter().find(|preset| preset.name == name) else {
            let names = PRESETS.map(|preset| preset.name).join(", ");
            return Err(Error::setting("architecture", name, &format!("{names} or a file that ends in .toml")));
        };
        let Networks { image, encoder, decoder, output } = (preset.networks)(latents);
        Ok(Self { name: name.into(), image, latents, encoder, decoder, output })
    }
}

fn check_latents(latents: usize) -> Result<()> {
    if (1..=128).contains(&latents) { Ok(()) } else { Err(Error::setting("latents", latents, "1 to 128")) }
}

/// Kim & Mnih 2018 (arXiv 1802.05983), appendix A: the same layers for sprites and for 3D data, but for `hidden`.
fn factor_vae(channels: usize, hidden: usize, latents: usize) -> Networks {
    let encoder = vec![
        halve(channels, 32),
        halve(32, 32),
        halve(32, 64),
        halve(64, 64),
        Layer::Flatten,
        linear(1024, hidden, Relu),
        linear(hidden, 2 * latents, Identity),
    ];
    let decoder = vec![
        linear(latents, hidden, Relu),
        linear(hidden, 1024, Relu),
        Layer::Unflatten { channels: 64, height: 4, width: 4 },
        double(64, 64, Relu),
        double(64, 32, Relu),
        double(32, 32, Relu),
        double(32, channels, Identity),
    ];
    Networks { image: square(channels), encoder, decoder, output: PixelOutput::Sigmoid }
}

/// Burgess et al. 2018 (arXiv 1804.03599), appendix A.1: "4 convolutional layers, each with 32 channels, 4x4 kernels, and a stride
/// of 2", two layers of 256 units; the decoder is its transpose.
fn burgess(latents: usize) -> Networks {
    let encoder = vec![
        halve(1, 32),
        halve(32, 32),
        halve(32, 32),
        halve(32, 32),
        Layer::Flatten,
        linear(512, 256, Relu),
        linear(256, 256, Relu),
        linear(256, 2 * latents, Identity),
    ];
    let decoder = vec![
        linear(latents, 256, Relu),
        linear(256, 256, Relu),
        linear(256, 512, Relu),
        Layer::Unflatten { channels: 32, height: 4, width: 4 },
        double(32, 32, Relu),
        double(32, 32, Relu),
        double(32, 32, Relu),
        double(32, 1, Identity),
    ];
    Networks { image: square(1), encoder, decoder, output: PixelOutput::Sigmoid }
}

/// Higgins et al. 2017 (ICLR), appendix A.1, table 1, 2DShapes: encoder 1200-1200 with ReLU, decoder 1200-1200-1200 with tanh.
fn beta_vae_mlp(latents: usize) -> Networks {
    let encoder =
        vec![Layer::Flatten, linear(4096, 1200, Relu), linear(1200, 1200, Relu), linear(1200, 2 * latents, Identity)];
    let decoder = vec![
        linear(latents, 1200, Tanh),
        linear(1200, 1200, Tanh),
        linear(1200, 1200, Tanh),
        linear(1200, 4096, Identity),
        Layer::Unflatten { channels: 1, height: 64, width: 64 },
    ];
    Networks { image: square(1), encoder, decoder, output: PixelOutput::Sigmoid }
}

/// Kulkarni et al. 2015 (arXiv 1503.03167), figure 1, made to fit 64x64.
///
/// The paper's: an encoder of three 5x5 convolutions with 96, 64 and 32 filters, each followed by 2x2 max-pooling and a ReLU (which
/// commute: here the ReLU belongs to the convolution); one linear layer to the latents and one back; a decoder of three times
/// nearest upsampling by 2 and a convolution, with 64, 96 and 1 filters.
///
/// Adapted: images of 64x64 for 150x150 faces, so that 32 maps of 8x8 meet the latents (15x15 there); "same" padding, where the
/// paper's convolutions have none; 5x5 kernels in the decoder too, for 7x7, since the image is less than half as wide.
fn dc_ign(latents: usize) -> Networks {
    let conv = |in_channels, out_channels, activation| {
        Layer::conv2d(in_channels, out_channels, Window::square(5, 1, 2), activation)
    };
    let pool = Layer::max_pool(Window::square(2, 2, 0));
    let upsample = Layer::UpsampleNearest { factor: [2; 2] };
    let encoder = vec![
        conv(1, 96, Relu),
        pool,
        conv(96, 64, Relu),
        pool,
        conv(64, 32, Relu),
        pool,
        Layer::Flatten,
        linear(2048, 2 * latents, Identity),
    ];
    let decoder = vec![
        linear(latents, 2048, Relu),
        Layer::Unflatten { channels: 32, height: 8, width: 8 },
        upsample,
        conv(32, 64, Relu),
        upsample,
        conv(64, 96, Relu),
        upsample,
        conv(96, 1, Identity),
    ];
    Networks { image: square(1), encoder, decoder, output: PixelOutput::Sigmoid }
}

/// Pixels to code and back without anything between.
fn one_matrix(latents: usize) -> Networks {
    Networks {
        image: square(1),
        encoder: vec![Layer::Flatten, linear(4096, 2 * latents, Identity)],
        decoder: vec![linear(latents, 4096, Identity), Layer::Unflatten { channels: 1, height: 64, width: 64 }],
        output: PixelOutput::Linear,
    }
}

fn square(channels: usize) -> ImageShape {
    ImageShape { channels, height: 64, width: 64 }
}

/// The convolution that halves height and width, with ReLU.
fn halve(in_channels: usize, out_channels: usize) -> Layer {
    Layer::conv2d(in_channels, out_channels, Window::square(4, 2, 1), Relu)
}

/// The transposed convolution that doubles height and width.
fn double(in_channels: usize, out_channels: usize, activation: Activation) -> Layer {
    Layer::conv_transpose2d(in_channels, out_channels, Window::square(4, 2, 1), activation)
}

fn linear(in_features: usize, out_features: usize, activation: Activation) -> Layer {
    Layer::Linear { in_features, out_features, activation }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(layers: &[Layer]) -> usize {
        let count = |(weight, bias): (Vec<usize>, usize)| weight.iter().product::<usize>() + bias;
        layers.iter().filter_map(Layer::parameters).map(count).sum()
    }

    #[test]
    fn the_sprites_net_has_the_published_size() {
        let net = Architecture::preset("factor-vae-64", 10).unwrap();
        // The published counts are without biases of which the encoder has 340 and the decoder 1,281.
        assert_eq!(weights(&net.encoder) + weights(&net.decoder), 249_172 + 248_833);
    }

    #[test]
    fn presets_fit_for_any_number_of_latents() {
        for preset in PRESETS {
            for latents in [1, 10, 128] {
                Architecture::preset(preset.name, latents).unwrap().validate().unwrap();
            }
        }
        assert!(Architecture::preset("burgess-64", 0).is_err() && Architecture::preset("burgess-64", 129).is_err());
    }

    #[test]
    fn a_layer_that_does_not_fit_is_named() {
        let mut net = Architecture::preset("factor-vae-64-rgb", 6).unwrap();
        net.encoder.remove(4);
        assert!(net.validate().unwrap_err().starts_with("encoder.4: does not take"));
    }
}
