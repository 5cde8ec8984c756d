//! Distances between point clouds as tensor operations, for any device and number type: what training can watch and minimise.
//!
//! They are the distances that `brenier_transport` computes in f64 on the CPU, and agree with it to about 10⁻⁴ of the value in
//! f32. What is printed as a result comes from there; these serve where the points already live on a GPU, or where a
//! gradient is wanted.
//!
//! # Design
//!
//! Pairs of points are visited in tiles of rows of at most [`TILE`] pairs, so that memory is linear in the number of
//! points. A graph of all tiles would be quadratic again: where a cloud is tracked by autodiff, energy distance, MMD and
//! Sinkhorn divergence compute their gradient beside the value, in the same tiles and without a graph, and hand it
//! over. The sliced distance is linear by nature, and Burn differentiates it. Gradients are of first order.
//!
//! Both clouds of a call are on one device in one number type; they are centred first, so that points far from the
//! origin lose no digits. A coordinate that is NaN or infinite makes the value NaN: looking for it would cost a transfer.

mod energy_distance;
mod mmd;
mod pairs;
mod sinkhorn;
mod sliced_w2;

pub use energy_distance::energy_distance;
pub use mmd::{median_bandwidth, mmd_squared};
pub use sinkhorn::{SinkhornDivergence, sinkhorn_divergence};
pub use sliced_w2::sliced_w2_squared;

use burn::tensor::Tensor;

use crate::EvalError;

/// The largest number of pairs in one tile; in f32 a tile takes 16 MiB, and a handful are alive at a time.
pub const TILE: usize = 1 << 22;

/// What the two clouds are called in errors.
const NAMES: [&str; 2] = ["samples", "reference points"];

/// Refuses clouds with fewer than `least` points, without coordinates, or of different dimensions.
fn check(a: &Tensor<2>, b: &Tensor<2>, least: usize) -> Result<(), EvalError> {
    for (name, [count, dim]) in NAMES.into_iter().zip([a.dims(), b.dims()]) {
        if count < least || dim == 0 {
            return Err(EvalError::TooFew { name, count, least });
        }
    }
    let ([_, a], [_, b]) = (a.dims(), b.dims());
    if a == b { Ok(()) } else { Err(EvalError::DimensionMismatch { a_name: NAMES[0], a, b_name: NAMES[1], b }) }
}

/// The midpoint of the means of both clouds, `[1, d]`, without autodiff.
fn centre(a: &Tensor<2>, b: &Tensor<2>) -> Tensor<2> {
    let mean = |points: &Tensor<2>| points.clone().inner().mean_dim(0);
    (mean(a) + mean(b)) * 0.5
}

/// Both clouds, without autodiff, moved so that the midpoint of their means is the origin.
fn centred(a: &Tensor<2>, b: &Tensor<2>) -> [Tensor<2>; 2] {
    let centre = centre(a, b);
    [a, b].map(|points| points.clone().inner() - centre.clone())
}

/// A tensor of this value whose gradients are those given, `[n, d]` each; `points` are the clouds as the caller gave them.
fn with_gradients<const N: usize>(value: Tensor<1>, points: [&Tensor<2>; N], gradients: [Tensor<2>; N]) -> Tensor<1> {
    points.into_iter().zip(gradients).fold(value, |value, (points, gradient)| {
        if !points.is_tracked() {
            return value;
        }
        // The difference is zero, and its derivative is not.
        let displacement = points.clone() - points.clone().inner();
        (displacement * gradient).sum() + value
    })
}

/// Whether a gradient of either cloud will be asked for.
fn is_tracked(a: &Tensor<2>, b: &Tensor<2>) -> bool {
    a.is_tracked() || b.is_tracked()
}

/// The one number of a tensor, in f64; waits for the device.
fn read(scalar: Tensor<1>) -> f64 {
    scalar.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion")[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use brenier_measure::{Points, Purpose, Stream, to_points, to_tensor};
    use brenier_transport::Cloud;
    use burn::tensor::{DType, Device};
    use serde_json::Value;

    /// n points of N(shift, scale² I), a function of the index.
    pub(super) fn normal(n: usize, dim: usize, shift: f64, scale: f64, index: u64) -> Points {
        let mut words = Stream::new(11, Purpose::Evaluation).at(0, index);
        Points::from_shape_fn((n, dim), |_| shift + scale * words.normal())
    }

    /// Points of an independent implementation and the distances between them.
    pub(super) fn reference() -> Value {
        serde_json::from_str(include_str!("../../../transport/tests/metrics.json")).unwrap()
    }

    /// Every number below a value, in order.
    pub(super) fn numbers(value: &Value) -> Vec<f64> {
        match value {
            Value::Array(entries) => entries.iter().flat_map(numbers).collect(),
            other => vec![other.as_f64().unwrap()],
        }
    }

    pub(super) fn points(value: &Value) -> Points {
        let values = numbers(value);
        Points::from_shape_vec((values.len() / 3, 3), values).unwrap()
    }

    /// Points in f32.
    pub(super) fn single(points: &Points) -> Tensor<2> {
        to_tensor(points, DType::F32, &Device::flex())
    }

    /// Points in f64.
    pub(super) fn twice(points: &Points) -> Tensor<2> {
        to_tensor(points, DType::F64, &Device::flex())
    }

    pub(super) fn cloud(points: &Points) -> Cloud<'_> {
        Cloud::new(points.as_slice().unwrap(), points.ncols()).unwrap()
    }

    /// `E φ(|X - Y|)` over the pairs of two clouds, or over the pairs of different rows.
    pub(super) fn mean_over_pairs(a: &Points, b: &Points, all: bool, phi: impl Fn(f64) -> f64) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        for (i, x) in a.rows().into_iter().enumerate() {
            for (j, y) in b.rows().into_iter().enumerate() {
                if all || i != j {
                    let difference = &x - &y;
                    sum += phi(difference.dot(&difference).sqrt());
                    count += 1.0;
                }
            }
        }
        sum / count
    }

    /// Asks that the gradients in both clouds are central differences.
    pub(super) fn assert_gradient(a: &Points, b: &Points, f: impl Fn(Tensor<2>, Tensor<2>) -> Tensor<1>) {
        let device = Device::flex().autodiff();
        let tracked = [a, b].map(|points| to_tensor(points, DType::F64, &device).require_grad());
        let gradients = f(tracked[0].clone(), tracked[1].clone()).backward();
        let gradients = tracked.map(|points| to_points(points.grad(&gradients).unwrap()));
        let value = |a: &Points, b: &Points| read(f(twice(a), twice(b)));
        for (side, gradient) in gradients.iter().enumerate() {
            for ((row, column), found) in gradient.indexed_iter() {
                let at = |step: f64| {
                    let mut clouds = [a.clone(), b.clone()];
                    clouds[side][(row, column)] += step;
                    value(&clouds[0], &clouds[1])
                };
                let step = 1e-5;
                let difference = (at(step) - at(-step)) / (2.0 * step);
                let place = format!("cloud {side}, row {row}, column {column}");
                assert!((found - difference).abs() < 1e-8, "{place}: {found} against {difference}");
            }
        }
    }
}
