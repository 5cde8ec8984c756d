//! Sliced W₂ between point clouds, as tensor operations.

use brenier_transport::{Cloud, TransportError};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use super::{TILE, centre, check};
use crate::EvalError;

/// `SW₂² = (1/K) Σ_k W₂²(θ_k·a, θ_k·b)` between a `[n, d]` and b `[m, d]` along K directions `[K, d]`, row after row; `-> [1]`.
///
/// A direction may have any positive length: it is divided out. The square and not its root, whose gradient has no limit at 0.
/// Clouds of equal size are matched in order of their projections, others where the steps of their quantile functions overlap.
/// O(K(n d + n log n)), directions in tiles; a GPU backend of Burn sorts on the host. Differentiable in both
/// clouds. Bonneel, Rabin, Peyré and Pfister, Sliced and Radon Wasserstein barycenters of measures (2015).
///
/// # Errors
///
/// A cloud without points, dimensions that differ, no direction, a direction that is zero or not finite.
pub fn sliced_w2_squared(a: Tensor<2>, b: Tensor<2>, directions: &[f64]) -> Result<Tensor<1>, EvalError> {
    check(&a, &b, 1)?;
    let ([n, dim], [m, _]) = (a.dims(), b.dims());
    let directions = unit_directions(directions, dim)?;
    let count = directions.len() / dim;
    let (device, dtype) = (a.clone().inner().device(), a.dtype());
    let matching = (n != m).then(|| Matching::new(n, m).on(&device, dtype));
    let centre = centre(&a, &b);
    let [x, y] = [a, b].map(|points| (points - centre.clone()).transpose());

    let tile = (TILE / (n + m)).max(1);
    let mut parts = Vec::new();
    for rows in directions.chunks(tile * dim) {
        let theta = TensorData::new(rows.to_vec(), [rows.len() / dim, dim]);
        let theta = Tensor::<2>::from_data(theta, (&device, dtype));
        let project = |points: &Tensor<2>| theta.clone().matmul(points.clone()).sort(1);
        let (x, y) = (project(&x), project(&y));
        parts.push(match &matching {
            None => (x - y).square().mean_dim(1).sum(),
            Some((from, to, mass)) => {
                let moved = x.select(1, from.clone()) - y.select(1, to.clone());
                (moved.square() * mass.clone()).sum_dim(1).sum()
            }
        });
    }
    Ok(Tensor::cat(parts, 0).sum() / count as f64)
}

/// The optimal coupling of two sorted samples of sizes n and m on the line: mass by mass, from which point to which.
struct Matching {
    from: Vec<i32>,
    to: Vec<i32>,
    mass: Vec<f64>,
}

impl Matching {
    fn new(n: usize, m: usize) -> Self {
        let mut matching = Self { from: Vec::new(), to: Vec::new(), mass: Vec::new() };
        let (mut i, mut j, mut done) = (0, 0, 0);
        while i < n && j < m {
            // In units of 1/(nm) everything is a whole number: point i of n reaches up to (i + 1) m, point j of m to (j + 1) n.
            let (end_i, end_j) = ((i + 1) * m, (j + 1) * n);
            let end = end_i.min(end_j);
            matching.from.push(i as i32);
            matching.to.push(j as i32);
            matching.mass.push((end - done) as f64 / (n as f64 * m as f64));
            done = end;
            i += usize::from(end == end_i);
            j += usize::from(end == end_j);
        }
        matching
    }

    /// The indices `[L]` and masses `[1, L]` as tensors.
    fn on(self, device: &Device, dtype: DType) -> (Tensor<1, Int>, Tensor<1, Int>, Tensor<2>) {
        let count = self.mass.len();
        let indices = |values: Vec<i32>| Tensor::from_data(TensorData::new(values, [count]), device);
        let mass = Tensor::from_data(TensorData::new(self.mass, [1, count]), (device, dtype));
        (indices(self.from), indices(self.to), mass)
    }
}

/// The directions, checked and scaled to length one.
fn unit_directions(directions: &[f64], dim: usize) -> Result<Vec<f64>, EvalError> {
    let cloud = Cloud::new(directions, dim)?;
    let mut unit = Vec::with_capacity(directions.len());
    for (index, direction) in cloud.points().enumerate() {
        // Scaled by the largest entry first: the squares neither overflow nor vanish.
        let largest = direction.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        if largest == 0.0 {
            return Err(TransportError::ZeroDirection { index }.into());
        }
        let length = direction.iter().map(|x| (x / largest).powi(2)).sum::<f64>().sqrt();
        unit.extend(direction.iter().map(|x| x / largest / length));
    }
    Ok(unit)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::super::tests::{assert_gradient, cloud, normal, numbers, points, reference, single, twice};
    use super::*;
    use crate::random_directions;
    use brenier_transport::sliced;

    #[test]
    fn it_agrees_with_an_independent_implementation() {
        let file = reference();
        let [x, y, z] = ["X", "Y", "Z"].map(|name| points(&file[name]));
        let directions = numbers(&file["directions"]);
        for (a, b, name) in [(&x, &y, "SW2_XY"), (&x, &z, "SW2_XZ"), (&z, &x, "SW2_XZ")] {
            let exact = file["sliced"][name].as_f64().unwrap();
            let double = read(sliced_w2_squared(twice(a), twice(b), &directions).unwrap()).sqrt();
            assert!((double - exact).abs() < 1e-12, "{double} against {exact}");
            let narrow = read(sliced_w2_squared(single(a), single(b), &directions).unwrap()).sqrt();
            assert!((narrow - exact).abs() < 1e-5 * exact, "{narrow} against {exact}");
        }
    }

    #[test]
    fn close_clouds_of_any_size_agree_with_the_cpu() {
        for (n, m, dim) in [(2000, 2000, 2), (1500, 2000, 5), (700, 300, 64)] {
            let (a, b) = (normal(n, dim, 0.0, 1.0, 0), normal(m, dim, 0.0, 1.0, 1));
            let directions = random_directions(100, dim, 3);
            let exact = sliced::sliced_w2(cloud(&a), cloud(&b), &directions).unwrap().w2_squared();
            let found = read(sliced_w2_squared(single(&a), single(&b), &directions).unwrap());
            assert!((found - exact).abs() < 1e-4 * exact, "{found} against {exact}");
        }
    }

    #[test]
    fn wrong_arguments_are_named() {
        let points = single(&normal(3, 2, 0.0, 1.0, 0));
        let text =
            |directions: &[f64]| sliced_w2_squared(points.clone(), points.clone(), directions).unwrap_err().to_string();
        assert_eq!(text(&[1.0, 0.0, 0.0, 0.0]), "direction 1 is zero; a direction needs a positive length");
        assert!(!text(&[]).is_empty() && !text(&[1.0]).is_empty() && !text(&[1.0, f64::NAN]).is_empty());
    }

    #[test]
    fn gradients_are_differences() {
        let directions = random_directions(9, 3, 1);
        for m in [6, 4] {
            let (a, b) = (normal(6, 3, 0.0, 1.0, 0), normal(m, 3, 0.5, 1.5, 1));
            assert_gradient(&a, &b, |a, b| sliced_w2_squared(a, b, &directions).unwrap());
        }
    }
}
