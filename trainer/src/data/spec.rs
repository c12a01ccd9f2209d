//! What `--dataset` takes, as words: `sprites`, or `npz:FILE?size=64&gray`.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::{Args, ValueEnum};

use super::{
    Dataset, cars3d, folder, hdf5, npz,
    picture::{Fit, PictureOptions, Pictured, Size},
    readable::readable,
    scenes::Scenes,
    small_norb,
    sprites::Sprites,
};
use crate::{Error, Result, model::ImageShape};

/// Every name that there is, for messages.
pub const NAMES: &str = "sprites, scenes, npz:FILE, hdf5:FILE, folder:DIR, mpi3d:FILE, cars3d:DIR or smallnorb:DIR";

/// Where data comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sprites,
    Scenes,
    Npz,
    Hdf5,
    Folder,
    Mpi3d,
    Cars3d,
    SmallNorb,
}

impl Kind {
    const ALL: [Self; 8] =
        [Self::Sprites, Self::Scenes, Self::Npz, Self::Hdf5, Self::Folder, Self::Mpi3d, Self::Cars3d, Self::SmallNorb];

    fn name(self) -> &'static str {
        match self {
            Self::Sprites => "sprites",
            Self::Scenes => "scenes",
            Self::Npz => "npz",
            Self::Hdf5 => "hdf5",
            Self::Folder => "folder",
            Self::Mpi3d => "mpi3d",
            Self::Cars3d => "cars3d",
            Self::SmallNorb => "smallnorb",
        }
    }

    /// Whether the images are computed, not read.
    fn is_built_in(self) -> bool {
        matches!(self, Self::Sprites | Self::Scenes)
    }
}

/// How data from files is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Args)]
pub struct DataOptions {
    /// How pictures become images.
    #[command(flatten)]
    pub picture: PictureOptions,
    /// Read every image once at the start, and leave out those that cannot be read instead of stopping at them.
    #[arg(long)]
    pub skip_bad: bool,
}

/// A data set by name, with the options that make its images what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    kind: Kind,
    path: PathBuf,
    options: DataOptions,
}

impl FromStr for Spec {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The last question mark, so that a path may have others.
        let (place, options) = text.rsplit_once('?').unwrap_or((text, ""));
        let (name, path) = place.split_once(':').map_or((place, None), |(name, path)| (name, Some(path)));
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        match (kind, path) {
            (Some(kind), None) if kind.is_built_in() => {
                let spec = Self { kind, path: PathBuf::new(), options: DataOptions::default() };
                spec.with(parse_options(text, options)?)
            }
            (Some(kind), Some(path)) if !kind.is_built_in() && !path.is_empty() => {
                Ok(Self { kind, path: path.into(), options: parse_options(text, options)? })
            }
            _ => Err(Error::setting("dataset", text, NAMES)),
        }
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if self.kind.is_built_in() {
            return Ok(());
        }
        let path = self.path.display().to_string();
        let PictureOptions { size, crop, fit, gray } = self.options.picture;
        let options = [
            size.map(|size| format!("size={size}")),
            crop.map(|crop| format!("crop={crop}")),
            (fit == Fit::Stretch).then(|| "fit=stretch".into()),
            gray.then(|| "gray".into()),
            self.options.skip_bad.then(|| "skip-bad".into()),
        ];
        let options = options.into_iter().flatten().collect::<Vec<_>>().join("&");
        let mark = if options.is_empty() && !path.contains('?') { "" } else { "?" };
        write!(f, ":{path}{mark}{options}")
    }
}

/// Reads `size=64&gray`.
fn parse_options(text: &str, words: &str) -> Result<DataOptions> {
    let refused = |expected: &str| Error::setting("dataset", text, expected);
    let size = |value: &str| value.parse::<Size>().map(Some).map_err(|expected| refused(&expected));
    let mut options = DataOptions::default();
    for word in words.split('&').filter(|word| !word.is_empty()) {
        let picture = &mut options.picture;
        match word.split_once('=').unwrap_or((word, "")) {
            ("size", value) => picture.size = size(value)?,
            ("crop", value) => picture.crop = size(value)?,
            ("fit", value) => {
                picture.fit = Fit::from_str(value, false).map_err(|_| refused("fit=cut or fit=stretch"))?
            }
            ("gray", "") => picture.gray = true,
            ("skip-bad", "") => options.skip_bad = true,
            _ => {
                return Err(refused(
                    "behind the question mark some of size=, crop=, fit=, gray and skip-bad, joined by &",
                ));
            }
        }
    }
    Ok(options)
}

impl Spec {
    /// The same with `options` in place of those that it has, unless they are the defaults.
    ///
    /// # Errors
    /// The data is computed, for which there are none.
    pub fn with(mut self, options: DataOptions) -> Result<Self> {
        let defaults = DataOptions::default();
        if options == defaults {
            return Ok(self);
        }
        if self.kind.is_built_in() {
            return Err(Error::setting(
                "dataset",
                &self,
                "data from files where --size, --crop, --fit, --gray or --skip-bad is given",
            ));
        }
        let (picture, given) = (&mut self.options.picture, options.picture);
        picture.size = given.size.or(picture.size);
        picture.crop = given.crop.or(picture.crop);
        if given.fit != defaults.picture.fit {
            picture.fit = given.fit;
        }
        picture.gray |= given.gray;
        self.options.skip_bad |= options.skip_bad;
        Ok(self)
    }

    /// The same with a path that does not depend on the current folder: a relative one counts from `folder`.
    ///
    /// # Errors
    /// The current folder, from which a relative `folder` counts, is gone.
    pub fn absolute(mut self, folder: &Path) -> Result<Self> {
        if !self.kind.is_built_in() {
            let path = folder.join(&self.path);
            self.path = std::path::absolute(&path).map_err(Error::io(path))?;
        }
        Ok(self)
    }

    /// The same with the size that networks for `image` need, if the data are pictures and no size is given; gray for one channel.
    pub fn for_image(mut self, image: ImageShape) -> Self {
        let picture = &mut self.options.picture;
        if self.kind == Kind::Folder && picture.size.is_none() {
            picture.size = Some(Size { height: image.height, width: image.width });
            picture.gray |= image.channels == 1;
        }
        self
    }

    /// Opens the data.
    ///
    /// # Errors
    /// A file is missing or not what it should be.
    pub fn open(&self) -> Result<Box<dyn Dataset>> {
        let (name, path, options) = (self.to_string(), &self.path, self.options.picture);
        let dataset: Box<dyn Dataset> = match self.kind {
            Kind::Sprites => Box::new(Sprites::new()),
            Kind::Scenes => Box::new(Scenes::new()),
            Kind::Npz => npz::open(&name, path)?,
            Kind::Mpi3d => npz::open_mpi3d(&name, path)?,
            Kind::Hdf5 => hdf5::open(&name, path)?,
            Kind::Folder => folder::open(&name, path, options)?,
            Kind::Cars3d => cars3d::open(&name, path)?,
            Kind::SmallNorb => small_norb::open(&name, path)?,
        };
        // A folder's pictures are made into images where they are decoded.
        let dataset = match self.kind != Kind::Folder && options != PictureOptions::default() {
            true => Box::new(Pictured::new(dataset, options)?),
            false => dataset,
        };
        if self.options.skip_bad { readable(dataset) } else { Ok(dataset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for text in [
            "sprites",
            "scenes",
            "npz:a/b.npz",
            "hdf5:3dshapes.h5?size=32",
            "folder:C:\\pictures?size=48x64&crop=120&fit=stretch&gray&skip-bad",
            "folder:what??gray",
            "folder:what??",
        ] {
            assert_eq!(text.parse::<Spec>().unwrap().to_string(), text);
        }
        assert_eq!("mpi3d:a?fit=cut".parse::<Spec>().unwrap().to_string(), "mpi3d:a");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("faces", NAMES),
            ("npz", NAMES),
            ("npz:", NAMES),
            ("sprites:x", NAMES),
            ("zip:x", NAMES),
            ("sprites?gray", "data from files"),
            ("npz:a?size=0", "1 to 4096"),
            ("npz:a?size=12x", "1 to 4096"),
            ("npz:a?fit=pad", "fit=cut or fit=stretch"),
            ("npz:a?grey", "size=, crop=, fit=, gray and skip-bad"),
            ("npz:a?gray=1", "size=, crop=, fit=, gray and skip-bad"),
        ] {
            let error = text.parse::<Spec>().unwrap_err().to_string();
            assert!(error.starts_with("dataset = ") && error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn options_given_apart_join_those_in_the_name() {
        let spec = |text: &str| text.parse::<Spec>().unwrap();
        let options = spec("npz:a?crop=8&gray").options;
        assert_eq!(spec("folder:b?size=4&crop=5").with(options).unwrap(), spec("folder:b?size=4&crop=8&gray"));
        let image = ImageShape { channels: 1, height: 4, width: 6 };
        assert_eq!(spec("folder:b").for_image(image), spec("folder:b?size=4x6&gray"));
        assert_eq!(spec("folder:b?size=9").for_image(image), spec("folder:b?size=9"));
        assert_eq!(spec("npz:b").for_image(image), spec("npz:b"));
        let absolute = spec("npz:b").absolute("/data".as_ref()).unwrap();
        assert_eq!(absolute.to_string(), "npz:/data/b");
    }
}
