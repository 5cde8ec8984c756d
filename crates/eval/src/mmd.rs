//! The squared maximum mean discrepancy between two samples under a Gaussian kernel.
//!
//! `E k(X, X') + E k(Y, Y') - 2 E k(X, Y)`; Gretton et al., A kernel two-sample test (2012), lemma 6.

use brenier_measure::{Estimate, Points};
use brenier_transport::TransportError;
use brenier_transport::mmd::{self, Bandwidth};

use crate::clouds::{between, two_sample_error};
use crate::{Direction, EvalError, MetricReport};

/// MMD² between points `[n, d]` and `[m, d]`, unbiased (so it may be negative); the detail `bandwidth` is the kernel's, in the
/// unit of the data.
///
/// # Errors
///
/// No point on a side, points that are not finite, dimensions that differ.
pub fn mmd(samples: &Points, reference: &Points, bandwidth: Bandwidth) -> Result<MetricReport, EvalError> {
    if samples.nrows().min(reference.nrows()) < 2 {
        between(samples, reference, |_, _| Ok(()))?;
        return Ok(MetricReport::undefined(samples.nrows(), Direction::LowerIsBetter)
            .with_note("the unbiased estimate takes two points on each side"));
    }
    let found = match between(samples, reference, |a, b| Ok(mmd::mmd_squared(a, b, bandwidth)?)) {
        Err(EvalError::Transport(TransportError::Bandwidth { bandwidth: 0.0 })) => {
            return Ok(MetricReport::undefined(samples.nrows(), Direction::LowerIsBetter)
                .with_note("all points are equal: there is no bandwidth"));
        }
        found => found?,
    };
    let value = Estimate { value: found.value, std_error: two_sample_error(&found.a_terms, &found.b_terms) };
    Ok(MetricReport::new(value, samples.nrows(), Direction::LowerIsBetter).with_detail("bandwidth", found.bandwidth))
}
