//! Gaussian mixtures, exact at every noise level: the oracle of samplers, scores and diagnostics.

use std::f64::consts::TAU;

use burn::tensor::{DType, Tensor};
use ndarray::{Array1, Array2};

use crate::error::{MeasureError, check_finite};
use crate::linear_algebra::{Spectrum, semidefinite_factor, symmetric_eigen};
use crate::measure::{Denoiser, Measure, Sample, host_tensor};
use crate::quadrature::gauss_hermite;
use crate::random::{Stream, Words, normal_quantile};

/// `Σᵢ pᵢ N(μᵢ, Σᵢ)`, where a covariance may be singular, or zero (a point mass).
///
/// With `Σᵢ = U diag(l) Uᵀ` stored once, the law of `X + σZ` is closed form for every σ, also with a σ for each row:
/// `vᵢ = lᵢ + σ²`, `eᵢ = Uᵢᵀ(y - μᵢ)`, posterior weights
/// `wᵢ ∝ pᵢ exp(-½Σⱼ(eᵢⱼ²/vᵢⱼ + log vᵢⱼ))`, and
/// `E[X | y] = Σ wᵢ(μᵢ + Uᵢ(lᵢ/vᵢ)eᵢ)`, `∇log p(y) = -Σ wᵢ Uᵢ(eᵢ/vᵢ)`.
/// Each of the two sums is formed by itself, so neither cancels, however small or large σ is.
///
/// A mixture with a singular covariance has no density: ask [`has_density`](Self::has_density) before using it as a
/// [`Measure`] (its log-density and score are NaN). As a [`Denoiser`] it is exact all the same.
#[derive(Debug, Clone)]
pub struct GaussianMixture {
    dim: usize,
    components: Vec<Component>,
    cumulative: Vec<f64>,
}

/// One Gaussian of a mixture, with its weight.
#[derive(Debug, Clone)]
pub struct Component {
    weight: f64,
    mean: Vec<f64>,
    covariance: Array2<f64>,
    spectrum: Spectrum,
    factor: Array2<f64>,
}

/// Asymmetry of a covariance that is taken for rounding, relative to its largest entry.
const ASYMMETRY: f64 = 1e-9;
/// A negative eigenvalue that is taken for rounding, relative to the largest.
const NEGATIVITY: f64 = 1e-9;
/// Numbers in one intermediate tensor `[components, rows, d]`.
const TILE: usize = 1 << 18;

impl Component {
    /// Checks and decomposes one component; the names are those of its parameters in error messages.
    fn new(
        weight: f64,
        mean: Vec<f64>,
        covariance: &[Vec<f64>],
        mean_name: &str,
        covariance_name: &str,
    ) -> Result<Self, MeasureError> {
        let d = mean.len();
        check_finite(mean_name, &mean)?;
        let length =
            |field: String, found| MeasureError::Length { field, found, other: mean_name.to_owned(), expected: d };
        if covariance.len() != d {
            return Err(length(covariance_name.to_owned(), covariance.len()));
        }
        for (i, row) in covariance.iter().enumerate() {
            let name = format!("{covariance_name}[{i}]");
            if row.len() != d {
                return Err(length(name, row.len()));
            }
            check_finite(&name, row)?;
        }
        let mut matrix = Array2::from_shape_fn((d, d), |(i, j)| covariance[i][j]);
        let largest = matrix.iter().fold(0.0f64, |m, a| m.max(a.abs()));
        for row in 0..d {
            for column in row + 1..d {
                let (upper, lower) = (matrix[[row, column]], matrix[[column, row]]);
                if (upper - lower).abs() > ASYMMETRY * largest {
                    let field = covariance_name.to_owned();
                    return Err(MeasureError::NotSymmetric { field, row, column, upper, lower });
                }
                matrix[[row, column]] = f64::midpoint(upper, lower);
                matrix[[column, row]] = matrix[[row, column]];
            }
        }
        let mut spectrum =
            symmetric_eigen(&matrix).ok_or_else(|| MeasureError::Eigenvalues { field: covariance_name.to_owned() })?;
        let largest = spectrum.values.iter().fold(0.0f64, |m, l| m.max(l.abs()));
        let least = spectrum.values.iter().copied().fold(f64::INFINITY, f64::min);
        if least < -NEGATIVITY * largest {
            let field = covariance_name.to_owned();
            return Err(MeasureError::NotPositiveSemiDefinite { field, eigenvalue: least });
        }
        // An eigenvalue within rounding of zero is zero: the direction carries no noise of its own. The eigenvalues
        // of a diagonal matrix carry no rounding, so there only zero itself is zero.
        let rounding = if spectrum.vectors.is_some() { 4.0 * d as f64 * f64::EPSILON * largest } else { 0.0 };
        for l in &mut spectrum.values {
            if *l <= rounding {
                *l = 0.0;
            }
        }
        let factor = semidefinite_factor(&matrix);
        Ok(Self { weight, mean, covariance: matrix, spectrum, factor })
    }

    /// The probability p.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// The mean μ, `[d]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// The covariance Σ, `[d, d]`.
    pub fn covariance(&self) -> &Array2<f64> {
        &self.covariance
    }

    /// `Σ = U diag(l) Uᵀ`, with eigenvalues that are rounding set to zero.
    pub fn spectrum(&self) -> &Spectrum {
        &self.spectrum
    }

    /// The law of `αX + σZ` for this component.
    fn noised(&self, alpha: f64, sigma: f64) -> Self {
        let variance = sigma * sigma;
        let covariance = &self.covariance * (alpha * alpha) + Array2::<f64>::eye(self.mean.len()) * variance;
        let mut spectrum = self.spectrum.clone();
        for l in &mut spectrum.values {
            *l = alpha * alpha * *l + variance;
        }
        Self {
            weight: self.weight,
            mean: self.mean.iter().map(|m| alpha * m).collect(),
            factor: semidefinite_factor(&covariance),
            covariance,
            spectrum,
        }
    }
}

impl GaussianMixture {
    /// The mixture of these weights `[K]`, means `[K][d]` and covariances `[K][d][d]`.
    ///
    /// # Errors
    ///
    /// Weights that are not positive or do not sum to 1 within 10⁻⁶, lengths that disagree, numbers that are not
    /// finite, covariances that are not symmetric or have a negative eigenvalue.
    pub fn new(weights: Vec<f64>, means: Vec<Vec<f64>>, covariances: Vec<Vec<Vec<f64>>>) -> Result<Self, MeasureError> {
        let count = weights.len();
        if count == 0 {
            return Err(MeasureError::Empty { field: "weights".to_owned() });
        }
        for (field, found) in [("means", means.len()), ("covariances", covariances.len())] {
            if found != count {
                let (field, other) = (field.to_owned(), "weights".to_owned());
                return Err(MeasureError::Length { field, found, other, expected: count });
            }
        }
        check_finite("weights", &weights)?;
        if let Some(i) = weights.iter().position(|&p| p <= 0.0) {
            return Err(MeasureError::Weight { field: format!("weights[{i}]"), value: weights[i] });
        }
        let sum: f64 = weights.iter().sum();
        if (sum - 1.0).abs() > 1e-6 {
            return Err(MeasureError::WeightSum { sum });
        }
        let dim = means[0].len();
        if dim == 0 {
            return Err(MeasureError::Empty { field: "means[0]".to_owned() });
        }
        let mut components = Vec::with_capacity(count);
        for (i, ((weight, mean), covariance)) in weights.into_iter().zip(means).zip(covariances).enumerate() {
            if mean.len() != dim {
                let (field, other) = (format!("means[{i}]"), "means[0]".to_owned());
                return Err(MeasureError::Length { field, found: mean.len(), other, expected: dim });
            }
            let names = (format!("means[{i}]"), format!("covariances[{i}]"));
            components.push(Component::new(weight / sum, mean, &covariance, &names.0, &names.1)?);
        }
        Ok(Self::of(dim, components))
    }

    /// One Gaussian, with the names of its own parameters in errors.
    pub(crate) fn single(mean: Vec<f64>, covariance: &[Vec<f64>]) -> Result<Self, MeasureError> {
        if mean.is_empty() {
            return Err(MeasureError::Empty { field: "mean".to_owned() });
        }
        Ok(Self::of(mean.len(), vec![Component::new(1.0, mean, covariance, "mean", "covariance")?]))
    }

    /// Gaussians of one standard deviation about weighted points; the weights are positive and are divided by their sum.
    pub(crate) fn about_points(weights: &[f64], means: Vec<Vec<f64>>, deviation: f64) -> Self {
        let dim = means[0].len();
        let sum: f64 = weights.iter().sum();
        let variance = deviation * deviation;
        let component = |(p, mean): (&f64, Vec<f64>)| Component {
            weight: p / sum,
            mean,
            covariance: Array2::eye(dim) * variance,
            spectrum: Spectrum { values: vec![variance; dim], vectors: None },
            factor: Array2::eye(dim) * deviation,
        };
        Self::of(dim, weights.iter().zip(means).map(component).collect())
    }

    fn of(dim: usize, components: Vec<Component>) -> Self {
        let mut total = 0.0;
        let cumulative = components.iter().map(|c| {
            total += c.weight;
            total
        });
        Self { dim, cumulative: cumulative.collect(), components }
    }

    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The Gaussians of the mixture.
    pub fn components(&self) -> &[Component] {
        &self.components
    }

    /// Whether every covariance is invertible.
    pub fn has_density(&self) -> bool {
        self.components.iter().all(|c| c.spectrum.values.iter().all(|&l| l > 0.0))
    }

    /// The law of `αX + σZ`, again a mixture: means `αμᵢ`, covariances `α²Σᵢ + σ²I`.
    pub fn noised(&self, alpha: f64, sigma: f64) -> Self {
        Self::of(self.dim, self.components.iter().map(|c| c.noised(alpha, sigma)).collect())
    }

    /// The mean `Σ pᵢμᵢ`, `[d]`.
    pub fn mean(&self) -> Vec<f64> {
        let mut mean = vec![0.0; self.dim];
        for c in &self.components {
            for (sum, m) in mean.iter_mut().zip(&c.mean) {
                *sum += c.weight * m;
            }
        }
        mean
    }

    /// The covariance `Σ pᵢ(Σᵢ + (μᵢ - μ)(μᵢ - μ)ᵀ)`, `[d, d]`.
    pub fn covariance(&self) -> Array2<f64> {
        let mean = self.mean();
        let mut total = Array2::zeros((self.dim, self.dim));
        for c in &self.components {
            for ((i, j), sum) in total.indexed_iter_mut() {
                *sum += c.weight * (c.covariance[[i, j]] + (c.mean[i] - mean[i]) * (c.mean[j] - mean[j]));
            }
        }
        total
    }

    /// The log-density of `X + σZ`; y `[n, d]`, σ `[n]` (positive) `-> [n]`.
    pub fn log_density_at(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<1> {
        let constants = self.constants(&y);
        tiled(self.rows_per_tile(), y, Some(sigma), |y, sigma| constants.posterior(y, sigma).log_density)
            .squeeze_dim::<1>(1)
    }

    /// Who is responsible for a point: `rᵢ(x) = pᵢ N(x; μᵢ, Σᵢ)/Σⱼ pⱼ N(x; μⱼ, Σⱼ)`; `[n, d] -> [n, K]`.
    ///
    /// Formed from logarithms, so that a point far from all components has responsibilities too. NaN where a
    /// covariance is singular: ask [`has_density`](Self::has_density).
    pub fn responsibilities(&self, x: Tensor<2>) -> Tensor<2> {
        self.per_component(x, |posterior| posterior.weights)
    }

    /// The squared Mahalanobis distances `(x - μᵢ)ᵀΣᵢ⁻¹(x - μᵢ)`; `[n, d] -> [n, K]`. NaN where a covariance is singular.
    pub fn squared_mahalanobis(&self, x: Tensor<2>) -> Tensor<2> {
        self.per_component(x, |posterior| posterior.standardized.square().sum_dim(2))
    }

    /// Applies `f`, whose answer is `[K, n, 1]`, to the posterior of rows in tiles; `[n, d] -> [n, K]`.
    fn per_component(&self, x: Tensor<2>, f: impl Fn(Posterior) -> Tensor<3>) -> Tensor<2> {
        if !self.has_density() {
            return x.full_like(f64::NAN).narrow(1, 0, 1).repeat_dim(1, self.components.len());
        }
        let constants = self.constants(&x);
        tiled(self.rows_per_tile(), x, None, |x, _| f(constants.posterior(x, None)).squeeze_dim::<2>(2).swap_dims(0, 1))
    }

    /// Rows whose intermediate tensors fit into one tile.
    fn rows_per_tile(&self) -> usize {
        (TILE / (self.components.len() * self.dim)).max(1)
    }

    /// The parameters as tensors, in the number type and on the device of `like`.
    fn constants(&self, like: &Tensor<2>) -> Constants {
        let (count, d) = (self.components.len(), self.dim);
        let (dtype, device) = (like.dtype(), like.device());
        let tensor = |values: Vec<f64>, shape: [usize; 3]| host_tensor(values, shape, dtype, &device);
        let each = |f: &dyn Fn(&Component) -> Vec<f64>| self.components.iter().flat_map(f).collect::<Vec<f64>>();
        let rotation = self.components.iter().any(|c| c.spectrum.vectors.is_some()).then(|| {
            let eye = Array2::<f64>::eye(d);
            tensor(each(&|c| c.spectrum.vectors.as_ref().unwrap_or(&eye).iter().copied().collect()), [count, d, d])
        });
        // Deviations that are equal in all coordinates, or in all components, are stored once and broadcast.
        let isotropic = self.components.iter().all(|c| c.spectrum.values.iter().all(|&l| l == c.spectrum.values[0]));
        let width = if isotropic { 1 } else { d };
        let first = &self.components[0].spectrum.values;
        let height = if self.components.iter().all(|c| &c.spectrum.values == first) { 1 } else { count };
        let deviations = self.components[..height]
            .iter()
            .flat_map(|c| c.spectrum.values[..width].iter().map(|l| l.sqrt()))
            .collect();
        Constants {
            dim: d,
            log_weights: tensor(each(&|c| vec![c.weight.ln()]), [count, 1, 1]),
            means: tensor(each(&|c| c.mean.clone()), [count, 1, d]),
            deviations: tensor(deviations, [height, 1, width]),
            rotation,
        }
    }
}

/// A mixture's parameters on a device; axes are (component, row, coordinate).
struct Constants {
    dim: usize,
    log_weights: Tensor<3>,
    means: Tensor<3>,
    deviations: Tensor<3>,
    rotation: Option<Tensor<3>>,
}

/// What Bayes' rule gives for some rows y.
struct Posterior {
    /// `log p(y)`, `[n, 1]`.
    log_density: Tensor<2>,
    /// wᵢ, `[K, n, 1]`.
    weights: Tensor<3>,
    /// `eᵢ/√vᵢ`, `[K, n, d]`.
    standardized: Tensor<3>,
    /// `√vᵢ`, each axis of full length or 1.
    total_deviations: Tensor<3>,
}

impl Constants {
    fn posterior(&self, y: Tensor<2>, sigma: Option<Tensor<2>>) -> Posterior {
        let offsets = y.unsqueeze_dim::<3>(0) - self.means.clone();
        let offsets = match &self.rotation {
            Some(rotation) => offsets.matmul(rotation.clone()),
            None => offsets,
        };
        let total_deviations = match sigma {
            Some(sigma) => hypotenuse(self.deviations.clone(), sigma.unsqueeze_dim::<3>(0)),
            None => self.deviations.clone(),
        };
        // Beyond 10¹⁷ standard deviations a square would overflow f32, and all weights would be NaN.
        let limit = if offsets.dtype() == DType::F64 { 1e150 } else { 1e17 };
        let standardized = (offsets / total_deviations.clone()).clamp(-limit, limit);
        let log_scale = total_deviations.clone().log();
        let log_scale = if log_scale.dims()[2] == 1 { log_scale * self.dim as f64 } else { log_scale.sum_dim(2) };
        let log_terms = self.log_weights.clone() - standardized.clone().square().sum_dim(2) * 0.5 - log_scale;
        let largest = log_terms.clone().max_dim(0);
        let log_sum = (log_terms.clone() - largest.clone()).exp().sum_dim(0).log() + largest;
        Posterior {
            weights: (log_terms - log_sum.clone()).exp(),
            log_density: log_sum.squeeze_dim::<2>(0) - 0.5 * self.dim as f64 * TAU.ln(),
            standardized,
            total_deviations,
        }
    }

    /// `Σᵢ Uᵢ eᵢ` over the components; `[K, n, d] -> [n, d]`.
    fn rotate_back(&self, vectors: Tensor<3>) -> Tensor<2> {
        let vectors = match &self.rotation {
            Some(rotation) => vectors.matmul(rotation.clone().swap_dims(1, 2)),
            None => vectors,
        };
        vectors.sum_dim(0).squeeze_dim::<2>(0)
    }

    fn score(&self, y: Tensor<2>, sigma: Option<Tensor<2>>) -> Tensor<2> {
        let p = self.posterior(y, sigma);
        -self.rotate_back(p.weights * p.standardized / p.total_deviations)
    }

    fn denoise(&self, y: Tensor<2>, sigma: Option<Tensor<2>>) -> Tensor<2> {
        let p = self.posterior(y, sigma);
        let means = (p.weights.clone() * self.means.clone()).sum_dim(0).squeeze_dim::<2>(0);
        // l e/v as (√l/√v)·√l·(e/√v): no square can underflow.
        let pull = self.deviations.clone() / p.total_deviations * self.deviations.clone();
        means + self.rotate_back(p.weights * p.standardized * pull)
    }
}

/// `√(a² + b²)` of non-negative tensors that broadcast, without squaring the larger.
fn hypotenuse(a: Tensor<3>, b: Tensor<3>) -> Tensor<3> {
    let sum = a.clone() + b.clone();
    let larger = (sum.clone() + (a - b).abs()) * 0.5;
    let ratio = sum / larger.clone() - 1.0;
    larger * (ratio.square() + 1.0).sqrt()
}

/// Applies `f` to rows in tiles, so that memory does not grow with components × rows.
fn tiled(
    rows: usize,
    y: Tensor<2>,
    sigma: Option<Tensor<1>>,
    f: impl Fn(Tensor<2>, Option<Tensor<2>>) -> Tensor<2>,
) -> Tensor<2> {
    let n = y.dims()[0];
    let sigma = sigma.map(|s| s.unsqueeze_dim::<2>(1));
    if n <= rows {
        return f(y, sigma);
    }
    let tile = |start: usize| {
        let length = (n - start).min(rows);
        f(y.clone().narrow(0, start, length), sigma.as_ref().map(|s| s.clone().narrow(0, start, length)))
    };
    Tensor::cat((0..n).step_by(rows).map(tile).collect(), 0)
}

impl Sample for GaussianMixture {
    fn dim(&self) -> usize {
        self.dim
    }

    /// One word for the component and d for the normals, whatever the rank.
    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let component = &self.components[words.category(&self.cumulative)];
        component.place(|| words.normal(), point);
    }
}

impl Component {
    /// `μ + F z` with `Σ = F Fᵀ`, z from a function that gives one number after the other.
    fn place(&self, mut z: impl FnMut() -> f64, point: &mut [f64]) {
        point.copy_from_slice(&self.mean);
        for column in self.factor.columns() {
            let z = z();
            for (x, f) in point.iter_mut().zip(column) {
                *x += f * z;
            }
        }
    }
}

/// A node of less weight changes no digit.
const NEGLIGIBLE: f64 = 1e-26;

/// Above this dimension the points of [`GaussianMixture::even_draws`] are independent: the sequence fills no more.
const MOST_EVEN: usize = 8;

impl GaussianMixture {
    /// Draws that fill the law more evenly than independent ones, `[count, d]`: a mean over them has a far smaller error.
    ///
    /// Every one has the law of the mixture: `u_i = {v + i α}` in d + 1 dimensions, `α_j = φ^{-j}` with φ the root of `φ^{d+2} = φ + 1` (Roberts'
    /// generalisation of the golden ratio), v uniform and a function of the stream and the step (Cranley and Patterson, 1976). Above
    /// eight dimensions they are independent.
    pub fn even_draws(&self, stream: &Stream, step: u64, count: usize) -> Array2<f64> {
        let d = self.dim;
        if d > MOST_EVEN {
            return self.sample(stream, step, 0..count as u64);
        }
        let mut phi = 1.5f64;
        for _ in 0..100 {
            phi = libm::pow(1.0 + phi, 1.0 / (d + 2) as f64);
        }
        let steps: Vec<f64> = (1..=d + 1).map(|j| libm::pow(phi, -(j as f64))).collect();
        let mut words = stream.at(step, 0);
        let shifts: Vec<f64> = steps.iter().map(|_| words.uniform()).collect();
        let mut draws = Array2::zeros((count, d));
        for (i, mut draw) in draws.rows_mut().into_iter().enumerate() {
            // In the open interval.
            let uniform = |j: usize| (shifts[j] + i as f64 * steps[j]).fract().clamp(1e-12, 1.0 - 1e-12);
            let at = uniform(0) * self.cumulative.last().copied().unwrap_or(1.0);
            let component = self.cumulative.partition_point(|&c| c <= at).min(self.components.len() - 1);
            let mut coordinate = 0;
            let next = || {
                coordinate += 1;
                normal_quantile(uniform(coordinate))
            };
            self.components[component].place(next, draw.as_slice_mut().expect("row-major"));
        }
        draws
    }

    /// Nodes and weights of the law: those of Gauss and Hermite, n an axis, in every component; `[m, d]` and `[m]`, weights with sum 1.
    ///
    /// Nodes are left out whose weights are below rounding.
    pub fn nodes(&self, n: usize) -> (Array2<f64>, Array1<f64>) {
        let (d, rule) = (self.dim, gauss_hermite(n));
        let (mut points, mut weights) = (Vec::new(), Vec::new());
        let mut point = vec![0.0; d];
        for component in &self.components {
            let mut place = vec![0; d];
            loop {
                let weight = component.weight * place.iter().map(|&i| rule[i].1).product::<f64>();
                if weight > NEGLIGIBLE {
                    let mut coordinates = place.iter();
                    component.place(|| rule[*coordinates.next().expect("as many as columns")].0, &mut point);
                    points.extend_from_slice(&point);
                    weights.push(weight);
                }
                // The next place, as a number of d digits.
                let Some(digit) = (0..d).find(|&j| place[j] + 1 < n) else { break };
                place[digit] += 1;
                place[..digit].fill(0);
            }
        }
        let weights = Array1::from(weights);
        let total = weights.sum();
        (Array2::from_shape_vec((weights.len(), d), points).expect("d numbers a node"), weights / total)
    }
}

impl Measure for GaussianMixture {
    fn dim(&self) -> usize {
        self.dim
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        if !self.has_density() {
            return x.full_like(f64::NAN).narrow(1, 0, 1).squeeze_dim::<1>(1);
        }
        let constants = self.constants(&x);
        tiled(self.rows_per_tile(), x, None, |x, _| constants.posterior(x, None).log_density).squeeze_dim::<1>(1)
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        if !self.has_density() {
            return x.full_like(f64::NAN);
        }
        let constants = self.constants(&x);
        tiled(self.rows_per_tile(), x, None, |x, _| constants.score(x, None))
    }

    fn log_normalizer(&self) -> Option<f64> {
        Some(0.0)
    }
}

impl Denoiser for GaussianMixture {
    fn dim(&self) -> usize {
        self.dim
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let constants = self.constants(&y);
        tiled(self.rows_per_tile(), y, Some(sigma), |y, sigma| constants.denoise(y, sigma))
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let constants = self.constants(&y);
        tiled(self.rows_per_tile(), y, Some(sigma), |y, sigma| constants.score(y, sigma))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    /// Mean and sd of the errors of E x₁ and E x₁² over 2000 even draws, in units of the sd of independent ones.
    fn errors(mixture: &GaussianMixture, exact: [f64; 2], sds: [f64; 2]) -> [[f64; 2]; 2] {
        let (n, shifts) = (2000, 100);
        let stream = Stream::new(3, Purpose::Pool);
        std::array::from_fn(|k| {
            let error = |step| {
                let drawn = mixture.even_draws(&stream, step, n);
                let moment = drawn.column(1).iter().map(|x| x.powi(k as i32 + 1)).sum::<f64>() / n as f64;
                (moment - exact[k]) / (sds[k] / (n as f64).sqrt())
            };
            let errors: Vec<f64> = (0..shifts).map(error).collect();
            let mean = errors.iter().sum::<f64>() / shifts as f64;
            [mean, (errors.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / shifts as f64).sqrt()]
        })
    }

    #[test]
    fn even_draws_have_the_law_and_fill_it_evenly() {
        let plane = GaussianMixture::about_points(&[1.0], vec![vec![0.0; 2]], 1.0);
        let two = GaussianMixture::new(
            vec![0.3, 0.7],
            vec![vec![-1.0, 0.5], vec![1.0, 0.0]],
            vec![vec![vec![0.5, 0.1], vec![0.1, 0.3]], vec![vec![0.2, 0.0], vec![0.0, 0.4]]],
        )
        .unwrap();
        // E x₁² of the mixture is .3(.3 + .25) + .7·.4, its variance of x₁ .4225 and of x₁² about .6.
        let cases = [(plane, [0.0, 1.0], [1.0, 2f64.sqrt()], 0.15), (two, [0.15, 0.445], [0.65, 0.77], 0.6)];
        for (mixture, exact, sds, bound) in cases {
            for [mean, sd] in errors(&mixture, exact, sds) {
                assert!(sd < bound, "{sd} of what independent draws have");
                assert!(mean.abs() < 5.0 * sd / 10.0, "{mean} ± {sd}");
            }
        }
    }

    #[test]
    fn nodes_have_the_moments_of_the_law() {
        let mixture = GaussianMixture::new(
            vec![0.3, 0.7],
            vec![vec![-1.0, 0.5], vec![1.0, 0.0]],
            vec![vec![vec![0.5, 0.1], vec![0.1, 0.3]], vec![vec![0.2, 0.0], vec![0.0, 0.4]]],
        )
        .unwrap();
        let (points, weights) = mixture.nodes(12);
        assert!((weights.sum() - 1.0).abs() < 1e-14);
        let mean = weights.dot(&points);
        assert!(mean.iter().zip(mixture.mean()).all(|(a, b)| (a - b).abs() < 1e-14));
        let centred = &points - &mean;
        let weighted = &centred * &weights.insert_axis(ndarray::Axis(1));
        assert!((&centred.t().dot(&weighted) - &mixture.covariance()).iter().all(|x| x.abs() < 1e-13));
    }

    #[test]
    fn even_draws_beyond_their_dimension_are_independent_ones() {
        let mixture = GaussianMixture::about_points(&[1.0], vec![vec![0.0; 9]], 1.0);
        let stream = Stream::new(3, Purpose::Pool);
        assert_eq!(mixture.even_draws(&stream, 4, 7), mixture.sample(&stream, 4, 0..7));
    }
}
