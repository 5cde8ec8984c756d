//! The conjugate of a convex potential, by its gradient.

use std::sync::Arc;

use brenier_measure::{Points, to_points, to_tensor, to_values};
use burn::tensor::{DType, Device};
use ndarray::Axis;
use rayon::prelude::*;

use super::inversion::{Inversion, Preimages};
use super::potential::ConvexPotential;

/// `φ*(y) = sup_x x·y - φ(x)` of a convex potential: its gradient is the inverse of ∇φ. In f64 on the CPU.
#[derive(Clone)]
pub struct Conjugate {
    potential: Arc<dyn ConvexPotential>,
    inversion: Inversion,
    starts: Option<Starts>,
}

/// Points that an inversion may start from, with φ at each.
#[derive(Clone)]
struct Starts {
    points: Points,
    values: Vec<f64>,
}

impl Starts {
    /// For every y the point that minimises `φ(c) - c·y`, which is the answer itself where c runs over all of space.
    fn nearest(&self, y: &Points) -> Points {
        let mut nearest = Points::zeros(y.dim());
        for (products, mut start) in y.dot(&self.points.t()).rows().into_iter().zip(nearest.rows_mut()) {
            let objectives = self.values.iter().zip(products).map(|(value, product)| value - product);
            let best = objectives.enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(i, _)| i);
            start.assign(&self.points.row(best));
        }
        nearest
    }
}

/// Rows in one pass of the potential.
const TILE: usize = 1024;

impl Conjugate {
    /// The conjugate of a potential, found so well.
    pub fn new(potential: Arc<dyn ConvexPotential>, inversion: Inversion) -> Self {
        Self { potential, inversion, starts: None }
    }

    /// The same, whose inversions start from the best of these points, `[m, d]`.
    ///
    /// # Panics
    ///
    /// Where there is no point.
    #[must_use]
    pub fn with_starts(mut self, points: Points) -> Self {
        assert!(points.nrows() > 0, "a point to start from");
        self.starts = Some(Starts { values: value(self.potential(), &points), points });
        self
    }

    /// φ.
    pub fn potential(&self) -> &dyn ConvexPotential {
        self.potential.as_ref()
    }

    /// x = ∇φ*(y), `[n, d]`, from where y lies or the best of the starts: a point that is not found is a failure and no point.
    pub fn gradient(&self, y: &Points) -> Preimages {
        match &self.starts {
            None => self.gradient_from(y, y),
            Some(starts) => {
                let tiles: Vec<Points> = tiles(y).into_par_iter().map(|tile| starts.nearest(&tile)).collect();
                self.gradient_from(y, &joined(&tiles, y.ncols()))
            }
        }
    }

    /// The same from a start for every row: near the answer a step or two is enough.
    pub fn gradient_from(&self, y: &Points, start: &Points) -> Preimages {
        let solve = |(y, start): (Points, Points)| self.inversion.solve(self.potential.as_ref(), &y, &start);
        let pairs: Vec<(Points, Points)> = tiles(y).into_iter().zip(tiles(start)).collect();
        let parts: Vec<Preimages> = pairs.into_par_iter().map(solve).collect();
        let mut all = Preimages {
            points: joined(&parts.iter().map(|part| part.points.clone()).collect::<Vec<_>>(), y.ncols()),
            residuals: Vec::with_capacity(y.nrows()),
            failures: Vec::new(),
        };
        for part in parts {
            let first = all.residuals.len();
            all.failures.extend(part.failures.iter().map(|row| first + row));
            all.residuals.extend(part.residuals);
        }
        all
    }
}

/// φ(x), `[n]`.
pub fn value(potential: &dyn ConvexPotential, x: &Points) -> Vec<f64> {
    let of_tile = |tile: Points| -> Vec<f64> {
        let values = potential.value(to_tensor(&tile, DType::F64, &Device::flex()));
        to_values(values)
    };
    let parts: Vec<Vec<f64>> = tiles(x).into_par_iter().map(of_tile).collect();
    parts.concat()
}

/// ∇φ(x), `[n, d]`.
pub fn gradient(potential: &dyn ConvexPotential, x: &Points) -> Points {
    let of_tile = |tile: Points| to_points(potential.gradient(to_tensor(&tile, DType::F64, &Device::flex())));
    let parts: Vec<Points> = tiles(x).into_par_iter().map(of_tile).collect();
    joined(&parts, x.ncols())
}

/// ∇φ(x), `[n, d]`, and log det ∇²φ(x), `[n]`: NaN where the Hessian is not positive definite.
pub fn gradient_and_log_det(potential: &dyn ConvexPotential, x: &Points) -> (Points, Vec<f64>) {
    let of_tile = |tile: Points| {
        let (gradient, log_det) = potential.gradient_and_log_det(to_tensor(&tile, DType::F64, &Device::flex()));
        (to_points(gradient), log_det)
    };
    let parts: Vec<(Points, Vec<f64>)> = tiles(x).into_par_iter().map(of_tile).collect();
    let (gradients, log_dets): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    (joined(&gradients, x.ncols()), log_dets.concat())
}

/// The points in tiles of rows.
fn tiles(points: &Points) -> Vec<Points> {
    points.axis_chunks_iter(Axis(0), TILE).map(|tile| tile.to_owned()).collect()
}

fn joined(parts: &[Points], dim: usize) -> Points {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    if views.is_empty() { Points::zeros((0, dim)) } else { ndarray::concatenate(Axis(0), &views).expect("one width") }
}
