//! The methods, one file or folder each, and the one place that knows them all.

pub mod annealed_particles;
mod density;
pub mod gaussian_mixture;
#[cfg(test)]
pub mod gaussian_moments;
pub mod localized;
pub mod monge_ampere_logistic;
pub mod monge_ampere_score;
mod sampling;
pub mod score_matching;
pub mod wiring;

use std::path::PathBuf;

use brenier_training::run_directory::RunDirectory;
use burn::tensor::Device;
use tracing::{info, warn};

use self::wiring::{Flags, Start, Wiring};
use crate::config::{Config, MethodConfig};
use crate::error::Error;
use crate::run::opened::{StoredRun, TrainedRun};
use crate::run::problem::Problem;
use crate::run::record::RunRecord;

/// What the program asks of the method of a config.
pub fn wiring(method: &MethodConfig) -> &dyn Wiring {
    match method {
        MethodConfig::AnnealedParticles(config) => config,
        MethodConfig::DenoisingScoreMatching(config) => config,
        MethodConfig::GaussianMixture(config) => config,
        MethodConfig::MongeAmpereLogistic(config) => config.as_ref(),
        MethodConfig::MongeAmpereScore(config) => config.as_ref(),
        #[cfg(test)]
        MethodConfig::GaussianMoments(config) => config,
    }
}

/// A config whose method leaves nothing to the data; why so is told.
pub fn choose(mut config: Config, problem: &Problem) -> Config {
    if let Some((method, reasons)) = wiring(&config.method).choose(&config, problem) {
        for reason in reasons {
            info!("{reason}");
        }
        config.method = method;
    }
    config
}

/// The paths in the section of a method, which a stored config holds from the root.
pub fn paths(method: &mut MethodConfig) -> Vec<&mut PathBuf> {
    match method {
        MethodConfig::GaussianMixture(config) => config.start_from.iter_mut().collect(),
        _ => Vec::new(),
    }
}

/// The record of a run directory, with all that its method writes out.
///
/// # Errors
///
/// Those of [`RunRecord::read`], and a section that is missing.
pub fn read_record(directory: &RunDirectory) -> Result<RunRecord, Error> {
    let mut record = RunRecord::read(directory)?;
    let method = record.config.method.clone();
    wiring(&method).resolve(&mut record.config).map_err(|missing| Error::foreign_run(directory.path(), missing))?;
    Ok(record)
}

/// The law of a stored run, by its own method (see [`StoredRun::into_trained`]).
///
/// # Errors
///
/// Those of [`StoredRun::into_trained`].
pub fn open(
    run: StoredRun,
    flags: &Flags,
    problem: Option<&Problem>,
    device: &Device,
    go_on: &(dyn Fn() -> bool + Sync),
    quiet: bool,
) -> Result<TrainedRun, Error> {
    let method = run.record.config.method.clone();
    run.into_trained(wiring(&method), flags, problem, device, go_on, quiet)
}

/// Refuses to start from a run whose weights would mean something else here.
///
/// # Errors
///
/// No run, or one of another model; other coordinates are warned of.
pub fn check_start(run: &RunRecord) -> Result<(), Error> {
    let own = wiring(&run.config.method);
    let Some(Start { path, key, must_match }) = own.start_from(&run.config) else { return Ok(()) };
    let other = RunRecord::read(&RunDirectory::open(path)?)?;
    if own.model() != wiring(&other.config.method).model() || run.data.dim != other.data.dim {
        let message = format!("the run {} in `{key}` has another model", path.display());
        return Err(Error::bad_input(message)
            .hint(format!("{must_match} and the dimension of the data must be those of that run's config.json")));
    }
    if run.data.standardization != other.data.standardization || run.data.sigma_data != other.data.sigma_data {
        warn!("the weights of {} were trained in other standardised coordinates", path.display());
    }
    Ok(())
}
