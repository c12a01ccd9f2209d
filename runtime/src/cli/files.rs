//! Output files that are either whole or not there.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use unbraid::ImageShape;

use super::picture::png;

/// Where a command writes a picture.
#[derive(clap::Args)]
pub struct PictureOutput {
    /// The picture to write, a PNG
    #[arg(short, long, value_name = "PNG", value_parser = png_path)]
    output: PathBuf,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

impl PictureOutput {
    /// [`check_output`] for the picture.
    pub fn check(&self) -> Result<()> {
        check_output(&self.output, self.force)
    }

    /// Writes a picture, `(H, W, C)` bytes.
    pub fn write(&self, shape: ImageShape, pixels: &[u8]) -> Result<()> {
        write(&self.output, &png(shape, pixels)?)
    }
}

fn png_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension() {
        Some(extension) if extension.eq_ignore_ascii_case("png") => Ok(path),
        _ => Err("pictures are written as PNG, so the name has to end in .png".into()),
    }
}

/// Refuses a path where a file could not be written later: before the work, not after it.
pub fn check_output(path: &Path, force: bool) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if !found.is_file() => bail!("{}: exists and is not a regular file", path.display()),
        Ok(_) if !force => bail!("{}: exists already; --force replaces it", path.display()),
        _ => {}
    }
    let folder = folder(path);
    if !folder.is_dir() {
        bail!("{}: there is no folder {}", path.display(), folder.display());
    }
    Ok(())
}

/// Writes `bytes` beside `path`, flushes them to the disk and renames: a reader sees the old file or the new one.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".unbraid-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The umask takes its share, as for any new file.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let written = || -> std::io::Result<()> {
        let mut file = builder.tempfile_in(folder(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        if cfg!(unix) {
            // Makes the rename durable; elsewhere a folder cannot be flushed.
            fs::File::open(folder(path))?.sync_all()?;
        }
        Ok(())
    };
    written().with_context(|| path.display().to_string())
}

/// The folder that `path` lies in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
