//! The posterior of a measure under Gaussian noise: what localization and curvature are made of.

mod empirical;
mod mixture;
#[cfg(test)]
mod tests;

use ndarray::Array2;
use rayon::prelude::*;

use crate::linear_algebra::largest_eigenvalue;
use crate::measure::Points;

/// What is known of X once `Y_r = rX + Z`, `Z ~ N(0, I)`, has been seen to equal y.
#[derive(Debug, Clone, PartialEq)]
pub struct Posterior {
    /// `log p_{Y_r}(y)` in nats.
    pub log_density: f64,
    /// `E[rX | Y_r = y]`, `[d]`.
    pub mean: Vec<f64>,
    /// `Cov[rX | Y_r = y]`, `[d, d]`.
    pub covariance: Array2<f64>,
}

impl Posterior {
    /// `L_r(y) = ‖Cov[rX | Y_r = y]‖_op`, the top eigenvalue.
    pub fn localization(&self) -> f64 {
        largest_eigenvalue(&self.covariance)
    }
}

/// The posterior of a measure at every signal-to-noise ratio r: an exact measure or a network.
///
/// `∇²log p_{Y_r}(y) = Cov[rX | Y_r = y] - I`, so `L_r(y) ≤ 1 - δ` iff `∇²log p_{Y_r}(y) ⪯ -δI`.
/// Liang, Dharmakeerthi, Koriyama (2411.01629).
pub trait PosteriorCovariance {
    /// The dimension d.
    fn dim(&self) -> usize;

    /// The posterior at each row of y `[m, d]` (coordinates of `Y_r`), for one r > 0.
    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior>;

    /// Places about which X gathers, `[k, d]`, as far as they are known: the means of components. Draws miss the rare ones.
    fn centres(&self) -> Points {
        Points::zeros((0, self.dim()))
    }

    /// `L_r(y)` at each row of y, `[m, d] -> [m]`.
    fn localization(&self, snr: f64, y: &Points) -> Vec<f64> {
        self.posterior(snr, y).iter().map(Posterior::localization).collect()
    }
}

/// Applies `f` to each row of y in parallel, in the order of the rows.
pub(crate) fn by_rows<T: Send>(y: &Points, f: impl Fn(&[f64]) -> T + Send + Sync) -> Vec<T> {
    let y = y.as_standard_layout();
    let rows = y.as_slice().expect("row-major");
    rows.par_chunks(y.ncols().max(1)).map(f).collect()
}

/// Mean and covariance of weighted points; `weights` `[k]`, up to their sum, `points` `[k][d]`.
///
/// About the mean, in two passes: `E[xxᵀ] - E[x]E[x]ᵀ` would lose what the points have in common.
pub(crate) fn weighted_moments(weights: &[f64], points: &mut [f64], dim: usize) -> (Vec<f64>, Array2<f64>) {
    let total: f64 = weights.iter().sum();
    let mut mean = vec![0.0; dim];
    for (weight, point) in weights.iter().zip(points.chunks_exact(dim)) {
        for (mean, x) in mean.iter_mut().zip(point) {
            *mean += weight / total * x;
        }
    }
    let mut covariance = Array2::zeros((dim, dim));
    let entries = covariance.as_slice_mut().expect("row-major");
    for (weight, point) in weights.iter().zip(points.chunks_exact_mut(dim)) {
        for (x, mean) in point.iter_mut().zip(&mean) {
            *x -= mean;
        }
        for (row, &x) in entries.chunks_exact_mut(dim).zip(&*point) {
            let scaled = weight / total * x;
            for (entry, x) in row.iter_mut().zip(&*point) {
                *entry += scaled * x;
            }
        }
    }
    (mean, covariance)
}
