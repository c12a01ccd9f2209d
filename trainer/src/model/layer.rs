//! What networks are made of: layers, and the shapes between them.

use std::fmt;

use serde::{Deserialize, Serialize};

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

/// The shape of what flows between two layers, without the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `(C, H, W)`.
    Image(ImageShape),
    /// `(features)`.
    Features(usize),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => write!(f, "an image of {image}"),
            Self::Features(n) => write!(f, "{n} features"),
        }
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
    /// The hyperbolic tangent.
    Tanh,
}

impl Activation {
    /// The slope for negative inputs of an activation that is linear on both sides of 0, with slope 1 for positive ones.
    pub fn negative_slope(self) -> Option<f32> {
        match self {
            Self::Identity => Some(1.0),
            Self::Relu => Some(0.0),
            Self::LeakyRelu(slope) => Some(slope),
            Self::Tanh => None,
        }
    }
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
    /// The greatest value of each window, channel by channel. Rows and columns that fill no window are left out.
    MaxPool {
        /// Height and width of the window.
        kernel: usize,
        /// Step of the window.
        stride: usize,
    },
    /// Each pixel becomes a square of `factor` x `factor` equal ones.
    UpsampleNearest {
        /// How often a row and a column are repeated.
        factor: usize,
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

impl Layer {
    /// The output's shape for an input of shape `input`.
    ///
    /// # Errors
    /// The layer does not take such an input; the text says why.
    pub fn output(&self, input: Shape) -> Result<Shape, String> {
        let image = |channels, height, width| Shape::Image(ImageShape { channels, height, width });
        match (*self, input) {
            (Self::Conv2d { in_channels, out_channels, kernel, stride, padding, .. }, Shape::Image(i)) => {
                if i.channels != in_channels {
                    return Err(format!("takes {in_channels} channels, gets {}", i.channels));
                }
                let (height, width) = windows(i, kernel, stride, padding)?;
                Ok(image(out_channels, height, width))
            }
            (Self::ConvTranspose2d { in_channels, out_channels, kernel, stride, padding, .. }, Shape::Image(i)) => {
                let side = |n: usize| (n.max(1) * stride + kernel).checked_sub(stride + 2 * padding).filter(|&m| m > 0);
                match (side(i.height), side(i.width)) {
                    _ if i.channels != in_channels => Err(format!("takes {in_channels} channels, gets {}", i.channels)),
                    (Some(height), Some(width)) => Ok(image(out_channels, height, width)),
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
            (Self::MaxPool { kernel, stride }, Shape::Image(i)) => {
                let (height, width) = windows(i, kernel, stride, 0)?;
                Ok(image(i.channels, height, width))
            }
            (Self::UpsampleNearest { factor }, Shape::Image(i)) if factor > 0 => {
                Ok(image(i.channels, i.height * factor, i.width * factor))
            }
            (Self::Flatten, Shape::Image(i)) => Ok(Shape::Features(i.size())),
            (Self::Unflatten { channels, height, width }, Shape::Features(n)) if n == channels * height * width => {
                Ok(image(channels, height, width))
            }
            (_, input) => Err(format!("does not take {input}")),
        }
    }

    /// The features that it takes, for a linear layer.
    pub fn inputs(&self) -> Option<usize> {
        match *self {
            Self::Linear { in_features, .. } => Some(in_features),
            _ => None,
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
            Self::MaxPool { .. } | Self::UpsampleNearest { .. } | Self::Flatten | Self::Unflatten { .. } => None,
        }
    }
}

/// How many windows fit under and beside each other.
fn windows(image: ImageShape, kernel: usize, stride: usize, padding: usize) -> Result<(usize, usize), String> {
    let side = |n: usize| (n + 2 * padding).checked_sub(kernel).map(|m| m / stride.max(1) + 1);
    match (side(image.height), side(image.width)) {
        (Some(height), Some(width)) if stride > 0 && kernel > 0 => Ok((height, width)),
        _ => Err(format!("kernel {kernel}, stride {stride} does not fit {} x {}", image.height, image.width)),
    }
}
