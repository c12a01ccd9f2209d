//! A data set of images of one size in a file.

use std::sync::OnceLock;

use super::{Dataset, FactorInfo, labels::Labels, spool::Pixels};
use crate::{Result, model::ImageShape};

/// Images in a file, with what is known of their factors.
pub(super) struct Stored {
    name: String,
    images: usize,
    image: ImageShape,
    pixels: Box<dyn Pixels>,
    labels: Labels,
    /// Whether no byte of all images is above 1: those are black and white.
    binary: OnceLock<bool>,
}

impl Stored {
    /// `images` of shape `image`; `labels` are of as many.
    pub(super) fn new(
        name: &str,
        images: usize,
        image: ImageShape,
        pixels: impl Pixels + 'static,
        labels: Labels,
    ) -> Self {
        Self { name: name.into(), images, image, pixels: Box::new(pixels), labels, binary: OnceLock::new() }
    }

    /// Reads images until one has a byte above 1: one or a few, or all if they are black and white.
    fn is_binary(&self) -> bool {
        *self.binary.get_or_init(|| {
            let mut pixels = vec![0; self.image.size()];
            // Images that cannot be read are told of when they are asked for.
            let mut dark =
                |index| self.pixels.read(index, &mut pixels).is_err() || pixels.iter().all(|&byte| byte <= 1);
            (0..self.images).all(&mut dark)
        })
    }
}

impl Dataset for Stored {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.images
    }

    fn image(&self) -> ImageShape {
        self.image
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        self.pixels.read(index, pixels)?;
        if self.is_binary() {
            pixels.iter_mut().for_each(|byte| *byte *= 255);
        }
        Ok(())
    }

    fn factors(&self) -> &[FactorInfo] {
        self.labels.factors()
    }

    fn is_grid(&self) -> bool {
        self.labels.is_grid()
    }

    fn factor_values(&self, index: usize) -> Vec<usize> {
        self.labels.values(index)
    }

    fn index_of(&self, values: &[usize]) -> Option<usize> {
        self.labels.index_of(values)
    }
}
