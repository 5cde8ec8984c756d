//! A run on disk, opened for reading: its record, and the law of one of its checkpoints.

use std::path::{Path, PathBuf};

use brenier_model::TrainedSampler;
use brenier_training::Files;
use brenier_training::run_directory::{CheckpointSelector, RunDirectory};
use burn::tensor::Device;

use crate::error::Error;
use crate::methods::wiring::{Flags, Wiring};
use crate::output_file;
use crate::run::RunView;
use crate::run::law::Law;
use crate::run::problem::Problem;
use crate::run::record::RunRecord;

/// A checkpoint of a run, verified and not yet made into a law.
pub struct StoredRun {
    /// The directory.
    pub directory: RunDirectory,
    /// Its record.
    pub record: RunRecord,
    step: u64,
    files: Files,
}

/// A run with the law of one of its checkpoints.
pub struct TrainedRun {
    /// The directory.
    pub directory: RunDirectory,
    /// Its record.
    pub record: RunRecord,
    /// The step of the checkpoint.
    pub step: u64,
    /// The law, in standardised coordinates.
    pub sampler: Box<dyn TrainedSampler>,
}

impl StoredRun {
    /// Opens a run directory and verifies the whole checkpoint; `data` is where its data are now, if they have moved.
    ///
    /// # Errors
    ///
    /// No run directory, no checkpoint that verifies, and data for a run that has none.
    pub fn open(path: &Path, selector: CheckpointSelector, data: Option<&Path>) -> Result<Self, Error> {
        let directory = RunDirectory::open(path)?;
        let mut record = RunRecord::read(&directory)?;
        data.map(|data| record.take_data_from(data)).transpose()?;
        let loaded = directory.load(selector)?;
        loaded.say_warnings();
        Ok(Self { record, step: loaded.step, files: loaded.files, directory })
    }

    /// Refuses a file that an answer must not be written to: one that the run is stored in, that it learnt from, or one of these inputs.
    ///
    /// # Errors
    ///
    /// Those of [`output_file`].
    pub fn check_output(&self, out: &Path, inputs: &[&Path]) -> Result<(), Error> {
        output_file::check_outside_run(out, &self.directory)?;
        let data = self.record.config.target.files();
        output_file::check(out, inputs.iter().copied().chain(data.iter().map(PathBuf::as_path)))
    }

    /// Makes the law of the checkpoint, with what the flags put over the config.
    ///
    /// # Errors
    ///
    /// Flags that mean nothing to the method, files that do not fit it, an interruption.
    pub fn into_trained(
        self,
        wiring: &dyn Wiring,
        flags: &Flags,
        problem: Option<&Problem>,
        device: &Device,
        go_on: &(dyn Fn() -> bool + Sync),
        quiet: bool,
    ) -> Result<TrainedRun, Error> {
        let Self { directory, mut record, step, files } = self;
        wiring.resolve(&mut record.config).map_err(|missing| Error::foreign_run(directory.path(), missing))?;
        if let Some(flag) = flags.first_foreign(wiring) {
            return Err(Error::foreign_flag(flag, &record.config.name, wiring.name()));
        }
        let view = RunView { record: &record, directory: Some(&directory), problem, device, go_on, quiet };
        let sampler = wiring.open(&view, &files, flags)?;
        debug_assert_eq!(sampler.score_network().is_some(), wiring.has_score_network(), "{}", wiring.name());
        Ok(TrainedRun { sampler, directory, record, step })
    }
}

impl TrainedRun {
    /// The law in the coordinates of the data.
    pub fn law(&self) -> Law<'_> {
        Law { sampler: self.sampler.as_ref(), data: &self.record.data }
    }
}
