//! One process per run directory: a lock that the system releases when its holder dies.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::Path,
};

use super::{atomic, error::RunDirectoryError};

/// The lock's file name. The file stays: who removed it could remove the lock of another.
pub(super) const FILE: &str = "lock";

/// Held as long as this value lives.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a directory, or names who has it.
    pub(super) fn acquire(run: &Path) -> Result<Self, RunDirectoryError> {
        let path = run.join(FILE);
        let refuse = |error| RunDirectoryError::write("lock", &path, error);
        // Between opening and locking, another process may have set the directory aside: what was
        // locked then is no longer what lies at the path, and the text in the file tells.
        for _ in 0..8 {
            let mut file = match OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // The directory was there a moment ago: another process set it aside.
                    return Err(RunDirectoryError::Locked { path: run.into(), holder: String::new() });
                }
                other => other.map_err(refuse)?,
            };
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(RunDirectoryError::Locked { path: run.into(), holder: say_holder(&path) });
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    tracing::warn!(
                        "the file system of `{}` has no locks: make sure that one process at a time works there",
                        run.display()
                    );
                }
                Err(TryLockError::Error(error)) => return Err(refuse(error)),
            }
            let text = format!("{}\n{}\n", std::process::id(), atomic::temporary_name().display());
            file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(refuse)?;
            match fs::read(&path) {
                Ok(found) if found != text.as_bytes() => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // Where a lock also forbids reading, it forbids renaming the directory too.
                _ => return Ok(Self { file }),
            }
        }
        Err(RunDirectoryError::Locked { path: run.into(), holder: String::new() })
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave the lock to a child process that was just forked and has not yet
        // closed its copy of the file.
        let _ = self.file.unlock();
    }
}

fn say_holder(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().and_then(|line| line.parse::<u32>().ok()).map_or(String::new(), |id| format!(" (process {id})"))
}
