//! Columns behind a matrix of costs in f32, for points of many dimensions: half the memory and twice the speed of f64.
//!
//! The auction needs no exact costs. What decides the answer, [`Columns::least`] and [`Columns::within`], reads the
//! matrix as a filter, with a margin above its rounding, and computes the few costs that pass from the points in f64.

use super::columns::{Candidate, Columns, insert};
use crate::distances::{fill_costs, squared_distance};
use crate::{Cloud, Cost, TransportError};

/// Entries that are compared together.
const LANES: usize = 16;

/// Above the rounding of a number to f32, relative, twice over.
const ROUNDING: f64 = 2.5e-7;

/// What f32 may lose of a cost near zero.
const UNDERFLOW: f64 = f32::MIN_POSITIVE as f64;

/// Rows, columns and the costs between them.
#[derive(Debug)]
pub(super) struct Matrix<'a> {
    cost: Cost,
    dim: usize,
    rows: &'a [f64],
    columns: &'a [f64],
    /// Taken from the costs of each column before they are rounded: where all costs are large, what tells them apart stays.
    base: &'a [f64],
    /// `[n, n]`, row after row.
    costs: Vec<f32>,
    /// Above the absolute error of those.
    slack: f64,
    duals: Vec<f64>,
    duals_f32: Vec<f32>,
}

impl<'a> Matrix<'a> {
    /// The costs of points `[n, d]` and `[n, d]` of magnitude about one, less the duals to begin with.
    ///
    /// # Errors
    ///
    /// Points that are not finite.
    pub fn new(
        rows: &'a [f64],
        columns: &'a [f64],
        dim: usize,
        cost: Cost,
        base: &'a [f64],
    ) -> Result<Self, TransportError> {
        let n = base.len();
        let (row_cloud, column_cloud) = (Cloud::new(rows, dim)?, Cloud::new(columns, dim)?);
        let mut costs = vec![0f32; n * n];
        fill_costs(row_cloud, column_cloud, cost, base, &mut costs)?;
        let slack = 1e-14 * base.iter().fold(0.0, |largest: f64, dual| largest.max(dual.abs())) + UNDERFLOW;
        Ok(Self { cost, dim, rows, columns, costs, base, slack, duals: vec![0.0; n], duals_f32: vec![0.0; n] })
    }

    fn costs_of(&self, row: u32) -> &[f32] {
        let n = self.duals.len();
        &self.costs[row as usize * n..(row as usize + 1) * n]
    }

    /// The cost less its base in f64, from the points.
    fn exact(&self, row: u32, column: u32) -> f64 {
        let point = |values: &'a [f64], at: u32| &values[at as usize * self.dim..(at as usize + 1) * self.dim];
        let squared = squared_distance(point(self.rows, row), point(self.columns, column));
        self.cost.of_squared(squared) - self.base[column as usize]
    }

    /// Visits every column whose exact reduced cost may be at most `limit`.
    #[inline(always)]
    fn filter(&self, row: u32, limit: f64, mut visit: impl FnMut(u32)) {
        let costs = self.costs_of(row);
        let limit = limit + self.slack;
        let passes = |cost: f32, dual: f64| f64::from(cost) - f64::from(cost.abs()) * ROUNDING - dual <= limit;
        let chunks = costs.chunks_exact(LANES).zip(self.duals.chunks_exact(LANES));
        for (chunk, (costs, duals)) in chunks.enumerate() {
            let mut any = false;
            for lane in 0..LANES {
                any |= passes(costs[lane], duals[lane]);
            }
            if any {
                for lane in (0..LANES).filter(|&lane| passes(costs[lane], duals[lane])) {
                    visit((chunk * LANES + lane) as u32);
                }
            }
        }
        let whole = costs.len() / LANES * LANES;
        for (column, (&cost, &dual)) in costs.iter().zip(&self.duals).enumerate().skip(whole) {
            if passes(cost, dual) {
                visit(column as u32);
            }
        }
    }
}

impl Columns for Matrix<'_> {
    const REMEMBERED: usize = 24;

    fn rows(&self) -> usize {
        self.duals.len()
    }

    fn count(&self) -> usize {
        self.duals.len()
    }

    #[inline(always)]
    fn dual(&self, column: u32) -> f64 {
        self.duals[column as usize]
    }

    #[inline(always)]
    fn set_dual(&mut self, column: u32, dual: f64) {
        self.duals[column as usize] = dual;
        self.duals_f32[column as usize] = dual as f32;
    }

    #[inline(always)]
    fn least_about(&self, row: u32, limit: f64, found: &mut [Candidate]) {
        let costs = self.costs_of(row);
        found.fill(Candidate::NONE);
        let last = found.len() - 1;
        // A limit rounded upwards keeps the column that made it.
        let mut worst = (limit as f32).next_up();
        let mut add = |column: usize, worst: &mut f32| {
            let reduced = costs[column] - self.duals_f32[column];
            if reduced < *worst {
                let cost = f64::from(costs[column]);
                insert(found, Candidate { cost, reduced: cost - self.duals[column], column: column as u32 });
                *worst = worst.min((found[last].reduced as f32).next_up());
            }
        };
        let chunks = costs.chunks_exact(LANES).zip(self.duals_f32.chunks_exact(LANES));
        for (chunk, (costs, duals)) in chunks.enumerate() {
            let mut any = false;
            for lane in 0..LANES {
                any |= costs[lane] - duals[lane] < worst;
            }
            if any {
                (chunk * LANES..(chunk + 1) * LANES).for_each(|column| add(column, &mut worst));
            }
        }
        (costs.len() / LANES * LANES..costs.len()).for_each(|column| add(column, &mut worst));
        // Rounding may have put one of the columns that made the limit above it.
        if found[last].column == u32::MAX && limit.is_finite() {
            self.least_about(row, f64::INFINITY, found);
        }
    }

    #[inline(always)]
    fn least(&self, row: u32) -> (u32, f64) {
        let reduced = |(&cost, &dual): (&f32, &f64)| f64::from(cost) + f64::from(cost.abs()) * ROUNDING - dual;
        let above = self.costs_of(row).iter().zip(&self.duals).map(reduced).fold(f64::INFINITY, f64::min) + self.slack;
        let mut best = (u32::MAX, f64::INFINITY);
        self.filter(row, above, |column| {
            let reduced = self.exact(row, column) - self.duals[column as usize];
            if reduced < best.1 {
                best = (column, reduced);
            }
        });
        best
    }

    #[inline(always)]
    fn within(&self, row: u32, limit: f64, found: &mut Vec<(u32, f64)>) {
        self.filter(row, limit, |column| {
            let reduced = self.exact(row, column) - self.duals[column as usize];
            if reduced <= limit {
                found.push((column, reduced));
            }
        });
    }
}
