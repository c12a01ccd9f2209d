//! What arrays of images and labels look like, whatever file they lie in.

use std::path::Path;

use crate::{Error, Result, model::ImageShape};

/// How many images an array has, and of which shape.
#[derive(Debug, Clone, Copy)]
pub(super) struct Array {
    pub(super) images: usize,
    pub(super) image: ImageShape,
}

fn malformed(path: &Path, field: &str, found: &[u64], expected: &str) -> Error {
    Error::malformed(path, &format!("{field}, shape"), format!("{found:?}"), expected)
}

/// Takes `(N, H, W)` and `(N, H, W, C)` with 1 to 4 channels.
pub(super) fn of_images(path: &Path, field: &str, shape: &[u64]) -> Result<Array> {
    let dims: Option<Vec<usize>> = shape.iter().map(|&dim| usize::try_from(dim).ok().filter(|&dim| dim > 0)).collect();
    let (images, image) = match dims.as_deref() {
        Some(&[images, height, width]) => (images, ImageShape { channels: 1, height, width }),
        Some(&[images, height, width, channels @ 1..=4]) => (images, ImageShape { channels, height, width }),
        _ => return Err(malformed(path, field, shape, "(images, height, width) or (images, height, width, 1 to 4)")),
    };
    // Offsets into the array fit into 63 bits.
    let bytes = shape.iter().try_fold(1i64, |product, &dim| product.checked_mul(i64::try_from(dim).ok()?));
    match bytes {
        Some(_) => Ok(Array { images, image }),
        None => Err(malformed(path, field, shape, "less than 2^63 bytes")),
    }
}

/// Takes `(N, F)` for `images` images; returns F.
pub(super) fn of_labels(path: &Path, field: &str, shape: &[u64], images: usize) -> Result<usize> {
    match *shape {
        [n, factors @ 1..=64] if n == images as u64 => Ok(factors as usize),
        _ => Err(malformed(path, field, shape, &format!("({images}, 1 to 64), a row for each image"))),
    }
}

/// Names for factors that have none.
pub(super) fn numbered(factors: usize) -> Vec<String> {
    (0..factors).map(|factor| format!("factor {factor}")).collect()
}

/// The columns of `values`, `(N, F)`, each with its name.
pub(super) fn columns(names: Vec<String>, values: &[f64]) -> Vec<(String, Vec<f64>)> {
    let factors = names.len();
    let column = |factor: usize| values.iter().skip(factor).step_by(factors).copied().collect();
    names.into_iter().enumerate().map(|(factor, name)| (name, column(factor))).collect()
}
