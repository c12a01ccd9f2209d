//! The sample sheets that a run drew as it went on.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use image::ImageFormat;

use super::html::{paragraph, picture, steps};
use crate::{Error, Result, viz};

/// Steps whose sheets a page holds; a run that drew more has some left out, so that the page stays small.
const STEPS: usize = 12;
/// The kinds of sheets, as in `step-00001000-traversal.png`, and what they show.
const KINDS: [(&str, &str); 2] = [
    ("reconstructions", "held-out images, each over its reconstruction"),
    ("traversal", "one latent a row, from −2 to 2, around the code of the first image"),
];

/// PNG files by kind, of the steps that are shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sheets {
    /// How many steps have sheets.
    drawn: usize,
    /// By step.
    shown: BTreeMap<u64, Vec<(&'static str, Vec<u8>)>>,
}

impl Sheets {
    /// Reads the sheets of `RUN/samples`; none where there is no such folder.
    ///
    /// # Errors
    /// A file cannot be read or is no PNG.
    pub fn read(folder: &Path) -> Result<Self> {
        let entries = match fs::read_dir(folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            entries => entries.map_err(Error::io(folder))?,
        };
        let mut all = BTreeMap::new();
        for entry in entries {
            let name = entry.map_err(Error::io(folder))?.file_name().to_string_lossy().into_owned();
            let parts = name.strip_prefix("step-").and_then(|name| name.strip_suffix(".png")?.split_once('-'));
            let Some((step, kind)) = parts else { continue };
            if let (Ok(step), Some(kind)) = (step.parse::<u64>(), KINDS.iter().position(|known| known.0 == kind)) {
                all.entry(step).or_insert_with(BTreeMap::new).insert(kind, folder.join(&name));
            }
        }
        let drawn = all.len();
        let mut shown = BTreeMap::new();
        for (step, files) in all.into_iter().enumerate().filter(|&(i, _)| is_shown(i, drawn)).map(|(_, entry)| entry) {
            let read = |(kind, path): (usize, PathBuf)| Ok((KINDS[kind].0, read_sheet(&path)?));
            shown.insert(step, files.into_iter().map(read).collect::<Result<Vec<_>>>()?);
        }
        Ok(Self { drawn, shown })
    }
}

/// The picture in a PNG file, as a small one.
fn read_sheet(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let picture = image::load_from_memory_with_format(&bytes, ImageFormat::Png)
        .map_err(|e| Error::malformed(path, "picture", e, "a PNG file"))?;
    viz::small_png(&picture.to_rgb8())
}

/// Whether the sheet at `position` of `drawn` is one of [`STEPS`], equally far apart with the first and the last.
fn is_shown(position: usize, drawn: usize) -> bool {
    let chosen = |i: usize| i * (drawn - 1) / (STEPS - 1);
    drawn <= STEPS || (0..STEPS).any(|i| chosen(i) == position)
}

/// The sheets of each kind, to be stepped through.
pub(super) fn section(sheets: &Sheets) -> String {
    if sheets.drawn == 0 {
        return paragraph("The run has no sample sheets.");
    }
    let mut html = String::new();
    if sheets.shown.len() < sheets.drawn {
        html.push_str(&paragraph(&format!("{} of {} steps with sheets.", sheets.shown.len(), sheets.drawn)));
    }
    for (kind, text) in KINDS {
        let of_kind = sheets.shown.iter().flat_map(|(step, files)| files.iter().map(move |file| (step, file)));
        let of_kind = of_kind.filter(|(_, file)| file.0 == kind);
        let figure = |(step, (kind, png)): (&u64, &(&str, Vec<u8>))| {
            (format!("step {step}"), picture(png, "sheet", &format!("{kind} after step {step}")))
        };
        html.push_str(&paragraph(&format!("{}{}.", text[..1].to_uppercase(), &text[1..])));
        html.push_str(&steps(of_kind.map(figure)));
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(steps: impl Iterator<Item = u64>) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let png = viz::png(&image::RgbImage::new(2, 2)).unwrap();
        for step in steps {
            for (kind, _) in KINDS {
                fs::write(folder.path().join(format!("step-{step:08}-{kind}.png")), &png).unwrap();
            }
        }
        folder
    }

    #[test]
    fn long_runs_show_some_of_their_steps() {
        let few = folder([1000, 500].into_iter());
        fs::write(few.path().join("notes.png"), "").unwrap();
        let html = section(&Sheets::read(few.path()).unwrap());
        assert!(html.find("step 500<") < html.find("step 1000<") && !html.contains("steps with sheets"), "{html}");
        assert_eq!(html.matches("<img").count(), 4);

        let many = Sheets::read(folder((1..=300).map(|i| 1000 * i)).path()).unwrap();
        let steps: Vec<u64> = many.shown.keys().copied().collect();
        assert_eq!((steps.len(), steps[0], steps[11]), (12, 1000, 300_000));
        assert!(section(&many).contains("12 of 300 steps"));
        assert!(section(&Sheets::read(Path::new("/nowhere")).unwrap()).contains("no sample sheets"));
    }

    #[test]
    fn what_is_no_picture_is_named() {
        let folder = folder([7].into_iter());
        fs::write(folder.path().join("step-00000007-traversal.png"), "text").unwrap();
        let error = Sheets::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("step-00000007-traversal.png") && error.contains("a PNG file"), "{error}");
    }
}
