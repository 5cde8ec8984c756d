//! `train sweep`: a study of many runs, on this machine or as a plan for the scheduler of a cluster.

use std::path::Path;

use tracing::{info, warn};

use crate::arguments::{Plan, SweepArguments};
use crate::error::{Error, Exit};
use crate::stdout::say;
use crate::sweep::{Local, Outcome, Place, Sweep, kubernetes, slurm};
use crate::verbs::Context;

/// The tasks of an array under the default configuration of Slurm.
const MOST_OF_ARRAY: usize = 1001;

/// Runs every task, or prints the plan.
pub fn sweep(arguments: &SweepArguments, _context: &Context) -> Result<Exit, Error> {
    let sweep = Sweep::read(&arguments.sweep)?;
    if let Some(plan) = arguments.plan {
        return print(plan, &sweep, arguments).map(|()| Exit::Done);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.map_or(1, usize::from).min(sweep.tasks.len());
    let threads = arguments.threads.map_or((cores / jobs).max(1), usize::from);
    info!("{} runs in {}, {jobs} at a time with {threads} threads each", sweep.tasks.len(), sweep.directory.display());
    let outcomes = Local { jobs, devices: arguments.devices.clone(), threads }.run(&sweep)?;
    let count = |of: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| of(outcome)).count();
    let (all, finished) = (outcomes.len(), count(|outcome| *outcome == Outcome::Finished));
    let failed = count(|outcome| matches!(outcome, Outcome::Failed(_)));
    say(&format!(
        "{finished} of {all} runs are finished, {failed} failed; `train collect {}` tells of them\n",
        sweep.directory.display()
    ))?;
    // What is left to do counts first: whoever calls again on 75 meets the failures then.
    if finished + failed < all {
        return Ok(Exit::Interrupted);
    }
    if failed > 0 {
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

fn print(plan: Plan, sweep: &Sweep, arguments: &SweepArguments) -> Result<(), Error> {
    let folder = std::env::current_dir().map_err(|error| Error::writing(Path::new("."), error))?;
    let binary = std::env::current_exe().map_err(|error| Error::writing(Path::new("train"), error))?;
    let binary = binary.display().to_string();
    if arguments.devices.len() > 1 {
        return Err(Error::bad_input("a plan takes one device, and its scheduler gives each task one of its own")
            .hint("leave --devices out, or give one such as `wgpu`"));
    }
    if plan == Plan::Slurm && sweep.tasks.len() > MOST_OF_ARRAY {
        warn!(
            "Slurm takes arrays of at most {MOST_OF_ARRAY} tasks unless `MaxArraySize` says more, and these are {}",
            sweep.tasks.len()
        );
    }
    let place = |binary| Place {
        threads: arguments.threads,
        device: arguments.devices.first(),
        binary,
        folder: &folder,
        jobs: arguments.jobs.map_or(sweep.tasks.len(), usize::from),
        time: arguments.time_limit,
    };
    match plan {
        Plan::Slurm => say(&slurm(sweep, &place(&binary))),
        // The image has its own.
        Plan::Kubernetes => {
            let job = kubernetes(sweep, &place("train"), &arguments.image, &arguments.claim)?;
            say(&format!("{}\n", serde_json::to_string_pretty(&job).expect("a job is JSON")))
        }
    }
}
