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
    /// Clouds that cannot be matched one to one.
    #[error(
        "one cloud has {a} points, the other {b}; an assignment needs equal sizes: use `weighted::transport_uniform`"
    )]
    UnequalSizes {
        /// The size of the first.
        a: usize,
        /// The size of the second.
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
    /// An entropic strength that is no positive number.
    #[error("epsilon is {epsilon}; entropic transport needs 0 < epsilon < ∞ (for the limit 0 use exact transport)")]
    Epsilon {
        /// The epsilon asked for.
        epsilon: f64,
    },
    /// An entropic strength so far from the costs that rounding decides.
    #[error(
        "epsilon is {epsilon} where the mean cost is {mean_cost}; their ratio must lie between 1e-10 and 1e8 (use exact transport below, the energy distance above)"
    )]
    EpsilonScale {
        /// The epsilon in the unit of the cost.
        epsilon: f64,
        /// The mean cost between the clouds.
        mean_cost: f64,
    },
    /// A tolerance that no iteration can reach.
    #[error("the tolerance is {tolerance}; it must be positive and finite, 1e-6 say")]
    Tolerance {
        /// The tolerance asked for.
        tolerance: f64,
    },
    /// More neighbours than there are points, or none.
    #[error(
        "{k} nearest neighbours were asked for where {available} points can be neighbours; ask for 1 to {available}, or pass more points"
    )]
    NeighbourCount {
        /// The number of neighbours asked for.
        k: usize,
        /// How many there can be.
        available: usize,
    },
    /// Queries that are said to be points, but are more than these.
    #[error("{queries} queries cannot be among {points} points; pass own = false, or the points themselves")]
    OwnPoints {
        /// The number of queries.
        queries: usize,
        /// The number of points.
        points: usize,
    },
    /// A cloud too small for an estimate.
    #[error("a cloud has {count} points where the estimate needs {needed}; draw more")]
    TooFewPoints {
        /// How many there are.
        count: usize,
        /// The least number.
        needed: usize,
    },
    /// A bandwidth that is no positive number.
    #[error(
        "the bandwidth is {bandwidth}; a Gaussian kernel needs 0 < bandwidth < ∞ (where all points are equal the median gives 0: pass one)"
    )]
    Bandwidth {
        /// The bandwidth asked for, or found.
        bandwidth: f64,
    },
    /// Weights of another number than the points.
    #[error("there are {weights} weights for {points} points; pass one for each")]
    WeightCount {
        /// How many weights there were.
        weights: usize,
        /// How many points.
        points: usize,
    },
    /// A weight that is no mass.
    #[error("weight {index} is {value}; a weight must be finite and not negative")]
    Weight {
        /// Which one, from 0.
        index: usize,
        /// What stands there.
        value: f64,
    },
    /// A cloud whose points all have weight zero.
    #[error("every weight of a cloud is zero; give at least one point a positive weight")]
    NoMass,
    /// Coordinates whose squared distances overflow.
    #[error("coordinates as large as {largest:e} have squared distances beyond f64; rescale both clouds")]
    TooLarge {
        /// The largest coordinate in absolute value.
        largest: f64,
    },
}
