//! The log-density of a denoiser's samples, by the probability-flow ODE.
//!
//! Along `dy/dσ = -σ s(y, σ)`, s the score, densities change by `d/dσ log p_σ(y) = σ tr ∇s(y, σ)`, so that
//!
//! ```text
//! log p_{σ_min}(x) = log N(y(σ_max); 0, σ_max² I) - ∫ σ tr ∇s(y(σ), σ) dσ,    y(σ_min) = x
//! ```
//!
//! (Chen et al., 1806.07366; Song et al., 2011.13456, equation 39). The Gaussian at σ_max is the one that samplers start from.

use std::ops::Range;

use brenier_measure::{Estimate, Purpose, Stream};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::samplers::{SamplerError, check_levels};
use crate::score_network::ScoreJacobian;

/// The largest dimension for which the trace is exact unless the caller says otherwise.
const EXACT_UP_TO: usize = 32;

/// About how many tangents travel together.
const TANGENTS: usize = 2048;

/// How the trace of the score's Jacobian is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Divergence {
    /// All d directions.
    Exact,
    /// The mean of `vᵀ(∇s)v` over random sign vectors v, fixed along the path. Hutchinson (1990).
    Hutchinson {
        /// How many sign vectors; the standard error needs at least 2.
        probes: usize,
    },
}

impl Divergence {
    /// Exact up to dimension 32; 8 probes above.
    pub fn for_dim(dim: usize) -> Self {
        if dim <= EXACT_UP_TO { Self::Exact } else { Self::Hutchinson { probes: 8 } }
    }
}

/// Log-densities of points, and how they were found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LogDensity {
    /// `log q(x)` in nats; of a denoiser `log p_{σ_min}(x)`, in its coordinates.
    pub values: Vec<f64>,
    /// The standard error of each from the random trace; 0 where the trace is exact.
    pub std_errors: Vec<f64>,
    /// Whether each is a value of a density: false where a construction behind it broke down.
    pub valid: Vec<bool>,
    /// How the trace was taken; exact where there is none.
    pub method: Divergence,
    /// Why this is the density of another law than that of the samples, where it is.
    pub of_another_law: Option<&'static str>,
}

impl LogDensity {
    /// Values that are known exactly, of the law that samples are drawn from.
    pub fn exact(values: Vec<f64>) -> Self {
        let n = values.len();
        Self { values, std_errors: vec![0.0; n], valid: vec![true; n], method: Divergence::Exact, of_another_law: None }
    }

    /// Appends the values of further points of the same law.
    pub fn extend(&mut self, more: Self) {
        self.values.extend(more.values);
        self.std_errors.extend(more.std_errors);
        self.valid.extend(more.valid);
    }
}

/// [`log_density_by`] with the [`Divergence`] that fits the dimension.
///
/// # Errors
///
/// As for [`log_density_by`].
pub fn log_density(
    denoiser: &dyn ScoreJacobian,
    x: Tensor<2>,
    levels: &[f64],
    seed: u64,
    first_index: u64,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<LogDensity, SamplerError> {
    log_density_by(Divergence::for_dim(denoiser.dim()), denoiser, x, levels, seed, first_index, go_on)
}

/// `log p_{σ_min}(x)` at every point, x `[n, d]`, in the number type of x.
///
/// The path goes up the levels of a sampling grid ([`GridConfig::levels`](crate::GridConfig::levels), its last level 0 left out) by
/// the Runge-Kutta method of order 4: the error of the solver falls by 16 when the steps double. Where a path leaves the finite numbers, the
/// value is NaN and not valid. A sign vector is a function of (seed, its number,
/// `first_index` + row). `go_on` is asked at every step.
///
/// # Errors
///
/// Levels that are no grid, an interruption.
pub fn log_density_by(
    method: Divergence,
    denoiser: &dyn ScoreJacobian,
    x: Tensor<2>,
    levels: &[f64],
    seed: u64,
    first_index: u64,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<LogDensity, SamplerError> {
    check_levels(levels)?;
    if levels.len() < 3 {
        // One level above 0 leaves no path to integrate along.
        return Err(SamplerError::Levels { position: 1, value: levels[1] });
    }
    let ([n, d], sigma_max) = (x.dims(), levels[0]);
    let directions = match method {
        Divergence::Exact => d,
        Divergence::Hutchinson { probes } => probes.max(1),
    };
    let tile = (TANGENTS / directions).max(1);
    let (mut values, mut std_errors) = (Vec::with_capacity(n), Vec::with_capacity(n));
    for first in (0..n).step_by(tile) {
        let count = tile.min(n - first);
        let indices = first_index + first as u64..first_index + (first + count) as u64;
        let tangents = match method {
            Divergence::Exact => unit_vectors(count, d),
            Divergence::Hutchinson { .. } => sign_vectors(seed, directions, indices, d),
        };
        let data = TensorData::new(tangents, [directions * count, d]);
        let tangents = Tensor::from_data(data, (&x.device(), x.dtype()));
        let start = x.clone().slice_dim(0, first..first + count);
        let (y, integrals) = integrate(denoiser, start, tangents, levels, go_on)?;
        for (y, integrals) in y.chunks(d).zip(integrals) {
            let constant = d as f64 * (2.0 * std::f64::consts::PI * sigma_max * sigma_max).ln() / 2.0;
            let reference = -y.iter().map(|y| (y / sigma_max).powi(2)).sum::<f64>() / 2.0 - constant;
            let trace = match method {
                Divergence::Exact => Estimate { value: integrals.iter().sum(), std_error: 0.0 },
                Divergence::Hutchinson { .. } => Estimate::mean(integrals),
            };
            let value = reference - trace.value;
            values.push(if value.is_finite() { value } else { f64::NAN });
            std_errors.push(trace.std_error);
        }
    }
    let valid = values.iter().map(|value| !value.is_nan()).collect();
    Ok(LogDensity { values, std_errors, valid, method, of_another_law: None })
}

/// Follows the points up the levels: y at σ_max, and for every point the integrals `∫ σ vᵀ(∇s)v dσ` of its tangents.
fn integrate(
    denoiser: &dyn ScoreJacobian,
    start: Tensor<2>,
    tangents: Tensor<2>,
    levels: &[f64],
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<(Vec<f64>, Vec<Vec<f64>>), SamplerError> {
    let (n, rows, options) = (start.dims()[0], tangents.dims()[0], (&start.device(), start.dtype()));
    // dy/dσ, and the rate of every tangent's integral.
    let rates = |y: &Tensor<2>, sigma: f64| {
        let (score, moved) = denoiser.score_jvp(y.clone(), Tensor::full([n], sigma, options), tangents.clone());
        (score * -sigma, (moved * tangents.clone()).sum_dim(1) * sigma)
    };
    let mut y = start.clone();
    let mut integrals = Tensor::<2>::zeros([rows, 1], options);
    for pair in levels[..levels.len() - 1].windows(2).rev() {
        if !go_on() {
            return Err(SamplerError::Interrupted);
        }
        let (sigma, h) = (pair[1], pair[0] - pair[1]);
        let (slope_1, rate_1) = rates(&y, sigma);
        let (slope_2, rate_2) = rates(&(y.clone() + slope_1.clone() * (h / 2.0)), sigma + h / 2.0);
        let (slope_3, rate_3) = rates(&(y.clone() + slope_2.clone() * (h / 2.0)), sigma + h / 2.0);
        let (slope_4, rate_4) = rates(&(y.clone() + slope_3.clone() * h), sigma + h);
        y = y + (slope_1 + (slope_2 + slope_3) * 2.0 + slope_4) * (h / 6.0);
        integrals = integrals + (rate_1 + (rate_2 + rate_3) * 2.0 + rate_4) * (h / 6.0);
    }
    let read = |tensor: Tensor<2>| tensor.into_data().convert::<f64>().try_to_vec::<f64>().unwrap_or_default();
    let stacked = read(integrals);
    let integrals = (0..n).map(|i| stacked.iter().skip(i).step_by(n).copied().collect()).collect();
    Ok((read(y), integrals))
}

/// The d unit vectors at each of n points, the first n rows the first one.
fn unit_vectors(n: usize, d: usize) -> Vec<f64> {
    (0..d).flat_map(|j| (0..n).flat_map(move |_| (0..d).map(move |i| if i == j { 1.0 } else { 0.0 }))).collect()
}

/// Sign vectors at each of n points, the first n rows the first probe.
fn sign_vectors(seed: u64, probes: usize, indices: Range<u64>, d: usize) -> Vec<f64> {
    let stream = Stream::new(seed, Purpose::Probe);
    let mut signs = Vec::new();
    for probe in 0..probes {
        for index in indices.clone() {
            let mut words = stream.at(probe as u64, index);
            signs.extend((0..d).map(|_| words.sign()));
        }
    }
    signs
}

#[cfg(test)]
mod tests {
    use super::*;
    use brenier_measure::{Denoiser, Points, to_tensor};
    use burn::tensor::{DType, Device};

    use crate::activation::Activation;
    use crate::grid::GridConfig;
    use crate::preconditioning::Preconditioning;

    /// `N(0, diag v)`, its score and Jacobian in closed form.
    struct Gaussian(Vec<f64>);

    impl Gaussian {
        /// `1/(v_j + σ²)`; `[n, d]`.
        fn precision(&self, sigma: Tensor<1>) -> Tensor<2> {
            let data = TensorData::new(self.0.clone(), [1, self.0.len()]);
            let variances = Tensor::from_data(data, (&sigma.device(), sigma.dtype()));
            (sigma.square().unsqueeze_dim::<2>(1) + variances).recip()
        }

        /// The density whose image under the exact flow from `low` to `high` is `N(0, high² I)`.
        fn pulled_back(&self, x: &[f64], low: f64, high: f64) -> f64 {
            let term = |(x, v): (&f64, &f64)| {
                let stretch = (v + high * high) / (v + low * low);
                let density = x * x * stretch / (high * high) + (2.0 * std::f64::consts::PI * high * high).ln();
                (stretch.ln() - density) / 2.0
            };
            x.iter().zip(&self.0).map(term).sum()
        }
    }

    impl Denoiser for Gaussian {
        fn dim(&self) -> usize {
            self.0.len()
        }

        fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
            let variance = sigma.clone().square().unsqueeze_dim::<2>(1);
            y.clone() - y * self.precision(sigma) * variance
        }
    }

    impl ScoreJacobian for Gaussian {
        fn score_jvp(&self, y: Tensor<2>, sigma: Tensor<1>, tangents: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
            let precision = self.precision(sigma);
            let k = tangents.dims()[0] / y.dims()[0];
            (-y * precision.clone(), -tangents * precision.repeat_dim(0, k))
        }
    }

    fn points(n: usize, d: usize) -> Points {
        let mut points = Points::zeros((n, d));
        for (i, mut row) in points.rows_mut().into_iter().enumerate() {
            Stream::new(4, Purpose::Noise).at(0, i as u64).fill_normal(row.as_slice_mut().unwrap());
        }
        points
    }

    fn densities(law: &dyn ScoreJacobian, x: &Points, steps: usize, method: Divergence) -> LogDensity {
        let levels = GridConfig::default().levels(0.01, 80.0, steps).unwrap();
        let x = to_tensor(x, DType::F64, &Device::flex());
        log_density_by(method, law, x, &levels, 1, 0, &|| true).unwrap()
    }

    #[test]
    fn a_gaussian_has_its_density_at_fourth_order() {
        let law = Gaussian(vec![0.3, 1.0, 2.5]);
        // More points than one tile holds.
        let x = points(1500, 3);
        let error = |steps| {
            let values = densities(&law, &x, steps, Divergence::Exact).values;
            let exact = x.rows().into_iter().map(|x| law.pulled_back(x.as_slice().unwrap(), 0.01, 80.0));
            values.iter().zip(exact).map(|(value, exact)| (value - exact).abs()).fold(0.0, f64::max)
        };
        let (coarse, fine) = (error(51), error(101));
        let slope = (coarse / fine).log2();
        assert!((slope - 4.0).abs() < 0.15 && fine < 1e-3, "order {slope}, error {fine}");
    }

    #[test]
    fn sign_vectors_agree_with_the_exact_trace() {
        let network = crate::score_network::tests::network(Preconditioning::Edm, 20, Activation::Silu);
        let x = points(12, 20);
        let exact = densities(&network, &x, 12, Divergence::Exact);
        let probed = densities(&network, &x, 12, Divergence::Hutchinson { probes: 200 });
        assert_eq!(exact.std_errors, [0.0; 12]);
        for ((exact, probed), error) in exact.values.iter().zip(&probed.values).zip(&probed.std_errors) {
            assert!(*error > 0.0 && *error < 0.5, "too noisy to decide: {error}");
            assert!((probed - exact).abs() < 5.0 * error, "{probed} ± {error} against {exact}");
        }
    }

    #[test]
    fn the_density_of_a_network_integrates_to_one() {
        let network = crate::score_network::tests::network(Preconditioning::Edm, 1, Activation::Tanh);
        let (n, half) = (2001, 12.0);
        let spacing = 2.0 * half / (n - 1) as f64;
        let x = Points::from_shape_fn((n, 1), |(i, _)| i as f64 * spacing - half);
        let mass = |steps| -> f64 {
            densities(&network, &x, steps, Divergence::Exact).values.iter().map(|value| value.exp() * spacing).sum()
        };
        let defect = (mass(60) - 1.0).abs();
        assert!(defect < 2e-4, "{defect}");
    }

    #[test]
    fn the_trace_is_exact_up_to_dimension_32() {
        assert_eq!(Divergence::for_dim(32), Divergence::Exact);
        assert_eq!(Divergence::for_dim(33), Divergence::Hutchinson { probes: 8 });
    }
}
