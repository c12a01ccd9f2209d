//! The codes: what G makes an image of, and how well Q finds it again.

use std::f64::consts::{LN_2, TAU};

use candle_core::{D, Device, Tensor};
use rand::{Rng, RngExt};

use super::{CodeVariance, InfoOptions};
use crate::{
    Error, Result,
    rng::{self, Purpose},
};

/// The inputs of G, in this order: continuous codes from U(-1, 1), categorical codes as one-hot vectors, noise from U(-1, 1).
#[derive(Debug, Clone, Copy)]
pub struct Codes {
    /// Continuous codes.
    pub continuous: usize,
    /// Categorical codes.
    pub categorical: usize,
    /// Classes of each categorical code.
    pub classes: usize,
    /// Noise inputs.
    pub noise: usize,
    /// The variance of Q(c|x) for a continuous code.
    pub variance: CodeVariance,
}

impl Codes {
    /// Codes of `latents` dimensions: the categorical ones that `options` asks for, the rest continuous.
    ///
    /// # Errors
    /// There are not so many dimensions.
    pub fn new(options: &InfoOptions, latents: usize) -> Result<Self> {
        let &InfoOptions { noise_size: noise, categorical_codes, categorical_classes, code_variance, .. } = options;
        let one_hot = categorical_codes.checked_mul(categorical_classes);
        let Some(continuous) = one_hot.and_then(|one_hot| latents.checked_sub(one_hot)) else {
            let most = latents / categorical_classes.max(1);
            let expected = format!("at most {most}, each with {categorical_classes} of the {latents} latents");
            return Err(Error::setting("categorical_codes", categorical_codes, &expected));
        };
        let (categorical, classes) = (categorical_codes, categorical_classes);
        Ok(Self { continuous, categorical, classes, noise, variance: code_variance })
    }

    /// Dimensions of the codes.
    pub fn latents(&self) -> usize {
        self.continuous + self.categorical * self.classes
    }

    /// The dimensions of each categorical code.
    pub fn one_hot(&self) -> impl Iterator<Item = std::ops::Range<usize>> {
        let first = |code| self.continuous + code * self.classes;
        (0..self.categorical).map(move |code| first(code)..first(code + 1))
    }

    /// Inputs of `n` images `(N, latents + noise)`.
    pub fn draw(&self, n: usize, seed: u64, position: u64, device: &Device) -> Result<Tensor> {
        let mut rng = rng::stream(seed, Purpose::Codes, position);
        let mut values = Vec::with_capacity(n * (self.latents() + self.noise));
        for _ in 0..n {
            values.extend(uniform(&mut rng, self.continuous));
            for _ in 0..self.categorical {
                let class = rng.random_range(0..self.classes);
                values.extend((0..self.classes).map(|k| f32::from(u8::from(k == class))));
            }
            values.extend(uniform(&mut rng, self.noise));
        }
        Ok(Tensor::from_vec(values, (n, self.latents() + self.noise), device)?)
    }

    /// The noise that the exported generator makes all images of.
    pub fn deployed_noise(&self, seed: u64) -> Vec<f32> {
        uniform(&mut rng::stream(seed, Purpose::Codes, 0), self.noise).collect()
    }

    /// H(c), nats.
    pub fn entropy(&self) -> f64 {
        self.continuous as f64 * LN_2 + self.categorical as f64 * (self.classes as f64).ln()
    }

    /// -E log Q(c|x) in nats, of the `inputs` of generated images and `q (N, 2·latents)`, what Q says to the images.
    ///
    /// Continuous codes are Gaussian: means, and from number `latents` on the log-variances, where they are learned. Categorical
    /// ones are a softmax over their dimensions.
    pub fn cross_entropy(&self, q: &Tensor, inputs: &Tensor) -> Result<Tensor> {
        let mut sum = q.narrow(1, 0, 1)?.zeros_like()?.squeeze(1)?;
        if self.continuous > 0 {
            let squares = (inputs.narrow(1, 0, self.continuous)? - q.narrow(1, 0, self.continuous)?)?.sqr()?;
            let terms = match self.variance {
                CodeVariance::Fixed => squares,
                CodeVariance::Learned => {
                    let log_var = q.narrow(1, self.latents(), self.continuous)?;
                    (squares.mul(&log_var.neg()?.exp()?)? + log_var)?
                }
            };
            sum = (sum + ((terms + TAU.ln())?.sum(1)? * 0.5)?)?;
        }
        for dimensions in self.one_hot() {
            let (first, len) = (dimensions.start, dimensions.len());
            let log_q = candle_nn::ops::log_softmax(&q.narrow(1, first, len)?, D::Minus1)?;
            sum = (sum - log_q.mul(&inputs.narrow(1, first, len)?)?.sum(1)?)?;
        }
        Ok(sum.mean(0)?)
    }
}

fn uniform(rng: &mut impl Rng, n: usize) -> impl Iterator<Item = f32> {
    (0..n).map(|_| rng.random_range(-1.0..=1.0))
}
