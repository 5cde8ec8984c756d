//! Why training stopped before its end.

use brenier_measure::MeasureError;
use thiserror::Error;

use crate::run_directory::RunDirectoryError;

/// An error of training.
#[derive(Debug, Error)]
pub enum TrainingError {
    /// The loss or the gradient stopped being a number; the update was not applied.
    #[error(
        "the {what} became {value} at step {step}; {}",
        .last_finite.map_or_else(|| "there was no loss before".to_owned(), |loss| format!("the last finite loss was {loss}"))
    )]
    Diverged {
        /// "loss" or "gradient norm".
        what: &'static str,
        /// Its value.
        value: f64,
        /// The update that was refused.
        step: u64,
        /// The loss of the update before; none at the first.
        last_finite: Option<f64>,
    },
    /// Stored parameters do not fit the model of the config.
    #[error("{file} does not fit the model of the config: {reason}. Use the config of the run that wrote it")]
    ForeignWeights {
        /// The file inside the checkpoint.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// A checkpoint lacks a file.
    #[error("the checkpoint has no {file}; it was written by another version or method")]
    MissingFile {
        /// The file.
        file: String,
    },
    /// The run that another starts from cannot be opened.
    #[error(transparent)]
    Start(#[from] RunDirectoryError),
    /// What was stored or given makes no measure.
    #[error(transparent)]
    Measure(#[from] MeasureError),
    /// The run that another starts from has another size.
    #[error(
        "the run {path} has {found} components, and the first size here is {expected}; set `components` to {found}, or start anew"
    )]
    StartSize {
        /// The run.
        path: String,
        /// How many components it has.
        found: usize,
        /// How many are asked for.
        expected: usize,
    },
    /// A column without variation has no density to learn.
    #[error("column {column} of the training points does not vary, so their law has no density")]
    ConstantColumn {
        /// Which, from 0.
        column: usize,
    },
    /// Fisher scoring in too many dimensions.
    #[error(
        "Fisher scoring takes matrices whose cost grows with the square of the dimension, at most {most}; the points have {found}: take `polish.by: \"adam\"`"
    )]
    FisherDimension {
        /// The dimension of the points.
        found: usize,
        /// The largest that is taken.
        most: usize,
    },
    /// A refit of a reference that is not fitted.
    #[error(
        "`polish.refit` is for a `fitted_mixture`, and the reference here is {reference}; leave `refit` out, or name the reference"
    )]
    NothingToRefit {
        /// What the reference is.
        reference: &'static str,
    },
    /// A polish in too many dimensions.
    #[error(
        "a polish forms a matrix of {found} × {found} at every point, and at most {most} dimensions are taken; leave `polish` out, with `potential` as `ridges`"
    )]
    PolishDimension {
        /// The dimension of the points.
        found: usize,
        /// The largest that is taken.
        most: usize,
    },
    /// A stack without parts, or of a single point.
    #[error("a stack needs two points and one part; give it `mixtures`, `kernels` or `local`")]
    EmptyStack,
    /// Folds of fewer points than two each.
    #[error("{points} points do not make {folds} folds of two; take fewer `polish.folds`")]
    TooFewForFolds {
        /// The points.
        points: usize,
        /// The folds.
        folds: u64,
    },
    /// A polish that needs rows, of a source without.
    #[error(
        "`folds`, `refit`, `local_covariance` and `stack` are for points of a fixed number; a target that is drawn afresh takes `smoothing: \"none\"`"
    )]
    PolishTakesRows,
    /// What exact transport refuses.
    #[error(transparent)]
    Transport(#[from] brenier_transport::TransportError),
    /// A reference without a density.
    #[error("the reference has no density: one of its covariances is singular")]
    NoReferenceDensity,
    /// A reference in another dimension than the data.
    #[error("the reference has dimension {found}, and the points of the data have {expected}")]
    ReferenceDimension {
        /// The dimension of the reference.
        found: usize,
        /// That of the data.
        expected: usize,
    },
    /// A family whose matrices would not fit into memory.
    #[error(
        "up to {count} coefficients are to be learnt, and matrices of their square are formed; at most {most} are taken"
    )]
    TooManyCoefficients {
        /// How many there may be.
        count: usize,
        /// The most.
        most: usize,
    },
    /// No step could be taken for several stages.
    #[error(
        "no step could be taken at stage {step} ({refused} in a row): what is minimised did not fall, or points of the reference were not found \
         on the side of the data"
    )]
    NoStep {
        /// The stage.
        step: u64,
        /// How many stages found none, one after the other.
        refused: u64,
    },
    /// Too many points of the data without a conjugate.
    #[error(
        "at stage {step} no y with ∇ψ(y) = x was found for {count} of {of} points of the data: the potential has become too steep for Newton's method"
    )]
    LostConjugates {
        /// How many.
        count: usize,
        /// Of so many.
        of: usize,
        /// The stage.
        step: u64,
    },
    /// A step after which the potential has no map.
    #[error(
        "the potential of stage {step} would not be convex: after a step of η = {step_size:e} the least eigenvalue of its Hessian is {eigenvalue}"
    )]
    LostConvexity {
        /// The stage that the potential is of.
        step: u64,
        /// η.
        step_size: f64,
        /// The eigenvalue.
        eigenvalue: f64,
    },
    /// A density that cannot be followed from where it starts.
    #[error(
        "the {what} of the target is {value} at the point {point}; a log-density is finite, or -inf where there is no mass, with a finite \
         gradient where it is finite. Look at the formula there, start elsewhere, or give a bounded coordinate its `support`"
    )]
    Density {
        /// "log-density" or "score".
        what: &'static str,
        /// Its value.
        value: f64,
        /// Where, in words.
        point: String,
    },
    /// A density whose mass is infinite.
    #[error(
        "the target is improper: its mass in a box grows with the box along the direction {direction}, so it has no normaliser. Add a prior, \
         or give a bounded coordinate its `support`"
    )]
    Improper {
        /// Where it does not fall off.
        direction: String,
    },
    /// Temperatures that did not reach the target.
    #[error("after {temperatures} temperatures β is {beta:.3}, and the target is at 1")]
    NotCold {
        /// How many there were.
        temperatures: u64,
        /// The last one.
        beta: f64,
    },
    /// Choices that do not go together.
    #[error("{what}; {cure}")]
    Choice {
        /// What is wrong.
        what: String,
        /// What to do.
        cure: &'static str,
    },
    /// The work was told to stop before its first step.
    #[error("interrupted")]
    Interrupted,
    /// What the observer of the loop reported.
    #[error(transparent)]
    Observer(Box<dyn std::error::Error + Send + Sync>),
}
