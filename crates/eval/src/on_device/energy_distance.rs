//! The energy distance between point clouds, as tensor operations.

use burn::tensor::Tensor;

use super::check;
use super::pairs::{Kernel, Statistic, two_sample};
use crate::EvalError;

/// `2E|X - Y| - E|X - X'| - E|Y - Y'|` of the empirical measures of a `[n, d]` and b `[m, d]`, in the unit of the data; `-> [1]`.
///
/// The means go over all pairs, a point with itself included: never negative, and 0 between equal clouds only.
/// Differentiable in both clouds; where two points coincide, the pair has gradient 0. O(nm d) in tiles. Székely and
/// Rizzo, Energy statistics: a class of statistics based on distances (2013), equation 2.1.
///
/// # Errors
///
/// A cloud without points, dimensions that differ.
pub fn energy_distance(a: Tensor<2>, b: Tensor<2>) -> Result<Tensor<1>, EvalError> {
    check(&a, &b, 1)?;
    Ok(two_sample(&a, &b, Kernel::Distance, Statistic::V))
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::super::tests::{assert_gradient, cloud, mean_over_pairs, normal, single, twice};
    use super::*;
    use brenier_transport::energy;

    #[test]
    fn it_is_the_formula() {
        for (dim, n, m) in [(1, 40, 30), (3, 1, 2), (20, 50, 70)] {
            let (a, b) = (normal(n, dim, 0.0, 1.0, 0), normal(m, dim, 0.3, 1.2, 1));
            let mean = |x, y| mean_over_pairs(x, y, true, |r| r);
            let exact = 2.0 * mean(&a, &b) - mean(&a, &a) - mean(&b, &b);
            let double = read(energy_distance(twice(&a), twice(&b)).unwrap());
            assert!((double - exact).abs() < 1e-12, "{double} against {exact}");
            let narrow = read(energy_distance(single(&a), single(&b)).unwrap());
            assert!((narrow - exact).abs() < 1e-4 * exact, "{narrow} against {exact}");
        }
    }

    #[test]
    fn it_agrees_with_the_cpu() {
        // The first has more pairs than one tile; both are far from the origin, and the clouds of the last are of one law.
        for (n, m, dim, scale) in [(2500, 2000, 2, 1.2), (300, 500, 30, 1.1), (1000, 1000, 2, 1.0)] {
            let (a, b) = (normal(n, dim, 100.0, 1.0, 0), normal(m, dim, 100.0, scale, 1));
            // What f32 makes of the points is not in question here.
            let [a, b] = [a, b].map(|points| points.mapv(|x| f64::from(x as f32)));
            let exact = energy::energy_distance(cloud(&a), cloud(&b)).unwrap().value;
            let found = read(energy_distance(single(&a), single(&b)).unwrap());
            assert!((found - exact).abs() < 1e-4 * exact, "{found} against {exact}");
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let points = single(&normal(3, 2, 0.0, 1.0, 0));
        let text = |b| energy_distance(points.clone(), b).unwrap_err().to_string();
        assert_eq!(
            text(single(&normal(3, 3, 0.0, 1.0, 0))),
            "samples have dimension 2, reference points dimension 3; both must live in one space"
        );
        assert!(text(single(&normal(0, 2, 0.0, 1.0, 0))).starts_with("there are 0 reference points"));
    }

    #[test]
    fn gradients_are_differences() {
        for dim in [2, 9] {
            let (a, b) = (normal(6, dim, 0.0, 1.0, 0), normal(4, dim, 0.5, 1.5, 1));
            assert_gradient(&a, &b, |a, b| energy_distance(a, b).unwrap());
        }
    }
}
