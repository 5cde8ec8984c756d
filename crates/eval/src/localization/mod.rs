//! Where denoising is hard: localization, curvature and multi-scale complexity.
//!
//! With `Y_r = rX + Z`, `Z ~ N(0, I)`, and `L_r(y) = ‖Cov[rX | Y_r = y]‖_op = 1 + λ_max(∇²log p_{Y_r}(y))`:
//! - [`law()`]: the law of `L_r(Y_r)` at one signal-to-noise ratio r, by quadrature on the line or from draws;
//! - [`at_snrs`]: `s_r(u) = P(L_r > u)`, `h(δ, r) = E(L_r - (1-δ))₊`, `m*(r) = min h(δ, r)/δ`;
//! - [`at_times`]: `ζ*_M(t) = sup [δ - M h(δ, r(t))]/(1 - e^{-2t})` and the worst-case curvature along the
//!   Ornstein-Uhlenbeck chain;
//! - [`hardest()`]: the r at which m* is largest;
//! - [`curvature`]: the worst case over y, and the bound of a whole chain;
//! - [`network`]: the posterior that a score network believes in;
//! - [`SamplingCurve`], [`optimized_levels()`]: where the steps of a sampler are best spent.
//!
//! Liang, Dharmakeerthi, Koriyama, Denoising Diffusions with Optimal Transport: Localization, Curvature, and Multi-Scale
//! Complexity (2411.01629).

pub mod curvature;
pub mod network;

mod complexity;
mod draws;
mod hardest;
mod kernel_density;
mod law;
mod line;
mod noise_levels;
mod optimized_levels;
mod panel;
mod sampling_curve;
#[cfg(test)]
mod sampling_tests;
mod solver_path;
#[cfg(test)]
mod tests;

use brenier_measure::{NoiseSchedule, PosteriorCovariance, Sample};
use serde::{Deserialize, Serialize};

pub use curvature::{ChainBound, WorstCase, WorstCaseCurvature, chain_bound, worst_case};
pub use hardest::{Hardest, hardest, hardest_range};
pub use law::{AverageCurvature, Complexity, Law};
pub use optimized_levels::{OptimizationSettings, optimized_levels};
pub use sampling_curve::{CurveSettings, NodeDensity, SamplingCurve, Solver};

use crate::EvalError;
use draws::Draws;
use line::Line;

/// What is examined: draws of X, and the posterior of rX given `Y_r`. Both live in one dimension d.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// Draws of X.
    pub sampler: &'a dyn Sample,
    /// `Cov[rX | Y_r = y]` and `log p_{Y_r}(y)`.
    pub posterior: &'a dyn PosteriorCovariance,
}

/// How the law of `L_r(Y_r)` is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Deterministic quadrature on the line; the posterior must be that of the sampler's law, exactly.
    Quadrature,
    /// Draws of `Y_r`, common to every r, with standard errors.
    MonteCarlo,
}

/// What a posterior is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A measure with closed forms.
    Measure,
    /// The empirical measure of this many points.
    Points(usize),
    /// A trained network, whose posterior is that of no measure.
    Network,
}

/// Up to this many points on the line quadrature takes seconds for a whole report of a hundred laws; beyond, draws are used.
pub const QUADRATURE_POINTS: usize = 1000;

impl Method {
    /// Quadrature for an exact measure on the line, of at most [`QUADRATURE_POINTS`] points if it is empirical; draws
    /// otherwise.
    pub fn of(subject: &Subject<'_>, source: Source) -> Self {
        let exact = match source {
            Source::Measure => true,
            Source::Points(count) => count <= QUADRATURE_POINTS,
            Source::Network => false,
        };
        if exact && subject.posterior.dim() == 1 { Self::Quadrature } else { Self::MonteCarlo }
    }
}

/// How a law is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Quadrature or draws.
    pub method: Method,
    /// How many draws of `Y_r`; quadrature does without.
    pub draws: usize,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { method: Method::MonteCarlo, draws: 4096, seed: 0 }
    }
}

/// How far the work is: what a watcher is told. A watcher that answers `false` stops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Steps done.
    pub done: usize,
    /// Steps expected; a search may end before.
    pub total: usize,
}

impl Progress {
    fn of(total: usize) -> Self {
        Self { done: 0, total }
    }

    fn step(&mut self, watch: &mut dyn FnMut(Self) -> bool) -> Result<(), EvalError> {
        self.done += 1;
        self.total = self.total.max(self.done);
        self.pause(watch)
    }

    /// Lets the watcher stop work that is in the middle of a step.
    fn pause(self, watch: &mut dyn FnMut(Self) -> bool) -> Result<(), EvalError> {
        if watch(self) { Ok(()) } else { Err(EvalError::Interrupted) }
    }
}

/// `P(L_r > u)` at one level.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Survival {
    /// u.
    pub level: f64,
    /// `P(L_r > u)`.
    pub probability: f64,
    /// Its standard error.
    pub std_error: f64,
}

/// `h(δ, r)` at one δ.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct IntegratedTail {
    /// δ.
    pub delta: f64,
    /// `E(L_r - (1-δ))₊`.
    pub value: f64,
    /// Its standard error.
    pub std_error: f64,
}

/// The diagnostics at one signal-to-noise ratio.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnrReport {
    /// r.
    pub snr: f64,
    /// `P(L_r > u)` at each level.
    pub survival: Vec<Survival>,
    /// `h(δ, r)` at each δ.
    pub integrated_tail: Vec<IntegratedTail>,
    /// `m*(r)`.
    pub m_star: f64,
    /// Its standard error.
    pub m_star_std_error: f64,
    /// `δ*(r)`, the largest minimiser.
    pub delta_star: f64,
    /// `E L_r`.
    pub mean: f64,
    /// Its standard error.
    pub mean_std_error: f64,
    /// `ess sup L_r`, where it is known exactly.
    pub supremum: Option<f64>,
}

/// `ζ*_M(t)` at one richness.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Zeta {
    /// M ≥ 1.
    pub richness: f64,
    /// `ζ*_M(t)`, β⁻¹ included.
    pub value: f64,
    /// The largest δ that attains the supremum.
    pub delta: f64,
    /// The standard error of the value.
    pub std_error: f64,
}

/// The diagnostics at one time of the Ornstein-Uhlenbeck chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimeReport {
    /// t.
    pub time: f64,
    /// `r(t)`.
    pub snr: f64,
    /// `ζ*_M(t)` at each M.
    pub zeta: Vec<Zeta>,
    /// `-sup λ_max(∇²log p_t)`.
    pub worst_case: WorstCaseCurvature,
}

/// A subject with all that is common to every r.
pub(crate) struct Examination<'a> {
    subject: Subject<'a>,
    method: Method,
    draws: Draws,
}

/// Draws that show where the mass of a line lies.
const SCOUTS: usize = 4096;

impl<'a> Examination<'a> {
    /// Draws what `settings` ask for.
    ///
    /// # Errors
    ///
    /// Dimensions that differ, quadrature in more than one dimension, fewer than two draws.
    pub(crate) fn new(subject: &Subject<'a>, settings: &Settings) -> Result<Self, EvalError> {
        let (a, b) = (subject.sampler.dim(), subject.posterior.dim());
        if a != b {
            return Err(EvalError::DimensionMismatch { a_name: "draws of X", a, b_name: "posteriors", b });
        }
        let (seed, count) = match settings.method {
            Method::Quadrature if a != 1 => return Err(EvalError::NotALine { dim: a }),
            // The answer must not depend on the seed, not even in its last digit.
            Method::Quadrature => (0, SCOUTS),
            Method::MonteCarlo => (settings.seed, settings.draws),
        };
        if count < 2 {
            return Err(EvalError::Draws { count });
        }
        Ok(Self { subject: *subject, method: settings.method, draws: Draws::new(subject.sampler, seed, count) })
    }

    /// Steps of the work at one r.
    pub(crate) fn steps(&self) -> usize {
        match self.method {
            Method::Quadrature => 1,
            Method::MonteCarlo => self.draws.tiles(),
        }
    }

    fn line(&self, snr: f64) -> Result<Line<'a>, EvalError> {
        Line::new(self.subject.posterior, snr, &self.draws.x)
    }

    /// The law at r, without the supremum.
    pub(crate) fn law(
        &self,
        snr: f64,
        progress: &mut Progress,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Law, EvalError> {
        check_snr(snr)?;
        match self.method {
            Method::Quadrature => {
                let law = self.line(snr)?.law()?;
                progress.step(watch)?;
                Ok(Law::of_line(law))
            }
            Method::MonteCarlo => Ok(Law::of_draws(self.draws.localization(&self.subject, snr, progress, watch)?)),
        }
    }

    /// The law at r, with the supremum where it is exact.
    pub(crate) fn whole_law(
        &self,
        snr: f64,
        progress: &mut Progress,
        watch: &mut dyn FnMut(Progress) -> bool,
    ) -> Result<Law, EvalError> {
        if self.method == Method::MonteCarlo {
            return self.law(snr, progress, watch);
        }
        check_snr(snr)?;
        let law = self.line(snr)?.whole_law()?;
        progress.step(watch)?;
        Ok(Law::of_line(law))
    }
}

fn check_snr(snr: f64) -> Result<(), EvalError> {
    if snr.is_finite() && snr > 0.0 { Ok(()) } else { Err(EvalError::Snr { value: snr }) }
}

fn check_time(time: f64) -> Result<(), EvalError> {
    if time.is_finite() && time > 0.0 { Ok(()) } else { Err(EvalError::Time { value: time }) }
}

fn check_beta(beta: f64) -> Result<(), EvalError> {
    if beta.is_finite() && beta > 0.0 { Ok(()) } else { Err(EvalError::Beta { value: beta }) }
}

fn check_richness(richness: f64) -> Result<(), EvalError> {
    if richness.is_finite() && richness >= 1.0 { Ok(()) } else { Err(EvalError::Richness { value: richness }) }
}

/// The law of `L_r(Y_r)` at one signal-to-noise ratio.
///
/// By quadrature it comes with `ess sup L_r`. Draws are those of [`at_snrs`]: common to every r.
///
/// # Errors
///
/// An r that is not positive and finite, dimensions that differ, fewer than two draws, an L that is no number, quadrature of
/// a posterior whose density does not integrate to one, a watcher that asks for a stop.
pub fn law(
    subject: &Subject<'_>,
    snr: f64,
    settings: &Settings,
    watch: &mut dyn FnMut(Progress) -> bool,
) -> Result<Law, EvalError> {
    let examination = Examination::new(subject, settings)?;
    examination.whole_law(snr, &mut Progress::of(examination.steps()), watch)
}

/// The diagnostics at each signal-to-noise ratio, at each level u and each δ, in their order.
///
/// # Errors
///
/// Those of [`law()`].
pub fn at_snrs(
    subject: &Subject<'_>,
    snrs: &[f64],
    levels: &[f64],
    deltas: &[f64],
    settings: &Settings,
    watch: &mut dyn FnMut(Progress) -> bool,
) -> Result<Vec<SnrReport>, EvalError> {
    snrs.iter().try_for_each(|&snr| check_snr(snr))?;
    let examination = Examination::new(subject, settings)?;
    let mut progress = Progress::of(snrs.len() * examination.steps());
    let report = |&snr: &f64| {
        let law = examination.whole_law(snr, &mut progress, watch)?;
        Ok(SnrReport::of(&law, snr, levels, deltas))
    };
    snrs.iter().map(report).collect()
}

impl SnrReport {
    /// What a law says at these levels and δ.
    pub fn of(law: &Law, snr: f64, levels: &[f64], deltas: &[f64]) -> Self {
        let survival = |&level: &f64| {
            let s = law.survival(level);
            Survival { level, probability: s.value, std_error: s.std_error }
        };
        let integrated_tail = |&delta: &f64| {
            let h = law.integrated_tail(delta);
            IntegratedTail { delta, value: h.value, std_error: h.std_error }
        };
        let (complexity, mean) = (law.complexity(), law.mean());
        Self {
            snr,
            survival: levels.iter().map(survival).collect(),
            integrated_tail: deltas.iter().map(integrated_tail).collect(),
            m_star: complexity.m_star.value,
            m_star_std_error: complexity.m_star.std_error,
            delta_star: complexity.delta_star,
            mean: mean.value,
            mean_std_error: mean.std_error,
            supremum: law.supremum(),
        }
    }
}

/// The diagnostics at each time t > 0 of the Ornstein-Uhlenbeck chain of inverse temperature β, at each richness M ≥ 1.
///
/// # Errors
///
/// A time or β that is not positive and finite, a richness below 1, and those of [`law()`].
pub fn at_times(
    subject: &Subject<'_>,
    times: &[f64],
    beta: f64,
    richness: &[f64],
    settings: &Settings,
    watch: &mut dyn FnMut(Progress) -> bool,
) -> Result<Vec<TimeReport>, EvalError> {
    check_beta(beta)?;
    times.iter().try_for_each(|&time| check_time(time))?;
    richness.iter().try_for_each(|&richness| check_richness(richness))?;
    let examination = Examination::new(subject, settings)?;
    let mut ascent = curvature::Ascent::new(&examination);
    let mut progress = Progress::of(times.len() * (examination.steps() + ascent.steps()));
    let schedule = NoiseSchedule::OrnsteinUhlenbeck { beta };
    let mut reports = Vec::with_capacity(times.len());
    for &time in times {
        let snr = schedule.snr(time);
        let law = examination.whole_law(snr, &mut progress, watch)?;
        let worst = match law.supremum() {
            Some(supremum) => WorstCase { sup_lambda_max: supremum - 1.0, exact: true },
            None => ascent.climb(snr, &mut progress, watch)?,
        };
        reports.push(TimeReport {
            time,
            snr,
            zeta: richness.iter().map(|&richness| zeta(&law, time, richness)).collect(),
            worst_case: worst.along_chain(time, beta),
        });
    }
    Ok(reports)
}

/// `ζ*_M(t)` of the law at r(t).
pub(crate) fn zeta(law: &Law, time: f64, richness: f64) -> Zeta {
    let AverageCurvature { value, delta } = law.average_curvature(richness);
    let remaining = -libm::expm1(-2.0 * time);
    Zeta { richness, value: value.value / remaining, delta, std_error: value.std_error / remaining }
}
