//! What a foreign network means by its pixels: their range, and the order of channels, rows and columns.

use std::{fmt, str::FromStr};

use super::array::Array;
use crate::{Error, model::ImageShape};

/// The numbers that stand for pixels, black 0 to white 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Pixels {
    /// From black to white.
    Range {
        /// Black.
        low: f32,
        /// White.
        high: f32,
    },
    /// (pixel - mean) / std, channel by channel or all alike.
    Normalized {
        /// Means.
        mean: Vec<f32>,
        /// Standard deviations.
        std: Vec<f32>,
    },
}

impl Default for Pixels {
    fn default() -> Self {
        Self::Range { low: 0.0, high: 1.0 }
    }
}

impl Pixels {
    /// What a pixel of `channel` is multiplied with, and what is added, to be fed.
    pub fn factor(&self, channel: usize) -> (f32, f32) {
        match self {
            Self::Range { low, high } => (high - low, *low),
            Self::Normalized { mean, std } => {
                let of = |values: &[f32]| values.get(channel).or(values.first()).copied().unwrap_or_default();
                (1.0 / of(std), -of(mean) / of(std))
            }
        }
    }

    /// The inverse of [`Self::factor`].
    pub fn inverse(&self, channel: usize) -> (f32, f32) {
        let (scale, offset) = self.factor(channel);
        (1.0 / scale, -offset / scale)
    }

    /// Refuses numbers that no image of `channels` has.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(&self, channels: usize) -> Result<(), Error> {
        let fits = match self {
            Self::Range { low, high } => low.is_finite() && high.is_finite() && low != high,
            Self::Normalized { mean, std } => {
                let count = |n: usize| n == 1 || n == channels;
                let finite = mean.iter().chain(std).all(|v| v.is_finite()) && std.iter().all(|&v| v > 0.0);
                count(mean.len()) && count(std.len()) && finite
            }
        };
        let expected = format!("LOW..HIGH, as in -1..1, or one mean and one std above 0, or {channels} of each");
        if fits { Ok(()) } else { Err(Error::setting("pixels", self, &expected)) }
    }
}

impl FromStr for Pixels {
    type Err = String;

    /// `-1..1`.
    fn from_str(text: &str) -> Result<Self, String> {
        let bounds = text.split_once("..").and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)));
        let (low, high) = bounds.ok_or_else(|| format!("{text:?} is no range; expected LOW..HIGH, as in -1..1"))?;
        Ok(Self::Range { low, high })
    }
}

impl fmt::Display for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range { low, high } => write!(f, "{low}..{high}"),
            Self::Normalized { mean, std } => write!(f, "mean {mean:?}, std {std:?}"),
        }
    }
}

/// Reads `32x32x3`, rows, columns and channels.
///
/// # Errors
/// It is something else.
pub fn image_shape(text: &str) -> Result<ImageShape, String> {
    let sizes: Option<Vec<usize>> = text.split('x').map(|size| size.parse().ok().filter(|&n| n > 0)).collect();
    match sizes.as_deref() {
        Some(&[height, width, channels]) => Ok(ImageShape { channels, height, width }),
        Some(&[height, width]) => Ok(ImageShape { channels: 1, height, width }),
        _ => Err(format!("{text:?} is no image; expected HEIGHTxWIDTHxCHANNELS, as in 64x64x3")),
    }
}

/// An image as a network has it: its shape, and for each element the position in `(C, H, W)` order.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    /// The image.
    pub image: ImageShape,
    /// Positions, in the network's own shape for a batch of one.
    pub order: Array<usize>,
}

impl Layout {
    /// How a value of `shape`, whose first size is the batch of one, holds an image: `(1, C, H, W)` or `(1, H, W, C)`, told apart by
    /// which of the two counts channels (1 to 4) if `channels_last` does not say; `(1, H, W)`; or, where `image` is known, flat.
    ///
    /// # Errors
    /// It holds none, or not `image`.
    pub fn of(shape: &[usize], image: Option<ImageShape>, channels_last: Option<bool>) -> Result<Self, String> {
        let counts = |n: usize| (1..=4).contains(&n);
        let flat = |image: ImageShape| {
            let last = channels_last.unwrap_or(false);
            (image, if last { vec![image.height, image.width, image.channels] } else { Vec::new() })
        };
        let (found, hwc) = match *shape {
            [1, a, b, c] => {
                let last = channels_last.unwrap_or(!counts(a) && counts(c));
                if last {
                    (ImageShape { channels: c, height: a, width: b }, vec![a, b, c])
                } else {
                    (ImageShape { channels: a, height: b, width: c }, Vec::new())
                }
            }
            [1, n] => match image.filter(|image| image.size() == n) {
                Some(image) => flat(image),
                None => {
                    return Err(format!("{n} numbers without rows and columns; say which, as in --image 28x28x1"));
                }
            },
            [1, height, width] => (ImageShape { channels: 1, height, width }, Vec::new()),
            _ => return Err(format!("shape {shape:?}, expected an image")),
        };
        if let Some(image) = image.filter(|image| *image != found) {
            return Err(format!("an image of {found}, expected {image}"));
        }
        let chw = Array::new(vec![found.channels, found.height, found.width], (0..found.size()).collect())?;
        let order = if hwc.is_empty() { chw } else { chw.transpose(&[1, 2, 0])? };
        Ok(Self { image: found, order: order.reshape(shape.to_vec())? })
    }
}
