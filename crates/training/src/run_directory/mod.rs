//! A run directory: how a run is stored so that it survives being killed, a full disk and damage.
//!
//! ```text
//! config.json            the resolved config, in the words of whoever stored it
//! run.json               which run this is, and the CRC-32 of config.json
//! metrics.jsonl          one object a line: a step, and every named scalar
//! checkpoint-00005000/   the files of one step, and manifest.json: length and CRC-32 of each
//! latest, best           one-line files: a step and the CRC-32 of that step's manifest.json
//! lock                   held by the one process that writes checkpoints
//! ```
//!
//! Bytes go in, the same bytes come out, or an error or a warning says why not: what the files of a
//! checkpoint mean is its writer's business. [`RunDirectory`] reads; [`LockedRunDirectory`] also
//! writes, and only one process can have it.
//!
//! # Design
//!
//! - Every file and every checkpoint is built under a temporary name, synced, and renamed: what has
//!   its proper name is whole. A run directory exists once its config.json does, which is written last.
//! - The two records, run.json and manifest.json, carry their own CRC-32, so that no byte of a
//!   checkpoint is unguarded even where nothing points at it. `latest` and `best` tell what is
//!   missing and which one is best; the manifests tell what is sound, and the newest sound checkpoint
//!   is the latest. So a writer may be killed between any two operations.
//! - A manifest also records the best checkpoint as of its step. A run that goes on from it decides
//!   the next best one exactly as the run that never stopped.
//! - A run is named by a hash of the config it started with. A run is a function of its config, so a
//!   checkpoint of an equal config is the same checkpoint, and any other is foreign.
//!
//! # Example
//!
//! ```
//! use brenier_training::run_directory::{CheckpointSelector, RunDirectory};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("digits");
//! let mut run = RunDirectory::create(&path, r#"{"seed": 0}"#)?;
//! run.append_metrics(&serde_json::json!({"step": 100, "loss": 0.5}))?;
//! run.write_checkpoint(100, &[("weights.bpk", b"...")], Some(0.4), 3)?;
//! drop(run); // or a kill
//!
//! let best = RunDirectory::open(&path)?.load(CheckpointSelector::Best)?;
//! assert_eq!((best.step, best.files["weights.bpk"].as_slice()), (100, &b"..."[..]));
//!
//! let mut run = RunDirectory::open_locked(&path)?;
//! let resumed = run.resume()?.expect("a checkpoint was written");
//! assert_eq!(resumed.step, 100);
//! # Ok(())
//! # }
//! ```

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

mod atomic;
mod checkpoint;
mod crc32;
mod error;
mod load;
mod lock;
mod locked;
mod manifest;
mod metrics_log;
mod record;
mod seal;
#[cfg(test)]
mod tests;

pub use atomic::write_atomically;
pub use checkpoint::{CheckpointSelector, LoadedCheckpoint};
pub use crc32::Crc32;
pub use error::{CheckpointDamage, RunDirectoryError};
pub use locked::LockedRunDirectory;
pub use manifest::Best;

use lock::Lock;
use record::RunRecord;

const CONFIG: &str = "config.json";
const LATEST: &str = "latest";
const BEST: &str = "best";

/// A run directory, open for reading by any number of processes.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
    run: String,
}

impl RunDirectory {
    /// Makes a new run directory, and those above it, and takes its lock.
    ///
    /// # Errors
    /// [`RunDirectoryError::Exists`] where the path holds anything; what a write can meet.
    pub fn create(path: &Path, config_json: &str) -> Result<LockedRunDirectory, RunDirectoryError> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(RunDirectoryError::Exists { path: path.into() });
        }
        let parent = atomic::parent_of(path);
        if !parent.is_dir() {
            atomic::create_directories(parent)?;
        }
        match atomic::create_directory(path) {
            Err(RunDirectoryError::Io { reason, .. }) if reason.kind() == io::ErrorKind::AlreadyExists => {
                return Err(RunDirectoryError::Exists { path: path.into() });
            }
            other => other?,
        }
        atomic::sync_directory(parent)?;
        let lock = Lock::acquire(path)?;
        LockedRunDirectory::begin(path, config_json, lock)
    }

    /// Opens the run directory and takes its lock, or makes it where nothing was ever stored: where
    /// the path does not exist, is empty, or holds what a killed [`RunDirectory::create`] left.
    ///
    /// # Errors
    /// As [`RunDirectory::create`] and [`RunDirectory::open_locked`].
    pub fn open_or_create(path: &Path, config_json: &str) -> Result<LockedRunDirectory, RunDirectoryError> {
        if fs::symlink_metadata(path).is_err() {
            return Self::create(path, config_json);
        }
        if !holds_nothing(path)? {
            return Self::open_locked(path);
        }
        let lock = Lock::acquire(path)?;
        // Another process may have stored its config before this one had the lock.
        if holds_nothing(path)? {
            checkpoint::sweep(path)?;
            return LockedRunDirectory::begin(path, config_json, lock);
        }
        LockedRunDirectory::go_on(Self::open(path)?, lock)
    }

    /// Opens a run directory for reading; whoever writes in it is not disturbed.
    ///
    /// # Errors
    /// Where there is no run directory, it was never finished, or its record is damaged.
    pub fn open(path: &Path) -> Result<Self, RunDirectoryError> {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => {
                let reason = "it is a file. Give the directory that `train run` made".into();
                return Err(RunDirectoryError::NotARun { path: path.into(), reason });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunDirectoryError::NotFound { path: path.into() });
            }
            Err(error) => return Err(RunDirectoryError::read(path, error)),
        }
        let record = match RunRecord::read(path) {
            Err(RunDirectoryError::NotARun { .. }) if path.join(lock::FILE).exists() && holds_nothing(path)? => {
                return Err(RunDirectoryError::Unfinished { path: path.into() });
            }
            other => other?,
        };
        let config = path.join(CONFIG);
        if !config.is_file() {
            return Err(match holds_nothing(path)? {
                true => RunDirectoryError::Unfinished { path: path.into() },
                false => RunDirectoryError::NoConfig { path: config },
            });
        }
        Ok(Self { path: path.into(), run: record.run })
    }

    /// Opens a run directory, takes its lock, and sweeps up what a killed writer left.
    ///
    /// # Errors
    /// [`RunDirectoryError::Locked`] where another process has it; as [`RunDirectory::open`]; what
    /// a write can meet.
    pub fn open_locked(path: &Path) -> Result<LockedRunDirectory, RunDirectoryError> {
        // Looked at first, so that no lock file appears in what is no run directory.
        let directory = Self::open(path)?;
        let lock = Lock::acquire(path)?;
        LockedRunDirectory::go_on(directory, lock)
    }

    /// Renames a run directory to `NAME.old-N`, N the first number above those there, and gives the
    /// new path; `None` where there is nothing at the path.
    ///
    /// # Errors
    /// [`RunDirectoryError::Locked`] where a process works in it, [`RunDirectoryError::NotARun`]
    /// where it holds something else; what a rename can meet.
    pub fn move_aside(path: &Path) -> Result<Option<PathBuf>, RunDirectoryError> {
        if fs::symlink_metadata(path).is_err() {
            return Ok(None);
        }
        let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
            let reason = "it has no name of its own to set aside. Give the path of a run directory".into();
            return Err(RunDirectoryError::NotARun { path: path.into(), reason });
        };
        if !path.join(record::FILE).is_file() && !holds_nothing(path)? {
            // The one error that says what is missing.
            Self::open(path)?;
        }
        let lock = Lock::acquire(path)?;
        let parent = atomic::parent_of(path);
        let prefix = format!("{name}.old-");
        let entries = checkpoint::entries(parent)?;
        let taken = entries.iter().filter_map(|entry| entry.strip_prefix(&prefix)?.parse::<u64>().ok()).max();
        let aside = path.with_file_name(format!("{prefix}{}", taken.unwrap_or(0).saturating_add(1)));
        // Windows renames no directory that holds an open file; elsewhere the lock is kept to the end.
        let held = if cfg!(windows) { None } else { Some(lock) };
        atomic::rename(path, &aside)?;
        drop(held);
        atomic::sync_directory(parent)?;
        Ok(Some(aside))
    }

    /// Where the run lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The config as it was stored.
    ///
    /// # Errors
    /// [`RunDirectoryError::ConfigChanged`] where it is not what the run stored.
    pub fn config(&self) -> Result<String, RunDirectoryError> {
        let path = self.path.join(CONFIG);
        let read = || atomic::read(&path).map_err(|error| RunDirectoryError::read(&path, error));
        let mut bytes = read()?;
        loop {
            let found = Crc32::of(&bytes);
            let stored = RunRecord::read(&self.path)?.config_crc32.contains(&found);
            match String::from_utf8(bytes) {
                Ok(config) if stored => return Ok(config),
                _ => {}
            }
            // The run may have replaced its config between the two reads.
            bytes = read()?;
            if Crc32::of(&bytes) == found {
                return Err(RunDirectoryError::ConfigChanged { path, found });
            }
        }
    }

    /// The steps that have a checkpoint, ascending, sound or not.
    ///
    /// # Errors
    /// Where the directory cannot be listed.
    pub fn steps(&self) -> Result<Vec<u64>, RunDirectoryError> {
        checkpoint::steps(&self.path)
    }

    /// The whole lines of metrics.jsonl, as objects.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn metrics(&self) -> Result<Vec<Map<String, Value>>, RunDirectoryError> {
        Ok(metrics_log::read(&self.path)?.0)
    }

    /// The same, and the number of lines between them that are damaged.
    ///
    /// # Errors
    /// Where the file is there and cannot be read.
    pub fn metrics_and_damage(&self) -> Result<(Vec<Map<String, Value>>, usize), RunDirectoryError> {
        metrics_log::read(&self.path)
    }

    /// Whether a path, relative to a run directory, is one of its own: a record, the log, or anything in a checkpoint.
    pub fn keeps(name: &Path) -> bool {
        let own = [CONFIG, LATEST, BEST, record::FILE, lock::FILE, metrics_log::FILE];
        name.components().next().is_some_and(|first| {
            let first = first.as_os_str().to_string_lossy();
            let step = checkpoint::step_of(first.strip_suffix(checkpoint::ASIDE).unwrap_or(&first));
            own.contains(&first.as_ref()) || first.starts_with(atomic::TEMPORARY) || step.is_some()
        })
    }

    /// Writes a file of the run atomically: `evaluation.json`, `figures/samples.png`, making the
    /// directory it lies in.
    ///
    /// # Errors
    /// [`RunDirectoryError::Refused`] for a name outside the run directory or one that it keeps
    /// itself; what a write can meet.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), RunDirectoryError> {
        let path = self.path.join(name);
        let inside = Path::new(name).components().all(|component| matches!(component, Component::Normal(_)));
        if !inside || name.is_empty() || Self::keeps(Path::new(name)) {
            let reason = "this name is not free for a file of the run. Choose another one inside the run directory";
            return Err(RunDirectoryError::Refused { path, reason: reason.into() });
        }
        let parent = atomic::parent_of(&path);
        if !parent.is_dir() {
            atomic::create_directories(parent)?;
        }
        match atomic::write_atomically_through(&self.path, &path, bytes) {
            // A process that took the lock just now sweeps temporary names: once more.
            Err(RunDirectoryError::Io { reason, .. }) if reason.kind() == io::ErrorKind::NotFound => {
                atomic::write_atomically_through(&self.path, &path, bytes)
            }
            other => other,
        }
    }

    /// Writes a record of the run as [`RunDirectory::write_file`] does, with its own CRC-32 at the end: an object in which `format` and
    /// `format_version` say what it is.
    ///
    /// # Errors
    /// As [`RunDirectory::write_file`]; [`RunDirectoryError::Refused`] for what JSON cannot hold.
    pub fn write_record(&self, name: &str, record: &impl Serialize) -> Result<(), RunDirectoryError> {
        let refused = |reason: String| RunDirectoryError::Refused { path: self.path.join(name), reason };
        let text = seal::seal(record).map_err(|error| refused(format!("no JSON object: {error}")))?;
        self.write_file(name, &text)
    }

    /// A record that [`RunDirectory::write_record`] wrote, or `None` where there is no file of that name.
    ///
    /// # Errors
    /// A byte that changed, another format or version, a file that cannot be read.
    pub fn read_record<T: DeserializeOwned>(
        &self,
        name: &str,
        format: &str,
        version: u64,
    ) -> Result<Option<T>, CheckpointDamage> {
        match atomic::read(&self.path.join(name)) {
            Ok(bytes) => seal::unseal(name, &bytes, format, version).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(reason) => Err(CheckpointDamage::Unreadable { file: name.into(), reason }),
        }
    }
}

/// Whether a directory is empty, or holds no more than a killed [`RunDirectory::create`] leaves.
fn holds_nothing(path: &Path) -> Result<bool, RunDirectoryError> {
    if !path.is_dir() {
        return Ok(false);
    }
    let entries = checkpoint::entries(path)?;
    Ok(entries.iter().all(|entry| entry == lock::FILE || entry == record::FILE || entry.starts_with(atomic::TEMPORARY)))
}
