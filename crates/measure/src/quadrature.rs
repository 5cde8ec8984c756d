//! Gauss-Legendre and Gauss-Hermite quadrature.

use std::f64::consts::PI;

use ndarray::Array2;

use crate::linear_algebra::symmetric_eigen;

/// Nodes and weights on [-1, 1], exact for polynomials of degree `2n - 1`; nodes descend.
///
/// Newton's iteration on the Legendre polynomial, from Tricomi's approximation to its roots.
pub fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let node = |i: usize| {
        let mut x = (PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.0;
        // Newton doubles the digits: five steps from an error of O(n⁻⁴) reach rounding for every n.
        for _ in 0..5 {
            let (mut before, mut value) = (1.0, x);
            for k in 2..=n {
                let k = k as f64;
                (before, value) = (value, ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k);
            }
            slope = n as f64 * (x * value - before) / (x * x - 1.0);
            x -= value / slope;
        }
        (x, 2.0 / ((1.0 - x * x) * slope * slope))
    };
    (0..n).map(node).collect()
}

/// Nodes and weights of the standard normal law, exact for polynomials of degree `2n - 1`; nodes ascend, weights have sum 1.
///
/// Golub and Welsch (1969): the nodes are the eigenvalues of the Jacobi matrix. A Newton step and the weights `1/(n p_{n-1}²)`
/// come from the recurrence of the orthonormal polynomials, `√(k+1) p_{k+1} = x p_k - √k p_{k-1}`, in which far nodes keep their digits;
/// it overflows beyond some 500 nodes.
pub fn gauss_hermite(n: usize) -> Vec<(f64, f64)> {
    let entry = |(i, j): (usize, usize)| if i.abs_diff(j) == 1 { (i.max(j) as f64).sqrt() } else { 0.0 };
    let spectrum = symmetric_eigen(&Array2::from_shape_fn((n, n), entry)).expect("finite entries");
    let last_two = |x: f64| {
        (0..n).fold((0.0, 1.0), |(before, here), k| {
            let k = k as f64;
            (here, (x * here - k.sqrt() * before) / (k + 1.0).sqrt())
        })
    };
    let node = |&x: &f64| {
        let (before, value) = last_two(x);
        let x = x - value / ((n as f64).sqrt() * before);
        let (before, _) = last_two(x);
        (x, 1.0 / (n as f64 * before * before))
    };
    spectrum.values.iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_is_exact_for_polynomials_of_its_degree() {
        for n in [1, 2, 5, 16, 32, 64] {
            let rule = gauss_legendre(n);
            for power in [0, 1, 2 * n - 2, 2 * n - 1] {
                let sum: f64 = rule.iter().map(|(x, w)| w * x.powi(power as i32)).sum();
                let exact = if power % 2 == 0 { 2.0 / (power as f64 + 1.0) } else { 0.0 };
                assert!((sum - exact).abs() < 1e-13, "{n} nodes, x^{power}: {sum} against {exact}");
            }
        }
    }

    #[test]
    fn the_rule_of_hermite_is_exact_for_polynomials_of_its_degree() {
        for n in [1usize, 2, 5, 20, 200, 400] {
            let rule = gauss_hermite(n);
            let mut exact = 1.0;
            for half in 0..n.min(12) {
                // E z^{2m} = (2m - 1)!!
                exact *= (2.0 * half as f64 - 1.0).max(1.0);
                let sum: f64 = rule.iter().map(|(x, w)| w * x.powi(2 * half as i32)).sum();
                assert!((sum / exact - 1.0).abs() < 1e-12, "{n} nodes, x^{}: {sum} against {exact}", 2 * half);
                let odd: f64 = rule.iter().map(|(x, w)| w * x.powi(2 * half as i32 + 1)).sum();
                assert!(odd.abs() < 1e-12 * exact * 10.0, "{n} nodes, x^{}: {odd}", 2 * half + 1);
            }
            assert!(rule.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
    }
}
