//! The Kullback-Leibler divergence between the laws of two samples, from nearest-neighbour distances.
//!
//! `KL(A‖B) ≈ (d/n) Σ_i log(ν_k(i)/ρ_k(i)) + log(m/(n-1))`, ρ_k(i) the distance from x_i to its k-th neighbour among the
//! other points of A, ν_k(i) to that among the points of B; Wang, Kulkarni, Verdú, Divergence estimation for
//! multidimensional densities via k-nearest-neighbor distances (2009).

use crate::cloud::comparable;
use crate::nearest::nearest;
use crate::{Cloud, TransportError};

/// The largest dimension in which the estimate is called reliable.
const RELIABLE_DIM: usize = 6;

/// A nearest-neighbour estimate of `KL(A‖B)`.
#[derive(Debug, Clone, PartialEq)]
pub struct KlKnn {
    /// The estimate in nats; it can be negative. None where it is undefined: too few points for k neighbours, or a k-th
    /// neighbour at distance zero (a law with atoms has no density).
    pub value: Option<f64>,
    /// `d log(ν_k(i)/ρ_k(i)) + log(m/(n-1))` for every point of A, `[n]`, whose mean is the value; empty where it is
    /// undefined. Points share neighbours: the spread of the terms understates the standard error a little.
    pub terms: Vec<f64>,
    /// k, the number of neighbours.
    pub k: usize,
    /// Points of A with a copy of themselves in A or B, or with two of their k neighbours equally far: 0 for a density.
    pub ties: usize,
    /// Whether to believe the value: it is defined, d ≤ 6, and fewer than a tenth of the points have ties. Above, bias
    /// dwarfs the divergence: between Gaussians of d = 64, 5.4 for a true 1.9.
    pub reliable: bool,
}

/// `KL(A‖B)` by the k-th nearest neighbours; sizes may differ.
///
/// O(n (n + m) d), memory linear.
///
/// # Errors
///
/// Clouds of different dimensions, k = 0. Too few points for k are no error: the value is None.
pub fn kl_knn(a: Cloud, b: Cloud, k: usize) -> Result<KlKnn, TransportError> {
    let dim = comparable(&a, &b)?;
    let (n, m) = (a.count(), b.count());
    if k == 0 {
        return Err(TransportError::NeighbourCount { k, available: (n - 1).min(m) });
    }
    if n <= k || m < k {
        return Ok(KlKnn { value: None, terms: Vec::new(), k, ties: 0, reliable: false });
    }
    let (rho, nu) = (nearest(a, a, k, true)?.distances, nearest(a, b, k, false)?.distances);
    let (rho, nu) = (rho.chunks_exact(k), nu.chunks_exact(k));
    let tied = |distances: &[f64]| distances[0] == 0.0 || distances.windows(2).any(|pair| pair[0] == pair[1]);
    let ties = rho.clone().zip(nu.clone()).filter(|(rho, nu)| tied(rho) || tied(nu)).count();
    let constant = (m as f64 / (n as f64 - 1.0)).ln();
    // The logarithms apart: the quotient of two tiny distances may overflow.
    let term = |rho: &[f64], nu: &[f64]| dim as f64 * (nu[k - 1].ln() - rho[k - 1].ln()) + constant;
    let terms: Vec<f64> = rho.zip(nu).map(|(rho, nu)| term(rho, nu)).collect();
    if terms.iter().any(|term| !term.is_finite()) {
        return Ok(KlKnn { value: None, terms: Vec::new(), k, ties, reliable: false });
    }
    let value = terms.iter().sum::<f64>() / n as f64;
    Ok(KlKnn { value: Some(value), terms, k, ties, reliable: dim <= RELIABLE_DIM && 10 * ties < n })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// n points of the unit cube on an additive recurrence with irrational steps.
    fn cube(n: usize, dim: usize, start: f64) -> Vec<f64> {
        let steps = [0.819_172_513_396_164_4, 0.671_043_606_703_789_2, 0.549_700_477_901_970_3];
        (0..n * dim).map(|k| (start + (k / dim + 1) as f64 * steps[k % dim]).fract()).collect()
    }

    /// n·d standard normal numbers by Box and Muller, from a hash of a counter (splitmix64).
    fn normal(count: usize, seed: u64) -> Vec<f64> {
        let uniform = |k: u64| {
            let mut z = (seed << 32 | k).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
        };
        let pair =
            |k: u64| (-2.0 * (1.0 - uniform(2 * k)).ln()).sqrt() * (std::f64::consts::TAU * uniform(2 * k + 1)).cos();
        (1..=count as u64).map(pair).collect()
    }

    #[test]
    fn gaussians_a_shift_apart() {
        // KL(N(0, I) ‖ N(s, I)) = |s|²/2.
        for (dim, shift) in [(1, 1.0), (2, 0.8), (3, 0.6)] {
            let (n, m) = (4000, 6000);
            let x = normal(n * dim, 1);
            let y: Vec<f64> = normal(m * dim, 2).iter().map(|y| y + shift).collect();
            let kl = kl_knn(Cloud::new(&x, dim).unwrap(), Cloud::new(&y, dim).unwrap(), 5).unwrap();
            let exact = dim as f64 * shift * shift / 2.0;
            let value = kl.value.unwrap();
            let squares: f64 = kl.terms.iter().map(|term| (term - value).powi(2)).sum();
            let std_error = squares.sqrt() / n as f64;
            assert!(std_error < 0.03, "too noisy to decide: {std_error}");
            assert!((value - exact).abs() < 5.0 * std_error, "{value} ± {std_error} against {exact}");
            assert!(kl.reliable && kl.ties == 0);
        }
    }

    #[test]
    fn motions_and_scalings_of_both_change_nothing() {
        let (x, y) = (cube(300, 3, 0.0), cube(200, 3, 0.2));
        let of = |x: &[f64], y: &[f64]| {
            kl_knn(Cloud::new(x, 3).unwrap(), Cloud::new(y, 3).unwrap(), 2).unwrap().value.unwrap()
        };
        let moved = |points: &[f64]| -> Vec<f64> {
            points.chunks_exact(3).flat_map(|p| [7.0 - 3.0 * p[1], 3.0 * p[0], 3.0 * p[2]]).collect()
        };
        assert!((of(&x, &y) - of(&moved(&x), &moved(&y))).abs() < 1e-9);
    }

    #[test]
    fn where_it_means_nothing_it_says_so() {
        let (x, far) = (cube(6, 1, 0.0), cube(7000, 1, 0.1));
        let six = Cloud::new(&x, 1).unwrap();
        assert_eq!(kl_knn(six, six, 6).unwrap().value, None);
        assert_eq!(kl_knn(Cloud::new(&far, 1).unwrap(), six, 7).unwrap().value, None);
        assert!(kl_knn(six, six, 0).is_err());
        // A sample against itself: every point has its copy on the other side.
        let kl = kl_knn(six, six, 2).unwrap();
        assert_eq!((kl.ties, kl.reliable), (6, false));
        assert!(kl.value.is_some());
        assert_eq!(kl_knn(six, six, 1).unwrap().value, None);
        // A grid.
        let grid: Vec<f64> = (0..200).map(|k| f64::from(k / 2 % 10 + k % 2 * (k / 20))).collect();
        let grid = Cloud::new(&grid, 2).unwrap();
        assert!(!kl_knn(grid, grid, 5).unwrap().reliable);
        // Seven dimensions.
        let seven = cube(700, 1, 0.0);
        let seven = Cloud::new(&seven, 7).unwrap();
        assert!(!kl_knn(seven, seven, 5).unwrap().reliable);
    }
}
