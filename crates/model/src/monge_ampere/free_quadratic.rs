//! A positive quadratic with a factor that is learnt.

use brenier_measure::Points;
use brenier_measure::linear_algebra::symmetric_eigen;
use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

/// `½|Lx|² + ½ε|x|² + c·x`: convex for every L, with curvature at least ε.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FreeQuadratic {
    /// L, `[d, d]`.
    pub factor: Array2<f64>,
    /// c, `[d]`.
    pub slope: Array1<f64>,
    /// The curvature floor ε > 0.
    pub floor: f64,
}

impl FreeQuadratic {
    /// The one with the matrix nearest to `[d, d]` among those with eigenvalues of at least the floor.
    pub fn of_matrix(matrix: &Array2<f64>, slope: Array1<f64>, floor: f64) -> Self {
        let d = slope.len();
        let factor = symmetric_eigen(matrix).map_or_else(
            || Array2::zeros((d, d)),
            |spectrum| {
                let vectors = spectrum.vectors.unwrap_or_else(|| Array2::eye(d));
                let roots = Array1::from(spectrum.values).mapv(|value| (value - floor).max(0.0).sqrt());
                // L = diag(√(λ - ε)) Uᵀ.
                &vectors.t() * &roots.insert_axis(Axis(1))
            },
        );
        Self { factor, slope, floor }
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.slope.len()
    }

    /// Whether sizes agree, all numbers are finite, and the floor is positive.
    pub fn is_consistent(&self) -> bool {
        let d = self.dim();
        self.factor.dim() == (d, d)
            && self.factor.iter().chain(&self.slope).chain([&self.floor]).all(|x| x.is_finite())
            && self.floor > 0.0
    }

    /// `LᵀL + εI`.
    pub fn matrix(&self) -> Array2<f64> {
        self.factor.t().dot(&self.factor) + Array2::<f64>::eye(self.dim()) * self.floor
    }

    /// The mean of several.
    pub(super) fn mean(all: &[&Self]) -> Self {
        let share = 1.0 / all.len() as f64;
        let d = all[0].dim();
        let matrix = all.iter().fold(Array2::zeros((d, d)), |sum, one| sum + one.matrix() * share);
        let slope = all.iter().fold(Array1::zeros(d), |sum, one| sum + &one.slope * share);
        let floor = all.iter().map(|one| one.floor).fold(f64::INFINITY, f64::min);
        Self::of_matrix(&matrix, slope, floor)
    }

    /// The number of parameters, `d + d²`: c, then L.
    pub(super) fn count(&self) -> usize {
        self.dim() * (1 + self.dim())
    }

    pub(super) fn parameters(&self) -> impl Iterator<Item = f64> {
        self.slope.iter().chain(&self.factor).copied()
    }

    /// The one with the first parameters of a list.
    pub(super) fn with_parameters(&self, parameters: &[f64]) -> Self {
        let d = self.dim();
        let factor = Array2::from_shape_vec((d, d), parameters[d..d + d * d].to_vec()).expect("d·d numbers");
        Self { factor, slope: Array1::from(parameters[..d].to_vec()), floor: self.floor }
    }

    pub(super) fn values(&self, x: &Points) -> Vec<f64> {
        let images = x.dot(&self.factor.t());
        let half = |row: ndarray::ArrayView1<f64>| 0.5 * row.dot(&row);
        let rows = x.rows().into_iter().zip(images.rows());
        rows.map(|(x, image)| half(image) + self.floor * half(x) + x.dot(&self.slope)).collect()
    }

    pub(super) fn derivatives(&self, x: &Points) -> (Points, Points) {
        let (matrix, n) = (self.matrix(), x.nrows());
        let flat = Array1::from_iter(matrix.iter().copied());
        let hessians = flat.broadcast((n, flat.len())).expect("one row for all").to_owned();
        (x.dot(&matrix) + &self.slope, hessians)
    }

    /// What pulls of the gradients and the Hessians say of the parameters.
    pub(super) fn pull(&self, x: &Points, gradients: &Points, hessians: &Points) -> impl Iterator<Item = f64> {
        let d = self.dim();
        let total = hessians.sum_axis(Axis(0)).into_shape_with_order((d, d)).expect("d·d entries");
        let along = gradients.t().dot(x);
        let matrix = total + (&along + &along.t()) * 0.5;
        let factor = self.factor.dot(&matrix) * 2.0;
        gradients.sum_axis(Axis(0)).into_iter().chain(factor)
    }
}
