//! What a run directory says of the run: its config and its data.

use std::path::{Path, PathBuf, absolute};

use brenier_measure::TargetConfig;
use brenier_measure::data::{relative_to, sha256, sha256_of_file};
use brenier_training::run_directory::RunDirectory;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::config::Config;
use crate::error::Error;
use crate::run::problem::{DataRecord, Problem};

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
    /// The files of the target as they lie to the run directory: a project that moves as a whole is found again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    relative: Vec<PathBuf>,
}

impl RunRecord {
    /// The record of a new run.
    pub fn new(config: Config, data: DataRecord) -> Self {
        let program_version = crate::arguments::VERSION.to_string();
        Self { schema_version: SCHEMA_VERSION, program_version, config, data, relative: Vec::new() }
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
        let mut record: Self = serde_json::from_str(&text).map_err(|error| foreign(error.to_string()))?;
        record.find_data(directory.path());
        Ok(record)
    }

    /// The problem of the run, from its data wherever they are.
    ///
    /// # Errors
    ///
    /// Data that cannot be read, or that are not those of the run.
    pub fn problem(&self) -> Result<Problem, Error> {
        let problem = Problem::new(&self.config).map_err(|error| match self.data_file() {
            Some(path) if !path.exists() => {
                error.hint("if the data of the run have moved, say where they are now with `--data PATH`")
            }
            // That the file is another one comes before what is wrong with it.
            Some(path) => match sha256_of_file(&path) {
                Ok(found) if !self.data.origin.ends_with(&found) => {
                    Error::data_changed(&self.data.origin, &format!("sha256:{found}"))
                }
                _ => error,
            },
            None => error,
        })?;
        self.check_data(&problem.data)?;
        Ok(problem)
    }

    /// The file that the target of the run is read from, if any.
    pub fn data_file(&self) -> Option<PathBuf> {
        self.config.target.clone().paths().into_iter().next().map(|path| path.clone())
    }

    /// Takes the data from another place.
    ///
    /// # Errors
    ///
    /// A target that is read from no file.
    pub fn take_data_from(&mut self, path: &Path) -> Result<(), Error> {
        match self.config.target.paths().into_iter().next() {
            Some(own) => absolute(path).map(|path| *own = path).map_err(|error| Error::writing(path, error)),
            None => Err(Error::no_data_file(&self.config.name, self.config.target.name())),
        }
    }

    /// The same run with another config of it, in its directory, which must be there.
    pub fn with_config(self, config: Config, directory: &Path) -> Self {
        let mut record = Self { config, ..self };
        let files = record.config.target.paths();
        record.relative = files.into_iter().map(|path| relative_to(path, directory)).collect();
        record
    }

    /// Takes the data that lie to the run directory as they did, where these are the right ones: a copy of a project is a project of
    /// its own.
    fn find_data(&mut self, directory: &Path) {
        let sha256 = self.data.origin.rsplit_once("sha256:").map(|(_, sha256)| sha256.to_owned());
        let is_right = |path: &Path| sha256_of_file(path).ok() == sha256;
        for (path, relative) in self.config.target.paths().into_iter().zip(&self.relative) {
            let (there, moved) = (path.canonicalize().ok(), directory.join(relative).canonicalize().ok());
            let Some(moved) = moved.filter(|moved| there.as_ref() != Some(moved)) else { continue };
            if is_right(&moved) {
                info!("{} is now {}", path.display(), moved.display());
                *path = moved;
            }
        }
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
