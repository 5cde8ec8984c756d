//! An assignment problem in the coordinates where it is solved, and the way back.

use super::{Solution, preconditioning};
use crate::apart;
use crate::cloud::unit;
use crate::distances::squared_distance;
use crate::{Cloud, Cost, Potentials, TransportError};

/// Two clouds of the same size, moved and scaled to where they are matched.
pub(super) struct Problem {
    pub cost: Cost,
    dim: usize,
    /// The length that is one: a power of two, so that scaling rounds nothing.
    unit: f64,
    /// The clouds in that unit: for the squared distance each less its mean, else both less the mean of the second.
    centred: [Vec<f64>; 2],
    /// The mean of the first cloud less that of the second.
    shift: Vec<f64>,
    /// The points as they are matched, `[n, d]`.
    pub x: Vec<f64>,
    /// Those of the second cloud.
    pub y: Vec<f64>,
    /// The condition of the map by which they were moved.
    condition: f64,
    /// About the mean cost, without what the distance of the means costs any assignment.
    pub scale: f64,
}

impl Problem {
    pub fn new(a: Cloud, b: Cloud, cost: Cost) -> Result<Self, TransportError> {
        let dim = a.dim();
        let [a_mean, b_mean] = [&a, &b].map(mean);
        let own = [less(&a, &a_mean), less(&b, &b_mean)];
        let raw = a.values().iter().chain(b.values()).fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let largest = own.iter().flatten().fold(0.0, |largest: f64, x| largest.max(x.abs()));
        let unit = unit(largest);
        let scaled = |values: Vec<f64>| -> Vec<f64> { values.into_iter().map(|x| x / unit).collect() };
        let own = own.map(scaled);
        let shift: Vec<f64> = a_mean.iter().zip(&b_mean).map(|(a, b)| (a - b) / unit).collect();
        if !own.iter().flatten().chain(&shift).all(|x| x.is_finite()) {
            return Err(TransportError::TooLarge { largest: raw });
        }
        let (centred, moved, scale, mut condition);
        condition = 1.0;
        match cost {
            Cost::SquaredDistance => {
                moved = match preconditioning::precondition(&own[0], &own[1], dim) {
                    Some((moved, of_map)) => {
                        condition = of_map;
                        moved
                    }
                    None => own.clone(),
                };
                scale = moved.iter().flatten().map(|x| x * x).sum::<f64>() / a.count() as f64;
                centred = own;
            }
            Cost::Distance => {
                let spread = |points: &[f64]| points.chunks_exact(dim).map(length).sum::<f64>() / a.count() as f64;
                scale = spread(&own[0]) + spread(&own[1]);
                let [x, y] = own;
                centred = [x.iter().zip(shift.iter().cycle()).map(|(x, shift)| x + shift).collect(), y];
                moved = centred.clone();
            }
        }
        let [x, y] = moved;
        Ok(Self { cost, dim, unit, centred, shift, x, y, condition, scale })
    }

    /// Duals of the columns to begin with.
    ///
    /// For clouds that lie farther apart than they are wide, the distance from the other mean is nearly optimal; duals
    /// that start at zero would first have to climb there.
    pub fn start(&self) -> Vec<f64> {
        let far = self.cost == Cost::Distance && length(&self.shift) > self.scale;
        let dual = |y: &[f64]| if far { squared_distance(y, &self.shift).sqrt() } else { 0.0 };
        self.y.chunks_exact(self.dim).map(dual).collect()
    }

    /// The solution where each cloud sits on one point: every assignment is optimal.
    pub fn of_two_points(&self) -> Solution {
        let n = self.x.len() / self.dim;
        let cost = match self.cost {
            Cost::SquaredDistance => 0.0,
            Cost::Distance => length(&self.shift),
        };
        Solution { matches: (0..n as u32).collect(), row_duals: vec![cost; n], column_duals: vec![0.0; n] }
    }

    /// The answer in the coordinates of the clouds.
    pub fn answer(&self, solution: Solution) -> apart::Solution {
        let Solution { matches, row_duals: mut phi, column_duals: mut psi } = solution;
        let point = |values: &[f64], at: usize| values[at * self.dim..(at + 1) * self.dim].to_vec();
        // Σ (c - φ - ψ), a sum of what is never negative: it does not cancel.
        let slack = |(i, &j): (usize, &u32)| {
            let squared = squared_distance(&point(&self.x, i), &point(&self.y, j as usize));
            (self.cost.of_squared(squared) - phi[i] - psi[j as usize]).max(0.0)
        };
        let mut gap: f64 = matches.iter().enumerate().map(slack).sum();
        let of_duals: f64 = phi.iter().chain(&psi).map(|dual| dual.abs()).sum();
        let mut rounding = self.rounding() + (self.dim as f64 + 4.0) * f64::EPSILON * of_duals;
        let mut unit = self.unit;
        if self.cost == Cost::SquaredDistance {
            unit *= self.unit;
            let distance = square(&self.shift);
            // |x - y|² = |x'|² + |y'|² - 2x'·y' + what depends on one point alone.
            let along = |point: &[f64]| 2.0 * self.shift.iter().zip(point).map(|(shift, x)| shift * x).sum::<f64>();
            for (phi, (x, moved)) in
                phi.iter_mut().zip(self.centred[0].chunks_exact(self.dim).zip(self.x.chunks_exact(self.dim)))
            {
                *phi += square(x) - square(moved) + along(x) + distance;
            }
            for (psi, (y, moved)) in
                psi.iter_mut().zip(self.centred[1].chunks_exact(self.dim).zip(self.y.chunks_exact(self.dim)))
            {
                *psi += square(y) - square(moved) - along(y);
            }
        }
        phi.iter_mut().chain(&mut psi).chain([&mut gap, &mut rounding]).for_each(|value| *value *= unit);
        let entries = matches.iter().enumerate().map(|(i, &j)| (i as u32, j, 1)).collect();
        apart::Solution { entries, potentials: Potentials { a: phi, b: psi }, gap, rounding }
    }

    /// By how much the sum of the costs of any assignment may differ from that of the points as they are given, up to what is the same for all, twice
    /// over: once for the assignment that was found, once for the best.
    ///
    /// A coordinate is rounded when it is moved, `Lx·L⁻¹y` is `x·y` up to rounding by the condition of L, and a sum of d squares once a term.
    fn rounding(&self) -> f64 {
        let sum = |of: fn(&[f64]) -> f64| -> f64 {
            let of_points = |points: &[f64]| -> f64 { points.chunks_exact(self.dim).map(of).sum() };
            of_points(&self.x) + of_points(&self.y)
        };
        let d = self.dim as f64;
        match self.cost {
            Cost::SquaredDistance => 4.0 * f64::EPSILON * (d + 2.0) * (1.0 + self.condition) * sum(square),
            Cost::Distance => 4.0 * f64::EPSILON * (d + 2.0) * sum(length),
        }
    }
}

/// The mean, from the differences to the first point: exact where all points are equal.
fn mean(cloud: &Cloud) -> Vec<f64> {
    let first = &cloud.values()[..cloud.dim()];
    let mut mean = first.to_vec();
    for point in cloud.points() {
        mean.iter_mut()
            .zip(point.iter().zip(first))
            .for_each(|(mean, (x, first))| *mean += (x - first) / cloud.count() as f64);
    }
    mean
}

fn less(cloud: &Cloud, centre: &[f64]) -> Vec<f64> {
    cloud.points().flat_map(|point| point.iter().zip(centre).map(|(x, centre)| x - centre)).collect()
}

fn square(point: &[f64]) -> f64 {
    point.iter().map(|x| x * x).sum()
}

fn length(point: &[f64]) -> f64 {
    square(point).sqrt()
}
