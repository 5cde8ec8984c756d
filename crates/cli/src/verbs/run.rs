//! `train run`: trains a sampler from a config.

use brenier_training::run_directory::RunDirectory;
use tracing::info;

use crate::arguments::RunArguments;
use crate::config::{self, Config, difference::difference, set::Override};
use crate::error::{Error, Exit};
use crate::interruption::Deadline;
use crate::problem::Problem;
use crate::record::RunRecord;
use crate::training_run::{Ending, TrainingRun};
use crate::verbs::Context;

/// Trains from a config to its end, or until it is stopped.
pub fn run(arguments: &RunArguments, context: &Context) -> Result<Exit, Error> {
    let config = load(arguments)?;
    let path = arguments.run_dir.clone().unwrap_or_else(|| config.run_directory());
    if path.exists() && !arguments.resume && !arguments.fresh {
        return Err(Error::run_exists(&path));
    }
    let device = arguments.compute.open(config.device)?;
    let deadline = Deadline::after(arguments.max_time);
    let problem = Problem::new(&config)?;
    let record = RunRecord::new(config, problem.data.clone());
    let text = record.to_json()?;
    record.check_start_from()?;
    if arguments.fresh
        && let Some(old) = RunDirectory::move_aside(&path)?
    {
        info!("the old run is now {}", old.display());
    }
    let mut directory = if arguments.resume {
        RunDirectory::open_or_create(&path, &text)?
    } else {
        RunDirectory::create(&path, &text)?
    };
    let record = accept_changes(&directory, record)?;
    directory.replace_config(&record.to_json()?)?;
    context.log_into(&directory)?;
    info!("training {} in {}", record.config.name, path.display());
    let run = TrainingRun { record, problem, device, deadline, quiet: context.quiet };
    run.go_on(&mut directory).map(Ending::exit)
}

/// The config of the command line.
fn load(arguments: &RunArguments) -> Result<Config, Error> {
    let mut flags = Vec::new();
    if let Some(seed) = arguments.seed {
        flags.push(Override::flag("--seed", "seed", seed));
    }
    if let Some(device) = &arguments.compute.device {
        flags.push(Override::flag("--device", "device", device));
    }
    Ok(config::load(&arguments.config, &arguments.sets, &flags)?)
}

/// The record that a run goes on with: the new config where it may differ from the stored one.
fn accept_changes(directory: &RunDirectory, new: RunRecord) -> Result<RunRecord, Error> {
    let stored = RunRecord::read(directory)?;
    let differences = difference(&stored.config, &new.config);
    let (allowed, refused): (Vec<_>, Vec<_>) = differences.into_iter().partition(|difference| difference.allowed);
    if !refused.is_empty() {
        return Err(Error::config_changed(directory.path(), refused));
    }
    if let Some(&done) = directory.steps()?.last().filter(|&&done| done > new.config.training.steps) {
        return Err(Error::already_done(directory.path(), done, new.config.training.steps));
    }
    for difference in allowed {
        info!("{difference}");
    }
    stored.check_data(&new.data)?;
    Ok(RunRecord { config: new.config, ..stored })
}

impl Ending {
    /// The exit code of a run that ended so.
    pub fn exit(self) -> Exit {
        match self {
            Self::Finished => Exit::Done,
            Self::Interrupted => Exit::Interrupted,
        }
    }
}
