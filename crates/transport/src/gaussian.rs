//! W₂ and the Brenier map between Gaussians in closed form.
//!
//! `W₂² = |m - m'|² + tr(Σ + Σ' - 2(Σ^{1/2} Σ' Σ^{1/2})^{1/2})`; Bures (1969), Dowson and Landau (1982).
//!
//! # Design
//!
//! With any factors `Σ = F Fᵀ`, `Σ' = G Gᵀ` the trace equals `min_Q ‖F - G Q‖_F²` over orthogonal Q,
//! and the minimiser is `Q = U Vᵀ` of the singular value decomposition `Gᵀ F = U S Vᵀ` (Procrustes).
//! A sum of squares cannot cancel: nearly equal Gaussians keep their digits, which the difference of
//! traces loses at 10⁻⁸, and a singular Σ needs no inverse.

use faer::{Mat, MatRef, Side};

use crate::TransportError;

/// `W₂(N(m, Σ), N(m', Σ'))`; means `[d]`, covariances `[d, d]` row after row.
///
/// # Errors
///
/// As for [`w2_squared`].
pub fn w2(mean_a: &[f64], covariance_a: &[f64], mean_b: &[f64], covariance_b: &[f64]) -> Result<f64, TransportError> {
    Ok(w2_squared(mean_a, covariance_a, mean_b, covariance_b)?.sqrt())
}

/// `W₂²(N(m, Σ), N(m', Σ'))`; means `[d]`, covariances `[d, d]` row after row.
///
/// # Errors
///
/// Sizes that do not fit, entries that are not finite, a matrix that is not symmetric or has an
/// eigenvalue below zero (rounding apart).
pub fn w2_squared(
    mean_a: &[f64],
    covariance_a: &[f64],
    mean_b: &[f64],
    covariance_b: &[f64],
) -> Result<f64, TransportError> {
    let dim = mean_a.len();
    if mean_b.len() != dim {
        return Err(TransportError::DimensionMismatch { a: dim, b: mean_b.len() });
    }
    for mean in [mean_a, mean_b] {
        crate::Cloud::new(mean, dim)?;
    }
    let (f, g) = (factor(covariance_a, dim)?, factor(covariance_b, dim)?);
    let svd = (g.transpose() * &f).svd().map_err(|_| TransportError::Decomposition { dim })?;
    let defect = f - g * svd.U() * svd.V().transpose();
    let shift: f64 = mean_a.iter().zip(mean_b).map(|(a, b)| (a - b).powi(2)).sum();
    Ok(shift + defect.squared_norm_l2())
}

/// The matrix A of the Brenier map `x ↦ m' + A(x - m)` from N(m, Σ) to N(m', Σ'), symmetric, `[d, d]` row after row; Σ invertible.
///
/// `A = G Q F⁻¹` with the factors and the minimiser Q of the distance.
///
/// # Errors
///
/// As for [`w2_squared`]; a singular Σ.
pub fn brenier_matrix(covariance_a: &[f64], covariance_b: &[f64], dim: usize) -> Result<Vec<f64>, TransportError> {
    let (f, g) = (factor(covariance_a, dim)?, factor(covariance_b, dim)?);
    let svd = (g.transpose() * &f).svd().map_err(|_| TransportError::Decomposition { dim })?;
    // The columns of F are orthogonal, and their squared lengths the eigenvalues of Σ.
    let eigenvalues: Vec<f64> = (0..dim).map(|j| f.col(j).squared_norm_l2()).collect();
    let largest = eigenvalues.iter().copied().fold(0.0, f64::max);
    if let Some(&eigenvalue) = eigenvalues.iter().find(|&&l| l <= f64::EPSILON * largest) {
        return Err(TransportError::NotPositive { eigenvalue, largest });
    }
    let inverse = Mat::from_fn(dim, dim, |i, j| f[(j, i)] / eigenvalues[i]);
    let map = g * svd.U() * svd.V().transpose() * inverse;
    Ok((0..dim * dim).map(|k| 0.5 * (map[(k / dim, k % dim)] + map[(k % dim, k / dim)])).collect())
}

/// F with `F Fᵀ = Σ`, from the eigen-decomposition `Σ = U Λ Uᵀ`: `F = U Λ^{1/2}`.
fn factor(covariance: &[f64], dim: usize) -> Result<Mat<f64>, TransportError> {
    let rows = crate::Cloud::new(covariance, dim)?.count();
    if rows != dim {
        return Err(TransportError::DimensionMismatch { a: dim, b: rows });
    }
    let sigma = MatRef::from_row_major_slice(covariance, dim, dim);
    let scale = covariance.iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    for row in 0..dim {
        for column in 0..row {
            let (value, mirrored) = (sigma[(row, column)], sigma[(column, row)]);
            if (value - mirrored).abs() > 1e-9 * scale {
                return Err(TransportError::NotSymmetric { row, column, value, mirrored });
            }
        }
    }
    let eigen = sigma.self_adjoint_eigen(Side::Lower).map_err(|_| TransportError::Decomposition { dim })?;
    let values = eigen.S().column_vector();
    let largest = values[dim - 1];
    if values[0] < -1e-9 * scale {
        return Err(TransportError::NotPositive { eigenvalue: values[0], largest });
    }
    let u = eigen.U();
    Ok(Mat::from_fn(dim, dim, |i, j| u[(i, j)] * values[j].max(0.0).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commuting_covariances_give_the_distance_of_their_roots() {
        // Diagonal: W₂² = Σ (√a - √b)².
        let diagonal = |x: [f64; 3]| [x[0], 0.0, 0.0, 0.0, x[1], 0.0, 0.0, 0.0, x[2]];
        let zero = [0.0; 3];
        let squared = w2_squared(&zero, &diagonal([4.0, 0.0, 1.0]), &zero, &diagonal([1.0, 9.0, 0.0])).unwrap();
        assert!((squared - 11.0).abs() < 1e-13, "{squared}");
        // A point mass: the whole trace.
        let squared = w2_squared(&[1.0, 0.0, 0.0], &diagonal([4.0, 2.0, 1.0]), &zero, &[0.0; 9]).unwrap();
        assert!((squared - 8.0).abs() < 1e-13, "{squared}");
    }

    #[test]
    fn the_brenier_map_carries_one_covariance_to_the_other_and_is_optimal() {
        let (a, b) = ([2.0, 0.8, 0.8, 1.0], [0.5, -0.3, -0.3, 3.0]);
        let map = brenier_matrix(&a, &b, 2).unwrap();
        let product = |x: &[f64], y: &[f64]| -> [f64; 4] {
            std::array::from_fn(|k| (0..2).map(|j| x[k / 2 * 2 + j] * y[2 * j + k % 2]).sum())
        };
        let pushed = product(&product(&map, &a), &map);
        assert!(pushed.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-13), "{pushed:?}");
        assert!(map[1] == map[2] && map[0] > 0.0 && map[0] * map[3] > map[1] * map[1], "{map:?}");
        // E|x - Ax|² = tr(Σ + Σ' - 2AΣ).
        let cost = a[0] + a[3] + b[0] + b[3] - 2.0 * (product(&map, &a)[0] + product(&map, &a)[3]);
        assert!((cost - w2_squared(&[0.0; 2], &a, &[0.0; 2], &b).unwrap()).abs() < 1e-13);
        assert!(matches!(brenier_matrix(&[1.0, 0.0, 0.0, 0.0], &b, 2), Err(TransportError::NotPositive { .. })));
    }

    #[test]
    fn nearly_equal_gaussians_keep_their_digits() {
        // N(0, Σ) and N(0, (1 + h)²Σ): W₂ = h √tr Σ, far below the 1e-8 that a difference of traces resolves.
        let sigma = [2.0, 0.8, 0.8, 1.0];
        let h = 1e-11;
        let wider = sigma.map(|x| x * (1.0 + h) * (1.0 + h));
        let distance = w2(&[0.0; 2], &sigma, &[0.0; 2], &wider).unwrap();
        assert!((distance / (h * 3f64.sqrt()) - 1.0).abs() < 1e-3, "{distance}");
        assert!(w2(&[0.0; 2], &sigma, &[0.0; 2], &sigma).unwrap() < 1e-14);
    }

    #[test]
    fn what_is_no_covariance_is_refused() {
        let refuse = |sigma: &[f64]| w2(&[0.0; 2], sigma, &[0.0; 2], &[1.0, 0.0, 0.0, 1.0]).unwrap_err();
        assert!(matches!(refuse(&[1.0, 2.0, 2.0, 1.0]), TransportError::NotPositive { .. }));
        assert!(matches!(refuse(&[1.0, 0.5, 0.0, 1.0]), TransportError::NotSymmetric { row: 1, column: 0, .. }));
        assert!(matches!(refuse(&[1.0, f64::NAN, 0.0, 1.0]), TransportError::NotFinite { .. }));
        assert!(matches!(refuse(&[1.0, 0.0]), TransportError::DimensionMismatch { a: 2, b: 1 }));
    }
}
