//! `train resume`: goes on with a run.

use brenier_training::run_directory::RunDirectory;

use crate::arguments::ResumeArguments;
use crate::error::{Error, Exit};
use crate::interruption::Limits;
use crate::methods::{read_record, wiring};
use crate::run::{Ending, RunContext};
use crate::verbs::Context;

/// Goes on with a run directory from its last checkpoint.
pub fn resume(arguments: &ResumeArguments, context: &Context) -> Result<Exit, Error> {
    let mut directory = RunDirectory::open_locked(&arguments.run)?;
    let mut record = read_record(&directory)?;
    arguments.data.as_deref().map(|data| record.take_data_from(data)).transpose()?;
    let device = arguments.compute.open(record.config.device)?;
    let limits = Limits::new(arguments.max_time, arguments.max_steps);
    let problem = record.problem()?;
    let config = record.config.clone();
    let record = record.with_config(config, directory.path());
    directory.replace_config(&record.to_json()?)?;
    context.log_into(&directory)?;
    let run = RunContext { record, problem, device, limits, quiet: context.quiet };
    wiring(&run.record.config.method).train(&run, &mut directory).map(Ending::exit)
}
