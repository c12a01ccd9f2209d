//! PNG pictures in and out, as the `(H, W, C)` bytes of a model's image.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::codecs::png::PngEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, RgbaImage};
use unbraid::ImageShape;

use super::tell;

/// A picture to encode.
#[derive(clap::Args)]
pub struct PictureInput {
    /// The picture, a PNG
    #[arg(value_name = "PHOTO")]
    photo: PathBuf,
    #[command(flatten)]
    fit: Fit,
}

impl PictureInput {
    /// [`Fit::read`] of the picture.
    pub fn read(&self, shape: ImageShape) -> Result<Vec<u8>> {
        self.fit.read(&self.photo, shape)
    }
}

/// What may be done to a picture that the model does not take as it is.
#[derive(clap::Args)]
pub struct Fit {
    /// Convert a picture that does not fit: stretch it to the model's size, drop colors, depth or transparency (over black)
    #[arg(long)]
    pub resize: bool,
}

impl Fit {
    /// Reads a picture for a model of image shape `shape`.
    ///
    /// What loses nothing is done silently: gray stored as RGB becomes gray, opaque RGBA becomes RGB. Anything that loses
    /// something needs `--resize`, and is said.
    pub fn read(&self, path: &Path, shape: ImageShape) -> Result<Vec<u8>> {
        let name = path.display();
        let file = BufReader::new(File::open(path).with_context(|| name.to_string())?);
        let refused = || format!("{name}: not a PNG picture that can be read");
        // The reader's default limits hold: a picture that claims to be huge is refused before memory is taken.
        let decoder = ImageReader::with_format(file, ImageFormat::Png).into_decoder().with_context(refused)?;
        let (width, height) = decoder.dimensions();
        let size = (shape.width as u32, shape.height as u32);
        let mut changes = Vec::new();
        if (width, height) != size {
            changes.push(format!("{width}x{height} pixels, the model takes {}x{}", shape.width, shape.height));
            if !self.resize {
                bail!("{name}: {}; --resize stretches it", changes.join(""));
            }
        }
        let picture = DynamicImage::from_decoder(decoder).with_context(refused)?;
        let losses = losses(&picture, shape.channels);
        if !losses.is_empty() && !self.resize {
            bail!("{name}: {}, the model takes {}; --resize converts it", losses.join(" and "), kind(shape.channels));
        }
        if !losses.is_empty() {
            changes.push(format!("{}, the model takes {}", losses.join(" and "), kind(shape.channels)));
        }
        if !changes.is_empty() {
            tell(format_args!("note: {name}: converted ({})", changes.join("; ")));
        }

        let mut picture = picture.into_rgba8();
        if !has_alpha(shape.channels) {
            lay_on_black(&mut picture);
        }
        if (width, height) != size {
            picture = imageops::resize(&picture, size.0, size.1, FilterType::CatmullRom);
        }
        Ok(picture.pixels().flat_map(|pixel| channels(pixel.0, shape.channels)).collect())
    }
}

/// A picture's PNG file.
pub fn png(shape: ImageShape, pixels: &[u8]) -> Result<Vec<u8>> {
    let color = match shape.channels {
        1 => ExtendedColorType::L8,
        2 => ExtendedColorType::La8,
        3 => ExtendedColorType::Rgb8,
        _ => ExtendedColorType::Rgba8,
    };
    let mut bytes = Cursor::new(Vec::new());
    PngEncoder::new(&mut bytes).write_image(pixels, shape.width as u32, shape.height as u32, color)?;
    Ok(bytes.into_inner())
}

/// What a picture has that `channels` channels of 8 bits cannot hold.
fn losses(picture: &DynamicImage, channels: usize) -> Vec<&'static str> {
    let color = picture.color();
    let mut losses = Vec::new();
    if color.bytes_per_pixel() > color.channel_count() {
        losses.push("16 bits a channel");
    }
    let rgba = picture.to_rgba8();
    if channels < 3 && rgba.pixels().any(|pixel| matches!(pixel.0, [r, g, b, _] if r != g || g != b)) {
        losses.push("colors");
    }
    if !has_alpha(channels) && rgba.pixels().any(|pixel| matches!(pixel.0, [.., alpha] if alpha != 255)) {
        losses.push("transparency");
    }
    losses
}

fn kind(channels: usize) -> &'static str {
    match channels {
        1 => "8-bit gray",
        2 => "8-bit gray with transparency",
        3 => "8-bit RGB",
        _ => "8-bit RGBA",
    }
}

fn has_alpha(channels: usize) -> bool {
    matches!(channels, 2 | 4)
}

fn lay_on_black(picture: &mut RgbaImage) {
    for pixel in picture.pixels_mut() {
        let [r, g, b, alpha] = pixel.0.map(u32::from);
        let [r, g, b] = [r, g, b].map(|value| ((value * alpha + 127) / 255) as u8);
        pixel.0 = [r, g, b, 255];
    }
}

/// A pixel as so many channels.
fn channels([r, g, b, alpha]: [u8; 4], channels: usize) -> impl Iterator<Item = u8> {
    // Rec. 709 luma, in 1/10000; gray stays what it is.
    let luma = ((2126 * u32::from(r) + 7152 * u32::from(g) + 722 * u32::from(b) + 5000) / 10_000) as u8;
    let pixel = if channels < 3 { [luma, alpha, 0, 0] } else { [r, g, b, alpha] };
    pixel.into_iter().take(channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_channels() {
        let of = |pixel, count| channels(pixel, count).collect::<Vec<_>>();
        assert!((0..=255).all(|gray| of([gray, gray, gray, 255], 1) == [gray]));
        assert_eq!(of([255, 0, 0, 7], 1), [54]);
        assert_eq!(of([255, 0, 0, 7], 2), [54, 7]);
        assert_eq!(of([1, 2, 3, 7], 3), [1, 2, 3]);
        assert_eq!(of([1, 2, 3, 7], 4), [1, 2, 3, 7]);
    }

    #[test]
    fn transparent_is_black() {
        let mut picture = RgbaImage::from_raw(2, 1, vec![200, 100, 50, 0, 200, 100, 50, 128]).unwrap();
        lay_on_black(&mut picture);
        assert_eq!(picture.into_raw(), [0, 0, 0, 255, 100, 50, 25, 255]);
    }

    #[test]
    fn losses_are_named() {
        let rgba = |pixel: [u8; 4]| DynamicImage::ImageRgba8(RgbaImage::from_raw(1, 1, pixel.to_vec()).unwrap());
        assert!(losses(&rgba([9, 9, 9, 255]), 1).is_empty());
        assert_eq!(losses(&rgba([9, 8, 9, 1]), 1), ["colors", "transparency"]);
        assert_eq!(losses(&rgba([9, 8, 9, 1]), 3), ["transparency"]);
        assert!(losses(&rgba([9, 8, 9, 1]), 4).is_empty());
        assert_eq!(losses(&DynamicImage::new_luma16(1, 1), 1), ["16 bits a channel"]);
    }
}
