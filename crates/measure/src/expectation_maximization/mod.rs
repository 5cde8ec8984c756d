//! Gaussian mixtures by expectation and maximisation: weighted points, shrunk covariances, noise that is known.
//!
//! From a mixture `Σ p_k N(μ_k, Σ_k)` one step goes to
//!
//! ```text
//! r_ik = p_k N(x_i; μ_k, Σ_k)/Σ_l p_l N(x_i; μ_l, Σ_l),    n_k = Σ_i w_i r_ik    (Σ_i w_i = n)
//! p_k = n_k/n,    μ_k = Σ_i w_i r_ik x_i/n_k,    T_k = Σ_i w_i r_ik (x_i - μ_k)(x_i - μ_k)ᵀ/n_k
//! Σ_k = (n_k T_k + ν T)/(n_k + ν),    T = Σ_k n_k T_k/n
//! ```
//!
//! and without shrinkage (ν = 0) and noise the likelihood never falls. Dempster, Laird and Rubin, JRSS B 39 (1977); the shrinkage is that
//! of an inverse Wishart prior, Fraley and Raftery, J. Classification 24 (2007), about the pooled covariance of the step.
//!
//! Where the points carry noise ε of known covariance N, what is fitted is the law of `x + ε`. The moments then are expectations over ε,
//!
//! ```text
//! Σ_i w_i (r̄_ik x_i + cov(r_ik, ε)),    Σ_i w_i (r̄_ik [(x_i - μ_k)(x_i - μ_k)ᵀ + N] + cov(r_ik, (x_i - μ_k)εᵀ + ε(x_i - μ_k)ᵀ + εεᵀ))
//! ```
//!
//! with means and covariances over drawn copies. N is exact, and the covariances vanish where the noise does not decide who is
//! responsible: the moments have far less noise of their own than those of the copies.
//!
//! # Design
//!
//! A covariance is kept from collapsing: in coordinates where every column has sd 1 no eigenvalue is below [`LEAST_VARIANCE`]. Of all
//! covariances so bounded the clipped one is the most likely, so the likelihood still never falls, and a covariance that is not near the
//! bound is untouched. (Nor may one lie so far below the largest in the coordinates of the points that a mixture would take it for zero, as it
//! may where columns differ by a factor of 10⁷.) A component that has lost all points keeps its place with weight 0.
//!
//! Sums go over blocks of rows in their order, so that results do not depend on the number of threads.

mod start;

use ndarray::linalg::general_mat_mul;
use ndarray::{Array1, Array2, ArrayView2, Axis, s};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{MeasureError, check_finite};
use crate::linear_algebra::{Cholesky, dot, symmetric_eigen};
use crate::measure::Points;
use crate::mixture::GaussianMixture;

/// The least eigenvalue of a covariance in coordinates where every column has variance 1.
pub const LEAST_VARIANCE: f64 = 1e-6;

/// A component with fewer points than this has none.
const LOST: f64 = 1e-9;

/// Rows of one block.
const BLOCK: usize = 1024;

/// About how many columns are multiplied at once.
const COLUMNS: usize = 128;

/// Beyond so many standard deviations a square would overflow.
const FARTHEST: f64 = 1e150;

/// Below this an exponential is 0.
const LEAST_EXPONENT: f64 = -746.0;

/// What the covariances of a mixture have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CovarianceKind {
    /// Nothing: each is any covariance.
    #[default]
    Full,
    /// Each is diagonal.
    Diagonal,
    /// All are one.
    Tied,
}

/// Noise that belongs to the points and whose covariance is known, so that it need not be estimated.
#[derive(Debug, Clone)]
pub struct KnownNoise {
    /// Its covariance, `[d, d]`.
    pub covariance: Array2<f64>,
    /// The points with drawn noise, each `[n, d]`; at least one. One alone is taken for points without noise.
    pub copies: Vec<Points>,
}

/// What a mixture is fitted to.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The points less their mean, `[n, d]`.
    points: Points,
    /// What sees the noise: the copies less the mean, or the points themselves.
    seen: Vec<Points>,
    /// The mean of the points.
    centre: Array1<f64>,
    /// Positive, with sum n.
    weights: Vec<f64>,
    noise: Option<Array2<f64>>,
    /// The unit in which a column counts as narrow, `[d]`.
    units: Array1<f64>,
}

impl Observed {
    /// Points `[n, d]`, each with its weight (positive; 1 without), and the noise that belongs to them.
    ///
    /// # Errors
    ///
    /// No points, numbers that are not finite, weights that are not positive, lengths that disagree.
    pub fn new(points: &Points, weights: Option<&[f64]>, noise: Option<KnownNoise>) -> Result<Self, MeasureError> {
        let (n, d) = points.dim();
        if n == 0 || d == 0 {
            return Err(MeasureError::Empty { field: "points".to_owned() });
        }
        let length = |field: &str, found, expected| MeasureError::Length {
            field: field.to_owned(),
            found,
            other: "points".to_owned(),
            expected,
        };
        check_finite("points", points.as_standard_layout().as_slice().expect("in standard layout"))?;
        let mut weights = weights.map_or_else(|| vec![1.0; n], <[f64]>::to_vec);
        if weights.len() != n {
            return Err(length("weights", weights.len(), n));
        }
        check_finite("weights", &weights)?;
        if let Some(i) = weights.iter().position(|&w| w <= 0.0) {
            return Err(MeasureError::Weight { field: format!("weights[{i}]"), value: weights[i] });
        }
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w *= n as f64 / total);
        let weighted = |x: &Points| {
            let sums = x.rows().into_iter().zip(&weights).fold(Array1::zeros(d), |sum, (row, w)| sum + &(&row * *w));
            sums / n as f64
        };
        let centre: Array1<f64> = weighted(points);
        let centred = |x: &Points| (x - &centre).as_standard_layout().to_owned();
        let points = centred(points);
        let variances = weighted(&points.mapv(|x| x * x));
        let (seen, noise) = match noise {
            Some(KnownNoise { copies, .. }) if copies.len() == 1 => return Self::new(&copies[0], Some(&weights), None),
            None => (vec![points.clone()], None),
            Some(KnownNoise { covariance, copies }) => {
                if copies.is_empty() {
                    return Err(MeasureError::Empty { field: "copies".to_owned() });
                }
                for copy in &copies {
                    if copy.dim() != (n, d) {
                        return Err(length("copies", copy.nrows(), n));
                    }
                    check_finite("copies", copy.as_standard_layout().as_slice().expect("in standard layout"))?;
                }
                if covariance.dim() != (d, d) {
                    return Err(length("covariance", covariance.nrows(), d));
                }
                (balanced(&points, copies.iter().map(centred).collect()), Some(covariance))
            }
        };
        let mean_variance = variances.sum() / d as f64;
        // What is left of a constant column is rounding.
        let is_constant = |j: usize| variances[j] <= 1e-24 * centre[j] * centre[j] + 1e-20 * mean_variance;
        let unit = |j: usize| match is_constant(j) {
            false => variances[j].sqrt(),
            true if mean_variance > 0.0 => mean_variance.sqrt(),
            true => 1.0,
        };
        let units = (0..d).map(unit).collect();
        Ok(Self { points, seen, centre, weights, noise, units })
    }

    /// The number of points n.
    pub fn len(&self) -> usize {
        self.points.nrows()
    }

    /// Whether there are no points, which cannot be.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.points.ncols()
    }
}

/// Copies whose noise has mean 0 at every point, and the covariance that it had: `x_i + (ε_ic - ε̄_i)√(C/(C - 1))`.
///
/// Without this the points that are seen have moved by ε̄ and the moments know nothing of it, which components that overlap amplify.
fn balanced(points: &Points, mut copies: Vec<Points>) -> Vec<Points> {
    let count = copies.len() as f64;
    let mean = copies.iter().fold(Points::zeros(points.dim()), |sum, copy| sum + copy) / count;
    let scale = (count / (count - 1.0)).sqrt();
    for copy in &mut copies {
        *copy -= &mean;
        *copy *= scale;
        *copy += points;
    }
    copies
}

/// Weights, means and covariances of K components; stored as the parameters of a `gaussian_mixture`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Parameters", try_from = "Parameters")]
pub struct Moments {
    /// `[K]`, with sum 1; 0 for a component that has lost its points.
    pub weights: Vec<f64>,
    /// `[K, d]`.
    pub means: Points,
    /// `[d, d]` each.
    pub covariances: Vec<Array2<f64>>,
}

/// The parameters of a mixture as lists.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    weights: Vec<f64>,
    means: Vec<Vec<f64>>,
    covariances: Vec<Vec<Vec<f64>>>,
}

fn lists(matrix: &Array2<f64>) -> Vec<Vec<f64>> {
    matrix.rows().into_iter().map(|row| row.to_vec()).collect()
}

impl From<Moments> for Parameters {
    fn from(moments: Moments) -> Self {
        let covariances = moments.covariances.iter().map(lists).collect();
        Self { weights: moments.weights, means: lists(&moments.means), covariances }
    }
}

impl TryFrom<Parameters> for Moments {
    type Error = String;

    fn try_from(Parameters { weights, means, covariances }: Parameters) -> Result<Self, String> {
        let (k, d) = (weights.len(), means.first().map_or(0, Vec::len));
        let matrix = |rows: &[Vec<f64>], n: usize| {
            Array2::from_shape_vec((n, d), rows.concat())
                .map_err(|error| format!("lists of different lengths: {error}"))
        };
        if covariances.len() != k {
            return Err(format!("{k} weights and {} covariances", covariances.len()));
        }
        let means = matrix(&means, k)?;
        let covariances = covariances.iter().map(|rows| matrix(rows, d)).collect::<Result<_, _>>()?;
        Ok(Self { weights, means, covariances })
    }
}

impl Moments {
    /// Those of a mixture.
    pub fn of(mixture: &GaussianMixture) -> Self {
        let components = mixture.components();
        let means = components.iter().flat_map(|c| c.mean().to_vec()).collect();
        Self {
            weights: components.iter().map(crate::Component::weight).collect(),
            means: Points::from_shape_vec((components.len(), mixture.dim()), means).expect("a mean a component"),
            covariances: components.iter().map(|c| c.covariance().clone()).collect(),
        }
    }

    /// The mixture of them, without components of weight 0.
    ///
    /// # Errors
    ///
    /// Numbers that make no mixture.
    pub fn mixture(&self) -> Result<GaussianMixture, MeasureError> {
        let alive: Vec<usize> = (0..self.weights.len()).filter(|&k| self.weights[k] > 0.0).collect();
        let total: f64 = alive.iter().map(|&k| self.weights[k]).sum();
        GaussianMixture::new(
            alive.iter().map(|&k| self.weights[k] / total).collect(),
            alive.iter().map(|&k| self.means.row(k).to_vec()).collect(),
            alive.iter().map(|&k| lists(&self.covariances[k])).collect(),
        )
    }

    /// The mean log-density of points `[n, d]`; -∞ where a covariance is singular.
    pub fn mean_log_density(&self, x: &Points) -> f64 {
        let Some(terms) = Terms::of(self, &Array1::zeros(x.ncols())) else { return f64::NEG_INFINITY };
        let x = x.as_standard_layout();
        let sums: Vec<f64> = blocks(x.nrows())
            .into_par_iter()
            .map(|rows| terms.responsibilities(x.slice(s![rows.clone(), ..])).1.iter().sum())
            .collect();
        sums.iter().sum::<f64>() / x.nrows() as f64
    }
}

/// How a mixture is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ExpectationMaximization {
    /// What the covariances have in common.
    pub covariance: CovarianceKind,
    /// By so many points ν each covariance is drawn towards the pooled one.
    pub shrinkage: f64,
}

/// When a fit has come to its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stop {
    /// Steps at most.
    pub iterations: u64,
    /// A change of the mean log-likelihood L by no more than this, relative to `max(1, |L|)`, is the last: with shrinkage it may fall.
    pub tolerance: f64,
}

impl Stop {
    /// Whether a fit ends whose mean log-likelihood went from one value to another.
    pub fn is_reached(&self, before: f64, after: f64) -> bool {
        (after - before).abs() <= self.tolerance * after.abs().max(1.0)
    }
}

impl ExpectationMaximization {
    /// A start with at most so many components, by k-means from centres that are drawn; fewer where there are fewer
    /// distinct points. It is a function of the seed and the number of the restart.
    pub fn start(&self, observed: &Observed, components: usize, seed: u64, restart: u64) -> Moments {
        let nearest = start::nearest_centres(observed, components, seed, restart);
        let k = nearest.iter().max().map_or(1, |&k| k + 1);
        let shares = Array2::from_shape_fn((observed.len(), k), |(i, j)| f64::from(u8::from(nearest[i] == j)));
        let shares = Shares { mean: shares, by_copy: Vec::new() };
        let (weights, means) = (vec![0.0; k], Points::zeros((k, observed.dim())));
        let nowhere = Moments { weights, means, covariances: vec![Array2::eye(observed.dim()); k] };
        self.maximize(observed, &shares, &nowhere)
    }

    /// One step: the moments after it, and the mean log-likelihood of those before.
    ///
    /// # Errors
    ///
    /// Moments whose covariances are not positive definite.
    pub fn step(&self, observed: &Observed, moments: &Moments) -> Result<(Moments, f64), MeasureError> {
        let (shares, log_likelihood) = expect(observed, moments)?;
        Ok((self.maximize(observed, &shares, moments), log_likelihood))
    }

    /// Steps from a start to the end, and the mean log-likelihood before the last one.
    ///
    /// # Errors
    ///
    /// As for [`step`](Self::step).
    pub fn fit(&self, observed: &Observed, start: Moments, stop: Stop) -> Result<(Moments, f64), MeasureError> {
        let (mut moments, mut before) = (start, f64::NEG_INFINITY);
        for _ in 0..stop.iterations {
            let (next, log_likelihood) = self.step(observed, &moments)?;
            moments = next;
            if stop.is_reached(before, log_likelihood) {
                return Ok((moments, log_likelihood));
            }
            before = log_likelihood;
        }
        Ok((moments, before))
    }

    /// The most likely moments under responsibilities; a component without points stays where it was.
    fn maximize(&self, observed: &Observed, shares: &Shares, before: &Moments) -> Moments {
        let (n, d, k) = (observed.len(), observed.dim(), shares.mean.ncols());
        let weights = Array1::from_iter(observed.weights.iter().copied()).insert_axis(Axis(1));
        let by_noise = Covariances::of(observed, shares, &weights);
        let shares = &shares.mean * &weights;
        let parts: Vec<(Array1<f64>, Array2<f64>)> = blocks(n)
            .into_par_iter()
            .map(|rows| {
                let (shares, x) = (shares.slice(s![rows.clone(), ..]), observed.points.slice(s![rows, ..]));
                (shares.sum_axis(Axis(0)), shares.t().dot(&x))
            })
            .collect();
        let zero = (Array1::<f64>::zeros(k), Array2::<f64>::zeros((k, d)));
        let (counts, sums) = parts.into_iter().fold(zero, |(n, s), (count, sum)| (n + count, s + sum));
        let sums = match &by_noise {
            Some(by_noise) => sums + &by_noise.first,
            None => sums,
        };
        let mut means = sums / counts.mapv(|count| count.max(f64::MIN_POSITIVE)).insert_axis(Axis(1));
        let mut scatters = scatter(observed, &shares, &means);
        if let Some(by_noise) = &by_noise {
            by_noise.add_to(&mut scatters, &means);
        }
        let alive = |k: &usize| counts[*k] > LOST;
        let total: f64 = (0..k).filter(alive).map(|k| counts[k]).sum();
        let pooled = (0..k).filter(alive).fold(Array2::<f64>::zeros((d, d)), |sum, k| sum + &scatters[k]) / total;
        let nu = self.shrinkage;
        let bounded = |covariance: Array2<f64>| {
            let covariance = match &observed.noise {
                Some(noise) => covariance + noise,
                None => covariance,
            };
            let covariance = match self.covariance {
                CovarianceKind::Diagonal => Array2::from_diag(&covariance.diag()),
                CovarianceKind::Full | CovarianceKind::Tied => covariance,
            };
            bounded_below(covariance, &observed.units)
        };
        let tied = (self.covariance == CovarianceKind::Tied).then(|| bounded(pooled.clone()));
        let covariances: Vec<Array2<f64>> = scatters
            .into_par_iter()
            .enumerate()
            .map(|(k, scatter)| match (&tied, alive(&k)) {
                (Some(tied), _) => tied.clone(),
                (None, false) => before.covariances[k].clone(),
                (None, true) => bounded((scatter + &(&pooled * nu)) / (counts[k] + nu)),
            })
            .collect();
        means += &observed.centre;
        for k in (0..k).filter(|k| !alive(k)) {
            means.row_mut(k).assign(&before.means.row(k));
        }
        let weights = (0..k).map(|k| if alive(&k) { counts[k] / total } else { 0.0 }).collect();
        Moments { weights, means, covariances }
    }
}

/// `Σ_i s_ik (x_i - m_k)(x_i - m_k)ᵀ` for every component; `[d, d]` each.
fn scatter(observed: &Observed, shares: &Array2<f64>, means: &Points) -> Vec<Array2<f64>> {
    let (n, d) = observed.points.dim();
    let parts: Vec<Vec<Array2<f64>>> = blocks(n)
        .into_par_iter()
        .map(|rows| {
            let (x, shares) = (observed.points.slice(s![rows.clone(), ..]), shares.slice(s![rows.clone(), ..]));
            match d {
                // Known lengths are unrolled, and need no products of matrices.
                1 => small_scatters::<1>(x, shares, means),
                2 => small_scatters::<2>(x, shares, means),
                3 => small_scatters::<3>(x, shares, means),
                _ => scatters_by_products(x, shares, means),
            }
        })
        .collect();
    let mut sums = vec![Array2::zeros((d, d)); means.nrows()];
    for part in parts {
        sums.iter_mut().zip(&part).for_each(|(sum, part)| *sum += part);
    }
    // What rounding leaves of the asymmetry of a product.
    sums.into_iter().map(|sum| 0.5 * (&sum + &sum.t())).collect()
}

fn scatters_by_products(x: ArrayView2<f64>, shares: ArrayView2<f64>, means: &Points) -> Vec<Array2<f64>> {
    let (mut centred, mut weighted) = (Points::zeros(x.dim()), Points::zeros(x.dim()));
    let of_component = |(k, mean): (usize, ndarray::ArrayView1<f64>)| {
        centred.assign(&x);
        centred -= &mean;
        weighted.assign(&centred);
        weighted *= &shares.column(k).insert_axis(Axis(1));
        let mut sum = Array2::zeros((x.ncols(), x.ncols()));
        general_mat_mul(1.0, &weighted.t(), &centred, 0.0, &mut sum);
        sum
    };
    means.rows().into_iter().enumerate().map(of_component).collect()
}

fn small_scatters<const D: usize>(x: ArrayView2<f64>, shares: ArrayView2<f64>, means: &Points) -> Vec<Array2<f64>> {
    let mut sums = vec![[[0.0; D]; D]; means.nrows()];
    let means: Vec<[f64; D]> = means.rows().into_iter().map(|mean| std::array::from_fn(|j| mean[j])).collect();
    for (x, shares) in x.rows().into_iter().zip(shares.rows()) {
        let x: [f64; D] = std::array::from_fn(|j| x[j]);
        let shares = shares.to_slice().expect("rows are contiguous");
        for ((sum, mean), &share) in sums.iter_mut().zip(&means).zip(shares) {
            let centred: [f64; D] = std::array::from_fn(|j| x[j] - mean[j]);
            for i in 0..D {
                for j in 0..D {
                    sum[i][j] += share * centred[i] * centred[j];
                }
            }
        }
    }
    sums.iter().map(|sum| Array2::from_shape_fn((D, D), |(i, j)| sum[i][j])).collect()
}

/// A covariance without eigenvalues below [`LEAST_VARIANCE`] where coordinate j has the unit `units[j]`, nor so far below the largest that a
/// mixture would take them for rounding of zero.
fn bounded_below(covariance: Array2<f64>, units: &Array1<f64>) -> Array2<f64> {
    let d = units.len();
    let is_diagonal = covariance.indexed_iter().all(|((i, j), &x)| i == j || x == 0.0);
    let scaled = Array2::from_shape_fn((d, d), |(i, j)| covariance[[i, j]] / (units[i] * units[j]));
    let scaled = clipped(scaled, LEAST_VARIANCE);
    let covariance = match scaled {
        None => covariance,
        Some(scaled) => Array2::from_shape_fn((d, d), |(i, j)| scaled[[i, j]] * units[i] * units[j]),
    };
    let rounding = 8.0 * d as f64 * f64::EPSILON * covariance.diag().sum();
    let resolved = if is_diagonal { None } else { clipped(covariance.clone(), rounding) };
    resolved.unwrap_or(covariance)
}

/// A symmetric matrix with its eigenvalues raised to at least `least`; `None` where none is below.
fn clipped(matrix: Array2<f64>, least: f64) -> Option<Array2<f64>> {
    let d = matrix.nrows();
    if Cholesky::of_matrix(&(&matrix - &(Array2::<f64>::eye(d) * least))).is_some() {
        return None;
    }
    let identity = Array2::<f64>::eye(d);
    let Some(spectrum) = symmetric_eigen(&matrix) else {
        return Some(identity * least);
    };
    let vectors = spectrum.vectors.as_ref().unwrap_or(&identity);
    let values = Array1::from_iter(spectrum.values.iter().map(|&value| value.max(least)));
    let raised = (vectors * &values).dot(&vectors.t());
    Some(0.5 * (&raised + &raised.t()))
}

/// The responsibilities `[n, K]`, averaged over what sees the noise, and the mean log-likelihood.
fn expect(observed: &Observed, moments: &Moments) -> Result<(Shares, f64), MeasureError> {
    let terms = Terms::of(moments, &observed.centre)
        .ok_or_else(|| MeasureError::NotPositiveDefinite { field: "covariances".to_owned() })?;
    let n = observed.len();
    let of_copy = |seen: &Points| {
        let parts: Vec<(Array2<f64>, f64)> = blocks(n)
            .into_par_iter()
            .map(|rows| {
                let (shares, log_density) = terms.responsibilities(seen.slice(s![rows.clone(), ..]));
                let weights = &observed.weights[rows];
                (shares, log_density.iter().zip(weights).map(|(l, w)| l * w).sum())
            })
            .collect();
        let views: Vec<ArrayView2<f64>> = parts.iter().map(|(shares, _)| shares.view()).collect();
        let shares = ndarray::concatenate(Axis(0), &views).expect("blocks of one width");
        (shares, parts.iter().map(|(_, sum)| sum).sum::<f64>())
    };
    let (mut by_copy, sums): (Vec<Array2<f64>>, Vec<f64>) = observed.seen.iter().map(of_copy).unzip();
    let copies = by_copy.len() as f64;
    let log_likelihood = sums.iter().sum::<f64>() / (n as f64 * copies);
    let shares = match by_copy.len() {
        1 => Shares { mean: by_copy.remove(0), by_copy },
        _ => {
            let zero = Array2::zeros(by_copy[0].dim());
            Shares { mean: by_copy.iter().fold(zero, |sum, shares| sum + shares) / copies, by_copy }
        }
    };
    Ok((shares, log_likelihood))
}

/// Who is responsible for the points.
struct Shares {
    /// r̄, the mean over the copies of the noise, `[n, K]`.
    mean: Array2<f64>,
    /// Those of every copy, where there are several.
    by_copy: Vec<Array2<f64>>,
}

/// How the responsibilities move with the noise: sums over the points of covariances over the copies.
struct Covariances {
    /// `Σ_i w_i cov(r_ik, ε)`, `[K, d]`.
    first: Array2<f64>,
    /// `Σ_i w_i cov(r_ik, x_iεᵀ + εx_iᵀ + εεᵀ)`, `[d, d]` each.
    second: Vec<Array2<f64>>,
}

impl Covariances {
    /// Those of shares by copy; `None` where there is one copy or no noise.
    fn of(observed: &Observed, shares: &Shares, weights: &Array2<f64>) -> Option<Self> {
        let ((n, d), k) = (observed.points.dim(), shares.mean.ncols());
        if shares.by_copy.is_empty() {
            return None;
        }
        let scale = 1.0 / shares.by_copy.len() as f64;
        let of_block = |rows: std::ops::Range<usize>| {
            let rows = s![rows, ..];
            let x = observed.points.slice(rows);
            let (mut first, mut second) = (Array2::zeros((k, d)), vec![Array2::zeros((d, d)); k]);
            for (copy, seen) in shares.by_copy.iter().zip(&observed.seen) {
                let noise = &seen.slice(rows) - &x;
                let moved = (&copy.slice(rows) - &shares.mean.slice(rows)) * weights.slice(rows) * scale;
                first += &moved.t().dot(&noise);
                // x εᵀ + ½ ε εᵀ, whose symmetric part is half of what is wanted.
                let beside = &x + &(&noise * 0.5);
                for (second, moved) in second.iter_mut().zip(moved.columns()) {
                    let weighted = &noise * &moved.insert_axis(Axis(1));
                    general_mat_mul(1.0, &weighted.t(), &beside, 1.0, second);
                }
            }
            (first, second)
        };
        let parts: Vec<(Array2<f64>, Vec<Array2<f64>>)> = blocks(n).into_par_iter().map(of_block).collect();
        let (mut first, mut second) = (Array2::zeros((k, d)), vec![Array2::zeros((d, d)); k]);
        for part in parts {
            first += &part.0;
            second.iter_mut().zip(&part.1).for_each(|(sum, part)| *sum += part);
        }
        Some(Self { first, second: second.into_iter().map(|sum| &sum + &sum.t()).collect() })
    }

    /// Adds `Σ_i w_i cov(r_ik, (x_i - μ_k)εᵀ + ε(x_i - μ_k)ᵀ + εεᵀ)` to the scatter of every component.
    fn add_to(&self, scatters: &mut [Array2<f64>], means: &Points) {
        for (k, scatter) in scatters.iter_mut().enumerate() {
            let (mean, first) = (means.row(k).insert_axis(Axis(1)), self.first.row(k).insert_axis(Axis(0)));
            let product = mean.dot(&first);
            *scatter += &(&self.second[k] - &product - product.t());
        }
    }
}

/// What the logarithms `log p_k N(x; μ_k, Σ_k)` are made of.
struct Terms {
    /// `log p_k - ½ log det 2πΣ_k`, `[K]`.
    heights: Vec<f64>,
    /// The transposed inverse factors `L_k⁻ᵀ` beside each other, a group of components each: `[d, G·d]`.
    factors: Vec<Array2<f64>>,
    /// `L_k⁻¹(μ_k - centre)`, the same groups: `[G·d]`.
    offsets: Vec<Array1<f64>>,
    dim: usize,
}

impl Terms {
    /// For points less a centre; `None` where a covariance is not positive definite.
    fn of(moments: &Moments, centre: &Array1<f64>) -> Option<Self> {
        let (k, d) = moments.means.dim();
        let group = (COLUMNS / d).max(1);
        let root = |covariance: &Array2<f64>| {
            let cholesky = Cholesky::of_matrix(covariance)?;
            Some((cholesky.inverse_factor(), cholesky.log_det()))
        };
        let roots: Option<Vec<(Array2<f64>, f64)>> = moments.covariances.iter().map(root).collect();
        let roots = roots?;
        let constant = 0.5 * d as f64 * std::f64::consts::TAU.ln();
        let heights = (0..k).map(|k| moments.weights[k].ln() - 0.5 * roots[k].1 - constant).collect();
        let (mut factors, mut offsets) = (Vec::new(), Vec::new());
        for first in (0..k).step_by(group) {
            let members = first..(first + group).min(k);
            let mut factor = Array2::zeros((d, members.len() * d));
            let mut offset = Array1::zeros(members.len() * d);
            for (place, k) in members.enumerate() {
                let columns = s![place * d..(place + 1) * d];
                factor.slice_mut(s![.., place * d..(place + 1) * d]).assign(&roots[k].0.t());
                offset.slice_mut(columns).assign(&roots[k].0.dot(&(&moments.means.row(k) - centre)));
            }
            factors.push(factor);
            offsets.push(offset);
        }
        Some(Self { heights, factors, offsets, dim: d })
    }

    /// The responsibilities `[n, K]` and log-densities `[n]` of some rows.
    fn responsibilities(&self, x: ArrayView2<f64>) -> (Array2<f64>, Vec<f64>) {
        let (n, d) = (x.nrows(), self.dim);
        let mut shares = Array2::zeros((n, self.heights.len()));
        let mut first = 0;
        for (factor, offset) in self.factors.iter().zip(&self.offsets) {
            let mut standardized = Array2::zeros((n, factor.ncols()));
            general_mat_mul(1.0, &x, factor, 0.0, &mut standardized);
            standardized -= offset;
            if standardized.iter().any(|z| z.abs() > FARTHEST) {
                standardized.mapv_inplace(|z| z.clamp(-FARTHEST, FARTHEST));
            }
            let members = factor.ncols() / d;
            for (z, mut shares) in standardized.rows().into_iter().zip(shares.rows_mut()) {
                let z = z.to_slice().expect("rows are contiguous");
                let heights = &self.heights[first..first + members];
                let shares = &mut shares.as_slice_mut().expect("rows are contiguous")[first..first + members];
                // Known lengths are unrolled.
                match d {
                    1 => subtract_half_squares::<1>(heights, z, shares),
                    2 => subtract_half_squares::<2>(heights, z, shares),
                    3 => subtract_half_squares::<3>(heights, z, shares),
                    _ => {
                        for ((share, height), z) in shares.iter_mut().zip(heights).zip(z.chunks_exact(d)) {
                            *share = height - 0.5 * dot(z, z);
                        }
                    }
                }
            }
            first += members;
        }
        let log_densities = shares
            .rows_mut()
            .into_iter()
            .map(|mut row| {
                let row = row.as_slice_mut().expect("rows are contiguous");
                let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mut sum = 0.0;
                for term in row.iter_mut() {
                    let below = *term - largest;
                    // What is 0 in any case need not be computed.
                    *term = if below > LEAST_EXPONENT { below.exp() } else { 0.0 };
                    sum += *term;
                }
                let scale = 1.0 / sum;
                row.iter_mut().for_each(|share| *share *= scale);
                largest + sum.ln()
            })
            .collect();
        (shares, log_densities)
    }
}

/// `h_k - |z_k|²/2` for components of dimension D.
fn subtract_half_squares<const D: usize>(heights: &[f64], z: &[f64], terms: &mut [f64]) {
    for ((term, height), z) in terms.iter_mut().zip(heights).zip(z.as_chunks::<D>().0) {
        *term = height - 0.5 * z.iter().map(|z| z * z).sum::<f64>();
    }
}

/// The ranges of rows of the blocks.
fn blocks(n: usize) -> Vec<std::ops::Range<usize>> {
    (0..n).step_by(BLOCK).map(|first| first..(first + BLOCK).min(n)).collect()
}

#[cfg(test)]
mod tests;
