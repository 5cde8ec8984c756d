//! The maximum mean discrepancy between two samples, with a Gaussian kernel.
//!
//! `MMD² = E k(X, X') + E k(Y, Y') - 2 E k(X, Y)`, `k(x, y) = exp(-|x - y|²/(2h²))`; Gretton, Borgwardt, Rasch, Schölkopf,
//! Smola, A kernel two-sample test (2012), equation 3 for the unbiased estimate and section 8 for the median heuristic.

use rayon::prelude::*;

use crate::cloud::comparable;
use crate::distances::{BLOCK_ROWS, Panels};
use crate::exp::add_sums;
use crate::{Cloud, Cost, TransportError};

/// The bandwidth h of the Gaussian kernel, in the unit of the points.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bandwidth {
    /// h itself.
    Absolute(f64),
    /// The median of all positive distances in the union of both clouds; where a cloud has more than 1000 points, 1000 of
    /// them, evenly spaced in their order, stand for it.
    MedianHeuristic,
}

/// An unbiased estimate of MMD² with the terms of its standard error.
#[derive(Debug, Clone, PartialEq)]
pub struct Mmd {
    /// MMD², the U-statistic: unbiased, so that it is about zero for equal laws, and as often below as above.
    pub value: f64,
    /// h as used.
    pub bandwidth: f64,
    /// The first variation at the points of A, `2 (mean_{j≠i} k(x_i, x_j) - mean_j k(x_i, y_j))`, `[n]`: by the delta method
    /// the variance of the value is `Var(a_terms)/n + Var(b_terms)/m`.
    pub a_terms: Vec<f64>,
    /// The first variation at the points of B, `[m]`.
    pub b_terms: Vec<f64>,
}

/// MMD² between two equally weighted clouds of at least two points each.
///
/// O((n + m)² d), memory linear.
///
/// # Errors
///
/// Clouds of different dimensions, a cloud of one point (pairs i ≠ j are needed), a bandwidth that is not positive and
/// finite, the median heuristic where all points are equal.
pub fn mmd_squared(a: Cloud, b: Cloud, bandwidth: Bandwidth) -> Result<Mmd, TransportError> {
    let dim = comparable(&a, &b)?;
    if let Some(count) = [a.count(), b.count()].into_iter().find(|count| *count < 2) {
        return Err(TransportError::TooFewPoints { count, needed: 2 });
    }
    let bandwidth = match bandwidth {
        Bandwidth::Absolute(bandwidth) => bandwidth,
        Bandwidth::MedianHeuristic => median_distance(&a, &b, dim),
    };
    if !(bandwidth > 0.0 && bandwidth.is_finite()) {
        return Err(TransportError::Bandwidth { bandwidth });
    }
    let scale = bandwidth * (2.0 * std::f64::consts::LN_2).sqrt();
    let scaled = |cloud: &Cloud| cloud.values().iter().map(|x| x / scale).collect::<Vec<f64>>();
    let (x, y) = (scaled(&a), scaled(&b));
    let (n, m) = (a.count() as f64, b.count() as f64);
    let terms = |own: &[f64], other: &[f64], count: f64, other_count: f64| -> Vec<f64> {
        let (within, between) = (kernel_sums(own, own, dim), kernel_sums(own, other, dim));
        // k(x_i, x_i) = 1 does not count.
        let pairs = within.iter().zip(&between);
        pairs.map(|(within, between)| 2.0 * ((within - 1.0) / (count - 1.0) - between / other_count)).collect()
    };
    let (a_terms, b_terms) = (terms(&x, &y, n, m), terms(&y, &x, m, n));
    let value = 0.5 * (a_terms.iter().sum::<f64>() / n + b_terms.iter().sum::<f64>() / m);
    Ok(Mmd { value, bandwidth, a_terms, b_terms })
}

/// `Σ_j 2^-|x_i - y_j|²` for every i.
fn kernel_sums(x: &[f64], y: &[f64], dim: usize) -> Vec<f64> {
    let columns = Panels::new(y, dim);
    let u = vec![0.0; BLOCK_ROWS];
    let mut v = vec![0.0; y.len() / dim];
    v.resize(columns.padded_count(), -1e300);
    let mut sums = vec![0.0; x.len() / dim];
    x.par_chunks(BLOCK_ROWS * dim).zip(sums.par_chunks_mut(BLOCK_ROWS)).for_each(|(rows, sums)| {
        columns.visit_tiles(rows, |tile| add_sums(&tile, Cost::SquaredDistance, &u, &v, sums));
    });
    sums
}

/// The median of the positive distances between points of the union, 0 where there are none.
fn median_distance(a: &Cloud, b: &Cloud, dim: usize) -> f64 {
    const MOST: usize = 1000;
    let mut union = Vec::new();
    for cloud in [a, b] {
        let (count, kept) = (cloud.count(), cloud.count().min(MOST));
        for index in 0..kept {
            let point = index * count / kept;
            union.extend_from_slice(&cloud.values()[point * dim..][..dim]);
        }
    }
    let columns = Panels::new(&union, dim);
    let mut squares = Vec::new();
    columns.visit_tiles(&union, |tile| {
        for (row, squared) in tile.rows() {
            // Each pair once.
            let after = (row + 1).saturating_sub(tile.columns.start).min(squared.len());
            squares.extend(squared[after..].iter().filter(|squared| **squared > 0.0));
        }
    });
    if squares.is_empty() {
        return 0.0;
    }
    let middle = squares.len() / 2;
    squares.select_nth_unstable_by(middle, f64::total_cmp).1.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distances::squared_distance;

    /// n points of Rᵈ on an additive recurrence: spread out, without a generator.
    fn recurrence(n: usize, dim: usize, step: f64) -> Vec<f64> {
        (0..n * dim).map(|k| ((k + 1) as f64 * step).fract() * 2.0 - 1.0).collect()
    }

    #[test]
    fn as_its_definition_says() {
        for (n, m, dim) in [(2, 2, 1), (70, 130, 2), (33, 50, 19)] {
            let (x, y) = (recurrence(n, dim, 0.754_877_666_246_692_8), recurrence(m, dim, 0.569_840_290_998_053_2));
            let (a, b) = (Cloud::new(&x, dim).unwrap(), Cloud::new(&y, dim).unwrap());
            let h: f64 = 0.8;
            let kernel = |p: &[f64], q: &[f64]| (-squared_distance(p, q) / (2.0 * h * h)).exp();
            let sum =
                |s: &Cloud, t: &Cloud| s.points().flat_map(|p| t.points().map(move |q| kernel(p, q))).sum::<f64>();
            let (nf, mf) = (n as f64, m as f64);
            let exact = (sum(&a, &a) - nf) / (nf * (nf - 1.0)) + (sum(&b, &b) - mf) / (mf * (mf - 1.0))
                - 2.0 * sum(&a, &b) / (nf * mf);
            let mmd = mmd_squared(a, b, Bandwidth::Absolute(h)).unwrap();
            assert!((mmd.value - exact).abs() < 1e-13, "{} against {exact}", mmd.value);
            assert_eq!(mmd.bandwidth, h);
        }
    }

    #[test]
    fn the_median_heuristic_is_the_median_and_moves_with_the_points() {
        // The pairs of {0, 0}, {0, 1, 3}: 0 0 0 1 1 1 3 3 3 2, of which 0 does not count.
        let (a, b) = ([0.0, 0.0], [0.0, 1.0, 3.0]);
        let mmd =
            mmd_squared(Cloud::new(&a, 1).unwrap(), Cloud::new(&b, 1).unwrap(), Bandwidth::MedianHeuristic).unwrap();
        assert_eq!(mmd.bandwidth, 2.0);
        let (x, y) = (recurrence(1500, 2, 0.754_877_666_246_692_8), recurrence(40, 2, 0.569_840_290_998_053_2));
        let of = |x: &[f64], y: &[f64]| {
            mmd_squared(Cloud::new(x, 2).unwrap(), Cloud::new(y, 2).unwrap(), Bandwidth::MedianHeuristic).unwrap()
        };
        let scaled = |points: &[f64]| points.iter().map(|x| 1024.0 * x).collect::<Vec<f64>>();
        let (once, large) = (of(&x, &y), of(&scaled(&x), &scaled(&y)));
        assert_eq!(large.bandwidth, 1024.0 * once.bandwidth);
        assert!((large.value - once.value).abs() < 1e-13);
    }

    #[test]
    fn what_cannot_be_estimated_is_explained() {
        let (two, one) = ([1.0, 1.0], [2.0]);
        let (two, one) = (Cloud::new(&two, 1).unwrap(), Cloud::new(&one, 1).unwrap());
        let text = |a, b, bandwidth| mmd_squared(a, b, bandwidth).unwrap_err().to_string();
        assert_eq!(
            text(two, one, Bandwidth::Absolute(1.0)),
            "a cloud has 1 points where the estimate needs 2; draw more"
        );
        assert_eq!(
            text(two, two, Bandwidth::MedianHeuristic),
            "the bandwidth is 0; a Gaussian kernel needs 0 < bandwidth < ∞ (where all points are equal the median gives 0: pass one)"
        );
        assert!(mmd_squared(two, two, Bandwidth::Absolute(f64::NAN)).is_err());
        assert_eq!(mmd_squared(two, two, Bandwidth::Absolute(1.0)).unwrap().value, 0.0);
    }
}
