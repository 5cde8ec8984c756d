//! `train`: trains neural samplers and measures how good they are.

mod arguments;
mod config;
mod device;
mod error;
#[cfg(doc)]
mod guide;
mod interruption;
mod list;
mod logging;
mod methods;
mod output_file;
mod points;
mod progress;
mod report;
mod run;
mod selection;
mod shell;
mod stdout;
mod subject;
mod sweep;
mod table;
mod verbs;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Arguments, Talk};
use crate::error::{Error, Exit};
use crate::verbs::Context;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(answer) = device::answer_probe() {
        return answer;
    }
    let arguments = Arguments::parse();
    match start(arguments) {
        Ok(exit) => exit.into(),
        Err(error) => {
            error.report();
            error.exit().into()
        }
    }
}

fn start(arguments: Arguments) -> Result<Exit, Error> {
    let Talk { verbose, quiet, log_format } = arguments.talk;
    let verbosity = if quiet { -1 } else { i32::from(verbose) };
    let log = logging::start(verbosity, log_format).map_err(Error::bad_input)?;
    interruption::listen()?;
    verbs::execute(arguments.verb, &Context { log, quiet })
}
