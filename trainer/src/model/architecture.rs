//! What a network is made of: presets by name, and the same description as stored in `config.json`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The shape of one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// 1 gray, 3 RGB.
    pub channels: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageShape {
    /// Values in an image: channels · height · width.
    pub fn size(&self) -> usize {
        self.channels * self.height * self.width
    }
}

impl fmt::Display for ImageShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {} x {} (H x W x C)", self.height, self.width, self.channels)
    }
}

/// The function applied to a layer's outputs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// None.
    Identity,
    /// max(x, 0).
    Relu,
    /// x for x ≥ 0, else slope · x.
    LeakyRelu(f32),
}

/// One layer; shapes are `(N, C, H, W)` and `(N, features)`, weights as PyTorch stores them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// `weight (out, in, kernel, kernel)`, `bias (out)`.
    Conv2d {
        /// Input channels.
        in_channels: usize,
        /// Output channels.
        out_channels: usize,
        /// Kernel height and width.
        kernel: usize,
        /// Step of the window.
        stride: usize,
        /// Zeros around the input.
        padding: usize,
        /// What follows.
        activation: Activation,
    },
    /// `weight (in, out, kernel, kernel)`, `bias (out)`.
    ConvTranspose2d {
        /// Input channels.
        in_channels: usize,
        /// Output channels.
        out_channels: usize,
        /// Kernel height and width.
        kernel: usize,
        /// Upsampling factor.
        stride: usize,
        /// Rows and columns cut from the output's border.
        padding: usize,
        /// What follows.
        activation: Activation,
    },
    /// `weight (out, in)`, `bias (out)`.
    Linear {
        /// Input features.
        in_features: usize,
        /// Output features.
        out_features: usize,
        /// What follows.
        activation: Activation,
    },
    /// `(N, C, H, W)` to `(N, C·H·W)`.
    Flatten,
    /// `(N, channels·height·width)` to `(N, channels, height, width)`.
    Unflatten {
        /// C.
        channels: usize,
        /// H.
        height: usize,
        /// W.
        width: usize,
    },
}

/// The shape of what flows between two layers, without the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `(C, H, W)`.
    Image(ImageShape),
    /// `(features)`.
    Features(usize),
}

impl Layer {
    /// The output's shape for an input of shape `input`.
    ///
    /// # Errors
    /// The layer does not take such an input; the text says why.
    pub fn output(&self, input: Shape) -> std::result::Result<Shape, String> {
        match (*self, input) {
            (Self::Conv2d { in_channels, out_channels, kernel, stride, padding, .. }, Shape::Image(i)) => {
                let side = |n: usize| (n + 2 * padding).checked_sub(kernel).map(|m| m / stride.max(1) + 1);
                match (side(i.height), side(i.width)) {
                    _ if i.channels != in_channels => Err(format!("takes {in_channels} channels, gets {}", i.channels)),
                    (Some(height), Some(width)) if stride > 0 => {
                        Ok(Shape::Image(ImageShape { channels: out_channels, height, width }))
                    }
                    _ => Err(format!("kernel {kernel}, stride {stride} does not fit {} x {}", i.height, i.width)),
                }
            }
            (Self::ConvTranspose2d { in_channels, out_channels, kernel, stride, padding, .. }, Shape::Image(i)) => {
                let side = |n: usize| (n.max(1) * stride + kernel).checked_sub(stride + 2 * padding).filter(|&m| m > 0);
                match (side(i.height), side(i.width)) {
                    _ if i.channels != in_channels => Err(format!("takes {in_channels} channels, gets {}", i.channels)),
                    (Some(height), Some(width)) => {
                        Ok(Shape::Image(ImageShape { channels: out_channels, height, width }))
                    }
                    _ => Err(format!("padding {padding} leaves nothing of {} x {}", i.height, i.width)),
                }
            }
            (Self::Linear { in_features, out_features, .. }, Shape::Features(n)) => {
                if n == in_features {
                    Ok(Shape::Features(out_features))
                } else {
                    Err(format!("takes {in_features} features, gets {n}"))
                }
            }
            (Self::Flatten, Shape::Image(i)) => Ok(Shape::Features(i.size())),
            (Self::Unflatten { channels, height, width }, Shape::Features(n)) if n == channels * height * width => {
                Ok(Shape::Image(ImageShape { channels, height, width }))
            }
            (_, input) => Err(format!("does not take {input:?}")),
        }
    }

    /// The shapes of `weight` and `bias`, for layers that have them.
    pub fn parameters(&self) -> Option<(Vec<usize>, usize)> {
        match *self {
            Self::Conv2d { in_channels, out_channels, kernel, .. } => {
                Some((vec![out_channels, in_channels, kernel, kernel], out_channels))
            }
            Self::ConvTranspose2d { in_channels, out_channels, kernel, .. } => {
                Some((vec![in_channels, out_channels, kernel, kernel], out_channels))
            }
            Self::Linear { in_features, out_features, .. } => Some((vec![out_features, in_features], out_features)),
            Self::Flatten | Self::Unflatten { .. } => None,
        }
    }
}

/// An encoder and a decoder. The encoder ends in 2·latents features (means, then log-variances), the decoder in one logit
/// for each pixel; the sigmoid belongs to the likelihood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// The preset's name.
    pub name: String,
    /// Input and output images.
    pub image: ImageShape,
    /// Latent dimensions.
    pub latents: usize,
    /// Image to means and log-variances.
    pub encoder: Vec<Layer>,
    /// Latents to pixel logits.
    pub decoder: Vec<Layer>,
}

/// Names of the presets.
pub const PRESETS: [&str; 2] = ["factor-vae-64", "factor-vae-64-rgb"];

impl Architecture {
    /// The preset `name` with `latents` latent dimensions.
    ///
    /// Both are the networks of Kim & Mnih 2018, appendix A: sprites (64x64x1, 128 hidden features) and 3D data
    /// (64x64x3, 256 hidden features).
    ///
    /// # Errors
    /// The name is not in [`PRESETS`], or `latents` is not in 1..=128.
    pub fn preset(name: &str, latents: usize) -> Result<Self> {
        if !(1..=128).contains(&latents) {
            return Err(Error::setting("latents", latents, "1 to 128"));
        }
        match name {
            "factor-vae-64" => Ok(Self::factor_vae(name, 1, 128, latents)),
            "factor-vae-64-rgb" => Ok(Self::factor_vae(name, 3, 256, latents)),
            _ => Err(Error::setting("architecture", name, &PRESETS.join(", "))),
        }
    }

    fn factor_vae(name: &str, channels: usize, hidden: usize, latents: usize) -> Self {
        use Activation::{Identity, Relu};
        let conv = |in_channels, out_channels| Layer::Conv2d {
            in_channels,
            out_channels,
            kernel: 4,
            stride: 2,
            padding: 1,
            activation: Relu,
        };
        let conv_transpose = |in_channels, out_channels, activation| Layer::ConvTranspose2d {
            in_channels,
            out_channels,
            kernel: 4,
            stride: 2,
            padding: 1,
            activation,
        };
        let linear = |in_features, out_features, activation| Layer::Linear { in_features, out_features, activation };
        Self {
            name: name.into(),
            image: ImageShape { channels, height: 64, width: 64 },
            latents,
            encoder: vec![
                conv(channels, 32),
                conv(32, 32),
                conv(32, 64),
                conv(64, 64),
                Layer::Flatten,
                linear(1024, hidden, Relu),
                linear(hidden, 2 * latents, Identity),
            ],
            decoder: vec![
                linear(latents, hidden, Relu),
                linear(hidden, 1024, Relu),
                Layer::Unflatten { channels: 64, height: 4, width: 4 },
                conv_transpose(64, 64, Relu),
                conv_transpose(64, 32, Relu),
                conv_transpose(32, 32, Relu),
                conv_transpose(32, channels, Identity),
            ],
        }
    }

    /// Checks that the layers fit each other, the image and the latents.
    ///
    /// # Errors
    /// The first layer that does not fit, by name.
    pub fn validate(&self) -> std::result::Result<(), String> {
        let run = |part: &str, layers: &[Layer], input| {
            layers.iter().enumerate().try_fold(input, |shape, (i, layer)| {
                layer.output(shape).map_err(|reason| format!("{part}.{i}: {reason}"))
            })
        };
        let code = run("encoder", &self.encoder, Shape::Image(self.image))?;
        if code != Shape::Features(2 * self.latents) {
            return Err(format!("encoder ends in {code:?}, expected {} features", 2 * self.latents));
        }
        let image = run("decoder", &self.decoder, Shape::Features(self.latents))?;
        if image != Shape::Image(self.image) {
            return Err(format!("decoder ends in {image:?}, expected {:?}", self.image));
        }
        Ok(())
    }
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
        net.validate().unwrap();
        // The published counts are without biases of which the encoder has 340 and the decoder 1,281.
        assert_eq!(weights(&net.encoder) + weights(&net.decoder), 249_172 + 248_833);
    }

    #[test]
    fn a_layer_that_does_not_fit_is_named() {
        let mut net = Architecture::preset("factor-vae-64-rgb", 6).unwrap();
        net.validate().unwrap();
        net.encoder.remove(4);
        assert!(net.validate().unwrap_err().starts_with("encoder.4: does not take"));
    }
}
