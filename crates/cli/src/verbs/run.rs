//! `train run`: trains a sampler from a config.

use std::path::{Path, PathBuf};

use brenier_training::run_directory::RunDirectory;
use tracing::info;

use crate::arguments::RunArguments;
use crate::config::{
    Config,
    difference::{Difference, difference},
    load,
    set::Override,
};
use crate::error::{Error, Exit};
use crate::interruption::{self, Limits};
use crate::methods::wiring::Length;
use crate::methods::{check_start, choose, read_record, wiring};
use crate::run::problem::Problem;
use crate::run::record::RunRecord;
use crate::run::{Ending, RunContext, RunView};
use crate::verbs::Context;

/// Trains from a config to its end, or until it is stopped.
pub fn run(arguments: &RunArguments, context: &Context) -> Result<Exit, Error> {
    let config = config_of(arguments)?;
    let path = arguments.run_dir.clone().unwrap_or_else(|| config.run_directory());
    if path.exists() && !arguments.resume && !arguments.fresh {
        return Err(Error::run_exists(&path));
    }
    let device = arguments.compute.open(config.device)?;
    let limits = Limits::new(arguments.max_time, arguments.max_steps);
    let problem = Problem::new(&config)?;
    let record = RunRecord::new(choose(config, &problem), problem.data.clone());
    let text = record.to_json()?;
    check_start(&record)?;
    let go_on = || !interruption::asked();
    let view = RunView {
        record: &record,
        directory: None,
        problem: Some(&problem),
        device: &device,
        go_on: &go_on,
        quiet: context.quiet,
    };
    wiring(&record.config.method).refuse(&view)?;
    if arguments.fresh {
        check_stays(&path, &record)?;
    }
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
    let run = RunContext { record, problem, device, limits, quiet: context.quiet };
    wiring(&run.record.config.method).train(&run, &mut directory).map(Ending::exit)
}

/// The config of the command line.
fn config_of(arguments: &RunArguments) -> Result<Config, Error> {
    let mut flags = Vec::new();
    if let Some(seed) = arguments.seed {
        flags.push(Override::flag("--seed", "seed", seed));
    }
    if let Some(device) = &arguments.compute.device {
        flags.push(Override::flag("--device", "device", device));
    }
    if let Some(data) = &arguments.data {
        let moved = load::data_at(&arguments.config, data)?;
        flags
            .push(moved.ok_or_else(|| Error::no_data_file(&arguments.config.display().to_string(), "of this config"))?);
    }
    Ok(load::load(&arguments.config, &arguments.sets, &flags)?)
}

/// Refuses to set a directory aside that holds what the new run is made of.
fn check_stays(path: &Path, record: &RunRecord) -> Result<(), Error> {
    let config = &record.config;
    let start = wiring(&config.method).start_from(config).map(|start| start.path.to_owned());
    let mut inputs = config.target.files().into_iter().chain(start);
    let (Ok(path), Ok(own)) = (path.canonicalize(), std::path::absolute(path)) else { return Ok(()) };
    // A link in the run that leads out of it goes too.
    let goes = |input: &PathBuf| input.starts_with(&own) || input.canonicalize().is_ok_and(|to| to.starts_with(&path));
    match inputs.find(goes) {
        Some(input) => {
            let (input, path) = (input.display(), path.display());
            Err(Error::bad_input(format!("`--fresh` would move {input} away, which lies in the run {path}"))
                .hint("put it elsewhere first, or give the new run another `--run-dir`"))
        }
        None => Ok(()),
    }
}

/// The record that a run goes on with: the new config where it may differ from the stored one.
fn accept_changes(directory: &RunDirectory, new: RunRecord) -> Result<RunRecord, Error> {
    let mut stored = read_record(directory)?;
    if stored.data.origin == new.data.origin {
        // The same data in another place.
        let mut target = new.config.target.clone();
        for (own, new) in stored.config.target.paths().into_iter().zip(target.paths()) {
            own.clone_from(new);
        }
    }
    let method = wiring(&new.config.method);
    let differences = difference(&stored.config, &new.config);
    let (allowed, refused): (Vec<_>, Vec<_>) = differences.into_iter().partition(|difference| difference.allowed);
    if !refused.is_empty() {
        return Err(config_changed(directory, &refused, method.changeable()));
    }
    let Length { steps, key, .. } = method.length(&new.config);
    if let Some(&done) = directory.steps()?.last().filter(|&&done| done > steps) {
        let path = directory.path().display();
        return Err(Error::bad_input(format!("the run {path} is at step {done}, beyond the {steps} of `{key}`"))
            .hint(format!("give `{key}` of at least {done}, or start anew with `--fresh`")));
    }
    for difference in allowed {
        info!("{difference}");
    }
    stored.check_data(&new.data)?;
    Ok(stored.with_config(new.config, directory.path()))
}

/// A resume with a config that would make another run of it; `more` is what the method allows to change.
fn config_changed(directory: &RunDirectory, refused: &[Difference], more: Option<&str>) -> Error {
    let list: String = refused.iter().map(|difference| format!("\n  {difference}")).collect();
    let path = directory.path().display();
    let allowed = more.map_or("`device` and `output`".to_owned(), |more| format!("`device`, `output` and, {more}"));
    Error::bad_input(format!("the config is not the one that the run {path} was started with{list}"))
        .hint(format!("a resume may change {allowed}; give the new run another `name`, or start anew with `--fresh`"))
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
