//! `train check`: whether `run` would accept a config.

use crate::arguments::CheckArguments;
use crate::config::{load, set::Override};
use crate::error::{Error, Exit};
use crate::interruption;
use crate::methods::{check_start, choose, wiring};
use crate::run::RunView;
use crate::run::problem::Problem;
use crate::run::record::RunRecord;
use crate::stdout::say;
use crate::verbs::Context;

/// Refuses all that `run` would refuse before its first step, and writes nothing.
pub fn check(arguments: &CheckArguments, context: &Context) -> Result<Exit, Error> {
    let flags: Vec<Override> =
        arguments.compute.device.iter().map(|device| Override::flag("--device", "device", device)).collect();
    let config = load::load(&arguments.config, &arguments.sets, &flags)?;
    let device = arguments.compute.open(config.device)?;
    let problem = Problem::new(&config)?;
    let record = RunRecord::new(choose(config, &problem), problem.data.clone());
    record.to_json()?;
    check_start(&record)?;
    let method = wiring(&record.config.method);
    let go_on = || !interruption::asked();
    method.rehearse(&RunView {
        record: &record,
        directory: None,
        problem: Some(&problem),
        device: &device,
        go_on: &go_on,
        quiet: context.quiet,
    })?;
    let length = method.length(&record.config);
    let points = match problem.data.counts {
        Some([train, validation, test]) => format!("{train} + {validation} + {test} points"),
        None if problem.samples.is_some() => "fresh draws".to_owned(),
        None => "a density without draws".to_owned(),
    };
    say(&format!(
        "{}: {} of dimension {}, {}{} steps\n",
        arguments.config.display(),
        points,
        problem.data.dim,
        if length.is_bound { "at most " } else { "" },
        length.steps
    ))?;
    Ok(Exit::Done)
}
