//! `train evaluate`: compares samples of a run with its target.

use brenier_training::run_directory::CheckpointSelector;
use tracing::warn;

use crate::arguments::{EvaluateArguments, Judging, Opened, Sampling};
use crate::error::{Error, Exit};
use crate::interruption;
use crate::methods::open;
use crate::methods::wiring::Flags;
use crate::run::evaluation::{BESIDE_DISTANCES, EVALUATION, Judge, OF_TARGET_DENSITY, Report, default_count};
use crate::run::map_metrics::OF_MAP;
use crate::run::opened::StoredRun;
use crate::run::problem::Problem;
use crate::selection::{OF_MODES, Selection, settings};
use crate::stdout::say;
use crate::verbs::Context;

/// Prints every metric that applies, and keeps them in evaluation.json.
pub fn evaluate(arguments: &EvaluateArguments, context: &Context) -> Result<Exit, Error> {
    let selection =
        Selection::new(&arguments.judging, &[&BESIDE_DISTANCES[..], &OF_TARGET_DENSITY, &OF_MODES, &OF_MAP].concat())?;
    let device = arguments.opened.compute.open(crate::device::DeviceName::Cpu)?;
    let run = StoredRun::open(&arguments.opened.run, arguments.opened.checkpoint)?;
    let problem = Problem::new(&run.record.config)?;
    run.record.check_data(&problem.data)?;
    let seed = arguments.opened.seed.unwrap_or(run.record.config.seed);
    let go_on = || !interruption::asked();
    let flags = Flags { sampling: Some(&arguments.sampling), ..Flags::default() };
    let run = open(run, &flags, Some(&problem), &device, &go_on, context.quiet)?;
    let config = &run.record.config;
    let count = arguments.count.unwrap_or_else(|| default_count(&problem, config));
    let samples = run.law().draw_all(seed, count, &go_on)?;
    let judge = Judge {
        selection,
        settings: settings(&arguments.judging, seed),
        log_density: config.evaluation.log_density,
        go_on: &go_on,
        quiet: context.quiet,
    };
    let report = Report::new(&run, &problem, &samples, &judge)?;
    if arguments.json {
        say(&report.to_json_line())?;
    } else {
        say(&report.evaluation.to_string())?;
    }
    // The report of the run is that of its own sampler, seed and best checkpoint; what flags ask for is an answer.
    let Opened { checkpoint, seed, .. } = arguments.opened;
    let own = checkpoint == CheckpointSelector::Best && seed.is_none() && arguments.count.is_none();
    if own
        && arguments.sampling == Sampling::default()
        && arguments.judging == Judging::default()
        && let Err(error) = run.directory.write_file(EVALUATION, report.to_json().as_bytes())
    {
        warn!("{EVALUATION} could not be kept: {error}");
    }
    Ok(Exit::Done)
}
