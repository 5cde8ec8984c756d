//! `train check`: whether `run` would accept a config.

use crate::arguments::{CheckArguments, Sampling};
use crate::config::{self, MethodConfig, set::Override};
use crate::error::{Error, Exit};
use crate::interruption;
use crate::localized::Localization;
use crate::problem::Problem;
use crate::record::RunRecord;
use crate::sampling::SamplingPlan;
use crate::stdout::say;
use crate::verbs::Context;

/// Refuses all that `run` would refuse before its first step, and writes nothing.
pub fn check(arguments: &CheckArguments, context: &Context) -> Result<Exit, Error> {
    let flags: Vec<Override> =
        arguments.compute.device.iter().map(|device| Override::flag("--device", "device", device)).collect();
    let config = config::load(&arguments.config, &arguments.sets, &flags)?;
    arguments.compute.open(config.device)?;
    let problem = Problem::new(&config)?;
    let record = RunRecord::new(config, problem.data.clone());
    record.to_json()?;
    record.check_start_from()?;
    let config = &record.config;
    let (run, problem_at_hand, go_on) = (&record, Some(&problem), || !interruption::asked());
    let localization =
        Localization { run, directory: None, problem: problem_at_hand, go_on: &go_on, quiet: context.quiet };
    let MethodConfig::DenoisingScoreMatching(method) = &config.method;
    localization.noise_levels(&method.noise_levels)?;
    SamplingPlan::new(&localization, &Sampling::default(), config.seed)?;
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
