//! The largest eigenvalue of a symmetric operator that is only known by its products with vectors.
//!
//! Lanczos' iteration with full reorthogonalisation; Parlett, The Symmetric Eigenvalue Problem (1998), chapter 13.

use crate::linear_algebra::{Tridiagonal, add_scaled, dot, norm};

/// When an iteration is good enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// The error of the eigenvalue that is allowed, relative to it.
    pub tolerance: f64,
    /// The largest number of products.
    pub products: usize,
}

impl Default for Accuracy {
    fn default() -> Self {
        Self { tolerance: 1e-11, products: 300 }
    }
}

/// An approximate eigenvalue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ritz {
    /// θ, never above the largest eigenvalue but for rounding.
    pub value: f64,
    /// `|Au - θu|` for its unit vector u: some eigenvalue lies this close to θ.
    pub residual: f64,
    /// The estimated error: `residual²/gap` where the gap to the next Ritz value is known well enough, or `residual`.
    pub error: f64,
}

/// The Krylov space of a symmetric operator A, one product at a time.
///
/// With the orthonormal basis `V = (v₁ … v_j)` and `T = VᵀAV` tridiagonal, `A V = V T + β v_{j+1} e_jᵀ`. Whoever owns A
/// multiplies [`direction`](Self::direction) by it and hands the product to [`extend`](Self::extend); so many
/// iterations can share one matrix product.
#[derive(Debug, Clone)]
pub struct Krylov {
    dim: usize,
    basis: Vec<f64>,
    matrix: Tridiagonal,
    complete: bool,
}

impl Krylov {
    /// The space that begins with this vector, of any length but zero.
    pub fn new(start: &[f64]) -> Self {
        let length = norm(start);
        let basis = start.iter().map(|x| x / length).collect();
        Self { dim: start.len(), basis, matrix: Tridiagonal::default(), complete: false }
    }

    /// The space that begins with a fixed vector in no special direction.
    pub fn generic(dim: usize) -> Self {
        Self::new(&generic_start(dim))
    }

    /// The number of products so far.
    pub fn products(&self) -> usize {
        self.matrix.diagonal.len()
    }

    /// The unit vector whose product is wanted next, `[d]`.
    pub fn direction(&self) -> &[f64] {
        &self.basis[self.basis.len() - self.dim..]
    }

    /// Takes the product of A and [`direction`](Self::direction), `[d]`; call it until [`is_complete`](Self::is_complete).
    pub fn extend(&mut self, product: &[f64]) {
        let mut rest = product.to_vec();
        let scale = norm(product);
        let alpha = dot(self.direction(), product);
        // Twice is enough: Parlett, §6.9.
        for _ in 0..2 {
            for v in self.basis.chunks_exact(self.dim) {
                let overlap = dot(v, &rest);
                add_scaled(&mut rest, -overlap, v);
            }
        }
        let beta = norm(&rest);
        self.matrix.diagonal.push(alpha);
        // What is left of a vector that lies in the space is rounding.
        self.complete = self.products() == self.dim || beta <= 8.0 * f64::EPSILON * scale;
        let beta = if self.complete { 0.0 } else { beta };
        self.matrix.coupling.push(beta);
        if !self.complete {
            self.basis.extend(rest.iter().map(|x| x / beta));
        }
    }

    /// Whether A maps the space into itself: its Ritz values are eigenvalues, and no further product is of use.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// The largest Ritz value; after the first product.
    pub fn largest(&self) -> Ritz {
        let beta = self.matrix.coupling.last().copied().unwrap_or(f64::NAN);
        let (value, last) = self.matrix.largest_eigenvalue();
        let residual = beta * last;
        let gap = value - self.matrix.second_eigenvalue(value) - residual;
        let error = if gap > residual { residual * (residual / gap) } else { residual };
        Ritz { value, residual, error }
    }

    /// The largest Ritz value if it is accurate enough, or if no product is left.
    ///
    /// It looks at every fourth product: the look costs as much as a product with a small matrix.
    pub fn settled(&self, accuracy: &Accuracy) -> Option<Ritz> {
        let last = self.complete || self.products() >= accuracy.products;
        if !last && !self.products().is_multiple_of(4) {
            return None;
        }
        let ritz = self.largest();
        (last || ritz.error <= accuracy.tolerance * ritz.value.abs()).then_some(ritz)
    }
}

/// The largest eigenvalue of the symmetric operator `apply(x, out)` on Rᵈ, d ≥ 1.
///
/// Deterministic: it starts from one fixed vector. NaN where a product is.
pub fn largest_eigenvalue(dim: usize, accuracy: &Accuracy, mut apply: impl FnMut(&[f64], &mut [f64])) -> Ritz {
    let mut krylov = Krylov::generic(dim);
    let mut product = vec![0.0; dim];
    loop {
        apply(krylov.direction(), &mut product);
        if product.iter().any(|x| x.is_nan()) {
            return Ritz { value: f64::NAN, residual: f64::NAN, error: f64::NAN };
        }
        krylov.extend(&product);
        if let Some(ritz) = krylov.settled(accuracy) {
            return ritz;
        }
    }
}

/// Numbers in (-1, 1) without a pattern: the golden ratio's SplitMix64 sequence.
fn generic_start(dim: usize) -> Vec<f64> {
    let number = |i: usize| {
        let mut z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    };
    (0..dim).map(number).collect()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, aview1};

    use super::*;
    use crate::linear_algebra::symmetric_eigen;

    fn of_matrix(matrix: &Array2<f64>, accuracy: &Accuracy) -> Ritz {
        largest_eigenvalue(matrix.nrows(), accuracy, |x, out| {
            out.copy_from_slice(matrix.dot(&aview1(x)).as_slice().expect("contiguous"));
        })
    }

    /// `Q diag(values) Qᵀ` with the reflection Q that swaps a fixed direction with an axis.
    fn with_eigenvalues(values: &[f64]) -> Array2<f64> {
        let d = values.len();
        let v: Vec<f64> = (0..d).map(|i| (1.0 + i as f64).sin()).collect();
        let square = dot(&v, &v);
        let q = Array2::from_shape_fn((d, d), |(i, j)| f64::from(u8::from(i == j)) - 2.0 * v[i] * v[j] / square);
        (&q * &aview1(values)).dot(&q)
    }

    #[test]
    fn it_finds_the_largest_eigenvalue_whatever_the_others_are() {
        let spread: Vec<f64> = (0..80).map(|i| 0.97f64.powi(i)).collect();
        let edge: Vec<f64> = (0..60).map(|i| 1.0 - (f64::from(i) / 60.0).powf(1.5)).collect();
        let mut double = spread.clone();
        double[1] = 1.0;
        let mut alone = vec![0.0; 50];
        alone[7] = 3.0;
        let negative: Vec<f64> = (0..40).map(|i| -1.0 - f64::from(i)).collect();
        for values in
            [spread, edge, double, alone, negative, vec![2.5], vec![1.0; 30], vec![0.0; 20], vec![1e-200, 3e-200]]
        {
            let matrix = with_eigenvalues(&values);
            let ritz = of_matrix(&matrix, &Accuracy::default());
            let exact = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!((ritz.value - exact).abs() <= 1e-11 * exact.abs(), "{ritz:?} against {exact}");
            let dense = symmetric_eigen(&matrix).unwrap().values.into_iter().fold(f64::NEG_INFINITY, f64::max);
            assert!((ritz.value - dense).abs() <= 1e-11 * exact.abs());
        }
    }

    #[test]
    fn the_residual_bounds_the_distance_to_an_eigenvalue_and_the_error_estimate_holds() {
        let values: Vec<f64> = (0..200).map(|i| 0.99f64.powi(i)).collect();
        let matrix = with_eigenvalues(&values);
        for products in [4, 8, 16, 32] {
            let ritz = of_matrix(&matrix, &Accuracy { tolerance: 0.0, products });
            let nearest = values.iter().map(|l| (l - ritz.value).abs()).fold(f64::INFINITY, f64::min);
            assert!(nearest <= ritz.residual + 1e-14, "{products} products: {ritz:?}, nearest {nearest}");
            assert!(ritz.value <= 1.0 + 1e-14);
        }
        let rough = of_matrix(&matrix, &Accuracy { tolerance: 1e-4, products: 300 });
        assert!((rough.value - 1.0).abs() < 1e-3 && rough.error <= 1e-4, "{rough:?}");
        assert!(of_matrix(&Array2::from_elem((3, 3), f64::NAN), &Accuracy::default()).value.is_nan());
    }
}
