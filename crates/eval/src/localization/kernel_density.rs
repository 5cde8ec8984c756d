//! A smooth density around data points, exact at every noise level: what a sampling grid is computed on.
//!
//! Kernels as wide as the distance to a near neighbour: Breiman, Meisel, Purcell (Technometrics 19, 1977); their common
//! factor by leave-one-out likelihood: Duin (IEEE Transactions on Computers 25, 1976).

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{Points, Purpose, Stream};
use ndarray::{Array2, Axis};

use crate::EvalError;
use crate::error::check;

/// `(1/n) Σ N(xᵢ, bᵢ²I)`, around the mean of the points.
///
/// The mean is taken off because points far from the origin would lose their differences to rounding.
#[derive(Debug, Clone)]
pub(super) struct KernelDensity {
    /// The points less their mean, `[n, d]`.
    pub(super) points: Points,
    /// bᵢ², `[n]`.
    pub(super) variances: Vec<f64>,
    /// 0 of the coordinates of the data, seen from the mean of the points; exactly 0 where their mean is not distinguishable
    /// from it.
    pub(super) origin: Vec<f64>,
}

/// The posterior of the kernel density at one y and σ.
///
/// Kernel i, of variance `Sᵢ = bᵢ² + σ²` at y, says that X has mean `xᵢ + gᵢ(y - xᵢ)` and variance `vᵢ = gᵢσ²`, `gᵢ = bᵢ²/Sᵢ`.
#[derive(Debug, Clone, Default)]
pub(super) struct Tilted {
    sigma: f64,
    /// `E[X | y]`, `[d]`.
    pub(super) mean: Vec<f64>,
    /// Posterior probabilities of the kernels, none of them negligible.
    weights: Vec<f64>,
    /// The mean of each such kernel less the mean of all, `[kernels, d]`.
    deviations: Vec<f64>,
    /// The variance of each such kernel.
    variances: Vec<f64>,
    /// gᵢ of each such kernel.
    gains: Vec<f64>,
}

/// Kernels of lower posterior probability than e^-28 of the likeliest are left out.
const NEGLIGIBLE: f64 = -28.0;

/// The ranks of the neighbours whose distance may set the width of a kernel.
const NEIGHBOURS: [usize; 3] = [5, 10, 20];

/// Kernels are at least this wide, in units of the standard deviation of the data: repeated points leave the width open.
const NARROWEST: f64 = 1e-3;

/// The spreads whose squares, times those of the widest noise and over those of the narrowest, are numbers.
const REPRESENTABLE: std::ops::RangeInclusive<f64> = 1e-100..=1e100;

impl KernelDensity {
    /// The kernel density of at most `count` of the points, chosen by the seed.
    ///
    /// `bᵢ = c dᵢ`, dᵢ either one for all or the distance of point i to its k-th neighbour, whichever makes the likelihood of
    /// each point under the kernels of the others greatest.
    ///
    /// # Errors
    ///
    /// Too few points, a coordinate that is not finite, points without spread or with one beyond 10^±100.
    pub(super) fn of_points(points: &Points, count: usize, seed: u64) -> Result<Self, EvalError> {
        check("data points", points, 2)?;
        let order = Stream::new(seed, Purpose::SamplingGrid).permutation(0, points.nrows());
        let mut points = points.select(Axis(0), &order[..count.clamp(2, points.nrows())]);
        // Twice: the mean of numbers far from 0 is itself rounded.
        let mut mean = vec![0.0; points.ncols()];
        for _ in 0..2 {
            let shift = points.mean_axis(Axis(0)).expect("points");
            points -= &shift;
            mean.iter_mut().zip(&shift).for_each(|(mean, shift)| *mean += shift);
        }
        let (n, d) = points.dim();
        let largest = points.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        if largest == 0.0 {
            return Err(EvalError::NoSpread { count: n });
        }
        if !REPRESENTABLE.contains(&largest) {
            return Err(EvalError::Spread { spread: largest });
        }
        // In units of the spread, so that squares neither overflow nor vanish.
        let rescaled = points.mapv(|x| x / largest);
        let scale = (rescaled.iter().map(|x| x * x).sum::<f64>() / (n * d) as f64).sqrt();
        let squares = squared_distances(&rescaled);
        let floor = NARROWEST * scale;
        let mut best: Option<(f64, Vec<f64>)> = None;
        let mut widths = vec![vec![scale; n]];
        let ranks = NEIGHBOURS.into_iter().filter(|&k| k < n / 4);
        widths.extend(ranks.map(|k| neighbour_distances(&squares, k)));
        for widths in &widths {
            // From a hundredth to three times the width, in factors of 2^(1/3).
            for exponent in -20..=5 {
                let factor = (f64::from(exponent) / 3.0).exp2();
                let variances: Vec<f64> = widths.iter().map(|width| (factor * width).max(floor).powi(2)).collect();
                let likelihood = left_out_log_likelihood(&squares, &variances, d);
                if best.as_ref().is_none_or(|(greatest, _)| likelihood > *greatest) {
                    best = Some((likelihood, variances));
                }
            }
        }
        let (_, variances) = best.expect("at least one width");
        let variances = variances.into_iter().map(|variance| variance * largest * largest).collect();
        // Centred data have a subset with a mean of this size, and a start is not to be blamed for it.
        let chance = 4.0 * points.iter().map(|x| x * x).sum::<f64>() / (n * n) as f64;
        let centred = mean.iter().map(|mean| mean * mean).sum::<f64>() <= chance;
        let origin = mean.into_iter().map(|mean| if centred { 0.0 } else { -mean }).collect();
        Ok(Self { points, variances, origin })
    }

    /// The dimension d.
    pub(super) fn dim(&self) -> usize {
        self.points.ncols()
    }

    /// The kernel width that a tenth of the kernels are below.
    pub(super) fn narrow_width(&self) -> f64 {
        let mut variances = self.variances.clone();
        let tenth = variances.len() / 10;
        variances.select_nth_unstable_by(tenth, f64::total_cmp).1.sqrt()
    }

    /// The eigenvalues of the covariance that are not the common least one, that one, and how often it comes besides.
    pub(super) fn covariance_eigenvalues(&self) -> (Vec<f64>, f64, usize) {
        let (n, d) = self.points.dim();
        let least = self.variances.iter().sum::<f64>() / n as f64;
        // The smaller of the two Gram matrices has every positive eigenvalue.
        let gram = if d <= n { self.points.t().dot(&self.points) } else { self.points.dot(&self.points.t()) };
        let gram = gram.mapv(|x| x / n as f64);
        let trace = gram.diag().sum() / gram.nrows() as f64;
        let values = symmetric_eigen(&gram).map_or_else(|| vec![trace; gram.nrows()], |spectrum| spectrum.values);
        let values: Vec<f64> = values.into_iter().map(|value| value.max(0.0) + least).collect();
        let others = d - values.len().min(d);
        (values, least, others)
    }

    /// The kernels under noise σ > 0.
    pub(super) fn under_noise(&self, sigma: f64) -> NoisyKernels<'_> {
        let of = |&variance: &f64| {
            let total = variance + sigma * sigma;
            (0.5 / total, -0.5 * self.dim() as f64 * total.ln(), variance / total)
        };
        NoisyKernels { density: self, sigma, kernels: self.variances.iter().map(of).collect() }
    }
}

/// A kernel density under one noise level.
#[derive(Debug, Clone)]
pub(super) struct NoisyKernels<'a> {
    density: &'a KernelDensity,
    /// σ.
    pub(super) sigma: f64,
    /// `(1/2Sᵢ, -(d/2) log Sᵢ, gᵢ)` of each kernel.
    kernels: Vec<(f64, f64, f64)>,
}

impl NoisyKernels<'_> {
    /// The posterior at y, seen from the mean of the points.
    pub(super) fn tilt(&self, y: &[f64], tilted: &mut Tilted) {
        let d = self.density.dim();
        let points = self.density.points.as_slice().expect("row-major");
        let Tilted { mean, weights, deviations, variances, gains, .. } = tilted;
        tilted.sigma = self.sigma;
        weights.clear();
        weights.extend(self.kernels.iter().zip(points.chunks_exact(d)).map(|(&(half, norm, _), point)| {
            norm - half * point.iter().zip(y).map(|(x, y)| (y - x) * (y - x)).sum::<f64>()
        }));
        let top = weights.iter().fold(f64::NEG_INFINITY, |top, &w| top.max(w));
        let mut kept = 0;
        let mut total = 0.0;
        mean.clear();
        mean.resize(d, 0.0);
        deviations.clear();
        variances.clear();
        gains.clear();
        for (i, (&(_, _, gain), point)) in self.kernels.iter().zip(points.chunks_exact(d)).enumerate() {
            let log_weight = weights[i] - top;
            if log_weight < NEGLIGIBLE {
                continue;
            }
            let weight = log_weight.exp();
            weights[kept] = weight;
            kept += 1;
            total += weight;
            gains.push(gain);
            variances.push(gain * self.sigma * self.sigma);
            for ((mean, y), x) in mean.iter_mut().zip(y).zip(point) {
                let centre = x + gain * (y - x);
                *mean += weight * centre;
                deviations.push(centre);
            }
        }
        weights.truncate(kept);
        weights.iter_mut().for_each(|weight| *weight /= total);
        mean.iter_mut().for_each(|mean| *mean /= total);
        for row in deviations.chunks_exact_mut(d) {
            row.iter_mut().zip(mean.iter()).for_each(|(centre, mean)| *centre -= mean);
        }
    }
}

impl Tilted {
    fn dim(&self) -> usize {
        self.mean.len()
    }

    /// `C v`, `C = Cov[X | y]/σ²`: the Jacobian of the posterior mean.
    pub(super) fn product(&self, v: &[f64], out: &mut [f64]) {
        let inverse = 1.0 / (self.sigma * self.sigma);
        let within: f64 = self.weights.iter().zip(&self.gains).map(|(weight, gain)| weight * gain).sum();
        out.iter_mut().zip(v).for_each(|(out, v)| *out = within * v);
        for (weight, row) in self.weights.iter().zip(self.deviations.chunks_exact(self.dim())) {
            let along: f64 = row.iter().zip(v).map(|(e, v)| e * v).sum::<f64>() * weight * inverse;
            out.iter_mut().zip(row).for_each(|(out, e)| *out += along * e);
        }
    }

    /// C as a matrix, `[d, d]`.
    pub(super) fn matrix(&self) -> Array2<f64> {
        let d = self.dim();
        let inverse = 1.0 / (self.sigma * self.sigma);
        let within: f64 = self.weights.iter().zip(&self.gains).map(|(weight, gain)| weight * gain).sum();
        let mut matrix = Array2::from_diag_elem(d, within);
        for (weight, row) in self.weights.iter().zip(self.deviations.chunks_exact(d)) {
            for i in 0..d {
                let along = weight * inverse * row[i];
                for j in 0..d {
                    matrix[[i, j]] += along * row[j];
                }
            }
        }
        matrix
    }

    /// `tr C`.
    pub(super) fn trace(&self) -> f64 {
        let d = self.dim();
        let inverse = 1.0 / (self.sigma * self.sigma);
        let rows = self.deviations.chunks_exact(d);
        self.weights.iter().zip(&self.gains).zip(rows).fold(0.0, |sum, ((weight, gain), row)| {
            sum + weight * (gain * d as f64 + inverse * row.iter().map(|e| e * e).sum::<f64>())
        })
    }

    /// `∂E[X | y]/∂log r` at fixed y: `2C(y - D) - E[ξ|ξ|² | y]/σ²`, ξ = X - D.
    pub(super) fn rate(&self, y: &[f64], out: &mut [f64]) {
        let d = self.dim();
        let away: Vec<f64> = y.iter().zip(&self.mean).map(|(y, mean)| 2.0 * (y - mean)).collect();
        self.product(&away, out);
        let inverse = 1.0 / (self.sigma * self.sigma);
        let rows = self.deviations.chunks_exact(d);
        for ((weight, variance), row) in self.weights.iter().zip(&self.variances).zip(rows) {
            // A kernel with mean e and variance v: E[ξ|ξ|²] = e|e|² + (d + 2)v e.
            let square: f64 = row.iter().map(|e| e * e).sum();
            let factor = weight * inverse * (square + (d + 2) as f64 * variance);
            out.iter_mut().zip(row).for_each(|(out, e)| *out -= factor * e);
        }
    }
}

/// `|xᵢ - xⱼ|²`, `[n, n]`.
fn squared_distances(points: &Points) -> Array2<f64> {
    let n = points.nrows();
    let mut squares = Array2::zeros((n, n));
    for i in 0..n {
        for j in 0..i {
            let square: f64 = points.row(i).iter().zip(points.row(j)).map(|(a, b)| (a - b) * (a - b)).sum();
            squares[[i, j]] = square;
            squares[[j, i]] = square;
        }
    }
    squares
}

/// The distance of each point to its k-th neighbour.
fn neighbour_distances(squares: &Array2<f64>, k: usize) -> Vec<f64> {
    let nth = |row: ndarray::ArrayView1<f64>| {
        let mut row = row.to_vec();
        // The point itself is the neighbour of rank 0.
        row.select_nth_unstable_by(k, f64::total_cmp).1.sqrt()
    };
    squares.rows().into_iter().map(nth).collect()
}

/// `Σⱼ log Σ_{i≠j} N(xⱼ; xᵢ, bᵢ²I)`, up to a constant.
fn left_out_log_likelihood(squares: &Array2<f64>, variances: &[f64], d: usize) -> f64 {
    let norms: Vec<f64> = variances.iter().map(|variance| -0.5 * d as f64 * variance.ln()).collect();
    let exponent = |i: usize, square: f64| norms[i] - 0.5 * square / variances[i];
    let of_point = |(j, row): (usize, ndarray::ArrayView1<f64>)| {
        let others = || row.iter().enumerate().filter(move |(i, _)| *i != j);
        let top = others().fold(f64::NEG_INFINITY, |top, (i, &square)| top.max(exponent(i, square)));
        top + others().map(|(i, &square)| (exponent(i, square) - top).exp()).sum::<f64>().ln()
    };
    squares.rows().into_iter().enumerate().map(of_point).sum()
}
