//! What quantization costs: int8 against f32 on images that neither training nor calibration saw.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    data::Dataset,
    model::Autoencoder,
    rng::{self, Purpose},
    viz::samples,
};

/// Held-out images that models are compared on where nobody says otherwise.
pub const COMPARED: usize = 1000;

/// The difference between two models on the same images; what a model without an encoder or without a decoder does not have is
/// left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Held-out images compared; for a decoder alone, latents drawn from the prior.
    pub images: usize,
    /// PSNR of the round trip (encode, decode the means), dB over all pixels; infinite where nothing differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psnr: Option<f64>,
    /// The greatest difference of a pixel of the round trip, of 255; without an encoder, of what the decoders make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_pixel: Option<u8>,
    /// PSNR of the decoders alone, both given the same latents: the f32 means, or those from the prior.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoder_psnr: Option<f64>,
    /// Median over images and active latents of |mean - mean'| in standard deviations of the latent's mean over the images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub median_mean_error: Option<f64>,
    /// The 99th percentile of the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_mean_error: Option<f64>,
}

impl Report {
    /// PSNR of the pictures that come out: of the round trip, or of the decoders where that is all there is.
    pub fn picture_psnr(&self) -> Option<f64> {
        self.psnr.or(self.decoder_psnr)
    }
}

/// Codes and pictures that go through the models together.
const BATCH: usize = 256;

/// Compares `int8` with `f32` on `images` held-out images drawn by `seed`, or, for a decoder alone, on as many latents from N(0, I).
///
/// # Errors
/// A model failed, or there is an encoder and no data.
pub fn compare(
    f32: &dyn Autoencoder,
    int8: &dyn Autoencoder,
    dataset: Option<&dyn Dataset>,
    images: usize,
    seed: u64,
) -> Result<Report> {
    if !f32.has_encoder() {
        return compare_decoders(f32, int8, images, seed);
    }
    let dataset = dataset.ok_or_else(|| Error::setting("dataset", "none", "images, to compare encoders on"))?;
    let chosen = samples::choose(dataset, images, seed);
    let (mut pixels, mut decoder_pixels) = (Difference::default(), Difference::default());
    let (mut means, mut int8_means) = (Vec::new(), Vec::new());
    for batch in chosen.chunks(BATCH) {
        let batch = dataset.batch(batch)?;
        let (a, b) = (f32.encode(&batch)?.mean, int8.encode(&batch)?.mean);
        if f32.has_decoder() {
            let expected = f32.decode(&a)?;
            pixels.add(&expected, &int8.decode(&b)?);
            decoder_pixels.add(&expected, &int8.decode(&a)?);
        }
        means.extend(a);
        int8_means.extend(b);
    }
    let errors = relative_errors(&means, &int8_means, f32.latents());
    let quantile = |share: f64| errors.get(((errors.len().max(1) - 1) as f64 * share) as usize).copied().unwrap_or(0.0);
    let of_encoders = Report {
        images: chosen.len(),
        median_mean_error: Some(quantile(0.5)),
        worst_mean_error: Some(quantile(0.99)),
        ..Report::default()
    };
    if !f32.has_decoder() {
        return Ok(of_encoders);
    }
    Ok(Report {
        psnr: Some(pixels.psnr()),
        worst_pixel: Some(pixels.worst),
        decoder_psnr: Some(decoder_pixels.psnr()),
        ..of_encoders
    })
}

fn compare_decoders(f32: &dyn Autoencoder, int8: &dyn Autoencoder, count: usize, seed: u64) -> Result<Report> {
    let latents = rng::normals(&mut rng::stream(seed, Purpose::Report, 0), count * f32.latents());
    let mut pixels = Difference::default();
    for batch in latents.chunks(BATCH * f32.latents()) {
        pixels.add(&f32.decode(batch)?, &int8.decode(batch)?);
    }
    let (decoder_psnr, worst_pixel) = (Some(pixels.psnr()), Some(pixels.worst));
    Ok(Report { images: count, decoder_psnr, worst_pixel, ..Report::default() })
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
        let Self { images, psnr, worst_pixel, decoder_psnr, median_mean_error, worst_mean_error } = self;
        let what = if median_mean_error.is_some() { "held-out images" } else { "latents drawn from the prior" };
        write!(f, "int8 against f32 on {images} {what}")?;
        if let Some(psnr) = psnr {
            write!(f, "\nround trip     PSNR {psnr:.2} dB")?;
            worst_pixel.iter().try_for_each(|worst| write!(f, ", worst pixel off by {worst} of 255"))?;
        }
        if let Some(psnr) = decoder_psnr {
            write!(f, "\ndecoder alone  PSNR {psnr:.2} dB")?;
            let worst = worst_pixel.filter(|_| self.psnr.is_none());
            worst.iter().try_for_each(|worst| write!(f, ", worst pixel off by {worst} of 255"))?;
        }
        if let (Some(median), Some(worst)) = (median_mean_error, worst_mean_error) {
            write!(f, "\nmeans          off by {median:.4} standard deviations (median), {worst:.4} (99 %)")?;
        }
        Ok(())
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
