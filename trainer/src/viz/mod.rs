//! Pictures: image sheets, reconstructions beside their inputs, latent traversals as sheets and animations.
//!
//! Everything is made in memory, as pixels or as the bytes of a PNG or GIF, and comes out the same each time.

pub mod grid;
pub mod samples;
mod text;
pub mod traversal;

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

use crate::{Error, Result};

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
