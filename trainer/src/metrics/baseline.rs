//! Representations to measure against, none of them trained (Higgins et al. 2017, table 1): the pixels themselves, an
//! encoder as it is initialized, and the generative factors.
//!
//! They have no decoder worth measuring, so reconstruction is left out. Pixels and factors have no posterior either: its
//! variance is taken as 1, so that the KL is mean²/2 and prunes only what stays at 0.

use super::Metric;
use crate::{
    Error, Result,
    data::{Dataset, FactorInfo},
    model::{Autoencoder, ImageShape, Posterior},
};

/// The bytes of an image as its code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Identity {
    image: ImageShape,
    /// The byte that becomes 1.
    one: f32,
}

impl Identity {
    /// Baseline `raw-pixels`: each pixel of images of shape `image` is a latent, 0 to 1.
    pub fn raw_pixels(image: ImageShape) -> Self {
        Self { image, one: 255.0 }
    }

    /// Baseline `ground-truth`, for the images of [`FactorImages`]: each factor's value is a latent.
    pub fn ground_truth(images: &FactorImages) -> Self {
        Self { image: images.image(), one: 1.0 }
    }
}

impl Autoencoder for Identity {
    fn image(&self) -> ImageShape {
        self.image
    }

    fn latents(&self) -> usize {
        self.image.size()
    }

    fn encode(&self, images: &[u8]) -> Result<Posterior> {
        let mean = images.iter().map(|&byte| f32::from(byte) / self.one).collect();
        Ok(Posterior { mean, log_var: vec![0.0; images.len()] })
    }

    fn decode(&self, latents: &[f32]) -> Result<Vec<u8>> {
        Ok(latents.iter().map(|z| (z * self.one).round() as u8).collect())
    }
}

/// A data set whose images are rows of its factor values: what the ground truth "sees".
pub struct FactorImages<'a>(&'a dyn Dataset);

impl<'a> FactorImages<'a> {
    /// The factors of `dataset` in place of its images.
    ///
    /// # Errors
    /// It has no factors, or one with more values than a byte has.
    pub fn new(dataset: &'a dyn Dataset) -> Result<Self> {
        let name = dataset.name();
        if dataset.factors().is_empty() {
            return Err(Error::Unsupported(format!("{name} has no labels, which baseline ground-truth needs")));
        }
        match dataset.factors().iter().find(|factor| factor.size > 256) {
            Some(FactorInfo { name: factor, size }) => Err(Error::Unsupported(format!(
                "{name}: factor {factor} has {size} values; baseline ground-truth takes up to 256"
            ))),
            None => Ok(Self(dataset)),
        }
    }
}

impl Dataset for FactorImages<'_> {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn image(&self) -> ImageShape {
        ImageShape { channels: 1, height: 1, width: self.0.factors().len() }
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        for (pixel, value) in pixels.iter_mut().zip(self.0.factor_values(index)) {
            *pixel = value as u8;
        }
        Ok(())
    }

    fn is_grid(&self) -> bool {
        self.0.is_grid()
    }

    fn factors(&self) -> &[FactorInfo] {
        self.0.factors()
    }

    fn factor_values(&self, index: usize) -> Vec<usize> {
        self.0.factor_values(index)
    }

    fn index_of(&self, values: &[usize]) -> Option<usize> {
        self.0.index_of(values)
    }
}

/// Refuses metrics that thousands of latents would keep busy for hours or in gigabytes of codes.
///
/// # Errors
/// `latents` are more than [`MANY_LATENTS`] and one of `metrics` does not look at each latent by itself.
pub fn check_many_latents(latents: usize, metrics: &[Metric]) -> Result<()> {
    let refused = |metric: &&Metric| latents > MANY_LATENTS && !metric.takes_many_latents();
    match metrics.iter().find(refused) {
        None => Ok(()),
        Some(metric) => {
            let taken: Vec<&str> =
                Metric::ALL.iter().filter(|metric| metric.takes_many_latents()).map(|metric| metric.name()).collect();
            let expected = format!("some of {} for {latents} latents", taken.join(", "));
            Err(Error::setting("metrics", metric, &expected))
        }
    }
}

/// More latents than any architecture has.
pub const MANY_LATENTS: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{
        Options, evaluate,
        fake::{Grid, Unlabeled},
    };

    fn options(metrics: Vec<Metric>) -> Options {
        Options { samples: 500, pairs: 50, metrics, resamples: 0, reconstruct: false, ..Options::default() }
    }

    #[test]
    fn the_ground_truth_is_the_factors() {
        let grid = Grid::new();
        let images = FactorImages::new(&grid).unwrap();
        let model = Identity::ground_truth(&images);
        assert_eq!(
            model.encode(&images.batch(&[1919, 8]).unwrap()).unwrap().mean,
            [4.0, 5.0, 7.0, 7.0, 0.0, 0.0, 1.0, 0.0]
        );
        let evaluation = evaluate(&model, &images, &options(vec![Metric::Mig]), &|_, _| {}).unwrap();
        assert!(evaluation.score("mig", "study").unwrap().value > 0.98);
        assert_eq!((evaluation.statistics.reconstruction, &*evaluation.dataset), (None, "grid"));
        assert!(FactorImages::new(&Unlabeled(Grid::new())).is_err());
    }

    #[test]
    fn raw_pixels_are_codes_that_only_some_metrics_take() {
        let model = Identity::raw_pixels(Grid::new().image());
        assert_eq!(model.encode(&[255, 0, 51, 1]).unwrap().mean, [1.0, 0.0, 0.2, 1.0 / 255.0]);
        assert_eq!(model.decode(&model.encode(&[255, 0, 51, 1]).unwrap().mean).unwrap(), [255, 0, 51, 1]);
        check_many_latents(128, &Metric::ALL).unwrap();
        check_many_latents(4096, &[Metric::Mig]).unwrap();
        let error = check_many_latents(4096, &[Metric::Mig, Metric::GaussianTc]).unwrap_err().to_string();
        assert!(error.starts_with("metrics = gaussian-tc: expected some of mig") && error.contains("4096"), "{error}");
    }
}
