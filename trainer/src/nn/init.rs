//! Initial weights.

use candle_core::{Device, Tensor};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Result, model::Layer, rng};

/// How weights start; biases start at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// N(0, 2 / fan in), for ReLU networks (He et al. 2015).
    He,
    /// U(±√(6 / (fan in + fan out))) (Glorot & Bengio 2010); what TensorFlow and the large study started from.
    Glorot,
}

impl Init {
    /// A weight tensor of `shape` for `layer`.
    pub(super) fn weight(self, layer: &Layer, shape: &[usize], rng: &mut ChaCha8Rng) -> Result<Tensor> {
        let (fan_in, fan_out) = fans(layer);
        let n = shape.iter().product();
        let values: Vec<f32> = match self {
            Self::He => {
                let deviation = (2.0 / fan_in).sqrt();
                rng::normals(rng, n).into_iter().map(|v| v * deviation).collect()
            }
            Self::Glorot => {
                let limit = (6.0 / (fan_in + fan_out)).sqrt();
                (0..n).map(|_| rng.random_range(-limit..=limit)).collect()
            }
        };
        Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
    }
}

/// How many inputs an output sums over, and how many outputs an input reaches.
fn fans(layer: &Layer) -> (f32, f32) {
    // A strided window is crossed by kernel²/stride² of its positions.
    let area = |[height, width]: [usize; 2]| height * width;
    let taps = |kernel, stride| area(kernel) as f32 / area(stride) as f32;
    match *layer {
        Layer::Conv2d { in_channels, out_channels, kernel, stride, .. } => {
            ((in_channels * area(kernel)) as f32, out_channels as f32 * taps(kernel, stride))
        }
        Layer::ConvTranspose2d { in_channels, out_channels, kernel, stride, .. } => {
            (in_channels as f32 * taps(kernel, stride), (out_channels * area(kernel)) as f32)
        }
        Layer::Linear { in_features, out_features, .. } => (in_features as f32, out_features as f32),
        Layer::MaxPool { .. } | Layer::UpsampleNearest { .. } | Layer::Flatten | Layer::Unflatten { .. } => (1.0, 1.0),
    }
}
