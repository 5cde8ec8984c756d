//! A run: what it learns, where it computes, how it is trained, opened, judged and drawn.
//!
//! Nothing here knows a method: what depends on one is asked of its wiring (see `methods`).

pub mod agreement;
pub mod convergence_figure;
pub mod density_metrics;
pub mod evaluation;
pub mod importance_metrics;
pub mod law;
pub mod map_figures;
pub mod map_metrics;
pub mod ode_error;
pub mod opened;
pub mod outputs;
pub mod problem;
pub mod record;
pub mod training;
pub mod watch;

use brenier_training::run_directory::RunDirectory;
use burn::tensor::Device;

use self::problem::Problem;
use self::record::RunRecord;
use crate::interruption::Limits;

/// A run with everything it needs at hand, beside its directory.
pub struct RunContext {
    /// Its record.
    pub record: RunRecord,
    /// What it learns.
    pub problem: Problem,
    /// Where it computes, without autodiff.
    pub device: Device,
    /// When it stops on its own.
    pub limits: Limits,
    /// Whether progress is hidden.
    pub quiet: bool,
}

impl RunContext {
    /// The run as whoever opens a checkpoint of it sees it.
    pub fn view<'a>(
        &'a self,
        directory: Option<&'a RunDirectory>,
        go_on: &'a (dyn Fn() -> bool + Sync),
    ) -> RunView<'a> {
        let Self { record, problem, device, quiet, .. } = self;
        RunView { record, directory, problem: Some(problem), device, go_on, quiet: *quiet }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All of it is done.
    Finished,
    /// It was asked to stop; a checkpoint of the last step is kept, where there was a step.
    Interrupted,
}

/// What a checkpoint of a run is opened with.
#[derive(Clone, Copy)]
pub struct RunView<'a> {
    /// Its record.
    pub record: &'a RunRecord,
    /// Its directory, where it has one.
    pub directory: Option<&'a RunDirectory>,
    /// What it learns, where the data are at hand; else they are loaded when they are needed.
    pub problem: Option<&'a Problem>,
    /// Where it computes, without autodiff.
    pub device: &'a Device,
    /// Whether the work goes on.
    pub go_on: &'a (dyn Fn() -> bool + Sync),
    /// Whether progress is hidden.
    pub quiet: bool,
}
