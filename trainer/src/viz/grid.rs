//! Image sheets: tiles of one size in rows and columns, with a separator, labels and whole-number upscaling.

use image::{Rgb, RgbImage};

use super::text;
use crate::{Error, Result, model::ImageShape};

/// The gray between tiles and behind transparent ones; neither black nor white, as images are often both.
pub const BACKGROUND: Rgb<u8> = Rgb([56; 3]);
/// The color of labels.
pub const INK: Rgb<u8> = Rgb([232; 3]);
/// Pixels between tiles and around the sheet.
pub const GAP: u32 = 2;
/// Pixels between two groups of rows.
pub const GROUP_GAP: u32 = 8;
/// The greatest width and height of a sheet, pixels: that of a GIF.
pub const MAX_SIDE: u32 = 65_535;

/// What is written beside the tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Labels<'a> {
    /// Nothing.
    None,
    /// A column at the left, one text a row.
    Rows(&'a [String]),
    /// A line above each tile, cut to the tile's width.
    Tiles(&'a [String]),
}

/// How tiles are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid<'a> {
    /// Tiles in a row, at least 1; the last row may be shorter.
    pub columns: usize,
    /// Each image pixel becomes a square of this many pixels, at least 1.
    pub upscale: u32,
    /// Rows that belong together: a wider gap follows each group; 0 for none.
    pub group: usize,
    /// What is written beside the tiles.
    pub labels: Labels<'a>,
}

/// Where things are on a sheet, pixels.
struct Plan {
    tile: (u32, u32),
    /// Left of the first column and top of the first row's captions.
    label_width: u32,
    caption: u32,
    group: usize,
    text_scale: u32,
    size: (u32, u32),
}

impl Grid<'_> {
    /// A grid without labels and groups.
    pub fn new(columns: usize, upscale: u32) -> Self {
        Self { columns, upscale, group: 0, labels: Labels::None }
    }

    /// Draws `tiles`, bytes `(N, H, W, C)` of `shape`: 1 channel gray, 3 RGB, 4 RGBA laid over [`BACKGROUND`].
    ///
    /// # Errors
    /// `tiles` is not a whole number of images, the channels are not 1, 3 or 4, `columns` or `upscale` is 0, or the
    /// sheet would be larger than [`MAX_SIDE`].
    pub fn draw(&self, tiles: &[u8], shape: ImageShape) -> Result<RgbImage> {
        if shape.size() == 0 || !tiles.len().is_multiple_of(shape.size()) {
            let (found, size) = (tiles.len(), shape.size());
            return Err(Error::Unsupported(format!("{found} bytes are not a whole number of images of {size} bytes")));
        }
        let tiles: Vec<Option<&[u8]>> = tiles.chunks_exact(shape.size()).map(Some).collect();
        self.draw_tiles(&tiles, shape)
    }

    /// [`Self::draw`] with places left empty; each tile is one whole image.
    pub(super) fn draw_tiles(&self, tiles: &[Option<&[u8]>], shape: ImageShape) -> Result<RgbImage> {
        let plan = self.plan(tiles.len(), shape)?;
        let mut sheet = RgbImage::from_pixel(plan.size.0, plan.size.1, BACKGROUND);
        for (i, &tile) in tiles.iter().enumerate() {
            let (row, column) = (i / self.columns, i % self.columns);
            let (x, y) = plan.position(row, column);
            self.draw_tile(&mut sheet, x, y, tile.unwrap_or_default(), shape);
            let scale = plan.text_scale;
            match self.labels {
                Labels::Rows(labels) if column == 0 => {
                    let middle = y + plan.tile.1.saturating_sub(text::HEIGHT * scale) / 2;
                    let label = labels.get(row).map_or("", String::as_str);
                    text::draw(&mut sheet, 2 * GAP, middle, label, scale, INK);
                }
                Labels::Tiles(labels) => {
                    let label = labels.get(i).map_or("", String::as_str);
                    let label = text::fit(label, plan.tile.0, scale);
                    text::draw(&mut sheet, x, y - plan.caption + GAP, &label, scale, INK);
                }
                _ => {}
            }
        }
        Ok(sheet)
    }

    fn plan(&self, count: usize, shape: ImageShape) -> Result<Plan> {
        if self.columns == 0 {
            return Err(Error::setting("columns", 0, "at least 1"));
        }
        if self.upscale == 0 {
            return Err(Error::setting("upscale", 0, "at least 1"));
        }
        if !matches!(shape.channels, 1 | 3 | 4) {
            return Err(Error::Unsupported(format!("pictures have 1, 3 or 4 channels, not {}", shape.channels)));
        }
        let upscale = u64::from(self.upscale);
        let tile = (shape.width as u64 * upscale, shape.height as u64 * upscale);
        let text_scale = (tile.1 / 48).clamp(1, 4);
        let characters = |labels: &[String]| labels.iter().map(|label| label.chars().count()).fold(0, usize::max);
        let (label_width, caption) = match self.labels {
            Labels::None => (0, 0),
            Labels::Rows(labels) => {
                (characters(labels) as u64 * u64::from(text::ADVANCE) * text_scale + 2 * u64::from(GAP), 0)
            }
            Labels::Tiles(_) => (0, u64::from(text::HEIGHT) * text_scale + 2 * u64::from(GAP)),
        };
        let (rows, columns) = (count.div_ceil(self.columns) as u64, self.columns.min(count) as u64);
        let groups = if self.group == 0 { 0 } else { rows.saturating_sub(1) / self.group as u64 };
        let gap = u64::from(GAP);
        let width = label_width + columns * (tile.0 + gap) + gap;
        let height = rows * (tile.1 + caption + gap) + gap + groups * u64::from(GROUP_GAP - GAP);
        if width.max(height) > u64::from(MAX_SIDE) {
            let limit = format!("a sheet of {width} x {height} pixels; at most {MAX_SIDE} a side");
            return Err(Error::Unsupported(limit));
        }
        // All fit in 16 bits now.
        Ok(Plan {
            tile: (tile.0 as u32, tile.1 as u32),
            label_width: label_width as u32,
            caption: caption as u32,
            group: self.group,
            text_scale: text_scale as u32,
            size: (width as u32, height as u32),
        })
    }

    fn draw_tile(&self, sheet: &mut RgbImage, left: u32, top: u32, tile: &[u8], shape: ImageShape) {
        for (i, pixel) in tile.chunks_exact(shape.channels).enumerate() {
            let color = color(pixel);
            let x = left + (i % shape.width) as u32 * self.upscale;
            let y = top + (i / shape.width) as u32 * self.upscale;
            for dy in 0..self.upscale {
                for dx in 0..self.upscale {
                    sheet.put_pixel(x + dx, y + dy, color);
                }
            }
        }
    }
}

impl Plan {
    /// The top left corner of a tile.
    fn position(&self, row: usize, column: usize) -> (u32, u32) {
        let groups = row.checked_div(self.group).unwrap_or(0) as u32;
        let x = self.label_width + GAP + column as u32 * (self.tile.0 + GAP);
        let y = GAP + row as u32 * (self.tile.1 + self.caption + GAP) + self.caption + groups * (GROUP_GAP - GAP);
        (x, y)
    }
}

fn color(pixel: &[u8]) -> Rgb<u8> {
    match *pixel {
        [gray] => Rgb([gray; 3]),
        [r, g, b] => Rgb([r, g, b]),
        [r, g, b, alpha] => {
            let over = |front: u8, back: u8| {
                let (front, back, alpha) = (u32::from(front), u32::from(back), u32::from(alpha));
                ((front * alpha + back * (255 - alpha) + 127) / 255) as u8
            };
            Rgb([over(r, BACKGROUND[0]), over(g, BACKGROUND[1]), over(b, BACKGROUND[2])])
        }
        _ => BACKGROUND,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn shape(channels: usize, height: usize, width: usize) -> ImageShape {
        ImageShape { channels, height, width }
    }

    #[test]
    fn tiles_lie_in_rows_with_separators() {
        let tiles: Vec<u8> = (0..3).flat_map(|tile| [10 * tile + 1, 10 * tile + 2]).collect();
        let sheet = Grid::new(2, 3).draw(&tiles, shape(1, 1, 2)).unwrap();
        assert_eq!(sheet.dimensions(), (2 + 6 + 2 + 6 + 2, 2 + 3 + 2 + 3 + 2));
        let gray = |x, y| sheet.get_pixel(x, y).0[0];
        assert_eq!([gray(2, 2), gray(4, 4), gray(5, 2), gray(7, 4)], [1, 1, 2, 2]);
        assert_eq!([gray(10, 2), gray(13, 2), gray(2, 7), gray(5, 9)], [11, 12, 21, 22]);
        // Separators and the place of the missing tile.
        assert_eq!([gray(1, 2), gray(8, 2), gray(2, 5), gray(12, 8)], [BACKGROUND[0]; 4]);
    }

    #[test]
    fn color_and_transparency_are_kept_and_flattened() {
        let sheet = Grid::new(1, 1).draw(&[1, 2, 3], shape(3, 1, 1)).unwrap();
        assert_eq!(sheet.get_pixel(2, 2).0, [1, 2, 3]);
        let sheet = Grid::new(2, 1).draw(&[9, 8, 7, 255, 9, 8, 7, 0], shape(4, 1, 1)).unwrap();
        assert_eq!((sheet.get_pixel(2, 2).0, *sheet.get_pixel(5, 2)), ([9, 8, 7], BACKGROUND));
    }

    #[test]
    fn groups_and_labels_make_room() {
        let tiles = vec![0; 4 * 64];
        let plain = Grid::new(1, 1).draw(&tiles, shape(1, 8, 8)).unwrap();
        let paired = Grid { group: 2, ..Grid::new(1, 1) }.draw(&tiles, shape(1, 8, 8)).unwrap();
        assert_eq!(paired.height() - plain.height(), GROUP_GAP - GAP);

        let names = ["x".to_string(), "scale".to_string()];
        let labeled = Grid { labels: Labels::Rows(&names), ..Grid::new(2, 1) }.draw(&tiles, shape(1, 8, 8)).unwrap();
        assert_eq!(labeled.dimensions(), (5 * 6 + 4 + 2 + 2 * 10, 2 + 2 * 10));
        let captions = Grid { labels: Labels::Tiles(&names), ..Grid::new(2, 1) }.draw(&tiles, shape(1, 8, 8)).unwrap();
        assert_eq!(captions.dimensions(), (2 + 2 * 10, 2 + 2 * (8 + 10 + 4 + 2)));
        assert!(captions.pixels().any(|&pixel| pixel == INK));
    }

    #[test]
    fn senseless_requests_are_refused() {
        let draw = |grid: Grid, bytes: usize, shape| grid.draw(&vec![0; bytes], shape).unwrap_err().to_string();
        assert!(draw(Grid::new(0, 1), 4, shape(1, 2, 2)).contains("columns"));
        assert!(draw(Grid::new(1, 0), 4, shape(1, 2, 2)).contains("upscale"));
        assert!(draw(Grid::new(1, 1), 5, shape(1, 2, 2)).contains("5 bytes"));
        assert!(draw(Grid::new(1, 1), 8, shape(2, 2, 2)).contains("channels"));
        assert!(draw(Grid::new(1, 1), 0, shape(1, 0, 2)).contains("0 bytes"));
        assert!(draw(Grid::new(1, 40_000), 4, shape(1, 2, 2)).contains("65535"));
    }
}
