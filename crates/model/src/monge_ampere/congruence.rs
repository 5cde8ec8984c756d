//! A convex potential in other coordinates.

use std::sync::OnceLock;

use brenier_measure::{Points, to_tensor};
use burn::tensor::{DType, Device, Tensor};
use ndarray::{Array1, Array2};

use super::potential::{ConvexPotential, like};

/// `s ψ(A(y - m)) + q·y` of a convex ψ, a symmetric A and s > 0: the Hessian is `s A ∇²ψ A`, and a gradient stays one.
///
/// So optimal maps stay optimal under `y' = A(y - m)` and `x' = A⁻¹(x - q)/s`, and under no other linear change of both.
pub struct Congruence<P> {
    inner: P,
    factor: f64,
    matrix: Array2<f64>,
    centre: Array1<f64>,
    shift: Array1<f64>,
    /// A in double precision on the CPU, where inversions ask for it time and again.
    placed: OnceLock<Tensor<2>>,
}

impl<P: ConvexPotential> Congruence<P> {
    /// From ψ, s, A `[d, d]`, m and q `[d]`.
    ///
    /// # Panics
    ///
    /// Parts of different dimensions, and an s that is not positive.
    pub fn new(inner: P, factor: f64, matrix: Array2<f64>, centre: Array1<f64>, shift: Array1<f64>) -> Self {
        let d = inner.dim();
        assert!(matrix.dim() == (d, d) && centre.len() == d && shift.len() == d, "parts of one dimension");
        assert!(factor > 0.0, "a positive factor");
        Self { inner, factor, matrix, centre, shift, placed: OnceLock::new() }
    }

    /// `A(y - m)`.
    pub fn enter(&self, y: &Points) -> Points {
        (y - &self.centre).dot(&self.matrix)
    }

    fn matrix(&self, y: &Tensor<2>) -> Tensor<2> {
        let place = |dtype, device: &Device| to_tensor(&self.matrix, dtype, device);
        if y.dtype() == DType::F64 && y.device() == Device::flex() {
            return self.placed.get_or_init(|| place(DType::F64, &Device::flex())).clone();
        }
        place(y.dtype(), &y.device())
    }

    fn entered(&self, y: &Tensor<2>) -> Tensor<2> {
        (y.clone() - self.row(&self.centre, y)).matmul(self.matrix(y))
    }

    fn row(&self, values: &Array1<f64>, y: &Tensor<2>) -> Tensor<2> {
        like(&values.to_vec(), [1, values.len()], y)
    }
}

impl<P: ConvexPotential> ConvexPotential for Congruence<P> {
    fn dim(&self) -> usize {
        self.centre.len()
    }

    fn value(&self, y: Tensor<2>) -> Tensor<1> {
        let linear = (y.clone() * self.row(&self.shift, &y)).sum_dim(1).squeeze_dim::<1>(1);
        self.inner.value(self.entered(&y)) * self.factor + linear
    }

    fn gradient(&self, y: Tensor<2>) -> Tensor<2> {
        self.inner.gradient(self.entered(&y)).matmul(self.matrix(&y)) * self.factor + self.row(&self.shift, &y)
    }

    fn hessian_vector(&self, y: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let matrix = self.matrix(&y);
        self.inner.hessian_vector(self.entered(&y), v.matmul(matrix.clone())).matmul(matrix) * self.factor
    }

    fn gradient_and_hessian(&self, y: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let [n, d] = y.dims();
        let matrix = self.matrix(&y);
        let (gradient, hessian) = self.inner.gradient_and_hessian(self.entered(&y));
        // Rows of A H for all points in one product, and those of its transpose, H A, in the next.
        let half = hessian.reshape([n * d, d]).matmul(matrix.clone()).reshape([n, d, d]).swap_dims(1, 2);
        let whole = half.reshape([n * d, d]).matmul(matrix.clone()).reshape([n, d, d]);
        (gradient.matmul(matrix) * self.factor + self.row(&self.shift, &y), whole * self.factor)
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::to_points;
    use ndarray::array;

    use super::super::parametric::tests::normals;
    use super::*;
    use crate::monge_ampere::{InputConvexNetwork, InputConvexShape, conjugate};

    #[test]
    fn derivatives_are_those_of_the_coordinates() {
        let y = normals(30, 2, 5);
        let shape = InputConvexShape { widths: vec![5, 4], quadratic_first: false, floor: 0.1 };
        let inner = InputConvexNetwork::near_identity(&shape, &y, 2);
        let matrix = array![[1.5, 0.4], [0.4, 0.7]];
        let (centre, shift) = (array![0.3, -0.2], array![-1.0, 2.0]);
        let potential = Congruence::new(inner.clone(), 1.7, matrix.clone(), centre, shift.clone());
        let tensor = |points: &Points| to_tensor(points, DType::F64, &Device::flex());
        let (gradients, hessians) = potential.gradient_and_hessian(tensor(&y));
        let (gradients, hessians) = (to_points(gradients), to_points(hessians.reshape([30, 4])));
        let expected = conjugate::gradient(&inner, &potential.enter(&y)).dot(&matrix) * 1.7 + &shift;
        assert!((&gradients - &expected).iter().all(|x| x.abs() < 1e-12));
        assert!((&gradients - &conjugate::gradient(&potential, &y)).iter().all(|x| x.abs() < 1e-12));
        let h = 1e-5;
        for j in 0..2 {
            let mut unit = Points::zeros((30, 2));
            unit.column_mut(j).fill(1.0);
            let sides = [h, -h].map(|by| &y + &(&unit * by));
            let values = [0, 1].map(|k| conjugate::value(&potential, &sides[k]));
            let slopes = [0, 1].map(|k| conjugate::gradient(&potential, &sides[k]));
            let products = to_points(potential.hessian_vector(tensor(&y), tensor(&unit)));
            for i in 0..30 {
                assert!(((values[0][i] - values[1][i]) / (2.0 * h) - gradients[[i, j]]).abs() < 1e-7);
                for k in 0..2 {
                    let bend = (slopes[0][[i, k]] - slopes[1][[i, k]]) / (2.0 * h);
                    assert!((bend - hessians[[i, 2 * j + k]]).abs() < 1e-6);
                    assert!((products[[i, k]] - hessians[[i, 2 * j + k]]).abs() < 1e-12);
                }
            }
        }
    }
}
