//! The energy distance between two samples.
//!
//! `D(A, B) = 2 E|X - Y| - E|X - X'| - E|Y - Y'|`; Székely, Rizzo, Energy statistics: a class of statistics based on
//! distances (2013).

use rayon::prelude::*;

use crate::cloud::{comparable, without_shared};
use crate::distances::{BLOCK_ROWS, Panels};
use crate::{Cloud, TransportError};

/// An energy distance with the terms of its standard error.
#[derive(Debug, Clone, PartialEq)]
pub struct EnergyDistance {
    /// D of the two empirical measures (the V-statistic: pairs (i, i) count, with distance 0). It is never negative but for
    /// rounding, and zero for equal samples; between samples of one law it has mean `E|X - X'| (1/n + 1/m)`. A squared
    /// distance: some authors take its root.
    pub value: f64,
    /// The first variation at the points of A, `2 E|x_i - Y| - 2 E|x_i - X'|`, `[n]`: by the delta method the variance of
    /// the value is `Var(a_terms)/n + Var(b_terms)/m`.
    pub a_terms: Vec<f64>,
    /// The first variation at the points of B, `[m]`.
    pub b_terms: Vec<f64>,
    /// A bound of what rounding may have done to the value.
    pub rounding: f64,
}

/// The energy distance between two equally weighted clouds, of equal or unequal sizes.
///
/// O((n + m)² d), memory linear; on the line O((n + m) log(n + m)) by sorting.
///
/// # Errors
///
/// Clouds of different dimensions.
pub fn energy_distance(a: Cloud, b: Cloud) -> Result<EnergyDistance, TransportError> {
    let dim = comparable(&a, &b)?;
    if a.count() != b.count() {
        return Ok(of_all(&a, &b));
    }
    // Of equal weight, what is in both clouds is in neither: the distance is of the rest, however far away that is.
    let [x, y] = without_shared(&a, &b);
    if x.len() == a.values().len() {
        return Ok(of_all(&a, &b));
    }
    if x.is_empty() {
        let [a_terms, b_terms] = [vec![0.0; a.count()], vec![0.0; b.count()]];
        return Ok(EnergyDistance { value: 0.0, a_terms, b_terms, rounding: 0.0 });
    }
    let share = x.len() as f64 / a.values().len() as f64;
    let (x, y) = (Cloud::new(&x, dim)?, Cloud::new(&y, dim)?);
    let rest = of_all(&x, &y);
    let terms = |points: &Cloud, between: &Cloud, within: &Cloud| -> Vec<f64> {
        let pairs = mean_distances(points, between).into_iter().zip(mean_distances(points, within));
        pairs.map(|(between, within)| 2.0 * share * (between - within)).collect()
    };
    Ok(EnergyDistance {
        value: share * share * rest.value,
        a_terms: terms(&a, &y, &x),
        b_terms: terms(&b, &x, &y),
        rounding: share * share * rest.rounding,
    })
}

fn of_all(a: &Cloud, b: &Cloud) -> EnergyDistance {
    let [ab, ba, aa, bb] = [(a, b), (b, a), (a, a), (b, b)].map(|(x, y)| mean_distances(x, y));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let terms = |between: &[f64], within: &[f64]| -> Vec<f64> {
        between.iter().zip(within).map(|(between, within)| 2.0 * (between - within)).collect()
    };
    // Both means of |X - Y|, so that exchanging A and B changes no bit and equal samples give zero.
    let value = (mean(&ab) - mean(&aa)) + (mean(&ba) - mean(&bb));
    // Distances are rounded by their own size, and their sums in blocks.
    let rounding = 16.0 * f64::EPSILON * (mean(&ab) + mean(&aa) + mean(&ba) + mean(&bb));
    EnergyDistance { value, a_terms: terms(&ab, &aa), b_terms: terms(&ba, &bb), rounding }
}

/// `(1/m) Σ_j |x_i - y_j|` for every point of `a`.
pub(crate) fn mean_distances(a: &Cloud, b: &Cloud) -> Vec<f64> {
    if a.dim() == 1 {
        return mean_distances_on_the_line(a.values(), b.values());
    }
    let columns = Panels::new(b.values(), a.dim());
    let mut means = vec![0.0; a.count()];
    a.values().par_chunks(BLOCK_ROWS * a.dim()).zip(means.par_chunks_mut(BLOCK_ROWS)).for_each(|(rows, means)| {
        columns.visit_tiles(rows, |tile| tile.add_distances(means));
        means.iter_mut().for_each(|mean| *mean /= b.count() as f64);
    });
    means
}

/// `Σ_j |x - y_j| = Σ_{y_j > x} y_j - Σ_{y_j ≤ x} y_j + x (#{y_j ≤ x} - #{y_j > x})`, from sums over the sorted y.
fn mean_distances_on_the_line(x: &[f64], y: &[f64]) -> Vec<f64> {
    let mut sorted = y.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    // About the median: far from the origin the sums would lose the differences.
    let count = sorted.len();
    let centre = sorted[count / 2];
    let mut below = vec![0.0; count + 1];
    for (j, y) in sorted.iter().enumerate() {
        below[j + 1] = below[j] + (y - centre);
    }
    let of = |x: &f64| {
        let lower = sorted.partition_point(|y| y <= x);
        let balance = 2.0 * lower as f64 - count as f64;
        ((x - centre) * balance + below[count] - 2.0 * below[lower]) / count as f64
    };
    x.iter().map(of).collect()
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
        for (n, m, dim) in [(1, 1, 1), (70, 130, 1), (90, 41, 2), (33, 50, 19)] {
            let (x, y) = (recurrence(n, dim, 0.754_877_666_246_692_8), recurrence(m, dim, 0.569_840_290_998_053_2));
            let (a, b) = (Cloud::new(&x, dim).unwrap(), Cloud::new(&y, dim).unwrap());
            let mean = |p: &[f64], cloud: &Cloud| {
                cloud.points().map(|q| squared_distance(p, q).sqrt()).sum::<f64>() / cloud.count() as f64
            };
            let double = |s: &Cloud, t: &Cloud| s.points().map(|p| mean(p, t)).sum::<f64>() / s.count() as f64;
            let energy = energy_distance(a, b).unwrap();
            let exact = 2.0 * double(&a, &b) - double(&a, &a) - double(&b, &b);
            assert!((energy.value - exact).abs() < 1e-13, "{} against {exact}", energy.value);
            for (term, point) in energy.a_terms.iter().zip(a.points()) {
                assert!((term - 2.0 * (mean(point, &b) - mean(point, &a))).abs() < 1e-13);
            }
            assert_eq!(energy_distance(b, a).unwrap().value, energy.value);
            assert_eq!(energy_distance(a, a).unwrap().value, 0.0);
        }
    }

    #[test]
    fn what_both_clouds_share_is_nowhere() {
        let (x, y) = (recurrence(30, 2, 0.754_877_666_246_692_8), recurrence(30, 2, 0.569_840_290_998_053_2));
        let energy =
            |x: &[f64], y: &[f64]| energy_distance(Cloud::new(x, 2).unwrap(), Cloud::new(y, 2).unwrap()).unwrap();
        let (alone, shared) = (energy(&x, &y), [1e20, -3.0, 0.5, 0.5]);
        let (with_x, with_y) = ([&shared[..], &x[..]].concat(), [&y[..], &shared[2..], &shared[..2]].concat());
        let found = energy(&with_x, &with_y);
        let exact = alone.value * (15.0f64 / 16.0).powi(2);
        let of_second = found.a_terms[2] / alone.a_terms[0];
        assert!((of_second / (15.0 / 16.0) - 1.0).abs() < 1e-12, "{of_second}");
        assert!((found.value / exact - 1.0).abs() < 1e-12 && found.rounding < 1e-12, "{found:?} against {exact}");
        // What is far in one of them alone leaves few digits, and says so.
        let moved: Vec<f64> = with_y.iter().map(|x| if *x == 1e20 { 2e20 } else { *x }).collect();
        assert!(energy(&with_x, &moved).rounding > 1e3);
    }

    #[test]
    fn point_masses_and_clouds_far_apart() {
        let (zero, one) = ([0.0, 0.0], [3.0, 4.0]);
        let (a, b) = (Cloud::new(&zero, 2).unwrap(), Cloud::new(&one, 2).unwrap());
        assert_eq!(energy_distance(a, b).unwrap().value, 10.0);
        // On the line, sorted or not: a and a + 10⁶ are 2·10⁶ - 2E|X - X'| apart.
        let x = recurrence(200, 1, 0.754_877_666_246_692_8);
        let y: Vec<f64> = x.iter().map(|x| x + 1e6).collect();
        let (a, b) = (Cloud::new(&x, 1).unwrap(), Cloud::new(&y, 1).unwrap());
        let within = mean_distances(&a, &a).iter().sum::<f64>() / 200.0;
        let energy = energy_distance(a, b).unwrap().value;
        assert!((energy - (2e6 - 2.0 * within)).abs() < 1e-9, "{energy}");
        assert!(energy_distance(a, Cloud::new(&one, 2).unwrap()).is_err());
    }

    #[test]
    fn the_first_variation_is_the_derivative() {
        // A measure (1 - t)A + tδ_i changes D at t = 0 by term_i minus the mean of the terms; doubling every point but
        // one approximates the derivative, and equality of weights is kept by repeating points.
        let (x, y) = (recurrence(20, 2, 0.754_877_666_246_692_8), recurrence(30, 2, 0.569_840_290_998_053_2));
        let b = Cloud::new(&y, 2).unwrap();
        let energy = energy_distance(Cloud::new(&x, 2).unwrap(), b).unwrap();
        let mean = energy.a_terms.iter().sum::<f64>() / 20.0;
        let weighted: Vec<f64> = x.repeat(500).into_iter().chain(x[6..8].iter().copied()).collect();
        let t = 1.0 / 10_001.0;
        let slope = (energy_distance(Cloud::new(&weighted, 2).unwrap(), b).unwrap().value - energy.value) / t;
        assert!((slope - (energy.a_terms[3] - mean)).abs() < 1e-3, "{slope} against {}", energy.a_terms[3] - mean);
    }
}
