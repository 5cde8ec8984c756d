//! Pairs (y, x) with ∇φ(x) = y that stand for the sampler from stage to stage.

use std::ops::Range;

use brenier_measure::{GaussianMixture, Points, Purpose, Stream};
use brenier_model::monge_ampere::{Inversion, RidgeSum};
use ndarray::Axis;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The sampler's points at a stage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolConfig {
    /// The number of pairs.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub size: usize,
    /// The share that is drawn anew at every stage, one part after the other: one over a whole number, the nearest.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub renewed: f64,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self { size: 8000, renewed: 0.25 }
    }
}

impl PoolConfig {
    /// The number of parts, of which one is renewed at a stage.
    fn parts(&self) -> usize {
        if self.renewed > 0.0 { (1.0 / self.renewed).round().clamp(1.0, self.size as f64) as usize } else { 1 }
    }

    /// The pairs of a part.
    fn rows(&self, part: usize) -> Range<usize> {
        part * self.size / self.parts()..(part + 1) * self.size / self.parts()
    }
}

/// How far a pair is inverted: far below what a sum over thousands of them can see.
const INVERSION: Inversion = Inversion { tolerance: 1e-7, steps: 200 };

/// The largest residual of a pair: a point that was not found makes φ* too small, and a bad step look like progress.
pub const RESOLVED: f64 = 1e-3;

/// Rows of one inversion.
const TILE: usize = 1024;

/// Pairs (y, x) with ∇φ(x) = y.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// Points of the reference, `[m, d]`.
    pub y: Points,
    /// Their images, `[m, d]`.
    pub x: Points,
}

/// Pairs after an inversion, and how well it went.
pub struct Inverted {
    /// x, `[m, d]`.
    pub x: Points,
    /// `|∇φ(x) - y|/(1 + |y|)`, `[m]`.
    pub residuals: Vec<f64>,
}

impl Inverted {
    /// The largest residual; infinite where one is no number.
    pub fn largest_residual(&self) -> f64 {
        let or_infinite = |residual: &f64| if residual.is_nan() { f64::INFINITY } else { *residual };
        self.residuals.iter().map(or_infinite).fold(0.0, f64::max)
    }
}

impl Pool {
    /// Fresh pairs of a potential: x from where y lies.
    pub fn draw(config: &PoolConfig, reference: &GaussianMixture, potential: &RidgeSum, seed: u64) -> Self {
        let stream = Stream::new(seed, Purpose::Pool);
        let draw = |part: usize| reference.even_draws(&stream, part as u64, config.rows(part).len());
        let y = joined(&(0..config.parts()).map(draw).collect::<Vec<_>>());
        let x = solve(potential, &y, &y).x;
        Self { y, x }
    }

    /// x for another potential, from where the pairs are.
    pub fn solve(&self, potential: &RidgeSum) -> Inverted {
        solve(potential, &self.y, &self.x)
    }

    /// Draws a part of the pairs anew: what is learnt from them must not be the same points for ever.
    pub fn renew(
        &mut self,
        config: &PoolConfig,
        stage: u64,
        reference: &GaussianMixture,
        potential: &RidgeSum,
        seed: u64,
    ) {
        if config.renewed == 0.0 {
            return;
        }
        // Whole parts, which each fill the law evenly.
        let rows = config.rows((stage % config.parts() as u64) as usize);
        let step = config.parts() as u64 + stage;
        let y = reference.even_draws(&Stream::new(seed, Purpose::Pool), step, rows.len());
        let found = self.images(potential, &y);
        for (i, row) in rows.enumerate() {
            // A pair that was not found is none, and the old one stays.
            if found.residuals[i] <= RESOLVED {
                self.y.row_mut(row).assign(&y.row(i));
                self.x.row_mut(row).assign(&found.x.row(i));
            }
        }
    }

    /// The images of other points of the reference, each from the image of its nearest y in the pool.
    pub fn images(&self, potential: &RidgeSum, y: &Points) -> Inverted {
        let half_squares = self.y.map_axis(Axis(1), |row| 0.5 * row.dot(&row));
        let nearest = |tile: Points| {
            let mut start = Points::zeros(tile.dim());
            for (products, mut start) in tile.dot(&self.y.t()).rows().into_iter().zip(start.rows_mut()) {
                let distances = half_squares.iter().zip(products).map(|(half_square, product)| half_square - product);
                let best = distances.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(i, _)| i);
                start.assign(&self.x.row(best));
            }
            start
        };
        let starts: Vec<Points> = y
            .axis_chunks_iter(Axis(0), TILE)
            .map(|tile| tile.to_owned())
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(nearest)
            .collect();
        solve(potential, y, &joined(&starts))
    }
}

fn solve(potential: &RidgeSum, y: &Points, start: &Points) -> Inverted {
    let tiles =
        |points: &Points| points.axis_chunks_iter(Axis(0), TILE).map(|tile| tile.to_owned()).collect::<Vec<_>>();
    let parts: Vec<_> =
        tiles(y).into_par_iter().zip(tiles(start)).map(|(y, start)| INVERSION.solve(potential, &y, &start)).collect();
    let residuals = parts.iter().flat_map(|part| &part.residuals).copied().collect();
    Inverted { x: joined(&parts.into_iter().map(|part| part.points).collect::<Vec<_>>()), residuals }
}

fn joined(parts: &[Points]) -> Points {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::concatenate(Axis(0), &views).expect("one width")
}
