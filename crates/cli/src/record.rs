//! A run on disk seen as a whole: its config, its data, and the network of one of its checkpoints.

use std::path::Path;

use brenier_model::ScoreNetwork;
use brenier_training::averaged_model;
use brenier_training::run_directory::{CheckpointSelector, LoadedCheckpoint, RunDirectory};
use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::config::{Config, MethodConfig};
use crate::error::Error;
use crate::localized::Localization;
use crate::problem::{DataRecord, Problem};

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

    /// Refuses a `start_from` whose weights would mean something else here.
    ///
    /// # Errors
    ///
    /// No run, another network or another preconditioning; other coordinates are warned of.
    pub fn check_start_from(&self) -> Result<(), Error> {
        let Some(path) = &self.config.training.start_from else { return Ok(()) };
        let other = Self::read(&RunDirectory::open(path)?)?;
        let MethodConfig::DenoisingScoreMatching(own) = &self.config.method;
        let MethodConfig::DenoisingScoreMatching(theirs) = &other.config.method;
        let fits = own.network == theirs.network && own.preconditioning == theirs.preconditioning;
        if !fits || self.data.dim != other.data.dim {
            return Err(Error::foreign_start(path));
        }
        if self.data.standardization != other.data.standardization || self.data.sigma_data != other.data.sigma_data {
            warn!("the weights of {} were trained in other standardised coordinates", path.display());
        }
        Ok(())
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

    /// A freshly initialised network of the config on a device.
    ///
    /// # Errors
    ///
    /// A size out of range.
    pub fn network(&self, device: &Device) -> Result<ScoreNetwork, Error> {
        let MethodConfig::DenoisingScoreMatching(method) = &self.config.method;
        let DataRecord { dim, sigma_data, .. } = self.data;
        Ok(ScoreNetwork::new(&method.network, method.preconditioning, dim, sigma_data, self.config.seed, device)?)
    }
}

/// A run opened for reading, with the averaged network of one checkpoint.
pub struct OpenedRun {
    /// The directory.
    pub directory: RunDirectory,
    /// Its record.
    pub record: RunRecord,
    /// The step of the checkpoint.
    pub step: u64,
    /// The averaged network, on the device without autodiff.
    pub network: ScoreNetwork,
}

impl OpenedRun {
    /// Opens a run directory and verifies the whole checkpoint.
    ///
    /// # Errors
    ///
    /// No run directory, and no checkpoint that verifies.
    pub fn open(path: &Path, selector: CheckpointSelector, device: &Device) -> Result<Self, Error> {
        let directory = RunDirectory::open(path)?;
        let record = RunRecord::read(&directory)?;
        let loaded = load(&directory, selector)?;
        let network = averaged_model(record.network(device)?, &loaded.files, 0)?;
        Ok(Self { record, step: loaded.step, network, directory })
    }

    /// The localization curve of the run's data; without a `problem` at hand the data are loaded where the curve is not kept.
    pub fn localization<'a>(
        &'a self,
        problem: Option<&'a Problem>,
        go_on: &'a dyn Fn() -> bool,
        quiet: bool,
    ) -> Localization<'a> {
        Localization { run: &self.record, directory: Some(&self.directory), problem, go_on, quiet }
    }
}

/// Loads a checkpoint and says which fall-backs it took.
///
/// # Errors
///
/// Those of [`RunDirectory::load`].
pub fn load(directory: &RunDirectory, selector: CheckpointSelector) -> Result<LoadedCheckpoint, Error> {
    let loaded = directory.load(selector)?;
    say_warnings(&loaded);
    Ok(loaded)
}

/// Logs what a checkpoint was given with.
pub fn say_warnings(loaded: &LoadedCheckpoint) {
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
}
