//! Linear algebra in f64: eigenvalues and inverses by faer, and a Cholesky factor that singular matrices have too.

use faer::linalg::solvers::DenseSolveCore;
use faer::{Mat, Side};
use ndarray::Array2;
use pulp::{Arch, NullaryFnOnce};

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

/// `A⁻¹` and `log |det A|` of a matrix of any kind, by its LU decomposition; `None` where it has no inverse in numbers.
pub fn inverse_and_log_det(matrix: &Array2<f64>) -> Option<(Array2<f64>, f64)> {
    let d = matrix.nrows();
    let lu = Mat::from_fn(d, d, |i, j| matrix[[i, j]]).partial_piv_lu();
    let log_det: f64 = (0..d).map(|i| lu.U()[(i, i)].abs().ln()).sum();
    let inverse = lu.inverse();
    let inverse = Array2::from_shape_fn((d, d), |(i, j)| inverse[(i, j)]);
    (log_det.is_finite() && inverse.iter().all(|entry| entry.is_finite())).then_some((inverse, log_det))
}

/// The largest eigenvalue of a symmetric matrix; NaN where an entry is, or where the iteration fails.
pub fn largest_eigenvalue(matrix: &Array2<f64>) -> f64 {
    match matrix.nrows() {
        1 => matrix[[0, 0]],
        2 => {
            let (a, b, c) = (matrix[[0, 0]], matrix[[1, 0]], matrix[[1, 1]]);
            f64::midpoint(a, c) + ((a - c) / 2.0).hypot(b)
        }
        _ if matrix.iter().any(|a| a.is_nan()) => f64::NAN,
        d if matrix.indexed_iter().all(|((i, j), &a)| i == j || a == 0.0) => {
            (0..d).map(|i| matrix[[i, i]]).fold(f64::NAN, f64::max)
        }
        d => {
            let mut entries: Vec<f64> = matrix.iter().copied().collect();
            Tridiagonal::of(&mut entries, d).largest_eigenvalue().0
        }
    }
}

/// A symmetric tridiagonal matrix.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tridiagonal {
    /// α, `[d]`.
    pub diagonal: Vec<f64>,
    /// β, `[d - 1]` or longer: the first d - 1 are the entries beside the diagonal.
    pub coupling: Vec<f64>,
}

impl Tridiagonal {
    /// The tridiagonal matrix with the eigenvalues of a symmetric one `[d, d]`, which is overwritten.
    ///
    /// Householder's reflections from the last row up; Golub, Van Loan, Matrix Computations (2013), §8.3.1.
    pub fn of(entries: &mut [f64], d: usize) -> Self {
        Arch::new().dispatch(Reflections { entries, d })
    }

    /// The largest eigenvalue, and the size of the last entry of its unit eigenvector.
    ///
    /// Laguerre's iteration from above, on which `p(x) = det(x - T)` has only real zeros; with the ratios
    /// `q_{i+1} = p_{i+1}/p_i = x - α_{i+1} - β_i²/q_i`, all positive above the eigenvalues, and the last entry is
    /// `(p_{d-1}/p_d')^{1/2} = (q_d')^{-1/2}` there. Parlett, The Symmetric Eigenvalue Problem (1998), §7.9, 8.10.
    pub fn largest_eigenvalue(&self) -> (f64, f64) {
        let d = self.diagonal.len();
        let coupling = |i: usize| if i < d - 1 { self.coupling[i].abs() } else { 0.0 };
        let reach = |i: usize| coupling(i) + if i > 0 { coupling(i - 1) } else { 0.0 };
        let disc = |i: usize| (self.diagonal[i] - reach(i), self.diagonal[i] + reach(i));
        if (0..d).any(|i| disc(i).1.is_nan()) {
            return (f64::NAN, f64::NAN);
        }
        let (least, most) =
            (0..d).map(disc).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), (u, v)| (a.min(u), b.max(v)));
        let scale = least.abs().max(most.abs());
        if scale == 0.0 {
            return (0.0, 1.0);
        }
        // In units of the largest: squares of 1/q must not overflow.
        let diagonal: Vec<f64> = self.diagonal.iter().map(|a| a / scale).collect();
        let coupling: Vec<f64> = self.coupling.iter().map(|b| b / scale).collect();
        let (mut x, mut last) = (most / scale, 1.0);
        for _ in 0..200 {
            let (mut q, mut q1, mut q2) = (x - diagonal[0], 1.0, 0.0);
            let (mut g, mut h) = (0.0, 0.0);
            let mut above = q > 0.0;
            for i in 1..=d {
                let ratio = q1 / q;
                g += ratio;
                h += ratio * ratio - q2 / q;
                if i == d {
                    break;
                }
                let b = coupling[i - 1] / q;
                q2 = b * b * (q2 - 2.0 * q1 * ratio);
                q1 = 1.0 + b * b * q1;
                q = x - diagonal[i] - b * coupling[i - 1];
                above &= q > 0.0;
            }
            if !above {
                break;
            }
            last = q1.sqrt().recip();
            let n = d as f64;
            let step = n / (g + ((n - 1.0) * (n * h - g * g).max(0.0)).sqrt());
            x -= step;
            if step <= f64::EPSILON {
                break;
            }
        }
        (scale * x, last)
    }

    /// The second largest eigenvalue to eight digits of its distance to the largest, by bisection; the largest for d = 1.
    pub fn second_eigenvalue(&self, largest: f64) -> f64 {
        let d = self.diagonal.len();
        if d == 1 {
            return largest;
        }
        let coupling = |i: usize| if i < d - 1 { self.coupling[i] } else { 0.0 };
        let least = (0..d).map(|i| self.diagonal[i] - coupling(i) - if i > 0 { coupling(i - 1) } else { 0.0 });
        let (mut low, mut high) = (least.fold(largest, f64::min), largest);
        for _ in 0..28 {
            let middle = f64::midpoint(low, high);
            if self.count_below(middle) >= d - 1 {
                high = middle;
            } else {
                low = middle;
            }
        }
        high
    }

    /// How many eigenvalues lie below x, by Sturm's sequence: as many as `x - T` has positive pivots.
    pub fn count_below(&self, x: f64) -> usize {
        let mut q = x - self.diagonal[0];
        let mut count = usize::from(q > 0.0);
        for (diagonal, coupling) in self.diagonal[1..].iter().zip(&self.coupling) {
            q = x - diagonal - coupling * (coupling / q);
            count += usize::from(q > 0.0);
        }
        count
    }

    /// The unit eigenvector of the largest eigenvalue where that is positive and given, by inverse iteration from above.
    fn largest_eigenvector(&self, value: f64) -> Vec<f64> {
        let d = self.diagonal.len();
        // Far enough above for positive pivots, near enough for ten digits in one step.
        let shift = value * (1.0 + 1e-10);
        let mut pivots = Vec::with_capacity(d);
        for i in 0..d {
            let eliminated = if i > 0 { self.coupling[i - 1] * (self.coupling[i - 1] / pivots[i - 1]) } else { 0.0 };
            pivots.push((shift - self.diagonal[i] - eliminated).max(f64::EPSILON * value));
        }
        let mut x = vec![1.0; d];
        for _ in 0..3 {
            for i in 1..d {
                x[i] += self.coupling[i - 1] / pivots[i - 1] * x[i - 1];
            }
            x[d - 1] /= pivots[d - 1];
            for i in (0..d - 1).rev() {
                x[i] = (x[i] + self.coupling[i] * x[i + 1]) / pivots[i];
            }
            let length = norm(&x);
            x.iter_mut().for_each(|x| *x /= length);
        }
        x
    }
}

/// The largest eigenvalue of a symmetric matrix with a unit vector for it, and the tridiagonal matrix of all eigenvalues.
pub(crate) struct LargestPair {
    pub value: f64,
    pub vector: Vec<f64>,
    pub tridiagonal: Tridiagonal,
}

impl LargestPair {
    /// That of `entries` `[d, d]`, which are overwritten; `None` where it is not positive.
    pub fn of(entries: &mut [f64], d: usize) -> Option<Self> {
        let tridiagonal = Tridiagonal::of(entries, d);
        let value = tridiagonal.largest_eigenvalue().0;
        if value.is_nan() || value <= 0.0 {
            return None;
        }
        let mut vector = tridiagonal.largest_eigenvector(value);
        // Coordinates count from the last; the sign of each coupling, which the tridiagonal matrix has lost, is that of
        // what the reflection left.
        let mut sign = 1.0;
        for k in (1..d).rev() {
            let beside = entries[k * d + k - 1];
            sign *= if (beside < 0.0) == (k > 1) { 1.0 } else { -1.0 };
            vector[d - k] *= sign;
        }
        vector.reverse();
        for k in 2..d {
            let reflection = &entries[k * d..k * d + k];
            let square = dot(reflection, reflection);
            if square > 0.0 {
                let overlap = dot(reflection, &vector[..k]);
                add_scaled(&mut vector[..k], -2.0 * overlap / square, reflection);
            }
        }
        Some(Self { value, vector, tridiagonal })
    }
}

/// Rows of a matrix below this, in units of its largest entry, are zero.
const NEGLIGIBLE: f64 = 1e-100;

/// A type of its own, not a closure, so that it is compiled for the vector registers that are found.
struct Reflections<'a> {
    entries: &'a mut [f64],
    d: usize,
}

impl NullaryFnOnce for Reflections<'_> {
    type Output = Tridiagonal;

    #[inline(always)]
    fn call(self) -> Tridiagonal {
        let Self { entries, d } = self;
        let mut result = Tridiagonal::default();
        let scale = entries.iter().fold(0.0f64, |m, a| m.max(a.abs()));
        if scale == 0.0 {
            return Tridiagonal { diagonal: vec![0.0; d], coupling: vec![0.0; d - 1] };
        }
        // Squares of entries must not underflow.
        entries.iter_mut().for_each(|a| *a /= scale);
        let mut product = vec![0.0; d];
        for k in (1..d).rev() {
            let (block, row) = entries.split_at_mut(k * d);
            let v = &mut row[..k];
            let mut length = dot(v, v).sqrt();
            // Next to the largest entry this is nothing, but its square may be a number whose inverse is infinite.
            if length < NEGLIGIBLE {
                v.fill(0.0);
                length = 0.0;
            }
            result.coupling.push(scale * length);
            if length > 0.0 && k > 1 {
                // I - vvᵀ/h takes the row to (0, …, 0, ∓length).
                v[k - 1] += length.copysign(v[k - 1]);
                let h = length * v[k - 1].abs();
                let product = &mut product[..k];
                product.fill(0.0);
                for (row, &x) in block.chunks_exact(d).zip(&*v) {
                    add_scaled(product, x / h, &row[..k]);
                }
                let half = dot(v, product) / (2.0 * h);
                add_scaled(product, -half, v);
                for ((row, &x), &p) in block.chunks_exact_mut(d).zip(&*v).zip(&*product) {
                    for ((a, &p_j), &v_j) in row[..k].iter_mut().zip(&*product).zip(&*v) {
                        *a -= x * p_j + p * v_j;
                    }
                }
            }
            result.diagonal.push(scale * row[k]);
        }
        result.diagonal.push(scale * entries[0]);
        result
    }
}

/// `a·b`, in eight partial sums that the compiler can keep in vector registers.
#[inline(always)]
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    rest + sums.iter().sum::<f64>()
}

/// `|x|`, also where its square would underflow or overflow.
#[inline(always)]
pub(crate) fn norm(x: &[f64]) -> f64 {
    let largest = x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    if largest > 1e-140 && largest < 1e140 {
        dot(x, x).sqrt()
    } else if largest == 0.0 {
        0.0
    } else {
        largest * x.iter().map(|x| (x / largest) * (x / largest)).sum::<f64>().sqrt()
    }
}

/// `y += a x`.
#[inline(always)]
pub(crate) fn add_scaled(y: &mut [f64], a: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// `A = L Lᵀ` of a positive definite matrix, L lower triangular.
///
/// Plain loops in a fixed order, as in [`semidefinite_factor`].
#[derive(Debug, Clone, PartialEq)]
pub struct Cholesky {
    /// L, row by row, zero above the diagonal.
    factor: Vec<f64>,
    dim: usize,
}

impl Cholesky {
    /// The factor of `entries` `[d, d]`, of which the lower half is read; `None` where the matrix is not positive definite.
    pub fn of(entries: &[f64], d: usize) -> Option<Self> {
        let mut factor = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                let rest = entries[i * d + j] - dot(&factor[i * d..i * d + j], &factor[j * d..j * d + j]);
                if i > j {
                    factor[i * d + j] = rest / factor[j * d + j];
                } else if rest > 0.0 && rest.is_finite() {
                    factor[i * d + i] = rest.sqrt();
                } else {
                    return None;
                }
            }
        }
        Some(Self { factor, dim: d })
    }

    /// That of a matrix `[d, d]`.
    pub fn of_matrix(matrix: &Array2<f64>) -> Option<Self> {
        Self::of(matrix.as_standard_layout().as_slice().expect("in standard layout"), matrix.nrows())
    }

    /// L, `[d, d]` row by row, lower triangular.
    pub fn factor(&self) -> &[f64] {
        &self.factor
    }

    /// `log det A`.
    pub fn log_det(&self) -> f64 {
        2.0 * (0..self.dim).map(|i| self.factor[i * self.dim + i].ln()).sum::<f64>()
    }

    /// `A⁻¹b`, in the place of b.
    pub fn solve(&self, b: &mut [f64]) {
        let d = self.dim;
        for i in 0..d {
            let (above, rest) = b.split_at_mut(i);
            rest[0] = (rest[0] - dot(&self.factor[i * d..i * d + i], above)) / self.factor[i * d + i];
        }
        for i in (0..d).rev() {
            let (above, rest) = b.split_at_mut(i);
            rest[0] /= self.factor[i * d + i];
            add_scaled(above, -rest[0], &self.factor[i * d..i * d + i]);
        }
    }

    /// `L⁻¹`, `[d, d]`, lower triangular.
    pub fn inverse_factor(&self) -> Array2<f64> {
        let (d, factor) = (self.dim, &self.factor);
        // Row i is (e_i - Σ_{j<i} L_ij row_j)/L_ii.
        let mut inverse = vec![0.0; d * d];
        for i in 0..d {
            let (above, row) = inverse.split_at_mut(i * d);
            let row = &mut row[..d];
            for j in 0..i {
                add_scaled(&mut row[..=j], -factor[i * d + j], &above[j * d..j * d + j + 1]);
            }
            row[i] = 1.0;
            row[..=i].iter_mut().for_each(|x| *x /= factor[i * d + i]);
        }
        Array2::from_shape_vec((d, d), inverse).expect("d·d entries")
    }
}

/// A factor with `F Fᵀ = A` of a positive semi-definite matrix, by Cholesky's elimination with the largest remaining
/// pivot first; directions without variance get zero columns. What is left of a coordinate is rounding by the measure of its own
/// variance, so that coordinates of very different scales keep theirs.
///
/// Plain loops in a fixed order: the factor, and with it every draw, is the same on every machine.
/// Higham, Accuracy and Stability of Numerical Algorithms (2002), §10.3.
pub fn semidefinite_factor(matrix: &Array2<f64>) -> Array2<f64> {
    let d = matrix.nrows();
    let mut rest = matrix.clone();
    let mut factor = Array2::zeros((d, d));
    let rounding = f64::EPSILON * d as f64;
    let mut open: Vec<usize> = (0..d).collect();
    for column in 0..d {
        open.retain(|&i| rest[[i, i]] > rounding * matrix[[i, i]]);
        let Some(at) = (0..open.len()).max_by(|&a, &b| {
            // Equal pivots: the first coordinate, so that the identity's factor is the identity.
            rest[[open[a], open[a]]].total_cmp(&rest[[open[b], open[b]]]).then(b.cmp(&a))
        }) else {
            break;
        };
        let p = open.remove(at);
        let root = rest[[p, p]].sqrt();
        factor[[p, column]] = root;
        for &i in &open {
            factor[[i, column]] = rest[[i, p]] / root;
        }
        // What is not correlated with the pivot stays as it is: a diagonal matrix costs d² steps.
        let correlated: Vec<usize> = open.iter().copied().filter(|&i| factor[[i, column]] != 0.0).collect();
        for &i in &correlated {
            for &j in &correlated {
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
    fn the_largest_eigenvalue_is_that_of_the_spectrum() {
        for matrix in matrices() {
            let values = symmetric_eigen(&matrix).unwrap().values;
            let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            assert!((largest_eigenvalue(&matrix) - largest).abs() < 1e-15, "{matrix:?}");
        }
        assert!(largest_eigenvalue(&array![[1.0, f64::NAN, 0.0], [f64::NAN, 1.0, 0.0], [0.0, 0.0, 1.0]]).is_nan());
        assert_eq!(largest_eigenvalue(&array![[1e-300, 0.0], [0.0, 3e-300]]), 3e-300);
        // One direction, and traces of another whose squares are the last numbers above zero.
        for trace in [1e-158, 1e-160, 1e-161, 2e-162, 1e-162, 1e-163, 1e-200] {
            let v = array![[trace], [2.0 * trace], [0.5], [-trace], [1.0]];
            for scale in [1e-300, 1.0, 1e300] {
                let value = largest_eigenvalue(&(v.dot(&v.t()) * scale));
                assert!((value / scale - 1.25).abs() < 1e-15, "{trace}, {scale}: {value}");
            }
        }
    }

    #[test]
    fn the_vector_of_the_largest_eigenvalue_is_one() {
        for matrix in matrices() {
            let d = matrix.nrows();
            let mut entries: Vec<f64> = matrix.iter().copied().collect();
            let Some(pair) = LargestPair::of(&mut entries, d) else {
                assert!(matrix.iter().all(|a| *a == 0.0));
                continue;
            };
            let vector = ndarray::aview1(&pair.vector);
            let off = matrix.dot(&vector) - pair.value * &vector;
            assert!(off.iter().all(|x| x.abs() < 1e-14), "{matrix:?}: {off}");
            assert!((vector.dot(&vector) - 1.0).abs() < 1e-14);
            assert_eq!(pair.tridiagonal.count_below(pair.value * (1.0 + 1e-12)), d);
            assert_eq!(pair.tridiagonal.count_below(pair.value * (1.0 - 1e-9)), d - 1);
        }
    }

    #[test]
    fn cholesky_solves_and_knows_the_determinant() {
        for d in [1usize, 2, 5, 17] {
            let mut words = crate::Stream::new(3, crate::Purpose::Batch).at(0, d as u64);
            let b = Array2::from_shape_fn((d, d), |_| words.normal());
            let matrix = b.dot(&b.t()) + Array2::<f64>::eye(d) * 0.5;
            let cholesky = Cholesky::of_matrix(&matrix).unwrap();
            let exact: Vec<f64> = (0..d).map(|_| words.normal()).collect();
            let mut solved = matrix.dot(&ndarray::Array1::from(exact.clone())).to_vec();
            cholesky.solve(&mut solved);
            assert!(solved.iter().zip(&exact).all(|(a, b)| (a - b).abs() < 1e-11), "d = {d}");
            let root = cholesky.inverse_factor();
            let identity = root.dot(&matrix).dot(&root.t());
            assert!((&identity - &Array2::<f64>::eye(d)).iter().all(|x| x.abs() < 1e-11), "d = {d}");
            let log_det: f64 = symmetric_eigen(&matrix).unwrap().values.iter().map(|value| value.ln()).sum();
            assert!((cholesky.log_det() - log_det).abs() < 1e-11, "d = {d}");
        }
        for entries in [vec![-1.0], vec![1.0, 0.0, 0.0, -1.0], vec![1.0, 2.0, 2.0, 1.0], vec![f64::NAN]] {
            assert!(Cholesky::of(&entries, (entries.len() as f64).sqrt() as usize).is_none());
        }
    }

    #[test]
    fn the_factor_times_its_transpose_is_the_matrix_also_where_it_is_singular() {
        for matrix in matrices() {
            let factor = semidefinite_factor(&matrix);
            assert!(distance(&factor.dot(&factor.t()), &matrix) < 1e-15, "{matrix:?}");
        }
        assert_eq!(semidefinite_factor(&Array2::eye(3)), Array2::<f64>::eye(3));
        // Scales that no product of their ratio can hold: the correlation is kept.
        let scales = [1e-12, 1.0, 1e12];
        let matrix = Array2::from_shape_fn((3, 3), |(i, j)| scales[i] * scales[j] * if i == j { 1.0 } else { 0.5 });
        let factor = semidefinite_factor(&matrix);
        let rebuilt = factor.dot(&factor.t()) / &matrix;
        assert!(rebuilt.iter().all(|ratio| (ratio - 1.0).abs() < 1e-12), "{rebuilt}");
    }
}
