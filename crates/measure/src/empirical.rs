//! The empirical measure of a point set, exact at every positive noise level.

use std::f64::consts::TAU;

use burn::tensor::Tensor;

use crate::error::{MeasureError, check_finite};
use crate::host::on_host;
use crate::measure::{Denoiser, Points, Sample};
use crate::random::Words;

/// `(1/n) Σ δ_{xᵢ}`: draws are points of the set, each equally likely.
///
/// It has no density, but `X + σZ` has: `wᵢ ∝ exp(-|y - xᵢ|²/2σ²)`, `E[X | y] = Σ wᵢxᵢ`,
/// `∇log p(y) = Σ wᵢ(xᵢ - y)/σ²`. Computed on the host in f64, row by row: memory grows with n, not with n × rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Empirical {
    points: Points,
}

/// The posterior weights of the points for one y, up to their sum.
struct Posterior {
    /// `|y - x|²` for the nearest point.
    nearest: f64,
    /// (point, weight); the nearest has weight 1, and points of weight below e⁻⁷⁵⁰ are left out.
    weights: Vec<(usize, f64)>,
}

impl Empirical {
    /// The measure of these points `[n, d]`.
    ///
    /// # Errors
    ///
    /// No points, no coordinates, or a number that is not finite.
    pub fn new(points: Points) -> Result<Self, MeasureError> {
        if points.is_empty() {
            return Err(MeasureError::Empty { field: "points".to_owned() });
        }
        let points = points.as_standard_layout().into_owned();
        for (i, row) in points.rows().into_iter().enumerate() {
            check_finite(&format!("points[{i}]"), row.as_slice().expect("row-major"))?;
        }
        Ok(Self { points })
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.points.ncols()
    }

    /// The points, `[n, d]`.
    pub fn points(&self) -> &Points {
        &self.points
    }

    fn point(&self, i: usize) -> &[f64] {
        let d = self.points.ncols();
        &self.points.as_slice().expect("row-major")[i * d..(i + 1) * d]
    }

    fn posterior(&self, y: &[f64], sigma: f64) -> Posterior {
        let squares: Vec<f64> = (0..self.points.nrows()).map(|i| squared_distance(y, self.point(i))).collect();
        let (first, &nearest) =
            squares.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1)).expect("at least one point");
        // Rounding of the squares themselves may hide this much of a difference.
        let reach = nearest + 1500.0 * sigma * sigma + 4.0 * y.len() as f64 * f64::EPSILON * nearest;
        let x0 = self.point(first);
        let weights = squares
            .iter()
            .enumerate()
            .filter(|(_, square)| **square <= reach)
            .map(|(i, _)| {
                // |y - x|² - |y - x₀|² as (x - x₀)·((x - y) + (x₀ - y)): exact differences, near and far.
                let excess: f64 =
                    self.point(i).iter().zip(x0).zip(y).map(|((x, x0), y)| (x - x0) * ((x - y) + (x0 - y))).sum();
                (i, (-excess / sigma / sigma / 2.0).exp())
            })
            .collect();
        Posterior { nearest, weights }
    }

    /// `Σ wᵢ f(xᵢⱼ, yⱼ)` for each coordinate.
    fn posterior_mean(&self, y: &[f64], sigma: f64, out: &mut [f64], f: impl Fn(f64, f64) -> f64) {
        let posterior = self.posterior(y, sigma);
        let total: f64 = posterior.weights.iter().map(|(_, w)| w).sum();
        out.fill(0.0);
        for (i, w) in posterior.weights {
            for ((out, &x), &y) in out.iter_mut().zip(self.point(i)).zip(y) {
                *out += w / total * f(x, y);
            }
        }
    }

    /// The log-density of `X + σZ`; y `[m, d]`, σ `[m]` (positive) `-> [m]`.
    pub fn log_density_at(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<1> {
        let (n, d) = self.points.dim();
        let log_density = |y: &[f64], sigma: f64, out: &mut [f64]| {
            let Posterior { nearest, weights } = self.posterior(y, sigma);
            let total: f64 = weights.iter().map(|(_, w)| w).sum();
            let log_scale = d as f64 * (sigma.ln() + TAU.ln() / 2.0);
            out[0] = (total / n as f64).ln() - nearest / sigma / sigma / 2.0 - log_scale;
        };
        on_host(y, sigma, 1, log_density).squeeze_dim::<1>(1)
    }
}

/// `|a - b|²`, in eight partial sums that the compiler can keep in vector registers.
fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(|(a, b)| (a - b) * (a - b)).sum();
    for (a, b) in a.zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += (a - b) * (a - b);
        }
    }
    rest + sums.iter().sum::<f64>()
}

impl Sample for Empirical {
    fn dim(&self) -> usize {
        self.points.ncols()
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        point.copy_from_slice(self.point(words.below(self.points.nrows() as u64) as usize));
    }
}

impl Denoiser for Empirical {
    fn dim(&self) -> usize {
        self.points.ncols()
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        on_host(y, sigma, self.points.ncols(), |y, sigma, out| self.posterior_mean(y, sigma, out, |x, _| x))
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        on_host(y, sigma, self.points.ncols(), |y, sigma, out| {
            self.posterior_mean(y, sigma, out, |x, y| (x - y) / sigma / sigma)
        })
    }
}
