//! Annealed particles: a Gaussian carried to an unnormalised density by sequential Monte Carlo with adaptive temperatures.
//!
//! Particles of `log f_β = β log p + (1 - β) log q`, q the start. Every step takes the next β, as far as the *effective share*
//! `(Σw)²/(n Σw²)` of the weights `w = (p/q)^{β' - β}` allows; `log Z` grows by the logarithm of their mean; particles are resampled
//! (systematically) and moved by a kernel that leaves `f_{β'}` as it is, in units of their own covariance.
//!
//! Del Moral, Doucet and Jasra, Sequential Monte Carlo samplers, JRSS B 68 (2006); temperatures by Jasra, Stephens, Doucet and Tsagaris
//! (2011); the variance from lineages after Lee and Whiteley, Variance estimation in the particle filter, Biometrika 105 (2018).
//!
//! # The standard error of log Z
//!
//! With `S_i` the share of the final weight that descends from start i, Z is a mean of n independent contributions `n Z S_i`, but for what
//! resampling moves between lineages. Systematic resampling gives a lineage of expected size `F = n S` the floor or the ceiling of F,
//! whose variance `{F}(1 - {F})` is known and no error of Z; so
//! `Var(log Z) ≈ n/(n-1) Σ (S_i - 1/n)² - Σ_resamplings Σ_i {F_i}(1 - {F_i})/n²`,
//! and not less than `Σ (1/ESS - 1/n)`, what it would be if every move forgot where it came from.
//!
//! It knows what the particles know: where they cannot reach a part of the mass (the neck of a funnel, a narrow mode) it is too small.
//!
//! # Moves in units of others
//!
//! Steps are measured by a covariance of the particles. A particle that is moved in units that its own place has a part in has not the
//! law that it should: on the breast-cancer posterior (d = 31, 2048 particles) log Z came out .4 too high. So each half of the particles
//! moves in units of the other.
//!
//! # Example
//!
//! A density of one's own needs one trait:
//!
//! ```
//! use std::sync::Arc;
//!
//! use brenier_measure::Measure;
//! use brenier_training::annealed_particles::{AnnealedParticles, AnnealedParticlesConfig};
//! use brenier_training::{Flow, Method};
//! use burn::tensor::{Device, Tensor};
//!
//! /// `-(x₀² + x₁²)/2` up to a constant: Z = 2π.
//! struct Bell;
//!
//! impl Measure for Bell {
//!     fn dim(&self) -> usize {
//!         2
//!     }
//!     fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
//!         x.square().sum_dim(1).squeeze_dim::<1>(1) * -0.5
//!     }
//!     fn score(&self, x: Tensor<2>) -> Tensor<2> {
//!         -x
//!     }
//! }
//!
//! let config = AnnealedParticlesConfig { particles: 512, ..Default::default() };
//! let method = AnnealedParticles::new(config, Arc::new(Bell), None, 0, &Device::flex())?;
//! let mut state = method.start()?;
//! method.train(&mut state, &mut |_, _| Ok(Flow::Continue))?;
//! let log_z = method.log_z(&state);
//! assert!((log_z.value - std::f64::consts::TAU.ln()).abs() < 5.0 * log_z.std_error);
//! # Ok::<(), brenier_training::TrainingError>(())
//! ```

mod config;
mod modes;
mod propriety;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use brenier_measure::linear_algebra::semidefinite_factor;
use brenier_measure::{
    Estimate, GaussianMixture, Measure, Points, Purpose, Sample, Stream, Support, systematic_resampling, to_points,
    to_tensor, to_values,
};
use brenier_model::markov_chain::{Kernel, Tempered, Walkers};
use brenier_model::{Annealing, ParticleSampler, TrainedSampler};
use burn::tensor::{DType, Device};
use ndarray::{Array2, Axis, s};
use serde::{Deserialize, Serialize};
use tracing::warn;

pub use config::{AnnealedParticlesConfig, Spread, StartConfig};
pub(crate) use modes::log_z_at_modes;

use crate::error::TrainingError;
use crate::fit::Flow;
use crate::method::{Files, Method, Observe, Scalars};

/// The file of a checkpoint.
const STATE: &str = "state.json";

/// The first length of a step, in units of the covariance.
const FIRST_STEP: f64 = 0.5;

/// The share of the rest of β that is taken while particles without weight are left behind.
const LEAST_INCREMENT: f64 = 1e-9;

/// Particles from which an optimiser looks for modes.
const CLIMBERS: usize = 16;

/// An estimate about the modes that is higher by so many joint standard errors, and by so many nats, contradicts the annealing.
const CONTRADICTION: (f64, f64) = (5.0, 0.1);

/// Above this dimension no covariance of the particles is formed.
const MOST_DIMENSIONS: usize = 2048;

/// Fewer starts with descendants than this tell nothing of an error.
pub const FEWEST_ANCESTORS: usize = 10;

/// Moves that are accepted more rarely leave the particles where resampling put them.
const LEAST_ACCEPTANCE: f64 = 0.01;

/// Wider than so many times the start the particles have no business to be.
const MOST_SPREAD: f64 = 1e3;

/// The widths that have a square.
const WIDTHS: std::ops::RangeInclusive<f64> = 1e-150..=1e150;

/// Particles that follow a density from a Gaussian to an unnormalised target.
pub struct AnnealedParticles {
    config: AnnealedParticlesConfig,
    target: Arc<dyn Measure>,
    support: Option<Support>,
    start: Arc<GaussianMixture>,
    seed: u64,
    dtype: DType,
    device: Device,
}

/// All that the next temperature depends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParticleState {
    /// β at every temperature so far, from 0.
    pub temperatures: Vec<f64>,
    /// The particles, of equal weight, `[n, d]`.
    pub particles: Points,
    /// The start that each descends from; ascending.
    pub ancestors: Vec<usize>,
    /// log Z of `f_β`.
    pub log_z: f64,
    /// `Σ (1/ESS - 1/n)` over the temperatures.
    pub variance_of_weights: f64,
    /// The variance of the sizes of lineages that resampling brought.
    pub variance_of_resampling: f64,
    /// The variance of log Z as its lineages tell, before the last resampling.
    pub variance_of_lineages: f64,
    /// The length of a step of a move.
    pub step_size: f64,
    /// The effective share at the last temperature.
    pub ess: f64,
    /// Mean acceptance at the last temperature.
    pub acceptance: f64,
    /// The mean of -log p over the particles.
    pub energy: f64,
    /// log Z about the modes that an optimiser found from the particles, and their number, at the end.
    pub at_modes: Option<(Estimate, usize)>,
}

impl ParticleState {
    /// The state that a checkpoint holds.
    ///
    /// # Errors
    ///
    /// A missing file, and content of another form.
    pub fn from_files(files: &Files) -> Result<Self, TrainingError> {
        let bytes = files.get(STATE).ok_or_else(|| TrainingError::MissingFile { file: STATE.to_owned() })?;
        serde_json::from_slice(bytes)
            .map_err(|error| TrainingError::ForeignWeights { file: STATE.to_owned(), reason: error.to_string() })
    }

    /// β.
    pub fn temperature(&self) -> f64 {
        self.temperatures.last().copied().unwrap_or(0.0)
    }

    /// How many starts have descendants.
    pub fn distinct_ancestors(&self) -> usize {
        self.ancestors.chunk_by(|a, b| a == b).count()
    }

    /// `(Σc)²/(n Σc²)` over the numbers c of descendants of the n starts.
    pub fn lineage_ess(&self) -> f64 {
        let squares: usize = self.ancestors.chunk_by(|a, b| a == b).map(|lineage| lineage.len().pow(2)).sum();
        self.ancestors.len() as f64 / squares as f64
    }

    /// log Z, with its standard error; NaN where all particles descend from one start, which knows of no error.
    pub fn log_z(&self) -> Estimate {
        let variance = self.variance_of_lineages.max(self.variance_of_weights).max(0.0);
        let std_error = if self.distinct_ancestors() > 1 { variance.sqrt() } else { f64::NAN };
        Estimate { value: self.log_z, std_error }
    }
}

impl AnnealedParticles {
    /// The method for a target in coordinates that are not bounded; `support` says where those of the samples live.
    ///
    /// # Errors
    ///
    /// A start that cannot be had; a log-density that is NaN or +∞ at a draw of it, or -∞ at all; a score that is not finite where the
    /// log-density is; a density that does not fall off.
    pub fn new(
        config: AnnealedParticlesConfig,
        target: Arc<dyn Measure>,
        support: Option<Support>,
        seed: u64,
        device: &Device,
    ) -> Result<Self, TrainingError> {
        let d = target.dim();
        if d > MOST_DIMENSIONS {
            let what =
                format!("annealed particles move in units of their covariance, and the target has {d} coordinates");
            return Err(TrainingError::Choice { what, cure: "take a target of at most 2048" });
        }
        let start = Arc::new(start(&config.start, target.as_ref())?);
        let dtype = if *device == Device::flex() { DType::F64 } else { DType::F32 };
        let method = Self { config, target, support, start, seed, dtype, device: device.clone() };
        method.check_start()?;
        match propriety::improper_direction(method.target.as_ref(), &method.start) {
            Some(ray) => Err(TrainingError::Improper { direction: shown_ray(&ray) }),
            None => Ok(method),
        }
    }

    /// log Z of the density where the particles are, with its standard error.
    pub fn log_z(&self, state: &ParticleState) -> Estimate {
        state.log_z()
    }

    fn first_particles(&self) -> Points {
        self.start.sample(&Stream::new(self.seed, Purpose::Particles), 0, 0..self.config.particles as u64)
    }

    fn log_densities(&self, measure: &dyn Measure, points: &Points) -> Vec<f64> {
        to_values(measure.log_density(to_tensor(points, self.dtype, &self.device)))
    }

    /// In the coordinates of whoever wrote the density.
    fn shown(&self, point: &[f64]) -> String {
        let row = Points::from_shape_vec((1, point.len()), point.to_vec()).expect("one row");
        let row = match &self.support {
            Some(support) => to_points(support.from_line(to_tensor(&row, DType::F64, &Device::flex()))),
            None => row,
        };
        const SHOWN: usize = 6;
        let numbers: Vec<String> = row.iter().take(SHOWN).map(|x| format!("{x:.4}")).collect();
        let more = if row.len() > SHOWN { ", …" } else { "" };
        format!("({}{more})", numbers.join(", "))
    }

    fn check_start(&self) -> Result<(), TrainingError> {
        let points = self.first_particles();
        let found = self.log_densities(self.target.as_ref(), &points);
        let shown = |row: usize| self.shown(&points.row(row).to_vec());
        if let Some(row) = found.iter().position(|value| value.is_nan() || *value == f64::INFINITY) {
            return Err(TrainingError::Density { what: "log-density", value: found[row], point: shown(row) });
        }
        let Some(row) = found.iter().position(|value| value.is_finite()) else {
            return Err(TrainingError::Density { what: "log-density", value: found[0], point: shown(0) });
        };
        let first = points.select(Axis(0), &[row]);
        let score = to_points(self.target.score(to_tensor(&first, self.dtype, &self.device)));
        match score.iter().find(|value| !value.is_finite()) {
            Some(&value) => Err(TrainingError::Density { what: "score", value, point: shown(row) }),
            None => Ok(()),
        }
    }

    fn kernel(&self, state: &ParticleState, factor: Array2<f64>) -> Kernel {
        let density = Tempered { target: self.target.clone(), start: self.start.clone(), beta: state.temperature() };
        Kernel { density, factor, step_size: state.step_size, moves: self.config.moves }
    }

    /// One temperature.
    fn advance(&self, state: &mut ParticleState) -> Result<(), TrainingError> {
        let n = self.config.particles;
        let step = state.temperatures.len() as u64;
        let log_p = self.log_densities(self.target.as_ref(), &state.particles);
        let log_q = self.log_densities(self.start.as_ref(), &state.particles);
        if let Some(row) = log_p.iter().position(|value| value.is_nan() || *value == f64::INFINITY) {
            let point = self.shown(&state.particles.row(row).to_vec());
            return Err(TrainingError::Density { what: "log-density", value: log_p[row], point });
        }
        let log_ratio: Vec<f64> = log_p.iter().zip(&log_q).map(|(p, q)| p - q).collect();
        let beta = state.temperature();
        let increment = next_increment(&log_ratio, self.config.ess, 1.0 - beta);
        let weights = Weights::of(&log_ratio, increment);
        state.ess = weights.ess / n as f64;
        state.log_z += weights.log_mean;
        state.variance_of_weights += 1.0 / weights.ess - 1.0 / n as f64;
        let next = if increment >= 1.0 - beta { 1.0 } else { beta + increment };
        self.resample(state, &weights.normalized, step);
        state.temperatures.push(next);
        self.move_all(state, step);
        let energies = self.log_densities(self.target.as_ref(), &state.particles);
        state.energy = -energies.iter().sum::<f64>() / n as f64;
        if next == 1.0 {
            self.look_for_modes(state);
            self.doubts(state).iter().for_each(|doubt| warn!("{doubt}"));
        }
        Ok(())
    }

    /// Moves both halves of the particles, each in units of the covariance of the other: a kernel that knows where its own particles are
    /// does not leave their law as it is, and log Z would be too high.
    fn move_all(&self, state: &mut ParticleState, step: u64) {
        let n = self.config.particles;
        let halves = [0..n / 2, n / 2..n];
        let lineages = state.lineage_ess() * n as f64 / 2.0;
        let [first, second] = halves.clone().map(|rows| state.particles.slice(s![rows, ..]).to_owned());
        let factors = [&second, &first].map(|other| semidefinite_factor(&covariance(other, lineages)));
        let [mut kernel, other] = factors.map(|factor| self.kernel(state, factor));
        let place = |points: &Points| Walkers::new(to_tensor(points, self.dtype, &self.device), &kernel.density);
        let mut walkers = [place(&first), place(&second)];
        let stream = Stream::new(self.seed, Purpose::Moves);
        let moves = self.config.moves.steps() as u64;
        let mut acceptance = 0.0;
        for k in 0..moves {
            let mut accepted = 0.0;
            for (half, rows) in halves.iter().enumerate() {
                let factor = if half == 0 { &kernel.factor } else { &other.factor };
                let kernel = Kernel { factor: factor.clone(), ..kernel.clone() };
                let share = rows.len() as f64 / n as f64;
                let indices = rows.start as u64..rows.end as u64;
                accepted += share * kernel.step(&mut walkers[half], &stream, step * moves + k, indices);
            }
            // Robbins and Monro without a falling gain: the density moves on.
            kernel.step_size *= (accepted - self.config.moves.best_acceptance()).exp();
            acceptance += accepted / moves as f64;
        }
        (state.step_size, state.acceptance) = (kernel.step_size, acceptance);
        let [first, second] = walkers.map(|walkers| to_points(walkers.points()));
        state.particles = ndarray::concatenate![Axis(0), first, second];
    }

    /// Systematic resampling in the order of the lineages, which stay side by side.
    fn resample(&self, state: &mut ParticleState, weights: &[f64], step: u64) {
        let n = weights.len();
        let count = n as f64;
        let mut shares = vec![0.0; n];
        state.ancestors.iter().zip(weights).for_each(|(&ancestor, weight)| shares[ancestor] += weight);
        let spread: f64 = shares.iter().map(|share| (share - 1.0 / count).powi(2)).sum();
        state.variance_of_lineages = spread * count / (count - 1.0) - state.variance_of_resampling;
        state.variance_of_resampling += shares
            .iter()
            .map(|share| {
                let part = (count * share).fract();
                part * (1.0 - part) / (count * count)
            })
            .sum::<f64>();
        let offset = Stream::new(self.seed, Purpose::Resampling).at(step, 0).uniform();
        let chosen = systematic_resampling(weights, n, offset);
        state.particles = state.particles.select(Axis(0), &chosen);
        state.ancestors = chosen.iter().map(|&i| state.ancestors[i]).collect();
    }

    /// What makes the answer doubtful, in words.
    fn doubts(&self, state: &ParticleState) -> Vec<String> {
        let n = state.ancestors.len();
        let mut doubts = Vec::new();
        let ancestors = state.distinct_ancestors();
        if ancestors < FEWEST_ANCESTORS {
            doubts.push(format!(
                "the particles descend from {ancestors} of {n} starts: log Z and its standard error rest on too few. Take more `particles`, \
                 more steps of `moves`, or a start nearer to the target"
            ));
        }
        if state.acceptance < LEAST_ACCEPTANCE {
            let percent = 100.0 * state.acceptance;
            doubts.push(format!(
                "{percent:.2} % of the last moves were accepted: the particles stand where resampling put them"
            ));
        }
        let first = self.first_particles();
        let spread = |points: &Points, j| middle_half(points.column(j).iter().copied());
        let wide = (0..self.target.dim()).find(|&j| spread(&state.particles, j) > MOST_SPREAD * spread(&first, j));
        if let Some(j) = wide {
            doubts.push(format!(
                "x{j} is {:.0} times as wide as the start: the target may be improper along it, or the start is far too narrow",
                spread(&state.particles, j) / spread(&first, j)
            ));
        }
        if let Some(support) = &self.support {
            let x = support.from_line(to_tensor(&state.particles, self.dtype, &self.device));
            doubts.extend(support.lost_mass(&x, "particles"));
        }
        doubts
    }

    /// A second estimate of log Z that annealing has no part in but for where it starts.
    fn look_for_modes(&self, state: &mut ParticleState) {
        if self.target.dim() > modes::MOST_DIMENSIONS {
            return;
        }
        let starts = modes::spread_rows(&state.particles, CLIMBERS);
        state.at_modes = modes::log_z_at_modes(self.target.as_ref(), &starts, self.seed);
        if let Some(what) = contradiction(state.log_z(), state.at_modes) {
            warn!("{what}");
        }
    }
}

/// A direction, its largest entry one.
fn shown_ray(ray: &[f64]) -> String {
    let largest = ray.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let numbers: Vec<String> = ray.iter().take(6).map(|x| format!("{:.2}", x / largest)).collect();
    format!("({}{})", numbers.join(", "), if ray.len() > 6 { ", …" } else { "" })
}

/// The width of the middle half of some values.
fn middle_half(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let quarter = sorted.len() / 4;
    sorted[sorted.len() - 1 - quarter] - sorted[quarter]
}

/// What speaks against a log Z of annealing: the modes that an optimiser found hold more mass.
pub fn contradiction(log_z: Estimate, at_modes: Option<(Estimate, usize)>) -> Option<String> {
    let (found, count) = at_modes?;
    let excess = found.value - log_z.value;
    let (errors, nats) = CONTRADICTION;
    (excess > nats && excess > errors * found.std_error.hypot(log_z.std_error)).then(|| {
        let modes = if count == 1 { "a mode".to_owned() } else { format!("{count} modes") };
        format!(
            "mass is missing: an optimiser found {modes} with log Z = {:.3} ± {:.3}, and the annealing found {:.3} ± {:.3}; a mode that is \
             narrow beside its basin is lost at every temperature",
            found.value, found.std_error, log_z.value, log_z.std_error
        )
    })
}

impl AnnealedParticlesConfig {
    /// The config for a density: Laplace's start, or a standard normal where that cannot be had.
    pub fn fitting(target: &dyn Measure) -> Self {
        let config = Self::default();
        let standard = StartConfig::Gaussian { mean: None, sd: Spread::Equal(1.0) };
        if start(&config.start, target).is_ok() { config } else { Self { start: standard, ..config } }
    }
}

/// The Gaussian that particles start from.
pub(crate) fn start(config: &StartConfig, target: &dyn Measure) -> Result<GaussianMixture, TrainingError> {
    let d = target.dim();
    match config {
        StartConfig::Gaussian { mean, sd } => {
            let mean = mean.clone().unwrap_or_else(|| vec![0.0; d]);
            let sd = match sd {
                Spread::Equal(sd) => vec![*sd; d],
                Spread::Each(each) => each.clone(),
            };
            for (name, found) in [("mean", mean.len()), ("sd", sd.len())] {
                if found != d {
                    let what =
                        format!("`start.gaussian.{name}` has {found} numbers, and the target has {d} coordinates");
                    return Err(TrainingError::Choice { what, cure: "give one for each" });
                }
            }
            sd.iter().try_for_each(|&sd| check_width("start.gaussian.sd", sd))?;
            let covariance =
                (0..d).map(|i| (0..d).map(|j| if i == j { sd[i] * sd[i] } else { 0.0 }).collect()).collect();
            Ok(GaussianMixture::new(vec![1.0], vec![mean], vec![covariance])?)
        }
        StartConfig::Laplace { widen } => {
            check_width("start.laplace.widen", *widen)?;
            let cure = "give `start` as {\"gaussian\": {\"sd\": …}}, wide enough for all of the mass";
            if d > modes::MOST_DIMENSIONS {
                let what = format!("`start.laplace` forms a Hessian, and the target has {d} coordinates");
                return Err(TrainingError::Choice { what, cure });
            }
            let Some(mode) = modes::climb(target, &vec![0.0; d]) else {
                let what = "`start.laplace` found no mode from the origin of the coordinates".to_owned();
                return Err(TrainingError::Choice { what, cure });
            };
            let inverse = mode.cholesky.inverse_factor();
            let covariance = inverse.t().dot(&inverse) * widen.powi(2);
            let rows = covariance.outer_iter().map(|row| row.to_vec()).collect();
            let found = GaussianMixture::new(vec![1.0], vec![mode.point], vec![rows])?;
            if found.components()[0].spectrum().values.contains(&0.0) {
                let what = "`start.laplace` found widths whose ratio is beyond rounding".to_owned();
                return Err(TrainingError::Choice { what, cure: "rescale the coordinates, or give `start.gaussian`" });
            }
            Ok(found)
        }
    }
}

fn check_width(name: &str, width: f64) -> Result<(), TrainingError> {
    if WIDTHS.contains(&width) {
        return Ok(());
    }
    let what = format!("`{name}` is {width:?}");
    Err(TrainingError::Choice { what, cure: "give a positive number, between 1e-150 and 1e150" })
}

/// Weights `w ∝ e^{δ l}`.
struct Weights {
    /// With sum 1.
    normalized: Vec<f64>,
    /// `log (1/n) Σ w`.
    log_mean: f64,
    /// `(Σw)²/Σw²`.
    ess: f64,
}

impl Weights {
    fn of(log_ratio: &[f64], increment: f64) -> Self {
        let logs: Vec<f64> = log_ratio.iter().map(|l| increment * l).collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut normalized: Vec<f64> = logs.iter().map(|l| (l - largest).exp()).collect();
        let sum: f64 = normalized.iter().sum();
        normalized.iter_mut().for_each(|w| *w /= sum);
        let log_mean = largest + (sum / logs.len() as f64).ln();
        let ess = 1.0 / normalized.iter().map(|w| w * w).sum::<f64>();
        Self { normalized, log_mean, ess }
    }
}

/// The largest step of β, at most `rest`, after which the effective share is `share` (of what has any weight).
fn next_increment(log_ratio: &[f64], share: f64, rest: f64) -> f64 {
    let weighty = log_ratio.iter().filter(|l| l.is_finite()).count() as f64;
    // Where most particles have no weight at all, these are left behind first, and β hardly moves.
    let rest = if weighty < share * log_ratio.len() as f64 { rest * LEAST_INCREMENT } else { rest };
    let is_even = |increment: f64| Weights::of(log_ratio, increment).ess >= share * weighty;
    if is_even(rest) {
        return rest;
    }
    let (mut low, mut high) = (0.0, rest);
    // A relative precision that no later choice feels; β may need many digits at the start.
    while high - low > 1e-9 * high && high > 1e-300 {
        let middle = f64::midpoint(low, high);
        if is_even(middle) { low = middle } else { high = middle }
    }
    high
}

/// The covariance of equally weighted points, drawn towards its diagonal by `d/(d + m)` for m independent lineages, and held off singularity
/// in units of each coordinate.
fn covariance(points: &Points, lineages: f64) -> Array2<f64> {
    let mean = points.mean_axis(Axis(0)).expect("a particle");
    let centred = points - &mean;
    let mut covariance = centred.t().dot(&centred) / points.nrows() as f64;
    let d = covariance.nrows();
    let keep = lineages / (d as f64 + lineages);
    covariance.indexed_iter_mut().for_each(|((i, j), x)| {
        *x = if i == j { (*x * (1.0 + 1e-9)).max(f64::MIN_POSITIVE) } else { *x * keep };
    });
    covariance
}

impl Method for AnnealedParticles {
    type State = ParticleState;

    fn steps(&self) -> u64 {
        self.config.temperatures
    }

    fn start(&self) -> Result<ParticleState, TrainingError> {
        Ok(ParticleState {
            temperatures: vec![0.0],
            particles: self.first_particles(),
            ancestors: (0..self.config.particles).collect(),
            log_z: 0.0,
            variance_of_weights: 0.0,
            variance_of_resampling: 0.0,
            variance_of_lineages: 0.0,
            step_size: FIRST_STEP,
            ess: 1.0,
            acceptance: 1.0,
            energy: 0.0,
            at_modes: None,
        })
    }

    fn resume(&self, files: &Files) -> Result<ParticleState, TrainingError> {
        ParticleState::from_files(files)
    }

    fn files(&self, state: &ParticleState) -> Files {
        Files::from([(STATE.to_owned(), serde_json::to_vec(state).expect("finite numbers"))])
    }

    fn step(&self, state: &ParticleState) -> u64 {
        state.temperatures.len() as u64 - 1
    }

    fn is_done(&self, state: &ParticleState) -> bool {
        state.temperature() == 1.0
    }

    fn train(&self, state: &mut ParticleState, observe: &mut Observe<ParticleState>) -> Result<(), TrainingError> {
        while !self.is_done(state) {
            if self.step(state) >= self.steps() {
                return Err(TrainingError::NotCold { temperatures: self.steps(), beta: state.temperature() });
            }
            self.advance(state)?;
            if observe(state, &[("beta", state.temperature()), ("ess", state.ess)])? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    fn means(&self, state: &mut ParticleState) -> Scalars {
        let log_z = state.log_z();
        let mut scalars = vec![
            ("beta", state.temperature()),
            ("ess", state.ess),
            ("acceptance", state.acceptance),
            ("step_size", state.step_size),
            ("log_z", log_z.value),
            ("log_z_std_error", log_z.std_error),
            ("distinct_ancestors", state.distinct_ancestors() as f64 / state.ancestors.len() as f64),
            ("energy", state.energy),
        ];
        scalars.extend(state.at_modes.map(|(log_z, _)| ("log_z_at_modes", log_z.value)));
        scalars
    }

    /// How far the particles are from the target: β is 1 at the end.
    fn held_out(&self, state: &ParticleState) -> (&'static str, f64) {
        ("beta_left", 1.0 - state.temperature())
    }

    fn sampler(&self, state: &ParticleState) -> Box<dyn TrainedSampler> {
        Box::new(self.particle_sampler(state))
    }
}

impl AnnealedParticles {
    /// The law as it stands.
    pub fn particle_sampler(&self, state: &ParticleState) -> ParticleSampler {
        let lineages = state.lineage_ess() * state.ancestors.len() as f64;
        ParticleSampler {
            particles: state.particles.clone(),
            kernel: self.kernel(state, semidefinite_factor(&covariance(&state.particles, lineages))),
            fresh_moves: self.config.fresh_moves,
            support: self.support.clone(),
            annealing: Annealing {
                log_z: state.log_z(),
                at_modes: state.at_modes,
                temperatures: state.temperatures.clone(),
                acceptance: state.acceptance,
                ess: state.lineage_ess(),
                ancestors: state.distinct_ancestors(),
            },
            device: self.device.clone(),
        }
    }
}
