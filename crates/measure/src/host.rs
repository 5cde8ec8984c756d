//! Functions of noised points that are computed on the host, row by row, in f64.

use burn::tensor::Tensor;
use ndarray::Array2;
use rayon::prelude::*;

use crate::measure::{to_points, to_tensor};

/// Applies `f(y, σ, out)` to every row in parallel; y `[n, d]`, σ `[n]` `-> [n, width]`, in the number type and on the
/// device of y.
pub(crate) fn on_host(
    y: Tensor<2>,
    sigma: Tensor<1>,
    width: usize,
    f: impl Fn(&[f64], f64, &mut [f64]) + Sync,
) -> Tensor<2> {
    let (dtype, device) = (y.dtype(), y.device());
    let (y, sigma) = (to_points(y), to_points(sigma.unsqueeze_dim::<2>(1)));
    let (n, d) = y.dim();
    let mut out = Array2::zeros((n, width));
    let (y, sigma) = (y.as_slice().expect("row-major"), sigma.as_slice().expect("row-major"));
    out.as_slice_mut()
        .expect("row-major")
        .par_chunks_mut(width)
        .zip(y.par_chunks(d))
        .zip(sigma)
        .for_each(|((out, y), &sigma)| f(y, sigma, out));
    to_tensor(&out, dtype, &device)
}
