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

use crate::apart::{self, Answer, Sides, Solution, Solver};
use crate::cloud::common_dim;
use crate::{Cloud, Cost, Potentials, TransportError};

use costs::Costs;
use optimum::{optimum, transform};
use order::spatial;
use search::{Duals, Search};

/// The most pairs of points that are solved for once more.
const LARGEST_PLAIN: usize = 1 << 22;

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
    /// The cost of the plan less the dual value of the potentials, at least 0: no plan costs less than `cost - gap`, but for rounding.
    pub gap: f64,
    /// A bound of what rounding may add to the gap.
    pub rounding: f64,
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

/// The mean of points `[n, d]` under their masses.
fn mean(values: &[f64], units: &[i64], dim: usize) -> Vec<f64> {
    let total = units.iter().sum::<i64>() as f64;
    let mut mean = vec![0.0; dim];
    for (point, &units) in values.chunks_exact(dim).zip(units) {
        for (mean, x) in mean.iter_mut().zip(point) {
            *mean += units as f64 / total * x;
        }
    }
    mean
}

/// Points that carry mass are solved for; the potentials of the others are what every pair allows.
fn solve(a: Cloud, supplies: &[i64], b: Cloud, demands: &[i64], cost: Cost) -> Result<Plan, TransportError> {
    let dim = common_dim(&a, &b)?;
    let massive = |units: &[i64]| -> Vec<u32> { (0..units.len() as u32).filter(|&i| units[i as usize] > 0).collect() };
    let (sources, sinks) = (massive(supplies), massive(demands));
    let chosen = |units: &[i64], order: &[u32]| -> Vec<i64> { order.iter().map(|&i| units[i as usize]).collect() };
    let (of_sources, of_sinks) = (chosen(supplies, &sources), chosen(demands, &sinks));
    let origin = vec![0.0; dim];
    let (x, y) = (moved(a, &sources, &origin), moved(b, &sinks, &origin));
    let sides = Sides { x: &x, supplies: &of_sources, y: &y, demands: &of_sinks, dim, cost };
    let Answer { entries, cost: paid, gap, rounding, potentials } = apart::solve(sides, &Plans)?;
    let total = of_sources.iter().sum::<i64>() as f64;
    let entry = |&(i, j, units): &(u32, u32, i64)| Entry {
        from: sources[i as usize],
        to: sinks[j as usize],
        mass: units as f64 / total,
    };
    let mut entries: Vec<Entry> = entries.iter().map(entry).collect();
    entries.sort_unstable_by_key(|entry| (entry.from, entry.to));
    let potentials = spread(a, &sources, b, &sinks, cost, potentials);
    Ok(Plan { cost: paid, entries, gap, rounding, potentials })
}

/// Potentials of all points from those of some: `min c - b` over the sinks at hand, then `min c - a` over all sources.
fn spread(a: Cloud, sources: &[u32], b: Cloud, sinks: &[u32], cost: Cost, known: Potentials) -> Potentials {
    if sources.len() == a.count() && sinks.len() == b.count() {
        return known;
    }
    let (x, y): (Vec<_>, Vec<_>) = (a.points().collect(), b.points().collect());
    let price = |i: usize, j: usize| cost.of_squared(crate::distances::squared_distance(x[i], y[j]));
    let (mut all_a, mut all_b) = (vec![f64::NAN; x.len()], vec![f64::NAN; y.len()]);
    sources.iter().zip(&known.a).for_each(|(&i, &value)| all_a[i as usize] = value);
    sinks.iter().zip(&known.b).for_each(|(&j, &value)| all_b[j as usize] = value);
    for i in (0..x.len()).filter(|&i| all_a[i].is_nan()).collect::<Vec<_>>() {
        all_a[i] = sinks.iter().map(|&j| price(i, j as usize) - all_b[j as usize]).fold(f64::INFINITY, f64::min);
    }
    for j in (0..y.len()).filter(|&j| all_b[j].is_nan()).collect::<Vec<_>>() {
        all_b[j] = (0..x.len()).map(|i| price(i, j) - all_a[i]).fold(f64::INFINITY, f64::min);
    }
    Potentials { a: all_a, b: all_b }
}

/// Auction and simplex, for points of any mass.
struct Plans;

impl Solver for Plans {
    /// `|x - y|² = |δ|² + 2 δ·(x' - y') + |x' - y'|²` with x', y' centred and δ the difference of the means: distant clouds keep their digits.
    fn fast(&self, sides: Sides) -> Result<Solution, TransportError> {
        let centre = |values: &[f64], units: &[i64]| mean(values, units, sides.dim);
        let centres = [centre(sides.x, sides.supplies), centre(sides.y, sides.demands)];
        // A distance does not separate.
        solve_about(sides, (sides.cost == Cost::SquaredDistance).then_some(centres))
    }

    fn plain(&self, sides: Sides) -> Option<Result<Solution, TransportError>> {
        (sides.cost == Cost::SquaredDistance && sides.supplies.len() * sides.demands.len() <= LARGEST_PLAIN)
            .then(|| solve_about(sides, None))
    }
}

/// Solves about two centres, or for the points as they are, in a unit near the coordinates, a power of two that rounds nothing: no square overflows or
/// vanishes.
fn solve_about(sides: Sides, centres: Option<[Vec<f64>; 2]>) -> Result<Solution, TransportError> {
    let Sides { x, supplies, y, demands, dim, cost } = sides;
    let raw = [Cloud::new(x, dim)?, Cloud::new(y, dim)?];
    let order = raw.map(spatial);
    let is_moved = centres.is_some();
    let centres = centres.unwrap_or_else(|| [vec![0.0; dim], vec![0.0; dim]]);
    let mut points = [0, 1].map(|side| moved(raw[side], &order[side], &centres[side]));
    let largest = points.iter().flatten().fold(0.0, |largest: f64, x| largest.max(x.abs()));
    let unit = crate::cloud::unit(largest);
    points.iter_mut().flatten().for_each(|x| *x /= unit);
    let of_moves = rounding(&points, [supplies, demands], &order, dim, cost);
    let [x, y] = points;
    let costs = Costs::new(x, &y, dim, cost);
    let in_order = |units: &[i64], order: &[u32]| -> Vec<i64> { order.iter().map(|&i| units[i as usize]).collect() };
    let (flows, start) = optimum(&costs, &in_order(supplies, &order[0]), &in_order(demands, &order[1]));
    // The certificate knows nothing of the search: it prices every pair.
    let ordered = feasible(&costs, start);
    // Σ π c - Σ μ a - Σ ν b = Σ π (c - a - b), a sum of what is never negative: it does not cancel.
    let slack = |&(i, j, units): &(u32, u32, i64)| {
        let (i, j) = (i as usize, j as usize);
        units as f64 * (costs.at(i, j) - ordered.a[i] - ordered.b[j]).max(0.0)
    };
    let gap: f64 = flows.iter().map(slack).sum();
    // Of points as they are a difference is rounded by its own size alone.
    let size = |&(i, j, units): &(u32, u32, i64)| {
        let (i, j) = (i as usize, j as usize);
        units as f64 * (costs.at(i, j) + ordered.a[i].abs() + ordered.b[j].abs())
    };
    let of_differences = || (dim as f64 + 4.0) * f64::EPSILON * flows.iter().map(size).sum::<f64>();
    let rounding = if is_moved { of_moves } else { of_differences() };
    let mut potentials = Potentials { a: vec![0.0; supplies.len()], b: vec![0.0; demands.len()] };
    order[0].iter().zip(ordered.a).for_each(|(&i, value)| potentials.a[i as usize] = value);
    order[1].iter().zip(ordered.b).for_each(|(&j, value)| potentials.b[j as usize] = value);
    let factor = match cost {
        Cost::Distance => unit,
        Cost::SquaredDistance => unit * unit,
    };
    potentials.a.iter_mut().chain(&mut potentials.b).for_each(|value| *value *= factor);
    if cost == Cost::SquaredDistance {
        uncentre(&mut potentials, raw[0], &centres[0], raw[1], &centres[1]);
    }
    let entries = flows.iter().map(|&(i, j, units)| (order[0][i as usize], order[1][j as usize], units)).collect();
    Ok(Solution { entries, potentials, gap: gap * factor, rounding: rounding * factor })
}

/// By how much the cost of any plan may differ from that of the points as they are, up to what is the same for all, twice over: once for the plan that
/// was found, once for the best.
fn rounding(points: &[Vec<f64>; 2], units: [&[i64]; 2], order: &[Vec<u32>; 2], dim: usize, cost: Cost) -> f64 {
    let size = |point: &[f64]| {
        let square: f64 = point.iter().map(|x| x * x).sum();
        cost.of_squared(square)
    };
    let sum = |side: usize| -> f64 {
        let masses = order[side].iter().map(|&i| units[side][i as usize] as f64);
        points[side].chunks_exact(dim).zip(masses).map(|(point, units)| units * size(point)).sum()
    };
    4.0 * f64::EPSILON * (dim as f64 + 2.0) * (sum(0) + sum(1))
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
