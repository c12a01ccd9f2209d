//! Files that are either whole or not there.

use std::{
    fs,
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result};

/// How the names of files and folders begin that are still being written.
pub const UNFINISHED: &str = ".unbraid-";

/// Writes `bytes` beside `path`, flushes them to the disk and renames: a reader sees the old file or the new one.
///
/// # Errors
/// The folder cannot be written or the disk is full; then `path` is as it was and nothing is left beside it.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = parent(path);
    make_folder(&folder)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(UNFINISHED);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The umask takes its share, as for any new file.
        builder.permissions(fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(&folder).map_err(Error::io(path))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(Error::io(path))?;
    file.persist(path).map_err(|e| Error::Io { path: path.into(), cause: e.error })?;
    sync_folder(&folder)
}

/// Writes `value` as JSON, whole or not at all.
///
/// # Errors
/// As [`write_atomic`].
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|e| Error::Unsupported(format!("{}: as JSON: {e}", path.display())))?;
    write_atomic(path, (json + "\n").as_bytes())
}

/// The JSON in `path`; nothing where there is no such file.
///
/// # Errors
/// The file cannot be read, or is not what this version of unbraid writes.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| Error::malformed(path, "JSON", e, "what this version of unbraid writes")),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path)(e)),
    }
}

/// Removes from `folder` what a killed process was writing. Nobody else may be writing there.
///
/// # Errors
/// The folder cannot be read, or something in it not removed.
pub fn remove_unfinished(folder: &Path) -> Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::io(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(UNFINISHED) {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

/// Refuses to go on where `path` exists, unless `force`.
///
/// # Errors
/// [`Error::Exists`].
pub fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    if !force && path.symlink_metadata().is_ok() {
        return Err(Error::Exists { path: path.into() });
    }
    Ok(())
}

/// Makes a folder, and those that it lies in.
///
/// # Errors
/// The system refuses, or there is a file of that name.
pub fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|e| match e.kind() {
        // "File exists" would sound as if all were well.
        ErrorKind::AlreadyExists => Error::io(path)(ErrorKind::NotADirectory.into()),
        _ => Error::io(path)(e),
    })
}

/// The folder that `path` lies in.
pub fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.into(),
        _ => ".".into(),
    }
}

/// Makes a rename in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    // Only Unix lets a folder be opened and flushed.
    if cfg!(unix) {
        fs::File::open(folder).and_then(|f| f.sync_all()).map_err(Error::io(folder))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/file");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(refuse_existing(&path, true).is_ok());
        let error = refuse_existing(&path, false).unwrap_err().to_string();
        assert!(error.contains("new/file") && error.contains("--force"), "{error}");
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = write_atomic(&file.join("below"), b"x").unwrap_err().to_string();
        assert!(error.contains("file"), "{error}");
    }
}
