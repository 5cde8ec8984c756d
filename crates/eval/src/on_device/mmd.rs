//! The maximum mean discrepancy between point clouds with a Gaussian kernel, as tensor operations.

use brenier_measure::to_points;
use brenier_transport::mmd::Bandwidth;
use brenier_transport::{Cloud, TransportError, mmd};
use burn::tensor::{Tensor, TensorData};

use super::check;
use super::pairs::{Kernel, Statistic, two_sample};
use crate::EvalError;

/// `MMD² = E k(X, X') + E k(Y, Y') - 2E k(X, Y)` with `k(x, y) = exp(-|x - y|²/2h²)`; a `[n, d]`, b `[m, d] -> [1]`.
///
/// The U-statistic: the means within a cloud leave out the pairs of a point with itself, so that the expectation is 0
/// between samples of one law, and values below 0 occur. Differentiable in both clouds, at a fixed bandwidth h. O((n + m)² d) in
/// tiles. Gretton, Borgwardt, Rasch, Schölkopf and Smola, A kernel two-sample test (2012), equation 3.
///
/// # Errors
///
/// Fewer than two points in a cloud, dimensions that differ, a bandwidth that is not positive and finite.
pub fn mmd_squared(a: Tensor<2>, b: Tensor<2>, bandwidth: f64) -> Result<Tensor<1>, EvalError> {
    check(&a, &b, 2)?;
    if !(bandwidth > 0.0 && bandwidth.is_finite()) {
        return Err(TransportError::Bandwidth { bandwidth }.into());
    }
    Ok(two_sample(&a, &b, Kernel::Gaussian { bandwidth }, Statistic::U))
}

/// Points of a cloud that the median is taken over, at most.
const MEDIAN_POINTS: usize = 1000;

/// The median heuristic of [`Bandwidth::MedianHeuristic`]: h is the median of the positive distances in the union of both clouds.
///
/// Of a cloud of more than 1000 points, 1000 spread evenly over its rows. Waits for the device. A bandwidth that is to mean the
/// same throughout a training comes from points that do not change. Gretton et al. (2012), section 8.
///
/// # Errors
///
/// Fewer than two points in a cloud, dimensions that differ, a coordinate that is not finite, points that are all equal.
pub fn median_bandwidth(a: &Tensor<2>, b: &Tensor<2>) -> Result<f64, EvalError> {
    check(a, b, 2)?;
    let [a, b] = [a, b].map(|points| {
        let points = points.clone().inner();
        let [total, dim] = points.dims();
        let count = total.min(MEDIAN_POINTS);
        let indices: Vec<i32> = (0..count).map(|k| (k * total / count) as i32).collect();
        let indices = Tensor::from_data(TensorData::new(indices, [count]), &points.device());
        (to_points(points.select(0, indices)).into_raw_vec_and_offset().0, dim)
    });
    let (a, b) = (Cloud::new(&a.0, a.1)?, Cloud::new(&b.0, b.1)?);
    Ok(mmd::mmd_squared(a, b, Bandwidth::MedianHeuristic)?.bandwidth)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::super::tests::{assert_gradient, cloud, mean_over_pairs, normal, single, twice};
    use super::*;

    #[test]
    fn it_is_the_formula() {
        for (dim, n, m) in [(1, 40, 30), (3, 2, 2), (20, 50, 70)] {
            let (a, b) = (normal(n, dim, 0.0, 1.0, 0), normal(m, dim, 0.3, 1.2, 1));
            let bandwidth = 0.8 * (dim as f64).sqrt();
            let kernel = |r: f64| (-0.5 * (r / bandwidth).powi(2)).exp();
            let exact = mean_over_pairs(&a, &a, false, kernel) + mean_over_pairs(&b, &b, false, kernel)
                - 2.0 * mean_over_pairs(&a, &b, true, kernel);
            let double = read(mmd_squared(twice(&a), twice(&b), bandwidth).unwrap());
            assert!((double - exact).abs() < 1e-13, "{double} against {exact}");
            let narrow = read(mmd_squared(single(&a), single(&b), bandwidth).unwrap());
            assert!((narrow - exact).abs() < 1e-4 * exact.abs(), "{narrow} against {exact}");
        }
    }

    #[test]
    fn it_agrees_with_the_cpu_at_its_bandwidth() {
        // The first has more pairs than one tile.
        for (n, m, dim) in [(2500, 2000, 2), (300, 500, 30)] {
            let (a, b) = (normal(n, dim, 5.0, 1.0, 0), normal(m, dim, 5.0, 1.2, 1));
            let exact = mmd::mmd_squared(cloud(&a), cloud(&b), Bandwidth::MedianHeuristic).unwrap();
            let (x, y) = (single(&a), single(&b));
            let bandwidth = median_bandwidth(&x, &y).unwrap();
            assert!((bandwidth - exact.bandwidth).abs() < 1e-6 * bandwidth, "{bandwidth} against {exact:?}");
            let found = read(mmd_squared(x, y, bandwidth).unwrap());
            assert!((found - exact.value).abs() < 1e-4 * exact.value, "{found} against {}", exact.value);
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let points = single(&normal(3, 2, 0.0, 1.0, 0));
        assert!(mmd_squared(points.clone(), points.clone(), 0.0).is_err());
        assert!(mmd_squared(points.clone(), single(&normal(1, 2, 0.0, 1.0, 1)), 1.0).is_err());
        assert!(median_bandwidth(&points.zeros_like(), &points.zeros_like()).is_err());
    }

    #[test]
    fn gradients_are_differences() {
        for dim in [2, 9] {
            let (a, b) = (normal(6, dim, 0.0, 1.0, 0), normal(4, dim, 0.5, 1.5, 1));
            assert_gradient(&a, &b, |a, b| mmd_squared(a, b, 1.7).unwrap());
        }
    }
}
