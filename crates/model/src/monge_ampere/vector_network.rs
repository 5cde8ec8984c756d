//! The vector network `n_{k+1} = n_k - η_k ∇n_k·(m_k∘n_k)`, evaluated exactly.
//!
//! Where all m_k are gradients `∇h_k` it is the gradient of a residual network, its Jacobian is symmetric, and it is a Brenier map as long as
//! that is positive definite. A field m_k of any kind may turn the map; it has a density as long as it is strictly monotone.
//!
//! Deb and Liang (2504.09279), Algorithm 2.

use brenier_measure::linear_algebra::{Cholesky, inverse_and_log_det};
use brenier_measure::{Points, to_points, to_tensor};
use burn::tensor::{DType, Device, Tensor};
use ndarray::{Array2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::composition::{Field, LARGEST_JACOBIAN, LARGEST_STACK, StackTooHigh, path};
use super::hyper_dual::{HyperDual, along_axes};
use super::mlp::Mlp;
use super::smooth_function::{SmoothFunction, as_numbers};

/// A base `n_0 = ∇ψ_0` and stages `(η_k, m_k)` on it: a map of points y of the reference.
#[derive(Debug, Clone)]
pub struct VectorNetwork {
    base: SmoothFunction,
    stages: Vec<VectorStage>,
}

/// `-η ∇n·(m∘n)`, which is added to n.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VectorStage {
    /// η.
    pub step_size: f64,
    /// m.
    pub field: VectorField,
}

/// A vector field on Rᵈ with derivatives of every order.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorField {
    /// `∇h`.
    Gradient(Box<SmoothFunction>),
    /// A multilayer perceptron with d values.
    #[serde(with = "as_numbers")]
    Mlp(Mlp),
}

impl VectorField {
    /// `∇h`.
    pub fn gradient_of(function: SmoothFunction) -> Self {
        Self::Gradient(Box::new(function))
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        match self {
            Self::Gradient(function) => function.dim(),
            Self::Mlp(mlp) => mlp.dim(),
        }
    }

    /// Whether its numbers make a field.
    pub fn is_consistent(&self) -> bool {
        match self {
            Self::Gradient(function) => function.is_consistent(),
            Self::Mlp(mlp) => mlp.outputs() == mlp.dim() && mlp.is_finite(),
        }
    }

    /// `m(x)` in f64 on the CPU; `[n, d] -> [n, d]`.
    pub fn image(&self, x: &Points) -> Points {
        to_points(self.at(&HyperDual::real(tensor(x, &Device::flex()))).real_part())
    }
}

impl Field for VectorField {
    fn at(&self, x: &HyperDual) -> HyperDual {
        match self {
            Self::Gradient(function) => function.gradient_at(x),
            Self::Mlp(mlp) => mlp.image_at(x),
        }
    }
}

/// What a map does to first order at points.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// `x = n(y)`, `[n, d]`.
    pub images: Points,
    /// `J = ∇n(y)`, `J_ij = ∂n_i/∂y_j`, one matrix a row, `[n, d·d]`.
    pub jacobians: Points,
    /// `log det J`, `[n]`; NaN where `J + Jᵀ` is not positive definite, so that the map is not monotone.
    pub log_dets: Vec<f64>,
}

impl Expansion {
    /// `J v`, a vector a row.
    pub fn times(&self, vectors: &Points) -> Points {
        self.each(vectors, |jacobian, v| jacobian.dot(&v))
    }

    /// `J⁻¹ v`, a vector a row; NaN where J has no inverse.
    pub fn solve(&self, vectors: &Points) -> Points {
        self.solved(vectors, |inverse, v| inverse.dot(&v))
    }

    /// `J⁻ᵀ v`, a vector a row; NaN where J has no inverse.
    pub fn solve_transposed(&self, vectors: &Points) -> Points {
        self.solved(vectors, |inverse, v| inverse.t().dot(&v))
    }

    fn solved(
        &self,
        vectors: &Points,
        product: impl Fn(&Array2<f64>, ndarray::ArrayView1<f64>) -> ndarray::Array1<f64>,
    ) -> Points {
        self.each(vectors, |jacobian, v| match inverse_and_log_det(jacobian) {
            Some((inverse, _)) => product(&inverse, v),
            None => ndarray::Array1::from_elem(v.len(), f64::NAN),
        })
    }

    fn each(
        &self,
        vectors: &Points,
        product: impl Fn(&Array2<f64>, ndarray::ArrayView1<f64>) -> ndarray::Array1<f64>,
    ) -> Points {
        let mut products = Points::zeros(vectors.dim());
        for (row, mut answer) in products.rows_mut().into_iter().enumerate() {
            answer.assign(&product(&self.jacobian(row), vectors.row(row)));
        }
        products
    }

    /// J at one point, `[d, d]`.
    pub fn jacobian(&self, row: usize) -> Array2<f64> {
        let d = self.images.ncols();
        self.jacobians.row(row).to_owned().into_shape_with_order((d, d)).expect("d·d entries")
    }
}

/// Points in one pass.
const TILE: usize = 256;

impl VectorNetwork {
    /// `n = ∇ψ_0`, no stages yet.
    pub fn new(base: SmoothFunction) -> Self {
        Self { base, stages: Vec::new() }
    }

    /// `n - η ∇n·(m∘n)`.
    ///
    /// # Errors
    ///
    /// More than [`LARGEST_STACK`] stages.
    pub fn with_stage(&self, step_size: f64, field: VectorField) -> Result<Self, StackTooHigh> {
        let mut stages = self.stages.clone();
        stages.push(VectorStage { step_size, field });
        if stages.len() > LARGEST_STACK {
            return Err(StackTooHigh { stages: stages.len() });
        }
        Ok(Self { base: self.base.clone(), stages })
    }

    /// The stages, first one first.
    pub fn stages(&self) -> &[VectorStage] {
        &self.stages
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.base.dim()
    }

    /// Whether all fields have one dimension and numbers that are finite.
    pub fn is_consistent(&self) -> bool {
        let is_stage = |stage: &VectorStage| {
            stage.field.dim() == self.dim() && stage.field.is_consistent() && stage.step_size.is_finite()
        };
        self.stages.len() <= LARGEST_STACK && self.base.is_consistent() && self.stages.iter().all(is_stage)
    }

    fn last(&self, y: &HyperDual) -> HyperDual {
        let stages: Vec<_> = self.stages.iter().map(|stage| (stage.step_size, &stage.field)).collect();
        path(&self.base, &stages, y).swap_remove(stages.len())
    }

    /// `n(y)`, in f64 on the CPU; `[n, d] -> [n, d]`.
    pub fn images(&self, y: &Points) -> Points {
        let of_tile = |tile: &Points| to_points(self.last(&HyperDual::real(tensor(tile, &Device::flex()))).real_part());
        joined(&tiles(y).par_iter().map(of_tile).collect::<Vec<_>>(), y.ncols())
    }

    /// Images, Jacobians and the volume at points of the reference, in f64 on the CPU.
    ///
    /// # Panics
    ///
    /// Above [`LARGEST_JACOBIAN`] dimensions.
    pub fn expansion(&self, y: &Points) -> Expansion {
        let d = y.ncols();
        assert!(d <= LARGEST_JACOBIAN, "whole Jacobians are formed up to {LARGEST_JACOBIAN} dimensions");
        let of_tile = |tile: &Points| {
            let n = tile.nrows();
            let (images, tangents) = self.last(&along_axes(&tensor(tile, &Device::flex()))).split();
            let images = to_points(images.real_part().narrow(0, 0, n));
            let tangents = to_points(tangents.real_part());
            let jacobians =
                Points::from_shape_fn((n, d * d), |(row, entry)| tangents[[entry % d * n + row, entry / d]]);
            (images, jacobians)
        };
        let (images, jacobians): (Vec<_>, Vec<_>) = tiles(y).par_iter().map(of_tile).unzip();
        let mut expansion =
            Expansion { images: joined(&images, d), jacobians: joined(&jacobians, d * d), log_dets: Vec::new() };
        let log_det = |row: usize| {
            let jacobian = expansion.jacobian(row);
            let is_monotone = Cholesky::of_matrix(&(&jacobian + &jacobian.t())).is_some();
            // A monotone map keeps orientation.
            inverse_and_log_det(&jacobian).filter(|_| is_monotone).map_or(f64::NAN, |(_, log_det)| log_det)
        };
        expansion.log_dets = (0..y.nrows()).map(log_det).collect();
        expansion
    }

    /// `∇_y log det ∇n(y)`, `[n, d]`, at points with their expansion: `∂_k log det J = tr J⁻¹ ∂_k J`, by reverse mode. NaN where J has no inverse.
    pub fn log_det_gradients(&self, y: &Points, expansion: &Expansion) -> Points {
        let d = y.ncols();
        let device = Device::flex().autodiff();
        let first = |tile: usize| tile * TILE;
        let of_tile = |(tile, y): (usize, &Points)| {
            let n = y.nrows();
            // The weight of ∂n_j/∂y_i is (J⁻¹)_ij.
            let mut weights = Points::zeros((d * n, d));
            for row in 0..n {
                let inverse = inverse_and_log_det(&expansion.jacobian(first(tile) + row));
                for i in 0..d {
                    for j in 0..d {
                        weights[[i * n + row, j]] = inverse.as_ref().map_or(f64::NAN, |(inverse, _)| inverse[[i, j]]);
                    }
                }
            }
            let points = tensor(y, &device).require_grad();
            let (_, tangents) = self.last(&along_axes(&points)).split();
            // An affine map has no path from y to its Jacobian, and reverse mode wants one.
            let sum = (tangents.real_part() * tensor(&weights, &device)).sum() + points.clone().sum() * 0.0;
            to_points(points.grad(&sum.backward()).expect("a leaf of the sum"))
        };
        joined(&tiles(y).iter().enumerate().map(of_tile).collect::<Vec<_>>(), d)
    }
}

fn tensor(points: &Points, device: &Device) -> Tensor<2> {
    to_tensor(points, DType::F64, device)
}

fn tiles(points: &Points) -> Vec<Points> {
    points.axis_chunks_iter(Axis(0), TILE).map(|tile| tile.to_owned()).collect()
}

fn joined(parts: &[Points], width: usize) -> Points {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    if views.is_empty() { Points::zeros((0, width)) } else { ndarray::concatenate(Axis(0), &views).expect("one width") }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream};
    use ndarray::{Array1, array};

    use super::*;
    use crate::activation::Activation;
    use crate::monge_ampere::{ConvexPotential, Quadratic, ResidualNetwork, RidgedQuadratic, Ridges};

    fn normals(n: usize, d: usize, seed: u64) -> Points {
        let stream = Stream::new(seed, Purpose::Batch);
        Points::from_shape_fn((n, d), |(i, j)| stream.at(j as u64, i as u64).normal())
    }

    fn function(d: usize, seed: u64, size: f64) -> SmoothFunction {
        let mut directions = normals(d + 1, d, seed);
        for mut row in directions.rows_mut() {
            let norm = row.dot(&row).sqrt();
            row /= norm;
        }
        let (knots, widths) = (normals(d + 1, 2, seed + 1), normals(d + 1, 2, seed + 2).mapv(|z| 0.5 + z * z));
        let ridges = Ridges { directions, knots, widths, floor: 0.1 };
        let noise = normals(1, RidgedQuadratic::count(&ridges), seed + 3).mapv(|z| size * z);
        let coefficients: Vec<f64> =
            RidgedQuadratic::identity(&ridges).iter().zip(&noise).map(|(one, z)| one + z).collect();
        SmoothFunction::of_coefficients(&ridges, &coefficients)
    }

    /// Four stages, gradients and perceptrons in turn.
    fn network(d: usize) -> VectorNetwork {
        (0..4).fold(VectorNetwork::new(function(d, 10, 0.05)), |network, k| {
            let field = if k % 2 == 0 {
                VectorField::gradient_of(function(d, 20 + k, 0.3))
            } else {
                VectorField::Mlp(Mlp::field(d, 8, 2, Activation::Tanh, k, &Device::flex()))
            };
            network.with_stage(0.1 / (k + 1) as f64, field).unwrap()
        })
    }

    #[test]
    fn fields_that_are_gradients_make_the_residual_network() {
        let base = function(3, 1, 0.05);
        let (mut scalar, mut vector) = (ResidualNetwork::new(base.clone()), VectorNetwork::new(base));
        let y = normals(40, 3, 3);
        let tensor = tensor(&y, &Device::flex());
        for k in 0..4 {
            let h = function(3, 30 + k, 0.3);
            scalar = scalar.with_stage(0.05, h.clone()).unwrap();
            vector = vector.with_stage(0.05, VectorField::gradient_of(h)).unwrap();
            let expansion = vector.expansion(&y);
            let (images, hessians) = scalar.gradient_and_hessian(tensor.clone());
            let hessians = to_points(hessians.reshape([40, 9]));
            let close = |a: &Points, b: &Points| (a - b).iter().all(|e| e.abs() < 1e-11);
            assert!(close(&expansion.images, &to_points(images)) && close(&vector.images(&y), &expansion.images));
            assert!(close(&expansion.jacobians, &hessians), "{k}");
            let log_dets = scalar.gradient_and_log_det(tensor.clone()).1;
            assert!(log_dets.iter().zip(&expansion.log_dets).all(|(a, b)| (a - b).abs() < 1e-11), "{k}");
        }
        assert!(vector.with_stage(0.1, VectorField::gradient_of(function(3, 1, 0.1))).is_err());
    }

    #[test]
    fn jacobians_and_the_gradient_of_the_volume_are_those_of_differences() {
        let (network, y, h) = (network(3), normals(300, 3, 5), 1e-5);
        assert!(network.is_consistent());
        let expansion = network.expansion(&y);
        let gradients = network.log_det_gradients(&y, &expansion);
        let v = normals(300, 3, 6);
        assert!((expansion.times(&expansion.solve(&v)) - &v).iter().all(|e| e.abs() < 1e-10));
        for j in 0..3 {
            let at = |by: f64| {
                let mut moved = y.clone();
                moved.column_mut(j).map_inplace(|y| *y += by);
                network.expansion(&moved)
            };
            let (above, below) = (at(h), at(-h));
            for row in 0..300 {
                for i in 0..3 {
                    let difference = (above.images[[row, i]] - below.images[[row, i]]) / (2.0 * h);
                    assert!((expansion.jacobian(row)[[i, j]] - difference).abs() < 1e-7);
                }
                let difference = (above.log_dets[row] - below.log_dets[row]) / (2.0 * h);
                assert!(expansion.log_dets[row].is_finite());
                assert!((gradients[[row, j]] - difference).abs() < 1e-6, "{} {difference}", gradients[[row, j]]);
            }
        }
        // A perceptron turns the map: the transpose is another matrix.
        assert!((expansion.solve(&v) - expansion.solve_transposed(&v)).iter().any(|e| e.abs() > 1e-4));
    }

    #[test]
    fn a_map_that_is_not_monotone_has_no_density() {
        let turn = |matrix: Array2<f64>| {
            let stage = Quadratic::new(matrix, Array1::zeros(2), 0.0);
            let network = VectorNetwork::new(SmoothFunction::Quadratic(Quadratic::identity(2)));
            let network = network.with_stage(1.0, VectorField::gradient_of(SmoothFunction::Quadratic(stage))).unwrap();
            network.expansion(&normals(3, 2, 1)).log_dets
        };
        // I - H.
        assert!(turn(array![[0.5, 0.0], [0.0, 0.2]]).iter().all(|log_det| (log_det - 0.4f64.ln()).abs() < 1e-14));
        assert!(turn(array![[2.0, 0.0], [0.0, 3.0]]).iter().all(|log_det| log_det.is_nan()));
    }

    #[test]
    fn a_stage_comes_back_from_its_numbers() {
        let network = network(2);
        let text = serde_json::to_string(network.stages()).unwrap();
        let stages: Vec<VectorStage> = serde_json::from_str(&text).unwrap();
        let same = VectorNetwork { base: network.base.clone(), stages };
        let y = normals(9, 2, 1);
        assert!(same.is_consistent() && same.images(&y) == network.images(&y));
        let scalar = Mlp::new(2, 4, 1, Activation::Silu, 0, &Device::flex());
        assert!(!VectorField::Mlp(scalar).is_consistent());
    }
}
