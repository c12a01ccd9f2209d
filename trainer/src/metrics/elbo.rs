//! The two terms of the evidence lower bound, and what each latent does over the data.
//!
//! ```text
//! ELBO = E_q(z|x)[log p(x|z)] - KL(q(z|x) || N(0, I))        (Kingma & Welling 2014, arXiv 1312.6114, equation 3)
//! ```

use serde::{Deserialize, Serialize};

use super::codes::{BATCH, Codes, position, render};
use crate::{
    Result,
    data::Dataset,
    model::Autoencoder,
    rng::{Purpose, normals, stream},
};

/// A latent is active when its KL to the prior is at least this, nats (Kim & Mnih 2018, section 4).
pub const ACTIVE_KL: f32 = 0.01;

/// The terms of the bound and the latents' statistics over images drawn from the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentStatistics {
    /// Images that were drawn.
    pub images: usize,
    /// The seed that drew them.
    pub seed: u64,
    /// -log p(x|z) for one z drawn from q(z|x): Bernoulli, nats, summed over pixels, averaged over images.
    ///
    /// Computed from the decoder's bytes p/255, held in [0.5/255, 1 - 0.5/255], for f32 and int8 models alike, so that
    /// the two compare. A perfect reconstruction so costs 0.002 nats a pixel (8 for 64x64x1) where the training loss,
    /// made from logits, nears 0. None for a baseline, whose decoder is not measured.
    pub reconstruction: Option<f64>,
    /// KL of each latent's posterior to the prior, nats, averaged over images.
    pub kl: Vec<f32>,
    /// Average of each latent's posterior mean.
    pub mean: Vec<f32>,
    /// Standard deviation of each latent's posterior mean.
    pub std: Vec<f32>,
    /// First percentile of each latent's posterior mean.
    pub low: Vec<f32>,
    /// 99th percentile of each latent's posterior mean.
    pub high: Vec<f32>,
    /// The latents with a KL of at least [`ACTIVE_KL`], ascending.
    pub active: Vec<usize>,
}

impl LatentStatistics {
    /// KL of the whole posterior to the prior, nats, averaged over images.
    pub fn total_kl(&self) -> f64 {
        self.kl.iter().map(|&kl| f64::from(kl)).sum()
    }

    /// The evidence lower bound, nats, averaged over images; none without reconstruction.
    pub fn elbo(&self) -> Option<f64> {
        Some(-self.reconstruction? - self.total_kl())
    }

    /// Measures over the images `indices`, all in `codes`.
    pub(super) fn measure(codes: &Codes, indices: &[usize], seed: u64, reconstruction: Option<f64>) -> Self {
        let (mean, variance) = codes.moments(indices);
        let kl: Vec<f32> = codes.kl(indices).iter().map(|&kl| kl as f32).collect();
        let percentiles = |latent: usize| {
            let mut means: Vec<f32> = indices.iter().map(|&index| codes.mean(index)[latent]).collect();
            means.sort_unstable_by(f32::total_cmp);
            let at = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
            (at(0.01), at(0.99))
        };
        let (low, high) = (0..codes.latents()).map(percentiles).unzip();
        Self {
            images: indices.len(),
            seed,
            reconstruction,
            active: (0..kl.len()).filter(|&latent| kl[latent] >= ACTIVE_KL).collect(),
            kl,
            mean: mean.iter().map(|&mean| mean as f32).collect(),
            std: variance.iter().map(|variance| variance.sqrt() as f32).collect(),
            low,
            high,
        }
    }
}

/// [`LatentStatistics::reconstruction`] over the images `indices`, all in `codes`; `decoded` hears how many were decoded.
pub(super) fn reconstruction(
    model: &dyn Autoencoder,
    dataset: &dyn Dataset,
    codes: &Codes,
    indices: &[usize],
    seed: u64,
    decoded: &dyn Fn(u64),
) -> Result<f64> {
    let likelihood = Bernoulli::new();
    // One stream for all noise, read in the order of the images: the same numbers whatever the batch size.
    let mut noise = stream(seed, Purpose::Metric, position::NOISE);
    let (mut total, mut done) = (0.0, 0);
    for batch in indices.chunks(BATCH) {
        let mut latents = Vec::with_capacity(batch.len() * model.latents());
        for &index in batch {
            let noise = normals(&mut noise, model.latents());
            let posterior = codes.mean(index).iter().zip(codes.log_var(index));
            latents.extend(posterior.zip(noise).map(|((mean, log_var), noise)| mean + (0.5 * log_var).exp() * noise));
        }
        let (output, images) = rayon::join(|| model.decode(&latents), || render(dataset, batch));
        total += likelihood.loss(&images?, &output?);
        done += batch.len() as u64;
        decoded(done);
    }
    Ok(total / indices.len() as f64)
}

/// The cross entropy of a target byte under an output byte, from a table of logarithms.
struct Bernoulli {
    /// log p of each output byte p/255; log(1 - p) of byte b is that of 255 - b.
    log_p: Vec<f64>,
}

impl Bernoulli {
    fn new() -> Self {
        let log_p = |byte: u32| (f64::from(byte) / 255.0).clamp(0.5 / 255.0, 1.0 - 0.5 / 255.0).ln();
        Self { log_p: (0..256).map(log_p).collect() }
    }

    /// -Σ x·log p + (1 - x)·log(1 - p) over all pixels.
    fn loss(&self, targets: &[u8], outputs: &[u8]) -> f64 {
        let pixel = |(&target, &output): (&u8, &u8)| {
            let x = f64::from(target) / 255.0;
            x * self.log_p[usize::from(output)] + (1.0 - x) * self.log_p[usize::from(255 - output)]
        };
        -targets.iter().zip(outputs).map(pixel).sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::fake::{Coder, Grid};

    #[test]
    fn the_loss_is_the_bernoulli_cross_entropy() {
        let likelihood = Bernoulli::new();
        let expected = -(0.2f64.ln() + 0.8f64.ln());
        assert!((likelihood.loss(&[255, 0], &[51, 51]) - expected).abs() < 1e-12);
        // A perfect black image and its worst reconstruction: both finite.
        let floor = -(1.0f64 - 0.5 / 255.0).ln();
        assert!((likelihood.loss(&[0; 4096], &[0; 4096]) - 4096.0 * floor).abs() < 1e-9);
        assert!((likelihood.loss(&[255], &[0]) + (0.5f64 / 255.0).ln()).abs() < 1e-12);
    }

    #[test]
    fn each_latent_is_described() {
        let model = Coder::new(3, |pixels, z| {
            z[0] = f32::from(pixels[0]) - 2.0;
            z[2] = 0.1 * f32::from(pixels[2]);
        });
        let all: Vec<usize> = (0..1920).collect();
        let grid = Grid::new();
        let codes = Codes::encode(&model, &grid, all.clone(), &|_, _| {}).unwrap();
        let measure = |seed| {
            let reconstruction = reconstruction(&model, &grid, &codes, &all, seed, &|_| {}).unwrap();
            LatentStatistics::measure(&codes, &all, seed, Some(reconstruction))
        };
        let statistics = measure(1);
        assert_eq!(statistics.active, [0, 2]);
        assert!(statistics.mean[0].abs() < 1e-6 && (statistics.std[0] - 2f32.sqrt()).abs() < 1e-3);
        assert_eq!((statistics.low[0], statistics.high[0], statistics.high[2]), (-2.0, 2.0, 0.7));
        assert_eq!((statistics.kl[1], statistics.std[1]), (0.0, 0.0));
        let bound = -statistics.reconstruction.unwrap() - statistics.total_kl();
        assert_eq!(statistics.elbo(), Some(bound));
        assert_eq!(statistics, measure(1));
        assert_ne!(statistics.reconstruction, measure(2).reconstruction);
    }
}
