//! How pictures become images of one size: cropped, resized, gray.

use std::{fmt, str::FromStr};

use clap::{Args, ValueEnum};
use image::{DynamicImage, GrayImage, RgbImage, imageops::FilterType};

use super::{Dataset, FactorInfo};
use crate::{Error, Result, model::ImageShape};

/// Height and width in pixels; one number for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let side = |text: &str| text.parse().ok().filter(|side| (1..=4096).contains(side));
        let size = match text.split_once('x') {
            Some((height, width)) => side(height).zip(side(width)),
            None => side(text).map(|side| (side, side)),
        };
        let (height, width) = size.ok_or("expected a side or HEIGHTxWIDTH, 1 to 4096 each")?;
        Ok(Self { height, width })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { height, width } = self;
        if height == width { write!(f, "{height}") } else { write!(f, "{height}x{width}") }
    }
}

/// What becomes of a picture that has not the proportions of its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Fit {
    /// What sticks out on both sides is cut off.
    #[default]
    Cut,
    /// It is stretched.
    Stretch,
}

/// How pictures become images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Args)]
pub struct PictureOptions {
    /// Height and width of the images, as in 64 or 48x64; pictures are resized to it.
    #[arg(long)]
    pub size: Option<Size>,
    /// Part in the middle of each picture that is taken, before it is resized, as in 148 or 120x160 (height x width).
    #[arg(long)]
    pub crop: Option<Size>,
    /// What becomes of pictures of other proportions than the size's.
    #[arg(long, value_enum, default_value_t = Fit::Cut)]
    pub fit: Fit,
    /// Make color pictures gray.
    #[arg(long)]
    pub gray: bool,
}

impl PictureOptions {
    /// The image that becomes of a picture, bytes `(H, W, C)`, and its shape; 1 channel for gray pictures and with
    /// [`Self::gray`], else 3. What is transparent is not looked at.
    pub(super) fn apply(&self, mut picture: DynamicImage) -> Result<(ImageShape, Vec<u8>)> {
        if let Some(crop) = self.crop {
            picture = cut(&picture, crop)?;
        }
        if let Some(size) = self.size {
            let (height, width) = (size.height as u32, size.width as u32);
            if self.fit == Fit::Cut {
                picture = cut(&picture, widest(&picture, size))?;
            }
            if (picture.height(), picture.width()) != (height, width) {
                // Averages where it shrinks; only multiplications and additions, the same everywhere.
                picture = picture.resize_exact(width, height, FilterType::Triangle);
            }
        }
        let (height, width) = (picture.height() as usize, picture.width() as usize);
        let shape = |channels| ImageShape { channels, height, width };
        Ok(match picture {
            DynamicImage::ImageLuma8(gray) => (shape(1), gray.into_raw()),
            other if self.gray => (shape(1), other.into_luma8().into_raw()),
            other => (shape(3), other.into_rgb8().into_raw()),
        })
    }
}

/// The largest part with the proportions of `size`.
fn widest(picture: &DynamicImage, size: Size) -> Size {
    let (height, width) = (picture.height() as usize, picture.width() as usize);
    // height / width against size.height / size.width, in whole numbers, rounded, at least one pixel.
    let part = |whole: usize, share: usize, of: usize| ((whole * share + of / 2) / of).max(1);
    if height * size.width > width * size.height {
        Size { height: part(width, size.height, size.width).min(height), width }
    } else {
        Size { height, width: part(height, size.width, size.height).min(width) }
    }
}

/// The middle of a picture.
fn cut(picture: &DynamicImage, size: Size) -> Result<DynamicImage> {
    let (height, width) = (size.height as u32, size.width as u32);
    let (Some(above), Some(left)) = (picture.height().checked_sub(height), picture.width().checked_sub(width)) else {
        let expected = format!("at most the picture's {} x {} (height x width)", picture.height(), picture.width());
        return Err(Error::setting("crop", size, &expected));
    };
    Ok(picture.crop_imm(left / 2, above / 2, width, height))
}

/// Images of a data set as [`PictureOptions`] want them.
pub(super) struct Pictured {
    inner: Box<dyn Dataset>,
    options: PictureOptions,
    image: ImageShape,
}

impl Pictured {
    /// # Errors
    /// The images have another number of channels than 1 or 3, or the part to be cut is larger than they are.
    pub(super) fn new(inner: Box<dyn Dataset>, options: PictureOptions) -> Result<Self> {
        let shape = inner.image();
        let (image, _) = options.apply(picture(shape, vec![0; shape.size()])?)?;
        Ok(Self { inner, options, image })
    }
}

/// Bytes `(H, W, C)` as a picture.
fn picture(shape: ImageShape, bytes: Vec<u8>) -> Result<DynamicImage> {
    let (height, width) = (shape.height as u32, shape.width as u32);
    let picture = match shape.channels {
        1 => GrayImage::from_raw(width, height, bytes).map(Into::into),
        3 => RgbImage::from_raw(width, height, bytes).map(Into::into),
        _ => None,
    };
    picture.ok_or_else(|| Error::Unsupported(format!("pictures of {shape} cannot be resized: 1 or 3 channels can")))
}

impl Dataset for Pictured {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn len(&self) -> usize {
        self.inner.len()
    }

    fn image(&self) -> ImageShape {
        self.image
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        let shape = self.inner.image();
        let mut bytes = vec![0; shape.size()];
        self.inner.render(index, &mut bytes)?;
        pixels.copy_from_slice(&self.options.apply(picture(shape, bytes)?)?.1);
        Ok(())
    }

    fn factors(&self) -> &[FactorInfo] {
        self.inner.factors()
    }

    fn is_grid(&self) -> bool {
        self.inner.is_grid()
    }

    fn factor_values(&self, index: usize) -> Vec<usize> {
        self.inner.factor_values(index)
    }

    fn index_of(&self, values: &[usize]) -> Option<usize> {
        self.inner.index_of(values)
    }
}
