//! A way to learn a law, with its data at hand.
//!
//! # Design
//!
//! A run is a method and a state. Whoever trains it asks the method to go on from the state, is told of every step, and stores
//! the files of the state; what a step does, what is averaged and what is judged is the method's own. A state is all that
//! the next step depends on, so that a run that was stopped anywhere goes on as if it had not been.

use std::collections::BTreeMap;
use std::path::Path;

use brenier_model::TrainedSampler;
use tracing::info;

use crate::error::TrainingError;
use crate::fit::Flow;
use crate::run_directory::{CheckpointSelector, LoadedCheckpoint, RunDirectory};

/// The files of a checkpoint by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Named numbers, in the order in which they are told.
pub type Scalars = Vec<(&'static str, f64)>;

/// What is told of every step, with the scalars of that step, and says whether to go on.
pub type Observe<'a, S> = dyn FnMut(&mut S, &[(&'static str, f64)]) -> Result<Flow, TrainingError> + 'a;

/// The best checkpoint of the run that another starts from; `what` of it, in words.
///
/// # Errors
///
/// No run, and no checkpoint that verifies.
pub(crate) fn starting_point(path: &Path, what: &str) -> Result<LoadedCheckpoint, TrainingError> {
    let loaded = RunDirectory::open(path)?.load(CheckpointSelector::Best)?;
    loaded.say_warnings();
    info!("starting from the {what} of {} at step {}", path.display(), loaded.step);
    Ok(loaded)
}

/// A way to learn a law.
pub trait Method {
    /// All that the next step depends on.
    type State;

    /// The number of steps that are observed, over all phases: the last one ends the training.
    ///
    /// A method that may end before tells its observer so in [`is_done`](Self::is_done).
    fn steps(&self) -> u64;

    /// The state before the first step.
    ///
    /// # Errors
    ///
    /// A start that cannot be had, such as another run that is not there.
    fn start(&self) -> Result<Self::State, TrainingError>;

    /// The state that [`files`](Self::files) wrote, in the middle of any phase.
    ///
    /// # Errors
    ///
    /// A missing file, and content that does not fit the method.
    fn resume(&self, files: &Files) -> Result<Self::State, TrainingError>;

    /// The files of a checkpoint: plain names without folders, and contents.
    fn files(&self, state: &Self::State) -> Files;

    /// The number of steps that are done.
    fn step(&self, state: &Self::State) -> u64;

    /// Whether no step is left.
    fn is_done(&self, state: &Self::State) -> bool {
        self.step(state) >= self.steps()
    }

    /// Goes on from the state to the end, or until the observer, which is told of every step, stops it.
    ///
    /// # Errors
    ///
    /// Numbers that are no longer finite (the step is not applied), and what the observer returns.
    fn train(&self, state: &mut Self::State, observe: &mut Observe<Self::State>) -> Result<(), TrainingError>;

    /// Means of what is worth a line of metrics, since they were last asked for.
    fn means(&self, state: &mut Self::State) -> Scalars;

    /// What is judged on points that are not trained on, by name: the lowest value makes the best checkpoint.
    fn held_out(&self, state: &Self::State) -> (&'static str, f64);

    /// The least value that [`held_out`](Self::held_out) can have but by chance, or a bound from below, by the name under which the distance to
    /// it is told; none where it is not known.
    fn optimum(&self) -> Option<(&'static str, f64)> {
        None
    }

    /// The law as it stands: that of the first average, where there are averages.
    fn sampler(&self, state: &Self::State) -> Box<dyn TrainedSampler>;
}
