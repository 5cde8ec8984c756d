//! Quadratic potentials: the Brenier maps between Gaussians.

use brenier_measure::linear_algebra::Cholesky;
use burn::tensor::Tensor;
use ndarray::{Array1, Array2};

use super::potential::{ConvexPotential, like};

/// `φ(x) = ½xᵀQx + q·x + c`, Q positive definite.
#[derive(Debug, Clone, PartialEq)]
pub struct QuadraticPotential {
    matrix: Array2<f64>,
    slope: Array1<f64>,
    constant: f64,
}

impl QuadraticPotential {
    /// That of Q `[d, d]`, of which the symmetric part counts, q `[d]` and c; `None` where it is not convex.
    pub fn new(matrix: Array2<f64>, slope: Array1<f64>, constant: f64) -> Option<Self> {
        let matrix = 0.5 * (&matrix + &matrix.t());
        let fits = matrix.dim() == (slope.len(), slope.len()) && slope.iter().all(|x| x.is_finite());
        (fits && Cholesky::of_matrix(&matrix).is_some()).then_some(Self { matrix, slope, constant })
    }

    /// `½|x|²`, whose gradient is the identity.
    pub fn identity(dim: usize) -> Self {
        Self { matrix: Array2::eye(dim), slope: Array1::zeros(dim), constant: 0.0 }
    }

    fn parts<const E: usize>(&self, x: &Tensor<E>) -> (Tensor<2>, Tensor<2>) {
        let d = self.slope.len();
        let matrix: Vec<f64> = self.matrix.iter().copied().collect();
        (like(&matrix, [d, d], x), like(&self.slope.to_vec(), [1, d], x))
    }
}

impl ConvexPotential for QuadraticPotential {
    fn dim(&self) -> usize {
        self.slope.len()
    }

    fn value(&self, x: Tensor<2>) -> Tensor<1> {
        let (matrix, slope) = self.parts(&x);
        let linear = x.clone().matmul(matrix) * 0.5 + slope;
        (linear * x).sum_dim(1).squeeze_dim::<1>(1) + self.constant
    }

    fn gradient(&self, x: Tensor<2>) -> Tensor<2> {
        let (matrix, slope) = self.parts(&x);
        x.matmul(matrix) + slope
    }

    fn hessian_vector(&self, _: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let (matrix, _) = self.parts(&v);
        v.matmul(matrix)
    }

    fn gradient_and_hessian(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let (n, (matrix, _)) = (x.dims()[0], self.parts(&x));
        (self.gradient(x), matrix.unsqueeze_dim::<3>(0).repeat_dim(0, n))
    }

    fn gradient_and_log_det(&self, x: Tensor<2>) -> (Tensor<2>, Vec<f64>) {
        let n = x.dims()[0];
        let log_det = Cholesky::of_matrix(&self.matrix).expect("positive definite from the beginning").log_det();
        (self.gradient(x), vec![log_det; n])
    }
}
