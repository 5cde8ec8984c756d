//! Localization of a trained score network: the Jacobian of its denoiser is a posterior covariance.
//!
//! # Design
//!
//! `Y_r = r(X + σZ)` with σ = 1/r, so that with the denoiser D of a network
//!
//! ```text
//! E[rX | Y_r = y] = r D(y/r, 1/r),    Cov[rX | Y_r = y] = I + ∇²log p_{Y_r}(y) = J,    J = ∂D(y', 1/r) at y' = y/r
//! ```
//!
//! without a factor: the r of the mean and the 1/r of the point cancel. J itself is formed, never I + (J - I): at small r
//! it is of the order r², and the difference would lose it.
//!
//! The J of a network is not symmetric. `L_r(y)` is the top eigenvalue of `S = ½(J + Jᵀ)`, and the relative asymmetry
//! `‖J - Jᵀ‖_F/‖J‖_F`, 0 for the posterior mean of any measure, is reported beside it: it says how far the network is from one.
//!
//! In low dimension all columns of J are taken in forward mode at once and the eigenvalues on the host are exact. Above that
//! Lanczos' recursion takes one product in forward mode and one in reverse mode a step, for all points of a tile in
//! lock-step: products on the device in the number type of the network, the recursion on the host in f64.

use brenier_measure::lanczos::{Accuracy, Krylov};
use brenier_measure::linear_algebra::largest_eigenvalue;
use brenier_measure::{Points, Posterior, PosteriorCovariance, Purpose, Stream, to_points, to_tensor};
use brenier_model::{Divergence, GridConfig, ScoreJacobian, ScoreNetwork, log_density_by};
use burn::module::Module;
use burn::tensor::{DType, Device, Tensor, TensorData};
use ndarray::{Array2, Axis, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The largest dimension in which all columns of the Jacobian are taken unless the caller says otherwise.
///
/// Measured with a network of width 256 and depth 4: level with Lanczos' recursion at 128, and four times as fast as it at 64
/// where r is large and the eigenvalues are close.
const DENSE_UP_TO: usize = 128;

/// About how many tangents travel together.
const TANGENTS: usize = 2048;

/// About how many coordinates of points run in lock-step: their recursions keep all their vectors.
const COORDINATES: usize = 1 << 16;

/// Random directions at every point for the asymmetry where J is not formed.
const PROBES: usize = 8;

/// The posterior of rX given Y_r as a network has it, in the coordinates of the network.
///
/// Points are tiled: memory does not grow with their number. Everything is a function of the point alone: neither the other points
/// nor a seed enter, up to the rounding of the device's products.
///
/// ```
/// use brenier_eval::localization::network::NetworkPosterior;
/// use brenier_measure::{Points, PosteriorCovariance};
/// use brenier_model::{NetworkConfig, Preconditioning, ScoreNetwork};
/// use burn::tensor::{DType, Device};
///
/// let config: NetworkConfig = serde_json::from_str(r#"{"residual_mlp": {"width": 8, "depth": 1}}"#).unwrap();
/// let network = ScoreNetwork::new(&config, Preconditioning::Edm, 3, 1.0, 0, &Device::flex()).unwrap();
/// let posterior = NetworkPosterior::of(&network, DType::F64, &Device::flex());
/// // A new network is the denoiser of N(0, I): Cov[rX | Y_r] = r²/(r² + 1) I.
/// let localization = posterior.localization(2.0, &Points::zeros((1, 3)));
/// assert!((localization[0] - 0.8).abs() < 1e-12);
/// ```
pub struct NetworkPosterior<N> {
    denoiser: N,
    device: Device,
    dtype: DType,
    path: Option<DensityPath>,
    dense_up_to: usize,
}

/// How the log-density of Y_r is found: along the probability-flow ODE from σ = 1/r up to `sigma_max`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DensityPath {
    /// The noise level at which the law is taken to be `N(0, σ_max² I)`, as samplers take it.
    pub sigma_max: f64,
    /// Steps of the Runge-Kutta method of order 4.
    pub steps: usize,
    /// The seed of the random trace in high dimension.
    pub seed: u64,
}

/// The relative asymmetry `‖J - Jᵀ‖_F/‖J‖_F` of a network's Jacobian over a set of points; between 0 and 2.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Asymmetry {
    /// The least.
    pub min: f64,
    /// The median.
    pub median: f64,
    /// The largest.
    pub max: f64,
    /// Whether J was formed; otherwise each norm is that of a few random directions, and the extremes are those of estimates.
    pub exact: bool,
}

impl NetworkPosterior<ScoreNetwork> {
    /// The posterior of a network that lives on `device`, computed in this number type (F64 where the device has it).
    ///
    /// In F32 `y/r` drowns the noise 1/r of a point of size 1 from r = 10⁷ on.
    pub fn of(network: &ScoreNetwork, dtype: DType, device: &Device) -> Self {
        Self::new(network.valid().no_grad().cast(dtype).train(), dtype, device)
    }
}

impl<N: ScoreJacobian> NetworkPosterior<N> {
    /// The posterior of a denoiser made of tensor operations: reverse mode goes through [`denoise`](brenier_measure::Denoiser::denoise).
    ///
    /// It is asked for tensors of this number type on `device` with automatic differentiation.
    pub fn new(denoiser: N, dtype: DType, device: &Device) -> Self {
        Self { denoiser, device: device.clone().autodiff(), dtype, path: None, dense_up_to: DENSE_UP_TO }
    }

    /// With log-densities of Y_r, which are NaN otherwise: each costs `4 · steps` products with as many directions as the
    /// trace needs ([`Divergence::for_dim`]), far more than the posterior itself.
    pub fn with_log_density(self, path: DensityPath) -> Self {
        Self { path: Some(path), ..self }
    }

    /// With all columns of the Jacobian up to this dimension, and Lanczos' recursion above it.
    pub fn with_dense_up_to(self, dim: usize) -> Self {
        Self { dense_up_to: dim, ..self }
    }

    /// `‖J - Jᵀ‖_F/‖J‖_F` at each row of y (coordinates of `Y_r`), `[m, d] -> [m]`.
    ///
    /// Exact where J is formed. In higher dimension the root of `Σ|(J - Jᵀ)v|² / Σ½(|Jv|² + |Jᵀv|²)` over 8 random sign vectors v:
    /// numerator and denominator have the squared norms as their expectations. Hutchinson (1990).
    pub fn asymmetries(&self, snr: f64, y: &Points) -> Vec<f64> {
        let d = y.ncols();
        if d <= self.dense_up_to {
            return self.over_tiles(y, TANGENTS / d, |tile| {
                let (_, jacobians) = self.jacobians(snr, tile);
                jacobians.iter().map(|j| ratio(squares(&(j - &j.t())), squares(j))).collect()
            });
        }
        let mut words = Stream::new(0, Purpose::Probe).at(1, 0);
        let signs = Points::from_shape_simple_fn((PROBES, d), || words.sign());
        self.over_tiles(y, COORDINATES / d / PROBES, |tile| {
            let n = tile.nrows();
            let points = Points::from_shape_fn((PROBES * n, d), |(row, j)| tile[[row % n, j]]);
            let probes = Points::from_shape_fn((PROBES * n, d), |(row, j)| signs[[row / n, j]]);
            let [forward, reverse] = self.products(snr, &points, &probes);
            let of = |field: &Points, i: usize| squares(&field.slice(s![i..; n, ..]).to_owned());
            let difference = &forward - &reverse;
            (0..n).map(|i| ratio(of(&difference, i), 0.5 * (of(&forward, i) + of(&reverse, i)))).collect()
        })
    }

    /// [`asymmetries`](Self::asymmetries) over the points, of which there is at least one.
    pub fn asymmetry(&self, snr: f64, y: &Points) -> Asymmetry {
        let mut values = self.asymmetries(snr, y);
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let m = values.len();
        let median = 0.5 * (at(m / 2) + at(m.saturating_sub(1) / 2));
        Asymmetry { min: at(0), median, max: at(m.saturating_sub(1)), exact: y.ncols() <= self.dense_up_to }
    }

    /// One number for every row, tile by tile.
    fn over_tiles<T>(&self, y: &Points, tile: usize, mut f: impl FnMut(&Points) -> Vec<T>) -> Vec<T> {
        y.axis_chunks_iter(Axis(0), tile.max(1)).flat_map(|rows| f(&rows.to_owned())).collect()
    }

    /// The points `y/r` and the noise levels 1/r of a tile.
    fn noisy(&self, snr: f64, y: &Points) -> (Tensor<2>, Tensor<1>) {
        let sigma = Tensor::full([y.nrows()], 1.0 / snr, (&self.device, self.dtype));
        (to_tensor(&(y / snr), self.dtype, &self.device), sigma)
    }

    /// `D(y/r)` `[n, d]` and the n Jacobians J, by d products in forward mode at once.
    fn jacobians(&self, snr: f64, y: &Points) -> (Points, Vec<Array2<f64>>) {
        let (n, d) = y.dim();
        let (at, sigma) = self.noisy(snr, y);
        let axes = (0..d * n).flat_map(|row| (0..d).map(move |j| if row / n == j { 1.0 } else { 0.0 }));
        let axes = TensorData::new(axes.collect::<Vec<f32>>(), [d * n, d]);
        let (mean, columns) = self.denoiser.denoise_jvp(at, sigma, Tensor::from_data(axes, (&self.device, self.dtype)));
        let columns = to_points(columns);
        let jacobian = |i: usize| Array2::from_shape_fn((d, d), |(row, column)| columns[[column * n + i, row]]);
        (to_points(mean), (0..n).map(jacobian).collect())
    }

    /// `J v` in forward mode and `Jᵀ v` in reverse mode, one v for each point; `[n, d]`, `[n, d] -> 2 · [n, d]`.
    fn products(&self, snr: f64, y: &Points, v: &Points) -> [Points; 2] {
        let (at, sigma) = self.noisy(snr, y);
        let v = to_tensor(v, self.dtype, &self.device);
        let (_, forward) = self.denoiser.denoise_jvp(at.clone(), sigma.clone(), v.clone());
        // Jᵀ v = ∇⟨D(y'), v⟩, v fixed.
        let at = at.require_grad();
        let gradients = (self.denoiser.denoise(at.clone(), sigma) * v).sum().backward();
        let reverse = at.grad(&gradients).expect("a denoiser made of tensor operations on its argument");
        [to_points(forward), to_points(reverse)]
    }

    /// The top eigenvalues of a tile by Lanczos' recursions in lock-step.
    fn lanczos(&self, snr: f64, y: &Points) -> Vec<f64> {
        let (n, d) = y.dim();
        let tolerance = if self.dtype == DType::F64 { 1e-11 } else { 1e-7 };
        let accuracy = Accuracy { tolerance, ..Default::default() };
        // One start for all points, so that the answer at a point is a function of the point.
        let mut open: Vec<(usize, Krylov)> = (0..n).map(|i| (i, Krylov::generic(d))).collect();
        let mut localization = vec![f64::NAN; n];
        while !open.is_empty() {
            let points = y.select(Axis(0), &open.iter().map(|(i, _)| *i).collect::<Vec<_>>());
            let directions = Points::from_shape_fn(points.dim(), |(row, j)| open[row].1.direction()[j]);
            let [forward, reverse] = self.products(snr, &points, &directions);
            let product = (forward + reverse) * 0.5;
            let rows = product.as_slice().expect("row-major").par_chunks_exact(d);
            let advance = |krylov: &mut Krylov, product: &[f64]| {
                if product.iter().any(|x| !x.is_finite()) {
                    return Some(f64::NAN);
                }
                krylov.extend(product);
                krylov.settled(&accuracy).map(|ritz| ritz.value)
            };
            let found: Vec<Option<f64>> =
                open.par_iter_mut().zip(rows).map(|((_, krylov), product)| advance(krylov, product)).collect();
            for ((i, _), found) in open.iter().zip(&found) {
                localization[*i] = found.unwrap_or(f64::NAN);
            }
            let mut found = found.iter();
            open.retain(|_| found.next().is_some_and(Option::is_none));
        }
        localization
    }

    /// `log p_{Y_r}(y) = log p_{X+σZ}(y/r) - d log r` at the rows of a tile; NaN without a path, or where it leaves the finite numbers.
    fn log_densities(&self, snr: f64, y: &Points) -> Vec<f64> {
        let (n, d) = y.dim();
        let Some(DensityPath { sigma_max, steps, seed }) = self.path else { return vec![f64::NAN; n] };
        let sigma = 1.0 / snr;
        if sigma >= sigma_max {
            // Above σ_max the law is the Gaussian that samplers start from, Y_r = N(0, I).
            let constant = d as f64 * (2.0 * std::f64::consts::PI).ln() / 2.0;
            return y.rows().into_iter().map(|y| -y.dot(&y) / 2.0 - constant).collect();
        }
        let Ok(levels) = GridConfig::default().levels(sigma, sigma_max, steps) else { return vec![f64::NAN; n] };
        let (at, _) = self.noisy(snr, y);
        let found = log_density_by(Divergence::for_dim(d), &self.denoiser, at, &levels, seed, 0, &|| true);
        match found {
            Ok(found) => found.values.iter().map(|value| value - d as f64 * snr.ln()).collect(),
            Err(_) => vec![f64::NAN; n],
        }
    }
}

impl<N: ScoreJacobian> PosteriorCovariance for NetworkPosterior<N> {
    fn dim(&self) -> usize {
        self.denoiser.dim()
    }

    /// The covariance is `½(J + Jᵀ)`, all of it in every dimension; the log-density is NaN unless there is a [`DensityPath`].
    fn posterior(&self, snr: f64, y: &Points) -> Vec<Posterior> {
        self.over_tiles(y, TANGENTS / y.ncols(), |tile| {
            let (mean, jacobians) = self.jacobians(snr, tile);
            let rows = mean.rows().into_iter().zip(jacobians).zip(self.log_densities(snr, tile));
            rows.map(|((mean, jacobian), log_density)| Posterior {
                log_density,
                mean: mean.iter().map(|x| snr * x).collect(),
                covariance: symmetric_part(&jacobian),
            })
            .collect()
        })
    }

    /// The top eigenvalue of `½(J + Jᵀ)`; NaN where J is not finite.
    ///
    /// In high dimension by Lanczos' recursion, to an estimated relative error of 10⁻¹¹ in F64 and 10⁻⁷ in F32. It starts from
    /// one fixed vector: if that is nearly orthogonal to the top eigenvector, it may end at a lower eigenvalue.
    fn localization(&self, snr: f64, y: &Points) -> Vec<f64> {
        let d = y.ncols();
        if d > self.dense_up_to {
            return self.over_tiles(y, COORDINATES / d, |tile| self.lanczos(snr, tile));
        }
        self.over_tiles(y, TANGENTS / d, |tile| {
            let (_, jacobians) = self.jacobians(snr, tile);
            jacobians.par_iter().map(|jacobian| largest_eigenvalue(&symmetric_part(jacobian))).collect()
        })
    }
}

fn symmetric_part(a: &Array2<f64>) -> Array2<f64> {
    (a + &a.t()) * 0.5
}

/// The sum of squares.
fn squares(a: &Array2<f64>) -> f64 {
    a.iter().map(|x| x * x).sum()
}

/// The root of a ratio of squares; 0 for the zero matrix, which is symmetric.
fn ratio(difference: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { (difference / whole).sqrt() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brenier_measure::{Denoiser, Estimate};
    use brenier_model::{Activation, NetworkConfig, Preconditioning};
    use burn::module::{ModuleMapper, Param};
    use ndarray::array;

    /// `D(y, σ) = A y`, the denoiser of no measure unless A is symmetric.
    struct Linear(Array2<f64>);

    impl Linear {
        fn apply(&self, rows: Tensor<2>) -> Tensor<2> {
            let transposed = to_tensor(&self.0.t().to_owned(), rows.dtype(), &rows.device());
            rows.matmul(transposed)
        }
    }

    impl Denoiser for Linear {
        fn dim(&self) -> usize {
            self.0.nrows()
        }

        fn denoise(&self, y: Tensor<2>, _: Tensor<1>) -> Tensor<2> {
            self.apply(y)
        }
    }

    impl ScoreJacobian for Linear {
        fn score_jvp(&self, y: Tensor<2>, sigma: Tensor<1>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
            let variance = sigma.clone().square().unsqueeze_dim::<2>(1);
            let k = tangents.dims()[0] / y.dims()[0];
            let moved = (self.apply(tangents.clone()) - tangents) / variance.repeat_dim(0, k);
            (self.score(y, sigma), moved)
        }
    }

    /// `N(m, diag v)`, its denoiser formed without cancellation.
    struct Gaussian {
        mean: Vec<f64>,
        variances: Vec<f64>,
    }

    impl Gaussian {
        /// `v/(v + σ²)` and m; `[n, d]`, `[1, d]`.
        fn gain(&self, sigma: Tensor<1>) -> (Tensor<2>, Tensor<2>) {
            let row = |values: &[f64]| {
                to_tensor(&Points::from_shape_fn((1, values.len()), |(_, j)| values[j]), sigma.dtype(), &sigma.device())
            };
            let (mean, variances) = (row(&self.mean), row(&self.variances));
            let total = sigma.square().unsqueeze_dim::<2>(1) + variances.clone();
            (total.recip() * variances, mean)
        }
    }

    impl Denoiser for Gaussian {
        fn dim(&self) -> usize {
            self.mean.len()
        }

        fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
            let (gain, mean) = self.gain(sigma);
            (y - mean.clone()) * gain + mean
        }
    }

    impl ScoreJacobian for Gaussian {
        fn score_jvp(&self, y: Tensor<2>, sigma: Tensor<1>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
            let variance = sigma.clone().square().unsqueeze_dim::<2>(1);
            let k = tangents.dims()[0] / y.dims()[0];
            let (gain, _) = self.gain(sigma.clone());
            let precision = (gain - 1.0) / variance;
            (self.score(y, sigma), tangents * precision.repeat_dim(0, k))
        }

        fn denoise_jvp(&self, y: Tensor<2>, sigma: Tensor<1>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
            let k = tangents.dims()[0] / y.dims()[0];
            let (gain, _) = self.gain(sigma.clone());
            (self.denoise(y, sigma), tangents * gain.repeat_dim(0, k))
        }
    }

    /// Adds noise to every parameter, so that none is zero.
    struct Perturb(u64, f64);

    impl ModuleMapper for Perturb {
        fn map_float<const D: usize>(&mut self, parameter: Param<Tensor<D>>) -> Param<Tensor<D>> {
            self.0 += 1;
            let noise = normals(1000 + self.0, parameter.val().shape().num_elements());
            parameter.map(|tensor| {
                let trained = tensor.is_require_grad();
                let noise = TensorData::new(noise, tensor.shape());
                let noise = Tensor::from_data(noise, (&tensor.device(), tensor.dtype()));
                (tensor + noise * self.1).detach().set_require_grad(trained)
            })
        }
    }

    fn normals(step: u64, count: usize) -> Vec<f64> {
        let mut values = vec![0.0; count];
        Stream::new(6, Purpose::Noise).at(step, 0).fill_normal(&mut values);
        values
    }

    fn points(step: u64, n: usize, d: usize) -> Points {
        Points::from_shape_vec((n, d), normals(step, n * d)).unwrap()
    }

    fn network(dim: usize, device: &Device) -> ScoreNetwork {
        let config = NetworkConfig::ResidualMlp { width: 32, depth: 2, activation: Activation::Silu, embedding: 12 };
        let network = ScoreNetwork::new(&config, Preconditioning::Edm, dim, 0.8, 5, device).unwrap();
        network.cast(DType::F64).map(&mut Perturb(0, 0.15))
    }

    fn linear(a: Array2<f64>) -> NetworkPosterior<Linear> {
        NetworkPosterior::new(Linear(a), DType::F64, &Device::flex())
    }

    fn largest<'a>(values: impl IntoIterator<Item = &'a f64>) -> f64 {
        values.into_iter().fold(0.0, |largest, x| largest.max(x.abs()))
    }

    const BOTH: [usize; 2] = [usize::MAX, 0];

    #[test]
    fn a_linear_denoiser_answers_with_the_symmetric_part_of_its_matrix() {
        // ½(A + Aᵀ) = [[2, 1], [1, 2]] with eigenvalues 1 and 3; ‖A - Aᵀ‖² = 32, ‖A‖² = 18.
        let a = array![[2.0, 3.0], [-1.0, 2.0]];
        let y = points(0, 5, 2);
        for snr in [0.1, 1.0, 30.0] {
            for dense_up_to in BOTH {
                let posterior = linear(a.clone()).with_dense_up_to(dense_up_to);
                let defect = posterior.localization(snr, &y).iter().fold(0.0f64, |m, l| m.max((l - 3.0).abs()));
                assert!(defect < 1e-10, "{snr}: {defect}");
                let asymmetry = posterior.asymmetry(snr, &y);
                // In the plane the sign vectors see the norm of A - Aᵀ as it is.
                assert!(asymmetry.exact == (dense_up_to > 0));
                if asymmetry.exact {
                    let expected = (32.0f64 / 18.0).sqrt();
                    assert!((asymmetry.median - expected).abs() < 1e-10 && asymmetry.max - asymmetry.min < 1e-10);
                }
            }
            for (found, y) in linear(a.clone()).posterior(snr, &y).iter().zip(y.rows()) {
                let mean = a.dot(&y);
                assert!(largest(&(&found.covariance - &array![[2.0, 1.0], [1.0, 2.0]])) < 1e-10);
                assert!(largest(&(&ndarray::aview1(&found.mean) - &mean)) < 1e-12);
                assert!(found.log_density.is_nan());
            }
        }
    }

    #[test]
    fn a_gaussian_has_its_posterior_at_every_snr() {
        let law = || Gaussian { mean: vec![0.5, -1.0, 2.0], variances: vec![0.3, 1.0, 2.5] };
        let y = points(1, 40, 3);
        for (dtype, tolerance) in [(DType::F64, 1e-14), (DType::F32, 1e-6)] {
            for snr in [1e-6, 0.01, 1.0, 40.0, 1e6] {
                let Gaussian { mean, variances } = law();
                let y = Points::from_shape_fn(y.dim(), |(i, j)| y[[i, j]] * (snr * snr * variances[j] + 1.0).sqrt());
                let posterior = NetworkPosterior::new(law(), dtype, &Device::flex());
                let covariance: Vec<f64> = variances.iter().map(|v| snr * snr * v / (snr * snr * v + 1.0)).collect();
                for (row, found) in posterior.posterior(snr, &y).iter().enumerate() {
                    for j in 0..3 {
                        let expected = snr * mean[j] + covariance[j] * (y[[row, j]] - snr * mean[j]);
                        let scale = snr + largest(y.row(row));
                        assert!((found.mean[j] - expected).abs() < tolerance * scale, "{dtype:?}, {snr}");
                        for i in 0..3 {
                            let expected = if i == j { covariance[j] } else { 0.0 };
                            assert!((found.covariance[[i, j]] - expected).abs() <= tolerance * covariance[j]);
                        }
                    }
                }
                for dense_up_to in BOTH {
                    let posterior = NetworkPosterior::new(law(), dtype, &Device::flex()).with_dense_up_to(dense_up_to);
                    let residual = if dense_up_to > 0 { tolerance } else { tolerance.sqrt() * 0.1 };
                    for found in posterior.localization(snr, &y) {
                        assert!((found / covariance[2] - 1.0).abs() < residual, "{dtype:?}, {snr}: {found}");
                    }
                    assert!(posterior.asymmetry(snr, &y).max < tolerance);
                }
            }
        }
    }

    #[test]
    fn log_densities_are_those_of_the_noised_gaussian() {
        let law = || Gaussian { mean: vec![0.0, 0.0], variances: vec![0.4, 2.0] };
        let path = DensityPath { sigma_max: 1e4, steps: 300, seed: 0 };
        let posterior = NetworkPosterior::new(law(), DType::F64, &Device::flex()).with_log_density(path);
        // The last two lie above σ_max.
        for snr in [30.0, 1.0, 0.05, 1e-4, 1e-6] {
            let variances: Vec<f64> = law().variances.iter().map(|v| snr * snr * v + 1.0).collect();
            let y = Points::from_shape_fn((6, 2), |(i, j)| normals(2, 12)[2 * i + j] * variances[j].sqrt());
            for (found, y) in posterior.posterior(snr, &y).iter().zip(y.rows()) {
                let term = |(y, v): (&f64, &f64)| -(y * y / v + (2.0 * std::f64::consts::PI * v).ln()) / 2.0;
                let expected: f64 = y.iter().zip(&variances).map(term).sum();
                assert!((found.log_density - expected).abs() < 1e-5, "{snr}: {} against {expected}", found.log_density);
            }
        }
    }

    #[test]
    fn the_density_of_a_network_integrates_to_one_at_every_snr() {
        let path = DensityPath { sigma_max: 80.0, steps: 60, seed: 0 };
        let posterior =
            NetworkPosterior::of(&network(1, &Device::flex()), DType::F64, &Device::flex()).with_log_density(path);
        for snr in [0.05, 1.0, 5.0] {
            let (n, half) = (1001, 8.0 * (1.0 + snr));
            let spacing = 2.0 * half / (n - 1) as f64;
            let y = Points::from_shape_fn((n, 1), |(i, _)| i as f64 * spacing - half);
            let mass: f64 = posterior.posterior(snr, &y).iter().map(|found| found.log_density.exp() * spacing).sum();
            assert!((mass - 1.0).abs() < 2e-4, "{snr}: {mass}");
        }
    }

    #[test]
    fn the_covariance_of_a_network_is_the_derivative_of_its_mean() {
        let (d, h) = (3, 1e-5);
        let posterior = NetworkPosterior::of(&network(d, &Device::flex()), DType::F64, &Device::flex());
        for snr in [0.05, 0.7, 3.0, 50.0] {
            let y = points(3, 7, d) * (1.0 + snr);
            // E[rX | Y_r = y] moves with y by the Jacobian, without a factor.
            let mut difference = vec![Array2::<f64>::zeros((d, d)); 7];
            for column in 0..d {
                let moved = |by: f64| {
                    let mut y = y.clone();
                    y.column_mut(column).iter_mut().for_each(|x| *x += by);
                    posterior.posterior(snr, &y)
                };
                for ((difference, up), down) in difference.iter_mut().zip(moved(h)).zip(moved(-h)) {
                    for row in 0..d {
                        difference[[row, column]] = (up.mean[row] - down.mean[row]) / (2.0 * h);
                    }
                }
            }
            let asymmetries = posterior.asymmetries(snr, &y);
            for ((found, difference), asymmetry) in
                posterior.posterior(snr, &y).iter().zip(&difference).zip(asymmetries)
            {
                let defect = largest(&(&found.covariance - &symmetric_part(difference)));
                assert!(defect < 1e-8, "{snr}: {defect}");
                let expected = ratio(squares(&(difference - &difference.t())), squares(difference));
                assert!(expected > 1e-3 && (asymmetry - expected).abs() < 1e-6, "{asymmetry} against {expected}");
            }
        }
    }

    #[test]
    fn lanczos_agrees_with_all_columns() {
        for d in [1, 3, 20, 64] {
            let of = |dense_up_to| {
                NetworkPosterior::of(&network(d, &Device::flex()), DType::F64, &Device::flex())
                    .with_dense_up_to(dense_up_to)
            };
            let [dense, lanczos] = BOTH.map(of);
            for snr in [0.3, 3.0] {
                // More points than one tile of columns holds.
                let y = points(4, if d == 64 { 40 } else { 11 }, d) * (1.0 + snr);
                let top = dense.posterior(snr, &y).iter().map(Posterior::localization).collect::<Vec<_>>();
                for posterior in [&dense, &lanczos] {
                    for (found, top) in posterior.localization(snr, &y).iter().zip(&top) {
                        assert!((found - top).abs() < 1e-8 * top.abs().max(1.0), "d = {d}, {snr}: {found}, {top}");
                    }
                }
            }
        }
    }

    #[test]
    fn probes_estimate_the_asymmetry() {
        let d = 64;
        let of = |dense_up_to| {
            NetworkPosterior::of(&network(d, &Device::flex()), DType::F64, &Device::flex())
                .with_dense_up_to(dense_up_to)
        };
        let [dense, probed] = BOTH.map(of);
        let y = points(5, 30, d) * 2.0;
        let ratios = dense.asymmetries(1.0, &y).into_iter().zip(probed.asymmetries(1.0, &y)).map(|(a, b)| b / a);
        let ratio = Estimate::mean(ratios);
        // The probes are the same at every point: their error does not average out.
        assert!((ratio.value - 1.0).abs() < 0.15 && ratio.std_error < 0.02, "{ratio:?}");
    }

    #[test]
    fn single_precision_agrees_with_double() {
        for (d, dense_up_to) in [(3, usize::MAX), (40, usize::MAX), (3, 0), (40, 0)] {
            let of = |dtype| {
                NetworkPosterior::of(&network(d, &Device::flex()), dtype, &Device::flex()).with_dense_up_to(dense_up_to)
            };
            let [single, double] = [DType::F32, DType::F64].map(of);
            for snr in [0.05, 1.0, 50.0] {
                let y = points(6, 9, d) * (1.0 + snr);
                for (a, b) in single.localization(snr, &y).iter().zip(double.localization(snr, &y)) {
                    assert!((a - b).abs() < 1e-4 * b.abs().max(1e-2), "d = {d}, {snr}: {a} against {b}");
                }
            }
        }
    }

    #[test]
    fn every_answer_is_finite_at_the_ends_of_the_range() {
        let y = Points::from_shape_fn((4, 5), |(i, j)| if i == 3 { 1e8 } else { (i * j) as f64 });
        for dtype in [DType::F32, DType::F64] {
            for dense_up_to in BOTH {
                let path = DensityPath { sigma_max: 80.0, steps: 20, seed: 0 };
                let posterior = NetworkPosterior::of(&network(5, &Device::flex()), dtype, &Device::flex())
                    .with_dense_up_to(dense_up_to)
                    .with_log_density(path);
                for snr in [1e-6, 1e-3, 1.0, 1e3, 1e6] {
                    assert!(posterior.localization(snr, &y).iter().all(|l| l.is_finite()), "{dtype:?}, {snr}");
                    assert!(posterior.asymmetries(snr, &y).iter().all(|a| a.is_finite()));
                    for found in posterior.posterior(snr, &y.slice(s![..3, ..]).to_owned()) {
                        let answers = found.mean.iter().chain(&found.covariance).chain([&found.log_density]);
                        assert!(answers.into_iter().all(|x| x.is_finite()), "{dtype:?}, {snr}: {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_network_in_training_answers_as_the_plain_one() {
        let y = points(7, 6, 3);
        let [plain, trained] = [Device::flex(), Device::flex().autodiff()].map(|device| {
            let network = network(3, &device);
            let posterior = NetworkPosterior::of(&network, DType::F64, &Device::flex()).with_dense_up_to(0);
            posterior.localization(2.0, &y)
        });
        assert_eq!(plain, trained);
    }

    #[test]
    fn other_points_do_not_matter() {
        let posterior =
            NetworkPosterior::of(&network(70, &Device::flex()), DType::F64, &Device::flex()).with_dense_up_to(0);
        let y = points(8, 9, 70) * 2.0;
        let together = posterior.localization(1.0, &y);
        for (i, together) in together.iter().enumerate() {
            let alone = posterior.localization(1.0, &y.slice(s![i..=i, ..]).to_owned())[0];
            assert!((alone - together).abs() < 1e-10 * together.abs(), "{alone} against {together}");
        }
        assert!(posterior.localization(1.0, &Points::zeros((0, 70))).is_empty());
    }
}
