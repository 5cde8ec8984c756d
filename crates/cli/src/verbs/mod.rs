//! The verbs of `train`, one file each.

mod chain;
mod check;
mod collect;
mod density;
mod devices;
mod evaluate;
mod init;
mod localize;
mod metrics;
mod report;
mod resume;
mod run;
mod sample;
mod schema;
mod sweep;
mod transport;

use brenier_training::run_directory::RunDirectory;
use burn::tensor::Device;

use crate::arguments::{Compute, Opened, Verb};
use crate::device::{self, DeviceName};
use crate::error::{Error, Exit};
use crate::logging::Log;
use crate::run::opened::StoredRun;

/// What every verb is given beside its arguments.
pub struct Context {
    /// The running log.
    pub log: Log,
    /// Whether only warnings and errors are said.
    pub quiet: bool,
}

/// Does what the verb says.
///
/// # Errors
///
/// Whatever keeps it from being done.
pub fn execute(verb: Verb, context: &Context) -> Result<Exit, Error> {
    match verb {
        Verb::Run(arguments) => run::run(&arguments, context),
        Verb::Resume(arguments) => resume::resume(&arguments, context),
        Verb::Init(arguments) => init::init(&arguments),
        Verb::Sample(arguments) => sample::sample(&arguments, context),
        Verb::Evaluate(arguments) => evaluate::evaluate(&arguments, context),
        Verb::Metrics(arguments) => metrics::metrics(&arguments, context),
        Verb::Density(arguments) => density::density(&arguments, context),
        Verb::Transport(arguments) => transport::transport(&arguments, context),
        Verb::Localize(arguments) => localize::localize(&arguments, context),
        Verb::Sweep(arguments) => sweep::sweep(&arguments, context),
        Verb::Collect(arguments) => collect::collect(&arguments, context),
        Verb::Report(arguments) => report::report(&arguments, context),
        Verb::Chain(arguments) => chain::chain(&arguments, context),
        Verb::Check(arguments) => check::check(&arguments, context),
        Verb::Schema => schema::schema(),
        Verb::Devices(arguments) => devices::devices(&arguments),
        Verb::Completions { shell } => schema::completions(shell),
    }
}

impl Compute {
    /// Sets the threads and opens the device; without a flag the device is `configured`.
    ///
    /// # Errors
    ///
    /// A device that cannot be used, with the reason.
    pub fn open(&self, configured: DeviceName) -> Result<Device, Error> {
        self.set_threads()?;
        Ok(device::open(&self.device.unwrap_or(configured))?)
    }

    /// Sets the threads alone, for what is computed on the host.
    ///
    /// # Errors
    ///
    /// Threads that the system refuses.
    pub fn set_threads(&self) -> Result<(), Error> {
        match self.threads {
            Some(threads) => Ok(device::set_threads(usize::from(threads))?),
            None => Ok(()),
        }
    }
}

impl Opened {
    /// Opens the run.
    ///
    /// # Errors
    ///
    /// Those of [`StoredRun::open`].
    pub fn open(&self) -> Result<StoredRun, Error> {
        StoredRun::open(&self.run, self.checkpoint, self.data.as_deref())
    }
}

impl Context {
    /// Copies the log into a run directory.
    fn log_into(&self, directory: &RunDirectory) -> Result<(), Error> {
        self.log.attach(directory.path()).map_err(|error| Error::writing(directory.path(), error))
    }
}
