//! Sliced W₂ between two samples over random directions.

use brenier_measure::{Estimate, Points, Purpose, Stream};
use brenier_transport::{sliced, without_shared};

use crate::EvalError;
use crate::clouds::{between, has_spread};

/// How many random directions [`Metric::SlicedW2`](crate::Metric::SlicedW2) projects on.
pub const DIRECTIONS: usize = 500;

/// `count` directions uniform on the sphere of Rᵈ, `[count, d]` row after row; a function of the seed.
pub fn random_directions(count: usize, dim: usize, seed: u64) -> Vec<f64> {
    let stream = Stream::new(seed, Purpose::Metric);
    let mut directions = vec![0.0; count * dim];
    for (index, direction) in directions.chunks_exact_mut(dim.max(1)).enumerate() {
        stream.at(0, index as u64).fill_normal(direction);
    }
    directions
}

/// `SW₂ = √(E_θ W₂²(θ·a, θ·b))`, in the unit of the data, between points `[n, d]` and `[m, d]`.
///
/// The standard error joins, by the delta method, that of drawing the points (the variance of the
/// mean Kantorovich potentials) and that of drawing the directions. Between two samples of one law it
/// describes the spread of the value only roughly, because the first variation vanishes there: the
/// floor is what to compare with. It is NaN for a single point on a side.
///
/// # Errors
///
/// No point on a side, points that are not finite, dimensions that differ, no direction.
pub fn sliced_w2(samples: &Points, reference: &Points, directions: &[f64]) -> Result<Estimate, EvalError> {
    between(samples, reference, |a, b| {
        let distance = sliced::sliced_w2(a, b, directions)?;
        let value = distance.w2();
        if !has_spread(samples, reference) {
            return Ok(Estimate { value, std_error: f64::NAN });
        }
        if value == 0.0 {
            return Ok(Estimate { value, std_error: 0.0 });
        }
        let points = sliced::sliced_potentials(a, b, directions)?.point_error();
        let choice = if distance.per_direction.len() > 1 { distance.direction_error() } else { 0.0 };
        Ok(Estimate { value, std_error: points.hypot(choice) / (2.0 * value) })
    })
}

/// By how much rounding may move [`sliced_w2`]: a projection is rounded by the size of its point, `√(E|x|²) + √(E|y|²)` in units of d ε. Points that both
/// clouds of equal size share are projected to the same number, and cancel.
pub(crate) fn sliced_w2_rounding(samples: &Points, reference: &Points) -> Result<f64, EvalError> {
    between(samples, reference, |a, b| {
        let rest = if a.count() == b.count() {
            without_shared(&a, &b)
        } else {
            [a, b].map(|cloud| cloud.points().flatten().copied().collect())
        };
        let size =
            |values: &[f64]| (values.iter().map(|x| x * x).sum::<f64>() / a.count().min(b.count()) as f64).sqrt();
        Ok(a.dim() as f64 * f64::EPSILON * (size(&rest[0]) + size(&rest[1])))
    })
}

/// The value of [`sliced_w2`] alone, in half the time.
pub(crate) fn sliced_w2_value(samples: &Points, reference: &Points, directions: &[f64]) -> Result<f64, EvalError> {
    between(samples, reference, |a, b| Ok(sliced::sliced_w2(a, b, directions)?.w2()))
}

#[cfg(test)]
mod tests {
    use brenier_transport::Cloud;

    use super::*;
    use crate::reference::tests::NormalWithScale;
    use brenier_measure::Sample;

    fn normal(scale: Vec<f64>, index: u64, n: u64) -> Points {
        NormalWithScale(scale).sample(&Stream::new(5, Purpose::Evaluation), index, 0..n)
    }

    #[test]
    fn a_shift_has_the_closed_form() {
        let points = normal(vec![1.0, 2.0, 0.5], 0, 300);
        let shift = ndarray::array![3.0, -1.0, 2.0];
        // E (θ·s)² = |s|²/d; a shift is optimal along every direction, so the directions alone are random.
        let moved = &points + &shift;
        let directions = random_directions(4000, 3, 1);
        let distance = sliced_w2(&moved, &points, &directions).unwrap();
        let exact = (14.0 / 3.0f64).sqrt();
        assert!(distance.std_error < 0.1, "{distance:?}");
        assert!((distance.value - exact).abs() < 5.0 * distance.std_error, "{distance:?} against {exact}");
        assert_eq!(sliced_w2(&points, &points, &directions).unwrap(), Estimate { value: 0.0, std_error: 0.0 });
    }

    #[test]
    fn between_gaussians_it_has_the_closed_form() {
        // N(0, s²I) and N(0, t²I): every projection costs (s - t)², so SW₂ = |s - t|.
        let (a, b) = (normal(vec![1.0; 4], 0, 8000), normal(vec![1.5; 4], 1, 7000));
        let distance = sliced_w2(&a, &b, &random_directions(200, 4, 2)).unwrap();
        assert!(distance.std_error < 0.01, "too noisy to decide: {distance:?}");
        assert!((distance.value - 0.5).abs() < 5.0 * distance.std_error, "{distance:?}");
    }

    #[test]
    fn the_standard_error_is_the_spread_over_repeated_draws() {
        let directions = random_directions(100, 2, 3);
        let repeats: Vec<Estimate> = (0..60)
            .map(|r| {
                let (a, b) = (normal(vec![1.0, 1.0], 2 * r, 200), normal(vec![2.0, 1.0], 2 * r + 1, 150));
                sliced_w2(&a, &b, &directions).unwrap()
            })
            .collect();
        let spread = Estimate::mean(repeats.iter().map(|estimate| estimate.value)).std_error * 60f64.sqrt();
        // The directions are the same for all repeats: compare with the part that the points cause.
        let predicted: Vec<f64> = (0..60)
            .map(|r| {
                let (a, b) = (normal(vec![1.0, 1.0], 2 * r, 200), normal(vec![2.0, 1.0], 2 * r + 1, 150));
                let (a_slice, b_slice) = (a.as_slice().unwrap(), b.as_slice().unwrap());
                let (a, b) = (Cloud::new(a_slice, 2).unwrap(), Cloud::new(b_slice, 2).unwrap());
                sliced::sliced_potentials(a, b, &directions).unwrap().point_error() / (2.0 * repeats[r as usize].value)
            })
            .collect();
        let predicted = predicted.iter().sum::<f64>() / 60.0;
        // The sd of 60 values has a relative standard error of 1/√118 = 9 %.
        assert!((predicted / spread - 1.0).abs() < 5.0 * 0.092, "{predicted} against {spread}");
    }
}
