//! Laws on the line whose distribution function is known in closed form, and integrals along their quantiles.
//!
//! On the line `W₂²(μ, ν) = ∫₀¹ |F_μ⁻¹(u) - F_ν⁻¹(u)|² du`; Santambrogio, Optimal Transport for Applied Mathematicians
//! (2015), proposition 2.17.
//!
//! # Design
//!
//! The integrals are taken over z with `u = Φ(z)`: the tails of both ends then have all their digits, and the quantile of
//! a Gaussian is a straight line. A quantile function jumps where its law has a gap, so the panels are halved where the
//! integrand asks for it.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};

use brenier_measure::quadrature::gauss_legendre;
use brenier_measure::{GaussianMixture, Points, TargetConfig};
use rayon::prelude::*;

use crate::EvalError;

/// The most parts of a law that is integrated deterministically; others are left to Monte Carlo.
const MOST_PARTS: usize = 256;

/// `Σ pᵢ Law(Uᵢ + sᵢZ)` on the line, Uᵢ uniform on an interval that may be a point, sᵢ ≥ 0.
///
/// Normals, point masses and uniform laws are its parts, and it is closed under `X → αX + sZ`.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// In the order of their means.
    parts: Vec<Part>,
    /// The mass of the first i parts.
    before: Vec<f64>,
    /// The mass of the parts from i on.
    after: Vec<f64>,
    /// How far from its mean a part still has mass.
    reach: f64,
    /// (x, F and 1 - F there), rising, where there are so many parts that a search should begin near its end.
    table: Vec<(f64, Tails)>,
}

/// One part: weight p, interval, deviation s.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Part {
    weight: f64,
    low: f64,
    high: f64,
    deviation: f64,
}

/// A level of a distribution function, by the mass below it and the mass above it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Tails {
    below: f64,
    above: f64,
}

impl Line {
    /// The law of a target, where it is one of these and has few enough parts; `None` otherwise.
    pub fn of(target: &TargetConfig) -> Option<Self> {
        match target {
            TargetConfig::Gaussian { mean, covariance } => {
                let (mean, covariance) = (vec![mean.clone()], vec![covariance.clone()]);
                Self::of_mixture(&GaussianMixture::new(vec![1.0], mean, covariance).ok()?)
            }
            TargetConfig::GaussianMixture { weights, means, covariances } => {
                Self::of_mixture(&GaussianMixture::new(weights.clone(), means.clone(), covariances.clone()).ok()?)
            }
            TargetConfig::UniformBox { low, high } => match (&low[..], &high[..]) {
                (&[low], &[high]) if low < high => {
                    Some(Self::new(vec![Part { weight: 1.0, low, high, deviation: 0.0 }]))
                }
                _ => None,
            },
            TargetConfig::Drawn(drawn) => Self::of(&drawn.target),
            _ => None,
        }
    }

    /// The law of a mixture on the line.
    pub fn of_mixture(mixture: &GaussianMixture) -> Option<Self> {
        let components = mixture.components();
        (mixture.dim() == 1 && components.len() <= MOST_PARTS).then(|| {
            Self::new(
                components
                    .iter()
                    .map(|component| Part {
                        weight: component.weight(),
                        low: component.mean()[0],
                        high: component.mean()[0],
                        deviation: component.spectrum().values[0].sqrt(),
                    })
                    .collect(),
            )
        })
    }

    /// The empirical measure of points on the line.
    pub fn of_points(points: &Points) -> Option<Self> {
        let few = (1..=MOST_PARTS).contains(&points.nrows());
        (points.ncols() == 1 && few).then(|| {
            let weight = 1.0 / points.nrows() as f64;
            Self::normals(points.iter().map(|&x| (weight, x)), 0.0)
        })
    }

    /// The point mass at x.
    pub fn point(x: f64) -> Self {
        Self::normals([(1.0, x)], 0.0)
    }

    /// `N(mean, deviation²)`.
    pub fn normal(mean: f64, deviation: f64) -> Self {
        Self::normals([(1.0, mean)], deviation)
    }

    /// The mixture of normals of one deviation, given as (weight, mean).
    pub(super) fn normals(means: impl IntoIterator<Item = (f64, f64)>, deviation: f64) -> Self {
        Self::new(means.into_iter().map(|(weight, mean)| Part { weight, low: mean, high: mean, deviation }).collect())
    }

    fn new(mut parts: Vec<Part>) -> Self {
        parts.sort_by(|a, b| a.mean().total_cmp(&b.mean()));
        let (mut before, mut after) = (vec![0.0; parts.len() + 1], vec![0.0; parts.len() + 1]);
        for (i, part) in parts.iter().enumerate() {
            before[i + 1] = before[i] + part.weight;
        }
        for (i, part) in parts.iter().enumerate().rev() {
            after[i] = after[i + 1] + part.weight;
        }
        let reach = parts.iter().map(|part| (part.high - part.low) / 2.0 + REACH * part.deviation).fold(0.0, f64::max);
        let mut line = Self { parts, before, after, reach, table: Vec::new() };
        if line.parts.len() > MANY {
            let [low, high] = line.range();
            let place = |i: usize| low + (high - low) * i as f64 / TABLE as f64;
            line.table = (0..=TABLE).into_par_iter().map(|i| (place(i), line.at(place(i)).0)).collect();
        }
        line
    }

    /// The parts that may have mass on both sides of x: all before them lie below, all after them above.
    fn around(&self, x: f64) -> std::ops::Range<usize> {
        let first = self.parts.partition_point(|part| part.mean() + self.reach < x);
        first..self.parts.partition_point(|part| part.mean() - self.reach <= x)
    }

    /// The law of `αX + sZ`, α ≥ 0.
    pub fn noised(&self, alpha: f64, s: f64) -> Self {
        let noised = |part: &Part| Part {
            low: alpha * part.low,
            high: alpha * part.high,
            deviation: (alpha * part.deviation).hypot(s),
            ..*part
        };
        Self::new(self.parts.iter().map(noised).collect())
    }

    /// `E X`.
    pub fn mean(&self) -> f64 {
        // About a point of the support, so that a law far from 0 keeps its digits.
        let origin = self.parts[self.parts.len() / 2].mean();
        origin + self.parts.iter().map(|part| part.weight * (part.mean() - origin)).sum::<f64>()
    }

    /// `Var X`.
    pub fn variance(&self) -> f64 {
        let mean = self.mean();
        let about = |part: &Part| part.variance() + (part.mean() - mean).powi(2);
        self.parts.iter().map(|part| part.weight * about(part)).sum()
    }

    /// (mean, deviation) of a law that is one normal or one point mass.
    pub(super) fn as_normal(&self) -> Option<(f64, f64)> {
        match self.parts[..] {
            [Part { low, high, deviation, .. }] if low == high => Some((low, deviation)),
            _ => None,
        }
    }

    /// The density, without the point masses.
    pub fn density(&self, x: f64) -> f64 {
        self.at(x).1
    }

    /// `count` points (x, density) where the density is seen; none where a point has mass of its own.
    pub fn outline(&self, count: usize) -> Vec<(f64, f64)> {
        if self.parts.iter().any(|part| part.low == part.high && part.deviation == 0.0) {
            return Vec::new();
        }
        // Three and a half deviations show a normal whole.
        let ends = self.parts.iter().map(|part| (part.low - 3.5 * part.deviation, part.high + 3.5 * part.deviation));
        let (low, high) =
            ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (a, b)| (low.min(a), high.max(b)));
        let place = |i: usize| low + (high - low) * i as f64 / (count.max(2) - 1) as f64;
        (0..count).map(|i| (place(i), self.density(place(i)))).collect()
    }

    /// An interval outside which the law has mass below 10⁻²⁰.
    pub(super) fn range(&self) -> [f64; 2] {
        self.parts.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], part| {
            [low.min(part.low - FARTHEST * part.deviation), high.max(part.high + FARTHEST * part.deviation)]
        })
    }

    /// The distribution function on both sides of x, and the density there.
    fn at(&self, x: f64) -> (Tails, f64) {
        let around = self.around(x);
        let outside = Tails { below: self.before[around.start], above: self.after[around.end] };
        self.parts[around].iter().fold((outside, 0.0), |(sum, density), part| {
            let (Tails { below, above }, one) = part.at(x);
            let sum = Tails { below: sum.below + part.weight * below, above: sum.above + part.weight * above };
            (sum, density + part.weight * one)
        })
    }

    /// `inf {x : F(x) ≥ Φ(z)}`.
    ///
    /// Newton's method inside a bracket, which is halved where a step would leave it or shrinks too slowly.
    pub fn quantile(&self, z: f64) -> f64 {
        let level = Tails { below: normal_cdf(z), above: normal_cdf(-z) };
        // Negative below the quantile; from the side on which the mass is small.
        let excess = |Tails { below, above }: Tails| if z <= 0.0 { below - level.below } else { level.above - above };
        let [mut low, mut high] = self.bracket(z, &excess);
        let rounding = f64::EPSILON * f64::EPSILON * (high - low);
        let (mut x, mut width) = (low + (high - low) / 2.0, high - low);
        for _ in 0..400 {
            let (tails, density) = self.at(x);
            let value = excess(tails);
            if value >= 0.0 {
                high = x;
            } else {
                low = x;
            }
            let tolerance = 2.0 * f64::EPSILON * low.abs().max(high.abs()) + rounding;
            if high - low <= tolerance {
                break;
            }
            let step = value / density;
            let newton = x - step;
            let next = if newton > low && newton < high && 2.0 * step.abs() <= width {
                width = step.abs();
                newton
            } else {
                width = (high - low) / 2.0;
                low + width
            };
            if (next - x).abs() <= tolerance / 2.0 {
                return next;
            }
            x = next;
        }
        high
    }

    /// An interval that holds the quantile Φ(z): that of the quantiles of the parts, narrowed by the table.
    fn bracket(&self, z: f64, excess: &dyn Fn(Tails) -> f64) -> [f64; 2] {
        if let [one] = &self.parts[..]
            && one.low == one.high
        {
            return [one.low + one.deviation * z; 2];
        }
        let above = self.table.partition_point(|(_, tails)| excess(*tails) < 0.0);
        match (above.checked_sub(1).and_then(|below| self.table.get(below)), self.table.get(above)) {
            (Some((low, _)), Some((high, _))) => [*low, *high],
            _ => {
                let ends =
                    self.parts.iter().map(|part| [part.low + part.deviation * z, part.high + part.deviation * z]);
                ends.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], [a, b]| [low.min(a), high.max(b)])
            }
        }
    }

    /// `W₂` to another law on the line.
    ///
    /// # Errors
    ///
    /// An interruption.
    pub fn w2(&self, other: &Self) -> Result<f64, EvalError> {
        let scale = self.variance() + other.variance() + (self.mean() - other.mean()).powi(2);
        let squares = |zs: &[f64]| {
            Ok(zs.par_iter().map(|&z| [(self.quantile(z) - other.quantile(z)).powi(2)]).collect::<Vec<_>>())
        };
        let [w2_squared] = integrate(squares, [scale])?;
        Ok(w2_squared.sqrt())
    }
}

impl Part {
    fn mean(&self) -> f64 {
        self.low + (self.high - self.low) / 2.0
    }

    fn variance(&self) -> f64 {
        (self.high - self.low).powi(2) / 12.0 + self.deviation.powi(2)
    }

    /// The width of the interval in units of the deviation below which it is a point with a correction.
    const NARROW: f64 = 1e-3;

    /// The distribution function on both sides of x, and the density there.
    fn at(&self, x: f64) -> (Tails, f64) {
        let Self { low, high, deviation, .. } = *self;
        let width = high - low;
        if deviation == 0.0 {
            let inside = width > 0.0 && (low..=high).contains(&x);
            let below = if width > 0.0 { ((x - low) / width).clamp(0.0, 1.0) } else { f64::from(x >= low) };
            return (Tails { below, above: 1.0 - below }, if inside { 1.0 / width } else { 0.0 });
        }
        if width < Self::NARROW * deviation {
            let z = (x - self.mean()) / deviation;
            let density = normal_density(z);
            // E Φ(z + U) to second order in the width of U.
            let correction = -z * density * (width / deviation).powi(2) / 24.0;
            let (below, above) = normal_tails(z);
            return (Tails { below: below + correction, above: above - correction }, density / deviation);
        }
        let (a, b) = ((x - low) / deviation, (x - high) / deviation);
        let ((a_below, a_above), (b_below, b_above)) = (normal_tails(a), normal_tails(b));
        // ∫_{-∞}^z Φ = zΦ(z) + φ(z), and its mirror image.
        let (a_density, b_density) = (normal_density(a), normal_density(b));
        let below = (a * a_below + a_density) - (b * b_below + b_density);
        let above = (b_density - b * b_above) - (a_density - a * a_above);
        let ratio = deviation / width;
        // From the side on which both tails are small.
        let density = if b > 0.0 { b_above - a_above } else { a_below - b_below } / width;
        (Tails { below: ratio * below, above: ratio * above }, density)
    }
}

/// `Φ(z)` and `Φ(-z)`, both with all their digits.
fn normal_tails(z: f64) -> (f64, f64) {
    let small = libm::erfc(z.abs() * FRAC_1_SQRT_2) / 2.0;
    if z < 0.0 { (small, 1.0 - small) } else { (1.0 - small, small) }
}

/// `Φ(z)`.
fn normal_cdf(z: f64) -> f64 {
    libm::erfc(-z * FRAC_1_SQRT_2) / 2.0
}

fn normal_density(z: f64) -> f64 {
    libm::exp(-z * z / 2.0) / TAU.sqrt()
}

/// More parts than this are worth a table.
const MANY: usize = 32;
/// Intervals of a table.
const TABLE: usize = 1024;
/// Deviations within which a normal has all its mass, and all of its tails that are asked for.
const REACH: f64 = 11.0;
/// `∫ f(z) φ(z) dz` ends here: the mass beyond is below 10⁻²⁰.
const FARTHEST: f64 = 9.5;
/// Nodes of a panel.
const NODES: usize = 16;
/// Panels to begin with.
const PANELS: usize = 40;
/// Halvings after which a panel is as narrow as rounding.
const MOST_HALVINGS: usize = 50;
/// Panels that ask to be halved at once: more than all jumps of a law ask for, so what is left is rounding.
const MOST_PENDING: usize = 2048;
/// The most rounds in which [`integrate`] asks for values.
pub(super) const MOST_ROUNDS: usize = MOST_HALVINGS + 1;
/// The change of an integral, in units of its scale, that halving a panel may still make.
const TOLERANCE: f64 = 1e-13;

/// `∫ f(z) φ(z) dz` for N integrands of these magnitudes, or of larger ones, at once.
///
/// Gauss-Legendre panels, halved until no integral changes beyond rounding; `f` is asked for all nodes of a round together.
///
/// # Errors
///
/// Those of `f`.
pub(super) fn integrate<const N: usize>(
    mut f: impl FnMut(&[f64]) -> Result<Vec<[f64; N]>, EvalError>,
    scales: [f64; N],
) -> Result<[f64; N], EvalError> {
    let rule = gauss_legendre(NODES);
    let mut evaluate = |panels: Vec<[f64; 2]>| -> Result<Vec<Panel<N>>, EvalError> {
        let node = |[a, b]: [f64; 2], x: f64| a + (b - a) * f64::midpoint(x, 1.0);
        let zs: Vec<f64> = panels.iter().flat_map(|&ends| rule.iter().map(move |&(x, _)| node(ends, x))).collect();
        let values = f(&zs)?;
        let parts = zs.chunks_exact(NODES).zip(values.chunks_exact(NODES));
        Ok(panels.into_iter().zip(parts).map(|(ends, (zs, values))| Panel::new(ends, &rule, zs, values)).collect())
    };
    let edge = |i: usize| FARTHEST * (2.0 * i as f64 / PANELS as f64 - 1.0);
    let mut pending = evaluate((0..PANELS).map(|i| [edge(i), edge(i + 1)]).collect())?;
    let size = |j: usize| pending.iter().map(|panel| panel.sizes[j]).sum::<f64>();
    let scales: [f64; N] = std::array::from_fn(|j| scales[j].max(size(j)));
    let mut accepted: Vec<Panel<N>> = Vec::new();
    for _ in 0..MOST_HALVINGS {
        if pending.is_empty() || pending.len() > MOST_PENDING {
            break;
        }
        let halve = |&Panel { ends: [a, b], .. }: &Panel<N>| {
            let middle = f64::midpoint(a, b);
            [[a, middle], [middle, b]]
        };
        let halves = evaluate(pending.iter().flat_map(halve).collect())?;
        let mut next = Vec::new();
        for (whole, halves) in pending.iter().zip(halves.chunks_exact(2)) {
            let change = |j: usize| (halves[0].sums[j] + halves[1].sums[j] - whole.sums[j]).abs();
            let settled = (0..N).all(|j| change(j) <= TOLERANCE * scales[j]);
            if settled { &mut accepted } else { &mut next }.extend_from_slice(halves);
        }
        pending = next;
    }
    accepted.extend(pending);
    // In the order of z, so that the rounding of the sum is that of one order.
    accepted.sort_unstable_by(|a, b| a.ends[0].total_cmp(&b.ends[0]));
    Ok(std::array::from_fn(|j| accepted.iter().map(|panel| panel.sums[j]).sum()))
}

/// An interval of z with the integrals over it, and those of the absolute values.
#[derive(Debug, Clone)]
struct Panel<const N: usize> {
    ends: [f64; 2],
    sums: [f64; N],
    sizes: [f64; N],
}

impl<const N: usize> Panel<N> {
    fn new(ends: [f64; 2], rule: &[(f64, f64)], zs: &[f64], values: &[[f64; N]]) -> Self {
        let (mut sums, mut sizes) = ([0.0; N], [0.0; N]);
        for (((_, weight), &z), values) in rule.iter().zip(zs).zip(values) {
            let mass = weight * (ends[1] - ends[0]) / 2.0 * normal_density(z);
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += mass * value);
            sizes.iter_mut().zip(values).for_each(|(size, value)| *size += mass * value.abs());
        }
        Self { ends, sums, sizes }
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::random::normal_quantile;

    use super::*;

    fn spike_and_gaussian() -> Line {
        let spike = TargetConfig::GaussianMixture {
            weights: vec![0.5, 0.5],
            means: vec![vec![0.0], vec![0.0]],
            covariances: vec![vec![vec![0.0]], vec![vec![1.0]]],
        };
        Line::of(&spike).unwrap()
    }

    fn uniform(low: f64, high: f64) -> Line {
        Line::of(&TargetConfig::UniformBox { low: vec![low], high: vec![high] }).unwrap()
    }

    #[test]
    fn quantiles_invert_the_distribution_function() {
        let four = TargetConfig::GaussianMixture {
            weights: vec![0.1, 0.2, 0.4, 0.3],
            means: vec![vec![-4.0], vec![-2.0], vec![2.0], vec![4.0]],
            covariances: vec![vec![vec![1.0]], vec![vec![0.5]], vec![vec![0.5]], vec![vec![1.0]]],
        };
        let laws = [Line::of(&four).unwrap(), uniform(-1.0, 1.0).noised(0.3, 0.2), uniform(2.0, 2.1).noised(1.0, 0.9)];
        for law in laws {
            for z in [-8.0, -3.0, -0.7, 0.0, 0.1, 2.5, 8.0] {
                let (Tails { below, above }, _) = law.at(law.quantile(z));
                let relative = if z <= 0.0 { below / normal_cdf(z) } else { above / normal_cdf(-z) };
                assert!((relative - 1.0).abs() < 1e-11, "{law:?} at {z}: {relative}");
                assert!((below + above - 1.0).abs() < 1e-13);
            }
        }
    }

    #[test]
    fn a_jump_of_the_distribution_function_is_a_flat_piece_of_quantiles() {
        let law = spike_and_gaussian();
        // F jumps at 0 from 1/4 to 3/4.
        let edge = normal_quantile(0.75);
        for z in [-0.99 * edge, 0.0, 0.5 * edge, 0.99 * edge] {
            assert!(law.quantile(z).abs() < 1e-30, "{z}");
        }
        assert!(law.quantile(1.01 * edge) > 0.0 && law.quantile(-1.01 * edge) < 0.0);
        assert_eq!(Line::point(3.0).quantile(-5.0), 3.0);
    }

    #[test]
    fn distances_have_their_closed_forms() {
        let close = |found: f64, exact: f64| assert!((found - exact).abs() < 1e-10, "{found} against {exact}");
        close(Line::normal(1.0, 2.0).w2(&Line::normal(-1.0, 0.5)).unwrap(), (4.0f64 + 2.25).sqrt());
        close(Line::point(2.0).w2(&spike_and_gaussian()).unwrap(), (4.0f64 + 0.5).sqrt());
        close(Line::point(2.0).w2(&Line::point(-1.0)).unwrap(), 3.0);
        close(uniform(-1.0, 1.0).w2(&uniform(0.0, 4.0)).unwrap(), (4.0f64 + 1.0 / 3.0).sqrt());
        let two = Line::of_points(&ndarray::array![[-1.0], [1.0]]).unwrap();
        // ∫ (|z| - 1)² φ = 2 - 2 √(2/π).
        close(two.w2(&Line::normal(0.0, 1.0)).unwrap(), (2.0 - 2.0 * (4.0 / TAU).sqrt()).sqrt());
        assert_eq!(two.w2(&two).unwrap(), 0.0);
    }

    #[test]
    fn moments_are_exact_far_from_zero_too() {
        let law = uniform(1e6, 1e6 + 2.0).noised(1.0, 3.0);
        assert!((law.mean() - (1e6 + 1.0)).abs() < 1e-9 && (law.variance() - (1.0 / 3.0 + 9.0)).abs() < 1e-9);
    }
}
