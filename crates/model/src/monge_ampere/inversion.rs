//! The inverse of the gradient of a convex potential, by damped Newton on `φ(x) - x·y`.
//!
//! # Design
//!
//! The objective is strictly convex and has its minimum where `∇φ(x) = y`. A Newton direction comes from the Hessian up to [`EXPLICIT`]
//! dimensions, above that from conjugate gradients; the step is halved until the residual halves, or the objective falls as Armijo asks
//! (near the minimum it knows no more digits). Every row has a step of its own, and rows that have arrived leave the batch.

use brenier_measure::{Points, to_points, to_tensor};
use burn::tensor::{DType, Device, Tensor};
use ndarray::Axis;

use super::newton::{self, EXPLICIT};
use super::potential::ConvexPotential;

/// Halvings of one step.
const HALVINGS: usize = 40;

/// The part of the slope by which the objective must fall.
const ARMIJO: f64 = 1e-4;

/// When an inversion ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Inversion {
    /// The largest residual `|∇φ(x) - y|/(1 + |y|)` of a point that counts as found.
    pub tolerance: f64,
    /// Newton steps at most.
    pub steps: usize,
}

impl Default for Inversion {
    fn default() -> Self {
        Self { tolerance: 1e-8, steps: 100 }
    }
}

/// Points x with `∇φ(x) = y`, and how well they were found.
#[derive(Debug, Clone, PartialEq)]
pub struct Preimages {
    /// x, `[n, d]`.
    pub points: Points,
    /// `|∇φ(x) - y|/(1 + |y|)`, `[n]`.
    pub residuals: Vec<f64>,
    /// The rows whose residual is above the tolerance, or no number: their points are none.
    pub failures: Vec<usize>,
}

impl Inversion {
    /// x with `∇φ(x) = y`, from a start x for every row; y and start `[n, d]`, in f64 on the CPU.
    ///
    /// # Panics
    ///
    /// Where y and the start have different shapes, or another dimension than the potential.
    pub fn solve(&self, potential: &dyn ConvexPotential, y: &Points, start: &Points) -> Preimages {
        assert_eq!((y.dim(), y.ncols()), (start.dim(), potential.dim()), "points of the potential's dimension");
        let n = y.nrows();
        let (mut points, mut residuals) = (start.clone(), vec![f64::INFINITY; n]);
        let mut open: Vec<usize> = (0..n).collect();
        let mut active = Active::at(potential, start.clone(), y.clone());
        for step in 0..=self.steps {
            for (row, &i) in open.iter().enumerate() {
                points.row_mut(i).assign(&active.x.row(row));
                residuals[i] = active.residuals[row];
            }
            // A row whose residual is no number cannot be moved, and one that has not moved never will.
            let is_open = |row: &usize| {
                let residual = active.residuals[*row];
                residual > self.tolerance && residual.is_finite() && active.moved[*row]
            };
            let rows: Vec<usize> = (0..open.len()).filter(is_open).collect();
            if rows.is_empty() || step == self.steps {
                break;
            }
            open = rows.iter().map(|&row| open[row]).collect();
            active = active.select(&rows).step(potential);
        }
        let failures = (0..n).filter(|&i| residuals[i].is_nan() || residuals[i] > self.tolerance).collect();
        Preimages { points, residuals, failures }
    }
}

/// The rows that have not arrived.
struct Active {
    x: Points,
    y: Points,
    /// `∇φ(x) - y`.
    gaps: Points,
    residuals: Vec<f64>,
    /// The least residual that a row has had: to halve it time and again leads to the end, where to halve the last one may go in circles.
    least: Vec<f64>,
    /// `∇²φ(x)`, one matrix a row; none in dimensions without.
    hessians: Vec<f64>,
    /// Whether the last step led anywhere.
    moved: Vec<bool>,
}

impl Active {
    fn at(potential: &dyn ConvexPotential, x: Points, y: Points) -> Self {
        let (gradient, hessians) = if potential.dim() <= EXPLICIT {
            let (gradient, hessians) = potential.gradient_and_hessian(tensor(&x));
            (gradient, hessians.into_data().convert::<f64>().try_to_vec().expect("f64 after conversion"))
        } else {
            (potential.gradient(tensor(&x)), Vec::new())
        };
        let gaps = to_points(gradient) - &y;
        let size = |row: ndarray::ArrayView1<f64>| row.dot(&row).sqrt();
        let residuals: Vec<f64> =
            gaps.rows().into_iter().zip(y.rows()).map(|(gap, y)| size(gap) / (1.0 + size(y))).collect();
        let moved = vec![true; x.nrows()];
        Self { x, y, gaps, least: residuals.clone(), residuals, hessians, moved }
    }

    fn select(&self, rows: &[usize]) -> Self {
        let choose = |points: &Points| points.select(Axis(0), rows);
        let size = self.hessians.len() / self.x.nrows().max(1);
        Self {
            x: choose(&self.x),
            y: choose(&self.y),
            gaps: choose(&self.gaps),
            residuals: rows.iter().map(|&row| self.residuals[row]).collect(),
            least: rows.iter().map(|&row| self.least[row]).collect(),
            hessians: rows.iter().flat_map(|&row| &self.hessians[row * size..(row + 1) * size]).copied().collect(),
            moved: rows.iter().map(|&row| self.moved[row]).collect(),
        }
    }

    /// Puts row `from` of another in the place of a row.
    fn take(&mut self, row: usize, other: &Self, from: usize) {
        let size = self.hessians.len() / self.x.nrows();
        self.x.row_mut(row).assign(&other.x.row(from));
        self.gaps.row_mut(row).assign(&other.gaps.row(from));
        self.residuals[row] = other.residuals[from];
        self.least[row] = self.least[row].min(other.residuals[from]);
        self.hessians[row * size..(row + 1) * size].copy_from_slice(&other.hessians[from * size..(from + 1) * size]);
    }

    /// The rows after one damped Newton step.
    ///
    /// Nearly every full step halves the residual: the objective is asked only where one does not.
    fn step(mut self, potential: &dyn ConvexPotential) -> Self {
        let directions = if potential.dim() <= EXPLICIT {
            newton::by_hessians(&self.gaps, &self.hessians)
        } else {
            newton::by_products(potential, &tensor(&self.x), &self.gaps)
        };
        let slopes: Vec<f64> = (&directions * &self.gaps).rows().into_iter().map(|row| row.sum()).collect();
        let mut open: Vec<usize> = (0..self.x.nrows()).collect();
        let mut length = 1.0;
        for _ in 0..HALVINGS {
            let choose = |points: &Points| points.select(Axis(0), &open);
            let trial = Self::at(potential, choose(&self.x) + &(choose(&directions) * length), choose(&self.y));
            let (halved, asked): (Vec<usize>, Vec<usize>) =
                (0..open.len()).partition(|&row| trial.residuals[row] <= 0.5 * self.least[open[row]]);
            let mut rest = Vec::new();
            if !asked.is_empty() {
                let before =
                    objectives(potential, &self.select(&asked.iter().map(|&row| open[row]).collect::<Vec<_>>()));
                let after = objectives(potential, &trial.select(&asked));
                for ((&row, before), after) in asked.iter().zip(before).zip(after) {
                    let falls = after <= before + ARMIJO * length * slopes[open[row]];
                    if falls && trial.residuals[row].is_finite() {
                        self.take(open[row], &trial, row);
                    } else {
                        rest.push(open[row]);
                    }
                }
            }
            halved.into_iter().for_each(|row| self.take(open[row], &trial, row));
            (open, length) = (rest, 0.5 * length);
            if open.is_empty() {
                break;
            }
        }
        open.into_iter().for_each(|i| self.moved[i] = false);
        self
    }
}

/// `φ(x) - x·y`, `[n]`.
fn objectives(potential: &dyn ConvexPotential, rows: &Active) -> Vec<f64> {
    let values: Vec<f64> =
        potential.value(tensor(&rows.x)).into_data().convert::<f64>().try_to_vec().expect("f64 after conversion");
    let products = (&rows.x * &rows.y).rows().into_iter().map(|row| row.sum()).collect::<Vec<f64>>();
    values.iter().zip(products).map(|(value, product)| value - product).collect()
}

fn tensor(points: &Points) -> Tensor<2> {
    to_tensor(points, DType::F64, &Device::flex())
}
