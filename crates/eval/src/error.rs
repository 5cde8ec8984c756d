//! What can be wrong with an evaluation.

use brenier_measure::Points;
use brenier_transport::TransportError;
use thiserror::Error;

/// Why an evaluation was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Points of different spaces.
    #[error("{a_name} have dimension {a}, {b_name} dimension {b}; both must live in one space")]
    DimensionMismatch {
        /// What the first points are.
        a_name: &'static str,
        /// Their dimension.
        a: usize,
        /// What the second points are.
        b_name: &'static str,
        /// Their dimension.
        b: usize,
    },
    /// Too few points to compute what was asked for.
    #[error(
        "there are {count} {name}; at least {least} are needed: raise `evaluation.count`, or the share of that part in `split`"
    )]
    TooFew {
        /// What the points are.
        name: &'static str,
        /// How many there are.
        count: usize,
        /// How many it takes.
        least: usize,
    },
    /// A coordinate that is NaN or infinite.
    #[error(
        "{name}: row {row}, column {column} is {value}; a sampler that makes such values has diverged: lower its step size or take more steps"
    )]
    NotFinite {
        /// What the points are.
        name: &'static str,
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// What stands there.
        value: f64,
    },
    /// Labels and points that do not match one to one.
    #[error("there are {labels} labels for {points} points; each point needs one")]
    Labels {
        /// How many labels.
        labels: usize,
        /// How many points.
        points: usize,
    },
    /// A noise level outside (0, ∞).
    #[error("noise level {index} is {sigma}; noise levels are positive and finite")]
    NoiseLevel {
        /// Which one, from 0.
        index: usize,
        /// Its value.
        sigma: f64,
    },
    /// A denoiser whose answer is NaN or infinite.
    #[error(
        "the denoiser answers with NaN or infinity at noise level {sigma}; take an earlier checkpoint, or lower the learning rate"
    )]
    Denoiser {
        /// The noise level.
        sigma: f64,
    },
    /// A distance that could not be computed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}

/// Refuses points that are too few or not finite.
pub(crate) fn check(name: &'static str, points: &Points, least: usize) -> Result<(), EvalError> {
    if points.nrows() < least || points.ncols() == 0 {
        return Err(EvalError::TooFew { name, count: points.nrows(), least });
    }
    match points.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, column), &value)) => Err(EvalError::NotFinite { name, row, column, value }),
        None => Ok(()),
    }
}

/// Refuses points of different dimensions.
pub(crate) fn check_dims(a: (&'static str, &Points), b: (&'static str, &Points)) -> Result<(), EvalError> {
    if a.1.ncols() == b.1.ncols() {
        return Ok(());
    }
    Err(EvalError::DimensionMismatch { a_name: a.0, a: a.1.ncols(), b_name: b.0, b: b.1.ncols() })
}
