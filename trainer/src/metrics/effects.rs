//! How much of each latent's movement a factor accounts for: the total-effect index of variance-based sensitivity
//! analysis (Saltelli et al. 2010, Computer Physics Communications 181, table 2, Jansen's estimator).
//!
//! ```text
//! effect(latent z, factor k) = E[Var(z | all factors but k)] / Var(z) = E[(z(x) - z(x'))²] / (2·Var(z))
//! ```
//!
//! where x' is x with factor k alone drawn again. It answers the question of somebody at a slider, "what moves with
//! this latent?", also where a factor acts only together with another: a square's rotation means something else than
//! a heart's, so rotation alone explains little of a rotation latent on average, but changing it alone moves the latent
//! a lot. A latent's effects sum to 1 for a sum of functions of one factor each, to more where factors interact.

use rand::RngExt;

use super::codes::{Codes, position};
use crate::{
    data::Dataset,
    rng::{Purpose, stream},
};

/// Images, and for each factor the same images with this factor drawn again.
pub(super) struct Pairs {
    base: Vec<usize>,
    /// `(factors, base)`.
    changed: Vec<Vec<usize>>,
}

impl Pairs {
    /// `n` pairs for each factor of `dataset`, a full grid; no pairs of data that is none.
    pub fn draw(dataset: &dyn Dataset, n: usize, seed: u64) -> Self {
        let factors = dataset.factors();
        let mut rng = stream(seed, Purpose::Metric, position::EFFECTS);
        let mut pairs = Self { base: Vec::with_capacity(n), changed: vec![Vec::with_capacity(n); factors.len()] };
        for _ in 0..if dataset.is_grid() { n } else { 0 } {
            let index = rng.random_range(0..dataset.len());
            let values = dataset.factor_values(index);
            for (k, changed) in pairs.changed.iter_mut().enumerate() {
                let mut values = values.clone();
                values[k] = rng.random_range(0..factors[k].size);
                changed.extend(dataset.index_of(&values));
            }
            pairs.base.push(index);
        }
        pairs
    }

    /// The images that have to be encoded, with repetitions.
    pub fn images(&self) -> impl Iterator<Item = usize> + '_ {
        self.changed.iter().flatten().chain(&self.base).copied()
    }

    /// The effects `(latents, factors)`, 0 to 1; 0 for a latent that never moves. `codes` has all of [`Self::images`].
    pub fn effects(&self, codes: &Codes) -> Vec<Vec<f32>> {
        let latents = codes.latents();
        // The variance over both images of each pair wanders with the differences, which steadies their quotient.
        let variance: Vec<Vec<f64>> =
            self.changed.iter().map(|changed| codes.moments(&[self.base.as_slice(), changed].concat()).1).collect();
        let effect = |latent: usize, factor: usize| {
            let square = |(&a, &b): (&usize, &usize)| f64::from(codes.mean(a)[latent] - codes.mean(b)[latent]).powi(2);
            let sum: f64 = self.base.iter().zip(&self.changed[factor]).map(square).sum();
            let scale = 2.0 * variance[factor][latent] * self.base.len() as f64;
            if scale > 0.0 { (sum / scale).min(1.0) as f32 } else { 0.0 }
        };
        (0..latents).map(|latent| (0..self.changed.len()).map(|factor| effect(latent, factor)).collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fake::{Coder, Grid};

    #[test]
    fn effects_are_the_shares_of_the_variance() {
        let model = Coder::new(4, |pixels, z| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| f32::from(pixels[i]));
            z[0] = 5.0 * a;
            // Var(c) = Var(d): 4/5 and 1/5 of the variance.
            z[1] = 2.0 * c - d;
            // Neither factor moves it on average, both do together.
            z[2] = (a - 2.0) * (b - 2.5);
        });
        let grid = Grid::new();
        let pairs = Pairs::draw(&grid, 4000, 1);
        let codes = Codes::encode(&model, &grid, pairs.images().collect(), &|_, _| {}).unwrap();
        let effects = pairs.effects(&codes);
        let expected = [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.8, 0.2], [1.0, 1.0, 0.0, 0.0], [0.0; 4]];
        for (found, expected) in effects.iter().flatten().zip(expected.iter().flatten()) {
            assert!((found - expected).abs() < 0.06, "{effects:?}");
        }
    }
}
