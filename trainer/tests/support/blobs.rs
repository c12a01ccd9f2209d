//! Data for networks of any image size.

use rand::RngExt;
use unbraid_trainer::{
    Result,
    data::Dataset,
    model::ImageShape,
    rng::{self, Purpose},
};

/// Soft blobs of any size.
pub struct Blobs(pub ImageShape);

impl Dataset for Blobs {
    fn name(&self) -> &str {
        "blobs"
    }

    fn len(&self) -> usize {
        4096
    }

    fn image(&self) -> ImageShape {
        self.0
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        let ImageShape { channels, height, width } = self.0;
        let mut rng = rng::stream(index as u64, Purpose::Report, 1);
        let (y, x) = (rng.random_range(0.2..0.8) * height as f32, rng.random_range(0.2..0.8) * width as f32);
        let radius = rng.random_range(0.1..0.4) * height.min(width) as f32;
        let colors: Vec<f32> = (0..channels).map(|_| rng.random_range(60.0..255.0)).collect();
        for (i, pixel) in pixels.iter_mut().enumerate() {
            let (row, column, channel) = (i / channels / width, i / channels % width, i % channels);
            let distance = (row as f32 - y).hypot(column as f32 - x);
            *pixel = (colors[channel] / (1.0 + (distance - radius).exp())) as u8;
        }
        Ok(())
    }
}
