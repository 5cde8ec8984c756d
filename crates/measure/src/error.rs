//! Why a measure cannot be built from the numbers given.

use thiserror::Error;

/// What is wrong with the parameters of a measure; `field` is the path of the parameter, such as `covariances[1]`.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum MeasureError {
    /// A list without entries.
    #[error("`{field}` is empty; give at least one entry")]
    Empty {
        /// The parameter.
        field: String,
    },
    /// An entry that is NaN or infinite.
    #[error("`{field}` is {value}; every number must be finite")]
    NotFinite {
        /// The parameter.
        field: String,
        /// Its value.
        value: f64,
    },
    /// A list whose length disagrees with another's.
    #[error("`{field}` has length {found}, but `{other}` asks for {expected}; give one entry for each")]
    Length {
        /// The parameter.
        field: String,
        /// Its length.
        found: usize,
        /// The parameter that fixes the length.
        other: String,
        /// The length it fixes.
        expected: usize,
    },
    /// A weight that is zero or negative.
    #[error("`{field}` is {value}; weights must be positive. Leave out a component that has no weight")]
    Weight {
        /// The parameter.
        field: String,
        /// Its value.
        value: f64,
    },
    /// Weights that are no probabilities.
    #[error("`weights` sum to {sum}; they must sum to 1 within 1e-6. Divide each by {sum}")]
    WeightSum {
        /// Their sum.
        sum: f64,
    },
    /// A covariance that differs from its transpose.
    #[error(
        "`{field}` is not symmetric: entry [{row}][{column}] is {upper}, entry [{column}][{row}] is {lower}. \
         Give both the same value"
    )]
    NotSymmetric {
        /// The parameter.
        field: String,
        /// The row of the first entry.
        row: usize,
        /// Its column.
        column: usize,
        /// The entry above the diagonal.
        upper: f64,
        /// The entry below.
        lower: f64,
    },
    /// A covariance with a negative eigenvalue.
    #[error(
        "`{field}` is not positive semi-definite: its least eigenvalue is {eigenvalue}. A covariance may be singular, \
         or zero, but no direction may have a negative variance"
    )]
    NotPositiveSemiDefinite {
        /// The parameter.
        field: String,
        /// The least eigenvalue.
        eigenvalue: f64,
    },
    /// A side of a box without length.
    #[error("`low[{index}]` is {low} and `high[{index}]` is {high}; low must be below high")]
    Interval {
        /// The coordinate.
        index: usize,
        /// Its lower end.
        low: f64,
        /// Its upper end.
        high: f64,
    },
    /// A noise that is negative.
    #[error("`{field}` is {value}; a standard deviation must be 0 or larger")]
    NegativeDeviation {
        /// The parameter.
        field: String,
        /// Its value.
        value: f64,
    },
    /// A number that must be positive.
    #[error("`{field}` is {value}; give a positive number")]
    NotPositive {
        /// The parameter.
        field: String,
        /// Its value.
        value: f64,
    },
    /// A number outside of its bounds.
    #[error("`{field}` is {value}; it must lie between {least} and {most}")]
    OutOfRange {
        /// The parameter.
        field: String,
        /// Its value.
        value: f64,
        /// The least.
        least: f64,
        /// The greatest.
        most: f64,
    },
    /// A dimension that is too low.
    #[error("`{field}` is {value}; it must be {least} or larger")]
    TooLow {
        /// The parameter.
        field: String,
        /// Its value.
        value: usize,
        /// The least.
        least: usize,
    },
    /// A dimension of pairs that is odd.
    #[error("`{field}` is {value}; its coordinates come in pairs, so give an even number")]
    Odd {
        /// The parameter.
        field: String,
        /// Its value.
        value: usize,
    },
    /// A formula that cannot be read.
    #[error("{0}")]
    Expression(Box<crate::expression::ExpressionError>),
    /// A name beside a formula that means nothing, or two things.
    #[error("{0}")]
    Name(String),
    /// A data file that a density is made of, and what is wrong with it.
    #[error("{0}")]
    Data(String),
    /// A column without variance.
    #[error("{path}: the column `{column}` is constant, so it cannot be standardised; leave it out of `columns`")]
    ConstantColumn {
        /// The file.
        path: String,
        /// The column.
        column: String,
    },
    /// A label that does not divide the rows in two.
    #[error("{path}: the label `{label}` must have two values, and it has {found}")]
    TwoLabels {
        /// The file.
        path: String,
        /// The label.
        label: String,
        /// What it has instead.
        found: String,
    },
    /// A value that no row has.
    #[error("`positive` is `{positive}`, and the label has the values {found}")]
    NoLabel {
        /// The value that was given.
        positive: String,
        /// Those that are there.
        found: String,
    },
    /// A symmetric matrix whose eigenvalues were not found.
    #[error(
        "the eigenvalues of `{field}` did not converge; its entries may lie too far apart. Rescale the coordinates"
    )]
    Eigenvalues {
        /// The parameter.
        field: String,
    },
    /// A covariance that no density can have.
    #[error("`{field}`: a matrix is not positive definite in double precision; rescale the points to a spread near 1")]
    NotPositiveDefinite {
        /// The parameter.
        field: String,
    },
    /// Fresh draws where a fixed number of points is fitted.
    #[error(
        "a mixture is fitted to a fixed number of points, and this target is drawn afresh without end; give \
         {{\"drawn\": {{\"target\": …, \"points\": 20000}}}} instead"
    )]
    NotFixed,
    /// Draws of what has none of its own.
    #[error("`drawn.target` is `{target}`; draws are taken of a target in closed form, such as {{\"ring\": {{}}}}")]
    NotDrawn {
        /// The name of the target.
        target: &'static str,
    },
    /// A rotation of what has no closed form.
    #[error("`rotated.target` is `{target}`; what is rotated is a target in closed form, such as {{\"funnel\": {{}}}}")]
    NotRotated {
        /// The name of the target.
        target: &'static str,
    },
    /// A log-density, or the logarithm of a weight, that no density has there.
    #[error(
        "`{name}`: row {row} is {value}; a log-density is finite, or -inf where there is no mass. Look at the point of \
         that row"
    )]
    LogDensity {
        /// Which log-density.
        name: &'static str,
        /// The row, from 0.
        row: usize,
        /// Its value.
        value: f64,
    },
    /// Too few samples for an effective sample size.
    #[error("an effective sample size from {count} samples means nothing; at least {least} are needed")]
    TooFewWeights {
        /// How many there are.
        count: usize,
        /// How many it takes.
        least: usize,
    },
    /// Importance weights that are all zero.
    #[error(
        "all {count} importance weights are zero: no sample lies where the target has mass, so there is no effective \
         sample size; train longer, or start from a wider reference"
    )]
    NoWeight {
        /// How many there are.
        count: usize,
    },
}

/// Refuses the first entry that is not finite.
pub(crate) fn check_finite(field: &str, values: &[f64]) -> Result<(), MeasureError> {
    match values.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(MeasureError::NotFinite { field: format!("{field}[{i}]"), value: values[i] }),
        None => Ok(()),
    }
}
