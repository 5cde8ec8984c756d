//! Sliced W₂: the mean over directions of the transport cost of the projections.
//!
//! `SW₂²(μ, ν) = E_θ W₂²(θ·μ, θ·ν)`, θ uniform on the sphere; Bonneel, Rabin, Peyré, Pfister,
//! Sliced and Radon Wasserstein barycenters of measures (2015).

use rayon::prelude::*;

use crate::cloud::comparable;
use crate::one_dimension::{potentials_sorted, w2_squared_sorted};
use crate::{Cloud, Potentials, TransportError};

/// `W₂²` of the projections, direction by direction.
#[derive(Debug, Clone, PartialEq)]
pub struct SlicedW2 {
    /// `W₂²(θ_k·a, θ_k·b)` for every direction θ_k, in the order given.
    pub per_direction: Vec<f64>,
}

impl SlicedW2 {
    /// `SW₂²`: the mean over the directions.
    pub fn w2_squared(&self) -> f64 {
        self.per_direction.iter().sum::<f64>() / self.per_direction.len() as f64
    }

    /// `SW₂`: the root of the mean square.
    pub fn w2(&self) -> f64 {
        self.w2_squared().sqrt()
    }

    /// The standard error of [`w2_squared`](Self::w2_squared) from the choice of random directions, `s/√K`; NaN for one.
    pub fn direction_error(&self) -> f64 {
        let mean = self.w2_squared();
        let count = self.per_direction.len() as f64;
        let squares: f64 = self.per_direction.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / (count - 1.0) / count).sqrt()
    }
}

/// Sliced W₂ between clouds of equal or unequal sizes; `directions` is `[K, d]`, row after row.
///
/// A direction may have any positive length: it is divided out. O(K(n d + n log n)), parallel over
/// directions.
///
/// # Errors
///
/// Clouds or directions of different dimensions, no direction, a direction that is zero or not finite.
pub fn sliced_w2(a: Cloud, b: Cloud, directions: &[f64]) -> Result<SlicedW2, TransportError> {
    let directions = unit_directions(&a, &b, directions)?;
    let per_direction = directions
        .par_chunks_exact(a.dim())
        .map_init(
            || (Vec::new(), Vec::new()),
            |(x, y), direction| {
                for (cloud, projection) in [(&a, &mut *x), (&b, &mut *y)] {
                    projection.clear();
                    projection.extend(cloud.points().map(|point| dot(point, direction)));
                    projection.sort_unstable_by(f64::total_cmp);
                }
                w2_squared_sorted(x, y)
            },
        )
        .collect();
    Ok(SlicedW2 { per_direction })
}

/// Kantorovich potentials of `SW₂²` at the points of both clouds: the first variation of the sliced cost.
///
/// `φ(x) = E_θ φ_θ(θ·x)`, φ_θ the potential between the projections, centred to mean zero; for the same arguments as
/// [`sliced_w2`].
///
/// # Errors
///
/// As for [`sliced_w2`].
pub fn sliced_potentials(a: Cloud, b: Cloud, directions: &[f64]) -> Result<Potentials, TransportError> {
    let dim = a.dim();
    let directions = unit_directions(&a, &b, directions)?;
    let count = directions.len() / dim;
    // A fixed number of partial sums, added in order: the result does not depend on the threads.
    const PARTIAL_SUMS: usize = 16;
    let partial: Vec<Potentials> = directions
        .par_chunks(count.div_ceil(PARTIAL_SUMS) * dim)
        .map(|directions| {
            let mut sum = Potentials { a: vec![0.0; a.count()], b: vec![0.0; b.count()] };
            for direction in directions.chunks_exact(dim) {
                let (order_a, x) = sorted_projection(&a, direction);
                let (order_b, y) = sorted_projection(&b, direction);
                let (phi, psi) = potentials_sorted(&x, &y);
                order_a.iter().zip(phi).for_each(|(&i, value)| sum.a[i as usize] += value);
                order_b.iter().zip(psi).for_each(|(&j, value)| sum.b[j as usize] += value);
            }
            sum
        })
        .collect();
    let mean = |part: fn(&Potentials) -> &[f64], n: usize| {
        let mut total = vec![0.0; n];
        for sum in &partial {
            total.iter_mut().zip(part(sum)).for_each(|(total, value)| *total += value / count as f64);
        }
        total
    };
    Ok(Potentials { a: mean(|sum| &sum.a, a.count()), b: mean(|sum| &sum.b, b.count()) })
}

fn sorted_projection(cloud: &Cloud, direction: &[f64]) -> (Vec<u32>, Vec<f64>) {
    let mut pairs: Vec<(f64, u32)> =
        cloud.points().zip(0..).map(|(point, index)| (dot(point, direction), index)).collect();
    // The index breaks ties, so equal points are ordered alike on every run.
    pairs.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
    pairs.into_iter().map(|(value, index)| (index, value)).unzip()
}

/// The directions, checked and scaled to length one.
fn unit_directions(a: &Cloud, b: &Cloud, directions: &[f64]) -> Result<Vec<f64>, TransportError> {
    let dim = comparable(a, b)?;
    let cloud = Cloud::new(directions, dim)?;
    let mut unit = Vec::with_capacity(directions.len());
    for (index, direction) in cloud.points().enumerate() {
        // Scaled by the largest entry first: the squares neither overflow nor vanish.
        let largest = direction.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        if largest == 0.0 {
            return Err(TransportError::ZeroDirection { index });
        }
        let length = direction.iter().map(|x| (x / largest).powi(2)).sum::<f64>().sqrt();
        unit.extend(direction.iter().map(|x| x / largest / length));
    }
    Ok(unit)
}

/// `x·y` in eight running sums, which the compiler turns into vector instructions.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (x, y) = (x.chunks_exact(8), y.chunks_exact(8));
    let rest: f64 = x.remainder().iter().zip(y.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in x.zip(y) {
        for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += x * y;
        }
    }
    lanes.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// n points of Rᵈ on an additive recurrence: spread out, without a generator.
    fn recurrence(n: usize, dim: usize) -> Vec<f64> {
        (0..n * dim).map(|k| ((k + 1) as f64 * 0.754_877_666_246_692_8).fract() * 2.0 - 1.0).collect()
    }

    #[test]
    fn a_shift_costs_its_square_over_the_dimension() {
        for dim in [1, 2, 5, 19] {
            let points = recurrence(40, dim);
            let shift: Vec<f64> = (0..dim).map(|j| 1.0 + j as f64).collect();
            let moved: Vec<f64> = points.iter().zip(shift.iter().cycle()).map(|(x, s)| x + s).collect();
            // The axes average (θ·s)² to |s|²/d exactly.
            let axes: Vec<f64> = (0..dim * dim).map(|k| if k % (dim + 1) == 0 { 3.0 } else { 0.0 }).collect();
            let (a, b) = (Cloud::new(&points, dim).unwrap(), Cloud::new(&moved, dim).unwrap());
            let exact = shift.iter().map(|s| s * s).sum::<f64>() / dim as f64;
            let distance = sliced_w2(a, b, &axes).unwrap();
            assert!((distance.w2_squared() - exact).abs() < 1e-12 * exact, "{distance:?} against {exact}");
            assert_eq!(sliced_w2(a, a, &axes).unwrap().w2(), 0.0);
            // φ(x) = -2 E_θ (θ·s)(θ·x), centred: linear, here -2 s·x/d.
            let potentials = sliced_potentials(a, b, &axes).unwrap();
            let linear: Vec<f64> =
                a.points().map(|x| -2.0 * x.iter().zip(&shift).map(|(x, s)| x * s).sum::<f64>() / dim as f64).collect();
            let mean = linear.iter().sum::<f64>() / 40.0;
            for (phi, exact) in potentials.a.iter().zip(&linear) {
                assert!((phi - (exact - mean)).abs() < 1e-12 * exact.abs().max(1.0));
            }
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let (x, y, directions) = (recurrence(301, 3), recurrence(200, 3), recurrence(37, 3));
        let (a, b) = (Cloud::new(&x, 3).unwrap(), Cloud::new(&y, 3).unwrap());
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| (sliced_w2(a, b, &directions).unwrap(), sliced_potentials(a, b, &directions).unwrap()))
        };
        let one = on(1);
        for threads in [2, 5] {
            assert_eq!(one, on(threads));
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let (plane, space) = (Cloud::new(&values, 2).unwrap(), Cloud::new(&values, 3).unwrap());
        let text = |b, directions: &[f64]| sliced_w2(plane, b, directions).unwrap_err().to_string();
        assert_eq!(text(space, &[1.0, 0.0]), "one side has dimension 2, the other 3; both must live in one space");
        assert_eq!(text(plane, &[1.0, 0.0, 0.0, 0.0]), "direction 1 is zero; a direction needs a positive length");
        assert!(sliced_w2(plane, plane, &[]).is_err());
    }
}
