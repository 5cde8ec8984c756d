//! The run record `run.json`: what makes a directory a run directory, and which run it is.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use super::{atomic, crc32::Crc32, error::RunDirectoryError, seal};

/// The record's file name.
pub(super) const FILE: &str = "run.json";

const FORMAT: &str = "brenier-run";
const VERSION: u64 = 1;

/// Which run a directory holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunRecord {
    format: String,
    format_version: u64,
    program_version: String,
    /// A hash of the config that the run started with: equal runs have equal names, and
    /// checkpoints of unequal ones are foreign to each other.
    pub(super) run: String,
    /// The CRC-32 of config.json; two while it is being replaced.
    pub(super) config_crc32: Vec<Crc32>,
}

impl RunRecord {
    pub(super) fn new(config_json: &str) -> Self {
        Self {
            format: FORMAT.into(),
            format_version: VERSION,
            program_version: env!("CARGO_PKG_VERSION").into(),
            run: format!("{:016x}", fnv1a(config_json.as_bytes())),
            config_crc32: vec![Crc32::of(config_json.as_bytes())],
        }
    }

    pub(super) fn read(run: &Path) -> Result<Self, RunDirectoryError> {
        let path = run.join(FILE);
        let bytes = match atomic::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunDirectoryError::NotARun { path: run.into(), reason: say_where_to_look(run) });
            }
            Err(error) => return Err(RunDirectoryError::read(path, error)),
        };
        seal::unseal(FILE, &bytes, FORMAT, VERSION).map_err(|damage| RunDirectoryError::DamagedRecord { path, damage })
    }

    pub(super) fn write(&self, run: &Path) -> Result<(), RunDirectoryError> {
        let path = run.join(FILE);
        let text = seal::seal(self).map_err(|error| RunDirectoryError::write("write", &path, error.into()))?;
        atomic::write_atomically(&path, &text)
    }
}

fn say_where_to_look(path: &Path) -> String {
    match path.parent().filter(|parent| parent.join(FILE).is_file()) {
        Some(parent) => format!("it lies inside one; give `{}`", parent.display()),
        None => format!("it has no `{FILE}`. Give a directory that `train run` made"),
    }
}

/// The 64-bit hash of Fowler, Noll and Vo (FNV-1a): a name, no protection.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_fnv1a() {
        // Test vectors of draft-eastlake-fnv.
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
