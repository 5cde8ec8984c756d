//! What can go wrong with a run directory, said so that a person can act on it.

use std::{io, path::PathBuf};

use thiserror::Error;

use super::crc32::Crc32;

/// Why a run directory, or a file of it, could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunDirectoryError {
    /// A new run would land on something that exists.
    #[error(
        "the run directory `{path}` exists already, and nothing in it was touched. Go on with `--resume`, set it \
         aside and start again with `--fresh`, or choose another `name`"
    )]
    Exists {
        /// The directory.
        path: PathBuf,
    },

    /// There is nothing at the path.
    #[error("there is no run directory `{path}`. Check the path; a run lies in its config's `output.directory`")]
    NotFound {
        /// The path that was given.
        path: PathBuf,
    },

    /// The path holds something else.
    #[error("`{path}` is no run directory: {reason}")]
    NotARun {
        /// The path that was given.
        path: PathBuf,
        /// What is missing, and where to look instead.
        reason: String,
    },

    /// The process that made the directory was stopped before its config was stored.
    #[error(
        "the run directory `{path}` was never finished, and holds nothing of value. Start its run again with \
         `train run CONFIG --resume`"
    )]
    Unfinished {
        /// The directory.
        path: PathBuf,
    },

    /// The config of a run that has checkpoints is gone.
    #[error(
        "`{path}` is missing, so this run's checkpoints cannot be interpreted. Put the file back from a copy, or start \
         again with `--fresh`"
    )]
    NoConfig {
        /// Where the config should be.
        path: PathBuf,
    },

    /// The config is not the one that the run stored.
    #[error(
        "`{path}` is not as this run stored it (its CRC-32 is {found}): it is damaged or was edited. Put it back \
         from a copy; what a run may change is changed by `train run CONFIG --resume`"
    )]
    ConfigChanged {
        /// The config file.
        path: PathBuf,
        /// The CRC-32 of what the file holds now.
        found: Crc32,
    },

    /// The file that makes a directory a run directory is damaged.
    #[error("the run record `{path}` is damaged ({damage}). Put it back from a copy, or start again with `--fresh`")]
    DamagedRecord {
        /// The record's file.
        path: PathBuf,
        /// What is wrong with it.
        damage: CheckpointDamage,
    },

    /// Another process works in the directory.
    #[error(
        "the run directory `{path}` is in use by another process{holder}. Wait until it ends, stop it, or choose \
         another `name`"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// ` (process 123)` where the lock file says so, else empty.
        holder: String,
    },

    /// No checkpoint of the run can be used.
    #[error(
        "the run directory `{path}` holds no usable checkpoint: {}. Put one back from a copy, or start again with \
         `--fresh`, which keeps what is there under another name",
        reasons.join("; ")
    )]
    NoCheckpoint {
        /// The run directory.
        path: PathBuf,
        /// What is wrong, one checkpoint each.
        reasons: Vec<String>,
    },

    /// The checkpoint that was asked for by its step cannot be used.
    #[error("the checkpoint at step {step} of `{path}` cannot be used: {damage}. {}", say_available(available))]
    Step {
        /// The run directory.
        path: PathBuf,
        /// The step that was asked for.
        step: u64,
        /// What is wrong with it.
        damage: CheckpointDamage,
        /// The other steps that have a checkpoint.
        available: Vec<u64>,
    },

    /// A request that would break the directory's promises.
    #[error("`{path}`: {reason}")]
    Refused {
        /// The file or directory in question.
        path: PathBuf,
        /// What was asked for, and what to do instead.
        reason: String,
    },

    /// The disk, a quota or a file size limit is exhausted.
    #[error(
        "no space to {action} `{path}` ({reason}). What was stored before is intact: free some space (or lower \
         `output.keep_last`), then run the command again; a training run goes on with `train resume`"
    )]
    Full {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },

    /// The place may not be written.
    #[error(
        "no permission to {action} `{path}` ({reason}). What was stored before is intact: make the directory writable, \
         or choose another place (`output.directory`, `--run-dir` or `--out`)"
    )]
    ReadOnly {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },

    /// The system refused to read.
    #[error("cannot read `{path}`: {reason}")]
    Unreadable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },

    /// Any other failure to write.
    #[error("cannot {action} `{path}`: {reason}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        reason: io::Error,
    },
}

impl RunDirectoryError {
    /// Sorts a failed write by what a person can do about it.
    pub(super) fn write(action: &'static str, path: impl Into<PathBuf>, reason: io::Error) -> Self {
        let path = path.into();
        match reason.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Self::Full { action, path, reason }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::ReadOnly { action, path, reason }
            }
            _ => Self::Io { action, path, reason },
        }
    }

    /// A failed read.
    pub(super) fn read(path: impl Into<PathBuf>, reason: io::Error) -> Self {
        Self::Unreadable { path: path.into(), reason }
    }

    /// Whether what was asked for or what was found is at fault, not the machine (exit code 2, not 1).
    pub fn is_input(&self) -> bool {
        !matches!(self, Self::Full { .. } | Self::ReadOnly { .. } | Self::Io { .. })
    }
}

fn say_available(steps: &[u64]) -> String {
    if steps.is_empty() {
        return "The run has no other checkpoint".into();
    }
    let steps: Vec<String> = steps.iter().map(u64::to_string).collect();
    format!("Steps with a checkpoint: {}; or ask for `latest` or `best`", steps.join(", "))
}

/// What is wrong with one checkpoint or record.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CheckpointDamage {
    /// A file is not there.
    #[error("`{file}` is missing")]
    Missing {
        /// The file's name.
        file: String,
    },

    /// A file has another length than was written.
    #[error("`{file}` has {length} bytes, and {expected} were written")]
    Length {
        /// The file's name.
        file: String,
        /// Its length now.
        length: u64,
        /// The length in the manifest.
        expected: u64,
    },

    /// A file has the right length and the wrong bytes.
    #[error("`{file}` has CRC-32 {found}, and {expected} was written")]
    Checksum {
        /// The file's name.
        file: String,
        /// Its CRC-32 now.
        found: Crc32,
        /// The CRC-32 in the manifest.
        expected: Crc32,
    },

    /// A record does not pass its own seal, or is none.
    #[error("`{file}` is torn, altered, or not of this program ({reason})")]
    Record {
        /// The record's file.
        file: String,
        /// Which check failed.
        reason: String,
    },

    /// A record of another version of this program.
    #[error("`{file}` has format version {found}, and this program reads version {supported}")]
    Version {
        /// The record's file.
        file: String,
        /// Its format version.
        found: u64,
        /// The one that is read here.
        supported: u64,
    },

    /// A checkpoint of another run.
    #[error("it belongs to another run ({found}, where this run is {expected})")]
    Foreign {
        /// The run that the manifest names.
        found: String,
        /// This run.
        expected: String,
    },

    /// A checkpoint under the name of another step.
    #[error("its manifest says step {found}")]
    WrongStep {
        /// The step in the manifest.
        found: u64,
    },

    /// The system refused to read.
    #[error("`{file}` cannot be read ({reason})")]
    Unreadable {
        /// The file's name.
        file: String,
        /// What the system said.
        reason: io::Error,
    },
}
