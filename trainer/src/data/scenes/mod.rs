//! An object in a room: the factors of 3D Shapes (Burgess & Kim 2018, github.com/google-deepmind/3d-shapes) in rendered scenes.
//!
//! 480,000 RGB images of 64x64 in the order of that data set: floor hue, wall hue, object hue, scale, shape, orientation, with the
//! orientation fastest. It is *not* that data set: number, order and meaning of the factors are the same, room, camera, light and
//! colors are not, so scores on the one say nothing about the other. The bytes are the same on every machine.

mod room;
mod shape;

use std::sync::OnceLock;

use super::{Dataset, FactorInfo};
use crate::{Result, model::ImageShape};
use room::Shares;
use shape::Shape;

const SIDE: usize = 64;

static FACTORS: [FactorInfo; 6] = [
    FactorInfo::new("floor hue", 10),
    FactorInfo::new("wall hue", 10),
    FactorInfo::new("object hue", 10),
    FactorInfo::new("scale", 8),
    FactorInfo::new("shape", 4),
    FactorInfo::new("orientation", 15),
];

/// The images of one floor, wall and object hue: all that rays have to be cast for.
const VIEWS: usize = 8 * 4 * 15;

/// The scenes data set.
///
/// Each view of the room is cast when it is first asked for and kept (16 KiB each, 7.5 MiB in all); an image is a view whose floor,
/// wall and object are painted.
#[derive(Debug)]
pub struct Scenes {
    views: Vec<OnceLock<Box<[Shares]>>>,
}

impl Default for Scenes {
    fn default() -> Self {
        Self::new()
    }
}

impl Scenes {
    /// The data set; nothing is rendered before it is asked for.
    pub fn new() -> Self {
        Self { views: (0..VIEWS).map(|_| OnceLock::new()).collect() }
    }
}

/// A color of hue `value`/10 around the HSV circle, of a saturation that leaves room for shading.
fn color(value: usize) -> [u8; 3] {
    const SATURATION: f64 = 0.8;
    // Red, green and blue are at 0, 2 and 4 of 6; full within 1 of there, gone beyond 2.
    [0.0, 2.0, 4.0].map(|primary: f64| {
        let apart = (value as f64 * 0.6 - primary).abs();
        let full = (2.0 - apart.min(6.0 - apart)).clamp(0.0, 1.0);
        ((1.0 - SATURATION + SATURATION * full) * 255.0).round() as u8
    })
}

impl Dataset for Scenes {
    fn name(&self) -> &str {
        "scenes"
    }

    fn len(&self) -> usize {
        FACTORS.iter().map(|factor| factor.size).product()
    }

    fn image(&self) -> ImageShape {
        ImageShape { channels: 3, height: SIDE, width: SIDE }
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        let values = self.factor_values(index);
        let view = self.views[index % VIEWS].get_or_init(|| {
            let scale = 0.75 + 0.5 * values[3] as f64 / 7.0;
            let degrees = -30.0 + 60.0 * values[5] as f64 / 14.0;
            room::shares(Shape::new(values[4], scale), degrees)
        });
        let colors = [color(values[0]), color(values[1]), color(values[2]), [255; 3]].map(|color| color.map(u32::from));
        for (pixel, shares) in pixels.chunks_exact_mut(3).zip(view) {
            for (channel, byte) in pixel.iter_mut().enumerate() {
                let sum: u32 =
                    shares.iter().zip(&colors).map(|(&share, color)| u32::from(share) * color[channel]).sum();
                // Division by 255, rounded; exact for all sums below 65536.
                *byte = ((sum + 128 + ((sum + 128) >> 8)) >> 8).min(255) as u8;
            }
        }
        Ok(())
    }

    fn factors(&self) -> &[FactorInfo] {
        &FACTORS
    }
}
