//! Kantorovich's semi-dual of a potential that is linear in its coefficients.
//!
//! With `φ = ½ε|x|² + θ·F(x)` and the conjugate φ*,
//!
//! ```text
//! J(θ) = E_data φ + E_ref φ*,    ∇J = E_data F - E_ρ F,    ∇²J = K = E_ρ[∇Fᵀ (∇²φ)⁻¹ ∇F],
//! ```
//!
//! ρ the law of `x = ∇φ*(y)`, y from the reference (∇F has the columns ∇F_j). J is convex, and least where ∇φ is the Brenier map from the
//! data to the reference, as far as the features reach. Villani, Topics in Optimal Transportation (2003), chapter 2.

use brenier_measure::linear_algebra::Cholesky;
use brenier_measure::{Points, to_points, to_tensor};
use brenier_model::monge_ampere::{ConvexPotential, RidgeSum, Ridges, solve_hessians};
use burn::tensor::{DType, Device};
use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, Mat, MatRef, Par};
use ndarray::{Array1, Array2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Rows of one block: sums over blocks are taken in their order, whatever the number of threads.
const BLOCK: usize = 1024;

/// The largest dimension in which K takes every inverse Hessian by itself; above, their mean.
const EXACT: usize = 3;

/// Means over points that the semi-dual takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureMeans {
    /// E F, `[p]`.
    pub features: Array1<f64>,
    /// `½E|x|²`.
    pub half_square: f64,
}

impl FeatureMeans {
    /// Those of points `[n, d]`.
    pub fn of(ridges: &Ridges, x: &Points) -> Self {
        let sums: Vec<(Array1<f64>, f64)> = blocks(x)
            .into_par_iter()
            .map(|block| (ridges.features(&block).sum_axis(Axis(1)), block.iter().map(|x| 0.5 * x * x).sum::<f64>()))
            .collect();
        let zero = (Array1::zeros(ridges.count()), 0.0);
        let (features, half_square) = sums.into_iter().fold(zero, |(f, h), (df, dh)| (f + df, h + dh));
        let n = x.nrows() as f64;
        Self { features: features / n, half_square: half_square / n }
    }

    /// `E φ`.
    pub fn value(&self, potential: &RidgeSum) -> f64 {
        let linear: f64 = self.features.iter().zip(potential.coefficients()).map(|(f, c)| f * c).sum();
        potential.ridges().floor * self.half_square + linear
    }

    /// The means over so many times as many points, of which `more` is the last part.
    pub fn join(&mut self, more: &Self, times: f64) {
        self.features = &self.features + &((&more.features - &self.features) / times);
        self.half_square += (more.half_square - self.half_square) / times;
    }
}

/// J over points of the data with these means, and pairs `(y, x)` with `∇φ(x) = y`.
pub fn value(potential: &RidgeSum, data: &FeatureMeans, y: &Points, x: &Points) -> f64 {
    let conjugate = (x * y).sum() / x.nrows() as f64 - FeatureMeans::of(potential.ridges(), x).value(potential);
    data.value(potential) + conjugate
}

/// `F(x) - centre`, `[p, n]`.
pub(super) fn centred(ridges: &Ridges, x: &Points, centre: &Array1<f64>) -> Array2<f64> {
    let parts: Vec<Array2<f64>> = blocks(x).par_iter().map(|block| ridges.features(block)).collect();
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    let mut all = ndarray::concatenate(Axis(1), &views).expect("as many features").as_standard_layout().into_owned();
    all -= &centre.view().insert_axis(Axis(1));
    all
}

/// The covariance C of F over points, `[p, p]`.
pub(super) fn covariance(ridges: &Ridges, x: &Points) -> Array2<f64> {
    let mean = FeatureMeans::of(ridges, x).features;
    gram(ridges.count(), blocks(x), |block, sum| sum.add(&centred(ridges, &block, &mean))) / x.nrows() as f64
}

/// What the Hessians of a potential at points say.
pub struct Curvature {
    /// `∇²φ(x)`, one matrix a row, `[n, d·d]`.
    hessians: Points,
    dim: usize,
}

impl Curvature {
    /// Those of a potential at points `[n, d]`.
    pub fn of(potential: &dyn ConvexPotential, x: &Points) -> Self {
        let d = potential.dim();
        let of_block = |block: Points| {
            let n = block.nrows();
            to_points(
                potential.gradient_and_hessian(to_tensor(&block, DType::F64, &Device::flex())).1.reshape([n, d * d]),
            )
        };
        let parts: Vec<Points> = blocks(x).into_par_iter().map(of_block).collect();
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        Self { hessians: ndarray::concatenate(Axis(0), &views).expect("one width"), dim: d }
    }

    /// Those at hand, one matrix a row, `[n, d·d]`.
    pub(super) fn of_hessians(hessians: Points, dim: usize) -> Self {
        Self { hessians, dim }
    }

    /// The least eigenvalue over the points, of which at most so many are looked at; NaN where an entry is.
    pub fn least_eigenvalue(&self, most: usize) -> f64 {
        -self.largest(most, -1.0)
    }

    /// The largest; likewise.
    pub fn largest_eigenvalue(&self, most: usize) -> f64 {
        self.largest(most, 1.0)
    }

    /// The largest eigenvalue of so many times the Hessians.
    fn largest(&self, most: usize, sign: f64) -> f64 {
        let d = self.dim;
        let step = self.hessians.nrows().div_ceil(most).max(1);
        let rows: Vec<usize> = (0..self.hessians.nrows()).step_by(step).collect();
        let largest = |&row: &usize| {
            let matrix = self.hessians.row(row).mapv(|h| sign * h).into_shape_with_order((d, d)).expect("d·d entries");
            brenier_measure::linear_algebra::largest_eigenvalue(&matrix)
        };
        let eigenvalues: Vec<f64> = rows.par_iter().map(largest).collect();
        eigenvalues.into_iter().fold(f64::NEG_INFINITY, |most, l| if l.is_nan() || l > most { l } else { most })
    }

    /// `(∇²φ(x))⁻¹v`, a vector a row; NaN where the Hessian is not positive definite.
    pub fn solve(&self, vectors: &Points) -> Points {
        solve_hessians(&self.hessians, vectors)
    }

    /// `L⁻¹` with `∇²φ = LLᵀ`, one matrix a row; NaN where the Hessian is not positive definite.
    fn inverse_factors(&self) -> Points {
        let d = self.dim;
        let factor = |row: &[f64]| {
            Cholesky::of(row, d)
                .map_or_else(|| vec![f64::NAN; d * d], |cholesky| cholesky.inverse_factor().into_raw_vec_and_offset().0)
        };
        let rows: Vec<f64> =
            self.hessians.as_slice().expect("row-major").par_chunks(d * d).flat_map_iter(factor).collect();
        Points::from_shape_vec(self.hessians.dim(), rows).expect("d·d entries")
    }

    /// The Hessian K of the semi-dual over the points x where the curvature was taken, `[p, p]`.
    ///
    /// Above three dimensions `(∇²φ)⁻¹` is replaced by its mean, which makes K a product of two moments; it then is a metric, no Hessian.
    pub fn semi_dual_hessian(&self, ridges: &Ridges, x: &Points) -> Array2<f64> {
        if self.dim <= EXACT { self.exact_hessian(ridges, x) } else { self.mean_hessian(ridges, x) }
    }

    fn exact_hessian(&self, ridges: &Ridges, x: &Points) -> Array2<f64> {
        let (d, (g, k)) = (self.dim, ridges.knots.dim());
        let factors = self.inverse_factors();
        // ∇Fᵀ (LLᵀ)⁻¹ ∇F = (L⁻¹∇F)ᵀ(L⁻¹∇F): d rows of L⁻¹ a point, one after the other.
        let of_block = |(block, factors): (Points, Points), sum: &mut Gram| {
            let slopes = ridges.feature_slopes(&block);
            let mut rows = Array2::zeros((ridges.count(), block.nrows()));
            for i in 0..d {
                let factor = factors.slice(s![.., i * d..(i + 1) * d]);
                rows.slice_mut(s![..d, ..]).assign(&factor.t());
                let along = ridges.directions.dot(&factor.t());
                for (j, slope) in slopes.rows().into_iter().enumerate() {
                    let direction = if j < g { j } else { (j - g) / k };
                    ndarray::Zip::from(rows.row_mut(d + j))
                        .and(slope)
                        .and(along.row(direction))
                        .for_each(|r, s, a| *r = s * a);
                }
                sum.add(&rows);
            }
        };
        gram(ridges.count(), blocks(x).into_iter().zip(blocks(&factors)).collect(), of_block) / x.nrows() as f64
    }

    fn mean_hessian(&self, ridges: &Ridges, x: &Points) -> Array2<f64> {
        let (d, p) = (self.dim, ridges.count());
        let mut mean = Array2::<f64>::zeros((d, d));
        for row in self.inverse_factors().rows() {
            let factor = row.into_shape_with_order((d, d)).expect("d·d entries");
            mean += &factor.t().dot(&factor);
        }
        mean /= x.nrows() as f64;
        let turned = ridges.directions.dot(&mean);
        let products = turned.dot(&ridges.directions.t());
        let (g, k) = ridges.knots.dim();
        let direction = |j: usize| if j < g { j } else { (j - g) / k };
        let sums: Vec<Array1<f64>> =
            blocks(x).par_iter().map(|block| ridges.feature_slopes(block).sum_axis(Axis(1))).collect();
        let slope_means =
            sums.into_iter().fold(Array1::zeros(p - d), |sum: Array1<f64>, part| sum + part) / x.nrows() as f64;
        let of_block = |block: Points, sum: &mut Gram| sum.add(&ridges.feature_slopes(&block));
        let moments = gram(p - d, blocks(x), of_block) / x.nrows() as f64;
        let mut hessian = Array2::zeros((p, p));
        hessian.slice_mut(s![..d, ..d]).assign(&mean);
        for i in 0..p - d {
            for j in 0..p - d {
                hessian[[d + i, d + j]] = moments[[i, j]] * products[[direction(i), direction(j)]];
            }
            for j in 0..d {
                hessian[[d + i, j]] = slope_means[i] * turned[[direction(i), j]];
                hessian[[j, d + i]] = hessian[[d + i, j]];
            }
        }
        hessian
    }
}

/// A sum of products `ZZᵀ`, of which the lower half is formed.
pub(super) struct Gram(Mat<f64>);

impl Gram {
    /// An empty sum, `[p, p]`.
    pub fn new(p: usize) -> Self {
        Self(Mat::zeros(p, p))
    }

    /// Adds `ZZᵀ`, Z `[p, n]` in standard layout.
    pub fn add(&mut self, z: &Array2<f64>) {
        let (p, n) = z.dim();
        let z = MatRef::from_row_major_slice(z.as_slice().expect("in standard layout"), p, n);
        let (lower, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
        matmul(self.0.as_mut(), lower, Accum::Add, z, full, z.transpose(), full, 1.0, Par::Seq);
    }

    /// The sum, both halves.
    pub fn sum(&self) -> Array2<f64> {
        let entry = |(i, j): (usize, usize)| self.0[(i.max(j), i.min(j))];
        Array2::from_shape_fn((self.0.nrows(), self.0.ncols()), entry)
    }
}

/// Blocks in one part of a sum.
const PART: usize = 4;

/// The sum over blocks, each of which adds its own products.
fn gram<B: Send>(p: usize, blocks: Vec<B>, add: impl Fn(B, &mut Gram) + Sync) -> Array2<f64> {
    let mut parts: Vec<Vec<B>> = Vec::new();
    for (i, block) in blocks.into_iter().enumerate() {
        if i % PART == 0 {
            parts.push(Vec::with_capacity(PART));
        }
        parts.last_mut().expect("a part was just begun").push(block);
    }
    let of_part = |part: Vec<B>| {
        let mut sum = Gram::new(p);
        part.into_iter().for_each(|block| add(block, &mut sum));
        sum.sum()
    };
    let sums: Vec<Array2<f64>> = parts.into_par_iter().map(of_part).collect();
    sums.into_iter().reduce(|sum, part| sum + part).expect("at least one point")
}

/// The points in blocks of rows.
fn blocks(points: &Points) -> Vec<Points> {
    points.axis_chunks_iter(Axis(0), BLOCK).map(|block| block.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use brenier_measure::{Gaussian, Purpose, Sample, Stream};
    use brenier_model::monge_ampere::{BrenierMap, Inversion, PushForward};

    use super::*;

    fn normals(seed: u64, n: u64, d: usize) -> Points {
        Gaussian::standard(d).sample(&Stream::new(seed, Purpose::Batch), 0, 0..n)
    }

    fn ridges(d: usize) -> Ridges {
        let mut directions = normals(9, 3 * d as u64, d);
        directions.slice_mut(s![..d, ..]).assign(&Array2::eye(d));
        for mut row in directions.rows_mut() {
            let norm = row.dot(&row).sqrt();
            row /= norm;
        }
        let g = directions.nrows();
        let knots = Array2::from_shape_fn((g, 3), |(_, k)| k as f64 - 1.0);
        Ridges { directions, knots, widths: Array2::from_elem((g, 3), 0.3), floor: 0.05 }
    }

    fn potential(d: usize) -> RidgeSum {
        let ridges = ridges(d);
        let mut coefficients = ridges.identity();
        coefficients.iter_mut().skip(d).enumerate().for_each(|(i, c)| *c += 0.02 * (1 + i % 4) as f64);
        RidgeSum::new(Arc::new(ridges), coefficients).unwrap()
    }

    fn preimages(potential: &RidgeSum, y: &Points) -> Points {
        let reference = Arc::new(Gaussian::standard(y.ncols()));
        let inversion = Inversion { tolerance: 1e-12, steps: 100 };
        BrenierMap::new(Arc::new(potential.clone()), reference, inversion).to_data(y).points
    }

    /// φ with coefficients θ + tv, and the semi-dual of it.
    fn moved(potential: &RidgeSum, by: &[f64], t: f64, data: &FeatureMeans, y: &Points) -> f64 {
        let coefficients = potential.coefficients().iter().zip(by).map(|(c, v)| c + t * v).collect();
        let moved = RidgeSum::new(potential.ridges().clone(), coefficients).unwrap();
        value(&moved, data, y, &preimages(&moved, y))
    }

    #[test]
    fn gradient_and_hessian_are_those_of_finite_differences() {
        for d in [1, 2, 3] {
            let potential = potential(d);
            let (data, y) = (&normals(1, 500, d) * 0.7 + 0.2, normals(2, 300, d));
            let means = FeatureMeans::of(potential.ridges(), &data);
            let x = preimages(&potential, &y);
            let by: Vec<f64> = (0..potential.coefficients().len()).map(|i| 0.01 * ((i % 5) as f64 - 1.5)).collect();
            // Steps that stay in the box.
            let by: Vec<f64> =
                by.iter().zip(potential.coefficients()).map(|(v, &c)| if c < 0.02 { v.abs() } else { *v }).collect();
            let step = 1e-3;
            let [minus, middle, plus] = [-step, 0.0, step].map(|t| {
                let t = if t < 0.0 && by.iter().zip(potential.coefficients()).skip(d).any(|(v, c)| c + t * v < 0.0) {
                    panic!("the step leaves the box")
                } else {
                    t
                };
                moved(&potential, &by, t, &means, &y)
            });
            let by = Array1::from(by);
            let gradient = &means.features - &FeatureMeans::of(potential.ridges(), &x).features;
            let slope = (plus - minus) / (2.0 * step);
            assert!((gradient.dot(&by) - slope).abs() < 1e-6 * slope.abs().max(1.0), "d = {d}");
            let curvature = (plus - 2.0 * middle + minus) / (step * step);
            let hessian = Curvature::of(&potential, &x).semi_dual_hessian(potential.ridges(), &x);
            let exact = by.dot(&hessian.dot(&by));
            assert!(exact > 0.0 && (exact - curvature).abs() < 1e-4 * exact, "d = {d}: {exact} against {curvature}");
        }
    }

    #[test]
    fn with_one_inverse_hessian_for_all_points_the_mean_is_exact() {
        // Without heights the Hessian is the same everywhere.
        let ridges = Arc::new(ridges(4));
        let potential = RidgeSum::new(ridges.clone(), ridges.identity()).unwrap();
        let x = normals(3, 2000, 4);
        let curvature = Curvature::of(&potential, &x);
        let (exact, mean) = (curvature.exact_hessian(&ridges, &x), curvature.mean_hessian(&ridges, &x));
        let largest = exact.iter().fold(0.0f64, |most, entry| most.max(entry.abs()));
        assert!(exact.iter().zip(&mean).all(|(a, b)| (a - b).abs() < 1e-12 * largest));
        assert!((curvature.least_eigenvalue(100) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn means_of_parts_join_to_the_mean_of_the_whole() {
        let (ridges, x) = (ridges(2), normals(4, 300, 2));
        let part = |k: usize| FeatureMeans::of(&ridges, &x.slice(s![100 * k..100 * (k + 1), ..]).to_owned());
        let mut joined = part(0);
        joined.join(&part(1), 2.0);
        joined.join(&part(2), 3.0);
        let whole = FeatureMeans::of(&ridges, &x);
        assert!((&joined.features - &whole.features).iter().all(|e| e.abs() < 1e-12));
        assert!((joined.half_square - whole.half_square).abs() < 1e-12);
    }

    #[test]
    fn the_covariance_is_that_of_the_features() {
        let (ridges, x) = (ridges(1), normals(5, 2500, 1));
        let features = ridges.features(&x);
        let centred = &features - &features.mean_axis(Axis(1)).unwrap().insert_axis(Axis(1));
        let exact = centred.dot(&centred.t()) / 2500.0;
        assert!((&covariance(&ridges, &x) - &exact).iter().all(|e| e.abs() < 1e-12));
    }
}
