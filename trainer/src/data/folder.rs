//! Pictures in a folder and the folders in it, decoded when they are asked for; with a table of factors, if there is one.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use csv::StringRecord;
use image::{DynamicImage, ImageReader};
use walkdir::WalkDir;

use super::{Dataset, FactorInfo, labels::Labels, picture::PictureOptions, spool::unreadable};
use crate::{Error, Result, model::ImageShape};

/// The table's name: a header `file,FACTOR,...` and a line for each picture.
const TABLE: &str = "factors.csv";

const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];

/// Pictures in files of their own.
struct Folder {
    name: String,
    paths: Vec<PathBuf>,
    options: PictureOptions,
    image: ImageShape,
    labels: Labels,
}

/// Opens `folder:DIR`. Pictures are in the order of their paths, or of the table's lines.
///
/// The images have the shape of the first picture that can be read; without a size, all others must have it too.
pub(super) fn open(name: &str, dir: &Path, options: PictureOptions) -> Result<Box<dyn Dataset>> {
    let mut paths = pictures(dir)?;
    if paths.is_empty() {
        let expected = format!("pictures, of which the names end in {}", EXTENSIONS.join(", "));
        return Err(Error::malformed(dir, "folder", "none", &expected));
    }
    let table = dir.join(TABLE);
    let labels = if table.exists() { read_table(dir, &table, &mut paths)? } else { Labels::None };
    let mut pictures = paths.iter().enumerate().map(|(index, path)| Ok(options.apply(decode(path, index)?)?.0));
    let first = pictures.next().unwrap_or_else(|| Err(Error::malformed(&table, "lines", "none", "one a picture")));
    // The fault of the first is told where all are damaged.
    let image = first.or_else(|fault| pictures.find_map(Result::ok).ok_or(fault))?;
    Ok(Box::new(Folder { name: name.into(), paths, options, image, labels }))
}

/// All pictures below `dir`, sorted; hidden files and folders are none.
fn pictures(dir: &Path) -> Result<Vec<PathBuf>> {
    let hidden =
        |entry: &walkdir::DirEntry| entry.depth() > 0 && entry.file_name().as_encoded_bytes().starts_with(b".");
    let mut paths = Vec::new();
    for entry in WalkDir::new(dir).follow_links(true).into_iter().filter_entry(|entry| !hidden(entry)) {
        let entry = entry.map_err(|e| {
            let path = e.path().unwrap_or(dir).to_path_buf();
            let cause = e.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of links"));
            Error::Io { path, cause }
        })?;
        let extension = entry.path().extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        if entry.file_type().is_file() && EXTENSIONS.contains(&extension.to_lowercase().as_str()) {
            paths.push(entry.into_path());
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Reads the table, by whose lines `paths` are put in order.
fn read_table(dir: &Path, table: &Path, paths: &mut Vec<PathBuf>) -> Result<Labels> {
    let fault = |e: csv::Error| Error::malformed(table, "table", e, "comma-separated values, as many in each line");
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(table).map_err(fault)?;
    let header = reader.headers().map_err(fault)?.clone();
    if header.len() < 2 || header.get(0) != Some("file") {
        let found = header.iter().collect::<Vec<_>>().join(",");
        return Err(Error::malformed(table, "header", found, "file,FACTOR,..."));
    }
    let mut left: HashSet<PathBuf> = paths.drain(..).collect();
    let mut columns: Vec<_> = header.iter().skip(1).map(|name| (name.to_string(), Vec::new())).collect();
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(fault)? {
        let line = record.position().map_or(0, csv::Position::line);
        let mut fields = record.iter();
        let file = fields.next().unwrap_or_default();
        let path = dir.join(file);
        if !left.remove(&path) {
            let expected = "a picture below the folder, named once";
            return Err(Error::malformed(table, &format!("line {line}"), file, expected));
        }
        paths.push(path);
        columns.iter_mut().zip(fields).for_each(|((_, column), value)| column.push(value.to_string()));
    }
    match left.iter().min() {
        Some(path) => {
            let found = format!("no line for {}", path.strip_prefix(dir).unwrap_or(path).display());
            Err(Error::malformed(table, "lines", found, "one for each picture"))
        }
        None => Ok(Labels::of_words(columns)),
    }
}

/// Decodes the picture in a file, whatever its name says it is; 1 channel where the file has one, else 3.
fn decode(path: &Path, index: usize) -> Result<DynamicImage> {
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format).map_err(Error::io(path))?;
    reader.decode().map_err(|e| unreadable(path, index, &e))
}

impl Dataset for Folder {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> usize {
        self.paths.len()
    }

    fn image(&self) -> ImageShape {
        self.image
    }

    fn render(&self, index: usize, pixels: &mut [u8]) -> Result<()> {
        let path = &self.paths[index];
        let (shape, bytes) = self.options.apply(decode(path, index)?)?;
        if shape != self.image {
            let expected = format!("{}, as the first picture; --size N makes all alike", self.image);
            return Err(Error::malformed(path, &format!("image {index}"), shape, &expected));
        }
        pixels.copy_from_slice(&bytes);
        Ok(())
    }

    fn factors(&self) -> &[FactorInfo] {
        self.labels.factors()
    }

    fn is_grid(&self) -> bool {
        self.labels.is_grid()
    }

    fn factor_values(&self, index: usize) -> Vec<usize> {
        self.labels.values(index)
    }

    fn index_of(&self, values: &[usize]) -> Option<usize> {
        self.labels.index_of(values)
    }
}
