//! The Sinkhorn divergence between two samples, with the ε that was used and whether it converged.
//!
//! `S_ε(a, b) = OT_ε(a, b) - (OT_ε(a, a) + OT_ε(b, b))/2`; Feydy et al., Interpolating between optimal transport and MMD
//! using Sinkhorn divergences (2019), equation 3.

use brenier_measure::{Estimate, Points};
use brenier_transport::Cost;
use brenier_transport::sinkhorn::{self, Settings};

use crate::clouds::{between, has_spread};
use crate::{Direction, EvalError, MetricReport};

/// `S_ε` between points `[n, d]` and `[m, d]`, in the unit of the cost: not square-rooted.
///
/// The standard error is that of the mean dual potentials of the divergence. The details hold `epsilon` as used, in the
/// unit of the cost, the `cost`, the `marginal_error`, `converged` and `iterations`; a value that did not converge is marked.
///
/// # Errors
///
/// No point on a side, points that are not finite, dimensions that differ, an ε that is not positive.
pub fn sinkhorn_divergence(
    samples: &Points,
    reference: &Points,
    settings: &Settings,
) -> Result<MetricReport, EvalError> {
    let found = between(samples, reference, |a, b| Ok(sinkhorn::sinkhorn_divergence(a, b, settings)?))?;
    let std_error =
        if has_spread(samples, reference) { found.potentials.point_error().hypot(found.rounding) } else { f64::NAN };
    let cost = match settings.cost {
        Cost::Distance => "distance",
        Cost::SquaredDistance => "squared_distance",
    };
    let value = Estimate { value: found.value, std_error };
    let report = MetricReport::new(value, samples.nrows(), Direction::LowerIsBetter)
        .with_rounding(found.rounding)
        .with_detail("epsilon", found.epsilon)
        .with_detail("cost", cost)
        .with_detail("marginal_error", found.marginal_error)
        .with_detail("converged", found.converged)
        .with_detail("iterations", found.iterations);
    Ok(if found.converged {
        report
    } else {
        report.with_note(format!(
            "not converged after {} iterations (marginal error {:.1e}): raise epsilon",
            found.iterations, found.marginal_error
        ))
    })
}
