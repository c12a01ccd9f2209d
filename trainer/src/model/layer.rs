//! What networks are made of: layers, and the shapes between them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    activation::Activation,
    window::{Axes, Padding, Window, axes},
};

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

    /// Rows and columns.
    pub fn sides(&self) -> [usize; 2] {
        [self.height, self.width]
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

/// One layer; shapes are `(N, C, H, W)` and `(N, features)`, weights as PyTorch stores them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Layer {
    /// `weight (out, in, kernel H, kernel W)`, `bias (out)`.
    Conv2d {
        /// Input channels.
        in_channels: usize,
        /// Output channels.
        out_channels: usize,
        /// Kernel height and width.
        #[serde(with = "axes")]
        kernel: [usize; 2],
        /// Step of the window, vertical and horizontal.
        #[serde(with = "axes")]
        stride: [usize; 2],
        /// Zeros around the input.
        padding: Padding,
        /// What follows.
        activation: Activation,
    },
    /// `weight (in, out, kernel H, kernel W)`, `bias (out)`.
    ConvTranspose2d {
        /// Input channels.
        in_channels: usize,
        /// Output channels.
        out_channels: usize,
        /// Kernel height and width.
        #[serde(with = "axes")]
        kernel: [usize; 2],
        /// Upsampling factors, vertical and horizontal.
        #[serde(with = "axes")]
        stride: [usize; 2],
        /// Rows and columns cut from the output's borders.
        padding: Padding,
        /// Rows below and columns to the right that the output has beyond those, fewer than the stride.
        #[serde(with = "axes", default, skip_serializing_if = "axes::are_zero")]
        output_padding: [usize; 2],
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
        #[serde(with = "axes")]
        kernel: [usize; 2],
        /// Step of the window, vertical and horizontal.
        #[serde(with = "axes")]
        stride: [usize; 2],
        /// How far windows reach beyond the input, where no value counts.
        #[serde(default, skip_serializing_if = "Padding::is_none")]
        padding: Padding,
    },
    /// Each pixel becomes a rectangle of equal ones.
    UpsampleNearest {
        /// How often a row and a column are repeated.
        #[serde(with = "axes")]
        factor: [usize; 2],
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
    /// A convolution.
    pub fn conv2d(in_channels: usize, out_channels: usize, window: Window, activation: Activation) -> Self {
        let Window { kernel, stride, padding } = window;
        Self::Conv2d { in_channels, out_channels, kernel, stride, padding, activation }
    }

    /// A transposed convolution without output padding.
    pub fn conv_transpose2d(in_channels: usize, out_channels: usize, window: Window, activation: Activation) -> Self {
        let (Window { kernel, stride, padding }, output_padding) = (window, [0; 2]);
        Self::ConvTranspose2d { in_channels, out_channels, kernel, stride, padding, output_padding, activation }
    }

    /// Max-pooling.
    pub fn max_pool(window: Window) -> Self {
        let Window { kernel, stride, padding } = window;
        Self::MaxPool { kernel, stride, padding }
    }

    /// The output's shape for an input of shape `input`.
    ///
    /// # Errors
    /// The layer does not take such an input; the text says why.
    pub fn output(&self, input: Shape) -> Result<Shape, String> {
        let image = |channels, [height, width]: [usize; 2]| Shape::Image(ImageShape { channels, height, width });
        match (*self, input) {
            (Self::Conv2d { in_channels, .. } | Self::ConvTranspose2d { in_channels, .. }, Shape::Image(i))
                if i.channels != in_channels =>
            {
                Err(format!("takes {in_channels} channels, gets {}", i.channels))
            }
            (Self::Conv2d { out_channels, kernel, stride, padding, .. }, Shape::Image(i)) => {
                Ok(image(out_channels, Window { kernel, stride, padding }.cells(i.sides())?))
            }
            (Self::ConvTranspose2d { out_channels, kernel, stride, padding, output_padding, .. }, Shape::Image(i)) => {
                if (0..2).any(|axis| output_padding[axis] >= stride[axis].max(1)) {
                    let (more, stride) = (Axes(output_padding), Axes(stride));
                    return Err(format!("output padding {more} is not less than the stride, {stride}"));
                }
                Ok(image(out_channels, Window { kernel, stride, padding }.pixels(i.sides(), output_padding)?))
            }
            (Self::Linear { in_features, out_features, .. }, Shape::Features(n)) => {
                if n == in_features {
                    Ok(Shape::Features(out_features))
                } else {
                    Err(format!("takes {in_features} features, gets {n}"))
                }
            }
            (Self::MaxPool { kernel, stride, padding }, Shape::Image(i)) => {
                let cells = Window { kernel, stride, padding }.cells(i.sides())?;
                // A window without a pixel has no greatest value.
                let sees = |axis: usize| {
                    let last = (cells[axis] - 1) * stride[axis];
                    padding.before()[axis] < kernel[axis] && last < i.sides()[axis] + padding.before()[axis]
                };
                if sees(0) && sees(1) {
                    Ok(image(i.channels, cells))
                } else {
                    Err(format!("padding {padding} makes windows that see nothing"))
                }
            }
            (Self::UpsampleNearest { factor: [vertical, horizontal] }, Shape::Image(i))
                if vertical * horizontal > 0 =>
            {
                Ok(image(i.channels, [i.height * vertical, i.width * horizontal]))
            }
            (Self::Flatten, Shape::Image(i)) => Ok(Shape::Features(i.size())),
            (Self::Unflatten { channels, height, width }, Shape::Features(n)) if n == channels * height * width => {
                Ok(image(channels, [height, width]))
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

    /// What slides over an image, for layers that have such a window.
    pub fn window(&self) -> Option<Window> {
        match *self {
            Self::Conv2d { kernel, stride, padding, .. }
            | Self::ConvTranspose2d { kernel, stride, padding, .. }
            | Self::MaxPool { kernel, stride, padding } => Some(Window { kernel, stride, padding }),
            Self::Linear { .. } | Self::UpsampleNearest { .. } | Self::Flatten | Self::Unflatten { .. } => None,
        }
    }

    /// The function applied to its outputs.
    pub fn activation(&self) -> Activation {
        match *self {
            Self::Conv2d { activation, .. }
            | Self::ConvTranspose2d { activation, .. }
            | Self::Linear { activation, .. } => activation,
            Self::MaxPool { .. } | Self::UpsampleNearest { .. } | Self::Flatten | Self::Unflatten { .. } => {
                Activation::Identity
            }
        }
    }

    /// The shapes of `weight` and `bias`, for layers that have them.
    pub fn parameters(&self) -> Option<(Vec<usize>, usize)> {
        match *self {
            Self::Conv2d { in_channels, out_channels, kernel, .. } => {
                Some((vec![out_channels, in_channels, kernel[0], kernel[1]], out_channels))
            }
            Self::ConvTranspose2d { in_channels, out_channels, kernel, .. } => {
                Some((vec![in_channels, out_channels, kernel[0], kernel[1]], out_channels))
            }
            Self::Linear { in_features, out_features, .. } => Some((vec![out_features, in_features], out_features)),
            Self::MaxPool { .. } | Self::UpsampleNearest { .. } | Self::Flatten | Self::Unflatten { .. } => None,
        }
    }
}
