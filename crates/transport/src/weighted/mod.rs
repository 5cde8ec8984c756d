//! Exact optimal transport between clouds of unequal sizes, or of weighted points.
//!
//! `min Σ π_ij c(x_i, y_j)` over plans π ≥ 0 with marginals μ and ν; its dual is `max Σ μ_i a_i + Σ ν_j b_j` over
//! potentials with `a_i + b_j ≤ c(x_i, y_j)`. Peyré and Cuturi, Computational Optimal Transport (2019), chapter 3.
//!
//! # Design
//!
//! An auction with decreasing ε comes within 10⁻⁵ of the optimum at a few searches a row, for a source remembers the sinks
//! that it found. Its plan, cleared of cycles, is a basis from which the network simplex needs few pivots, among the pairs
//! that the auction remembered; all other pairs are priced when it is done, those that would improve the plan join the
//! list, and it goes on until there are none. Masses are whole numbers of units, so that plans, degenerate ones too, are
//! exact; costs are f64 differences of coordinates. The answer does not rest on any of this: the potentials are made
//! feasible against every pair anew, and what the plan costs above them is returned as the gap.

mod auction;
mod costs;
mod forest;
mod optimum;
mod order;
mod search;
mod simplex;

use crate::cloud::common_dim;
use crate::{Cloud, Cost, Potentials, TransportError};

use costs::Costs;
use optimum::{optimum, transform};
use order::spatial;
use search::{Duals, Search};

/// Units into which the mass of weighted points is divided.
const UNITS: i64 = 1 << 60;

/// Mass that goes from a point of the first cloud to one of the second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// The point of the first cloud, from 0.
    pub from: u32,
    /// The point of the second cloud, from 0.
    pub to: u32,
    /// The mass; all entries sum to 1.
    pub mass: f64,
}

/// An optimal plan with its certificate.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The pairs that carry mass, at most n + m - 1, by `from`, then `to`.
    pub entries: Vec<Entry>,
    /// `Σ π_ij c(x_i, y_j)`.
    pub cost: f64,
    /// The cost of the plan less the dual value of the potentials, at least 0: no plan costs less than `cost - gap`.
    pub gap: f64,
    /// Potentials, feasible for every pair of points, those without mass included.
    pub potentials: Potentials,
}

impl Plan {
    /// The gap as a part of the cost: 0 where both are 0, infinite where rounding leaves a gap above a cost of 0.
    pub fn relative_gap(&self) -> f64 {
        if self.gap == 0.0 { 0.0 } else { self.gap / self.cost }
    }
}

/// The optimal plan between n and m equally weighted points, of weights 1/n and 1/m.
///
/// # Errors
///
/// Clouds of different dimensions, coordinates whose squares overflow.
pub fn transport_uniform(a: Cloud, b: Cloud, cost: Cost) -> Result<Plan, TransportError> {
    let (n, m) = (a.count() as i64, b.count() as i64);
    let divisor = greatest_common_divisor(n, m);
    solve(a, &vec![m / divisor; n as usize], b, &vec![n / divisor; m as usize], cost)
}

/// The optimal plan between weighted points; only the ratios of the weights of one cloud count, and points of weight zero
/// carry no mass.
///
/// Each side is rounded to multiples of 2⁻⁶⁰ of its sum.
///
/// # Errors
///
/// As for [`transport_uniform`]; weights whose number is not that of the points, that are negative, not finite, or all
/// zero.
pub fn transport(a: Cloud, a_weights: &[f64], b: Cloud, b_weights: &[f64], cost: Cost) -> Result<Plan, TransportError> {
    let (supplies, demands) = (units(a_weights, a.count())?, units(b_weights, b.count())?);
    solve(a, &supplies, b, &demands, cost)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// Whole numbers in the ratio of the weights that sum to [`UNITS`].
fn units(weights: &[f64], points: usize) -> Result<Vec<i64>, TransportError> {
    if weights.len() != points {
        return Err(TransportError::WeightCount { weights: weights.len(), points });
    }
    if let Some(index) = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0) {
        return Err(TransportError::Weight { index, value: weights[index] });
    }
    // Against the largest, so that no sum overflows.
    let largest = weights.iter().fold(0.0, |largest: f64, &weight| largest.max(weight));
    if largest == 0.0 {
        return Err(TransportError::NoMass);
    }
    let sum: f64 = weights.iter().map(|weight| weight / largest).sum();
    let mut units: Vec<i64> = weights.iter().map(|weight| (weight / largest / sum * UNITS as f64) as i64).collect();
    // What rounding left over goes to the heaviest point, where it is least in proportion.
    let heaviest = weights.iter().position(|&weight| weight == largest).unwrap_or(0);
    units[heaviest] += UNITS - units.iter().sum::<i64>();
    Ok(units)
}

/// Points moved by minus `centre`, in a given order.
fn moved(cloud: Cloud, order: &[u32], centre: &[f64]) -> Vec<f64> {
    let points: Vec<&[f64]> = cloud.points().collect();
    order.iter().flat_map(|&i| points[i as usize].iter().zip(centre).map(|(x, centre)| x - centre)).collect()
}

/// The mean of the points under their masses.
fn mean(cloud: Cloud, units: &[i64], total: f64) -> Vec<f64> {
    let mut mean = vec![0.0; cloud.dim()];
    for (point, &units) in cloud.points().zip(units) {
        for (mean, x) in mean.iter_mut().zip(point) {
            *mean += units as f64 / total * x;
        }
    }
    mean
}

/// Solves in a unit near the coordinates, a power of two that rounds nothing: no square overflows or vanishes.
fn solve(a: Cloud, supplies: &[i64], b: Cloud, demands: &[i64], cost: Cost) -> Result<Plan, TransportError> {
    let dim = common_dim(&a, &b)?;
    let largest = a.values().iter().chain(b.values()).fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let unit = crate::cloud::unit(largest);
    let scaled = |cloud: Cloud| -> Vec<f64> { cloud.values().iter().map(|x| x / unit).collect() };
    let (x, y) = (scaled(a), scaled(b));
    let mut plan = solve_near_one(Cloud::new(&x, dim)?, supplies, Cloud::new(&y, dim)?, demands, cost);
    let factor = match cost {
        Cost::Distance => unit,
        Cost::SquaredDistance => unit * unit,
    };
    let potentials = plan.potentials.a.iter_mut().chain(&mut plan.potentials.b);
    potentials.chain([&mut plan.cost, &mut plan.gap]).for_each(|value| *value *= factor);
    if plan.cost.is_finite() { Ok(plan) } else { Err(TransportError::TooLarge { largest }) }
}

fn solve_near_one(a: Cloud, supplies: &[i64], b: Cloud, demands: &[i64], cost: Cost) -> Plan {
    let dim = a.dim();
    let total = supplies.iter().sum::<i64>() as f64;
    // |x - y|² = |δ|² + 2 δ·(x' - y') + |x' - y'|² with x', y' centred and δ the difference of the means: distant clouds
    // keep their digits.
    let centre = |cloud, units| match cost {
        Cost::SquaredDistance => mean(cloud, units, total),
        Cost::Distance => vec![0.0; dim],
    };
    let (a_centre, b_centre) = (centre(a, supplies), centre(b, demands));
    let (a_order, b_order) = (spatial(a), spatial(b));
    let massive = |order: &[u32], units: &[i64]| -> Vec<u32> {
        order.iter().copied().filter(|&i| units[i as usize] > 0).collect()
    };
    let (sources, sinks) = (massive(&a_order, supplies), massive(&b_order, demands));
    let costs = Costs::new(moved(a, &sources, &a_centre), &moved(b, &sinks, &b_centre), dim, cost);
    let units = |order: &[u32], units: &[i64]| -> Vec<i64> { order.iter().map(|&i| units[i as usize]).collect() };
    let (flows, sink_potentials) = optimum(&costs, &units(&sources, supplies), &units(&sinks, demands));

    // The certificate knows nothing of the search: it prices every pair, points without mass included.
    let all_carry_mass = sources.len() == a.count() && sinks.len() == b.count();
    let (x, y) = (moved(a, &a_order, &a_centre), moved(b, &b_order, &b_centre));
    let costs = if all_carry_mass { costs } else { Costs::new(x, &y, dim, cost) };
    let mut start = vec![f64::NEG_INFINITY; b.count()];
    for (&sink, potential) in sinks.iter().zip(sink_potentials) {
        start[sink as usize] = potential;
    }
    let ordered = feasible(&costs, b_order.iter().map(|&j| start[j as usize]).collect());
    let mut place = (vec![0; a.count()], vec![0; b.count()]);
    a_order.iter().enumerate().for_each(|(at, &i)| place.0[i as usize] = at);
    b_order.iter().enumerate().for_each(|(at, &j)| place.1[j as usize] = at);
    let mut potentials = Potentials {
        a: place.0.iter().map(|&at| ordered.a[at]).collect(),
        b: place.1.iter().map(|&at| ordered.b[at]).collect(),
    };
    let mut entries: Vec<Entry> = flows
        .iter()
        .map(|&(i, j, units)| Entry { from: sources[i as usize], to: sinks[j as usize], mass: units as f64 / total })
        .collect();
    entries.sort_unstable_by_key(|entry| (entry.from, entry.to));
    // Σ π c - Σ μ a - Σ ν b = Σ π (c - a - b), a sum of what is never negative: it does not cancel.
    let slack = |entry: &Entry| {
        let (i, j) = (entry.from as usize, entry.to as usize);
        entry.mass * (costs.at(place.0[i], place.1[j]) - potentials.a[i] - potentials.b[j]).max(0.0)
    };
    let gap = entries.iter().map(slack).sum();
    if cost == Cost::SquaredDistance {
        uncentre(&mut potentials, a, &a_centre, b, &b_centre);
    }
    let (x, y): (Vec<_>, Vec<_>) = (a.points().collect(), b.points().collect());
    let paid = |entry: &Entry| {
        let squared = x[entry.from as usize].iter().zip(y[entry.to as usize]).map(|(x, y)| (x - y).powi(2)).sum();
        entry.mass * cost.of_squared(squared)
    };
    Plan { cost: entries.iter().map(paid).sum(), entries, gap, potentials }
}

/// Two c-transforms: `a_i = min_j c_ij - b_j`, then `b_j = min_i c_ij - a_i`, feasible for every pair.
fn feasible(costs: &Costs, start: Vec<f64>) -> Potentials {
    let mut search = Search::default();
    let start = Duals::new(costs, start);
    let a: Vec<f64> = (0..costs.rows()).map(|i| search.least(costs, i, &start)).collect();
    let b = transform(costs, &a);
    Potentials { a, b }
}

/// Adds `2 δ·(x' - y') + |δ|²`, by which the squared distance of points exceeds that of the centred ones.
fn uncentre(potentials: &mut Potentials, a: Cloud, a_centre: &[f64], b: Cloud, b_centre: &[f64]) {
    let delta: Vec<f64> = a_centre.iter().zip(b_centre).map(|(a, b)| a - b).collect();
    let constant: f64 = delta.iter().map(|delta| delta * delta).sum();
    let along = |point: &[f64], centre: &[f64]| -> f64 {
        point.iter().zip(centre).zip(&delta).map(|((x, centre), delta)| 2.0 * delta * (x - centre)).sum()
    };
    for (potential, x) in potentials.a.iter_mut().zip(a.points()) {
        *potential += along(x, a_centre) + constant;
    }
    for (potential, y) in potentials.b.iter_mut().zip(b.points()) {
        *potential -= along(y, b_centre);
    }
}
