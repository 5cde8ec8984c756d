//! Multi-scale complexity of a finite sample of `L_r(Y_r)`, exact on the kinks of its piecewise-linear curves.
//!
//! Liang, Dharmakeerthi, Koriyama (2411.01629), Definitions of h(δ, r), m*(r) and ζ*_M(t).

use brenier_measure::Estimate;

use super::law::{AverageCurvature, Complexity};
use super::line::ONE;

/// The empirical law of n values of L.
///
/// With `h(δ) = (1/n) Σ (Lᵢ - (1-δ))₊`, convex and piecewise linear with kinks at `δ = 1 - Lᵢ`, both `h(δ)/δ` and
/// `δ - M h(δ)` are monotone between kinks, so their extrema sit on kinks or at the ends of [0, 1]: sorting and running
/// sums find them in O(n log n).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EmpiricalLaw {
    /// The values, descending.
    values: Vec<f64>,
    /// `sums[k]` is the sum of the k largest values; n + 1 of them.
    sums: Vec<f64>,
}

/// Relative differences below this one are rounding, and make a tie.
const TIE: f64 = 8.0 * f64::EPSILON;

impl EmpiricalLaw {
    /// The law of these values, none of which is NaN; at least one.
    pub(crate) fn new(mut values: Vec<f64>) -> Self {
        values.sort_unstable_by(|a, b| b.total_cmp(a));
        let mut sums = Vec::with_capacity(values.len() + 1);
        // Neumaier's summation: m* of a million values keeps twelve digits.
        let (mut sum, mut lost) = (0.0, 0.0);
        sums.push(0.0);
        for &value in &values {
            let next: f64 = sum + value;
            lost += if sum.abs() >= value.abs() { (sum - next) + value } else { (value - next) + sum };
            sum = next;
            sums.push(sum + lost);
        }
        Self { values, sums }
    }

    fn n(&self) -> f64 {
        self.values.len() as f64
    }

    /// How many values exceed the level.
    fn above(&self, level: f64) -> usize {
        self.values.partition_point(|&value| value > level)
    }

    /// `h` at the level `u = 1 - δ`.
    fn tail(&self, level: f64) -> f64 {
        let k = self.above(level);
        ((self.sums[k] - k as f64 * level) / self.n()).max(0.0)
    }

    /// The standard error of [`tail`](Self::tail).
    fn tail_error(&self, level: f64) -> f64 {
        let k = self.above(level);
        let mean = self.tail(level);
        let above: f64 = self.values[..k].iter().map(|value| (value - level - mean).powi(2)).sum();
        let below = (self.values.len() - k) as f64 * mean * mean;
        ((above + below) / (self.n() - 1.0) / self.n()).sqrt()
    }

    /// `P(L > u)`, with the standard error `√(p(1-p)/(n+4))`, `p = (k+2)/(n+4)` where k of n values exceed u: none or all of
    /// them has an error too. Agresti and Coull, The American Statistician 52 (1998).
    pub(crate) fn survival(&self, level: f64) -> Estimate {
        // By rounding alone no value exceeds the level.
        let k = self.above(level * ONE) as f64;
        let (n, p) = (self.n() + 4.0, (k + 2.0) / (self.n() + 4.0));
        Estimate { value: k / self.n(), std_error: (p * (1.0 - p) / n).sqrt() }
    }

    /// What m* may be where no value exceeds 1: that of the sample and a mass q at one standard deviation s above 1,
    /// `min [q(s + δ) + h(δ)]/δ`. Here q is the standard error of P(L > 1). Nothing was missed where L does not vary.
    fn unseen_complexity(&self) -> f64 {
        let above_one = self.mean().std_error * self.n().sqrt();
        if above_one <= TIE {
            return 0.0;
        }
        let mass = self.survival(1.0).std_error;
        let ratio = |level: f64| (mass * (above_one + 1.0 - level) + self.tail(level)) / (1.0 - level);
        let kinks = self.values.iter().copied().filter(|level| (0.0..1.0).contains(level));
        kinks.map(ratio).fold(ratio(0.0), f64::min)
    }

    /// `h(δ)`, with the standard error `sd/√n`.
    pub(crate) fn integrated_tail(&self, delta: f64) -> Estimate {
        Estimate { value: self.tail(1.0 - delta), std_error: self.tail_error(1.0 - delta) }
    }

    /// `E L`, with the standard error `sd/√n`.
    pub(crate) fn mean(&self) -> Estimate {
        Estimate::mean(self.values.iter().copied())
    }

    /// `m* = min h(δ)/δ` over (0, 1] and its largest minimiser; the standard error is that of `h(δ*)/δ*` at fixed δ*, which
    /// the envelope theorem allows.
    ///
    /// Where no value exceeds 1 but for rounding, `h` vanishes up to `δ* = 1 - max L`, and m* = 0; the standard error is then
    /// what values that were not drawn may add.
    pub(crate) fn complexity(&self) -> Complexity {
        if self.values[0] <= ONE {
            let delta_star = (1.0 - self.values[0]).clamp(0.0, 1.0);
            return Complexity { m_star: Estimate { value: 0.0, std_error: self.unseen_complexity() }, delta_star };
        }
        let mut best = (self.tail(0.0), 0.0);
        // The k largest values exceed the level values[k], or equal it and add nothing: levels ascend from the end, δ descends.
        for (k, &level) in self.values.iter().enumerate().rev().filter(|&(_, &level)| (0.0..1.0).contains(&level)) {
            let ratio = ((self.sums[k] - k as f64 * level) / self.n()).max(0.0) / (1.0 - level);
            if ratio < best.0 - TIE * best.0.abs() {
                best = (ratio, level);
            }
        }
        let (value, level) = best;
        let delta_star = 1.0 - level;
        Complexity { m_star: Estimate { value, std_error: self.tail_error(level) / delta_star }, delta_star }
    }

    /// `sup [δ - M h(δ)]` over [0, 1] and its largest maximiser; the standard error is `M` times that of `h` there.
    pub(crate) fn average_curvature(&self, richness: f64) -> AverageCurvature {
        let at =
            |k: usize, level: f64| 1.0 - level - richness * ((self.sums[k] - k as f64 * level) / self.n()).max(0.0);
        let mut best = (at(self.above(0.0), 0.0), 0.0);
        let kinks = self.values.iter().copied().enumerate().rev().filter(|(_, level)| (0.0..1.0).contains(level));
        for (k, level) in kinks.chain([(self.above(1.0), 1.0)]) {
            let value = at(k, level);
            if value > best.0 + TIE * best.0.abs().max(1.0) {
                best = (value, level);
            }
        }
        let (value, level) = best;
        let std_error = richness * self.tail_error(level);
        AverageCurvature { value: Estimate { value, std_error }, delta: 1.0 - level }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-12, "{a} against {b}");
    }

    #[test]
    fn rounding_above_one_is_no_difficulty() {
        let complexity = EmpiricalLaw::new(vec![1.0 + 1e-14, 1.0, 0.5]).complexity();
        assert_eq!((complexity.m_star.value, complexity.delta_star), (0.0, 0.0));
    }

    #[test]
    fn a_short_list_has_the_values_of_the_reference() {
        // Computed independently, kink by kink, in NumPy.
        let law = EmpiricalLaw::new(vec![
            2.670219, 1.020058, 0.516571, 0.082139, 0.351284, 0.888966, 0.598168, 0.288848, 1.066271, 1.455345,
            0.764182, 1.11334, 0.648716, 2.529416, 0.617217, 0.343892, 1.388414, 0.804433, 0.319225, 0.922337, 0.52015,
            0.76528, 1.898786, 0.868325, 0.636826,
        ]);
        for (level, s) in [(0.2, 0.96), (0.5, 0.8), (0.9, 0.36), (1.0, 0.32), (1.5, 0.12)] {
            close(law.survival(level).value, s);
        }
        for (delta, h) in [
            (0.0, 0.20567396),
            (0.1, 0.23856744),
            (0.3, 0.33421488),
            (0.5, 0.467_720_8),
            (0.8, 0.72785076),
            (1.0, 0.92313632),
        ] {
            close(law.integrated_tail(delta).value, h);
        }
        let complexity = law.complexity();
        close(complexity.m_star.value, 0.902_809_063_200_029_3);
        close(complexity.delta_star, 0.680775);
        for (richness, value) in [(1.0, 0.07686368), (2.0, -0.360684), (4.0, -0.82269584)] {
            close(law.average_curvature(richness).value.value, value);
        }
        close(law.mean().value, 0.92313632);
    }

    #[test]
    fn extremes_beat_every_point_of_a_fine_grid() {
        // A rough curve with ties: squares of a linear congruence, rounded to two digits.
        for seed in 0..20u64 {
            let values: Vec<f64> = (0..40u64)
                .map(|i| {
                    let x = ((i * 7919 + seed * 104_729 + 17) % 1009) as f64 / 1009.0;
                    (x * x * 2.5 * 100.0).round() / 100.0
                })
                .collect();
            let law = EmpiricalLaw::new(values);
            let complexity = law.complexity();
            for k in 1..=5000 {
                let delta = f64::from(k) / 5000.0;
                let ratio = law.integrated_tail(delta).value / delta;
                assert!(ratio >= complexity.m_star.value - 1e-14, "δ = {delta}");
                let beyond = delta > complexity.delta_star + 1e-12;
                assert!(!beyond || ratio > complexity.m_star.value, "δ = {delta} is larger");
                for richness in [1.0, 1.7, 3.0] {
                    let zeta = law.average_curvature(richness);
                    let value = delta - richness * law.integrated_tail(delta).value;
                    assert!(value <= zeta.value.value + 1e-14, "M = {richness}, δ = {delta}");
                }
            }
        }
    }

    #[test]
    fn a_log_concave_sample_has_no_complexity() {
        let law = EmpiricalLaw::new(vec![0.2, 0.7, 0.4, 0.7]);
        let complexity = law.complexity();
        assert_eq!(complexity.m_star.value, 0.0);
        close(complexity.delta_star, 0.3);
        // The worst half has mean .7, the worst quarter too; all of it .5.
        for (richness, value) in [(1.0, 0.5), (2.0, 0.3), (4.0, 0.3)] {
            close(law.average_curvature(richness).value.value, value);
        }
    }

    #[test]
    fn what_was_not_drawn_is_part_of_the_error() {
        // Of L = 1.4 with probability p and .5 otherwise, m* = p(1.4 - 1 + .5)/.5, the least of h(½)/½ and h(1).
        let p = 0.01;
        let m_star = p * 0.9 / 0.5;
        for n in [20, 100] {
            // No draw shows the rare value.
            let mut values: Vec<f64> = (0..n).map(|i| 0.5 + 0.05 * (f64::from(i) / f64::from(n) - 0.5)).collect();
            values[0] = 0.8;
            let law = EmpiricalLaw::new(values);
            let (s, m) = (law.survival(1.0), law.complexity().m_star);
            assert_eq!((s.value, m.value), (0.0, 0.0));
            assert!(p < 3.0 * s.std_error, "{s:?}");
            assert!(m_star < 3.0 * m.std_error && m.std_error < 0.2, "{m:?}");
            assert!(law.survival(0.0).std_error > 0.0);
        }
        assert_eq!(EmpiricalLaw::new(vec![0.6; 50]).complexity().m_star, Estimate { value: 0.0, std_error: 0.0 });
    }

    #[test]
    fn delta_zero_is_best_where_the_worst_mass_lies_above_one() {
        // P(L > 1) = 1/2: for M = 4 the upper quarter exceeds 1.
        let law = EmpiricalLaw::new(vec![0.1, 0.1, 1.5, 1.7]);
        let zeta = law.average_curvature(4.0);
        assert_eq!(zeta.delta, 0.0);
        close(zeta.value.value, -4.0 * (0.5 + 0.7) / 4.0);
    }

    #[test]
    fn a_mean_above_one_takes_every_scale() {
        let law = EmpiricalLaw::new(vec![0.5, 1.2, 3.0]);
        let complexity = law.complexity();
        assert_eq!(complexity.delta_star, 1.0);
        close(complexity.m_star.value, 4.7 / 3.0);
    }

    #[test]
    fn point_masses_sit_on_their_side_of_one() {
        for (value, m_star, delta_star) in [(0.0, 0.0, 1.0), (0.4, 0.0, 0.6), (1.0, 0.0, 0.0), (1.3, 1.3, 1.0)] {
            let law = EmpiricalLaw::new(vec![value; 7]);
            let complexity = law.complexity();
            close(complexity.m_star.value, m_star);
            close(complexity.delta_star, delta_star);
            close(complexity.m_star.std_error, 0.0);
            close(law.average_curvature(2.0).value.value, if value > 1.0 { 2.0 * (1.0 - value) } else { 1.0 - value });
        }
    }

    #[test]
    fn the_largest_of_several_minimisers_is_taken() {
        // E L = 1: h(δ) = δ from the kink at ½ on, so the ratio falls to 1 there and stays.
        let law = EmpiricalLaw::new(vec![1.5, 0.5]);
        let complexity = law.complexity();
        close(complexity.m_star.value, 1.0);
        assert_eq!(complexity.delta_star, 1.0);
    }
}
