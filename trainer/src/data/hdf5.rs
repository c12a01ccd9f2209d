//! HDF5 files: 3D Shapes' own file, and others with `images` and `labels`.
//!
//! `images`, `(N, H, W)` or `(N, H, W, C)` of bytes; optionally `labels` or `factors`, `(N, F)` numbers.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use hdf5_reader::{Dataset as Hdf5Dataset, Datatype, Hdf5File, SliceInfo, SliceInfoElem};

use super::{
    Dataset,
    array::{self, Array},
    labels::Labels,
    spool::{Slabs, Spool},
    stored::Stored,
};
use crate::{Error, Result};

/// The factors of 3D Shapes and how many values they take.
const SHAPES_3D: [(&str, usize); 6] =
    [("floor hue", 10), ("wall hue", 10), ("object hue", 10), ("scale", 8), ("shape", 4), ("orientation", 15)];

/// Images of a slab where the file's chunks are smaller.
const SLAB: usize = 256;

/// Opens `hdf5:FILE`.
pub(super) fn open(name: &str, path: &Path) -> Result<Box<dyn Dataset>> {
    // Its own error for a missing file says less.
    std::fs::File::open(path).map_err(Error::io(path))?;
    let file = Hdf5File::open(path).map_err(|e| Error::malformed(path, "file", e, "an HDF5 file"))?;
    let dataset = file
        .dataset("images")
        .map_err(|e| Error::malformed(path, "images", e, "a data set of this name in the root group"))?;
    if !matches!(dataset.dtype(), Datatype::FixedPoint { size: 1, signed: false, .. }) {
        return Err(Error::malformed(path, "images, type", format!("{:?}", dataset.dtype()), "unsigned bytes"));
    }
    let Array { images, image } = array::of_images(path, "images", dataset.shape())?;
    let labels = ["labels", "factors"].into_iter().find_map(|key| file.dataset(key).ok().map(|labels| (key, labels)));
    let labels = match labels {
        Some((key, labels)) => read_labels(path, key, &labels, images)?,
        None => Labels::None,
    };
    // Whole chunks, so that none is unpacked twice.
    let chunk = dataset.chunks().and_then(|chunks| chunks.first().copied()).unwrap_or(1).max(1) as usize;
    let slab = chunk * SLAB.div_ceil(chunk);
    let slabs = Chunks { path: path.into(), dataset, slab, images };
    let pixels = Spool::new(Box::new(slabs), images, image.size(), slab)?;
    Ok(Box::new(Stored::new(name, images, image, pixels, labels)))
}

/// The images, so many at a time.
struct Chunks {
    path: PathBuf,
    dataset: Hdf5Dataset,
    slab: usize,
    images: usize,
}

impl Slabs for Chunks {
    fn unpack(&self, slab: usize, out: &mut dyn Write) -> Result<()> {
        let (start, end) = (slab * self.slab, ((slab + 1) * self.slab).min(self.images));
        let damaged = |cause: &dyn std::fmt::Display| {
            let field = format!("images {start} to {}", end - 1);
            Error::malformed(&self.path, &field, cause, "chunks that can be read")
        };
        let mut slice = SliceInfo::all(self.dataset.ndim());
        slice.selections[0] = SliceInfoElem::Slice { start: start as u64, end: end as u64, step: 1 };
        let pixels = self.dataset.read_slice::<u8>(&slice).map_err(|e| damaged(&e))?;
        let bytes = pixels.as_slice().ok_or_else(|| damaged(&"an array in another order than C's"))?;
        out.write_all(bytes).map_err(Error::io(std::env::temp_dir()))
    }
}

fn read_labels(path: &Path, key: &str, labels: &Hdf5Dataset, images: usize) -> Result<Labels> {
    let factors = array::of_labels(path, key, labels.shape(), images)?;
    let values = numbers(labels)
        .map_err(|e| Error::malformed(path, key, e, "numbers that can be read"))?
        .ok_or_else(|| Error::malformed(path, &format!("{key}, type"), format!("{:?}", labels.dtype()), "numbers"))?;
    let numbered = Labels::of_numbers(array::columns(array::numbered(factors), &values), path)?;
    let sizes = numbered.factors().iter().map(|factor| factor.size);
    if !sizes.eq(SHAPES_3D.map(|(_, size)| size)) {
        return Ok(numbered);
    }
    let names = SHAPES_3D.map(|(name, _)| name.to_string());
    Labels::of_numbers(array::columns(names.to_vec(), &values), path)
}

/// All numbers of a data set; none if it holds something else.
fn numbers(dataset: &Hdf5Dataset) -> std::result::Result<Option<Vec<f64>>, hdf5_reader::error::Error> {
    macro_rules! read {
        ($type:ty) => {
            Ok(Some(dataset.read_array::<$type>()?.iter().map(|&value| value as f64).collect()))
        };
    }
    match dataset.dtype() {
        Datatype::FloatingPoint { size: 8, .. } => read!(f64),
        Datatype::FloatingPoint { size: 4, .. } => read!(f32),
        Datatype::FixedPoint { size: 1, signed: false, .. } => read!(u8),
        Datatype::FixedPoint { size: 2, signed: false, .. } => read!(u16),
        Datatype::FixedPoint { size: 4, signed: false, .. } => read!(u32),
        Datatype::FixedPoint { size: 8, signed: false, .. } => read!(u64),
        Datatype::FixedPoint { size: 1, signed: true, .. } => read!(i8),
        Datatype::FixedPoint { size: 2, signed: true, .. } => read!(i16),
        Datatype::FixedPoint { size: 4, signed: true, .. } => read!(i32),
        Datatype::FixedPoint { size: 8, signed: true, .. } => read!(i64),
        _ => Ok(None),
    }
}
