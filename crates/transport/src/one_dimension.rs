//! Transport on the line: sort both samples and pair their quantiles.
//!
//! `W_p^p(μ, ν) = ∫₀¹ |F_μ⁻¹(u) - F_ν⁻¹(u)|^p du`; Santambrogio, Optimal Transport for Applied
//! Mathematicians (2015), proposition 2.17.

use crate::{Cloud, Cost, Potentials, TransportError};

/// `W_p(a, b)` between two samples on the line, of equal or unequal sizes, 1 ≤ p < ∞.
///
/// # Errors
///
/// A sample that is empty or not finite, an exponent out of range.
pub fn w_p(a: &[f64], b: &[f64], p: f64) -> Result<f64, TransportError> {
    if !(1.0..f64::INFINITY).contains(&p) {
        return Err(TransportError::Exponent { p });
    }
    let (a, b) = (sorted(a)?, sorted(b)?);
    let power = if p == 1.0 {
        mean_cost(&a, &b, f64::abs)
    } else if p == 2.0 {
        mean_cost(&a, &b, |difference| difference * difference)
    } else {
        mean_cost(&a, &b, |difference| difference.abs().powf(p))
    };
    Ok(power.powf(1.0 / p))
}

fn sorted(sample: &[f64]) -> Result<Vec<f64>, TransportError> {
    Cloud::new(sample, 1)?;
    let mut sample = sample.to_vec();
    sample.sort_unstable_by(f64::total_cmp);
    Ok(sample)
}

/// `W₂²` between two sorted samples.
pub(crate) fn w2_squared_sorted(a: &[f64], b: &[f64]) -> f64 {
    mean_cost(a, b, |difference| difference * difference)
}

/// `∫₀¹ c(F_a⁻¹(u) - F_b⁻¹(u)) du` of two sorted samples.
fn mean_cost(a: &[f64], b: &[f64], cost: impl Fn(f64) -> f64) -> f64 {
    if a.len() == b.len() {
        // The division at the end keeps equal weights exactly equal.
        return a.iter().zip(b).map(|(x, y)| cost(x - y)).sum::<f64>() / a.len() as f64;
    }
    let mut total = 0.0;
    couple_in_order(a.len(), b.len(), |i, j, mass| total += mass * cost(a[i] - b[j]));
    total
}

/// Visits the pairs (i, j, mass) of the monotone coupling of n and m equally weighted points.
fn couple_in_order(n: usize, m: usize, mut visit: impl FnMut(usize, usize, f64)) {
    // Quantiles in units of 1/(nm) are whole numbers: point i of the n ends at (i + 1)m.
    let unit = 1.0 / (n as f64 * m as f64);
    let (n, m) = (n as u64, m as u64);
    let (mut i, mut j, mut done) = (0, 0, 0);
    while i < n && j < m {
        let end = ((i + 1) * m).min((j + 1) * n);
        visit(i as usize, j as usize, (end - done) as f64 * unit);
        done = end;
        i += u64::from(end == (i + 1) * m);
        j += u64::from(end == (j + 1) * n);
    }
}

/// Kantorovich potentials of `W₂²` between two sorted samples, each of mean zero.
///
/// `φ' = 2(x - T(x))` summed by the trapezoidal rule, T the barycentric projection of the coupling:
/// where the sizes agree this is the midpoint of the increments that the dual constraints allow.
pub(crate) fn potentials_sorted(a: &[f64], b: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut a_to = vec![0.0; a.len()];
    let mut b_to = vec![0.0; b.len()];
    couple_in_order(a.len(), b.len(), |i, j, mass| {
        a_to[i] += mass * a.len() as f64 * b[j];
        b_to[j] += mass * b.len() as f64 * a[i];
    });
    (potential(a, &a_to), potential(b, &b_to))
}

fn potential(x: &[f64], transported: &[f64]) -> Vec<f64> {
    let mut phi = vec![0.0; x.len()];
    for i in 1..x.len() {
        phi[i] = phi[i - 1] + (x[i] - x[i - 1]) * ((x[i - 1] - transported[i - 1]) + (x[i] - transported[i]));
    }
    let mean = phi.iter().sum::<f64>() / x.len() as f64;
    phi.iter_mut().for_each(|value| *value -= mean);
    phi
}

/// An optimal coupling on the line: its cost and potentials that certify it.
pub(crate) struct Line {
    pub cost: f64,
    pub gap: f64,
    pub potentials: Potentials,
}

/// Optimal transport on the line, for a cost that is a convex function of the difference.
///
/// # Design
///
/// The monotone coupling walks from pair to pair; along the walk `φ_i + ψ_j = c(x_i, y_j)` gives one potential after the
/// other. Where both points change at once, either of them may change first: both ways are optimal, and their mean is too.
///
/// # Errors
///
/// A cost that overflows.
pub(crate) fn optimal_transport(a: Cloud, b: Cloud, cost: Cost) -> Result<Line, TransportError> {
    let ((a_order, x), (b_order, y)) = (ordered(&a), ordered(&b));
    let (n, m) = (x.len(), y.len());
    let c = |i: usize, j: usize| match cost {
        Cost::Distance => (x[i] - y[j]).abs(),
        Cost::SquaredDistance => (x[i] - y[j]) * (x[i] - y[j]),
    };
    let (mut phi, mut psi) = (vec![0.0; n], vec![0.0; m]);
    let (mut total, mut last) = (0.0, (0, 0));
    couple_in_order(n, m, |i, j, mass| {
        total += mass * c(i, j);
        let (p, q) = last;
        if (p, q) == (i, j) {
            psi[j] = c(i, j) - phi[i];
        } else if q == j {
            phi[i] = phi[p] + (c(i, j) - c(p, j));
        } else if p == i {
            psi[j] = psi[q] + (c(i, j) - c(i, q));
        } else {
            phi[i] = phi[p] + ((c(i, q) - c(p, q)) + (c(i, j) - c(p, j))) / 2.0;
            psi[j] = c(i, j) - phi[i];
        }
        last = (i, j);
    });
    if !total.is_finite() {
        let largest = x.iter().chain(&y).fold(0.0, |largest: f64, x| largest.max(x.abs()));
        return Err(TransportError::TooLarge { largest });
    }
    let mut potentials = Potentials { a: vec![0.0; n], b: vec![0.0; m] };
    a_order.iter().zip(&phi).for_each(|(&i, &value)| potentials.a[i as usize] = value);
    b_order.iter().zip(&psi).for_each(|(&j, &value)| potentials.b[j as usize] = value);
    let gap = couple_slack(n, m, |i, j| (c(i, j) - phi[i] - psi[j]).max(0.0));
    Ok(Line { cost: total, gap, potentials })
}

/// `Σ π slack` over the monotone coupling: a sum of what is never negative.
fn couple_slack(n: usize, m: usize, slack: impl Fn(usize, usize) -> f64) -> f64 {
    let mut total = 0.0;
    couple_in_order(n, m, |i, j, mass| total += mass * slack(i, j));
    total
}

fn ordered(cloud: &Cloud) -> (Vec<u32>, Vec<f64>) {
    let mut pairs: Vec<(f64, u32)> = cloud.points().zip(0..).map(|(point, index)| (point[0], index)).collect();
    pairs.sort_unstable_by(|x, y| x.0.total_cmp(&y.0).then(x.1.cmp(&y.1)));
    pairs.into_iter().map(|(value, index)| (index, value)).unzip()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_point_mass_gives_the_moment() {
        let sample = [0.3, -1.2, 2.0];
        for (p, moment) in [(1.0, 3.5f64), (2.0, 0.09 + 1.44 + 4.0), (3.0, 0.027 + 1.728 + 8.0)] {
            let distance = w_p(&sample, &[0.0], p).unwrap();
            assert!((distance - (moment / 3.0).powf(1.0 / p)).abs() < 1e-14, "p = {p}: {distance}");
        }
    }

    #[test]
    fn an_exponent_below_one_is_refused() {
        assert_eq!(w_p(&[0.0], &[1.0], 0.5).unwrap_err().to_string(), "the exponent p is 0.5; W_p needs 1 <= p < ∞");
        assert!(w_p(&[0.0], &[1.0], f64::NAN).is_err());
    }

    fn sample() -> impl Strategy<Value = Vec<f64>> {
        prop::collection::vec(-10.0..10.0f64, 1..12)
    }

    proptest! {
        #[test]
        fn repeating_every_point_changes_nothing(a in sample(), b in sample(), k in 1usize..4, p in 1.0..4.0f64) {
            let repeated: Vec<f64> = a.iter().flat_map(|&x| std::iter::repeat_n(x, k)).collect();
            let (once, often) = (w_p(&a, &b, p).unwrap(), w_p(&repeated, &b, p).unwrap());
            prop_assert!((once - often).abs() < 1e-10, "{once} {often}");
        }

        #[test]
        fn it_is_a_distance(a in sample(), b in sample(), c in sample(), p in 1.0..4.0f64) {
            let w = |x: &[f64], y: &[f64]| w_p(x, y, p).unwrap();
            prop_assert_eq!(w(&a, &a), 0.0);
            prop_assert!((w(&a, &b) - w(&b, &a)).abs() < 1e-12);
            prop_assert!(w(&a, &c) <= w(&a, &b) + w(&b, &c) + 1e-10);
        }

        #[test]
        fn the_potentials_certify_the_optimum(mut a in prop::collection::vec(-10.0..10.0f64, 8), mut b in prop::collection::vec(-10.0..10.0f64, 8)) {
            a.sort_unstable_by(f64::total_cmp);
            b.sort_unstable_by(f64::total_cmp);
            let (phi, psi) = potentials_sorted(&a, &b);
            // Centred, φ + ψ lies below the cost by the mean cost: nowhere above it (feasible), and
            // equal to it on the matched pairs (optimal).
            let constant = w2_squared_sorted(&a, &b);
            for i in 0..8 {
                let slack = (a[i] - b[i]).powi(2) - constant - phi[i] - psi[i];
                prop_assert!(slack.abs() < 1e-9, "{slack}");
                for j in 0..8 {
                    prop_assert!(phi[i] + psi[j] + constant <= (a[i] - b[j]).powi(2) + 1e-9);
                }
            }
        }
    }
}
