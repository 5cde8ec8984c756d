//! The distance between the covariances of two samples.

use brenier_measure::{Estimate, Points};
use brenier_transport::ExactSum;
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
    // From a common point: clouds far from the origin keep their digits.
    let origin = reference.row(0).to_owned();
    let (near_samples, near_reference) = (samples - &origin, reference - &origin);
    let [m_a, m_b] = [&near_samples, &near_reference].map(|near| near.mean_axis(Axis(0)).expect("at least two points"));
    let (a, b) = (near_samples - &m_a, near_reference - &m_b);
    let covariance = |centred: &Points| centred.t().dot(centred) / (centred.nrows() as f64 - 1.0);
    let dim = samples.ncols();
    let norm = |matrix: &Array2<f64>| matrix.iter().map(|x| x * x).sum::<f64>().sqrt();
    let [of_a, of_b] = [covariance(&a), covariance(&b)];
    let mut difference = &of_a - &of_b;
    // A mean is off by rounding, and that by its product with itself and with the spread.
    let of_mean = 8.0 * f64::EPSILON * (m_a.dot(&m_a) + m_b.dot(&m_b)).sqrt();
    let spread = norm(&of_a) + norm(&of_b);
    let mut rounding = 8.0 * f64::EPSILON * dim as f64 * spread + of_mean * (of_mean + spread.sqrt());
    let work = dim * dim * (samples.nrows() + reference.nrows());
    if rounding > ENOUGH * norm(&difference) && work <= LARGEST_EXACT {
        difference = exact_difference(samples, reference);
        rounding = 0.0;
    }
    let value = norm(&difference);
    let along = if value > 0.0 { difference / value } else { Array2::eye(dim) / (dim as f64).sqrt() };
    let variance_of_mean = |centred: &Points| {
        let transformed = centred.dot(&along);
        let forms = centred.rows().into_iter().zip(transformed.rows()).map(|(x, ux)| x.dot(&ux));
        Estimate::mean(forms).std_error.powi(2)
    };
    let std_error = (variance_of_mean(&a) + variance_of_mean(&b)).sqrt().hypot(rounding);
    Ok(Estimate { value, std_error })
}

/// Rounding below this share of the value is none.
const ENOUGH: f64 = 1e-10;

/// The most products that are summed without rounding.
const LARGEST_EXACT: usize = 20_000_000;

/// `C_a - C_b` from sums without rounding: `(n Σ x_i x_j - Σ x_i Σ x_j)/(n (n - 1))` of both over one denominator.
fn exact_difference(samples: &Points, reference: &Points) -> Array2<f64> {
    let dim = samples.ncols();
    let scaled = |points: &Points, i: usize, j: usize| {
        let (mut products, mut first, mut second) = (ExactSum::default(), ExactSum::default(), ExactSum::default());
        for row in points.rows() {
            products.add_product(row[i], row[j]);
            first.add(row[i]);
            second.add(row[j]);
        }
        let mut all = ExactSum::default();
        all.add_times(&products, points.nrows() as f64);
        all.add_times(&first.times(&second), -1.0);
        all
    };
    let denominator = |points: &Points| points.nrows() as f64 * (points.nrows() as f64 - 1.0);
    let (n, m) = (denominator(samples), denominator(reference));
    let mut difference = Array2::zeros((dim, dim));
    for i in 0..dim {
        for j in 0..=i {
            let mut sum = ExactSum::default();
            sum.add_times(&scaled(samples, i, j), m);
            sum.add_times(&scaled(reference, i, j), -n);
            let entry = sum.value() / n / m;
            (difference[[i, j]], difference[[j, i]]) = (entry, entry);
        }
    }
    difference
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn far_from_the_origin_and_with_far_rows_it_keeps_its_digits() {
        let a = array![[0.0, 3.0], [1.0, 1.0], [3.0, 2.0], [2.0, 0.0], [1.0, 3.0]];
        let b = array![[2.0, 2.0], [0.0, 1.0], [1.0, 0.0], [3.0, 3.0]];
        let near = covariance_error(&a, &b).unwrap();
        let far = covariance_error(&(&a + 1e14), &(&b + 1e14)).unwrap();
        assert!((far.value / near.value - 1.0).abs() < 1e-12, "{far:?} and {near:?}");
        assert!((far.std_error / near.std_error - 1.0).abs() < 1e-9, "{far:?} and {near:?}");
        // (n Σ x² - (Σ x)²)/(n (n - 1)) of {0, 1, 10¹²} and of {2, 3, 10¹²}, in whole numbers: the difference is that of the cross terms.
        let [x, y] = [array![[0.0], [1.0], [1e12]], array![[2.0], [3.0], [1e12]]];
        let exact = ((3 * (1 - 13)) as f64 - (1.0 - 25.0) + 2e12 * (5.0 - 1.0)) / 6.0;
        assert!((covariance_error(&x, &y).unwrap().value / exact - 1.0).abs() < 1e-12, "{exact}");
    }

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
