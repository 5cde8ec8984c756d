//! `train resume`: goes on with a run.

use brenier_training::run_directory::RunDirectory;

use crate::arguments::ResumeArguments;
use crate::error::{Error, Exit};
use crate::interruption::Deadline;
use crate::problem::Problem;
use crate::record::RunRecord;
use crate::training_run::{Ending, TrainingRun};
use crate::verbs::Context;

/// Goes on with a run directory from its last checkpoint.
pub fn resume(arguments: &ResumeArguments, context: &Context) -> Result<Exit, Error> {
    let mut directory = RunDirectory::open_locked(&arguments.run)?;
    let record = RunRecord::read(&directory)?;
    let device = arguments.compute.open(record.config.device)?;
    let deadline = Deadline::after(arguments.max_time);
    let problem = Problem::new(&record.config)?;
    record.check_data(&problem.data)?;
    context.log_into(&directory)?;
    let run = TrainingRun { record, problem, device, deadline, quiet: context.quiet };
    run.go_on(&mut directory).map(Ending::exit)
}
