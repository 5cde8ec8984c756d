//! Newton directions toward `∇φ(x) = y`, many points at a time.

use brenier_measure::linear_algebra::Cholesky;
use brenier_measure::{Points, to_points, to_tensor};
use burn::tensor::Tensor;

use super::potential::ConvexPotential;

/// The largest dimension in which Hessians are formed.
pub const EXPLICIT: usize = 64;

/// `-[∇²φ(x)]⁻¹g` of gaps `g = ∇φ(x) - y`, `[n, d]`, and Hessians, one after the other; steepest descent where one is not positive definite.
pub fn by_hessians(gaps: &Points, hessians: &[f64]) -> Points {
    let d = gaps.ncols();
    let mut directions = -gaps;
    for (mut direction, hessian) in directions.rows_mut().into_iter().zip(hessians.chunks(d * d)) {
        if let Some(cholesky) = Cholesky::of(hessian, d) {
            cholesky.solve(direction.as_slice_mut().expect("rows are contiguous"));
        }
    }
    directions
}

/// The same by conjugate gradients at x, all rows at once, to a residual that falls with that of the row (Dembo, Eisenstat and Steihaug, 1982).
pub fn by_products(potential: &dyn ConvexPotential, x: &Tensor<2>, gaps: &Points) -> Points {
    let (n, d) = gaps.dim();
    let (mut direction, mut rest) = (Points::zeros((n, d)), -gaps);
    let mut along = rest.clone();
    let squares = |points: &Points| points.rows().into_iter().map(|row| row.dot(&row)).collect::<Vec<f64>>();
    let mut size = squares(&rest);
    let wanted: Vec<f64> = size.iter().map(|size| size * size.sqrt().min(0.01)).collect();
    for _ in 0..2 * d {
        if size.iter().zip(&wanted).all(|(size, wanted)| size <= wanted) {
            break;
        }
        let product = to_points(potential.hessian_vector(x.clone(), to_tensor(&along, x.dtype(), &x.device())));
        let curvature: Vec<f64> = (&along * &product).rows().into_iter().map(|row| row.sum()).collect();
        for i in 0..n {
            // A row that has arrived, or that has no positive curvature left, stays.
            if size[i] > wanted[i] && curvature[i] > 0.0 {
                let length = size[i] / curvature[i];
                direction.row_mut(i).scaled_add(length, &along.row(i));
                rest.row_mut(i).scaled_add(-length, &product.row(i));
            } else {
                size[i] = 0.0;
            }
        }
        let next = squares(&rest);
        for i in 0..n {
            if size[i] == 0.0 {
                continue;
            }
            let ratio = next[i] / size[i];
            let row = &rest.row(i) + &(&along.row(i) * ratio);
            along.row_mut(i).assign(&row);
            size[i] = next[i];
        }
    }
    direction
}
