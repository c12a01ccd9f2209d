//! A small labeled data set and hand-made representations for the tests.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    codes::{draw_indices, position, render},
    labeled::Labeled,
};
use crate::{
    Result,
    data::{Dataset, FactorInfo},
    model::{Autoencoder, ImageShape, Posterior},
};

const SHAPE: ImageShape = ImageShape { channels: 1, height: 2, width: 2 };

/// Four factors, 1,920 images of 2x2 pixels; pixel i is the value of factor i.
pub struct Grid {
    factors: Vec<FactorInfo>,
}

impl Grid {
    pub fn new() -> Self {
        let factor = |name, size| FactorInfo::new(name, size);
        Self { factors: vec![factor("kind", 5), factor("size", 6), factor("x", 8), factor("y", 8)] }
    }
}

impl Dataset for Grid {
    fn name(&self) -> &str {
        "grid"
    }

    fn len(&self) -> usize {
        1920
    }

    fn image(&self) -> ImageShape {
        SHAPE
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        for (pixel, value) in pixels.iter_mut().zip(self.factor_values(index)) {
            *pixel = value as u8;
        }
        Ok(())
    }

    fn factors(&self) -> &[FactorInfo] {
        &self.factors
    }
}

/// [`Grid`] without its labels.
pub struct Unlabeled(pub Grid);

impl Dataset for Unlabeled {
    fn name(&self) -> &str {
        "unlabeled"
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn image(&self) -> ImageShape {
        SHAPE
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        self.0.render(index, pixels)
    }
}

/// A representation given by a function of the pixels; log-variances are -2, and 0 where the mean is 0.
pub struct Coder {
    latents: usize,
    code: fn(&[u8], &mut [f32]),
    largest_batch: AtomicUsize,
}

impl Coder {
    pub fn new(latents: usize, code: fn(&[u8], &mut [f32])) -> Self {
        Self { latents, code, largest_batch: AtomicUsize::new(0) }
    }

    /// Four latents, the factors on scales of their own.
    pub fn ground_truth() -> Self {
        Self::new(4, |pixels, z| {
            for (i, (z, &pixel)) in z.iter_mut().zip(pixels).enumerate() {
                *z = [3.0, -0.5, 0.25, 1.0][i] * f32::from(pixel);
            }
        })
    }

    /// Four latents; two pairs of factors turned by 45 degrees, after scaling them to a like spread.
    pub fn rotated() -> Self {
        Self::new(4, |pixels, z| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| f32::from(pixels[i]));
            (z[0], z[1]) = (1.2 * a + b, 1.2 * a - b);
            (z[2], z[3]) = (c + d, c - d);
        })
    }

    /// Means that have nothing to do with the factors.
    pub fn noise() -> Self {
        Self::new(4, |pixels, z| {
            let mut state = pixels.iter().fold(17u64, |state, &pixel| state * 131 + u64::from(pixel));
            for z in z {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // The state alone is close to linear in the pixels.
                let mixed = (state ^ state >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                *z = (mixed >> 40) as f32 / (1 << 24) as f32 - 0.5;
            }
        })
    }

    pub fn largest_batch(&self) -> usize {
        self.largest_batch.load(Ordering::Relaxed)
    }
}

/// The codes of `n` images of [`Grid`].
pub fn labeled(model: &Coder, n: usize, seed: u64) -> Labeled {
    let grid = Grid::new();
    let indices = draw_indices(&grid, n, seed, position::STATISTICS);
    Labeled {
        latents: model.latents,
        sizes: grid.factors().iter().map(|factor| factor.size).collect(),
        codes: model.encode(&render(&grid, &indices).unwrap()).unwrap().mean,
        values: indices.iter().flat_map(|&index| grid.factor_values(index)).collect(),
    }
}

impl Autoencoder for Coder {
    fn image(&self) -> ImageShape {
        SHAPE
    }

    fn latents(&self) -> usize {
        self.latents
    }

    fn encode(&self, images: &[u8]) -> Result<Posterior> {
        let n = images.len() / SHAPE.size();
        self.largest_batch.fetch_max(n, Ordering::Relaxed);
        let mut mean = vec![0.0; n * self.latents];
        for (z, pixels) in mean.chunks_exact_mut(self.latents).zip(images.chunks_exact(SHAPE.size())) {
            (self.code)(pixels, z);
        }
        let log_var = mean.iter().map(|&z| if z == 0.0 { 0.0 } else { -2.0 }).collect();
        Ok(Posterior { mean, log_var })
    }

    fn decode(&self, latents: &[f32]) -> Result<Vec<u8>> {
        let pixels = |z: &[f32]| (0..SHAPE.size()).map(|i| z.get(i).map_or(0, |&z| z as u8)).collect::<Vec<u8>>();
        Ok(latents.chunks_exact(self.latents).flat_map(pixels).collect())
    }
}
