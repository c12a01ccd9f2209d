//! smallNORB (LeCun, Huang & Bottou 2004): pictures of toys in five categories, in the matrix files that its authors publish, as they
//! are or gzipped.
//!
//! A matrix file is a magic number for the type, the number of dimensions, at least three dimensions (all 32-bit, little endian), data.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

use super::{
    Dataset, array,
    labels::Labels,
    spool::{InFile, Pixels, Slabs, Spool},
    stored::Stored,
};
use crate::{Error, Result, model::ImageShape};

/// Training and testing images; the files' names go on with `-dat.mat`, `-cat.mat` and `-info.mat`.
const PARTS: [&str; 2] = ["smallnorb-5x46789x9x18x6x2x96x96-training", "smallnorb-5x01235x9x18x6x2x96x96-testing"];

const FACTORS: [&str; 5] = ["category", "instance", "elevation", "azimuth", "lighting"];

/// Magic numbers of matrices of bytes and of 32-bit integers.
const BYTES: u32 = 0x1e3d_4c55;
const INTEGERS: u32 = 0x1e3d_4c54;

/// Opens `smallnorb:DIR`: training and testing images together, the left one of each stereo pair.
pub(super) fn open(name: &str, dir: &Path) -> Result<Box<dyn Dataset>> {
    let [training, testing] = PARTS.map(|part| images(dir, part));
    let (training, testing) = (training?, testing?);
    if training.image != testing.image {
        let expected = format!("{}, as in the other part", training.image);
        return Err(Error::malformed(dir, "images", testing.image, &expected));
    }
    let mut values = labels(dir, PARTS[0], training.images)?;
    values.extend(labels(dir, PARTS[1], testing.images)?);
    let labels = Labels::of_numbers(array::columns(FACTORS.map(String::from).to_vec(), &values), dir)?;
    let (images, image) = (training.images + testing.images, training.image);
    Ok(Box::new(Stored::new(name, images, image, Joined(training, testing), labels)))
}

/// The images of one part.
struct Part {
    images: usize,
    image: ImageShape,
    pixels: Box<dyn Pixels>,
}

/// Two parts, one after the other.
struct Joined(Part, Part);

impl Pixels for Joined {
    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        match index.checked_sub(self.0.images) {
            None => self.0.pixels.read(index, pixels),
            Some(index) => self.1.pixels.read(index, pixels),
        }
    }
}

/// A matrix file, open behind its dimensions.
struct Matrix {
    path: PathBuf,
    reader: Box<dyn Read>,
    gzipped: bool,
    dims: Vec<u64>,
    /// Bytes before the data.
    offset: u64,
}

impl Matrix {
    fn open(path: PathBuf, magic: u32) -> Result<Self> {
        let file = BufReader::new(File::open(&path).map_err(Error::io(&path))?);
        let gzipped = path.extension().is_some_and(|extension| extension == "gz");
        let reader: Box<dyn Read> = if gzipped { Box::new(GzDecoder::new(file)) } else { Box::new(file) };
        let mut matrix = Self { path, reader, gzipped, dims: Vec::new(), offset: 0 };
        let found = matrix.number("magic number")?;
        if found != magic {
            return Err(Error::malformed(&matrix.path, "magic number", format!("{found:#x}"), &format!("{magic:#x}")));
        }
        let dims = matrix.number("dimensions")?;
        if !(1..=4).contains(&dims) {
            return Err(Error::malformed(&matrix.path, "dimensions", dims, "1 to 4"));
        }
        for _ in 0..dims.max(3) {
            let dim = matrix.number("dimensions")?;
            matrix.dims.push(dim.into());
        }
        matrix.dims.truncate(dims as usize);
        Ok(matrix)
    }

    fn number(&mut self, field: &str) -> Result<u32> {
        let mut bytes = [0; 4];
        self.read(&mut bytes, field)?;
        self.offset += 4;
        Ok(u32::from_le_bytes(bytes))
    }

    fn read(&mut self, bytes: &mut [u8], field: &str) -> Result<()> {
        self.reader.read_exact(bytes).map_err(|e| Error::malformed(&self.path, field, e, "a whole matrix file"))
    }
}

/// The file of `part` that ends in `kind`, or its gzipped form.
fn path(dir: &Path, part: &str, kind: &str) -> PathBuf {
    let plain = dir.join(format!("{part}-{kind}.mat"));
    let gzipped = dir.join(format!("{part}-{kind}.mat.gz"));
    if !plain.exists() && gzipped.exists() { gzipped } else { plain }
}

fn images(dir: &Path, part: &str) -> Result<Part> {
    let matrix = Matrix::open(path(dir, part, "dat"), BYTES)?;
    let [images, 2, height, width] = matrix.dims[..] else {
        return Err(Error::malformed(
            &matrix.path,
            "dimensions",
            format!("{:?}", matrix.dims),
            "[images, 2, height, width]",
        ));
    };
    let array::Array { images, image } = array::of_images(&matrix.path, "images", &[images, height, width])?;
    let pair = 2 * image.size() as u64;
    let pixels: Box<dyn Pixels> = if matrix.gzipped {
        let slabs = Gzipped { path: matrix.path, images, size: image.size() };
        Box::new(Spool::new(Box::new(slabs), images, image.size(), images)?)
    } else {
        let (found, expected) = (
            std::fs::metadata(&matrix.path).map_err(Error::io(&matrix.path))?.len(),
            matrix.offset + images as u64 * pair,
        );
        if found != expected {
            let expected = format!("{expected}, for {images} pairs of images");
            return Err(Error::malformed(&matrix.path, "bytes", found, &expected));
        }
        Box::new(InFile::open(&matrix.path, matrix.offset, pair)?)
    };
    Ok(Part { images, image, pixels })
}

/// Pairs of images in a gzipped file, which can only be read from its start.
struct Gzipped {
    path: PathBuf,
    images: usize,
    size: usize,
}

impl Slabs for Gzipped {
    fn unpack(&self, _slab: usize, out: &mut dyn Write) -> Result<()> {
        let mut matrix = Matrix::open(self.path.clone(), BYTES)?;
        let mut pair = vec![0; 2 * self.size];
        let mut out = io::BufWriter::new(out);
        for index in 0..self.images {
            matrix.read(&mut pair, &format!("image {index}"))?;
            out.write_all(&pair[..self.size]).map_err(Error::io(std::env::temp_dir()))?;
        }
        out.flush().map_err(Error::io(std::env::temp_dir()))
    }
}

/// The factor values of a part, `(images, factors)`.
fn labels(dir: &Path, part: &str, images: usize) -> Result<Vec<f64>> {
    let (categories, infos) = (path(dir, part, "cat"), path(dir, part, "info"));
    let categories = integers(categories, &[images as u64], images)?;
    let infos = integers(infos, &[images as u64, 4], 4 * images)?;
    let rows = categories.iter().zip(infos.chunks_exact(4));
    Ok(rows.flat_map(|(&category, info)| [category, info[0], info[1], info[2], info[3]]).map(f64::from).collect())
}

fn integers(path: PathBuf, dims: &[u64], count: usize) -> Result<Vec<i32>> {
    let mut matrix = Matrix::open(path, INTEGERS)?;
    if matrix.dims != dims {
        return Err(Error::malformed(&matrix.path, "dimensions", format!("{:?}", matrix.dims), &format!("{dims:?}")));
    }
    let mut bytes = vec![0; 4 * count];
    matrix.read(&mut bytes, "data")?;
    let (numbers, _) = bytes.as_chunks::<4>();
    Ok(numbers.iter().map(|&number| i32::from_le_bytes(number)).collect())
}
