//! The distance between the covariances of two samples.

use brenier_measure::{Estimate, Points};
use ndarray::{Array2, Axis};

use crate::EvalError;
use crate::error::{check, check_dims};

/// `‖C_a - C_b‖_F`, absolute, in the squared unit of the data, between points `[n, d]` and `[m, d]`;
/// C is the unbiased covariance (divided by n - 1).
///
/// The standard error is that of the delta method: `√(Var q_a/n + Var q_b/m)` of the quadratic forms
/// `q(x) = (x - mean)ᵀU(x - mean)` along `U = (C_a - C_b)/‖C_a - C_b‖_F` (the identity over √d where
/// the covariances agree to the last bit).
///
/// # Errors
///
/// Fewer than two points on a side, points that are not finite, dimensions that differ.
pub fn covariance_error(samples: &Points, reference: &Points) -> Result<Estimate, EvalError> {
    check("samples", samples, 2)?;
    check("reference points", reference, 2)?;
    check_dims(("samples", samples), ("reference points", reference))?;
    let centred = |points: &Points| points - &points.mean_axis(Axis(0)).expect("at least two points");
    let (a, b) = (centred(samples), centred(reference));
    let covariance = |centred: &Points| centred.t().dot(centred) / (centred.nrows() as f64 - 1.0);
    let difference = covariance(&a) - covariance(&b);
    let value = difference.iter().map(|x| x * x).sum::<f64>().sqrt();
    let dim = samples.ncols();
    let along = if value > 0.0 { difference / value } else { Array2::eye(dim) / (dim as f64).sqrt() };
    let variance_of_mean = |centred: &Points| {
        let transformed = centred.dot(&along);
        let forms = centred.rows().into_iter().zip(transformed.rows()).map(|(x, ux)| x.dot(&ux));
        Estimate::mean(forms).std_error.powi(2)
    };
    let std_error = (variance_of_mean(&a) + variance_of_mean(&b)).sqrt();
    Ok(Estimate { value, std_error })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn scaling_one_axis_changes_one_entry() {
        // Covariance diag(8/3, 2/3); the first axis scaled by 2 gives diag(32/3, 2/3): the difference is 8.
        let points = array![[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
        let scaled = &points * &array![2.0, 1.0] + &array![5.0, -7.0];
        let error = covariance_error(&scaled, &points).unwrap();
        assert!((error.value - 8.0).abs() < 1e-13, "{error:?}");
        // q = x₁²: {16, 16, 0, 0} and {4, 4, 0, 0} have variances 256/3 and 16/3.
        assert!((error.std_error - ((256.0 + 16.0) / 3.0 / 4.0f64).sqrt()).abs() < 1e-13, "{error:?}");
        assert_eq!(covariance_error(&points, &points).unwrap().value, 0.0);
    }
}
