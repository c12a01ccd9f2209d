//! Codes beside the factor values of the images that they stand for: what a supervised metric is computed from.

use super::codes::Codes;
use crate::data::Dataset;

/// `n` codes with their labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Labeled {
    /// The codes' length.
    pub latents: usize,
    /// How many values each factor takes; the values are `0..size`.
    pub sizes: Vec<usize>,
    /// Posterior means, `(n, latents)`.
    pub codes: Vec<f32>,
    /// Factor values, `(n, factors)`.
    pub values: Vec<usize>,
}

impl Labeled {
    /// The images `indices` of `dataset`, all of them in `codes`; repeated where an index is.
    pub(super) fn gather(codes: &Codes, dataset: &dyn Dataset, indices: &[usize]) -> Self {
        Self {
            latents: codes.latents(),
            sizes: dataset.factors().iter().map(|factor| factor.size).collect(),
            codes: indices.iter().flat_map(|&index| codes.mean(index)).copied().collect(),
            values: indices.iter().flat_map(|&index| dataset.factor_values(index)).collect(),
        }
    }

    /// How many codes there are.
    pub fn len(&self) -> usize {
        self.codes.len() / self.latents.max(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// One latent of all codes, `(n)`.
    pub fn latent(&self, latent: usize) -> impl Iterator<Item = f32> + Clone + '_ {
        self.codes.iter().skip(latent).step_by(self.latents.max(1)).copied()
    }

    /// One factor of all codes, `(n)`.
    pub fn factor(&self, factor: usize) -> impl Iterator<Item = usize> + Clone + '_ {
        self.values.iter().skip(factor).step_by(self.sizes.len().max(1)).copied()
    }
}
