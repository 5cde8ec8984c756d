//! Diffuse, then denoise: the Ornstein-Uhlenbeck chain forward, and back by transport maps or a stochastic chain.
//!
//! Forward (Langevin diffusion with `f₀ = |x|²/2`), from any start ν₀: the exact transition
//! `X_{kη} = e^{-η} X_{(k-1)η} + √((1 - e^{-2η})/β) Z`, or Euler's step `X ← (1 - η)X + √(2η/β) Z`.
//! Backward, with `S_k = ∇log p_{kη}` the score of the **target's** law at time kη: the transport map
//! `X ← X + η(X + β⁻¹S_k(X))`, or the stochastic chain `X ← X + η(X + 2β⁻¹S_k(X)) + √(2η/β) Z`.
//! Liang, Dharmakeerthi, Koriyama (2411.01629).
//!
//! `S_k` is that of the exact Ornstein-Uhlenbeck marginal, after Euler's forward steps too: their laws differ by O(η), and
//! the backward chain is the same sampler whatever brought the points to its start.
//!
//! # Design
//!
//! A law on the line with a closed form ([`Line`]) is carried through both chains deterministically: its quantiles through the
//! maps, which keep their order, its density through the kernel of the stochastic chain; between normals both chains are affine and
//! need neither. Everything else is particles, which
//! share their noise between the start and the target, so that what is compared differs by the start alone.

use brenier_measure::{Denoiser, NoiseSchedule, Points, Purpose, Sample, Stream, to_points, to_tensor};
use brenier_model::samplers::{self, SamplerConfig, SamplerError};
use burn::tensor::{DType, Device};
use ndarray::{Axis, s};
use rayon::prelude::*;
use serde::Serialize;

use crate::{EvalError, Step};

mod density;
mod gaussian;
mod line;
mod particles;
mod paths;
mod quantiles;

pub use line::Line;
pub use paths::{Fans, Paths, fans};

/// How the forward chain steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Forward {
    /// By the transition of the Ornstein-Uhlenbeck process.
    #[default]
    Exact,
    /// By Euler's method.
    Euler,
}

/// How the backward chain steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    /// By the optimal-transport map `X + η(X + β⁻¹S)`.
    #[default]
    Ode,
    /// By the stochastic step `X + η(X + 2β⁻¹S) + √(2η/β) Z`.
    Sde,
}

/// How results are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Deterministically on the line: along quantiles or densities, or in closed form.
    Quadrature,
    /// By particles.
    MonteCarlo,
}

/// K steps of size η forward and as many backward, at inverse temperature β.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chain {
    /// The number of steps K.
    pub steps: usize,
    /// The step size η, in the unit of time of the Ornstein-Uhlenbeck process.
    pub eta: f64,
    /// The inverse temperature β.
    pub beta: f64,
    /// How it steps forward.
    pub forward: Forward,
    /// How it steps backward.
    pub scheme: Scheme,
}

/// The law μ₀ whose scores lead back.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Its draws.
    pub sampler: &'a dyn Sample,
    /// Its scores at every noise level, exact or a network's.
    pub denoiser: &'a dyn Denoiser,
    /// Its closed form on the line, where it has one and `denoiser` is exact.
    pub line: Option<&'a Line>,
    /// The number type in which the denoiser computes.
    pub dtype: DType,
    /// Where it computes.
    pub device: &'a Device,
}

/// The law ν₀ from which the forward chain starts.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// The target itself.
    Target,
    /// A point mass, `[d]`.
    Point(&'a [f64]),
    /// Another law, with its closed form on the line where it has one.
    Law(&'a dyn Sample, Option<&'a Line>),
}

/// How many particles, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// The number of particles, at least 2.
    pub particles: usize,
    /// The seed of every draw.
    pub seed: u64,
}

/// What is known of the particles or the law at the end of a chain.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct End {
    /// `E X`, one number a coordinate.
    pub mean: Vec<f64>,
    /// `Var X`, one number a coordinate.
    pub variance: Vec<f64>,
    /// The covariance, row by row, up to 64 dimensions.
    pub covariance: Option<Vec<Vec<f64>>>,
    /// The standard error of the mean; 0 by quadrature.
    pub mean_std_error: Vec<f64>,
    /// The standard error of the variance; 0 by quadrature.
    pub variance_std_error: Vec<f64>,
    /// W₂ to the law that a perfect chain would end in.
    pub w2: Distance,
}

/// W₂ between two laws, or between samples of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Distance {
    /// Its value.
    pub value: f64,
    /// Its standard error; 0 by quadrature.
    pub std_error: f64,
    /// The mean of what exact samples of the same number get; 0 by quadrature.
    pub floor: f64,
}

/// How far the chains carry the start and the target apart: what the bounds bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Expansion {
    /// `W₂(ν₀, μ₀)`.
    pub w2_start: f64,
    /// W₂ between the ends of the two forward chains, `W₂(ν_T, μ_T)`.
    pub w2_forward: f64,
    /// W₂ between the ends of the two backward chains.
    pub w2_backward: f64,
    /// W₂ between the end of the backward chain from ν_T and μ₀.
    pub w2_to_target: f64,
    /// The standard error of `w2_start`; this and the next two are 0 by quadrature.
    pub w2_start_std_error: f64,
    /// The standard error of `w2_forward`.
    pub w2_forward_std_error: f64,
    /// The standard error of `w2_backward`.
    pub w2_backward_std_error: f64,
    /// `log (w2_backward²/w2_forward²)`: the factor of the backward chain.
    pub log_backward_factor: f64,
    /// `log (w2_backward²/w2_start²)`: the factor of both chains.
    pub log_factor: f64,
}

impl Expansion {
    /// From W₂ between start and target, the ends of the forward and the ends of the backward chains, with their standard errors.
    fn new(distances: [f64; 3], std_errors: [f64; 3], w2_to_target: f64) -> Self {
        let [w2_start, w2_forward, w2_backward] = distances;
        let [w2_start_std_error, w2_forward_std_error, w2_backward_std_error] = std_errors;
        let log_ratio = |after: f64, before: f64| 2.0 * (after.ln() - before.ln());
        Self {
            w2_start,
            w2_forward,
            w2_backward,
            w2_to_target,
            w2_start_std_error,
            w2_forward_std_error,
            w2_backward_std_error,
            log_backward_factor: log_ratio(w2_backward, w2_forward),
            log_factor: log_ratio(w2_backward, w2_start),
        }
    }
}

/// What both chains gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// How it was computed.
    pub method: Method,
    /// The end of the forward chain from ν₀; its W₂ is to `N(0, I/β)`, the reference that samplers start from.
    pub forward: End,
    /// The end of the backward chain; its W₂ is to the target.
    pub backward: End,
    /// How far the chains carry start and target apart; `None` where the start is the target.
    pub expansion: Option<Expansion>,
}

/// Up to this time Kη the square of e^{Kη}, by which noise outweighs the signal, is a number with room for the points.
const MOST_HORIZON: f64 = 300.0;

/// β and its reciprocal, and the size of the coordinates of a start: their squares are still numbers.
const MOST_SIZE: f64 = 1e100;

/// Particles that are moved together: their scores are computed in one call.
const TILE: usize = 1024;

impl Chain {
    /// Refuses parameters out of range.
    ///
    /// # Errors
    ///
    /// No steps, η outside (0, 1], β outside [10⁻¹⁰⁰, 10¹⁰⁰], Kη above 300.
    pub fn validate(&self) -> Result<(), EvalError> {
        let Self { steps, eta, beta, .. } = *self;
        let check = |name, value: f64, holds: bool, expected| {
            if holds { Ok(()) } else { Err(EvalError::ChainParameter { name, value, expected }) }
        };
        check("the number of steps", steps as f64, steps >= 1, "at least 1")?;
        let expected = "above 0 and at most 1: a step of the chain is a small step in time";
        check("the step size eta", eta, eta > 0.0 && eta <= 1.0, expected)?;
        let range = MOST_SIZE.recip()..=MOST_SIZE;
        check("the inverse temperature beta", beta, range.contains(&beta), "from 1e-100 to 1e100")?;
        let horizon = self.horizon();
        if horizon > MOST_HORIZON {
            return Err(EvalError::ChainHorizon { steps, eta, horizon, most: MOST_HORIZON });
        }
        Ok(())
    }

    /// The time Kη at which the forward chain ends.
    pub fn horizon(&self) -> f64 {
        self.steps as f64 * self.eta
    }

    /// (α, s) of `X_{kη} ~ αX₀ + sZ` after k forward steps.
    pub fn marginal(&self, k: usize) -> (f64, f64) {
        match self.forward {
            Forward::Exact => {
                let (schedule, time) = (self.schedule(), k as f64 * self.eta);
                (schedule.alpha(time), schedule.sigma(time))
            }
            Forward::Euler => {
                // s² = (2η/β) Σ (1 - η)^{2j}, a geometric series.
                let log_alpha = k as f64 * libm::log1p(-self.eta);
                let sum = -libm::expm1(2.0 * log_alpha) / (self.eta * (2.0 - self.eta));
                (libm::exp(log_alpha), (2.0 * self.eta / self.beta * sum).sqrt())
            }
        }
    }

    fn schedule(&self) -> NoiseSchedule {
        NoiseSchedule::OrnsteinUhlenbeck { beta: self.beta }
    }

    /// The deviation of `N(0, I/β)`, which the forward chain tends to.
    fn reference_deviation(&self) -> f64 {
        self.beta.recip().sqrt()
    }

    /// Moves points `[n, d]` through the forward chain; the noise of row i is that of index i.
    ///
    /// `observe` is told the number of steps done and the points, and stops the work by answering false.
    ///
    /// # Errors
    ///
    /// An interruption, points that overflow.
    pub fn forward(
        &self,
        start: Points,
        seed: u64,
        observe: &mut dyn FnMut(usize, &Points) -> bool,
    ) -> Result<Points, EvalError> {
        let (factor, noise) = self.marginal(1);
        let stream = Stream::new(seed, Purpose::Chain);
        let mut x = start.as_standard_layout().into_owned();
        let d = x.ncols();
        for k in 1..=self.steps {
            let rows = x.as_slice_mut().expect("row-major").par_chunks_mut(d);
            rows.enumerate().for_each(|(i, row)| {
                let mut words = stream.at(k as u64, i as u64);
                row.iter_mut().for_each(|x| *x = factor * *x + noise * words.normal());
            });
            if !observe(k, &x) {
                return Err(EvalError::Interrupted);
            }
        }
        finite(x, "forward")
    }

    /// Moves points `[n, d]` through the backward chain; the noise of row i is that of index i.
    ///
    /// `observe` is told the index of the first of a tile of points, the number of steps done and the tile.
    ///
    /// # Errors
    ///
    /// An interruption, points that leave the numbers.
    pub fn backward(
        &self,
        target: &Target,
        start: &Points,
        seed: u64,
        observe: &mut dyn FnMut(usize, usize, &Points) -> bool,
    ) -> Result<Points, EvalError> {
        let (beta, eta, horizon) = (self.beta, Some(self.eta), None);
        let sampler = match self.scheme {
            Scheme::Ode => SamplerConfig::TransportChain { beta, eta, horizon },
            Scheme::Sde => SamplerConfig::LangevinChain { beta, eta, horizon },
        };
        let schedule = self.schedule();
        let levels: Vec<f64> = (0..=self.steps).rev().map(|k| schedule.noise_level(k as f64 * self.eta)).collect();
        let mut end = start.as_standard_layout().into_owned();
        for first in (0..start.nrows()).step_by(TILE) {
            let rows = s![first..(first + TILE).min(start.nrows()), ..];
            let tile = to_tensor(&start.slice(rows).to_owned(), target.dtype, target.device);
            let mut observer =
                |progress: &samplers::Progress| observe(first, progress.step, &to_points(progress.points.clone()));
            let moved =
                samplers::sample_from(target.denoiser, &sampler, &levels, tile, seed, first as u64, &mut observer);
            let moved = moved.map_err(|error| match error {
                SamplerError::Interrupted => EvalError::Interrupted,
                SamplerError::NotFinite { index, value } => {
                    EvalError::ChainDiverged { direction: "the backward", index, value }
                }
                other => other.into(),
            })?;
            end.slice_mut(rows).assign(&to_points(moved));
        }
        Ok(end)
    }

    /// Both chains from ν₀, and what came of it; `watch` is told how much is done, and stops the work by answering false.
    ///
    /// By quadrature where target and start have closed forms on the line, else by particles.
    ///
    /// # Errors
    ///
    /// Parameters out of range, dimensions that disagree, points that leave the numbers, an interruption.
    pub fn run(
        &self,
        target: &Target,
        start: Start,
        settings: &Settings,
        watch: &mut dyn FnMut(Step) -> bool,
    ) -> Result<Outcome, EvalError> {
        self.validate()?;
        start.check(target)?;
        if let (Some(target_line), Some(start_line)) = (target.line, start.line(target)) {
            if let (Some(start), Some(target)) = (start_line.as_normal(), target_line.as_normal()) {
                return gaussian::run(self, [start, target], watch);
            }
            let lines = [&start_line, target_line];
            let found = match self.scheme {
                Scheme::Ode => Some(quantiles::run(self, target, lines, watch)?),
                Scheme::Sde => density::run(self, target, lines, watch)?,
            };
            if let Some(outcome) = found {
                return Ok(outcome);
            }
        }
        particles::run(self, target, start, settings, watch)
    }
}

impl Start<'_> {
    fn check(&self, target: &Target) -> Result<(), EvalError> {
        let expected = target.sampler.dim();
        let (name, found) = match self {
            Self::Target => ("the denoiser", target.denoiser.dim()),
            Self::Point(point) => ("the start", point.len()),
            Self::Law(sampler, _) => ("the start", sampler.dim()),
        };
        if found != expected {
            return Err(EvalError::ChainDimension { name, found, expected });
        }
        match self {
            Self::Point(point) => {
                crate::error::check("the start", &ndarray::aview1(point).insert_axis(Axis(0)).to_owned(), 1)?;
                match point.iter().find(|x| x.abs() > MOST_SIZE) {
                    Some(&value) => Err(EvalError::ChainParameter {
                        name: "a coordinate of the start",
                        value,
                        expected: "from -1e100 to 1e100",
                    }),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Its closed form on the line.
    fn line(&self, target: &Target) -> Option<Line> {
        match *self {
            Self::Target => target.line.cloned(),
            Self::Point(&[x]) => Some(Line::point(x)),
            Self::Point(_) => None,
            Self::Law(_, line) => line.cloned(),
        }
    }

    /// Draws `[n, d]`; the same index takes the same words, whatever the law.
    fn draws(&self, target: &Target, settings: &Settings) -> Points {
        let stream = Stream::new(settings.seed, Purpose::Chain);
        let indices = 0..settings.particles as u64;
        match self {
            Self::Target => target.sampler.sample(&stream, 0, indices),
            Self::Point(point) => Points::from_shape_fn((settings.particles, point.len()), |(_, j)| point[j]),
            Self::Law(sampler, _) => sampler.sample(&stream, 0, indices),
        }
    }
}

fn finite(points: Points, direction: &'static str) -> Result<Points, EvalError> {
    match points.indexed_iter().find(|(_, value)| !value.is_finite()) {
        Some(((row, _), &value)) => Err(EvalError::ChainDiverged { direction, index: row as u64, value }),
        None => Ok(points),
    }
}

#[cfg(test)]
mod tests;
