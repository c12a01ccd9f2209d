//! A contact sheet of a data set.

use image::RgbImage;
use rand::RngExt;

use super::{Grid, Labels, grid::BACKGROUND};
use crate::{
    Error, Result,
    data::{self, Dataset},
    rng::{Purpose, stream},
};

/// Draws a row for each factor, which takes up to `columns` of its values in it, while all others stay those of one image; of data
/// that is no full grid of factor values, `columns` rows of images. `seed` draws the image or images.
///
/// # Errors
/// An image cannot be read, `columns` is not 1 to 100, `upscale` is 0, or the sheet would be too large.
pub fn contact_sheet(dataset: &dyn Dataset, columns: usize, upscale: u32, seed: u64) -> Result<RgbImage> {
    if !(1..=100).contains(&columns) {
        return Err(Error::setting("columns", columns, "1 to 100"));
    }
    let image = dataset.image();
    let grid = Grid::new(columns, upscale);
    let mut rng = stream(seed, Purpose::Report, 0);
    let mut draw = || rng.random_range(0..dataset.len());
    if !dataset.is_grid() {
        let indices: Vec<_> = (0..columns * columns).map(|_| draw()).collect();
        return grid.draw(&dataset.batch(&indices)?, image);
    }
    let factors = dataset.factors();
    let base = dataset.factor_values(draw());
    let (mut tiles, mut names) = (Vec::new(), Vec::new());
    for (place, factor) in factors.iter().enumerate() {
        let shown = columns.min(factor.size);
        for step in 0..shown {
            let mut values = base.clone();
            // From the first value to the last one.
            values[place] = step * (factor.size - 1) / (shown - 1).max(1);
            tiles.extend(dataset.batch(&[data::index_of(dataset, &values)?])?);
        }
        tiles.resize(tiles.len() + (columns - shown) * image.size(), BACKGROUND[0]);
        names.push(factor.name.to_string());
    }
    Grid { labels: Labels::Rows(&names), ..grid }.draw(&tiles, image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::scenes::Scenes,
        metrics::fake::{self, Unlabeled},
    };

    #[test]
    fn a_row_shows_one_factor() {
        let scenes = Scenes::new();
        let sheet = contact_sheet(&scenes, 5, 1, 0).unwrap();
        assert_eq!(sheet.height(), 6 * 66 + 2);
        let labels = sheet.width() - (5 * 66 + 2);
        let tile = |row: u32, column: u32| {
            let (x, y) = (labels + 2 + column * 66, 2 + row * 66);
            (0..64 * 64).flat_map(|i| sheet.get_pixel(x + i % 64, y + i / 64).0).collect::<Vec<u8>>()
        };
        // The fifth row is the shape, of which there are four; the last value of the scale is the largest object.
        assert!(tile(4, 4).iter().all(|&byte| byte == BACKGROUND[0]));
        let base = stream(0, Purpose::Report, 0).random_range(0..scenes.len());
        let with = |factor: usize, value| {
            let mut values = scenes.factor_values(base);
            values[factor] = value;
            scenes.batch(&[scenes.index_of(&values).unwrap()]).unwrap()
        };
        assert_eq!(tile(3, 4), with(3, 7));
        assert_eq!(tile(0, 0), with(0, 0));
    }

    #[test]
    fn data_without_labels_shows_images() {
        let unlabeled = Unlabeled(fake::Grid::new());
        let sheet = contact_sheet(&unlabeled, 3, 2, 1).unwrap();
        assert_eq!(sheet.dimensions(), (3 * 6 + 2, 3 * 6 + 2));
        assert_eq!(sheet, contact_sheet(&unlabeled, 3, 2, 1).unwrap());
        assert_ne!(sheet, contact_sheet(&unlabeled, 3, 2, 2).unwrap());
        assert!(contact_sheet(&unlabeled, 0, 2, 1).is_err());
    }
}
