//! Symmetric linear algebra in f64: eigenvalues by faer, and a Cholesky factor that singular matrices have too.

use faer::{Mat, Side};
use ndarray::Array2;

/// `A = U diag(l) Uᵀ`, eigenvalues ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// The eigenvalues l, `[d]`.
    pub values: Vec<f64>,
    /// The eigenvectors U as columns, `[d, d]`; `None` where A is diagonal and U the identity (l is then in the order
    /// of the coordinates).
    pub vectors: Option<Array2<f64>>,
}

/// The eigendecomposition of a symmetric matrix (its lower half is read); `None` where the iteration fails.
pub fn symmetric_eigen(matrix: &Array2<f64>) -> Option<Spectrum> {
    let d = matrix.nrows();
    if matrix.indexed_iter().all(|((i, j), &a)| i == j || a == 0.0) {
        return Some(Spectrum { values: matrix.diag().to_vec(), vectors: None });
    }
    let eigen = Mat::from_fn(d, d, |i, j| matrix[[i, j]]).self_adjoint_eigen(Side::Lower).ok()?;
    let values = (0..d).map(|i| eigen.S()[i]).collect();
    Some(Spectrum { values, vectors: Some(Array2::from_shape_fn((d, d), |(i, j)| eigen.U()[(i, j)])) })
}

/// A factor with `F Fᵀ = A` of a positive semi-definite matrix, by Cholesky's elimination with the largest remaining
/// pivot first; directions without variance get zero columns.
///
/// Plain loops in a fixed order: the factor, and with it every draw, is the same on every machine.
/// Higham, Accuracy and Stability of Numerical Algorithms (2002), §10.3.
pub fn semidefinite_factor(matrix: &Array2<f64>) -> Array2<f64> {
    let d = matrix.nrows();
    let mut rest = matrix.clone();
    let mut factor = Array2::zeros((d, d));
    let largest = matrix.diag().iter().fold(0.0f64, |m, &a| m.max(a));
    let negligible = largest * f64::EPSILON * d as f64;
    let mut open: Vec<usize> = (0..d).collect();
    for column in 0..d {
        let Some(at) = (0..open.len()).max_by(|&a, &b| {
            // Equal pivots: the first coordinate, so that the identity's factor is the identity.
            rest[[open[a], open[a]]].total_cmp(&rest[[open[b], open[b]]]).then(b.cmp(&a))
        }) else {
            break;
        };
        let p = open.remove(at);
        let pivot = rest[[p, p]];
        if pivot <= negligible {
            break;
        }
        let root = pivot.sqrt();
        factor[[p, column]] = root;
        for &i in &open {
            factor[[i, column]] = rest[[i, p]] / root;
        }
        for &i in &open {
            for &j in &open {
                rest[[i, j]] -= factor[[i, column]] * factor[[j, column]];
            }
        }
    }
    factor
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn matrices() -> Vec<Array2<f64>> {
        let a = array![[1.0, 0.6, -0.2], [0.6, 0.8, 0.3], [-0.2, 0.3, 2.0]];
        let v = array![[0.3], [0.4], [1.2]];
        vec![a, v.dot(&v.t()), Array2::zeros((2, 2)), Array2::from_diag(&array![0.0, 3.0, 1.0]), array![[2.5]]]
    }

    fn distance(a: &Array2<f64>, b: &Array2<f64>) -> f64 {
        (a - b).iter().fold(0.0f64, |m, x| m.max(x.abs()))
    }

    #[test]
    fn eigenvectors_are_orthonormal_and_rebuild_the_matrix() {
        for matrix in matrices() {
            let spectrum = symmetric_eigen(&matrix).unwrap();
            let d = matrix.nrows();
            let u = spectrum.vectors.clone().unwrap_or_else(|| Array2::eye(d));
            assert!(distance(&u.t().dot(&u), &Array2::eye(d)) < 1e-14);
            let rebuilt = u.dot(&Array2::from_diag(&ndarray::Array1::from(spectrum.values))).dot(&u.t());
            assert!(distance(&rebuilt, &matrix) < 1e-14, "{matrix:?}");
        }
    }

    #[test]
    fn the_factor_times_its_transpose_is_the_matrix_also_where_it_is_singular() {
        for matrix in matrices() {
            let factor = semidefinite_factor(&matrix);
            assert!(distance(&factor.dot(&factor.t()), &matrix) < 1e-15, "{matrix:?}");
        }
        assert_eq!(semidefinite_factor(&Array2::eye(3)), Array2::<f64>::eye(3));
    }
}
