//! An assignment problem in the coordinates where it is solved, and the way back.

use super::{Assignment, Solution, preconditioning};
use crate::cloud::unit;
use crate::distances::squared_distance;
use crate::{Cloud, Cost, Potentials, TransportError};

/// Two clouds of the same size, moved and scaled to where they are matched.
pub(super) struct Problem<'a> {
    clouds: [Cloud<'a>; 2],
    pub cost: Cost,
    dim: usize,
    /// The largest coordinate as it was given.
    largest: f64,
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
    /// About the mean cost, without what the distance of the means costs any assignment.
    pub scale: f64,
}

impl<'a> Problem<'a> {
    pub fn new(a: Cloud<'a>, b: Cloud<'a>, cost: Cost) -> Result<Self, TransportError> {
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
        let (centred, moved, scale);
        match cost {
            Cost::SquaredDistance => {
                moved = preconditioning::precondition(&own[0], &own[1], dim).unwrap_or_else(|| own.clone());
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
        Ok(Self { clouds: [a, b], cost, dim, largest: raw, unit, centred, shift, x, y, scale })
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
    ///
    /// # Errors
    ///
    /// A cost that overflows.
    pub fn answer(&self, solution: Solution) -> Result<Assignment, TransportError> {
        let Solution { matches, row_duals: mut phi, column_duals: mut psi } = solution;
        let (dim, n) = (self.dim, matches.len() as f64);
        let mean_cost = |x: &[f64], y: &[f64]| -> f64 {
            let pairs = x.chunks_exact(dim).zip(matches.iter().map(|&j| &y[j as usize * dim..(j as usize + 1) * dim]));
            pairs.map(|(x, y)| self.cost.of_squared(squared_distance(x, y))).sum::<f64>() / n
        };
        let dual = phi.iter().sum::<f64>() / n + psi.iter().sum::<f64>() / n;
        let mut gap = (mean_cost(&self.x, &self.y) - dual).max(0.0);
        // From the clouds as they are: to add up what centring took apart would round where the means are far apart.
        let in_unit = |cloud: &Cloud| -> Vec<f64> { cloud.values().iter().map(|x| x / self.unit).collect() };
        let mut cost = mean_cost(&in_unit(&self.clouds[0]), &in_unit(&self.clouds[1]));
        let mut unit = self.unit;
        if self.cost == Cost::SquaredDistance {
            unit *= self.unit;
            // |x - y|² = |x'|² + |y'|² - 2x'·y' + what depends on one point alone.
            let distance = square(&self.shift);
            let along = |point: &[f64]| 2.0 * self.shift.iter().zip(point).map(|(shift, x)| shift * x).sum::<f64>();
            for (phi, (x, moved)) in phi.iter_mut().zip(self.centred[0].chunks_exact(dim).zip(self.x.chunks_exact(dim)))
            {
                *phi += square(x) - square(moved) + along(x) + distance;
            }
            for (psi, (y, moved)) in psi.iter_mut().zip(self.centred[1].chunks_exact(dim).zip(self.y.chunks_exact(dim)))
            {
                *psi += square(y) - square(moved) - along(y);
            }
        }
        phi.iter_mut().chain(&mut psi).chain([&mut cost, &mut gap]).for_each(|value| *value *= unit);
        if !cost.is_finite() {
            return Err(TransportError::TooLarge { largest: self.largest });
        }
        Ok(Assignment { matches, cost, gap, potentials: Potentials { a: phi, b: psi } })
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
