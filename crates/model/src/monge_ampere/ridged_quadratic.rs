//! A quadratic with ridges on it: the family of maps near an affine one.
//!
//! # Design
//!
//! ```text
//! ψ(y) = ½yᵀQy + c·y + Σ_gk o_gk s_gk softplus((u_g·y - b_gk)/s_gk),    Q ⪰ ε, o ≥ 0
//! ```
//!
//! is linear in its coefficients (c, Q, o) and convex. The whole of Q is free, so that a map between Gaussians is exact, and the ridges bend
//! what is left. On the side of the reference its first three derivatives, which the mirror step of an explicit `h = log ρ + f` takes, are
//! closed forms:
//!
//! ```text
//! x = ∇ψ(y),    log det ∇²ψ(y),    ∇ log det ∇²ψ(y) = Σ_g κ'_g (u_gᵀ(∇²ψ)⁻¹u_g) u_g
//! ```
//!
//! with κ_g the curvature that the ridges of a direction add.

use std::sync::Arc;

use brenier_measure::Points;
use brenier_measure::linear_algebra::{Cholesky, symmetric_eigen};
use burn::tensor::Tensor;
use ndarray::{Array1, Array2, Axis};
use rayon::prelude::*;

use super::potential::{ConvexPotential, like, solve_hessians};
use super::ridge_sum::{RidgeSum, Ridges};

/// A quadratic with ridges on it.
#[derive(Debug, Clone, PartialEq)]
pub struct RidgedQuadratic {
    /// `Q - εI`: the ridges bring the floor ε.
    above_floor: Array2<f64>,
    sum: RidgeSum,
}

/// What a potential does to second order at points, and how its volume changes.
#[derive(Debug, Clone)]
pub struct Jet {
    /// `x = ∇ψ(y)`, `[n, d]`.
    pub images: Points,
    /// `J = ∇²ψ(y)`, one matrix a row, `[n, d·d]`.
    pub hessians: Points,
    /// `log det J`, `[n]`; NaN where J is not positive definite.
    pub log_dets: Vec<f64>,
    /// `∇_y log det J`, `[n, d]`; likewise.
    pub log_det_gradients: Points,
}

impl Jet {
    /// `J v`, a vector a row.
    pub fn times(&self, vectors: &Points) -> Points {
        let d = vectors.ncols();
        let mut products = Points::zeros(vectors.dim());
        for ((hessian, v), mut product) in self.hessians.rows().into_iter().zip(vectors.rows()).zip(products.rows_mut())
        {
            let hessian = hessian.into_shape_with_order((d, d)).expect("d·d entries");
            product.assign(&hessian.dot(&v));
        }
        products
    }

    /// `J⁻¹ v`, a vector a row; NaN where J is not positive definite.
    pub fn solve(&self, vectors: &Points) -> Points {
        solve_hessians(&self.hessians, vectors)
    }
}

/// Points in one tile.
const TILE: usize = 256;

impl RidgedQuadratic {
    /// The number of coefficients `(c, Q, o)` on these ridges: `d + d(d + 1)/2 + GK`.
    pub fn count(ridges: &Ridges) -> usize {
        let d = ridges.dim();
        d + d * (d + 1) / 2 + ridges.knots.len()
    }

    /// The number of coefficients that may be negative, which come first: c and Q.
    pub fn free(ridges: &Ridges) -> usize {
        Self::count(ridges) - ridges.knots.len()
    }

    /// The coefficients of `½|y|²`.
    pub fn identity(ridges: &Ridges) -> Vec<f64> {
        let d = ridges.dim();
        let mut coefficients = vec![0.0; Self::count(ridges)];
        entries(d).enumerate().filter(|(_, (i, j))| i == j).for_each(|(k, _)| coefficients[d + k] = 1.0);
        coefficients
    }

    /// The potential of coefficients (c, Q by the rows of its upper half, o); `None` where their number is wrong, one is not finite, a height is
    /// negative, or Q has an eigenvalue below the floor.
    pub fn new(ridges: Arc<Ridges>, coefficients: &[f64]) -> Option<Self> {
        let (d, floor) = (ridges.dim(), ridges.floor);
        if coefficients.len() != Self::count(&ridges) || coefficients.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let mut above_floor = Self::matrix(d, coefficients);
        let least = symmetric_eigen(&above_floor)?.values.into_iter().fold(f64::INFINITY, f64::min);
        // Means of matrices at the floor are there but for rounding.
        if least < floor * (1.0 - 1e-6) {
            return None;
        }
        above_floor.diag_mut().mapv_inplace(|entry| entry - floor);
        let mut of_sum = vec![0.0; ridges.count()];
        of_sum[..d].copy_from_slice(&coefficients[..d]);
        of_sum[d + ridges.directions.nrows()..].copy_from_slice(&coefficients[Self::free(&ridges)..]);
        Some(Self { above_floor, sum: RidgeSum::new(ridges, of_sum)? })
    }

    /// Moves coefficients to the nearest that are convex: heights to 0, eigenvalues of Q to the floor, where they are below. Whether Q moved.
    pub fn make_convex(ridges: &Ridges, coefficients: &mut [f64]) -> bool {
        let d = ridges.dim();
        coefficients[Self::free(ridges)..].iter_mut().for_each(|height| *height = height.max(0.0));
        let Some(spectrum) = symmetric_eigen(&Self::matrix(d, coefficients)) else { return false };
        if spectrum.values.iter().all(|&value| value >= ridges.floor) {
            return false;
        }
        let vectors = spectrum.vectors.unwrap_or_else(|| Array2::eye(d));
        let raised = Array1::from(spectrum.values).mapv(|value| value.max(ridges.floor));
        let nearest = (&vectors * &raised).dot(&vectors.t());
        entries(d).zip(&mut coefficients[d..]).for_each(|((i, j), entry)| *entry = nearest[[i, j]]);
        true
    }

    /// Q of coefficients.
    pub(super) fn matrix(d: usize, coefficients: &[f64]) -> Array2<f64> {
        let mut matrix = Array2::zeros((d, d));
        for ((i, j), &entry) in entries(d).zip(&coefficients[d..]) {
            matrix[[i, j]] = entry;
            matrix[[j, i]] = entry;
        }
        matrix
    }

    fn quadratic(&self, x: &Tensor<2>) -> Tensor<2> {
        let d = self.dim();
        like(&self.above_floor.iter().copied().collect::<Vec<f64>>(), [d, d], x)
    }

    /// Images, Hessians and the volume at points of the reference, in f64 on the host.
    pub fn jet(&self, y: &Points) -> Jet {
        let tiles: Vec<Points> = y.axis_chunks_iter(Axis(0), TILE).map(|tile| tile.to_owned()).collect();
        let parts: Vec<Jet> = tiles.par_iter().map(|tile| self.jet_of_tile(tile)).collect();
        let joined = |of: fn(&Jet) -> &Points, width: usize| {
            let views: Vec<_> = parts.iter().map(|part| of(part).view()).collect();
            if views.is_empty() {
                Points::zeros((0, width))
            } else {
                ndarray::concatenate(Axis(0), &views).expect("one width")
            }
        };
        let d = self.dim();
        Jet {
            images: joined(|jet| &jet.images, d),
            hessians: joined(|jet| &jet.hessians, d * d),
            log_det_gradients: joined(|jet| &jet.log_det_gradients, d),
            log_dets: parts.iter().flat_map(|part| part.log_dets.iter().copied()).collect(),
        }
    }

    fn jet_of_tile(&self, y: &Points) -> Jet {
        let (n, d) = y.dim();
        let (images, mut hessians, bends) = self.sum.expansion(y);
        let images = images + y.dot(&self.above_floor);
        let flat = Array1::from_iter(self.above_floor.iter().copied());
        hessians += &flat;
        let directions = &self.sum.ridges().directions;
        let (mut log_dets, mut gradients) = (vec![f64::NAN; n], Points::from_elem((n, d), f64::NAN));
        for (row, hessian) in hessians.rows().into_iter().enumerate() {
            let Some(cholesky) = Cholesky::of(hessian.as_slice().expect("row-major"), d) else { continue };
            log_dets[row] = cholesky.log_det();
            // u·J⁻¹u = |L⁻¹u|².
            let along = cholesky.inverse_factor().dot(&directions.t());
            let pulls: Array1<f64> = along
                .columns()
                .into_iter()
                .zip(bends.column(row))
                .map(|(along, bend)| bend * along.dot(&along))
                .collect();
            gradients.row_mut(row).assign(&pulls.dot(directions));
        }
        Jet { images, hessians, log_dets, log_det_gradients: gradients }
    }
}

/// The places of the upper half of a symmetric matrix, row by row.
pub fn entries(d: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..d).flat_map(move |i| (i..d).map(move |j| (i, j)))
}

impl ConvexPotential for RidgedQuadratic {
    fn dim(&self) -> usize {
        self.sum.dim()
    }

    fn value(&self, x: Tensor<2>) -> Tensor<1> {
        let image = x.clone().matmul(self.quadratic(&x));
        (image * x.clone() * 0.5).sum_dim(1).squeeze_dim::<1>(1) + self.sum.value(x)
    }

    fn gradient(&self, x: Tensor<2>) -> Tensor<2> {
        x.clone().matmul(self.quadratic(&x)) + self.sum.gradient(x)
    }

    fn hessian_vector(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        v.clone().matmul(self.quadratic(&v)) + self.sum.hessian_vector(x, v)
    }

    fn gradient_and_hessian(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let matrix = self.quadratic(&x);
        let (gradient, hessian) = self.sum.gradient_and_hessian(x.clone());
        (gradient + x.matmul(matrix.clone()), hessian + matrix.unsqueeze_dim::<3>(0))
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream, to_points, to_tensor};
    use burn::tensor::{DType, Device};

    use super::*;
    use crate::monge_ampere::log_det_hessian;

    fn normals(n: usize, d: usize, seed: u64) -> Points {
        let stream = Stream::new(seed, Purpose::Batch);
        Points::from_shape_fn((n, d), |(i, j)| stream.at(j as u64, i as u64).normal())
    }

    fn potential(d: usize) -> RidgedQuadratic {
        let (g, k) = (2 * d, 3);
        let mut directions = normals(g, d, 4);
        for mut row in directions.rows_mut() {
            let norm = row.dot(&row).sqrt();
            row /= norm;
        }
        let (knots, widths) = (normals(g, k, 5), normals(g, k, 6).mapv(|x| 0.3 + x.abs()));
        let ridges = Ridges { directions, knots, widths, floor: 0.1 };
        let mut coefficients = RidgedQuadratic::identity(&ridges);
        let draws = normals(1, coefficients.len(), 7);
        let free = RidgedQuadratic::free(&ridges);
        coefficients.iter_mut().enumerate().for_each(|(i, x)| {
            *x += if i < free { 0.1 * draws[[0, i]] } else { draws[[0, i]].abs() };
        });
        RidgedQuadratic::new(Arc::new(ridges), &coefficients).unwrap()
    }

    #[test]
    fn the_jet_is_that_of_the_derivatives() {
        for d in [1, 2, 5] {
            let potential = potential(d);
            let y = normals(300, d, 1);
            let tensor = |points: &Points| to_tensor(points, DType::F64, &Device::flex());
            let jet = potential.jet(&y);
            let (images, hessians) = potential.gradient_and_hessian(tensor(&y));
            let close = |a: &Points, b: &Points| (a - b).iter().all(|x| x.abs() < 1e-10);
            assert!(close(&jet.images, &to_points(images)));
            assert!(close(&jet.hessians, &to_points(hessians.clone().reshape([300, d * d]))));
            assert!(jet.log_dets.iter().zip(log_det_hessian(hessians)).all(|(a, b)| (a - b).abs() < 1e-10));
            let v = normals(300, d, 2);
            assert!(close(&jet.times(&v), &to_points(potential.hessian_vector(tensor(&y), tensor(&v)))));
            assert!(close(&jet.times(&jet.solve(&v)), &v));
            let h = 1e-5;
            for j in 0..d {
                let moved = |by: f64| {
                    let mut y = y.clone();
                    y.column_mut(j).map_inplace(|x| *x += by);
                    potential.jet(&y).log_dets
                };
                let (above, below) = (moved(h), moved(-h));
                for (row, &found) in jet.log_det_gradients.column(j).iter().enumerate() {
                    let difference = (above[row] - below[row]) / (2.0 * h);
                    assert!((found - difference).abs() < 1e-6 * difference.abs().max(1.0), "{found} and {difference}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_convex_is_none() {
        let ridges = Arc::new(potential(2).sum.ridges().as_ref().clone());
        let identity = RidgedQuadratic::identity(&ridges);
        assert_eq!(identity.len(), RidgedQuadratic::count(&ridges));
        let y = normals(3, 2, 1);
        let whole = RidgedQuadratic::new(ridges.clone(), &identity).unwrap();
        assert!((&whole.jet(&y).images - &y).iter().all(|x| x.abs() < 1e-14));
        let changed = |place: usize, value: f64| {
            let mut coefficients = identity.clone();
            coefficients[place] = value;
            RidgedQuadratic::new(ridges.clone(), &coefficients)
        };
        // Q = [[1, 2], [2, 1]], Q = [[.05, 0], [0, 1]] below the floor, a height below 0, no number.
        for (place, value) in [(3, 2.0), (2, 0.05), (5, -0.1), (0, f64::NAN)] {
            assert!(changed(place, value).is_none(), "{place}: {value}");
        }
        let mut raised = identity.clone();
        (raised[3], raised[6]) = (2.0, -1.0);
        assert!(RidgedQuadratic::make_convex(&ridges, &mut raised));
        // Eigenvalues 3 and -1 along (1, ±1): the second one to .1.
        assert!((raised[2] - 1.55).abs() < 1e-12 && (raised[3] - 1.45).abs() < 1e-12 && raised[6] == 0.0, "{raised:?}");
        assert!(RidgedQuadratic::new(ridges.clone(), &raised).is_some());
        assert!(changed(5, 0.1).is_some() && RidgedQuadratic::new(ridges.clone(), &identity[1..]).is_none());
    }
}
