//! Directions along which a map has to bend.
//!
//! # Design
//!
//! The first step of the flow would move the points y of the reference by -ηv(y), `v = ∇_y(log ρ_0 + f)`. What an affine map cannot follow
//! is, to lowest order, the symmetric third-order tensor
//!
//! ```text
//! T_ijk = E r_i (y_j y_k - Cov_jk),    r = v less its affine part
//! ```
//!
//! and a ridge along u adds a multiple of `u⊗u⊗u` to it. So directions are taken greedily: the u of the largest |T(u, u, u)| that the power
//! method finds, whose share is taken away before the next. On the posterior of a logistic regression (31 coordinates) that many of these
//! directions follow four fifths of r, and the axes a ninth. De Lathauwer, De Moor and Vandewalle, SIAM J. Matrix Anal. Appl. 21 (2000).

use brenier_measure::linear_algebra::Cholesky;
use brenier_measure::{Points, Purpose, Stream};
use ndarray::{Array1, Array2, Axis};

/// Above this dimension no tensor is formed.
pub(super) const MOST_DIMENSIONS: usize = 64;

/// Steps of the power method, and its starts for every direction.
const STEPS: usize = 30;
const STARTS: u64 = 6;

/// So many times the median length a move counts for at most.
const OUTLYING: f64 = 4.0;

/// Unit vectors, at most so many, in the order in which they count; `None` where the moves are no numbers.
pub(super) fn bent_directions(y: &Points, moves: &Points, count: usize, seed: u64) -> Option<Array2<f64>> {
    let (d, rest) = (y.ncols(), less_affine(y, &clipped(moves)?)?);
    let mut tensor = Tensor::of(y, &rest);
    let stream = Stream::new(seed, Purpose::Ridges);
    let mut directions = Vec::with_capacity(count * d);
    for index in 0..count as u64 {
        let found = (0..STARTS).map(|start| {
            let mut u = vec![0.0; d];
            stream.at(2, index * STARTS + start).fill_normal(&mut u);
            tensor.climb(Array1::from(u))
        });
        let (u, size) = found.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).expect("a start");
        if !(size != 0.0 && size.is_finite()) {
            break;
        }
        tensor.take(&u, size);
        directions.extend(u);
    }
    Array2::from_shape_vec((directions.len() / d, d), directions).ok()
}

/// Moves with those that are far longer than most cut to length.
fn clipped(moves: &Points) -> Option<Points> {
    let mut lengths: Vec<f64> = moves.rows().into_iter().map(|row| row.dot(&row).sqrt()).collect();
    if lengths.iter().any(|length| !length.is_finite()) {
        return None;
    }
    let mut clipped = moves.clone();
    let all = lengths.clone();
    lengths.sort_by(f64::total_cmp);
    let most = OUTLYING * lengths[lengths.len() / 2];
    for (mut row, length) in clipped.rows_mut().into_iter().zip(all) {
        if length > most {
            row *= most / length;
        }
    }
    Some(clipped)
}

/// What is left of v beside the affine function of y that is nearest.
fn less_affine(y: &Points, v: &Points) -> Option<Points> {
    let n = y.nrows() as f64;
    let (y, v) = (y - &y.mean_axis(Axis(0))?, v - &v.mean_axis(Axis(0))?);
    let inverse = Cholesky::of_matrix(&(y.t().dot(&y) / n))?.inverse_factor();
    let matrix = inverse.t().dot(&inverse).dot(&(y.t().dot(&v) / n));
    Some(&v - &y.dot(&matrix))
}

/// A symmetric tensor of third order: row i holds the matrix `T_i··`.
struct Tensor {
    rows: Array2<f64>,
    dim: usize,
}

impl Tensor {
    /// `E r_i (y_j y_k - Cov_jk)`, made symmetric.
    fn of(y: &Points, r: &Points) -> Self {
        let (n, d) = y.dim();
        let y = y - &y.mean_axis(Axis(0)).expect("draws");
        // The mean of r is 0, so that the covariance falls out.
        let mut raw = Array2::zeros((d, d * d));
        for i in 0..d {
            let weighted = &y * &r.column(i).insert_axis(Axis(1));
            let block = y.t().dot(&weighted) / n as f64;
            raw.row_mut(i).iter_mut().zip(&block).for_each(|(entry, value)| *entry = *value);
        }
        let rows = Array2::from_shape_fn((d, d * d), |(i, jk)| {
            let (j, k) = (jk / d, jk % d);
            (raw[[i, j * d + k]] + raw[[j, i * d + k]] + raw[[k, i * d + j]]) / 3.0
        });
        Self { rows, dim: d }
    }

    /// `T(·, u, u)`.
    fn twice(&self, u: &Array1<f64>) -> Array1<f64> {
        let d = self.dim;
        let products = Array1::from_shape_fn(d * d, |jk| u[jk / d] * u[jk % d]);
        self.rows.dot(&products)
    }

    /// A local maximum of |T(u, u, u)| over unit vectors, with the value.
    fn climb(&self, mut u: Array1<f64>) -> (Array1<f64>, f64) {
        for _ in 0..STEPS {
            let length = u.dot(&u).sqrt();
            u /= length;
            let next = self.twice(&u);
            if next.iter().all(|&x| x == 0.0) {
                break;
            }
            u = next;
        }
        let length = u.dot(&u).sqrt();
        u /= length;
        let size = u.dot(&self.twice(&u));
        (u, size)
    }

    /// `T - s u⊗u⊗u`.
    fn take(&mut self, u: &Array1<f64>, size: f64) {
        let d = self.dim;
        self.rows.indexed_iter_mut().for_each(|((i, jk), entry)| *entry -= size * u[i] * u[jk / d] * u[jk % d]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_are_those_along_which_a_field_bends() {
        let stream = Stream::new(1, Purpose::Batch);
        let y = Points::from_shape_fn((20_000, 3), |(i, j)| stream.at(j as u64, i as u64).normal());
        // v = (Ay, without its symmetric part) + 2 (a·y)² a - (b·y)² b, a and b not orthogonal.
        let (a, b) = (ndarray::array![0.6, 0.8, 0.0], ndarray::array![0.0, 0.6, -0.8]);
        let linear = ndarray::array![[1.0, 0.5, 0.0], [-0.2, 0.3, 0.1], [0.0, 0.4, -1.0]];
        let mut v = y.dot(&linear);
        for (mut row, point) in v.rows_mut().into_iter().zip(y.rows()) {
            row.scaled_add(2.0 * point.dot(&a).powi(2), &a);
            row.scaled_add(-point.dot(&b).powi(2), &b);
        }
        let found = bent_directions(&y, &v, 2, 0).unwrap();
        for (direction, exact) in found.rows().into_iter().zip([a, b]) {
            assert!(direction.dot(&exact).abs() > 0.98, "{direction} against {exact}");
        }
        v[[3, 0]] = f64::NAN;
        assert!(bent_directions(&y, &v, 2, 0).is_none());
    }
}
