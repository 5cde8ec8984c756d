//! Clouds whose points lie far apart: matched part by part, and certified by differences of coordinates.
//!
//! # Design
//!
//! Solvers move clouds to where they are fast, and lose digits in proportion to (spread/typical distance)². What they may have lost has a bound
//! before they begin, and where that is not small against what the plan costs, by differences of the coordinates as they are, the clouds are
//! parted at the widest gap of a coordinate that leaves both sides the same mass: a fill value of 10²⁰ in both clouds, or a far cluster, is
//! then a problem of its own. Potentials of the parts hold for the whole where one shift of them makes every pair across feasible, and that is
//! checked for every pair. What has no such gap is solved once more without moving anything.

use std::cmp::Ordering;

use crate::distances::squared_distance;
use crate::{Cost, Potentials, TransportError};

/// An error below this share of the cost is none.
const ENOUGH: f64 = 2e-10;

/// A gap narrower than this share of the widest extent parts nothing.
const LEAST_GAP: f64 = 1e-3;

/// Points of which the nearest is looked for, twice.
const LOOKED_AT: usize = 16;

/// A ratio of mean and median of squared distances from the middle above which few points make the mean ...
const UNEVEN: f64 = 1e6;
/// ... and one above which tails are heavier than those of most laws.
const HEAVY: f64 = 30.0;

/// The power of two that the largest coordinate is brought near: high, so that what is small beside it does not underflow.
const EXPONENT: f64 = 400.0;

/// A plan between points that carry whole units of mass.
#[derive(Debug, Clone)]
pub(crate) struct Solution {
    /// Pairs and the units between them, all positive.
    pub entries: Vec<(u32, u32, i64)>,
    /// Potentials, feasible for every pair up to rounding.
    pub potentials: Potentials,
    /// `Σ units (c - a - b)`.
    pub gap: f64,
    /// A bound of what rounding may add to that.
    pub rounding: f64,
}

/// Points with their masses on both sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sides<'a> {
    /// Points of the first cloud, `[n, d]` row after row.
    pub x: &'a [f64],
    /// Their masses, all positive.
    pub supplies: &'a [i64],
    /// Points of the second cloud, `[m, d]`.
    pub y: &'a [f64],
    /// Their masses, all positive; the sums are equal.
    pub demands: &'a [i64],
    /// The dimension d.
    pub dim: usize,
    /// What is minimised.
    pub cost: Cost,
}

/// How a plan is found.
pub(crate) trait Solver {
    /// As fast as can be, where digits suffice.
    fn fast(&self, sides: Sides) -> Result<Solution, TransportError>;

    /// By differences of the coordinates as they are; `None` where that would take too long.
    fn plain(&self, sides: Sides) -> Option<Result<Solution, TransportError>>;
}

/// An answer in the unit of the points.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub entries: Vec<(u32, u32, i64)>,
    /// Σ units c(x_i, y_j) over the total mass, from differences of the coordinates.
    pub cost: f64,
    pub gap: f64,
    pub rounding: f64,
    pub potentials: Potentials,
}

/// The optimal plan and its certificate.
///
/// # Errors
///
/// Those of the solver; a cost that overflows.
pub(crate) fn solve(sides: Sides, solver: &impl Solver) -> Result<Answer, TransportError> {
    let Sides { x, y, cost, .. } = sides;
    let largest = x.iter().chain(y).fold(0.0, |largest: f64, x| largest.max(x.abs()));
    // A power of two rounds nothing; what it may do to tiny coordinates beside huge ones is below every unit of the answer.
    let unit = if largest > 0.0 { (largest.log2().floor() - EXPONENT).exp2().max(f64::MIN_POSITIVE) } else { 1.0 };
    let [x, y] = [x, y].map(|values| values.iter().map(|x| x / unit).collect::<Vec<f64>>());
    let sides = Sides { x: &x, y: &y, ..sides };
    let Solution { entries, mut potentials, gap, rounding } = solved(sides, solver)?;
    let total = sides.supplies.iter().sum::<i64>() as f64;
    let factor = |value: f64| match cost {
        Cost::Distance => value * unit,
        Cost::SquaredDistance => value * unit * unit,
    };
    potentials.a.iter_mut().chain(&mut potentials.b).for_each(|value| *value = factor(*value));
    let paid = factor(sides.paid(&entries) / total);
    if !paid.is_finite() {
        return Err(TransportError::TooLarge { largest });
    }
    Ok(Answer { entries, cost: paid, gap: factor(gap / total), rounding: factor(rounding / total), potentials })
}

fn solved(sides: Sides, solver: &impl Solver) -> Result<Solution, TransportError> {
    let fast = || solver.fast(sides).map(Some);
    let plain = || solver.plain(sides).transpose();
    let parts = || in_parts(&sides, solver);
    // What loses too many digits, and what takes its steps in the unit of few far points, is not begun where there is another way.
    let squares = sides.squares();
    let unevenness = unevenness(&mut squares.clone());
    let (is_uneven, is_hopeless) = (unevenness > UNEVEN, unevenness > HEAVY && sides.is_hopeless(&squares));
    let ways: [&dyn Fn() -> Result<Option<Solution>, TransportError>; 3] = match (is_hopeless, is_uneven) {
        (true, _) => [&plain, &parts, &fast],
        (false, true) => [&parts, &fast, &plain],
        (false, false) => [&fast, &plain, &parts],
    };
    let mut best: Option<Judged> = None;
    for way in ways {
        if best.as_ref().is_some_and(Judged::is_enough) {
            break;
        }
        if let Some(solution) = way()? {
            best = Judged::better(best, Judged::new(sides, solution));
        }
    }
    Ok(best.expect("the fast way has an answer").solution)
}

/// The plan of two parts, where there are two and they join.
fn in_parts(sides: &Sides, solver: &impl Solver) -> Result<Option<Solution>, TransportError> {
    let Some(parts) = sides.parted() else { return Ok(None) };
    let [low, high] = parts.each_ref().map(|part| solved(part.sides(sides), solver));
    Ok(joined(sides, &parts, [low?, high?]))
}

/// A solution and what it costs.
struct Judged {
    solution: Solution,
    paid: f64,
}

impl Judged {
    fn new(sides: Sides, mut solution: Solution) -> Self {
        let paid = sides.paid(&solution.entries);
        if paid == 0.0 {
            // Nothing is cheaper.
            (solution.gap, solution.rounding) = (0.0, 0.0);
        }
        Self { solution, paid }
    }

    fn error(&self) -> f64 {
        self.solution.gap + self.solution.rounding
    }

    fn is_enough(&self) -> bool {
        self.error() <= ENOUGH * self.paid
    }

    /// The better one, if there are two.
    fn better(one: Option<Self>, other: Self) -> Option<Self> {
        Some(match one {
            Some(one) => one.or(other),
            None => other,
        })
    }

    /// The one that is known better; a plan that costs less is better as long as neither is certain.
    fn or(self, other: Self) -> Self {
        let is_better = other.is_enough() || (!self.is_enough() && other.paid < self.paid);
        let is_surer = other.paid == self.paid && other.error() < self.error();
        if is_better || is_surer { other } else { self }
    }
}

impl<'a> Sides<'a> {
    fn of_x(&self, i: usize) -> &'a [f64] {
        &self.x[i * self.dim..(i + 1) * self.dim]
    }

    fn of_y(&self, j: usize) -> &'a [f64] {
        &self.y[j * self.dim..(j + 1) * self.dim]
    }

    /// `c(x_i, y_j)`.
    pub fn cost_of(&self, i: usize, j: usize) -> f64 {
        self.cost.of_squared(squared_distance(self.of_x(i), self.of_y(j)))
    }

    /// `Σ units c(x_i, y_j)`.
    pub fn paid(&self, entries: &[(u32, u32, i64)]) -> f64 {
        entries.iter().map(|&(i, j, units)| units as f64 * self.cost_of(i as usize, j as usize)).sum()
    }

    /// Whether moving the clouds is about to lose more than what they cost: their distances from the middle against those of the nearest points, for
    /// some of the first cloud, the farthest from the middle among them.
    fn is_hopeless(&self, squares: &[f64]) -> bool {
        let n = self.supplies.len();
        let sizes: f64 = squares.iter().map(|&square| self.cost.of_squared(square)).sum();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_unstable_by(|&i, &k| squares[k].total_cmp(&squares[i]));
        let nearest = |i: usize| (0..self.demands.len()).map(|j| self.cost_of(i, j)).fold(f64::INFINITY, f64::min);
        let (farthest, others) = order.split_at(LOOKED_AT.min(n));
        let step = others.len().div_ceil(LOOKED_AT).max(1);
        let looked_at: Vec<f64> = others.iter().step_by(step).map(|&i| nearest(i)).collect();
        let share = others.len() as f64 / looked_at.len().max(1) as f64;
        let least = farthest.iter().map(|&i| nearest(i)).sum::<f64>() + share * looked_at.iter().sum::<f64>();
        8.0 * f64::EPSILON * (self.dim as f64 + 2.0) * sizes
            > ENOUGH * least * (1.0 + self.demands.len() as f64 / n as f64)
    }

    /// Squared distances from the middle, of the first cloud and of the second.
    fn squares(&self) -> Vec<f64> {
        let middles: Vec<f64> = (0..self.dim).map(|k| self.middle(k)).collect();
        let points = self.x.chunks_exact(self.dim).chain(self.y.chunks_exact(self.dim));
        points.map(|point| squared_distance(point, &middles)).collect()
    }

    /// The median of a coordinate over both clouds.
    fn middle(&self, k: usize) -> f64 {
        let mut values: Vec<f64> =
            self.x.iter().skip(k).step_by(self.dim).chain(self.y.iter().skip(k).step_by(self.dim)).copied().collect();
        let half = values.len() / 2;
        *values.select_nth_unstable_by(half, f64::total_cmp).1
    }

    /// The two sides of the widest gap of a coordinate that leaves them the same mass of both clouds.
    fn parted(&self) -> Option<[Part; 2]> {
        let count = self.supplies.len();
        let (mut widest, mut found, mut extent) = (0.0, None, 0.0f64);
        for k in 0..self.dim {
            let of = |values: &[f64], place: usize| values[place * self.dim + k];
            let x = (0..count).map(|i| (of(self.x, i), self.supplies[i]));
            let y = (0..self.demands.len()).map(|j| (of(self.y, j), -self.demands[j]));
            let mut all: Vec<(f64, i64)> = x.chain(y).collect();
            all.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            extent = extent.max(all[all.len() - 1].0 - all[0].0);
            let mut balance = 0;
            for pair in all.windows(2) {
                balance += pair[0].1;
                let gap = pair[1].0 - pair[0].0;
                if balance == 0 && gap > widest {
                    (widest, found) = (gap, Some((k, pair[0].0)));
                }
            }
        }
        let (k, last) = found.filter(|_| widest > LEAST_GAP * extent)?;
        Some([Ordering::Less, Ordering::Greater].map(|side| {
            let here = |value: f64| (value <= last) == (side == Ordering::Less);
            let places = |values: &[f64]| -> Vec<u32> {
                (0..(values.len() / self.dim) as u32).filter(|&i| here(values[i as usize * self.dim + k])).collect()
            };
            Part::new(self, places(self.x), places(self.y))
        }))
    }
}

/// The ratio of mean and median of squared distances from the middle: large where the mean is that of few points.
fn unevenness(squares: &mut [f64]) -> f64 {
    let mean = squares.iter().sum::<f64>() / squares.len() as f64;
    let half = squares.len() / 2;
    mean / squares.select_nth_unstable_by(half, f64::total_cmp).1.max(f64::MIN_POSITIVE)
}

/// Some of the points of both clouds.
struct Part {
    of_x: Vec<u32>,
    of_y: Vec<u32>,
    x: Vec<f64>,
    y: Vec<f64>,
    supplies: Vec<i64>,
    demands: Vec<i64>,
}

impl Part {
    fn new(sides: &Sides, of_x: Vec<u32>, of_y: Vec<u32>) -> Self {
        let x = of_x.iter().flat_map(|&i| sides.of_x(i as usize)).copied().collect();
        let y = of_y.iter().flat_map(|&j| sides.of_y(j as usize)).copied().collect();
        let supplies = of_x.iter().map(|&i| sides.supplies[i as usize]).collect();
        let demands = of_y.iter().map(|&j| sides.demands[j as usize]).collect();
        Self { of_x, of_y, x, y, supplies, demands }
    }

    fn sides(&self, whole: &Sides) -> Sides<'_> {
        let Self { x, y, supplies, demands, .. } = self;
        Sides { x, y, supplies, demands, dim: whole.dim, cost: whole.cost }
    }
}

/// The plan of the whole from those of its parts; `None` where no shift of the potentials makes all pairs across feasible.
fn joined(sides: &Sides, [low, high]: &[Part; 2], [first, second]: [Solution; 2]) -> Option<Solution> {
    // With t off the second's a and on its b: a_i + b_j + t ≤ c from the first to the second, a_i - t + b_j ≤ c the other way.
    let room = |from: &Part, a: &[f64], to: &Part, b: &[f64]| {
        let mut least = f64::INFINITY;
        for (&i, a) in from.of_x.iter().zip(a) {
            for (&j, b) in to.of_y.iter().zip(b) {
                least = least.min(sides.cost_of(i as usize, j as usize) - a - b);
            }
        }
        least
    };
    let most = room(low, &first.potentials.a, high, &second.potentials.b);
    let least = -room(high, &second.potentials.a, low, &first.potentials.b);
    if least > most {
        return None;
    }
    // Any shift in between is optimal: the one that makes the least of the spread of the potentials.
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let [low_a, low_b] = [&first.potentials.a, &first.potentials.b].map(|values| mean(values));
    let [high_a, high_b] = [&second.potentials.a, &second.potentials.b].map(|values| mean(values));
    let shift = f64::midpoint(high_a - low_a, low_b - high_b).clamp(least, most);
    let mut potentials = Potentials { a: vec![0.0; sides.supplies.len()], b: vec![0.0; sides.demands.len()] };
    let mut entries = Vec::with_capacity(first.entries.len() + second.entries.len());
    let (mut gap, mut rounding) = (0.0, 0.0);
    for (part, solution, shift) in [(low, first, 0.0), (high, second, shift)] {
        part.of_x.iter().zip(&solution.potentials.a).for_each(|(&i, a)| potentials.a[i as usize] = a - shift);
        part.of_y.iter().zip(&solution.potentials.b).for_each(|(&j, b)| potentials.b[j as usize] = b + shift);
        let moved = solution.entries.iter();
        entries.extend(moved.map(|&(i, j, units)| (part.of_x[i as usize], part.of_y[j as usize], units)));
        gap += solution.gap;
        rounding += solution.rounding + part.supplies.iter().sum::<i64>() as f64 * 4.0 * f64::EPSILON * shift.abs();
    }
    Some(Solution { entries, potentials, gap, rounding })
}
