//! Posteriors of many images, each distinct image encoded once: what every metric works on.

use rand::RngExt;
use rayon::prelude::*;

use crate::{
    Error, Result,
    data::Dataset,
    model::Autoencoder,
    rng::{Purpose, stream},
};

/// Reports work done and the whole work, in images.
pub type Progress<'a> = &'a dyn Fn(u64, u64);

/// Images in one call of the model: fills all cores, and the widest layer of the f32 networks stays under 100 MB.
pub(super) const BATCH: usize = 512;

/// Streams of [`Purpose::Metric`], far apart; votes, differences and resamples take one position each.
pub(super) mod position {
    pub const TRAIN_VOTES: u64 = 0;
    pub const EVAL_VOTES: u64 = 1 << 40;
    pub const SCALE: u64 = 2 << 40;
    pub const STATISTICS: u64 = 3 << 40;
    pub const EFFECTS: u64 = 4 << 40;
    pub const NOISE: u64 = 5 << 40;
    pub const TRAIN_POINTS: u64 = 6 << 40;
    pub const TEST_POINTS: u64 = 7 << 40;
    pub const BOOTSTRAP: u64 = 8 << 40;
    pub const TRAIN_DIFFERENCES: u64 = 9 << 40;
    pub const EVAL_DIFFERENCES: u64 = 10 << 40;
    pub const CENTRALITY: u64 = 11 << 40;
}

/// The posteriors of a set of images.
pub(super) struct Codes {
    latents: usize,
    /// Distinct, ascending.
    indices: Vec<usize>,
    /// `(indices, latents)`.
    mean: Vec<f32>,
    /// `(indices, latents)`.
    log_var: Vec<f32>,
}

impl Codes {
    /// Encodes the images `indices` of `dataset`; repeated indices cost nothing.
    pub fn encode(
        model: &dyn Autoencoder,
        dataset: &dyn Dataset,
        mut indices: Vec<usize>,
        progress: Progress,
    ) -> Result<Self> {
        indices.par_sort_unstable();
        indices.dedup();
        let latents = model.latents();
        let (mut mean, mut log_var) = (Vec::new(), Vec::new());
        let mut images = render(dataset, &indices[..indices.len().min(BATCH)])?;
        for start in (0..indices.len()).step_by(BATCH) {
            let end = (start + BATCH).min(indices.len());
            let next = &indices[end..(end + BATCH).min(indices.len())];
            // The next images are drawn while these are encoded.
            let (posterior, drawn) = rayon::join(|| model.encode(&images), || render(dataset, next));
            let posterior = posterior?;
            mean.extend_from_slice(&posterior.mean);
            log_var.extend_from_slice(&posterior.log_var);
            images = drawn?;
            progress(end as u64, indices.len() as u64);
        }
        Ok(Self { latents, indices, mean, log_var })
    }

    /// How many distinct images were encoded.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Latents of each posterior.
    pub fn latents(&self) -> usize {
        self.latents
    }

    /// The posterior means `(latents)` of image `index`, one of those encoded.
    pub fn mean(&self, index: usize) -> &[f32] {
        &self.mean[self.row(index)]
    }

    /// The logarithms of the posterior variances `(latents)` of image `index`, one of those encoded.
    pub fn log_var(&self, index: usize) -> &[f32] {
        &self.log_var[self.row(index)]
    }

    fn row(&self, index: usize) -> std::ops::Range<usize> {
        let row = self.indices.partition_point(|&i| i < index);
        row * self.latents..(row + 1) * self.latents
    }

    /// Mean and variance (over n - 1) of each latent's posterior mean over the images `indices`.
    pub fn moments(&self, indices: &[usize]) -> (Vec<f64>, Vec<f64>) {
        let average = |term: &dyn Fn(usize, f64) -> f64, count: f64| {
            let mut sums = vec![0.0; self.latents];
            for &index in indices {
                for (latent, (sum, &z)) in sums.iter_mut().zip(self.mean(index)).enumerate() {
                    *sum += term(latent, f64::from(z));
                }
            }
            sums.iter().map(|sum| sum / count).collect::<Vec<f64>>()
        };
        let n = indices.len() as f64;
        let mean = average(&|_, z| z, n);
        let variance = average(&|latent, z| (z - mean[latent]).powi(2), n - 1.0);
        (mean, variance)
    }

    /// KL(q(z|x) || N(0, 1)) of each latent in nats, averaged over the images `indices`:
    /// (mean² + var - log var - 1) / 2.
    pub fn kl(&self, indices: &[usize]) -> Vec<f64> {
        let mut sums = vec![0.0; self.latents];
        for &index in indices {
            for ((sum, &mean), &log_var) in sums.iter_mut().zip(self.mean(index)).zip(self.log_var(index)) {
                let (mean, log_var) = (f64::from(mean), f64::from(log_var));
                *sum += 0.5 * (mean * mean + log_var.exp() - log_var - 1.0);
            }
        }
        sums.iter().map(|sum| sum / indices.len() as f64).collect()
    }
}

/// Images as bytes `(N, H, W, C)`, rendered on all cores.
pub(super) fn render(dataset: &dyn Dataset, indices: &[usize]) -> Result<Vec<u8>> {
    let size = dataset.image().size();
    let mut pixels = vec![0; indices.len() * size];
    pixels.par_chunks_exact_mut(size).zip(indices).try_for_each(|(image, &index)| dataset.render(index, image))?;
    Ok(pixels)
}

/// `n` images drawn uniformly with replacement.
pub(super) fn draw_indices(dataset: &dyn Dataset, n: usize, seed: u64, position: u64) -> Vec<usize> {
    let mut rng = stream(seed, Purpose::Metric, position);
    (0..n).map(|_| rng.random_range(0..dataset.len())).collect()
}

/// Refuses a data set that the model cannot see.
pub(super) fn check(model: &dyn Autoencoder, dataset: &dyn Dataset) -> Result<()> {
    let (takes, has) = (model.image(), dataset.image());
    if takes != has || dataset.is_empty() {
        return Err(Error::Unsupported(format!(
            "the model takes images of {} x {} x {} (H x W x C); {} has {} of {} x {} x {}",
            takes.height,
            takes.width,
            takes.channels,
            dataset.name(),
            dataset.len(),
            has.height,
            has.width,
            has.channels,
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::metrics::fake::{Coder, Grid};

    #[test]
    fn distinct_images_are_encoded_once_in_batches() {
        let grid = Grid::new();
        let model = Coder::ground_truth();
        let last = Cell::new((0, 0));
        let indices: Vec<usize> = (0..1500).map(|i| (i * 7) % 600).collect();
        let codes = Codes::encode(&model, &grid, indices, &|done, total| last.set((done, total))).unwrap();
        assert_eq!(last.get(), (600, 600));
        assert_eq!(codes.len(), 600);
        assert!(model.largest_batch() <= BATCH);
        for index in [0, 5, 511, 512, 599] {
            let alone = model.encode(&grid.batch(&[index]).unwrap()).unwrap();
            assert_eq!(codes.mean(index), alone.mean);
            assert_eq!(codes.log_var(index), alone.log_var);
        }
    }

    #[test]
    fn moments_and_kl_follow_their_definitions() {
        let model = Coder::new(1, |pixels, z| z[0] = f32::from(pixels[3]) + 1.0);
        let grid = Grid::new();
        let codes = Codes::encode(&model, &grid, vec![0, 1, 2, 3], &|_, _| {}).unwrap();
        // The last factor counts 0, 1, 2, 3; log_var is -2 and the mean of the squares 7.5.
        let (mean, variance) = codes.moments(&[0, 1, 2, 3]);
        assert!((mean[0] - 2.5).abs() < 1e-9 && (variance[0] - 5.0 / 3.0).abs() < 1e-9);
        let expected = 0.5 * (7.5 + (-2f64).exp() + 2.0 - 1.0);
        assert!((codes.kl(&[0, 1, 2, 3])[0] - expected).abs() < 1e-6);
    }

    #[test]
    fn other_images_are_refused() {
        let error = check(&Coder::ground_truth(), &crate::data::sprites::Sprites::new()).unwrap_err().to_string();
        assert!(error.contains("2 x 2 x 1") && error.contains("64 x 64 x 1"), "{error}");
    }
}
