//! Quadratics: the discriminators between Gaussians, and the potentials of the Brenier maps between them.

use brenier_measure::linear_algebra::Cholesky;
use burn::tensor::Tensor;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use super::hyper_dual::HyperDual;
use super::potential::{ConvexPotential, like};

/// `h(x) = ½xᵀHx + g·x + c`, H symmetric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quadratic {
    /// H, `[d, d]`.
    pub matrix: Array2<f64>,
    /// g, `[d]`.
    pub slope: Array1<f64>,
    /// c.
    pub constant: f64,
}

impl Quadratic {
    /// That of H `[d, d]`, of which the symmetric part counts, g `[d]` and c.
    pub fn new(matrix: Array2<f64>, slope: Array1<f64>, constant: f64) -> Self {
        Self { matrix: 0.5 * (&matrix + &matrix.t()), slope, constant }
    }

    /// `½|x|²`, whose gradient is the identity.
    pub fn identity(dim: usize) -> Self {
        Self { matrix: Array2::eye(dim), slope: Array1::zeros(dim), constant: 0.0 }
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.slope.len()
    }

    /// Whether sizes agree and all numbers are finite.
    pub fn is_consistent(&self) -> bool {
        let mut numbers = self.matrix.iter().chain(&self.slope).chain([&self.constant]);
        self.matrix.dim() == (self.dim(), self.dim()) && numbers.all(|number| number.is_finite())
    }

    /// `h + s k`.
    pub fn plus(&self, k: &Self, s: f64) -> Self {
        Self {
            matrix: &self.matrix + &(&k.matrix * s),
            slope: &self.slope + &(&k.slope * s),
            constant: self.constant + s * k.constant,
        }
    }

    /// `h∘∇k`, which is a quadratic again.
    pub fn after_gradient_of(&self, k: &Self) -> Self {
        let image = self.matrix.dot(&k.slope);
        Self::new(
            k.matrix.dot(&self.matrix).dot(&k.matrix),
            k.matrix.dot(&(&image + &self.slope)),
            0.5 * k.slope.dot(&image) + self.slope.dot(&k.slope) + self.constant,
        )
    }

    /// `h*(y) = ½(y - g)ᵀH⁻¹(y - g) - c`; `None` where H is not positive definite.
    pub fn conjugate(&self) -> Option<Self> {
        let inverse = Cholesky::of_matrix(&self.matrix)?.inverse_factor();
        let inverse = inverse.t().dot(&inverse);
        let slope = -inverse.dot(&self.slope);
        let constant = -0.5 * slope.dot(&self.slope) - self.constant;
        Some(Self::new(inverse, slope, constant))
    }

    fn parts<const E: usize>(&self, x: &Tensor<E>) -> (Tensor<2>, Tensor<2>) {
        let d = self.dim();
        let matrix: Vec<f64> = self.matrix.iter().copied().collect();
        (like(&matrix, [d, d], x), like(&self.slope.to_vec(), [1, d], x))
    }

    pub(super) fn value_at(&self, x: &HyperDual) -> HyperDual {
        let (matrix, slope) = self.parts(&x.real_part());
        let linear = x.matmul(matrix * 0.5).plus(slope);
        let constant = x.real_part().narrow(1, 0, 1).full_like(self.constant);
        linear.mul(x).sum_columns().plus(constant)
    }

    pub(super) fn gradient_at(&self, x: &HyperDual) -> HyperDual {
        let (matrix, slope) = self.parts(&x.real_part());
        x.matmul(matrix).plus(slope)
    }
}

/// A quadratic that is strictly convex.
#[derive(Debug, Clone, PartialEq)]
pub struct QuadraticPotential(Quadratic);

impl QuadraticPotential {
    /// `φ(x) = ½xᵀQx + q·x + c` of Q `[d, d]`, of which the symmetric part counts, q `[d]` and c; `None` where it is not convex.
    pub fn new(matrix: Array2<f64>, slope: Array1<f64>, constant: f64) -> Option<Self> {
        Self::of(Quadratic::new(matrix, slope, constant))
    }

    /// The same of a quadratic at hand.
    pub fn of(quadratic: Quadratic) -> Option<Self> {
        let is_convex = quadratic.is_consistent() && Cholesky::of_matrix(&quadratic.matrix).is_some();
        is_convex.then_some(Self(quadratic))
    }

    /// `½|x|²`, whose gradient is the identity.
    pub fn identity(dim: usize) -> Self {
        Self(Quadratic::identity(dim))
    }

    /// Its numbers.
    pub fn quadratic(&self) -> &Quadratic {
        &self.0
    }
}

impl ConvexPotential for QuadraticPotential {
    fn dim(&self) -> usize {
        self.0.dim()
    }

    fn value(&self, x: Tensor<2>) -> Tensor<1> {
        self.0.value_at(&HyperDual::real(x)).real_part().squeeze_dim::<1>(1)
    }

    fn gradient(&self, x: Tensor<2>) -> Tensor<2> {
        self.0.gradient_at(&HyperDual::real(x)).real_part()
    }

    fn hessian_vector(&self, _: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let (matrix, _) = self.0.parts(&v);
        v.matmul(matrix)
    }

    fn gradient_and_hessian(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let (n, (matrix, _)) = (x.dims()[0], self.0.parts(&x));
        (self.gradient(x), matrix.unsqueeze_dim::<3>(0).repeat_dim(0, n))
    }

    fn gradient_and_log_det(&self, x: Tensor<2>) -> (Tensor<2>, Vec<f64>) {
        let n = x.dims()[0];
        let log_det = Cholesky::of_matrix(&self.0.matrix).expect("positive definite from the beginning").log_det();
        (self.gradient(x), vec![log_det; n])
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn at(h: &Quadratic, x: &Array1<f64>) -> f64 {
        0.5 * x.dot(&h.matrix.dot(x)) + h.slope.dot(x) + h.constant
    }

    #[test]
    fn composition_and_conjugate_are_those_of_the_numbers() {
        let h = Quadratic::new(array![[1.0, 0.4], [0.2, -2.0]], array![0.3, -0.1], 0.7);
        let k = Quadratic::new(array![[2.0, 0.5], [0.5, 1.0]], array![1.0, -0.5], 0.2);
        let y = array![0.6, -1.3];
        let x = k.matrix.dot(&y) + &k.slope;
        assert!((at(&h.after_gradient_of(&k), &y) - at(&h, &x)).abs() < 1e-14);
        assert!((at(&h.plus(&k, -0.3), &y) - (at(&h, &y) - 0.3 * at(&k, &y))).abs() < 1e-14);
        // Young's equality where x = ∇k(y).
        assert!((at(&k, &y) + at(&k.conjugate().unwrap(), &x) - x.dot(&y)).abs() < 1e-14);
        assert_eq!(h.conjugate(), None);
    }
}
