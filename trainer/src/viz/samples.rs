//! Sample sheets of a training run: images and what the model makes of them.

use image::RgbImage;
use rand::RngExt;

use super::Grid;
use crate::{
    Result,
    data::{Dataset, is_held_out},
    model::Autoencoder,
    rng::{Purpose, stream},
};

/// `n` distinct images kept out of training, the same for the same seed; fewer where the data has fewer. Of data so small that no
/// image is kept out, images of the training.
pub fn choose(dataset: &dyn Dataset, n: usize, seed: u64) -> Vec<usize> {
    let mut held_out: Vec<usize> = (0..dataset.len()).filter(|&index| is_held_out(index)).collect();
    if held_out.is_empty() {
        held_out = (0..dataset.len()).collect();
    }
    let mut rng = stream(seed, Purpose::Report, 0);
    let n = n.min(held_out.len());
    // The first n steps of a Fisher-Yates shuffle.
    for i in 0..n {
        let other = rng.random_range(i..held_out.len());
        held_out.swap(i, other);
    }
    held_out.truncate(n);
    held_out
}

/// Rows of inputs, each over its reconstructions (the decoded means): `images` are bytes `(N, H, W, C)`.
///
/// # Errors
/// `images` is not a whole number of images, `columns` or `upscale` is 0, or the model failed.
pub fn reconstructions(model: &dyn Autoencoder, images: &[u8], columns: usize, upscale: u32) -> Result<RgbImage> {
    let decoded = model.decode(&model.encode(images)?.mean)?;
    let shape = model.image();
    let columns = columns.min(images.len() / shape.size());
    let mut tiles = Vec::with_capacity(2 * images.len() / shape.size());
    let row = (columns * shape.size()).max(1);
    for rows in images.chunks(row).zip(decoded.chunks(row)) {
        for images in [rows.0, rows.1] {
            // The last row may be shorter.
            let images = images.chunks_exact(shape.size()).map(Some);
            tiles.extend(images.chain(std::iter::repeat(None)).take(columns));
        }
    }
    Grid { group: 2, ..Grid::new(columns, upscale) }.draw_tiles(&tiles, shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        data::sprites::Sprites,
        model::{ImageShape, Posterior},
        viz::grid::BACKGROUND,
    };

    /// One latent: the image's first byte; decodes to that byte plus 1.
    struct OneMore;

    impl Autoencoder for OneMore {
        fn image(&self) -> ImageShape {
            ImageShape { channels: 1, height: 2, width: 2 }
        }

        fn latents(&self) -> usize {
            1
        }

        fn encode(&self, images: &[u8]) -> Result<Posterior> {
            let mean: Vec<f32> = images.chunks_exact(4).map(|image| f32::from(image[0])).collect();
            Ok(Posterior { log_var: mean.clone(), mean })
        }

        fn decode(&self, latents: &[f32]) -> Result<Vec<u8>> {
            Ok(latents.iter().flat_map(|&z| [z as u8 + 1; 4]).collect())
        }
    }

    #[test]
    fn reconstructions_lie_under_their_inputs() {
        let images: Vec<u8> = [10, 20, 30].iter().flat_map(|&gray| [gray; 4]).collect();
        let sheet = reconstructions(&OneMore, &images, 2, 1).unwrap();
        // Rows of two pixels: 10 20 | 11 21, a wide gap, 30 | 31 with an empty place beside each.
        assert_eq!(sheet.dimensions(), (10, 2 + 4 * 4 + 6));
        let gray = |x, y| sheet.get_pixel(x, y).0[0];
        assert_eq!([gray(2, 2), gray(6, 2), gray(2, 6), gray(6, 6)], [10, 20, 11, 21]);
        assert_eq!([gray(2, 16), gray(2, 20), gray(6, 16), gray(6, 20)], [30, 31, BACKGROUND[0], BACKGROUND[0]]);
        assert!(reconstructions(&OneMore, &images, 0, 1).is_err());
        assert_eq!(reconstructions(&OneMore, &images, 8, 1).unwrap().width(), 2 + 3 * 4);
    }

    #[test]
    fn chosen_images_are_held_out_distinct_and_repeat() {
        let chosen = choose(&Sprites::new(), 50, 1);
        assert_eq!(chosen, choose(&Sprites::new(), 50, 1));
        assert_ne!(chosen, choose(&Sprites::new(), 50, 2));
        assert!(chosen.iter().all(|&index| is_held_out(index)));
        let distinct: std::collections::HashSet<_> = chosen.iter().collect();
        assert_eq!(distinct.len(), 50);
    }
}
