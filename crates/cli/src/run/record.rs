//! What a run directory says of the run: its config and its data.

use std::path::PathBuf;

use brenier_measure::TargetConfig;
use brenier_measure::data::sha256;
use brenier_training::run_directory::RunDirectory;
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::error::Error;
use crate::run::problem::DataRecord;

/// The version of `config.json` in a run directory.
const SCHEMA_VERSION: u32 = 1;

/// The file `config.json` of a run directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRecord {
    /// The version of this file's form.
    pub schema_version: u32,
    /// The program that made the run.
    pub program_version: String,
    /// The resolved config; its seed is also the seed of the split.
    pub config: Config,
    /// What the run remembers of its data.
    pub data: DataRecord,
}

impl RunRecord {
    /// The record of a new run.
    pub fn new(config: Config, data: DataRecord) -> Self {
        Self { schema_version: SCHEMA_VERSION, program_version: crate::arguments::VERSION.to_string(), config, data }
    }

    /// The record of a run directory.
    ///
    /// # Errors
    ///
    /// A record of another version, or one that was edited into something else.
    pub fn read(directory: &RunDirectory) -> Result<Self, Error> {
        let text = directory.config()?;
        let foreign = |reason: String| Error::foreign_run(directory.path(), reason);
        let version = serde_json::from_str::<serde_json::Value>(&text)
            .map_err(|error| foreign(error.to_string()))?
            .get("schema_version")
            .and_then(serde_json::Value::as_u64);
        if version != Some(u64::from(SCHEMA_VERSION)) {
            return Err(foreign(format!(
                "its form is version {version:?}, this program reads version {SCHEMA_VERSION}"
            )));
        }
        serde_json::from_str(&text).map_err(|error| foreign(error.to_string()))
    }

    /// The target of the run, wherever its files lie, and the data that it was trained on.
    pub fn what_was_learnt(&self) -> (TargetConfig, &str) {
        let mut target = self.config.target.clone();
        target.paths().into_iter().for_each(|path| *path = PathBuf::new());
        (target, &self.data.origin)
    }

    /// The SHA-256 of all that points in standardised coordinates are made of: the target with its parameters, the data, the coordinates
    /// and the seed.
    pub fn fingerprint(&self) -> String {
        let (target, _) = self.what_was_learnt();
        let whole = serde_json::to_string(&(target, &self.data, self.config.seed));
        sha256(whole.expect("a record of a run has string keys").as_bytes())
    }

    /// Refuses data that are not those of the run.
    ///
    /// # Errors
    ///
    /// Another file, or another version of a target.
    pub fn check_data(&self, data: &DataRecord) -> Result<(), Error> {
        if self.data.origin == data.origin {
            return Ok(());
        }
        Err(Error::data_changed(&self.data.origin, &data.origin))
    }

    /// The text of the file.
    ///
    /// # Errors
    ///
    /// A path that is no Unicode text, which JSON cannot hold.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| {
            Error::bad_input("the config cannot be stored")
                .caused_by(error)
                .hint("run from a folder, and name files, whose paths are Unicode text")
        })?;
        text.push('\n');
        Ok(text)
    }
}
