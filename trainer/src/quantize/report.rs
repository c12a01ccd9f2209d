//! What quantization costs: int8 against f32 on images that neither training nor calibration saw.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Result, data::Dataset, model::Autoencoder, viz::samples};

/// Held-out images that models are compared on where nobody says otherwise.
pub const COMPARED: usize = 1000;

/// The difference between two models on the same images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Held-out images compared.
    pub images: usize,
    /// PSNR of the round trip (encode, decode the means), dB over all pixels; infinite where nothing differs.
    pub psnr: f64,
    /// The greatest difference of a pixel, of 255.
    pub worst_pixel: u8,
    /// PSNR of the decoders alone, both given the f32 means.
    pub decoder_psnr: f64,
    /// Median over images and active latents of |mean - mean'| in standard deviations of the latent's mean over the images.
    pub median_mean_error: f64,
    /// The 99th percentile of the same.
    pub worst_mean_error: f64,
}

/// Compares `int8` with `f32` on `images` held-out images drawn by `seed`.
///
/// # Errors
/// A model failed.
pub fn compare(
    f32: &dyn Autoencoder,
    int8: &dyn Autoencoder,
    dataset: &dyn Dataset,
    images: usize,
    seed: u64,
) -> Result<Report> {
    let chosen = samples::choose(dataset, images, seed);
    let (mut pixels, mut decoder_pixels) = (Difference::default(), Difference::default());
    let (mut means, mut int8_means) = (Vec::new(), Vec::new());
    for batch in chosen.chunks(256) {
        let batch = dataset.batch(batch);
        let (a, b) = (f32.encode(&batch)?.mean, int8.encode(&batch)?.mean);
        let expected = f32.decode(&a)?;
        pixels.add(&expected, &int8.decode(&b)?);
        decoder_pixels.add(&expected, &int8.decode(&a)?);
        means.extend(a);
        int8_means.extend(b);
    }
    let errors = relative_errors(&means, &int8_means, f32.latents());
    let quantile = |share: f64| errors.get(((errors.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0);
    Ok(Report {
        images: chosen.len(),
        psnr: pixels.psnr(),
        worst_pixel: pixels.worst,
        decoder_psnr: decoder_pixels.psnr(),
        median_mean_error: quantile(0.5),
        worst_mean_error: quantile(0.99),
    })
}

/// |a - b| of each latent over the standard deviation of a, sorted; latents that do not vary are left out.
fn relative_errors(a: &[f32], b: &[f32], latents: usize) -> Vec<f64> {
    let n = (a.len() / latents).max(1) as f64;
    let mut errors = Vec::new();
    for latent in 0..latents {
        let column =
            |values: &[f32]| -> Vec<f64> { values.iter().skip(latent).step_by(latents).map(|&v| v.into()).collect() };
        let (a, b) = (column(a), column(b));
        let mean = a.iter().sum::<f64>() / n;
        let deviation = (a.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        // The study's threshold for an active latent (FactorVAE score, Locatello et al. 2019).
        if deviation >= 0.05 {
            errors.extend(a.iter().zip(&b).map(|(a, b)| (a - b).abs() / deviation));
        }
    }
    errors.sort_unstable_by(f64::total_cmp);
    errors
}

/// Squared and greatest difference between pixels.
#[derive(Default)]
struct Difference {
    squares: f64,
    pixels: u64,
    worst: u8,
}

impl Difference {
    fn add(&mut self, a: &[u8], b: &[u8]) {
        for (&a, &b) in a.iter().zip(b) {
            let difference = a.abs_diff(b);
            self.squares += f64::from(difference).powi(2);
            self.pixels += 1;
            self.worst = self.worst.max(difference);
        }
    }

    /// 10·log10(255² / mean squared error).
    fn psnr(&self) -> f64 {
        10.0 * (255.0 * 255.0 * self.pixels as f64 / self.squares).log10()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "int8 against f32 on {} held-out images", self.images)?;
        writeln!(f, "round trip     PSNR {:.2} dB, worst pixel off by {} of 255", self.psnr, self.worst_pixel)?;
        writeln!(f, "decoder alone  PSNR {:.2} dB", self.decoder_psnr)?;
        write!(
            f,
            "means          off by {:.4} standard deviations (median), {:.4} (99 %)",
            self.median_mean_error, self.worst_mean_error
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psnr_and_worst_pixel_are_those_of_the_definition() {
        let mut difference = Difference::default();
        difference.add(&[10, 20, 30, 40], &[10, 20, 30, 50]);
        assert_eq!(difference.worst, 10);
        assert!((difference.psnr() - 10.0 * (255.0_f64.powi(2) / 25.0).log10()).abs() < 1e-9);
        assert_eq!(Difference { pixels: 1, ..Difference::default() }.psnr(), f64::INFINITY);
    }

    #[test]
    fn mean_errors_are_in_standard_deviations_of_latents_that_vary() {
        // Latent 0 is ±1 (deviation 1) and off by 0.1; latent 1 does not vary.
        let (a, b) = ([1.0, 0.0, -1.0, 0.0], [1.1, 5.0, -1.1, 5.0]);
        let errors = relative_errors(&a, &b, 2);
        assert_eq!(errors.len(), 2);
        assert!(errors.iter().all(|e| (e - 0.1).abs() < 1e-6));
    }
}
