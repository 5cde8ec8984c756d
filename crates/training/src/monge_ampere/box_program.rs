//! Quadratic programs in a box, by an active set.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};
use ndarray::{Array1, Array2};

/// Passes of the active set; most programs need three.
const PASSES: usize = 20;

/// Shares of the diagonal that are added where the matrix is not positive definite to rounding.
const RIDGES: [f64; 5] = [0.0, 1e-10, 1e-8, 1e-6, 1e-4];

/// The minimiser of `½wᵀAw - r·w` over `w ≥ l`; A `[p, p]` positive semi-definite, r and l `[p]` (l may be -∞).
///
/// Bounds become active where they are crossed and are released where the multiplier has the wrong sign, all at once; the last
/// pass is clamped into the box, so that the answer is always feasible. Hintermüller, Ito and Kunisch, SIAM J. Optim. 13 (2002).
/// `None` where A is not positive semi-definite.
pub fn minimize(matrix: &Array2<f64>, linear: &Array1<f64>, lower: &Array1<f64>) -> Option<Array1<f64>> {
    let p = linear.len();
    let mut active = vec![false; p];
    let mut w = Array1::zeros(p);
    for _ in 0..PASSES {
        let free: Vec<usize> = (0..p).filter(|&i| !active[i]).collect();
        let bound: Vec<usize> = (0..p).filter(|&i| active[i]).collect();
        for &i in &bound {
            w[i] = lower[i];
        }
        let right: Vec<f64> =
            free.iter().map(|&i| linear[i] - bound.iter().map(|&j| matrix[[i, j]] * lower[j]).sum::<f64>()).collect();
        for (&i, value) in free.iter().zip(solve(matrix, &free, &right)?) {
            w[i] = value;
        }
        let slope = matrix.dot(&w) - linear;
        let next: Vec<bool> = (0..p)
            .map(|i| if active[i] { slope[i] > 0.0 } else { w[i] < lower[i] - 1e-12 * lower[i].abs().max(1.0) })
            .collect();
        if next == active {
            break;
        }
        active = next;
    }
    ndarray::Zip::from(&mut w).and(lower).for_each(|w, &l| *w = w.max(l));
    w.iter().all(|w| w.is_finite()).then_some(w)
}

/// Sweeps of coordinate descent, and the change of a coordinate, in units of its own curvature and of the largest, that ends them.
const SWEEPS: usize = 100;
const STILL: f64 = 1e-9;

/// The minimiser of [`minimize`] from 0, which lies in the box: no worse than 0 whatever the active set did.
///
/// An active set may go in circles where features are nearly collinear. So coordinate descent goes on from the better of its answer and 0, every
/// step of it downhill.
pub fn minimize_from_zero(matrix: &Array2<f64>, linear: &Array1<f64>, lower: &Array1<f64>) -> Option<Array1<f64>> {
    let found = minimize(matrix, linear, lower)?;
    let value = found.dot(&matrix.dot(&found)) / 2.0 - linear.dot(&found);
    let mut w = if value < 0.0 { found } else { Array1::zeros(linear.len()) };
    let mut slope = matrix.dot(&w) - linear;
    let scales = matrix.diag().mapv(f64::sqrt);
    for _ in 0..SWEEPS {
        let (mut moved, mut largest) = (0.0f64, 0.0f64);
        for i in 0..w.len() {
            let curvature = matrix[[i, i]];
            if curvature <= 0.0 {
                continue;
            }
            let next = (w[i] - slope[i] / curvature).max(lower[i]);
            let change = next - w[i];
            if change != 0.0 {
                slope.scaled_add(change, &matrix.row(i));
                w[i] = next;
            }
            moved = moved.max(change.abs() * scales[i]);
            largest = largest.max(w[i].abs() * scales[i]);
        }
        if moved <= STILL * largest {
            break;
        }
    }
    w.iter().all(|w| w.is_finite()).then_some(w)
}

/// `A_ff⁻¹ b` by Cholesky, with the least share of the diagonal added that makes it succeed.
fn solve(matrix: &Array2<f64>, rows: &[usize], right: &[f64]) -> Option<Vec<f64>> {
    let n = rows.len();
    if n == 0 {
        return Some(Vec::new());
    }
    let right = Mat::from_fn(n, 1, |i, _| right[i]);
    RIDGES.iter().find_map(|ridge| {
        let block = Mat::from_fn(n, n, |i, j| {
            let entry = matrix[[rows[i], rows[j]]];
            if i == j { entry * (1.0 + ridge) } else { entry }
        });
        let answer = block.llt(Side::Lower).ok()?.solve(&right);
        let answer: Vec<f64> = (0..n).map(|i| answer[(i, 0)]).collect();
        answer.iter().all(|w| w.is_finite()).then_some(answer)
    })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    /// The conditions of Karush, Kuhn and Tucker: slope 0 where free, slope ≥ 0 at a bound.
    fn assert_optimal(a: &Array2<f64>, r: &Array1<f64>, l: &Array1<f64>) {
        let w = minimize(a, r, l).unwrap();
        let slope = a.dot(&w) - r;
        for i in 0..w.len() {
            assert!(w[i] >= l[i]);
            assert!(slope[i] > -1e-9, "slope {} of {i}", slope[i]);
            assert!(w[i] == l[i] || slope[i].abs() < 1e-9, "{i} is free with slope {}", slope[i]);
        }
    }

    #[test]
    fn the_answer_satisfies_the_optimality_conditions() {
        let a = array![[4.0, 1.0, -1.0], [1.0, 3.0, 0.5], [-1.0, 0.5, 2.0]];
        let free = f64::NEG_INFINITY;
        for r in [array![1.0, -2.0, 0.5], array![-3.0, -1.0, -2.0], array![5.0, 1.0, -4.0]] {
            for l in [array![free, 0.0, 0.0], array![free, free, free], array![0.0, -0.1, 0.3]] {
                assert_optimal(&a, &r, &l);
            }
        }
    }

    #[test]
    fn from_zero_the_answer_is_downhill_and_optimal() {
        // Features that are nearly one, and a free one.
        let a =
            array![[1.0, 0.999, 0.998, 0.2], [0.999, 1.0, 0.999, 0.2], [0.998, 0.999, 1.0, 0.2], [0.2, 0.2, 0.2, 1.0]];
        let l = array![-0.1, 0.0, -0.5, f64::NEG_INFINITY];
        for r in [array![0.3, -0.2, 0.1, 1.0], array![-1.0, 1.0, -1.0, 0.5], array![0.01, 0.02, 0.03, -0.2]] {
            let w = minimize_from_zero(&a, &r, &l).unwrap();
            assert!(w.dot(&a.dot(&w)) / 2.0 - r.dot(&w) < 0.0);
            let slope = a.dot(&w) - &r;
            for i in 0..4 {
                assert!(w[i] >= l[i] && slope[i] > -1e-6 && (w[i] == l[i] || slope[i].abs() < 1e-6), "{w} {slope}");
            }
        }
    }

    #[test]
    fn a_singular_matrix_has_an_answer() {
        let a = array![[1.0, 1.0], [1.0, 1.0]];
        let w = minimize(&a, &array![2.0, 2.0], &array![0.0, 0.0]).unwrap();
        assert!((w.sum() - 2.0).abs() < 1e-3, "{w}");
    }
}
