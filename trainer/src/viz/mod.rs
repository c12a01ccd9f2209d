//! Pictures: image sheets, reconstructions beside their inputs, latent traversals as sheets and animations.
//!
//! Everything is made in memory, as pixels or as the bytes of a PNG or GIF, and comes out the same each time.

pub mod grid;
pub mod preview;
pub mod samples;
mod text;
pub mod traversal;

use std::{io::Cursor, path::Path};

use image::{
    ExtendedColorType, ImageEncoder, ImageFormat, RgbImage,
    codecs::png::{CompressionType, FilterType, PngEncoder},
    imageops,
};

use crate::{Error, Result, model::ImageShape};

pub use grid::{Grid, Labels};
pub use traversal::Traversal;

/// The bytes of a PNG file.
///
/// # Errors
/// The encoder refuses the picture.
pub fn png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).map_err(|e| Error::Unsupported(format!("PNG: {e}")))?;
    Ok(bytes.into_inner())
}

/// As [`png`], as small as it gets: one channel where all pixels are gray.
///
/// # Errors
/// As [`png`].
pub fn small_png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let encoder = PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::Adaptive);
    let (width, height) = picture.dimensions();
    let written = if picture.pixels().all(|pixel| pixel.0 == [pixel[0]; 3]) {
        let gray: Vec<u8> = picture.pixels().map(|pixel| pixel[0]).collect();
        encoder.write_image(&gray, width, height, ExtendedColorType::L8)
    } else {
        encoder.write_image(picture.as_raw(), width, height, ExtendedColorType::Rgb8)
    };
    written.map_err(|e| Error::Unsupported(format!("PNG: {e}")))?;
    Ok(bytes)
}

/// Images `(N, H, W, C)`, C 1 or 3, side by side without anything between them.
///
/// # Errors
/// `images` is not a whole number of such images.
pub fn row(images: &[u8], shape: ImageShape) -> Result<RgbImage> {
    let (height, width) = (shape.height as u32, shape.width as u32);
    if !(images.len().is_multiple_of(shape.size()) && [1, 3].contains(&shape.channels)) {
        return Err(Error::Unsupported(format!("{} bytes: expected gray or RGB images of {shape:?}", images.len())));
    }
    let mut sheet = RgbImage::new(width * (images.len() / shape.size()) as u32, height);
    for (i, image) in images.chunks_exact(shape.size()).enumerate() {
        for (pixel, channels) in image.chunks_exact(shape.channels).enumerate() {
            let (x, y) = (i * shape.width + pixel % shape.width, pixel / shape.width);
            let rgb = if let &[r, g, b] = channels { [r, g, b] } else { [channels[0]; 3] };
            sheet.put_pixel(x as u32, y as u32, image::Rgb(rgb));
        }
    }
    Ok(sheet)
}

/// The images of a PNG that [`row`] drew, `(N, H, W, C)`.
///
/// # Errors
/// The file cannot be read, or is no row of such images.
pub fn read_row(path: &Path, shape: ImageShape) -> Result<Vec<u8>> {
    let expected = format!("a row of images of {shape:?}");
    let malformed = |found: String| Error::malformed(path, "picture", found, &expected);
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let sheet =
        image::load_from_memory_with_format(&bytes, ImageFormat::Png).map_err(|e| malformed(e.to_string()))?.to_rgb8();
    let (height, width) = (shape.height as u32, shape.width as u32);
    if sheet.height() != height || !sheet.width().is_multiple_of(width) {
        return Err(malformed(format!("{} x {} pixels", sheet.width(), sheet.height())));
    }
    let tiles = (0..sheet.width() / width).map(|i| imageops::crop_imm(&sheet, i * width, 0, width, height).to_image());
    Ok(tiles
        .flat_map(|tile| tile.pixels().flat_map(|p| p.0[..shape.channels.min(3)].to_vec()).collect::<Vec<_>>())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_hold_the_same_picture() {
        let gray = RgbImage::from_fn(40, 30, |x, y| image::Rgb([(x * y % 251) as u8; 3]));
        let mut colored = gray.clone();
        colored.put_pixel(3, 3, image::Rgb([1, 2, 3]));
        for picture in [gray, colored] {
            let (small, plain) = (small_png(&picture).unwrap(), png(&picture).unwrap());
            assert_eq!(image::load_from_memory(&small).unwrap().to_rgb8(), picture);
            assert!(small.len() < plain.len(), "{} {}", small.len(), plain.len());
        }
    }
}
