//! `train check`: whether `run` would accept a config.

use crate::arguments::{CheckArguments, Sampling};
use crate::config::{self, set::Override};
use crate::error::{Error, Exit};
use crate::problem::Problem;
use crate::sampling::SamplingPlan;

/// Refuses all that `run` would refuse before its first step, and writes nothing.
pub fn check(arguments: &CheckArguments) -> Result<Exit, Error> {
    let flags: Vec<Override> =
        arguments.compute.device.iter().map(|device| Override::flag("--device", "device", device)).collect();
    let config = config::load(&arguments.config, &arguments.sets, &flags)?;
    arguments.compute.open(config.device)?;
    let problem = Problem::new(&config)?;
    SamplingPlan::new(&config.evaluation, &Sampling::default(), config.seed)?;
    let points = match problem.data.counts {
        Some([train, validation, test]) => format!("{train} + {validation} + {test} points"),
        None => "fresh draws".to_string(),
    };
    println!(
        "{}: {} of dimension {}, {} steps",
        arguments.config.display(),
        points,
        problem.data.dim,
        config.training.steps
    );
    Ok(Exit::Done)
}
