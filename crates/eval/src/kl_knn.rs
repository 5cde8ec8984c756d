//! KL(A‖B) between two samples by k nearest neighbours.
//!
//! `d/n Σ log(ν_k/ρ_k) + log(m/(n - 1))`; Wang, Kulkarni and Verdú, Divergence estimation for multidimensional densities via
//! k-nearest-neighbor distances (2009).

use brenier_measure::{Estimate, Points};
use brenier_transport::kl_knn;

use crate::clouds::between;
use crate::{Direction, EvalError, MetricReport};

/// The estimate between points `[n, d]` and `[m, d]`, in nats.
///
/// The standard error is that of a mean of its terms, as if they were independent (neighbours share points: it is a little small).
/// The details hold `k`, `ties` (samples with a copy, or with two neighbours equally far) and `reliable`: the bias grows with the dimension, and beyond
/// 6 it rules.
///
/// # Errors
///
/// No point on a side, points that are not finite, dimensions that differ.
pub fn kl_knn(samples: &Points, reference: &Points, k: usize) -> Result<MetricReport, EvalError> {
    let found = between(samples, reference, |a, b| Ok(kl_knn::kl_knn(a, b, k)?))?;
    let n = samples.nrows();
    let report = match found.value {
        Some(value) => {
            let std_error = Estimate::mean(found.terms.iter().copied()).std_error;
            MetricReport::new(Estimate { value, std_error }, n, Direction::LowerIsBetter)
        }
        None if n > k && reference.nrows() >= k => MetricReport::undefined(n, Direction::LowerIsBetter)
            .with_note(format!("undefined: some samples coincide with {k} others or with {k} reference points")),
        None => MetricReport::undefined(n, Direction::LowerIsBetter)
            .with_note(format!("undefined: {k} neighbours take more than {k} samples and {k} reference points")),
    };
    let report =
        report.with_detail("k", found.k).with_detail("ties", found.ties).with_detail("reliable", found.reliable);
    Ok(match report.value {
        Some(_) if !found.reliable && 10 * found.ties >= n => {
            report.with_note(format!("unreliable: {} samples have ties among their distances", found.ties))
        }
        Some(_) if !found.reliable => {
            report.with_note(format!("unreliable in dimension {}: the bias grows with it", samples.ncols()))
        }
        _ => report,
    })
}
