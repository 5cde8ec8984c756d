//! Columns behind a matrix of costs in f64, from differences of coordinates as they are: for points of very different scales.

use super::columns::{Candidate, Columns, insert};
use crate::apart::Sides;

/// Rows, columns and the costs between them.
pub(super) struct Dense {
    /// `[n, n]`, row after row.
    costs: Vec<f64>,
    duals: Vec<f64>,
}

impl Dense {
    /// The costs of points, with duals of zero.
    pub fn new(sides: &Sides) -> Self {
        let n = sides.supplies.len();
        let costs = (0..n).flat_map(|i| (0..n).map(move |j| sides.cost_of(i, j))).collect();
        Self { costs, duals: vec![0.0; n] }
    }

    /// The median of what the nearest column costs a row, or what a row of those that are not 0 costs at least; positive.
    pub fn typical(&self) -> f64 {
        let mut least: Vec<f64> = (0..self.duals.len() as u32).map(|row| self.least(row).1).collect();
        least.sort_unstable_by(f64::total_cmp);
        let middle = least[least.len() / 2];
        let positive = least.into_iter().find(|&cost| cost > 0.0);
        if middle > 0.0 { middle } else { positive.unwrap_or(f64::MIN_POSITIVE) }
    }

    fn reduced(&self, row: u32) -> impl Iterator<Item = (u32, f64)> + '_ {
        let n = self.duals.len();
        let costs = &self.costs[row as usize * n..(row as usize + 1) * n];
        (0..).zip(costs.iter().zip(&self.duals).map(|(cost, dual)| cost - dual))
    }
}

impl Columns for Dense {
    const REMEMBERED: usize = 8;

    fn rows(&self) -> usize {
        self.duals.len()
    }

    fn count(&self) -> usize {
        self.duals.len()
    }

    fn dual(&self, column: u32) -> f64 {
        self.duals[column as usize]
    }

    fn set_dual(&mut self, column: u32, dual: f64) {
        self.duals[column as usize] = dual;
    }

    fn least_about(&self, row: u32, _limit: f64, found: &mut [Candidate]) {
        found.fill(Candidate::NONE);
        for (column, reduced) in self.reduced(row) {
            if reduced < found[found.len() - 1].reduced {
                insert(found, Candidate { cost: reduced + self.dual(column), reduced, column });
            }
        }
    }

    fn least(&self, row: u32) -> (u32, f64) {
        self.reduced(row).fold((u32::MAX, f64::INFINITY), |best, next| if next.1 < best.1 { next } else { best })
    }

    fn within(&self, row: u32, limit: f64, found: &mut Vec<(u32, f64)>) {
        found.extend(self.reduced(row).filter(|(_, reduced)| *reduced <= limit));
    }
}
