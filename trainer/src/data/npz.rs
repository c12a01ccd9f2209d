//! Arrays of NumPy in a zip file: dSprites' own file, MPI3D's, and others of the same kind.
//!
//! `images` or `imgs`, `(N, H, W)` or `(N, H, W, C)` of bytes or truth values; optionally `labels`, `factors` or dSprites'
//! `latents_classes`, `(N, F)` numbers, and `factor_names`, `(F)` words.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use npyz::{DType, Deserialize, NpyFile, NpyHeader, Order, TypeChar};
use zip::{CompressionMethod, ZipArchive, read::ZipFile};

use super::{
    Dataset,
    array::{self, Array},
    labels::Labels,
    mpi3d,
    spool::{InFile, Slabs, Spool},
    stored::Stored,
};
use crate::{Error, Result};

/// Bytes that are unpacked between two writes.
const BUFFER: usize = 1 << 20;

const IMAGES: [&str; 2] = ["images", "imgs"];
const LABELS: [&str; 3] = ["labels", "factors", "latents_classes"];
/// The factors of dSprites' file, the first of which never changes.
const DSPRITES: [&str; 6] = ["color", "shape", "scale", "rotation", "x", "y"];

/// Opens `npz:FILE`.
pub(super) fn open(name: &str, path: &Path) -> Result<Box<dyn Dataset>> {
    let mut archive = archive(path)?;
    let (key, array) = images(&mut archive, path)?;
    let labels = match find(&mut archive, &LABELS) {
        Some(labels) => read_labels(&mut archive, path, labels, array.images)?,
        None => Labels::None,
    };
    stored(name, path, archive, key, array, labels)
}

/// Opens `mpi3d:FILE`, whose images lie in the order of their factors.
pub(super) fn open_mpi3d(name: &str, path: &Path) -> Result<Box<dyn Dataset>> {
    let mut archive = archive(path)?;
    let (key, array) = images(&mut archive, path)?;
    let labels = Labels::Ordered(mpi3d::factors(path, array.images)?);
    stored(name, path, archive, key, array, labels)
}

type Archive = ZipArchive<BufReader<File>>;

fn archive(path: &Path) -> Result<Archive> {
    let file = File::open(path).map_err(Error::io(path))?;
    ZipArchive::new(BufReader::new(file)).map_err(|e| damaged(path, "zip directory", &e))
}

fn damaged(path: &Path, field: &str, cause: &dyn std::fmt::Display) -> Error {
    Error::malformed(path, field, cause, "a whole npz file")
}

/// The first of `names` that the file has.
fn find(archive: &mut Archive, names: &[&'static str]) -> Option<&'static str> {
    names.iter().copied().find(|name| archive.index_for_name(&format!("{name}.npy")).is_some())
}

fn member<'a>(archive: &'a mut Archive, path: &Path, key: &str) -> Result<ZipFile<'a, BufReader<File>>> {
    archive.by_name(&format!("{key}.npy")).map_err(|e| damaged(path, key, &e))
}

fn header(reader: &mut impl Read, path: &Path, key: &str) -> Result<NpyHeader> {
    NpyHeader::from_reader(reader).map_err(|e| damaged(path, key, &e))
}

/// Which array has the images, and what its header says.
fn images(archive: &mut Archive, path: &Path) -> Result<(&'static str, Array)> {
    let Some(key) = find(archive, &IMAGES) else {
        let found: Vec<_> =
            archive.file_names().flatten().map(|name| name.trim_end_matches(".npy").to_string()).collect();
        return Err(Error::malformed(path, "arrays", found.join(", "), "images or imgs among them"));
    };
    let header = header(&mut member(archive, path, key)?, path, key)?;
    let dtype = header.dtype();
    let bytes = matches!(&dtype, DType::Plain(ty) if ty.size_field() == 1
        && matches!(ty.type_char(), TypeChar::Uint | TypeChar::Bool));
    if !bytes {
        return Err(Error::malformed(path, &format!("{key}, type"), dtype.descr(), "'|u1' (uint8) or '|b1' (bool)"));
    }
    if header.order() != Order::C {
        return Err(Error::malformed(path, &format!("{key}, order"), "Fortran's", "C's, the last index fastest"));
    }
    Ok((key, array::of_images(path, key, header.shape())?))
}

fn stored(
    name: &str,
    path: &Path,
    mut archive: Archive,
    key: &'static str,
    array: Array,
    labels: Labels,
) -> Result<Box<dyn Dataset>> {
    let Array { images, image } = array;
    let size = image.size();
    let mut file = member(&mut archive, path, key)?;
    let (length, method, start) = (file.size(), file.compression(), file.data_start());
    let mut counted = Counted { reader: &mut file, bytes: 0 };
    header(&mut counted, path, key)?;
    let before = counted.bytes;
    if length != before + (images * size) as u64 {
        let expected = format!("{} for {images} images of {image}", before + (images * size) as u64);
        return Err(Error::malformed(path, &format!("{key}, bytes"), length, &expected));
    }
    match (method, start) {
        (CompressionMethod::Stored, Some(start)) => {
            let pixels = InFile::open(path, start + before, size as u64)?;
            Ok(Box::new(Stored::new(name, images, image, pixels, labels)))
        }
        _ => {
            let slabs = Deflated { path: path.into(), key };
            // The array is one stream: all of it is unpacked at once.
            let pixels = Spool::new(Box::new(slabs), images, size, images)?;
            Ok(Box::new(Stored::new(name, images, image, pixels, labels)))
        }
    }
}

/// Counts the bytes that are read.
struct Counted<R> {
    reader: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// An array that the zip file has compressed.
struct Deflated {
    path: PathBuf,
    key: &'static str,
}

impl Slabs for Deflated {
    fn unpack(&self, _slab: usize, out: &mut dyn Write) -> Result<()> {
        let mut archive = archive(&self.path)?;
        let mut file = member(&mut archive, &self.path, self.key)?;
        header(&mut file, &self.path, self.key)?;
        let mut out = BufWriter::with_capacity(BUFFER, out);
        // The checksum is compared at the end.
        io::copy(&mut file, &mut out).map_err(|e| damaged(&self.path, self.key, &e))?;
        out.flush().map_err(Error::io(std::env::temp_dir()))
    }
}

fn read_labels(archive: &mut Archive, path: &Path, key: &'static str, images: usize) -> Result<Labels> {
    let file = NpyFile::new(member(archive, path, key)?).map_err(|e| damaged(path, key, &e))?;
    let (shape, order, dtype) = (file.shape().to_vec(), file.order(), file.dtype());
    let factors = array::of_labels(path, key, &shape, images)?;
    if order != Order::C {
        return Err(Error::malformed(path, &format!("{key}, order"), "Fortran's", "C's, the last index fastest"));
    }
    let values = numbers(file, &dtype).map_err(|e| damaged(path, key, &e))?.ok_or_else(|| {
        Error::malformed(
            path,
            &format!("{key}, type"),
            dtype.descr(),
            "whole or floating-point numbers of up to 64 bits",
        )
    })?;
    let names = match find(archive, &["factor_names"]) {
        Some(names) => words(archive, path, names, factors)?,
        None if key == "latents_classes" && factors == DSPRITES.len() => DSPRITES.map(String::from).to_vec(),
        None => array::numbered(factors),
    };
    Labels::of_numbers(array::columns(names, &values), path)
}

/// All numbers of an array; none if it holds something else.
fn numbers<R: Read>(file: NpyFile<R>, dtype: &DType) -> io::Result<Option<Vec<f64>>> {
    fn all<R: Read, T: Deserialize>(file: NpyFile<R>, number: fn(T) -> f64) -> io::Result<Option<Vec<f64>>> {
        Ok(Some(file.into_vec()?.into_iter().map(number).collect()))
    }
    let DType::Plain(ty) = dtype else { return Ok(None) };
    match (ty.type_char(), ty.size_field()) {
        (TypeChar::Uint, 1) => all(file, |v: u8| v.into()),
        (TypeChar::Uint, 2) => all(file, |v: u16| v.into()),
        (TypeChar::Uint, 4) => all(file, |v: u32| v.into()),
        (TypeChar::Uint, 8) => all(file, |v: u64| v as f64),
        (TypeChar::Int, 1) => all(file, |v: i8| v.into()),
        (TypeChar::Int, 2) => all(file, |v: i16| v.into()),
        (TypeChar::Int, 4) => all(file, |v: i32| v.into()),
        (TypeChar::Int, 8) => all(file, |v: i64| v as f64),
        (TypeChar::Float, 4) => all(file, |v: f32| v.into()),
        (TypeChar::Float, 8) => all(file, |v: f64| v),
        _ => Ok(None),
    }
}

/// The words of an array of text.
fn words(archive: &mut Archive, path: &Path, key: &str, factors: usize) -> Result<Vec<String>> {
    let file = NpyFile::new(member(archive, path, key)?).map_err(|e| damaged(path, key, &e))?;
    let descr = file.dtype().descr();
    let words: Vec<String> = file
        .into_vec()
        .map_err(|_| Error::malformed(path, &format!("{key}, type"), descr, "text ('<U' and a length)"))?;
    if words.len() != factors {
        return Err(Error::malformed(path, key, format!("{} words", words.len()), &format!("{factors}, one a factor")));
    }
    Ok(words)
}
