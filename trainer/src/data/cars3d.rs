//! Cars3D (Reed et al. 2015): rendered cars, one MATLAB file for each with `im`, `(128, 128, 3, azimuths, elevations)` bytes.

use std::{
    fs::File,
    io::{BufReader, Write},
    path::{Path, PathBuf},
};

use matfile::{MatFile, NumericData};

use super::{
    Dataset, FactorInfo, array,
    labels::Labels,
    spool::{Slabs, Spool},
    stored::Stored,
};
use crate::{Error, Result, model::ImageShape};

/// Opens `cars3d:DIR`. Cars are numbered in the order of their files' names.
pub(super) fn open(name: &str, dir: &Path) -> Result<Box<dyn Dataset>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        if path.extension().is_some_and(|extension| extension == "mat") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    let Some(first) = paths.first() else {
        return Err(Error::malformed(dir, "folder", "no .mat file", "one for each car"));
    };
    let dims = car(first)?.0;
    let [height, width, channels, azimuths, elevations] = dims;
    let views = elevations * azimuths;
    let all = [paths.len() * views, height, width, channels].map(|dim| dim as u64);
    let array::Array { images, image } = array::of_images(first, "im", &all)?;
    let factors = [("car", paths.len()), ("azimuth", azimuths), ("elevation", elevations)];
    // As everywhere, what never changes is no factor.
    let factors = factors.into_iter().filter(|&(_, size)| size > 1).map(|(name, size)| FactorInfo::new(name, size));
    let labels = Labels::Ordered(factors.collect());
    let pixels = Spool::new(Box::new(Cars { paths, dims, image }), images, image.size(), views)?;
    Ok(Box::new(Stored::new(name, images, image, pixels, labels)))
}

/// The dimensions of a car's array and its bytes, the first index fastest.
fn car(path: &Path) -> Result<([usize; 5], Vec<u8>)> {
    let file = File::open(path).map_err(Error::io(path))?;
    let expected = "a MATLAB file of version 5 to 7 with an array `im`";
    let file = MatFile::parse(BufReader::new(file)).map_err(|e| Error::malformed(path, "file", e, expected))?;
    let im = file.find_by_name("im").ok_or_else(|| {
        let found: Vec<_> = file.arrays().iter().map(|array| array.name()).collect();
        // An array that is cut short counts as none.
        let found = if found.is_empty() { "none".into() } else { found.join(", ") };
        Error::malformed(path, "arrays", found, "im among them")
    })?;
    let dims = <[usize; 5]>::try_from(im.size().as_slice()).ok().filter(|dims| dims.iter().all(|&dim| dim > 0));
    let dims = dims.ok_or_else(|| {
        Error::malformed(
            path,
            "im, shape",
            format!("{:?}", im.size()),
            "(height, width, channels, azimuths, elevations)",
        )
    })?;
    let NumericData::UInt8 { real, imag: None } = im.data() else {
        return Err(Error::malformed(path, "im, type", "other numbers", "unsigned bytes"));
    };
    let size = dims.iter().try_fold(1usize, |product, &dim| product.checked_mul(dim));
    if size != Some(real.len()) {
        return Err(Error::malformed(path, "im", format!("{} bytes", real.len()), &format!("as many as {dims:?} has")));
    }
    Ok((dims, real.clone()))
}

/// One car a slab.
struct Cars {
    paths: Vec<PathBuf>,
    dims: [usize; 5],
    image: ImageShape,
}

impl Slabs for Cars {
    fn unpack(&self, slab: usize, out: &mut dyn Write) -> Result<()> {
        let path = &self.paths[slab];
        let (dims, bytes) = car(path)?;
        if dims != self.dims {
            let expected = format!("{:?}, as in {}", self.dims, self.paths[0].display());
            return Err(Error::malformed(path, "im, shape", format!("{dims:?}"), &expected));
        }
        let ImageShape { channels, height, width } = self.image;
        let [.., azimuths, elevations] = dims;
        let size = self.image.size();
        let mut pixels = vec![0; size];
        for (azimuth, elevation) in (0..azimuths).flat_map(|a| (0..elevations).map(move |e| (a, e))) {
            let view = &bytes[(elevation * azimuths + azimuth) * size..][..size];
            for (i, pixel) in pixels.iter_mut().enumerate() {
                let (row, column, channel) = (i / channels / width, i / channels % width, i % channels);
                *pixel = view[(channel * width + column) * height + row];
            }
            out.write_all(&pixels).map_err(Error::io(std::env::temp_dir()))?;
        }
        Ok(())
    }
}
