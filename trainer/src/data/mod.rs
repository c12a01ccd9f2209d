//! Data sets: images by index, with their generative factors where these are known.

mod array;
mod cars3d;
mod folder;
mod hdf5;
mod labels;
mod mpi3d;
mod npz;
pub mod picture;
mod readable;
pub mod scenes;
mod small_norb;
pub mod spec;
mod spool;
pub mod sprites;
mod stored;

use std::borrow::Cow;

pub use spec::Spec;

use crate::{Error, Result, model::ImageShape};

/// A generative factor of a labeled data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorInfo {
    /// Its name, as in `rotation`.
    pub name: Cow<'static, str>,
    /// How many values it takes: `0..size`.
    pub size: usize,
}

impl FactorInfo {
    /// A factor whose name is known when this is compiled.
    pub const fn new(name: &'static str, size: usize) -> Self {
        Self { name: Cow::Borrowed(name), size }
    }
}

/// Images addressable by index.
pub trait Dataset: Send + Sync {
    /// The name that `--dataset` takes.
    fn name(&self) -> &str;

    /// How many images there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Channels, height and width of every image.
    fn image(&self) -> ImageShape;

    /// Writes image `index` as bytes `(H, W, C)` into `pixels`.
    ///
    /// # Errors
    /// The image lies in a file and cannot be read from it; the error names both.
    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()>;

    /// The generative factors; empty where the data has no labels.
    fn factors(&self) -> &[FactorInfo] {
        &[]
    }

    /// Whether every combination of factor values has exactly one image. Without it, images cannot be asked for by their factors.
    /// Data with factors has it, unless it says otherwise: an index counts through them, the last one fastest.
    fn is_grid(&self) -> bool {
        !self.factors().is_empty()
    }

    /// The factor values of image `index`, one for each of [`Self::factors`].
    fn factor_values(&self, index: usize) -> Vec<usize> {
        grid_values(self.factors(), index)
    }

    /// The index of the image with these factor values, the inverse of [`Self::factor_values`]; none where the data is no grid.
    fn index_of(&self, values: &[usize]) -> Option<usize> {
        grid_index(self.factors(), values).filter(|_| self.is_grid())
    }

    /// What is wrong with each image that was left out since it cannot be read.
    fn skipped(&self) -> &[String] {
        &[]
    }

    /// Images as bytes `(N, H, W, C)`.
    ///
    /// # Errors
    /// As [`Self::render`].
    fn batch(&self, indices: &[usize]) -> Result<Vec<u8>> {
        let size = self.image().size();
        let mut pixels = vec![0; indices.len() * size];
        for (&index, image) in indices.iter().zip(pixels.chunks_exact_mut(size)) {
            self.render(index, image)?;
        }
        Ok(pixels)
    }
}

/// Opens the data set that `--dataset` names.
///
/// # Errors
/// The name is not known, or a file is missing or not what it should be.
pub fn open(name: &str) -> Result<Box<dyn Dataset>> {
    name.parse::<Spec>()?.open()
}

/// The factor values of image `index` of a full grid, the last factor fastest.
fn grid_values(factors: &[FactorInfo], index: usize) -> Vec<usize> {
    let mut rest = index;
    let mut values = vec![0; factors.len()];
    for (value, factor) in values.iter_mut().zip(factors).rev() {
        *value = rest % factor.size;
        rest /= factor.size;
    }
    values
}

/// The inverse of [`grid_values`].
fn grid_index(factors: &[FactorInfo], values: &[usize]) -> Option<usize> {
    values
        .iter()
        .zip(factors)
        .try_fold(0, |index, (&value, factor)| (value < factor.size).then_some(index * factor.size + value))
}

/// Refuses data that has no image for some combination of factor values, for `needed_by`, which draws by them.
pub(crate) fn check_grid(dataset: &dyn Dataset, needed_by: &str) -> Result<()> {
    let lack = match (dataset.factors().is_empty(), dataset.is_grid()) {
        (true, _) => "has no labels",
        (_, false) => "has not one image for each combination of factor values",
        (_, true) => return Ok(()),
    };
    Err(Error::Unsupported(format!("{} {lack}, which {needed_by} needs", dataset.name())))
}

/// [`Dataset::index_of`] of data that is a grid.
pub fn index_of(dataset: &dyn Dataset, values: &[usize]) -> Result<usize> {
    let none = || Error::Unsupported(format!("{} has no image with the factor values {values:?}", dataset.name()));
    dataset.index_of(values).ok_or_else(none)
}

/// Whether image `index` is kept out of training, for calibration checks and reports: one in 64, by a hash of the index.
///
/// Sprites repeat (a square looks the same after a quarter turn), so a held-out sprite can have a twin in the training data.
pub fn is_held_out(index: usize) -> bool {
    // The finalizer of SplitMix64 (Steele, Lea & Flood 2014).
    let mut x = (index as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ (x >> 31)).is_multiple_of(64)
}
