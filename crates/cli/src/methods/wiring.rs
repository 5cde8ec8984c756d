//! What the program asks of a method, whichever it is.

use std::path::Path;

use brenier_model::TrainedSampler;
use brenier_training::Files;
use brenier_training::run_directory::{LockedRunDirectory, RunDirectory};
use serde_json::Value;

use crate::arguments::Sampling;
use crate::config::mistakes::Mistakes;
use crate::config::{Config, MethodConfig};
use crate::error::Error;
use crate::run::problem::Problem;
use crate::run::{Ending, RunContext, RunView};

/// A method as its section of a config describes it.
pub trait Wiring {
    /// Its name in a config.
    fn name(&self) -> &'static str;

    /// Writes out what a config leaves to the method, so that a stored config says all that its run depends on.
    ///
    /// # Errors
    ///
    /// In words, a section that is missing.
    fn resolve(&self, config: &mut Config) -> Result<(), String> {
        let _ = config;
        Ok(())
    }

    /// What the method leaves to the data of a run: itself with nothing left to choose, and why so. None where all is given.
    fn choose(&self, config: &Config, problem: &Problem) -> Option<(MethodConfig, Vec<String>)> {
        let _ = (config, problem);
        None
    }

    /// Reports what no schema can say of the sections that the method reads.
    fn check(&self, config: &Config, mistakes: &mut Mistakes);

    /// How long the training is.
    fn length(&self, config: &Config) -> Length;

    /// Whether a resume may change the value at a path of the config: the steps that are done stay what they are.
    fn may_change(&self, path: &str, old: &Config, new: &Config) -> bool {
        let _ = (path, old, new);
        false
    }

    /// In words, what [`may_change`](Self::may_change) allows.
    fn changeable(&self) -> Option<&'static str> {
        None
    }

    /// The run whose weights the training starts from.
    fn start_from<'a>(&'a self, config: &'a Config) -> Option<Start<'a>> {
        let _ = config;
        None
    }

    /// What stored weights mean: a run starts from another of an equal model.
    fn model(&self) -> Value;

    /// Refuses what can be told at once, before a directory is made.
    ///
    /// # Errors
    ///
    /// What training would refuse, as far as it takes next to no time to find out: by default a target without draws.
    fn refuse(&self, run: &RunView) -> Result<(), Error> {
        match run.problem {
            Some(problem) => problem.samples(&format!("the points of `{}`", self.name())).map(drop),
            None => Ok(()),
        }
    }

    /// Does all that could be refused before the first step, and writes nothing.
    ///
    /// # Errors
    ///
    /// Whatever training would refuse.
    fn rehearse(&self, run: &RunView) -> Result<(), Error>;

    /// Trains from the directory's latest checkpoint, or from the beginning, to the end of the config; makes the outputs.
    ///
    /// # Errors
    ///
    /// No checkpoint that verifies, divergence, and files that cannot be written.
    fn train(&self, run: &RunContext, directory: &mut LockedRunDirectory) -> Result<Ending, Error>;

    /// What to try where training diverges.
    fn cure(&self) -> &'static str;

    /// Keeps in the directory what sampling takes of data that may not be there later.
    ///
    /// # Errors
    ///
    /// An interruption.
    fn keep(&self, run: &RunView, directory: &RunDirectory) -> Result<(), Error> {
        let _ = (run, directory);
        Ok(())
    }

    /// The law of a checkpoint.
    ///
    /// # Errors
    ///
    /// Flags that no law follows, files that do not fit the method, an interruption.
    fn open(&self, run: &RunView, files: &Files, flags: &Flags) -> Result<Box<dyn TrainedSampler>, Error>;

    /// The scalars of metrics.jsonl that make the figure of the training.
    fn progress_plot(&self) -> ProgressPlot;

    /// Where in the noise it learns and samples; none without a score network.
    ///
    /// # Errors
    ///
    /// What comes from data that are neither kept nor there.
    fn noise(&self, run: &RunView) -> Result<Option<Noise>, Error> {
        let _ = run;
        Ok(None)
    }

    /// Whether its laws are those of a score network: a method without one does not take the sections of a config that speak of it,
    /// and an evaluation has no denoising loss.
    fn has_score_network(&self) -> bool {
        false
    }

    /// Whether its laws are maps of a reference, which can be drawn in the plane.
    fn has_map(&self) -> bool {
        false
    }

    /// Whether it takes into account how much each point counts.
    fn takes_weights(&self) -> bool {
        false
    }

    /// Whether its laws know the score at every noise level, so that samplers can be chosen on the command line.
    fn takes_samplers(&self) -> bool {
        self.has_score_network()
    }
}

/// Noise levels in standardised coordinates.
#[derive(Debug, Clone, PartialEq)]
pub struct Noise {
    /// The density of log σ of a point in training: pairs of σ and density.
    pub training: Vec<(f64, f64)>,
    /// The levels of the sampling grid above 0, falling.
    pub grid: Vec<f64>,
}

/// The length of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// The number of steps.
    pub steps: u64,
    /// Whether there may be fewer.
    pub is_bound: bool,
    /// The key of the config that says so.
    pub key: &'static str,
}

/// A run whose weights are a starting point.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// Its directory.
    pub path: &'a Path,
    /// The key of the config that names it.
    pub key: &'static str,
    /// What must be equal in both runs, as the config names it.
    pub must_match: &'static str,
}

/// A figure of scalars against the step.
#[derive(Debug, Clone, Copy)]
pub struct ProgressPlot {
    /// Its title.
    pub title: &'static str,
    /// What the numbers are.
    pub y: &'static str,
    /// Whether they are all above 0 and drawn as logarithms.
    pub log_y: bool,
    /// Names of the lines, and their scalars.
    pub lines: &'static [(&'static str, &'static str)],
}

/// What a command line puts over the config of a run.
#[derive(Debug, Default)]
pub struct Flags<'a> {
    /// How a law is sampled that knows the score at every noise level.
    pub sampling: Option<&'a Sampling>,
    /// The steps of the ODE of its log-density.
    pub density_steps: Option<usize>,
    /// What the law is opened for.
    pub opened_for: OpenedFor,
}

/// What a law is opened for: what it is not asked for need not be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OpenedFor {
    /// Samples, and whatever else.
    #[default]
    Samples,
    /// Log-densities, as an answer and not as one metric of many.
    Densities,
    /// What it knows of itself: a closed form, a network.
    Knowledge,
}

impl Flags<'_> {
    /// The first flag that was given and that means nothing to a method, by name.
    pub fn first_foreign(&self, method: &dyn Wiring) -> Option<&'static str> {
        let sampling = self.sampling.filter(|_| !method.takes_samplers()).and_then(Sampling::first_given);
        sampling.or(self.density_steps.filter(|_| !method.has_score_network()).map(|_| "--steps"))
    }
}
