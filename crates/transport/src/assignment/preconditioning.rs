//! Moves both clouds to where the duals of an assignment are small, without changing the assignment.
//!
//! # Design
//!
//! Of `|x - y|²` only `x·y` matters to an assignment, and `(Lx)·(L⁻¹y) = x·y` for every invertible symmetric L. With
//! `L = M^{1/2}`, M the optimal linear map between the empirical covariances (of x to that of y), both clouds get the
//! same covariance: what a linear map explains is taken out of the duals, and what is left needs fewer bids.

use faer::{Mat, MatRef, Side};

/// Above this dimension the eigendecompositions cost more than they save.
const LARGEST: usize = 512;

/// The least eigenvalue of a covariance that is inverted, in units of its mean: L has a condition number that rounding forgives.
const FLOOR: f64 = 1e-3;

/// `(Lx, L⁻¹y)` of centred clouds `[n, d]` and the condition of L; nothing where L would not be finite or there is nothing to gain.
pub(super) fn precondition(x: &[f64], y: &[f64], dim: usize) -> Option<([Vec<f64>; 2], f64)> {
    if dim > LARGEST {
        return None;
    }
    let (a, b) = (covariance(x, dim), covariance(y, dim));
    let root = power(&a, 0.5)?;
    let inverse_root = power(&a, -0.5)?;
    let middle = power(&(&root * &b * &root), 0.5)?;
    let map = &inverse_root * middle * &inverse_root;
    let (stretch, shrink) = (power(&map, 0.5)?, power(&map, -0.5)?);
    let moved = [apply(x, &stretch, dim), apply(y, &shrink, dim)];
    let size = |matrix: &Mat<f64>| matrix.norm_l2();
    let condition = size(&stretch) * size(&shrink);
    moved.iter().flatten().all(|value| value.is_finite()).then_some((moved, condition))
}

/// The second moments of a centred cloud, every eigenvalue raised by a share of their mean.
fn covariance(points: &[f64], dim: usize) -> Mat<f64> {
    let n = points.len() / dim;
    let points = MatRef::from_row_major_slice(points, n, dim);
    let mut covariance = points.transpose() * points * faer::Scale(1.0 / n as f64);
    let mean = (0..dim).map(|i| covariance[(i, i)]).sum::<f64>() / dim as f64;
    (0..dim).for_each(|i| covariance[(i, i)] += FLOOR * mean);
    covariance
}

/// The power of a symmetric positive definite matrix.
fn power(matrix: &Mat<f64>, exponent: f64) -> Option<Mat<f64>> {
    let dim = matrix.nrows();
    let eigen = matrix.self_adjoint_eigen(Side::Lower).ok()?;
    let (values, u) = (eigen.S().column_vector(), eigen.U());
    let least = values[dim - 1] * 1e-14;
    (least > 0.0).then(|| {
        let scaled = Mat::from_fn(dim, dim, |i, j| u[(i, j)] * values[j].max(least).powf(exponent));
        scaled * u.transpose()
    })
}

fn apply(points: &[f64], matrix: &Mat<f64>, dim: usize) -> Vec<f64> {
    let n = points.len() / dim;
    let moved = MatRef::from_row_major_slice(points, n, dim) * matrix;
    (0..n * dim).map(|k| moved[(k / dim, k % dim)]).collect()
}
