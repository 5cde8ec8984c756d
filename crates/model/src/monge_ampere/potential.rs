//! What a convex potential can be asked, whatever its form.

use brenier_measure::linear_algebra::Cholesky;
use brenier_measure::{Points, host_tensor};
use burn::tensor::Tensor;
use rayon::prelude::*;

/// A convex function φ on Rᵈ whose first two derivatives are known in closed form.
///
/// Points come in F32 or F64, and answers in the type and on the device of the points.
pub trait ConvexPotential: Send + Sync {
    /// The dimension d.
    fn dim(&self) -> usize;

    /// `φ(x)`; `[n, d] -> [n]`.
    fn value(&self, x: Tensor<2>) -> Tensor<1>;

    /// `∇φ(x)`; `[n, d] -> [n, d]`.
    fn gradient(&self, x: Tensor<2>) -> Tensor<2>;

    /// `∇²φ(x) v`; x `[n, d]`, v `[n, d]` `-> [n, d]`.
    fn hessian_vector(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2>;

    /// `∇φ(x)` and `∇²φ(x)` at once; `[n, d] -> [n, d], [n, d, d]`.
    fn gradient_and_hessian(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<3>);

    /// `∇φ(x)` and `log det ∇²φ(x)`; `[n, d] -> [n, d], [n]`. NaN where the Hessian is not positive definite.
    fn gradient_and_log_det(&self, x: Tensor<2>) -> (Tensor<2>, Vec<f64>) {
        let (gradient, hessian) = self.gradient_and_hessian(x);
        (gradient, log_det_hessian(hessian))
    }
}

/// `log det A` of symmetric matrices, `[n, d, d] -> [n]`, in f64 on the host; NaN where one is not positive definite.
pub fn log_det_hessian(hessian: Tensor<3>) -> Vec<f64> {
    let [_, d, _] = hessian.dims();
    let entries: Vec<f64> = hessian.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion");
    let log_det = |entries: &[f64]| Cholesky::of(entries, d).map_or(f64::NAN, |cholesky| cholesky.log_det());
    entries.par_chunks(d * d).map(log_det).collect()
}

/// `A⁻¹v` of symmetric matrices, one a row, `[n, d·d]`, and vectors `[n, d]`; NaN where a matrix is not positive definite.
pub fn solve_hessians(hessians: &Points, vectors: &Points) -> Points {
    let d = vectors.ncols();
    let mut solved = vectors.as_standard_layout().into_owned();
    for (hessian, mut vector) in hessians.rows().into_iter().zip(solved.rows_mut()) {
        let vector = vector.as_slice_mut().expect("row-major");
        match Cholesky::of(hessian.as_slice().expect("row-major"), d) {
            Some(cholesky) => cholesky.solve(vector),
            None => vector.fill(f64::NAN),
        }
    }
    solved
}

/// Host numbers as a tensor of the type and on the device of another.
pub(super) fn like<const D: usize, const E: usize>(values: &[f64], shape: [usize; D], other: &Tensor<E>) -> Tensor<D> {
    host_tensor(values.to_vec(), shape, other.dtype(), &other.device())
}
