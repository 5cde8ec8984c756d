//! The Sinkhorn divergence: entropic transport, computed in the log domain and debiased.
//!
//! `OT_ε(α, β) = min_P <P, C> + ε KL(P | α⊗β)` and `S_ε(α, β) = OT_ε(α, β) - ½ OT_ε(α, α) - ½ OT_ε(β, β)`; Cuturi,
//! Sinkhorn distances (2013); Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré, Interpolating between optimal transport
//! and MMD using Sinkhorn divergences (2019), equations 3 and 11.
//!
//! # Conventions
//!
//! No root is taken: S_ε has the unit of the cost, and tends to W₂² or W₁ as ε → 0. The cost `|x - y|²` carries no factor
//! ½; with `½|x - y|²` and ε, everything is half of what `|x - y|²` and 2ε give. ε is in the unit of the cost, and may be
//! given relative to the mean cost between the two clouds; it is always returned as it was used.
//!
//! # Design
//!
//! Memory is linear in the number of points: costs are formed tile by tile, in registers and the first cache, whenever
//! they are needed. The sum `S_i = Σ_j b_j e^((f_i + g_j - c_ij)/ε)` is both the marginal of the plan at i, whose distance
//! from 1 is the error to report, and the update `f_i ← f_i - ε ω log S_i`: with the old f_i in the exponent no maximum is
//! needed, and one pass does. ε falls from the mean cost to its value by factors of 4; there the steps are mixed with those
//! before (Anderson, Iterative procedures for nonlinear integral equations, 1965), which takes about the square root of
//! the plain iteration's number of steps, or less. The columns are always balanced exactly, so the error of the rows is the
//! whole error, and the dual value is off by its square only.
//! Of the terms (α, α) the potentials are equal, and their averaged update contracts by itself.

use std::cmp::Ordering;
use std::collections::VecDeque;

use rayon::prelude::*;

use crate::cloud::comparable;
use crate::distances::{BLOCK_ROWS, Panels, squared_distance};
use crate::exp::add_sums;
use crate::{Cloud, Cost, Potentials, TransportError};

/// The strength of the entropic term, in the unit of the cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Epsilon {
    /// ε itself.
    Absolute(f64),
    /// ε as a multiple of the mean of `c(x_i, y_j)` over all pairs between the two clouds.
    RelativeToMeanCost(f64),
}

/// How a Sinkhorn divergence is computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// The strength of the entropic term.
    pub epsilon: Epsilon,
    /// The cost.
    pub cost: Cost,
    /// Iterations end where the marginals of every plan are within this of the weights, `Σ_i |P_i - a_i|`. Rounding leaves
    /// about 10⁻¹⁶ times the largest cost over ε.
    pub tolerance: f64,
    /// The most iterations at the final ε; one iteration updates both potentials, and one is always made.
    pub max_iterations: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            epsilon: Epsilon::RelativeToMeanCost(0.05),
            cost: Cost::SquaredDistance,
            tolerance: 1e-6,
            max_iterations: 2000,
        }
    }
}

/// A Sinkhorn divergence with what it was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct SinkhornDivergence {
    /// `S_ε = OT_ε(α, β) - ½ OT_ε(α, α) - ½ OT_ε(β, β)`, not square-rooted.
    pub value: f64,
    /// ε as used, in the unit of the cost.
    pub epsilon: f64,
    /// `OT_ε(α, β)`.
    pub ot_ab: f64,
    /// `OT_ε(α, α)`.
    pub ot_aa: f64,
    /// `OT_ε(β, β)`.
    pub ot_bb: f64,
    /// The largest of the three plans' marginal errors, `Σ_i |P_i - a_i|`.
    pub marginal_error: f64,
    /// A bound of what rounding may have done to the value.
    pub rounding: f64,
    /// Whether all three reached the tolerance.
    pub converged: bool,
    /// Iterations at the final ε, of the slowest of the three.
    pub iterations: usize,
    /// The first variation of S_ε: `f_αβ - f_αα` at the points of α and `g_αβ - g_ββ` at those of β, whose means add up
    /// to the value and whose variances give its standard error.
    pub potentials: Potentials,
}

/// The Sinkhorn divergence between two equally weighted clouds, of equal or unequal sizes.
///
/// O(n m d) an iteration, memory O((n + m) d).
///
/// # Errors
///
/// Clouds of different dimensions; an ε or a tolerance that is not positive and finite; an absolute ε so far from the costs
/// that rounding would decide.
pub fn sinkhorn_divergence(a: Cloud, b: Cloud, settings: &Settings) -> Result<SinkhornDivergence, TransportError> {
    let dim = comparable(&a, &b)?;
    if !(settings.tolerance > 0.0 && settings.tolerance.is_finite()) {
        return Err(TransportError::Tolerance { tolerance: settings.tolerance });
    }
    let (Epsilon::Absolute(given) | Epsilon::RelativeToMeanCost(given)) = settings.epsilon;
    if !(given > 0.0 && given.is_finite()) {
        return Err(TransportError::Epsilon { epsilon: given });
    }
    let problem = Centred::new(a, b, dim, settings.cost);
    let epsilon = match settings.epsilon {
        Epsilon::Absolute(epsilon) => epsilon,
        Epsilon::RelativeToMeanCost(fraction) => fraction * (problem.mean_cost + problem.shift_cost),
    };
    let mean = problem.mean_cost;
    let too_small = mean > 0.0 && epsilon < 1e-10 * mean;
    let too_large = epsilon > 1e8 * (mean + problem.shift_cost) && mean + problem.shift_cost > 0.0;
    if too_small || too_large || !epsilon.is_finite() {
        return Err(TransportError::EpsilonScale { epsilon, mean_cost: mean + problem.shift_cost });
    }
    if mean == 0.0 {
        // Every point of α at one place, every point of β at one place.
        let potentials = Potentials { a: vec![problem.shift_cost; a.count()], b: vec![0.0; b.count()] };
        let (value, ot_ab, ot_aa, ot_bb) = (problem.shift_cost, problem.shift_cost, 0.0, 0.0);
        return Ok(SinkhornDivergence {
            value,
            epsilon,
            ot_ab,
            ot_aa,
            ot_bb,
            marginal_error: 0.0,
            rounding: 4.0 * f64::EPSILON * problem.shift_cost,
            converged: true,
            iterations: 0,
            potentials,
        });
    }
    if same_points(&a, &b) {
        // One measure: its divergence from itself is 0, whatever its entropic cost.
        let own = within(&problem.a, dim, epsilon, settings);
        return Ok(SinkhornDivergence {
            value: 0.0,
            epsilon,
            ot_ab: own.value,
            ot_aa: own.value,
            ot_bb: own.value,
            marginal_error: own.error,
            rounding: 0.0,
            converged: own.error <= settings.tolerance,
            iterations: own.iterations,
            potentials: Potentials { a: vec![0.0; a.count()], b: vec![0.0; b.count()] },
        });
    }
    let ab = problem.between(epsilon, settings);
    let aa = within(&problem.a, dim, epsilon, settings);
    let bb = within(&problem.b, dim, epsilon, settings);
    let ot_ab = problem.shift_cost + ab.value;
    let minus = |f: &[f64], g: &[f64]| f.iter().zip(g).map(|(f, g)| f - g).collect::<Vec<f64>>();
    let mut potentials = Potentials { a: minus(&ab.f, &aa.f), b: minus(&ab.g, &bb.f) };
    problem.undo_centring(&mut potentials);
    let solutions = [&ab, &aa, &bb];
    let marginal_error = solutions.iter().fold(0.0, |error: f64, solution| error.max(solution.error));
    Ok(SinkhornDivergence {
        value: problem.shift_cost + (ab.value - 0.5 * (aa.value + bb.value)),
        epsilon,
        ot_ab,
        ot_aa: aa.value,
        ot_bb: bb.value,
        marginal_error,
        rounding: 64.0 * f64::EPSILON * (mean + problem.shift_cost),
        converged: solutions.iter().all(|solution| solution.error <= settings.tolerance),
        iterations: solutions.iter().map(|solution| solution.iterations).max().unwrap_or(0),
        potentials,
    })
}

/// Whether both clouds are the same points, in whatever order.
fn same_points(a: &Cloud, b: &Cloud) -> bool {
    let sorted = |cloud: &Cloud| {
        let mut points: Vec<Vec<f64>> = cloud.points().map(<[f64]>::to_vec).collect();
        points.sort_unstable_by(|x, y| x.partial_cmp(y).unwrap_or(Ordering::Equal));
        points
    };
    a.count() == b.count() && sorted(a) == sorted(b)
}

/// Two clouds, each moved to mean zero where the cost separates, `|x - y|² = |x̃ - ỹ|² + 2(x̃ - ỹ)·δ + |δ|²`.
struct Centred {
    a: Vec<f64>,
    b: Vec<f64>,
    dim: usize,
    cost: Cost,
    /// δ, the difference of the means; zero where the cost is the distance.
    shift: Vec<f64>,
    /// |δ|².
    shift_cost: f64,
    /// The mean cost over all pairs of the moved points.
    mean_cost: f64,
}

/// Potentials of one entropic problem, in the unit of the cost.
struct Solution {
    f: Vec<f64>,
    g: Vec<f64>,
    value: f64,
    error: f64,
    iterations: usize,
}

impl Centred {
    fn new(a: Cloud, b: Cloud, dim: usize, cost: Cost) -> Self {
        match cost {
            Cost::SquaredDistance => {
                let (mean_a, mean_b) = (mean(&a), mean(&b));
                let shift: Vec<f64> = mean_a.iter().zip(&mean_b).map(|(a, b)| a - b).collect();
                let moved = |cloud: &Cloud, mean: &[f64]| -> Vec<f64> {
                    cloud.values().iter().zip(mean.iter().cycle()).map(|(x, m)| x - m).collect()
                };
                let (a, b) = (moved(&a, &mean_a), moved(&b, &mean_b));
                let moment = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>() / (x.len() / dim) as f64;
                let mean_cost = moment(&a) + moment(&b);
                let shift_cost = shift.iter().map(|s| s * s).sum();
                Self { a, b, dim, cost, shift, shift_cost, mean_cost }
            }
            Cost::Distance => {
                let mean_cost = crate::energy::mean_distances(&a, &b).iter().sum::<f64>() / a.count() as f64;
                let (a, b) = (a.values().to_vec(), b.values().to_vec());
                Self { a, b, dim, cost, shift: vec![0.0; dim], shift_cost: 0.0, mean_cost }
            }
        }
    }

    /// Adds what the centring took from the potentials between the clouds: `2x̃·δ + |δ|²` and `-2ỹ·δ`.
    fn undo_centring(&self, potentials: &mut Potentials) {
        let along = |point: &[f64]| 2.0 * point.iter().zip(&self.shift).map(|(x, s)| x * s).sum::<f64>();
        for (f, x) in potentials.a.iter_mut().zip(self.a.chunks_exact(self.dim)) {
            *f += along(x) + self.shift_cost;
        }
        for (g, y) in potentials.b.iter_mut().zip(self.b.chunks_exact(self.dim)) {
            *g -= along(y);
        }
    }

    /// `OT_ε(α, β)` of the moved points.
    fn between(&self, epsilon: f64, settings: &Settings) -> Solution {
        let (n, m) = (self.a.len() / self.dim, self.b.len() / self.dim);
        let (mut f, mut g) = (vec![0.0; n], vec![0.0; m]);
        let mut current = epsilon.max(self.mean_cost);
        while current > epsilon {
            let (x, y) = (
                Scaled::new(&self.a, self.dim, self.cost, current),
                Scaled::new(&self.b, self.dim, self.cost, current),
            );
            let (mut u, mut v) = (x.exponents(&f), y.exponents(&g));
            let rows = x.log_marginals(&y, &u, &v);
            step(&mut u, &rows, 1.0);
            let columns = y.log_marginals(&x, &v, &u);
            step(&mut v, &columns, 1.0);
            (f, g) = (x.costs(&u), y.costs(&v));
            current = if current > 4.0 * epsilon { current / 4.0 } else { epsilon };
        }
        let (x, y) =
            (Scaled::new(&self.a, self.dim, self.cost, epsilon), Scaled::new(&self.b, self.dim, self.cost, epsilon));
        let (mut u, mut v) = (x.exponents(&f), y.exponents(&g));
        let mut mixing = Mixing::default();
        let mut iterations = 0;
        let (error, mass) = loop {
            // First the columns, exactly: then all of the error is in the rows.
            let columns = y.log_marginals(&x, &v, &u);
            step(&mut v, &columns, 1.0);
            let rows = x.log_marginals(&y, &u, &v);
            let (error, mass) = marginal_error(&rows);
            iterations += 1;
            if error <= settings.tolerance || iterations >= settings.max_iterations {
                break (error, mass);
            }
            u = mixing.next(u, rows, error);
        };
        // A constant may move from f to g; with equal means, equal clouds have equal potentials.
        let half = 0.5 * (average(&v) - average(&u));
        u.iter_mut().for_each(|u| *u += half);
        v.iter_mut().for_each(|v| *v -= half);
        let (f, g) = (x.costs(&u), y.costs(&v));
        let value = average(&f) + average(&g) - epsilon * (mass - 1.0);
        Solution { f, g, value, error, iterations }
    }
}

/// `OT_ε(α, α)`, whose potentials are equal.
///
/// The error of log f is multiplied by `1 - ω(1 + κ)`, κ in [0, 1] the eigenvalues of the plan: both costs have positive
/// semi-definite kernels. The heavy ball with that known spectrum, `u ← u - ω log S + β(u - u₋₁)`, contracts by √β = .17 a
/// step; Polyak (1964).
fn within(points: &[f64], dim: usize, epsilon: f64, settings: &Settings) -> Solution {
    let root = std::f64::consts::SQRT_2;
    let (omega, momentum) = (4.0 / (root + 1.0).powi(2), ((root - 1.0) / (root + 1.0)).powi(2));
    let x = Scaled::new(points, dim, settings.cost, epsilon);
    let mut u = vec![0.0; points.len() / dim];
    let mut before = u.clone();
    let mut iterations = 0;
    let (error, mass) = loop {
        let marginals = x.log_marginals(&x, &u, &u);
        let (error, mass) = marginal_error(&marginals);
        if error <= settings.tolerance || iterations >= settings.max_iterations.max(1) {
            break (error, mass);
        }
        for ((u, before), log) in u.iter_mut().zip(&mut before).zip(&marginals) {
            let next = *u - omega * log + momentum * (*u - *before);
            *before = std::mem::replace(u, next);
        }
        iterations += 1;
    };
    let f = x.costs(&u);
    let value = 2.0 * average(&f) - epsilon * (mass - 1.0);
    Solution { f, g: Vec::new(), value, error, iterations }
}

/// Points in units in which `c/ε` is an exponent of 2.
struct Scaled {
    points: Vec<f64>,
    panels: Panels,
    dim: usize,
    cost: Cost,
    /// ε log 2: potentials are exponents times this.
    unit: f64,
}

impl Scaled {
    fn new(points: &[f64], dim: usize, cost: Cost, epsilon: f64) -> Self {
        let unit = epsilon * std::f64::consts::LN_2;
        let length = match cost {
            Cost::Distance => unit,
            Cost::SquaredDistance => unit.sqrt(),
        };
        let points: Vec<f64> = points.iter().map(|x| x / length).collect();
        let panels = Panels::new(&points, dim);
        Self { points, panels, dim, cost, unit }
    }

    fn exponents(&self, potential: &[f64]) -> Vec<f64> {
        potential.iter().map(|f| f / self.unit).collect()
    }

    fn costs(&self, exponents: &[f64]) -> Vec<f64> {
        exponents.iter().map(|u| u * self.unit).collect()
    }

    /// `log₂ S_i`, `S_i = (1/m) Σ_j 2^(u_i + v_j - c_ij)`, at these points against the others.
    fn log_marginals(&self, others: &Self, u: &[f64], v: &[f64]) -> Vec<f64> {
        let mut logs = vec![0.0; u.len()];
        let mut padded = v.to_vec();
        padded.resize(others.panels.padded_count(), -1e300);
        let count = v.len() as f64;
        self.points
            .par_chunks(BLOCK_ROWS * self.dim)
            .zip(u.par_chunks(BLOCK_ROWS))
            .zip(logs.par_chunks_mut(BLOCK_ROWS))
            .for_each(|((rows, u), sums)| {
                others.panels.visit_tiles(rows, |tile| add_sums(&tile, self.cost, u, &padded, sums));
                for ((sum, u), row) in sums.iter_mut().zip(u).zip(rows.chunks_exact(self.dim)) {
                    let mean = *sum / count;
                    // Outside, terms were cut at the ends of the exponent's range.
                    let safe = (1e-250..1e250).contains(&mean);
                    *sum = if safe { mean.log2() } else { u + others.log_mean(row, v) };
                }
            });
        logs
    }

    /// `log₂ (1/m) Σ_j 2^(v_j - c(x, y_j))` about its largest term, for potentials far from balance.
    fn log_mean(&self, x: &[f64], v: &[f64]) -> f64 {
        let exponents =
            || self.points.chunks_exact(self.dim).zip(v).map(|(y, v)| v - self.cost.of_squared(squared_distance(x, y)));
        let largest = exponents().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = exponents().map(|t| (t - largest).exp2()).sum();
        largest + (sum / v.len() as f64).log2()
    }
}

/// The last iterate with its logarithms of the marginals, and differences between iterates before it.
///
/// With `r = -log S(u)` the plain step is `u + r`. Anderson's is the one in which the combination of the differences that
/// makes r least is taken out of both u and r: near the solution as good as conjugate gradients, without their restarts.
#[derive(Default)]
struct Mixing {
    last: Option<(Vec<f64>, Vec<f64>, f64)>,
    /// (Δu, Δr), the oldest first.
    differences: VecDeque<(Vec<f64>, Vec<f64>)>,
}

impl Mixing {
    const DEPTH: usize = 12;

    /// The iterate after u, whose marginals have these logarithms and this error.
    fn next(&mut self, u: Vec<f64>, logs: Vec<f64>, error: f64) -> Vec<f64> {
        let r: Vec<f64> = logs.iter().map(|log| -log).collect();
        if let Some((last_u, last_r, last_error)) = self.last.take() {
            if (error.is_nan() || error > 2.0 * last_error) && !self.differences.is_empty() {
                // Too bold: back to the last iterate, and its plain step, which cannot fail.
                self.differences.clear();
                return last_u.iter().zip(&last_r).map(|(u, r)| u + r).collect();
            }
            let minus = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x - y).collect::<Vec<f64>>();
            self.differences.push_back((minus(&u, &last_u), minus(&r, &last_r)));
            if self.differences.len() > Self::DEPTH {
                self.differences.pop_front();
            }
        }
        let mut next: Vec<f64> = u.iter().zip(&r).map(|(u, r)| u + r).collect();
        // Gram-Schmidt from the newest difference to the oldest; each carries the step that belongs to it.
        let mut left = r.clone();
        let mut basis: Vec<(Vec<f64>, Vec<f64>, f64)> = Vec::new();
        for (du, dr) in self.differences.iter().rev() {
            let mut change = dr.clone();
            let mut moved: Vec<f64> = du.iter().zip(dr).map(|(du, dr)| du + dr).collect();
            let length = dot(dr, dr);
            for (direction, step, square) in &basis {
                let share = dot(direction, &change) / square;
                subtract(&mut change, share, direction);
                subtract(&mut moved, share, step);
            }
            let square = dot(&change, &change);
            if square <= 1e-16 * length {
                continue;
            }
            let share = dot(&change, &left) / square;
            subtract(&mut left, share, &change);
            subtract(&mut next, share, &moved);
            basis.push((change, moved, square));
        }
        self.last = Some((u, r, error));
        next
    }
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn subtract(x: &mut [f64], share: f64, y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x -= share * y);
}

fn step(u: &mut [f64], logs: &[f64], omega: f64) {
    u.iter_mut().zip(logs).for_each(|(u, log)| *u -= omega * log);
}

/// `Σ_i |P_i - 1/n|` and the mass `Σ_i P_i`, from the logarithms of `n P_i`.
fn marginal_error(logs: &[f64]) -> (f64, f64) {
    let excess = || logs.iter().map(|log| (log * std::f64::consts::LN_2).exp_m1());
    let n = logs.len() as f64;
    (excess().map(f64::abs).sum::<f64>() / n, 1.0 + excess().sum::<f64>() / n)
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The mean, as the first point and the mean difference from it: exact where all points are equal.
fn mean(cloud: &Cloud) -> Vec<f64> {
    let first = &cloud.values()[..cloud.dim()];
    let mut mean = vec![0.0; cloud.dim()];
    for point in cloud.points() {
        mean.iter_mut().zip(point.iter().zip(first)).for_each(|(mean, (x, first))| *mean += x - first);
    }
    mean.iter().zip(first).map(|(sum, first)| first + sum / cloud.count() as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::energy::energy_distance;

    /// n points of Rᵈ on an additive recurrence: spread out, without a generator.
    fn recurrence(n: usize, dim: usize, step: f64) -> Vec<f64> {
        (0..n * dim).map(|k| ((k + 1) as f64 * step).fract() * 2.0 - 1.0).collect()
    }

    fn clouds(n: usize, m: usize, dim: usize) -> (Vec<f64>, Vec<f64>) {
        let y = recurrence(m, dim, 0.569_840_290_998_053_2);
        (recurrence(n, dim, 0.754_877_666_246_692_8), y.iter().map(|y| 0.4 + 0.7 * y).collect())
    }

    fn divergence(x: &[f64], y: &[f64], dim: usize, settings: &Settings) -> SinkhornDivergence {
        sinkhorn_divergence(Cloud::new(x, dim).unwrap(), Cloud::new(y, dim).unwrap(), settings).unwrap()
    }

    fn settings(epsilon: Epsilon, cost: Cost) -> Settings {
        Settings { epsilon, cost, tolerance: 1e-10, max_iterations: 5000 }
    }

    #[test]
    fn a_shift_costs_its_square_whatever_epsilon() {
        let (x, _) = clouds(90, 0, 3);
        for (length, epsilon) in [(0.5, 0.02), (3.0, 0.5), (1e6, 0.3)] {
            let y: Vec<f64> = x.iter().map(|x| x + length).collect();
            let result = divergence(&x, &y, 3, &settings(Epsilon::Absolute(epsilon), Cost::SquaredDistance));
            assert!(result.converged && result.epsilon == epsilon);
            let exact = 3.0 * length * length;
            assert!((result.value - exact).abs() < 1e-9 * exact.max(1.0), "{} against {exact}", result.value);
        }
    }

    #[test]
    fn equal_clouds_are_at_distance_zero() {
        for cost in [Cost::Distance, Cost::SquaredDistance] {
            let (x, _) = clouds(70, 0, 2);
            let result = divergence(&x, &x, 2, &settings(Epsilon::RelativeToMeanCost(0.5), cost));
            assert!(result.converged);
            assert!(result.value.abs() < 1e-12 && result.ot_aa == result.ot_bb);
            let Potentials { a, b } = &result.potentials;
            let largest = a.iter().chain(b).fold(0.0, |largest: f64, f| largest.max(f.abs()));
            assert!(largest < 1e-6, "{cost:?}: {largest}");
        }
    }

    #[test]
    fn a_large_epsilon_leaves_the_means_or_half_the_energy_distance() {
        let (x, y) = clouds(60, 45, 2);
        let (a, b) = (Cloud::new(&x, 2).unwrap(), Cloud::new(&y, 2).unwrap());
        let energy = energy_distance(a, b).unwrap().value;
        let means: f64 = mean(&a).iter().zip(&mean(&b)).map(|(a, b)| (a - b).powi(2)).sum();
        for (cost, limit) in [(Cost::Distance, 0.5 * energy), (Cost::SquaredDistance, means)] {
            let of = |epsilon| divergence(&x, &y, 2, &settings(Epsilon::Absolute(epsilon), cost)).value - limit;
            // The difference falls as 1/ε.
            let (large, larger) = (of(1e2), of(1e3));
            assert!(large.abs() < 0.02, "{large}");
            assert!((large / larger - 10.0).abs() < 0.2, "{large} then {larger}");
        }
    }

    #[test]
    fn a_small_epsilon_leaves_the_matching() {
        // Pairs far apart: the plan is the matching, and KL(P | a⊗b) = log n.
        let x = [0.0, 0.0, 1e5, 0.0, 0.0, 1e5];
        let y = [1e5, 1.0, 0.0, 1e5, 1.0, 0.0];
        for (cost, matched) in [(Cost::Distance, 2.0 / 3.0), (Cost::SquaredDistance, 2.0 / 3.0)] {
            let epsilon = match cost {
                Cost::Distance => 1e-3,
                Cost::SquaredDistance => 10.0,
            };
            // Costs are 10⁹ times ε here: rounding leaves that times 10⁻¹⁶ in the marginals.
            let rough = Settings { tolerance: 1e-5, ..settings(Epsilon::Absolute(epsilon), cost) };
            let result = divergence(&x, &y, 2, &rough);
            let log = epsilon * 3f64.ln();
            assert!(result.converged);
            assert!((result.ot_ab - (matched + log)).abs() < 1e-4 * (matched + log), "{result:?}");
            assert!((result.ot_aa - log).abs() < 1e-9 * log && (result.ot_bb - log).abs() < 1e-9 * log);
        }
    }

    #[test]
    fn repeating_points_scaling_and_exchanging() {
        let (x, y) = clouds(40, 31, 3);
        for cost in [Cost::Distance, Cost::SquaredDistance] {
            let relative = settings(Epsilon::RelativeToMeanCost(0.1), cost);
            let once = divergence(&x, &y, 3, &relative);
            let repeated = divergence(&x.repeat(2), &y.repeat(3), 3, &relative);
            assert!((once.value - repeated.value).abs() < 1e-10);
            assert!((once.epsilon - repeated.epsilon).abs() < 1e-14);
            let exchanged = divergence(&y, &x, 3, &relative);
            assert!((once.value - exchanged.value).abs() < 1e-10);
            let scaled = |points: &[f64]| points.iter().map(|x| 7.0 * x).collect::<Vec<f64>>();
            let large = divergence(&scaled(&x), &scaled(&y), 3, &relative);
            let factor = match cost {
                Cost::Distance => 7.0,
                Cost::SquaredDistance => 49.0,
            };
            assert!((factor * once.value - large.value).abs() < 1e-10 * factor);
            assert!((factor * once.epsilon - large.epsilon).abs() < 1e-12 * factor);
        }
    }

    #[test]
    fn the_potentials_add_up_to_the_value_and_are_its_derivative() {
        let (x, y) = clouds(20, 30, 2);
        for cost in [Cost::Distance, Cost::SquaredDistance] {
            let fixed = settings(Epsilon::Absolute(0.1), cost);
            let result = divergence(&x, &y, 2, &fixed);
            let potentials = &result.potentials;
            let total = average(&potentials.a) + average(&potentials.b);
            assert!((total - result.value).abs() < 1e-9, "{total} against {}", result.value);
            // (1 - t)α + tδ_3, the weights made by repeating points.
            let weighted: Vec<f64> = x.repeat(50).into_iter().chain(x[6..8].iter().copied()).collect();
            let slope = (divergence(&weighted, &y, 2, &fixed).value - result.value) * 1001.0;
            let exact = potentials.a[3] - average(&potentials.a);
            assert!((slope - exact).abs() < 0.01 * (1.0 + exact.abs()), "{slope} against {exact}");
        }
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let (x, y) = clouds(300, 201, 3);
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| divergence(&x, &y, 3, &Settings::default()))
        };
        let one = on(1);
        assert!(one.converged && one.iterations < 200, "{} iterations", one.iterations);
        assert_eq!(one, on(2));
        assert_eq!(one, on(5));
    }

    #[test]
    fn point_masses_and_equal_points() {
        for (cost, exact) in [(Cost::Distance, 5.0), (Cost::SquaredDistance, 25.0)] {
            let relative = settings(Epsilon::RelativeToMeanCost(0.05), cost);
            // One point each; then many copies of 0.1, whose plain mean is not 0.1.
            let single = divergence(&[0.0, 0.0], &[3.0, 4.0], 2, &relative);
            assert!((single.value - exact).abs() < 1e-12, "{single:?}");
            assert_eq!(single.epsilon, 0.05 * exact);
            assert!((average(&single.potentials.a) + average(&single.potentials.b) - exact).abs() < 1e-12);
            let copies = divergence(&[0.1; 20], &[0.1; 14], 2, &relative);
            assert_eq!((copies.value, copies.epsilon, copies.converged), (0.0, 0.0, true));
            let absolute = divergence(&[0.1; 20], &[0.1; 14], 2, &settings(Epsilon::Absolute(0.3), cost));
            assert_eq!((absolute.value, absolute.epsilon, absolute.converged), (0.0, 0.3, true));
        }
        // Heavy ties on a grid.
        let grid: Vec<f64> = (0..120).map(|k| f64::from(k / 2 % 3 + k % 2)).collect();
        let shifted: Vec<f64> = grid.iter().map(|x| x + 1.0).collect();
        let result =
            divergence(&grid, &shifted, 2, &settings(Epsilon::RelativeToMeanCost(0.05), Cost::SquaredDistance));
        assert!((result.value - 2.0).abs() < 1e-10, "{result:?}");
    }

    #[test]
    fn wrong_settings_are_explained() {
        let values = [0.0, 1.0, 2.0, 3.0, 4.0, 5.5];
        let cloud = Cloud::new(&values, 2).unwrap();
        let text = |settings: Settings| sinkhorn_divergence(cloud, cloud, &settings).unwrap_err().to_string();
        let with = |epsilon| text(settings(epsilon, Cost::SquaredDistance));
        assert_eq!(
            with(Epsilon::Absolute(0.0)),
            "epsilon is 0; entropic transport needs 0 < epsilon < ∞ (for the limit 0 use exact transport)"
        );
        assert!(with(Epsilon::RelativeToMeanCost(-0.1)).starts_with("epsilon is -0.1;"));
        assert!(with(Epsilon::Absolute(f64::NAN)).starts_with("epsilon is NaN;"));
        assert!(with(Epsilon::Absolute(f64::INFINITY)).starts_with("epsilon is inf;"));
        assert!(with(Epsilon::Absolute(1e-20)).contains("their ratio must lie between 1e-10 and 1e8"));
        assert!(with(Epsilon::Absolute(1e20)).contains("their ratio must lie between 1e-10 and 1e8"));
        let tolerance = Settings { tolerance: 0.0, ..Settings::default() };
        assert_eq!(text(tolerance), "the tolerance is 0; it must be positive and finite, 1e-6 say");
        let line = Cloud::new(&values, 1).unwrap();
        assert!(sinkhorn_divergence(cloud, line, &Settings::default()).is_err());
        // Too few iterations are no error, but are said.
        let (x, y) = clouds(40, 40, 2);
        let short = Settings { max_iterations: 1, ..Settings::default() };
        let result = divergence(&x, &y, 2, &short);
        assert!(!result.converged && result.marginal_error > short.tolerance);
    }
}
