//! `train check`: whether `run` would accept a config.

use crate::arguments::{CheckArguments, Sampling};
use crate::config::{self, set::Override};
use crate::error::{Error, Exit};
use crate::problem::Problem;
use crate::record::RunRecord;
use crate::sampling::SamplingPlan;
use crate::stdout::say;

/// Refuses all that `run` would refuse before its first step, and writes nothing.
pub fn check(arguments: &CheckArguments) -> Result<Exit, Error> {
    let flags: Vec<Override> =
        arguments.compute.device.iter().map(|device| Override::flag("--device", "device", device)).collect();
    let config = config::load(&arguments.config, &arguments.sets, &flags)?;
    arguments.compute.open(config.device)?;
    let problem = Problem::new(&config)?;
    let record = RunRecord::new(config, problem.data.clone());
    record.to_json()?;
    record.check_start_from()?;
    let config = &record.config;
    SamplingPlan::new(&config.evaluation, &Sampling::default(), config.seed)?;
    let points = match problem.data.counts {
        Some([train, validation, test]) => format!("{train} + {validation} + {test} points"),
        None => "fresh draws".to_string(),
    };
    say(&format!(
        "{}: {} of dimension {}, {} steps\n",
        arguments.config.display(),
        points,
        problem.data.dim,
        config.training.steps
    ))?;
    Ok(Exit::Done)
}
