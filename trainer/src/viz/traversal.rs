//! Latent traversals: one factor at a time swept over its useful range, all other latents held.

use gif::{Encoder, Frame, Repeat};
use image::RgbImage;

use super::{Grid, Labels, png, row};
use crate::{
    Error, Result,
    model::{Autoencoder, Factor, ImageShape},
};

/// Tiles side by side in a frame of the animation.
const GIF_COLUMNS: usize = 5;

/// Decoded images of each factor's sweep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traversal {
    /// The factors' names, one a row.
    names: Vec<String>,
    /// Values a row, from `low` to `high`.
    steps: usize,
    shape: ImageShape,
    /// Bytes `(factors, steps, H, W, C)`.
    images: Vec<u8>,
}

/// A neutral start for a traversal, `(latents)`: every latent of the table at its center, the others at 0.
pub fn center_code(factors: &[Factor], latents: usize) -> Vec<f32> {
    let mut code = vec![0.0; latents];
    for factor in factors {
        if let Some(latent) = code.get_mut(factor.latent) {
            *latent = factor.center;
        }
    }
    code
}

impl Traversal {
    /// Decodes `steps` values, equally far apart from low to high, of each of `factors` in the order given, around the
    /// code `base (latents)`.
    ///
    /// # Errors
    /// There are no factors, fewer than two steps, `base` has another length than the model's code, a factor's latent
    /// is not in it, or the model failed.
    pub fn decode(model: &dyn Autoencoder, factors: &[Factor], base: &[f32], steps: usize) -> Result<Self> {
        let latents = model.latents();
        if factors.is_empty() {
            return Err(Error::Unsupported("a traversal needs at least one active latent".into()));
        }
        if steps < 2 {
            return Err(Error::setting("steps", steps, "at least 2"));
        }
        if base.len() != latents {
            return Err(Error::setting("base", format!("{} values", base.len()), &format!("{latents} values")));
        }
        if let Some(factor) = factors.iter().find(|factor| factor.latent >= latents) {
            return Err(Error::setting("latent", factor.latent, &format!("under {latents}")));
        }
        let mut codes = Vec::with_capacity(factors.len() * steps * latents);
        for factor in factors {
            for step in 0..steps {
                let start = codes.len();
                codes.extend_from_slice(base);
                let share = step as f32 / (steps - 1) as f32;
                codes[start + factor.latent] = factor.low + share * (factor.high - factor.low);
            }
        }
        let names = factors.iter().map(|factor| factor.name.clone()).collect();
        Ok(Self { names, steps, shape: model.image(), images: model.decode(&codes)? })
    }

    /// Each factor's pictures side by side, from low to high, without anything between them.
    ///
    /// # Errors
    /// The images have other than 1 or 3 channels.
    pub fn rows(&self) -> Result<Vec<RgbImage>> {
        self.images.chunks(self.steps * self.shape.size()).map(|images| row(images, self.shape)).collect()
    }

    /// A sheet: a row for each factor with its name at the left, low to high from left to right.
    ///
    /// # Errors
    /// `upscale` is 0, or the sheet would be too large.
    pub fn sheet(&self, upscale: u32) -> Result<RgbImage> {
        let grid = Grid { labels: Labels::Rows(&self.names), ..Grid::new(self.steps, upscale) };
        grid.draw(&self.images, self.shape)
    }

    /// [`Self::sheet`] as the bytes of a PNG file.
    ///
    /// # Errors
    /// As [`Self::sheet`].
    pub fn png(&self, upscale: u32) -> Result<Vec<u8>> {
        png(&self.sheet(upscale)?)
    }

    /// An endless animation as the bytes of a GIF file: a tile for each factor under its name, all swept together from
    /// low to high and back; `delay` is the time of one step in hundredths of a second.
    ///
    /// Gray pictures are exact; in color each frame gets the 256 colors that suit it best.
    ///
    /// # Errors
    /// `upscale` is 0, or the frames would be too large.
    pub fn gif(&self, upscale: u32, delay: u16) -> Result<Vec<u8>> {
        let refused = |e: gif::EncodingError| Error::Unsupported(format!("GIF: {e}"));
        let frames = (0..self.steps).map(|step| self.frame(step, upscale)).collect::<Result<Vec<_>>>()?;
        let mut bytes = Vec::new();
        if let Some((width, height)) = frames.first().map(|frame| (frame.width, frame.height)) {
            let mut encoder = Encoder::new(&mut bytes, width, height, &[]).map_err(refused)?;
            encoder.set_repeat(Repeat::Infinite).map_err(refused)?;
            // The turning points are shown once.
            let there_and_back = frames.iter().chain(frames[1..self.steps - 1].iter().rev());
            for frame in there_and_back {
                encoder.write_frame(&Frame { delay, ..frame.clone() }).map_err(refused)?;
            }
        }
        Ok(bytes)
    }

    /// One step of the animation.
    fn frame(&self, step: usize, upscale: u32) -> Result<Frame<'static>> {
        let images = self.images.chunks_exact(self.shape.size()).skip(step).step_by(self.steps);
        let tiles: Vec<u8> = images.flatten().copied().collect();
        let columns = self.names.len().min(GIF_COLUMNS);
        let grid = Grid { labels: Labels::Tiles(&self.names), ..Grid::new(columns, upscale) };
        let picture = grid.draw(&tiles, self.shape)?;
        let side = |pixels: u32| u16::try_from(pixels).map_err(|_| Error::Unsupported(format!("GIF: {pixels} pixels")));
        Ok(Frame::from_rgb_speed(side(picture.width())?, side(picture.height())?, picture.as_raw(), 10))
    }
}

#[cfg(test)]
mod tests {
    use gif::{ColorOutput, DecodeOptions};

    use super::*;
    use crate::{model::Posterior, viz::grid::BACKGROUND};

    /// Three latents, 64x64 pixels: a bright square that latent 0 moves right, latent 1 down and latent 2 dims.
    struct Square {
        channels: usize,
    }

    impl Autoencoder for Square {
        fn image(&self) -> ImageShape {
            ImageShape { channels: self.channels, height: 64, width: 64 }
        }

        fn latents(&self) -> usize {
            3
        }

        fn encode(&self, _images: &[u8]) -> Result<Posterior> {
            Err(Error::Unsupported("not needed".into()))
        }

        fn decode(&self, latents: &[f32]) -> Result<Vec<u8>> {
            let mut pixels = Vec::new();
            for z in latents.chunks_exact(3) {
                let (x, y, light) = (32.0 + 10.0 * z[0], 32.0 + 10.0 * z[1], 200.0 - 50.0 * z[2]);
                for i in 0..64 * 64 {
                    let inside = ((i % 64) as f32 - x).abs() < 8.0 && ((i / 64) as f32 - y).abs() < 8.0;
                    let light = if inside { light as u8 } else { 0 };
                    pixels.extend((0..self.channels).map(|c| light.saturating_sub((30 * c * (i % 64) / 64) as u8)));
                }
            }
            Ok(pixels)
        }
    }

    fn factor(latent: usize, name: &str) -> Factor {
        Factor {
            latent,
            name: name.into(),
            low: -2.0,
            high: 1.0,
            center: 0.5,
            scale: 1.0,
            importance: 1.0,
            agreement: 1.0,
        }
    }

    fn traversal(channels: usize) -> Traversal {
        let factors = [factor(2, "brightness"), factor(0, "x-2")];
        Traversal::decode(&Square { channels }, &factors, &[0.5, 0.0, -1.0], 4).unwrap()
    }

    #[test]
    fn each_row_turns_one_latent_from_low_to_high() {
        let t = traversal(1);
        let image = |row: usize, step: usize| &t.images[(row * 4 + step) * 4096..][..4096];
        let square = Square { channels: 1 };
        assert_eq!(image(0, 0), square.decode(&[0.5, 0.0, -2.0]).unwrap());
        assert_eq!(image(0, 3), square.decode(&[0.5, 0.0, 1.0]).unwrap());
        assert_eq!(image(1, 1), square.decode(&[-1.0, 0.0, -1.0]).unwrap());
        let rows = t.rows().unwrap();
        assert_eq!((rows.len(), rows[1].dimensions()), (2, (4 * 64, 64)));
        assert_eq!(rows[1].get_pixel(64 + 22, 32).0[0], image(1, 1)[32 * 64 + 22]);
        assert_eq!(center_code(&[factor(2, "a"), factor(7, "b")], 4), [0.0, 0.0, 0.5, 0.0]);
    }

    #[test]
    fn the_png_decodes_to_the_sheet() {
        let bytes = traversal(3).png(2).unwrap();
        let picture = image::load_from_memory(&bytes).unwrap().into_rgb8();
        // Ten characters of 6 pixels at scale 2, four columns and two rows of 128 pixels.
        assert_eq!(picture.dimensions(), (120 + 4 + 2 + 4 * 130, 2 + 2 * 130));
        assert_eq!(picture, traversal(3).sheet(2).unwrap());
        assert_eq!(bytes, traversal(3).png(2).unwrap());
    }

    #[test]
    fn the_gif_goes_there_and_back_forever() {
        for channels in [1, 3] {
            let bytes = traversal(channels).gif(1, 7).unwrap();
            assert_eq!(bytes, traversal(channels).gif(1, 7).unwrap());
            let mut options = DecodeOptions::new();
            options.set_color_output(ColorOutput::RGBA);
            let mut decoder = options.read_info(bytes.as_slice()).unwrap();
            assert_eq!((decoder.width(), decoder.height()), (2 + 2 * 66, 2 + 64 + 10 + 4 + 2));
            let mut frames = Vec::new();
            while let Some(frame) = decoder.read_next_frame().unwrap() {
                assert_eq!(frame.delay, 7);
                frames.push(frame.buffer.to_vec());
            }
            assert_eq!(decoder.repeat(), Repeat::Infinite);
            assert_eq!(frames.len(), 6);
            assert_eq!((&frames[1], &frames[2]), (&frames[5], &frames[4]));
            assert_eq!(&frames[0][..3], &BACKGROUND.0);
            if channels == 1 {
                // Gray is exact: the middle of the first tile's square at z = -2 and z = 1.
                let middle = |frame: &[u8]| frame[4 * (134 * (16 + 32) + 2 + 37)];
                assert_eq!((middle(&frames[0]), middle(&frames[3])), (255, 150));
            }
        }
    }

    #[test]
    fn senseless_requests_are_refused() {
        let refused = |factors: &[Factor], base: &[f32], steps| {
            Traversal::decode(&Square { channels: 1 }, factors, base, steps).unwrap_err().to_string()
        };
        assert!(refused(&[], &[0.0; 3], 5).contains("active latent"));
        assert!(refused(&[factor(0, "x")], &[0.0; 3], 1).contains("steps = 1"));
        assert!(refused(&[factor(0, "x")], &[0.0; 2], 5).contains("3 values"));
        assert!(refused(&[factor(3, "x")], &[0.0; 3], 5).contains("latent = 3"));
        assert!(traversal(1).png(0).unwrap_err().to_string().contains("upscale"));
    }
}
