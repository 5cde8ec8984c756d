//! File operations that leave either the old state or the new one, whenever the process is killed.
//!
//! # Design
//!
//! All writing goes through the few functions here, so that a test can stop the writer between any
//! two of them, or in the middle of one.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};

use super::error::RunDirectoryError;

/// How the names of unfinished files and directories begin.
pub(super) const TEMPORARY: &str = ".tmp-";

/// Replaces the file at `path` by these bytes, or leaves it as it was.
///
/// The bytes go to a temporary name in the same directory, are synced, renamed, and the rename is
/// synced.
///
/// # Errors
/// A full disk, a place that may not be written, or any other refusal of the system.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), RunDirectoryError> {
    let parent = parent_of(path);
    write_atomically_through(parent, path, bytes)
}

/// The same with the directory in which the temporary file lies (on the same file system).
pub(super) fn write_atomically_through(scratch: &Path, path: &Path, bytes: &[u8]) -> Result<(), RunDirectoryError> {
    let temporary = scratch.join(temporary_name());
    let written = write_synced(&temporary, bytes).and_then(|()| rename(&temporary, path));
    if written.is_err() {
        // A name that stays behind is swept later; the first error is the one to tell.
        let _ = remove(&temporary);
    }
    written?;
    sync_directory(parent_of(path))
}

/// Reads a record: a regular file, and no longer than any record is.
///
/// # Errors
/// What the system says; something that is no file, or that would never end.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A whitening of a thousand dimensions takes 30 MB in a config.
    const LONGEST: u64 = 1 << 28;
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    if metadata.len() > LONGEST {
        return Err(io::Error::other(format!(
            "it holds {} bytes, and no record is longer than {LONGEST}",
            metadata.len()
        )));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The directory that holds `path`.
pub(super) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A name that no other writer uses: process numbers repeat among containers, hence the clock.
pub(super) fn temporary_name() -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{TEMPORARY}{}-{clock:x}-{count}", std::process::id()).into()
}

/// Makes one directory.
pub(super) fn create_directory(path: &Path) -> Result<(), RunDirectoryError> {
    interruption()
        .and_then(|()| fs::create_dir(path))
        .map_err(|error| RunDirectoryError::write("create the directory", path, error))
}

/// Makes a directory and those above it where they are missing.
pub(super) fn create_directories(path: &Path) -> Result<(), RunDirectoryError> {
    interruption()
        .and_then(|()| fs::create_dir_all(path))
        .map_err(|error| RunDirectoryError::write("create the directory", path, error))
}

/// Writes a new file, down to the disk.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), RunDirectoryError> {
    let write = || -> io::Result<()> {
        interruption()?;
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        write_bytes(&mut file, bytes)?;
        interruption()?;
        file.sync_all()
    };
    write().map_err(|error| RunDirectoryError::write("write", path, error))
}

/// Writes all bytes to an open file.
pub(super) fn write_bytes(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    if let Err(error) = interruption() {
        file.write_all(&bytes[..bytes.len() / 2])?;
        return Err(error);
    }
    file.write_all(bytes)
}

/// Renames a file or a directory; an existing file is replaced.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), RunDirectoryError> {
    interruption()
        .and_then(|()| fs::rename(from, to))
        .map_err(|error| RunDirectoryError::write("put in place", to, error))
}

/// Makes the names in a directory durable, where the platform can (on Windows a directory cannot be
/// opened as a file, and its renames are durable in order).
pub(super) fn sync_directory(path: &Path) -> Result<(), RunDirectoryError> {
    if !cfg!(unix) {
        return Ok(());
    }
    match interruption().and_then(|()| File::open(path)).and_then(|directory| directory.sync_all()) {
        // Some network file systems have no such operation.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        other => other.map_err(|error| RunDirectoryError::write("sync", path, error)),
    }
}

/// Removes a file or a whole directory, or finds it gone.
pub(super) fn remove(path: &Path) -> Result<(), RunDirectoryError> {
    let removed = interruption().and_then(|()| match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    });
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| RunDirectoryError::write("remove", path, error)),
    }
}

#[cfg(not(test))]
fn interruption() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
fn interruption() -> io::Result<()> {
    fuse::burn()
}

/// Stops the writer of this thread after a number of file operations.
#[cfg(test)]
pub(super) mod fuse {
    use std::{cell::Cell, io};

    /// What happens when the fuse has burnt down.
    #[derive(Debug, Clone, Copy)]
    pub enum Failure {
        /// Nothing is written any more, as after `kill -9`.
        Kill,
        /// One operation fails with this error, and the next ones succeed.
        Once(io::ErrorKind),
    }

    thread_local! {
        static LEFT: Cell<Option<(usize, Failure)>> = const { Cell::new(None) };
    }

    /// Lets `operations` more operations succeed.
    pub fn light(operations: usize, failure: Failure) {
        LEFT.set(Some((operations, failure)));
    }

    /// Ends the experiment, and says whether the fuse had burnt down.
    pub fn put_out() -> bool {
        !matches!(LEFT.take(), Some((1.., _)))
    }

    /// Counts one operation.
    pub fn burn() -> io::Result<()> {
        match LEFT.get() {
            None => Ok(()),
            Some((0, Failure::Kill)) => Err(io::Error::other("killed")),
            Some((0, Failure::Once(kind))) => {
                LEFT.set(None);
                Err(kind.into())
            }
            Some((left, failure)) => {
                LEFT.set(Some((left - 1, failure)));
                Ok(())
            }
        }
    }
}
