//! Points as the clouds that transport works on.

use std::borrow::Cow;

use brenier_measure::Points;
use brenier_transport::Cloud;

use crate::EvalError;
use crate::error::{check, check_dims};

/// Applies `f` to samples and reference points: at least one on each side, finite, of one dimension.
pub(crate) fn between<T>(
    samples: &Points,
    reference: &Points,
    f: impl FnOnce(Cloud, Cloud) -> Result<T, EvalError>,
) -> Result<T, EvalError> {
    check("samples", samples, 1)?;
    check("reference points", reference, 1)?;
    check_dims(("samples", samples), ("reference points", reference))?;
    let (a, b) = (row_major(samples), row_major(reference));
    f(Cloud::new(&a, samples.ncols())?, Cloud::new(&b, reference.ncols())?)
}

/// The coordinates point after point.
pub(crate) fn row_major(points: &Points) -> Cow<'_, [f64]> {
    match points.as_slice() {
        Some(values) => values.into(),
        None => points.iter().copied().collect::<Vec<f64>>().into(),
    }
}

/// `√(Var a/n + Var b/m)` of the first-variation terms of a two-sample statistic; NaN for a single point on a side.
pub(crate) fn two_sample_error(a_terms: &[f64], b_terms: &[f64]) -> f64 {
    use brenier_measure::Estimate;
    let error = |terms: &[f64]| Estimate::mean(terms.iter().copied()).std_error;
    error(a_terms).hypot(error(b_terms))
}

/// Whether both sides have the two points that a variance takes.
pub(crate) fn has_spread(samples: &Points, reference: &Points) -> bool {
    samples.nrows().min(reference.nrows()) >= 2
}
