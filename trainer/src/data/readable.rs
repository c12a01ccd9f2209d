//! Data sets of which images are left out that cannot be read.

use rayon::prelude::*;

use super::{Dataset, FactorInfo};
use crate::{Error, Result, model::ImageShape};

/// The images of a data set that can be read.
struct Readable {
    inner: Box<dyn Dataset>,
    indices: Vec<usize>,
    skipped: Vec<String>,
}

/// Reads every image once and leaves out those that fail; `inner` itself where none does.
///
/// # Errors
/// No image can be read.
pub(super) fn readable(inner: Box<dyn Dataset>) -> Result<Box<dyn Dataset>> {
    let size = inner.image().size();
    let check = |pixels: &mut Vec<u8>, index: usize| inner.render(index, pixels).map_err(|e| e.to_string()).err();
    let faults: Vec<_> = (0..inner.len()).into_par_iter().map_init(|| vec![0; size], check).collect();
    let indices: Vec<_> = (0..inner.len()).filter(|&index| faults[index].is_none()).collect();
    let mut skipped: Vec<_> = faults.into_iter().flatten().collect();
    if skipped.is_empty() {
        return Ok(inner);
    }
    if indices.is_empty() {
        let first = skipped.swap_remove(0);
        return Err(Error::Unsupported(format!("{}: no image can be read; the first: {first}", inner.name())));
    }
    Ok(Box::new(Readable { inner, indices, skipped }))
}

impl Dataset for Readable {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn len(&self) -> usize {
        self.indices.len()
    }

    fn image(&self) -> ImageShape {
        self.inner.image()
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        self.inner.render(self.indices[index], pixels)
    }

    fn factors(&self) -> &[FactorInfo] {
        self.inner.factors()
    }

    fn is_grid(&self) -> bool {
        false
    }

    fn factor_values(&self, index: usize) -> Vec<usize> {
        self.inner.factor_values(self.indices[index])
    }

    fn index_of(&self, _values: &[usize]) -> Option<usize> {
        None
    }

    fn skipped(&self) -> &[String] {
        &self.skipped
    }
}
