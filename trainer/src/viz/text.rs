//! Labels of pictures, in a bitmap font of `embedded-graphics`: Latin characters; anything else is a question mark.

use std::convert::Infallible;

use embedded_graphics::{
    Pixel,
    draw_target::DrawTarget,
    geometry::{OriginDimensions, Point, Size},
    mono_font::{MonoFont, MonoTextStyle, iso_8859_1::FONT_6X10},
    pixelcolor::BinaryColor,
    text::{Baseline, renderer::TextRenderer},
};
use image::{Rgb, RgbImage};

const FONT: MonoFont = FONT_6X10;
/// Width of a character, pixels at scale 1.
pub(super) const ADVANCE: u32 = FONT.character_size.width;
/// Height of a line, pixels at scale 1.
pub(super) const HEIGHT: u32 = FONT.character_size.height;

/// Draws `text` with its top left corner at `(x, y)`, each font pixel a square of `scale` pixels; what lies outside the
/// picture is left out.
pub(super) fn draw(picture: &mut RgbImage, x: u32, y: u32, text: &str, scale: u32, ink: Rgb<u8>) {
    let style = MonoTextStyle::new(&FONT, BinaryColor::On);
    let mut canvas = Canvas { picture, x, y, scale, ink };
    let Ok(_) = style.draw_string(text, Point::zero(), Baseline::Top, &mut canvas);
}

/// The part of a picture right and below of `(x, y)`, as a surface of squares.
struct Canvas<'a> {
    picture: &'a mut RgbImage,
    x: u32,
    y: u32,
    scale: u32,
    ink: Rgb<u8>,
}

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.picture.width(), self.picture.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, color) in pixels {
            let (Ok(x), Ok(y), BinaryColor::On) = (u32::try_from(x), u32::try_from(y), color) else { continue };
            let (left, top) = (self.x + x * self.scale, self.y + y * self.scale);
            for (x, y) in (top..top + self.scale).flat_map(|y| (left..left + self.scale).map(move |x| (x, y))) {
                if let Some(pixel) = self.picture.get_pixel_mut_checked(x, y) {
                    *pixel = self.ink;
                }
            }
        }
        Ok(())
    }
}

/// `text` cut to at most `width` pixels at `scale`; a cut text ends in `~`.
pub(super) fn fit(text: &str, width: u32, scale: u32) -> String {
    let room = (width / (ADVANCE * scale).max(1)) as usize;
    if text.chars().count() <= room {
        return text.into();
    }
    text.chars().take(room.saturating_sub(1)).chain((room > 0).then_some('~')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_drawn_in_ink_where_it_was_asked_for() {
        let ink = Rgb([9, 8, 7]);
        let drawn = |x, y, text, scale| {
            let mut picture = RgbImage::new(40, 30);
            draw(&mut picture, x, y, text, scale, ink);
            let inked = picture.enumerate_pixels().filter(|(_, _, pixel)| **pixel != Rgb([0; 3]));
            inked.map(|(x, y, pixel)| (x, y, *pixel)).collect::<Vec<_>>()
        };
        let small = drawn(4, 5, "T", 1);
        assert!(!small.is_empty());
        assert!(
            small.iter().all(|&(x, y, color)| {
                (4..4 + ADVANCE).contains(&x) && (5..5 + HEIGHT).contains(&y) && color == ink
            })
        );
        assert_eq!(drawn(4, 5, "T", 2).len(), 4 * small.len());
        assert_ne!(drawn(4, 5, "I", 1), small);
        // Beyond the border, nothing.
        assert!(drawn(38, 28, "MMM", 3).len() < drawn(0, 0, "MMM", 3).len());
        assert!(drawn(40, 0, "M", 1).is_empty());
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(fit("rotation", 48, 1), "rotation");
        assert_eq!(fit("rotation", 47, 1), "rotati~");
        assert_eq!(fit("rotation", 24, 2), "r~");
        assert_eq!(fit("rotation", 2, 1), "");
    }
}
