//! The energy distance between two samples.
//!
//! `2 E|X - Y| - E|X - X'| - E|Y - Y'|`; Székely and Rizzo, Energy statistics: a class of statistics based on distances
//! (2013).

use brenier_measure::{Estimate, Points};
use brenier_transport::energy;

use crate::clouds::{between, two_sample_error};
use crate::{Direction, EvalError, MetricReport};

/// The energy distance between points `[n, d]` and `[m, d]`, in the unit of the data: not square-rooted.
///
/// The standard error is that of the mean of its first-variation terms.
///
/// # Errors
///
/// No point on a side, points that are not finite, dimensions that differ.
pub fn energy_distance(samples: &Points, reference: &Points) -> Result<MetricReport, EvalError> {
    let found = between(samples, reference, |a, b| Ok(energy::energy_distance(a, b)?))?;
    let std_error = two_sample_error(&found.a_terms, &found.b_terms).hypot(found.rounding);
    let value = Estimate { value: found.value, std_error };
    Ok(MetricReport::new(value, samples.nrows(), Direction::LowerIsBetter).with_rounding(found.rounding))
}
