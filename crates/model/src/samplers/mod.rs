//! Samplers: from a reference to data, with the score of every noise level on the way.
//!
//! The solvers of the probability-flow ODE and of the reverse SDE work in the coordinates `Y_σ = X + σZ`, from σ_max to 0 on
//! a given grid ([`GridConfig`](crate::GridConfig)). In them the ODE is `dy/dσ = -σ ∇log p_σ(y)` (Karras et al.,
//! 2206.00364, equation 1 with s = 1). The backward chains work in the coordinates of the Ornstein-Uhlenbeck
//! process, and meet the same scores by a change of variables.
//!
//! # Design
//!
//! A sample is a function of the seed and its index alone. Matrix products may round differently for
//! batches of different size, so points are always moved in tiles of [`TILE`] rows that start at multiples of [`TILE`];
//! rows nobody asked for are filled with zeros and dropped.

mod ancestral;
mod churn;
mod dpm_solver;
mod euler;
mod euler_maruyama;
mod heun;
mod langevin_chain;
mod transport_chain;

use std::ops::Range;

use brenier_measure::{Denoiser, Purpose, Stream};
use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::choice::choice;

/// How many points move together.
pub const TILE: usize = 512;

/// How noise becomes data.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields, remote = "Self")]
#[schemars(transform = by_name)]
pub enum SamplerConfig {
    /// The probability-flow ODE by Euler's method: order 1, one evaluation a step.
    Euler,
    /// The probability-flow ODE by Heun's method: order 2, two evaluations a step. Karras et al. (2206.00364), Algorithm 1.
    #[default]
    Heun,
    /// The probability-flow ODE by DPM-Solver++(2M): order 2, one evaluation a step. Lu et al. (2211.01095), Algorithm 2.
    #[serde(rename = "dpm_solver_2m")]
    DpmSolver2M,
    /// The reverse SDE by the Euler-Maruyama method, one evaluation a step. Song et al. (2011.13456).
    EulerMaruyama,
    /// The reverse SDE by ancestral steps, one evaluation a step: less noise than Euler-Maruyama's. Song et al. (2011.13456).
    Ancestral,
    /// Heun's method with fresh noise before every step. Karras et al. (2206.00364), Algorithm 2.
    Churn {
        /// How much noise is renewed in all: at most a factor √2 - 1 of σ a step.
        #[serde(default = "forty")]
        #[schemars(range(min = 0.0))]
        s_churn: f64,
        /// The least σ at which noise is renewed.
        #[serde(default = "one_twentieth")]
        #[schemars(range(min = 0.0))]
        s_min: f64,
        /// The greatest σ at which noise is renewed.
        #[serde(default = "fifty")]
        #[schemars(range(min = 0.0))]
        s_max: f64,
        /// The standard deviation of the fresh noise; the exact score asks for 1, networks that lose detail for a little more.
        #[serde(default = "one")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        s_noise: f64,
    },
    /// The optimal-transport backward chain `X <- X + η(X + S/β)`. Liang, Dharmakeerthi, Koriyama (2411.01629).
    TransportChain {
        /// The inverse temperature β of the forward process.
        #[serde(default = "one")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        beta: f64,
        /// The step size η; else `horizon` over the number of steps.
        #[serde(default)]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        eta: Option<f64>,
        /// The time from which the chain comes back; else that at which the noise level is σ_max.
        #[serde(default)]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        horizon: Option<f64>,
    },
    /// The stochastic backward chain `X <- X + η(X + 2S/β) + √(2η/β) Z`. Liang, Dharmakeerthi, Koriyama (2411.01629).
    LangevinChain {
        /// The inverse temperature β of the forward process.
        #[serde(default = "one")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        beta: f64,
        /// The step size η; else `horizon` over the number of steps.
        #[serde(default)]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        eta: Option<f64>,
        /// The time from which the chain comes back; else that at which the noise level is σ_max.
        #[serde(default)]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        horizon: Option<f64>,
    },
}

fn one() -> f64 {
    1.0
}
fn forty() -> f64 {
    40.0
}
fn fifty() -> f64 {
    50.0
}
fn one_twentieth() -> f64 {
    0.05
}

choice!(SamplerConfig, ["churn", "transport_chain", "langevin_chain"]);

/// Why there are no samples.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SamplerError {
    /// Levels that do not fall to zero.
    #[error(
        "noise levels must fall strictly from a positive number to 0, with at least one step; level {position} is {value}"
    )]
    Levels {
        /// Which level.
        position: usize,
        /// What it is.
        value: f64,
    },
    /// A parameter out of range.
    #[error("sampler.{sampler}.{key} is {value}; it must be {expected}")]
    Parameter {
        /// The sampler.
        sampler: &'static str,
        /// The key of the config.
        key: &'static str,
        /// What it holds.
        value: f64,
        /// What it may hold.
        expected: &'static str,
    },
    /// A chain that is determined twice.
    #[error("sampler.{sampler} has both eta ({eta}) and horizon ({horizon}); give one: the number of steps links them")]
    EtaAndHorizon {
        /// The sampler.
        sampler: &'static str,
        /// The step size.
        eta: f64,
        /// The horizon.
        horizon: f64,
    },
    /// A sample that left the numbers.
    #[error(
        "sample {index} became {value}; take more steps, a smaller sigma_max, or a network trained over this range of noise levels"
    )]
    NotFinite {
        /// Its index.
        index: u64,
        /// What it became.
        value: f64,
    },
    /// A point of the reference whose image was not found.
    #[error(
        "the image of point {index} was not found: what is left of its equation is {residual:e} of its size. The point is far from all that the \
         map has learnt, or the potential is nearly flat there, against which a larger `ridges.floor` helps"
    )]
    NotInverted {
        /// Its index.
        index: u64,
        /// `|∇φ(x) - y|/(1 + |y|)` where the search ended.
        residual: f64,
    },
    /// A law without a log-density was asked for one.
    #[error("this law has samples and no log-density")]
    NoLogDensity,
    /// Draws of which the target knows none.
    #[error("none of the draws has a weight under the target: its density is zero, or no number, at all of them")]
    NoWeight,
    /// The caller asked to stop.
    #[error("sampling was interrupted")]
    Interrupted,
}

impl SamplerConfig {
    /// Refuses parameters out of range.
    pub fn validate(&self) -> Result<(), SamplerError> {
        let sampler = self.name();
        let check = |key, value: f64, holds: bool, expected| {
            if holds { Ok(()) } else { Err(SamplerError::Parameter { sampler, key, value, expected }) }
        };
        let positive = |key, value: f64| check(key, value, value > 0.0 && value.is_finite(), "positive and finite");
        match *self {
            Self::Euler | Self::Heun | Self::DpmSolver2M | Self::EulerMaruyama | Self::Ancestral => Ok(()),
            Self::Churn { s_churn, s_min, s_max, s_noise } => {
                check("s_churn", s_churn, s_churn >= 0.0 && s_churn.is_finite(), "at least 0 and finite")?;
                check("s_min", s_min, s_min >= 0.0, "at least 0")?;
                check("s_max", s_max, s_max >= s_min, "at least s_min")?;
                positive("s_noise", s_noise)
            }
            Self::TransportChain { beta, eta, horizon } | Self::LangevinChain { beta, eta, horizon } => {
                positive("beta", beta)?;
                positive("eta", eta.unwrap_or(1.0))?;
                positive("horizon", horizon.unwrap_or(1.0))?;
                match (eta, horizon) {
                    (Some(eta), Some(horizon)) => Err(SamplerError::EtaAndHorizon { sampler, eta, horizon }),
                    _ => Ok(()),
                }
            }
        }
    }

    /// The name of the sampler, as in the config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Euler => "euler",
            Self::Heun => "heun",
            Self::DpmSolver2M => "dpm_solver_2m",
            Self::EulerMaruyama => "euler_maruyama",
            Self::Ancestral => "ancestral",
            Self::Churn { .. } => "churn",
            Self::TransportChain { .. } => "transport_chain",
            Self::LangevinChain { .. } => "langevin_chain",
        }
    }

    /// The standard deviation of the Gaussian that the sampler starts from.
    fn reference_sd(&self, levels: &[f64]) -> f64 {
        match *self {
            Self::TransportChain { beta, .. } | Self::LangevinChain { beta, .. } => beta.recip().sqrt(),
            _ => levels[0],
        }
    }
}

/// Where a sampler stands after a step.
#[derive(Debug)]
pub struct Progress<'a> {
    /// The number of steps done.
    pub step: usize,
    /// The number of steps in all.
    pub steps: usize,
    /// The noise level reached.
    pub sigma: f64,
    /// The points, in the coordinates of the sampler; `[n, d]`.
    pub points: &'a Tensor<2>,
}

/// What is told of every step, and says whether to go on.
pub type Observer<'a> = dyn FnMut(&Progress) -> bool + 'a;

/// Samples of the given indices, `[n, d]`: each is a function of the denoiser, the sampler, the levels, the seed and its index.
///
/// The levels come from [`GridConfig::levels`](crate::GridConfig::levels); the chains take from them the number of steps and, unless
/// told otherwise, the horizon. The solvers start from `σ_max N(0, I)`, the chains from `N(0, I/β)`.
/// `keep_going` is asked after every step of every tile, by several threads.
///
/// # Errors
///
/// Levels or parameters out of range, a sample that is not finite, an interruption.
#[allow(clippy::too_many_arguments)]
pub fn sample(
    denoiser: &dyn Denoiser,
    sampler: &SamplerConfig,
    levels: &[f64],
    seed: u64,
    indices: Range<u64>,
    dtype: DType,
    device: &Device,
    keep_going: &(dyn Fn() -> bool + Sync),
) -> Result<Tensor<2>, SamplerError> {
    check(sampler, levels)?;
    let reference = Stream::new(seed, Purpose::Reference);
    if indices.is_empty() {
        return Ok(Tensor::zeros([0, denoiser.dim()], (device, dtype)));
    }
    let move_tile = |tile: u64| {
        let first = tile * TILE as u64;
        let rows = (indices.start.max(first) - first) as usize..(indices.end.min(first + TILE as u64) - first) as usize;
        let normals = Normals { stream: reference, first, rows: rows.clone(), count: TILE, dim: denoiser.dim() };
        let start = normals.draw(0, dtype, device) * sampler.reference_sd(levels);
        let mut observer = |_: &Progress| keep_going();
        let mut path = Path::new(denoiser, seed, first, rows.clone(), &start, &mut observer);
        let end = path.follow(sampler, levels, start)?.slice([rows.clone()]);
        refuse_what_is_not_finite(&end, first + rows.start as u64)?;
        Ok(end)
    };
    let tiles = indices.start / TILE as u64..indices.end.div_ceil(TILE as u64);
    // The processor moves tiles side by side; another device has its own order.
    let parts: Vec<Result<Tensor<2>, SamplerError>> = if *device == Device::flex() {
        tiles.into_par_iter().map(move_tile).collect()
    } else {
        tiles.map(move_tile).collect()
    };
    // Of several errors the first in the order of the samples.
    let parts: Result<Vec<_>, _> = parts.into_iter().collect();
    Ok(Tensor::cat(parts?, 0))
}

/// Moves given points, `[n, d]`, from the first noise level to 0; row i takes the noise of index `first_index + i`.
///
/// The points are in the coordinates of the sampler: of `Y = X + σ_max Z` for the solvers, of the Ornstein-Uhlenbeck process at its
/// horizon for the chains. The observer sees every step, and stops it by returning false.
///
/// # Errors
///
/// As for [`sample`].
pub fn sample_from(
    denoiser: &dyn Denoiser,
    sampler: &SamplerConfig,
    levels: &[f64],
    start: Tensor<2>,
    seed: u64,
    first_index: u64,
    observer: &mut Observer,
) -> Result<Tensor<2>, SamplerError> {
    check(sampler, levels)?;
    let rows = 0..start.dims()[0];
    let end = Path::new(denoiser, seed, first_index, rows, &start, observer).follow(sampler, levels, start)?;
    refuse_what_is_not_finite(&end, first_index)?;
    Ok(end)
}

fn check(sampler: &SamplerConfig, levels: &[f64]) -> Result<(), SamplerError> {
    sampler.validate()?;
    check_levels(levels)
}

/// Refuses levels that do not fall from a positive number to 0.
pub(crate) fn check_levels(levels: &[f64]) -> Result<(), SamplerError> {
    let wrong = |position: usize| {
        let value = levels.get(position).copied().unwrap_or(f64::NAN);
        Err(SamplerError::Levels { position, value })
    };
    if levels.len() < 2 || !levels[0].is_finite() {
        return wrong(0);
    }
    match (1..levels.len()).find(|&i| levels[i].is_nan() || levels[i] >= levels[i - 1]) {
        Some(position) => wrong(position),
        None if levels[levels.len() - 1] != 0.0 => wrong(levels.len() - 1),
        None => Ok(()),
    }
}

fn refuse_what_is_not_finite(points: &Tensor<2>, first_index: u64) -> Result<(), SamplerError> {
    if points.clone().is_finite().all().into_scalar() {
        return Ok(());
    }
    let d = points.dims()[1];
    let values: Vec<f64> = points.clone().into_data().convert::<f64>().try_to_vec().unwrap_or_default();
    let position = values.iter().position(|x| !x.is_finite()).unwrap_or(0);
    Err(SamplerError::NotFinite { index: first_index + (position / d) as u64, value: values[position] })
}

/// Standard normals for some rows of a tile, zero for the others.
struct Normals {
    stream: Stream,
    /// The index of row 0.
    first: u64,
    /// The rows that are drawn.
    rows: Range<usize>,
    /// The number of rows.
    count: usize,
    dim: usize,
}

impl Normals {
    /// The draws of one step; `[count, dim]`.
    fn draw(&self, step: u64, dtype: DType, device: &Device) -> Tensor<2> {
        let mut values = vec![0.0; self.count * self.dim];
        values.par_chunks_mut(self.dim).enumerate().filter(|(row, _)| self.rows.contains(row)).for_each(|(row, z)| {
            self.stream.at(step, self.first + row as u64).fill_normal(z);
        });
        Tensor::from_data(TensorData::new(values, [self.count, self.dim]), (device, dtype))
    }
}

/// A tile of points on its way.
struct Path<'a, 'b> {
    denoiser: &'a dyn Denoiser,
    noise: Normals,
    dtype: DType,
    device: Device,
    observer: &'a mut Observer<'b>,
}

impl<'a, 'b> Path<'a, 'b> {
    fn new(
        denoiser: &'a dyn Denoiser,
        seed: u64,
        first: u64,
        rows: Range<usize>,
        start: &Tensor<2>,
        observer: &'a mut Observer<'b>,
    ) -> Self {
        let [count, dim] = start.dims();
        let noise = Normals { stream: Stream::new(seed, Purpose::SamplerNoise), first, rows, count, dim };
        Self { denoiser, noise, dtype: start.dtype(), device: start.device(), observer }
    }

    fn follow(&mut self, sampler: &SamplerConfig, levels: &[f64], start: Tensor<2>) -> Result<Tensor<2>, SamplerError> {
        let steps = levels.len() - 1;
        let eta = |beta: f64, eta: Option<f64>, horizon: Option<f64>| {
            let horizon = horizon.unwrap_or_else(|| (beta * levels[0] * levels[0]).ln_1p() / 2.0);
            eta.unwrap_or(horizon / steps as f64)
        };
        match *sampler {
            SamplerConfig::Euler => euler::euler(self, levels, start),
            SamplerConfig::Heun => heun::heun(self, levels, start),
            SamplerConfig::DpmSolver2M => dpm_solver::dpm_solver_2m(self, levels, start),
            SamplerConfig::EulerMaruyama => euler_maruyama::euler_maruyama(self, levels, start),
            SamplerConfig::Ancestral => ancestral::ancestral(self, levels, start),
            SamplerConfig::Churn { s_churn, s_min, s_max, s_noise } => {
                churn::churn(self, levels, start, churn::Churn { s_churn, s_min, s_max, s_noise })
            }
            SamplerConfig::TransportChain { beta, eta: step, horizon } => {
                transport_chain::transport_chain(self, beta, eta(beta, step, horizon), steps, start)
            }
            SamplerConfig::LangevinChain { beta, eta: step, horizon } => {
                langevin_chain::langevin_chain(self, beta, eta(beta, step, horizon), steps, start)
            }
        }
    }

    fn sigmas(&self, sigma: f64) -> Tensor<1> {
        Tensor::full([self.noise.count], sigma, (&self.device, self.dtype))
    }

    /// `∇log p_σ(y)`.
    fn score(&self, y: &Tensor<2>, sigma: f64) -> Tensor<2> {
        self.denoiser.score(y.clone(), self.sigmas(sigma))
    }

    /// `E[X | Y_σ = y]`.
    fn denoise(&self, y: &Tensor<2>, sigma: f64) -> Tensor<2> {
        self.denoiser.denoise(y.clone(), self.sigmas(sigma))
    }

    /// The slope `dy/dσ = -σ ∇log p_σ(y)` of the probability-flow ODE.
    fn slope(&self, y: &Tensor<2>, sigma: f64) -> Tensor<2> {
        self.score(y, sigma) * -sigma
    }

    /// The score of the Ornstein-Uhlenbeck process at time t, `∇log p_t(x)`: with `α = e^{-t}`, `X_t/α` has the law of `X + σZ`.
    fn score_at_time(&self, x: &Tensor<2>, beta: f64, t: f64) -> Tensor<2> {
        let sigma = noise_level(beta, t);
        self.score(&(x.clone() * t.exp()), sigma) * t.exp()
    }

    /// The normals of one step.
    fn normals(&self, step: usize) -> Tensor<2> {
        self.noise.draw(step as u64, self.dtype, &self.device)
    }

    /// Tells the observer, and asks whether to go on.
    fn arrive(&mut self, step: usize, steps: usize, sigma: f64, points: &Tensor<2>) -> Result<(), SamplerError> {
        if (self.observer)(&Progress { step, steps, sigma, points }) { Ok(()) } else { Err(SamplerError::Interrupted) }
    }
}

/// The noise level of the Ornstein-Uhlenbeck process at time t, `√((e^{2t} - 1)/β)`.
fn noise_level(beta: f64, t: f64) -> f64 {
    brenier_measure::NoiseSchedule::OrnsteinUhlenbeck { beta }.noise_level(t)
}

#[cfg(test)]
mod tests;
