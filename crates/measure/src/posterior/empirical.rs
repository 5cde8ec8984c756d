//! The posterior of an empirical measure: a softmax over its points.
//!
//! # Design
//!
//! The exponents of a tile of queries are one matrix product with the centred points. Then every query looks at its own
//! weights. With the likeliest point p, the pivot, of probability `1 - ω`, and the shares `αᵢ = wᵢ/ω` of the others,
//!
//! `C/ω = Σ αᵢ(xᵢ - m)(xᵢ - m)ᵀ + (1 - ω)(m - p)(m - p)ᵀ`, `m = Σ αᵢxᵢ`,
//!
//! sums of what is positive, so that L keeps its digits however small ω is. Points that cannot change the answer are left
//! out. In few dimensions the covariance is formed; an eigenvector needs half the digits of its eigenvalue, so it is formed
//! of the heavy points alone and in f32, and the eigenvalue is the Rayleigh quotient of all points in f64, where its
//! residual proves it good enough; else everything is formed in f64. In many dimensions covariances are only multiplied
//! with vectors. Memory grows with the number of points. No number depends on how the queries are shared out among threads.

use std::f64::consts::TAU;

use faer::linalg::matmul::matmul;
use faer::reborrow::ReborrowMut;
use faer::traits::{ComplexField, math_utils};
use faer::{Accum, MatMut, MatRef, Par};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::{Posterior, PosteriorCovariance, by_rows, weighted_moments};
use crate::elementary::exp_of_negative;
use crate::empirical::Empirical;
use crate::lanczos::{self, Accuracy, Krylov};
use crate::linear_algebra::{LargestPair, Tridiagonal, add_scaled, dot, norm};
use crate::measure::Points;

/// A weight below `e^-NEGLIGIBLE` of the largest is zero.
const NEGLIGIBLE: f64 = 745.0;
/// Points that change L by less than this, relative to it, are left out.
const LEFT_OUT: f64 = 1e-12;
/// The share of light points, in units of what a point that far from the others adds to the covariance.
const LIGHT: f64 = 1e-6;
/// The error of an eigenvalue that is allowed, relative to it.
const TOLERANCE: f64 = 1e-11;
/// The error of a covariance in f32, relative to its trace; it is far below where points are many.
const SINGLE_ERROR: f64 = 2e-7;
/// An error of an exponent that is not worth computing it again.
const EXPONENT_ERROR: f64 = 1e-11;
/// Queries of a tile.
const TILE_ROWS: usize = 32;
/// Points of one matrix product: exponents of a tile, or vectors of the gathered points, that stay in the cache.
const TILE_POINTS: usize = 512;
/// Rows of one part of a product of a matrix with its own transpose.
const STRIP: usize = 16;
/// Up to this dimension, or number of points, a covariance is formed; beyond, it is multiplied with vectors.
const DENSE: usize = 192;
/// The share of points above which the queries of a tile go through all points together.
const SHARED: f64 = 0.1;

/// The points about their mean, which neither weights nor covariances depend on; equal points are one.
struct Centred {
    dim: usize,
    /// How many points there are, equal or not.
    total: usize,
    /// c.
    centre: Vec<f64>,
    /// `x - c`, one point after the other.
    points: Vec<f64>,
    /// `|x - c|²`.
    squares: Vec<f64>,
    /// How often each occurs, as logarithms.
    log_counts: Vec<f64>,
    /// The largest `|x - c|`.
    radius: f64,
}

/// The points that matter to one query.
#[derive(Default)]
struct Weighted {
    /// p, the likeliest.
    pivot: usize,
    /// ω, the probability of the others.
    rest: f64,
    /// The others.
    points: Vec<u32>,
    /// Their shares α of ω, `[k]`.
    shares: Vec<f64>,
}

/// Points by their shares.
struct Split {
    /// Those that the eigenvector is computed from, then the others.
    order: Weighted,
    /// How many are of the first kind.
    heavy: usize,
    /// How much the others may change the covariance.
    error: f64,
}

impl Centred {
    fn new(points: &Points) -> Self {
        let (n, dim) = points.dim();
        let mut centre = vec![0.0; dim];
        for row in points.rows() {
            for (sum, x) in centre.iter_mut().zip(row) {
                *sum += x / n as f64;
            }
        }
        let values = points.as_slice().expect("row-major");
        let row = |i: u32| &values[i as usize * dim..(i as usize + 1) * dim];
        // In order equal points are neighbours, and many that are near each other are: a query reads them one after the other.
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.par_sort_by(|&a, &b| {
            let different = row(a).iter().zip(row(b)).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne());
            different.unwrap_or_else(|| a.cmp(&b))
        });
        let firsts: Vec<(u32, u32)> =
            order.chunk_by(|&a, &b| row(a) == row(b)).map(|c| (c[0], c.len() as u32)).collect();
        let points: Vec<f64> =
            firsts.iter().flat_map(|&(i, _)| row(i).iter().zip(&centre).map(|(x, c)| x - c)).collect();
        let squares: Vec<f64> = points.chunks_exact(dim).map(|x| dot(x, x)).collect();
        let radius = squares.iter().copied().fold(0.0, f64::max).sqrt();
        let log_counts = firsts.iter().map(|&(_, count)| f64::from(count).ln()).collect();
        Self { dim, total: n, centre, points, squares, log_counts, radius }
    }

    fn point(&self, i: usize) -> &[f64] {
        &self.points[i * self.dim..(i + 1) * self.dim]
    }

    /// `y - rc`.
    fn about_centre(&self, snr: f64, y: &[f64]) -> Vec<f64> {
        y.iter().zip(&self.centre).map(|(y, c)| y - snr * c).collect()
    }

    fn posterior(&self, snr: f64, y: &[f64]) -> Posterior {
        let d = self.dim;
        let y = self.about_centre(snr, y);
        let rough = self
            .points
            .chunks_exact(d)
            .zip(&self.log_counts)
            .map(|(x, count)| count + x.iter().zip(&y).map(|(x, y)| (snr * x) * (y - 0.5 * snr * x)).sum::<f64>());
        let pivot = rough.enumerate().fold((0, f64::NEG_INFINITY), |a, b| if b.1 > a.1 { b } else { a }).0;
        let origin = self.point(pivot);
        let log_weights: Vec<f64> = self
            .points
            .chunks_exact(d)
            .zip(&self.log_counts)
            .map(|(x, count)| count + relative_exponent(x, origin, &y, snr))
            .collect();
        let top = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut weights = Vec::new();
        let mut deviations = Vec::new();
        let kept = log_weights.iter().zip(self.points.chunks_exact(d));
        for (log_weight, x) in kept.filter(|(log_weight, _)| **log_weight >= top - NEGLIGIBLE) {
            weights.push((log_weight - top).exp());
            deviations.extend(x.iter().zip(origin).map(|(x, o)| x - o));
        }
        let (deviation, mut covariance) = weighted_moments(&weights, &mut deviations, d);
        covariance *= snr * snr;
        let mean = (0..d).map(|j| snr * (self.centre[j] + origin[j] + deviation[j])).collect();
        let nearest: f64 = y.iter().zip(origin).map(|(y, o)| (y - snr * o) * (y - snr * o)).sum();
        let total: f64 = weights.iter().sum();
        let log_density = (total / self.total as f64).ln() + top - 0.5 * (nearest + d as f64 * TAU.ln());
        Posterior { log_density, mean, covariance }
    }

    /// `L_r` at some y `[t, d]`, `t ≤ TILE_ROWS`; `exponents` has room for `[t, n]`.
    fn localization(&self, snr: f64, y: &[f64], exponents: &mut [f64]) -> Vec<f64> {
        let (d, n) = (self.dim, self.log_counts.len());
        let y: Vec<f64> = y.chunks_exact(d).flat_map(|y| self.about_centre(snr, y)).collect();
        let rows = y.len() / d;
        let exponents = &mut exponents[..rows * n];
        self.exponents(snr, &y, exponents);
        let mut answers = vec![0.0; rows];
        // Queries that share their products with others: their rows, with the shares instead of exponents, move to the front.
        let mut wide = Vec::new();
        for row in 0..rows {
            let Some(weighted) = self.weighted(snr, &y[row * d..(row + 1) * d], &mut exponents[row * n..(row + 1) * n])
            else {
                answers[row] = f64::NAN;
                continue;
            };
            let count = weighted.points.len();
            answers[row] = if d <= 2 || count < d.min(DENSE) {
                self.dense(&weighted)
            } else if (count as f64) < SHARED * n as f64 {
                if d <= DENSE { self.narrow(&self.split(weighted)) } else { self.gathered(&weighted) }
            } else {
                let front = &mut exponents[wide.len() * n..(wide.len() + 1) * n];
                front.fill(0.0);
                for (&i, share) in weighted.points.iter().zip(&weighted.shares) {
                    front[i as usize] = *share;
                }
                wide.push((row, weighted));
                continue;
            };
        }
        if !wide.is_empty() {
            let (rows, queries): (Vec<usize>, Vec<Weighted>) = wide.into_iter().unzip();
            let shares = &exponents[..rows.len() * n];
            let values = if d <= DENSE {
                self.formed_together(queries, shares)
            } else {
                self.multiplied_together(&queries, shares)
            };
            for (row, value) in rows.into_iter().zip(values) {
                answers[row] = value;
            }
        }
        answers.iter().map(|value| (snr * snr * value).max(0.0)).collect()
    }

    /// `-½|y - rx|²` up to a number for each query, with the logarithms of the counts; y about the centre.
    fn exponents(&self, snr: f64, y: &[f64], out: &mut [f64]) {
        let (d, n) = (self.dim, self.log_counts.len());
        let rows = y.len() / d;
        let queries = MatRef::from_row_major_slice(y, rows, d);
        for start in (0..n).step_by(TILE_POINTS) {
            let count = TILE_POINTS.min(n - start);
            let points = &self.points[start * d..(start + count) * d];
            let block = MatRef::from_row_major_slice(points, count, d);
            // Rows `n` apart. (faer 0.24's constructor for strided rows takes the strides the wrong way round.)
            let target = MatMut::from_column_major_slice_with_stride_mut(&mut out[start..], count, rows, n);
            matmul(target.transpose_mut(), Accum::Replace, queries, block.transpose(), snr, Par::Seq);
            let offsets: Vec<f64> = self.squares[start..start + count]
                .iter()
                .zip(&self.log_counts[start..])
                .map(|(square, log_count)| log_count - 0.5 * snr * (snr * square))
                .collect();
            for row in out.chunks_exact_mut(n) {
                add_scaled(&mut row[start..start + count], 1.0, &offsets);
            }
        }
    }

    /// The points that matter to L, and their probabilities; `None` where an exponent overflows.
    ///
    /// With pivot p and the next point s, `C ⪰ w_p w_s (x_s - x_p)(x_s - x_p)ᵀ`, while points of probability ω change C by
    /// at most `8 R² ω`: so `ω ≤ 10⁻¹² w_s |x_s - x_p|²/8R²`, times w_p, may be left out, however small L is.
    fn weighted(&self, snr: f64, y: &[f64], exponents: &mut [f64]) -> Option<Weighted> {
        let d = self.dim;
        let largest = |exponents: &[f64]| -> (usize, f64) {
            let top = Arch::new().dispatch(|| maximum(exponents));
            (exponents.iter().position(|&e| e == top).unwrap_or(exponents.len()), top)
        };
        let (pivot, top) = largest(exponents);
        if pivot == exponents.len() || !top.is_finite() {
            return None;
        }
        exponents[pivot] = f64::NEG_INFINITY;
        let (second, next) = largest(exponents);
        // The exponent of the pivot is -∞ from here on.
        if second == exponents.len() || next == f64::NEG_INFINITY {
            return Some(Weighted { pivot, ..Weighted::default() });
        }
        let reach = snr * self.radius;
        let error = 4.0 * f64::EPSILON * (d as f64).sqrt() * reach * (norm(y) + reach);
        let fall = top - next + 2.0 * error;
        let distance = self.distance(pivot, second);
        let total = self.total as f64;
        let cut = fall
            + (1.0 + total * (-fall).exp()).ln()
            + (total / LEFT_OUT).ln()
            + 2.0 * (8f64.sqrt() * self.radius / distance).ln();
        let threshold = top - cut.min(fall + NEGLIGIBLE) - 2.0 * error;
        let mut points: Vec<u32> = Vec::with_capacity(exponents.len());
        points.extend(exponents.iter().zip(0..).filter(|(e, _)| **e > threshold).map(|(_, i)| i));
        let exact = error > EXPONENT_ERROR;
        let mut shares: Vec<f64> = points.iter().map(|&i| exponents[i as usize]).collect();
        if exact {
            shares.iter_mut().zip(&points).for_each(|(exponent, &i)| *exponent = self.log_counts[i as usize]);
            let origin = self.point(pivot);
            let exponents = &mut shares;
            Arch::new().dispatch(RelativeExponents { points: &self.points, kept: &points, origin, y, snr, exponents });
        }
        let (mut pivot, mut top) = (pivot, if exact { self.log_counts[pivot] } else { top });
        let (at, next) = largest(&shares);
        if next > top {
            // The pivot was only the likeliest up to rounding.
            (points[at], pivot) = (pivot as u32, points[at] as usize);
            (shares[at], top) = (top, next);
        }
        let rest = Arch::new().dispatch(Softmax { exponents: &mut shares, top: next }) * (next - top).exp();
        Some(Weighted { pivot, rest: rest / (1.0 + rest), points, shares })
    }

    fn distance(&self, i: usize, j: usize) -> f64 {
        self.point(i).iter().zip(self.point(j)).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
    }

    /// Heavy points first, then light ones, which change the eigenvector of the covariance by little.
    fn split(&self, weighted: Weighted) -> Split {
        let Weighted { pivot, rest, points, shares } = weighted;
        let heaviest =
            shares.iter().enumerate().fold((0, 0.0), |a, (i, &share)| if share > a.1 { (i, share) } else { a }).0;
        // The distance of the two likeliest stands for those of all that matter; the proof asks no such thing.
        let scale = self.distance(pivot, points[heaviest] as usize) / self.radius;
        // The sum of the shares below each power of two.
        let power = |share: f64| ((share.to_bits() >> 52) as usize).clamp(1023 - 63, 1023) - (1023 - 63);
        let mut sums = [0.0; 64];
        for &share in &shares {
            sums[power(share)] += share;
        }
        let (mut first, mut mass) = (0, 0.0);
        while mass + sums[first] <= LIGHT * scale * scale {
            mass += sums[first];
            first += 1;
        }
        let (mut order, mut light) = (Vec::with_capacity(points.len()), Vec::new());
        for (&i, &share) in points.iter().zip(&shares) {
            if power(share) >= first { &mut order } else { &mut light }.push((i, share));
        }
        let heavy = order.len();
        order.extend(light);
        let (points, shares) = order.into_iter().unzip();
        // Each is at most 2R from m, and moves m, which is at most 2R from p, by at most that.
        let error = 16.0 * self.radius * self.radius * mass;
        Split { order: Weighted { pivot, rest, points, shares }, heavy, error }
    }

    /// `√(1 - ω) (m - p)` and then `√αᵢ (xᵢ - m)`, `[k + 1, d]`.
    fn scaled_rows(&self, weighted: &Weighted) -> Vec<f64> {
        let d = self.dim;
        let origin = self.point(weighted.pivot);
        let mut all = vec![0.0; (weighted.points.len() + 1) * d];
        let (mean, rows) = all.split_at_mut(d);
        Arch::new().dispatch(Deviations { points: &self.points, origin, weighted, rows, mean });
        let root = (1.0 - weighted.rest).sqrt();
        mean.iter_mut().for_each(|x| *x *= root);
        all
    }

    /// The covariance of some rows in f32, in units of R², added to the lower half of `covariance`.
    fn add_single(&self, rows: &[f64], covariance: &mut [f32]) {
        let d = self.dim;
        let mut single = vec![0f32; rows.len()];
        Arch::new().dispatch(Single { rows, scale: self.radius.recip(), single: &mut single });
        let single = MatRef::from_row_major_slice(&single, rows.len() / d, d);
        product_with_itself(covariance, d, single.transpose(), Accum::Add);
    }

    /// The top eigenvalue by an eigenvector from the heavy points.
    fn narrow(&self, split: &Split) -> f64 {
        let d = self.dim;
        let rows = self.scaled_rows(&split.order);
        let k = split.heavy + 1;
        let heavy = &rows[..k * d];
        let (pair, error) = if k < d {
            let mut gram = vec![0.0; k * k];
            product_with_itself(&mut gram, k, MatRef::from_row_major_slice(heavy, k, d), Accum::Replace);
            mirror(&mut gram, k);
            let pair = LargestPair::of(&mut gram, k).map(|pair| {
                let mut vector = vec![0.0; d];
                pair.vector.iter().zip(heavy.chunks_exact(d)).for_each(|(u, row)| add_scaled(&mut vector, *u, row));
                let length = norm(&vector);
                vector.iter_mut().for_each(|v| *v /= length);
                LargestPair { vector, ..pair }
            });
            (pair, 0.0)
        } else {
            let mut covariance = vec![0f32; d * d];
            self.add_single(heavy, &mut covariance);
            self.pair_of_single(&covariance)
        };
        let proven = pair.and_then(|pair| {
            let mut image = vec![0.0; d];
            Arch::new().dispatch(Product { rows: &rows, vector: &pair.vector, image: &mut image });
            rayleigh_quotient(&pair, &image, error + split.error)
        });
        proven.map_or_else(|| self.dense(&split.order), |value| split.order.rest * value)
    }

    /// The largest eigenvalue of a matrix in f32 in units of R², of which the lower half is given, and its error.
    fn pair_of_single(&self, covariance: &[f32]) -> (Option<LargestPair>, f64) {
        let d = self.dim;
        let unit = self.radius * self.radius;
        let mut entries: Vec<f64> = covariance.iter().map(|&c| unit * f64::from(c)).collect();
        mirror(&mut entries, d);
        let trace: f64 = (0..d).map(|j| entries[j * d + j]).sum();
        (LargestPair::of(&mut entries, d), SINGLE_ERROR * trace)
    }

    /// The top eigenvalue of the covariance, or of the Gram matrix where points are fewer than dimensions.
    fn dense(&self, weighted: &Weighted) -> f64 {
        let (d, k) = (self.dim, weighted.points.len() + 1);
        match d {
            1 => return self.planar::<1>(weighted)[0][0],
            2 => {
                let c = self.planar::<2>(weighted);
                return f64::midpoint(c[0][0], c[1][1]) + ((c[0][0] - c[1][1]) / 2.0).hypot(c[1][0]);
            }
            _ if k == 1 => return 0.0,
            _ => {}
        }
        let rows = self.scaled_rows(weighted);
        let rows = MatRef::from_row_major_slice(&rows, k, d);
        let (rows, size) = if k < d { (rows, k) } else { (rows.transpose(), d) };
        let mut matrix = vec![0.0; size * size];
        product_with_itself(&mut matrix, size, rows, Accum::Replace);
        weighted.rest * top_of_lower_half(matrix, size)
    }

    /// The covariance in D dimensions, D tiny.
    fn planar<const D: usize>(&self, weighted: &Weighted) -> [[f64; D]; D] {
        let origin = self.point(weighted.pivot);
        let (mut mean, mut second) = ([0.0; D], [[0.0; D]; D]);
        for (&i, &share) in weighted.points.iter().zip(&weighted.shares) {
            let x = self.point(i as usize);
            let x: [f64; D] = std::array::from_fn(|j| x[j] - origin[j]);
            for j in 0..D {
                mean[j] += share * x[j];
                for k in 0..=j {
                    second[j][k] += share * x[j] * x[k];
                }
            }
        }
        for j in 0..D {
            for k in 0..=j {
                second[j][k] = weighted.rest * (second[j][k] - weighted.rest * (mean[j] * mean[k]));
            }
        }
        second
    }

    /// The top eigenvalue by products with the gathered points.
    fn gathered(&self, weighted: &Weighted) -> f64 {
        let d = self.dim;
        let rows = self.scaled_rows(weighted);
        let multiply = |vector: &[f64], image: &mut [f64]| {
            Arch::new().dispatch(Product { rows: &rows, vector, image });
        };
        weighted.rest * lanczos::largest_eigenvalue(d, &Accuracy::default(), multiply).value
    }

    /// m about the centre and `√(1 - ω) (m - p)` for the shares `[t, n]` of some queries, `[t, d]` each.
    fn means(&self, queries: &[Weighted], shares: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let (d, n, count) = (self.dim, self.log_counts.len(), queries.len());
        let mut means = vec![0.0; count * d];
        let points = MatRef::from_row_major_slice(&self.points, n, d);
        let target = MatMut::from_row_major_slice_mut(&mut means, count, d);
        matmul(target, Accum::Replace, MatRef::from_row_major_slice(shares, count, n), points, 1.0, Par::Seq);
        let mut pulls = means.clone();
        for (pull, query) in pulls.chunks_exact_mut(d).zip(queries) {
            let root = (1.0 - query.rest).sqrt();
            pull.iter_mut().zip(self.point(query.pivot)).for_each(|(m, p)| *m = root * (*m - p));
        }
        (means, pulls)
    }

    /// `Σ αᵢ((xᵢ - m)·v)xᵢ` about the centre, which is `Σ αᵢ((xᵢ - m)·v)(xᵢ - m)`, and the part of the pivot, for one
    /// v of each of the queries named.
    fn products(&self, named: &[usize], directions: &[f64], shares: &[f64], means: &[f64], pulls: &[f64]) -> Vec<f64> {
        let (d, n) = (self.dim, self.log_counts.len());
        let directions_of_all = MatRef::from_row_major_slice(directions, named.len(), d);
        let of_means: Vec<f64> = named
            .iter()
            .zip(directions.chunks_exact(d))
            .map(|(row, direction)| dot(direction, &means[row * d..(row + 1) * d]))
            .collect();
        let mut products = vec![0.0; named.len() * d];
        let mut overlaps = vec![0.0; named.len() * TILE_POINTS.min(n)];
        for start in (0..n).step_by(TILE_POINTS) {
            let width = TILE_POINTS.min(n - start);
            let block = MatRef::from_row_major_slice(&self.points[start * d..(start + width) * d], width, d);
            let overlaps = &mut overlaps[..named.len() * width];
            let target = MatMut::from_row_major_slice_mut(overlaps, named.len(), width);
            matmul(target, Accum::Replace, directions_of_all, block.transpose(), 1.0, Par::Seq);
            for ((overlaps, mean), row) in overlaps.chunks_exact_mut(width).zip(&of_means).zip(named) {
                let shares = &shares[row * n + start..row * n + start + width];
                overlaps.iter_mut().zip(shares).for_each(|(overlap, share)| *overlap = share * (*overlap - mean));
            }
            let overlaps = MatRef::from_row_major_slice(overlaps, named.len(), width);
            let target = MatMut::from_row_major_slice_mut(&mut products, named.len(), d);
            matmul(target, Accum::Add, overlaps, block, 1.0, Par::Seq);
        }
        for ((product, direction), row) in products.chunks_exact_mut(d).zip(directions.chunks_exact(d)).zip(named) {
            let pull = &pulls[row * d..(row + 1) * d];
            add_scaled(product, dot(pull, direction), pull);
        }
        products
    }

    /// The top eigenvalues for shares `[t, n]` by eigenvectors from the heavy points; where these are many, a block of them
    /// serves all queries while it is in the cache.
    fn formed_together(&self, queries: Vec<Weighted>, shares: &[f64]) -> Vec<f64> {
        let (d, n) = (self.dim, self.log_counts.len());
        let (means, pulls) = self.means(&queries, shares);
        let splits: Vec<Split> = queries.into_iter().map(|query| self.split(query)).collect();
        let mut covariances = vec![0f32; means.len() * d];
        let scale = self.radius.recip();
        let mut room = vec![0f32; TILE_POINTS.min(n) * d];
        let is_narrow = |split: &Split| (split.heavy as f64) < SHARED * n as f64;
        for ((split, pull), covariance) in
            splits.iter().zip(pulls.chunks_exact(d)).zip(covariances.chunks_exact_mut(d * d))
        {
            if is_narrow(split) {
                let Weighted { pivot, rest, points, shares } = &split.order;
                let (points, shares) = (points[..split.heavy].to_vec(), shares[..split.heavy].to_vec());
                self.add_single(
                    &self.scaled_rows(&Weighted { pivot: *pivot, rest: *rest, points, shares }),
                    covariance,
                );
            } else {
                self.add_single(pull, covariance);
            }
        }
        for (block, points) in self.points.chunks(TILE_POINTS * d).enumerate() {
            let start = block * TILE_POINTS;
            let queries = shares.chunks_exact(n).zip(means.chunks_exact(d)).zip(&splits);
            for (((shares, mean), split), covariance) in queries.zip(covariances.chunks_exact_mut(d * d)) {
                if is_narrow(split) {
                    continue;
                }
                let shares = &shares[start..start + points.len() / d];
                let rows = &mut room;
                let count = Arch::new().dispatch(ScaledDeviations { points, shares, mean, scale, rows });
                if count > 0 {
                    let rows = MatRef::from_row_major_slice(&room[..count * d], count, d);
                    product_with_itself(covariance, d, rows.transpose(), Accum::Add);
                }
            }
        }
        let pairs: Vec<_> = covariances.chunks_exact(d * d).map(|covariance| self.pair_of_single(covariance)).collect();
        let named: Vec<usize> = (0..splits.len()).filter(|row| pairs[*row].0.is_some()).collect();
        let directions: Vec<f64> =
            pairs.iter().filter_map(|(pair, _)| pair.as_ref()).flat_map(|p| p.vector.clone()).collect();
        let images = self.products(&named, &directions, shares, &means, &pulls);
        let mut images = images.chunks_exact(d);
        let value = |((pair, error), split): ((Option<LargestPair>, f64), &Split)| {
            let proven = pair.and_then(|pair| {
                let image = images.next().expect("an image of every vector");
                rayleigh_quotient(&pair, image, error + split.error)
            });
            proven.map_or_else(|| self.dense(&split.order), |value| split.order.rest * value)
        };
        pairs.into_iter().zip(&splits).map(value).collect()
    }

    /// The top eigenvalues for shares `[t, n]`, by products of all points with one vector of each query at a time.
    fn multiplied_together(&self, queries: &[Weighted], shares: &[f64]) -> Vec<f64> {
        let d = self.dim;
        let (means, pulls) = self.means(queries, shares);
        let mut open: Vec<(usize, Krylov)> = (0..queries.len()).map(|row| (row, Krylov::generic(d))).collect();
        let mut values = vec![f64::NAN; queries.len()];
        let accuracy = Accuracy::default();
        while !open.is_empty() {
            let named: Vec<usize> = open.iter().map(|(row, _)| *row).collect();
            let directions: Vec<f64> = open.iter().flat_map(|(_, krylov)| krylov.direction()).copied().collect();
            let products = self.products(&named, &directions, shares, &means, &pulls);
            let mut products = products.chunks_exact(d);
            open.retain_mut(|(row, krylov)| {
                let product = products.next().expect("a product for every query");
                Arch::new().dispatch(|| krylov.extend(product));
                let settled = krylov.settled(&accuracy);
                if let Some(ritz) = settled {
                    values[*row] = queries[*row].rest * ritz.value;
                }
                settled.is_none()
            });
        }
        values
    }
}

// Types, not closures: what they do is compiled for the vector registers that are found.

/// Turns exponents into their shares of the sum of `e^(exponent - top)`, and returns that.
struct Softmax<'a> {
    exponents: &'a mut [f64],
    top: f64,
}

impl NullaryFnOnce for Softmax<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        self.exponents.iter_mut().for_each(|e| *e = exp_of_negative(*e - self.top));
        let mut sums = [0.0; 8];
        let chunks = self.exponents.chunks_exact(8);
        let rest: f64 = chunks.remainder().iter().sum();
        for chunk in chunks {
            sums.iter_mut().zip(chunk).for_each(|(sum, x)| *sum += x);
        }
        let total = rest + sums.iter().sum::<f64>();
        self.exponents.iter_mut().for_each(|e| *e /= total);
        total
    }
}

/// The rows `√αᵢ (xᵢ - m)`, and `m - p`.
struct Deviations<'a> {
    points: &'a [f64],
    origin: &'a [f64],
    weighted: &'a Weighted,
    rows: &'a mut [f64],
    mean: &'a mut [f64],
}

impl NullaryFnOnce for Deviations<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { points, origin, weighted, rows, mean } = self;
        let d = origin.len();
        let total: f64 = weighted.shares.iter().sum();
        for ((row, &i), share) in rows.chunks_exact_mut(d).zip(&weighted.points).zip(&weighted.shares) {
            let weight = share / total;
            let x = &points[i as usize * d..(i as usize + 1) * d];
            for (((row, mean), x), o) in row.iter_mut().zip(&mut *mean).zip(x).zip(origin) {
                *row = x - o;
                *mean += weight * *row;
            }
        }
        for (row, share) in rows.chunks_exact_mut(d).zip(&weighted.shares) {
            let root = share.sqrt();
            for (x, mean) in row.iter_mut().zip(&*mean) {
                *x = root * (*x - mean);
            }
        }
    }
}

/// The rows in f32 and other units.
struct Single<'a> {
    rows: &'a [f64],
    scale: f64,
    single: &'a mut [f32],
}

impl NullaryFnOnce for Single<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (single, x) in self.single.iter_mut().zip(self.rows) {
            *single = (self.scale * x) as f32;
        }
    }
}

/// `RᵀRv` for rows R, and `|Rv|²`.
struct Product<'a> {
    rows: &'a [f64],
    vector: &'a [f64],
    image: &'a mut [f64],
}

impl NullaryFnOnce for Product<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let mut square = 0.0;
        self.image.fill(0.0);
        for row in self.rows.chunks_exact(self.vector.len()) {
            let overlap = dot(row, self.vector);
            square += overlap * overlap;
            add_scaled(self.image, overlap, row);
        }
        square
    }
}

/// Writes `√αᵢ (xᵢ - m)/R` for the points that have a share, and counts them.
struct ScaledDeviations<'a> {
    points: &'a [f64],
    shares: &'a [f64],
    mean: &'a [f64],
    scale: f64,
    rows: &'a mut [f32],
}

impl NullaryFnOnce for ScaledDeviations<'_> {
    type Output = usize;

    #[inline(always)]
    fn call(self) -> usize {
        let d = self.mean.len();
        let mut count = 0;
        for (x, &share) in self.points.chunks_exact(d).zip(self.shares) {
            if share > 0.0 {
                let root = share.sqrt() * self.scale;
                let row = &mut self.rows[count * d..(count + 1) * d];
                for ((row, x), mean) in row.iter_mut().zip(x).zip(self.mean) {
                    *row = (root * (x - mean)) as f32;
                }
                count += 1;
            }
        }
        count
    }
}

/// `vᵀCv` for the eigenvector v of a matrix that differs from C by at most `error`, if that is the largest eigenvalue of C.
///
/// The quotient is below an eigenvalue by at most residual²/gap, and there is no larger one if the gap is above twice the error.
fn rayleigh_quotient(pair: &LargestPair, image: &[f64], error: f64) -> Option<f64> {
    let value = dot(&pair.vector, image);
    let mut residual = image.to_vec();
    add_scaled(&mut residual, -value, &pair.vector);
    let residual = norm(&residual);
    let limit = pair.value - residual * (residual / (TOLERANCE * value)) - 2.0 * error;
    let others = pair.tridiagonal.diagonal.len() - 1;
    (limit > 0.0 && pair.tridiagonal.count_below(limit) == others).then_some(value)
}

/// The lower half of `A Aᵀ`, A `[k, m]`, into `[k, k]`; the upper one is overwritten in part.
///
/// Some rows at a time up to the diagonal: faster than faer's triangular product, which computes both halves of matrices
/// as small as these.
fn product_with_itself<T: ComplexField>(out: &mut [T], k: usize, a: MatRef<T>, beta: Accum) {
    let mut out = MatMut::from_row_major_slice_mut(out, k, k);
    for start in (0..k).step_by(STRIP) {
        let end = (start + STRIP).min(k);
        let target = out.rb_mut().submatrix_mut(start, 0, end - start, end);
        let (strip, before) = (a.subrows(start, end - start), a.subrows(0, end));
        matmul(target, beta, strip, before.transpose(), math_utils::one(), Par::Seq);
    }
}

/// The top eigenvalue of a symmetric matrix `[k, k]` of which the lower half is given.
fn top_of_lower_half(mut matrix: Vec<f64>, k: usize) -> f64 {
    mirror(&mut matrix, k);
    Tridiagonal::of(&mut matrix, k).largest_eigenvalue().0
}

/// Copies the lower half to the upper one.
fn mirror(matrix: &mut [f64], k: usize) {
    for i in 0..k {
        for j in 0..i {
            matrix[j * k + i] = matrix[i * k + j];
        }
    }
}

/// Adds `½|y - ro|² - ½|y - rx|²` of the points kept.
struct RelativeExponents<'a> {
    points: &'a [f64],
    kept: &'a [u32],
    origin: &'a [f64],
    y: &'a [f64],
    snr: f64,
    exponents: &'a mut [f64],
}

impl NullaryFnOnce for RelativeExponents<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { points, kept, origin, y, snr, exponents } = self;
        let d = y.len();
        for (exponent, &i) in exponents.iter_mut().zip(kept) {
            *exponent += relative_exponent(&points[i as usize * d..(i as usize + 1) * d], origin, y, snr);
        }
    }
}

/// `½|y - ro|² - ½|y - rx|²` as `r(x - o)·((y - rx) + (y - ro))/2`: differences that are exact near and far.
#[inline(always)]
fn relative_exponent(x: &[f64], origin: &[f64], y: &[f64], snr: f64) -> f64 {
    let term = |x: f64, o: f64, y: f64| snr * (x - o) * (0.5 * ((y - snr * x) + (y - snr * o)));
    let mut sums = [0.0; 8];
    let (xs, origins, ys) = (x.chunks_exact(8), origin.chunks_exact(8), y.chunks_exact(8));
    let rest = xs.remainder().iter().zip(origins.remainder()).zip(ys.remainder());
    let rest: f64 = rest.map(|((&x, &o), &y)| term(x, o, y)).sum();
    for ((x, o), y) in xs.zip(origins).zip(ys) {
        for k in 0..8 {
            sums[k] += term(x[k], o[k], y[k]);
        }
    }
    rest + sums.iter().sum::<f64>()
}

/// The largest of some numbers, in eight partial maxima.
#[inline(always)]
fn maximum(values: &[f64]) -> f64 {
    let mut tops = [f64::NEG_INFINITY; 8];
    let chunks = values.chunks_exact(8);
    let rest = chunks.remainder().iter().copied().fold(f64::NEG_INFINITY, f64::max);
    for chunk in chunks {
        for (top, &x) in tops.iter_mut().zip(chunk) {
            *top = if x > *top { x } else { *top };
        }
    }
    tops.into_iter().fold(rest, f64::max)
}

impl PosteriorCovariance for Empirical {
    fn dim(&self) -> usize {
        self.dim()
    }

    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
        let centred = Centred::new(self.points());
        by_rows(y, |y| centred.posterior(snr, y))
    }

    fn localization(&self, snr: f64, y: &Points) -> Vec<f64> {
        let centred = Centred::new(self.points());
        let y = y.as_standard_layout();
        let tiles = y.as_slice().expect("row-major").par_chunks(TILE_ROWS * centred.dim);
        let room = || vec![0.0; TILE_ROWS * centred.log_counts.len()];
        tiles.map_init(room, |room, tile| centred.localization(snr, tile, room)).flatten_iter().collect()
    }
}
