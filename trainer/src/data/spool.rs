//! Images that lie uncompressed in a file, and compressed ones that are unpacked into such a file when first asked for.

use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{Error, Result};

/// Where the bytes of images come from, each of the same length.
pub(super) trait Pixels: Send + Sync {
    /// Fills `pixels` with image `index`.
    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<()>;
}

/// Images in a file, at even distances. The system's page cache keeps what fits into memory of them.
pub(super) struct InFile {
    file: File,
    path: PathBuf,
    /// Where the first image starts.
    offset: u64,
    /// From one image's start to the next one's.
    stride: u64,
}

impl InFile {
    pub(super) fn open(path: &Path, offset: u64, stride: u64) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        Ok(Self { file, path: path.into(), offset, stride })
    }
}

impl Pixels for InFile {
    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        let offset = self.offset + index as u64 * self.stride;
        read_at(&self.file, pixels, offset).map_err(|cause| unreadable(&self.path, index, &cause))
    }
}

/// Image `index` of the file `path` cannot be read.
pub(super) fn unreadable(path: &Path, index: usize, cause: &dyn std::fmt::Display) -> Error {
    Error::malformed(path, &format!("image {index}"), cause, "an image that can be read")
}

/// Compressed images, a slab of consecutive ones at a time.
pub(super) trait Slabs: Send + Sync {
    /// Writes all images of `slab` one after the other.
    fn unpack(&self, slab: usize, out: &mut dyn Write) -> Result<()>;
}

/// Unpacks slabs into a nameless temporary file, each when the first image of it is asked for, and reads images from there. It holds
/// one slab at most in memory, and goes with the process.
pub(super) struct Spool {
    slabs: Box<dyn Slabs>,
    file: File,
    /// Bytes of an image, images of a slab and of all.
    size: usize,
    slab: usize,
    images: usize,
    /// What came of each slab that was asked for; a damaged one is not tried again.
    unpacked: Vec<Mutex<Option<std::result::Result<(), String>>>>,
}

impl Spool {
    /// `images` of `size` bytes in slabs of `slab` images, the last of which may have fewer.
    pub(super) fn new(slabs: Box<dyn Slabs>, images: usize, size: usize, slab: usize) -> Result<Self> {
        let file = tempfile::tempfile().map_err(Error::io(std::env::temp_dir()))?;
        let unpacked = (0..images.div_ceil(slab)).map(|_| Mutex::new(None)).collect();
        Ok(Self { slabs, file, size, slab, images, unpacked })
    }

    fn unpack(&self, slab: usize) -> Result<()> {
        // Whoever panicked with the lock held has left nothing in it.
        let mut unpacked = self.unpacked[slab].lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = unpacked.get_or_insert_with(|| {
            let (first, last) = (slab * self.slab, ((slab + 1) * self.slab).min(self.images));
            let (offset, end) = ((first * self.size) as u64, (last * self.size) as u64);
            self.slabs.unpack(slab, &mut Part { file: &self.file, offset, end }).map_err(|e| e.to_string())
        });
        outcome.clone().map_err(Error::Unsupported)
    }
}

impl Pixels for Spool {
    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        self.unpack(index / self.slab)?;
        let offset = (index * self.size) as u64;
        read_at(&self.file, pixels, offset).map_err(Error::io(std::env::temp_dir()))
    }
}

/// The part of a file that a slab may fill.
struct Part<'a> {
    file: &'a File,
    offset: u64,
    end: u64,
}

impl Write for Part<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        let written = write_at(self.file, &bytes[..bytes.len().min(room)], self.offset)?;
        self.offset += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fills `bytes` from `offset` on, without the file's position, which threads would share.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

/// Fills `bytes` from `offset` on; every read says where, so that threads can share the file.
#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, bytes, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[read..];
        offset += read as u64;
    }
    Ok(())
}

#[cfg(windows)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}
