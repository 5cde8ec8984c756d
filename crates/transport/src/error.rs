//! What can be wrong with a transport problem.

use thiserror::Error;

/// Why a distance was not computed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// A slice that holds no whole number of points.
    #[error(
        "{values} numbers are no whole number of points of dimension {dim}; pass n·{dim} of them, point after point"
    )]
    Ragged {
        /// How many numbers there were.
        values: usize,
        /// The dimension asked for.
        dim: usize,
    },
    /// A cloud without points.
    #[error("a cloud of points is empty; a distance needs at least one point on each side")]
    Empty,
    /// A coordinate that is NaN or infinite.
    #[error("coordinate {column} of point {point} is {value}; remove that point, or mend what produced it")]
    NotFinite {
        /// The point, from 0.
        point: usize,
        /// The coordinate, from 0.
        column: usize,
        /// What stands there.
        value: f64,
    },
    /// Two objects that live in different spaces.
    #[error("one side has dimension {a}, the other {b}; both must live in one space")]
    DimensionMismatch {
        /// The dimension of the first.
        a: usize,
        /// The dimension of the second.
        b: usize,
    },
    /// A projection without a direction.
    #[error("direction {index} is zero; a direction needs a positive length")]
    ZeroDirection {
        /// Which one, from 0.
        index: usize,
    },
    /// An exponent for which W_p is no distance.
    #[error("the exponent p is {p}; W_p needs 1 <= p < ∞")]
    Exponent {
        /// The exponent asked for.
        p: f64,
    },
    /// A matrix that is no covariance.
    #[error(
        "the covariance has an eigenvalue {eigenvalue} below zero (its largest is {largest}); pass a symmetric positive semi-definite matrix"
    )]
    NotPositive {
        /// The offending eigenvalue.
        eigenvalue: f64,
        /// The largest, for scale.
        largest: f64,
    },
    /// A matrix whose entries (i, j) and (j, i) differ.
    #[error(
        "entries ({row}, {column}) and ({column}, {row}) of the covariance differ: {value} and {mirrored}; pass a symmetric matrix"
    )]
    NotSymmetric {
        /// The row, from 0.
        row: usize,
        /// The column, from 0.
        column: usize,
        /// The entry there.
        value: f64,
        /// The entry across the diagonal.
        mirrored: f64,
    },
    /// An eigenvalue or singular value iteration that did not end.
    #[error("the decomposition of a {dim} x {dim} matrix did not converge; rescale the data towards unit variance")]
    Decomposition {
        /// The size of the matrix.
        dim: usize,
    },
}
