//! The distance between the means of two samples.

use brenier_measure::{Estimate, Points};
use brenier_transport::ExactSum;
use ndarray::{Array1, Axis};

use crate::EvalError;
use crate::error::{check, check_dims};

/// `|m_a - m_b|`, in the unit of the data, between points `[n, d]` and `[m, d]`.
///
/// The standard error is that of the delta method, `√(uᵀ(Σ_a/n + Σ_b/m)u)` along `u = (m_a - m_b)/|m_a - m_b|`;
/// where the means agree to the last bit there is no u, and the average over all directions stands in. It is NaN for a single
/// point on a side.
///
/// # Errors
///
/// No point on a side, points that are not finite, dimensions that differ.
pub fn mean_error(samples: &Points, reference: &Points) -> Result<Estimate, EvalError> {
    check("samples", samples, 1)?;
    check("reference points", reference, 1)?;
    check_dims(("samples", samples), ("reference points", reference))?;
    // Without rounding: what lies far from all others, in both, cancels to the last bit.
    let (n, m) = (samples.nrows() as f64, reference.nrows() as f64);
    let difference = Array1::from_iter(samples.columns().into_iter().zip(reference.columns()).map(|(x, y)| {
        let mut sum = ExactSum::default();
        x.iter().for_each(|&x| sum.add_product(x, m));
        y.iter().for_each(|&y| sum.add_product(y, -n));
        sum.value() / n / m
    }));
    let value = difference.dot(&difference).sqrt();
    // From a common point: the spread of clouds far from the origin keeps its digits.
    let origin = reference.row(0);
    let (samples, reference) = (&(samples - &origin), &(reference - &origin));
    let mean = |points: &Points| points.mean_axis(Axis(0)).expect("at least one point");
    let (a, b) = (mean(samples), mean(reference));
    let dim = samples.ncols() as f64;
    let variance_of_mean = |points: &Points, mean: &ndarray::Array1<f64>| {
        let n = points.nrows() as f64;
        let centred = points - mean;
        let squares = if value > 0.0 {
            let along = centred.dot(&(&difference / value));
            along.dot(&along)
        } else {
            centred.iter().map(|x| x * x).sum::<f64>() / dim
        };
        squares / (n - 1.0) / n
    };
    let variance = variance_of_mean(samples, &a) + variance_of_mean(reference, &b);
    Ok(Estimate { value, std_error: variance.sqrt() })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_shift_is_its_length_with_the_error_of_two_means() {
        // Second moments of (±2, 0), (0, ±1) along the shift (3, 4)/5: (4·9/25 + 16/25)·2/3 = 104/75.
        let points = array![[2.0, 0.0], [-2.0, 0.0], [0.0, 1.0], [0.0, -1.0]];
        let moved = &points + &array![3.0, 4.0];
        let error = mean_error(&moved, &points).unwrap();
        assert!((error.value - 5.0).abs() < 1e-15);
        assert!((error.std_error - (2.0 * 104.0 / 75.0 / 4.0f64).sqrt()).abs() < 1e-15, "{error:?}");
        let none = mean_error(&points, &points).unwrap();
        assert_eq!(none.value, 0.0);
        // tr Σ = 10/3, over two directions, two samples of four.
        assert!((none.std_error - (2.0 * 10.0 / 3.0 / 2.0 / 4.0f64).sqrt()).abs() < 1e-15, "{none:?}");
    }

    #[test]
    fn bad_points_are_named() {
        let points = array![[0.0, 1.0], [2.0, f64::NAN]];
        let message = mean_error(&points, &array![[0.0, 1.0], [0.0, 1.0]]).unwrap_err().to_string();
        assert_eq!(
            message,
            "samples: row 1, column 1 is NaN; a sampler that makes such values has diverged: \
             lower its step size or take more steps"
        );
        let message = mean_error(&array![[0.0], [1.0]], &array![[0.0, 1.0], [0.0, 1.0]]).unwrap_err().to_string();
        assert_eq!(message, "samples have dimension 1, reference points dimension 2; both must live in one space");
    }
}
