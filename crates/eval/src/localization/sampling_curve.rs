//! Sampling nodes from localization: where a solver of the probability-flow ODE or of the reverse SDE must take short steps.
//!
//! # Design
//!
//! With `λ = log r = -log σ`, D the posterior mean, `C = Cov[rX|Y_r]` and `' = d/dλ` along the ODE, one step h of Euler's method errs
//! by `h²D'/2`, and an error δ moves on as `δ' = (C - I)δ`. The nodes that make the error at the end of a solver of order p
//! least have density `∝ (E|Je|²)^{1/2(p+1)}` in λ, e being the local error and J what becomes of it; for a Gaussian
//! `E|JD'|² = σ² tr C³(I - C)`. All of it is known in closed form for a kernel density of the data, before any training.
//!
//! The reverse SDE errs by the variance of a step. In a direction of variance v, where `C = v/(v + σ²)`, the right one is
//! `ρ(1-ρ)σ² + (1-ρ)²σ²C` with `ρ = (σ'/σ)²`: ancestral steps lack the second term, to leading order `4h²σ²C`, and Euler-Maruyama's
//! have `4h²σ²(1-C)` too much. The way to the end multiplies variances by C² (by 1 where the data are not Gaussian and C
//! exceeds it), so that W₂ errs by `2h²σ√(C⁵(1-C))` and `2h²σ√(C³(1-C)³)`: the densities are `(σ² E tr C⁵|I-C|)^{1/4}` and
//! `(σ² E tr C³|I-C|³)^{1/4}` where Euler's method has `C³|I-C|`.
//!
//! The start from `σ_max Z` is an Euler step from σ = ∞, where D is known to be the mean, and the step from σ_min to 0 is an Euler
//! step too. Both errors are known as well, so the range follows from the same curve: short for few steps, wide for many.

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{Points, Purpose, Stream, Words};
use brenier_model::SamplerConfig;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::kernel_density::{KernelDensity, NoisyKernels, Tilted};
use super::solver_path::SolverSteps;
use crate::EvalError;

/// A solver that steps from noise level to noise level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Solver {
    /// The probability-flow ODE by Euler's method.
    Euler,
    /// The probability-flow ODE by Heun's method.
    Heun,
    /// The probability-flow ODE by DPM-Solver++(2M).
    #[serde(rename = "dpm_solver_2m")]
    DpmSolver2M,
    /// The reverse SDE by the Euler-Maruyama method.
    EulerMaruyama,
    /// The reverse SDE by ancestral steps.
    Ancestral,
}

impl Solver {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Euler, Self::Heun, Self::DpmSolver2M, Self::EulerMaruyama, Self::Ancestral];

    /// The solver inside a sampler; `None` for the backward chains, whose steps are equal in time.
    pub fn of(sampler: &SamplerConfig) -> Option<Self> {
        match sampler {
            SamplerConfig::Euler => Some(Self::Euler),
            SamplerConfig::Heun | SamplerConfig::Churn { .. } => Some(Self::Heun),
            SamplerConfig::DpmSolver2M => Some(Self::DpmSolver2M),
            SamplerConfig::EulerMaruyama => Some(Self::EulerMaruyama),
            SamplerConfig::Ancestral => Some(Self::Ancestral),
            SamplerConfig::TransportChain { .. } | SamplerConfig::LangevinChain { .. } => None,
        }
    }

    /// Whether it follows the reverse SDE.
    pub fn is_stochastic(self) -> bool {
        matches!(self, Self::EulerMaruyama | Self::Ancestral)
    }

    /// How often the solver evaluates the denoiser in so many steps.
    pub fn evaluations(self, steps: usize) -> usize {
        if self == Self::Heun { (2 * steps).saturating_sub(1) } else { steps }
    }
}

/// What a [`SamplingCurve`] is computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurveSettings {
    /// The seed of the subset of the data, of the draws and of the starts.
    pub seed: u64,
    /// At most so many data points carry a kernel.
    pub points: usize,
    /// How many draws of Y each noise level takes; the same normals at every level.
    pub draws: usize,
    /// How many noise levels.
    pub levels: usize,
}

impl Default for CurveSettings {
    fn default() -> Self {
        Self { seed: 0, points: 400, draws: 128, levels: 61 }
    }
}

/// How fast nodes must be spent at each noise level, from data alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingCurve {
    /// Noise levels, falling, equally spaced in log σ.
    pub sigma: Vec<f64>,
    /// `E tr C` at each: the posterior variance in units of σ².
    pub posterior_variance: Vec<f64>,
    /// Nodes for Euler's method.
    pub euler: NodeDensity,
    /// Nodes for Heun's method.
    pub heun: NodeDensity,
    /// Nodes for DPM-Solver++(2M).
    pub dpm_solver_2m: NodeDensity,
    /// Nodes for the Euler-Maruyama method.
    pub euler_maruyama: NodeDensity,
    /// Nodes for ancestral steps.
    pub ancestral: NodeDensity,
}

/// What the nodes of one solver follow from, at each noise level of a [`SamplingCurve`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeDensity {
    /// Nodes per unit of log σ, up to a factor.
    pub density: Vec<f64>,
    /// The error of N interior steps from σ_max to σ_min is a constant times `(∫ rate dλ)^{p+1}/N^p`, p the order.
    pub rate: Vec<f64>,
    /// The error at the end of starting here, from `σ_max Z`.
    pub start: Vec<f64>,
    /// The error of the last step, from here to 0.
    pub end: Vec<f64>,
    /// The order p of the solver.
    pub order: u32,
    /// (N, constant) with which the error of N interior steps is `constant (∫ rate dλ)^{p+1}/N^p`.
    pub constants: Vec<(usize, f64)>,
}

/// What is averaged over the draws of Y at one noise level.
#[derive(Debug, Clone, Copy, Default)]
struct Averages {
    /// `E tr C`.
    trace: f64,
    /// `σ² E tr C³|I - C|`.
    moved: f64,
    /// `E|D'|²`.
    speed: f64,
    /// `σ² E tr C³|I - C|³` for C ≤ I, see the design above.
    excess: f64,
    /// `σ² E tr C⁵|I - C|` for C ≤ I, see the design above.
    missing: f64,
    /// `E|D - X₀|²`, X₀ being where the ODE ends: the mean square error of the last step, from here to 0.
    end: f64,
}

impl Averages {
    fn add(&mut self, one: &Self, count: f64) {
        self.trace += one.trace / count;
        self.moved += one.moved / count;
        self.speed += one.speed / count;
        self.excess += one.excess / count;
        self.missing += one.missing / count;
        self.end += one.end / count;
    }
}

/// The numbers of interior steps at which the error is measured.
const CALIBRATED: [usize; 4] = [3, 6, 12, 24];

/// Up to this dimension eigenvalues are exact; above, traces come from one random direction a draw.
const EXACT_DIM: usize = 16;

/// Steps of Lanczos' iteration for a trace: exact for polynomials of degree 11.
const LANCZOS_STEPS: usize = 6;

impl SamplingCurve {
    /// The curve of a data set, `[n, d]`, in the coordinates in which sampling starts from `σ_max N(0, I)`.
    ///
    /// `watch` is told the fraction done and says whether to go on.
    ///
    /// # Errors
    ///
    /// Fewer than two points, a coordinate that is not finite, points without spread or with one beyond 10^±100, an interruption.
    pub fn of_points(
        points: &Points,
        settings: &CurveSettings,
        watch: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Self, EvalError> {
        let density = KernelDensity::of_points(points, settings.points, settings.seed)?;
        Self::of_density(&density, settings, watch)
    }

    pub(super) fn of_density(
        density: &KernelDensity,
        settings: &CurveSettings,
        watch: &mut dyn FnMut(f64) -> bool,
    ) -> Result<Self, EvalError> {
        let (eigenvalues, least, others) = density.covariance_eigenvalues();
        let top = eigenvalues.iter().fold(least, |top, &value| top.max(value));
        let offset: f64 = density.origin.iter().map(|x| x * x).sum();
        let (highest, lowest) = (100.0 * (top + offset).sqrt(), 0.05 * density.narrow_width());
        let count = settings.levels.max(8);
        let sigma: Vec<f64> =
            (0..count).map(|i| highest * ((lowest / highest).ln() * i as f64 / (count - 1) as f64).exp()).collect();
        let normals = Stream::new(settings.seed, Purpose::SamplingGrid);
        let draws = settings.draws.max(1);
        let stages = Stages::new(density, &sigma);
        let mut trajectories = Vec::with_capacity(draws);
        for first in (0..draws).step_by(8) {
            let these = first..draws.min(first + 8);
            let one = |index: usize| trajectory(&stages, &mut normals.at(1, index as u64));
            trajectories.par_extend(these.clone().into_par_iter().map(one));
            if !watch(these.end as f64 / draws as f64 * 0.5) {
                return Err(EvalError::Interrupted);
            }
        }
        let mut levels = vec![Averages::default(); count];
        for one in &trajectories {
            levels.iter_mut().zip(&one.levels).for_each(|(sum, one)| sum.add(one, draws as f64));
        }
        // The start is Gaussian, and at its noise levels so are the data. Their variance v in a direction is not in σZ: of what ends
        // there the ODE keeps the share √C of that error, the SDE the share C, C = v/(v + σ²), so that W₂ is √v(1 - √(1 - C))
        // and √v(1 - √(1 - C²)). The mean of the data is missed in the same shares.
        let start = |share: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let one = |value: f64, sigma: f64| {
                let kept = share(value / (value + sigma * sigma)).powi(2);
                value * (kept / (1.0 + (1.0 - kept).sqrt())).powi(2)
            };
            let all = |&sigma: &f64| {
                let gaussian: f64 = eigenvalues.iter().map(|&value| one(value, sigma)).sum();
                let shift = offset * share(top / (top + sigma * sigma)).powi(2);
                (gaussian + others as f64 * one(least, sigma) + shift).sqrt()
            };
            sigma.iter().map(all).collect()
        };
        let (start, stochastic_start) = (start(&f64::sqrt), start(&|c| c));
        let each = |f: &dyn Fn(&Averages) -> f64| levels.iter().map(f).collect::<Vec<f64>>();
        let end = each(&|level| level.end.sqrt());
        let rate = |order: u32| each(&|level| level.moved.powf(0.5 / f64::from(order + 1)));
        let node = |density, order| NodeDensity {
            density,
            rate: rate(order),
            start: start.clone(),
            end: end.clone(),
            order,
            constants: vec![(1, 0.5)],
        };
        let stochastic = |density: Vec<f64>| NodeDensity {
            rate: density.clone(),
            density,
            start: stochastic_start.clone(),
            end: end.clone(),
            order: 1,
            constants: vec![(1, 2.0)],
        };
        let mut curve = Self {
            posterior_variance: each(&|level| level.trace),
            euler: node(each(&|level| level.moved.powf(0.25)), 1),
            heun: node(each(&|level| level.speed.powf(0.25)), 2),
            dpm_solver_2m: node(each(&|level| level.moved.powf(1.0 / 6.0)), 2),
            euler_maruyama: stochastic(each(&|level| level.excess.powf(0.25))),
            ancestral: stochastic(each(&|level| level.missing.powf(0.25))),
            sigma,
        };
        for (done, solver) in [Solver::Euler, Solver::Heun, Solver::DpmSolver2M].into_iter().enumerate() {
            curve.calibrate(density, solver, &trajectories)?;
            if !watch(0.5 + (done + 1) as f64 / 6.0) {
                return Err(EvalError::Interrupted);
            }
        }
        Ok(curve)
    }

    /// Finds the constants of the error of the interior steps, by the solver itself on the kernel density.
    fn calibrate(
        &mut self,
        density: &KernelDensity,
        solver: Solver,
        trajectories: &[Trajectory],
    ) -> Result<(), EvalError> {
        let mut constants = Vec::with_capacity(CALIBRATED.len());
        for steps in CALIBRATED {
            // Ends that many more steps would have: what errs is then the interior.
            let (first, last) = self.range(solver, 16 * steps);
            let levels = self.levels_between(solver, steps + 1, first, last);
            let error = SolverSteps::new(density, solver, &levels).mean_square_error(trajectories).sqrt();
            let nodes = self.nodes(solver);
            let lambda = self.lambda();
            let integral = cumulative(&lambda, &nodes.rate);
            let total = interpolate(&lambda, &integral, last) - interpolate(&lambda, &integral, first);
            let (p, steps_made) = (nodes.order as i32, steps as f64);
            constants.push((steps, error * steps_made.powi(p) / total.powi(p + 1)));
        }
        match solver {
            Solver::Euler => self.euler.constants = constants,
            Solver::Heun => self.heun.constants = constants,
            Solver::DpmSolver2M => self.dpm_solver_2m.constants = constants,
            Solver::EulerMaruyama | Solver::Ancestral => {}
        }
        Ok(())
    }

    fn lambda(&self) -> Vec<f64> {
        self.sigma.iter().map(|sigma| -sigma.ln()).collect()
    }

    /// What the nodes of a solver follow from.
    pub fn nodes(&self, solver: Solver) -> &NodeDensity {
        match solver {
            Solver::Euler => &self.euler,
            Solver::Heun => &self.heun,
            Solver::DpmSolver2M => &self.dpm_solver_2m,
            Solver::EulerMaruyama => &self.euler_maruyama,
            Solver::Ancestral => &self.ancestral,
        }
    }

    /// `steps + 1` noise levels for a solver, strictly falling, the last 0.
    ///
    /// σ_max and σ_min make the sum of the errors of start, steps and end least; the nodes between are at equal steps of the integral of
    /// the density.
    ///
    /// # Errors
    ///
    /// No step.
    pub fn levels(&self, solver: Solver, steps: usize) -> Result<Vec<f64>, EvalError> {
        if steps == 0 {
            return Err(EvalError::NoSteps);
        }
        let (first, last) = self.range(solver, steps);
        Ok(self.levels_between(solver, steps, first, last))
    }

    /// Levels between given ends, in λ.
    fn levels_between(&self, solver: Solver, steps: usize, first: f64, last: f64) -> Vec<f64> {
        let (nodes, lambda) = (self.nodes(solver), self.lambda());
        let mean = nodes.density.iter().sum::<f64>() / nodes.density.len() as f64;
        // A floor, so that levels never coincide; without any density they are uniform in log σ.
        let floored: Vec<f64> = nodes.density.iter().map(|x| x.max(1e-3 * mean).max(f64::MIN_POSITIVE)).collect();
        let integral = cumulative(&lambda, &floored);
        let (from, to) = (interpolate(&lambda, &integral, first), interpolate(&lambda, &integral, last));
        let mut levels: Vec<f64> = (0..steps)
            .map(|i| {
                let fraction = if steps == 1 { 0.0 } else { i as f64 / (steps - 1) as f64 };
                (-interpolate(&integral, &lambda, from + fraction * (to - from))).exp()
            })
            .collect();
        levels.push(0.0);
        levels
    }

    /// λ of σ_max and of σ_min: the sum of the three errors is least.
    fn range(&self, solver: Solver, steps: usize) -> (f64, f64) {
        const FINE: usize = 6;
        let (nodes, lambda) = (self.nodes(solver), self.lambda());
        let count = (lambda.len() - 1) * FINE;
        let (low, high) = (lambda[0], lambda[lambda.len() - 1]);
        let fine: Vec<f64> = (0..=count).map(|i| low + (high - low) * i as f64 / count as f64).collect();
        let at = |values: &[f64]| fine.iter().map(|&x| interpolate(&lambda, values, x)).collect::<Vec<f64>>();
        let integral = cumulative(&fine, &at(&nodes.rate));
        let (start, end) = (at(&nodes.start), at(&nodes.end));
        let p = nodes.order as i32;
        // Errors of first order have one sign along the way and nearly add; others nearly do not correlate. Measured: 1.2 and 2
        // are better than 1 or 2 for both.
        let power = if p == 1 { 1.2 } else { 2.0 };
        let constant = nodes.constant(steps) / (steps.max(2) as f64 - 1.0).powi(p);
        let mut best = (f64::INFINITY, 0, 0);
        for i in 0..=count {
            // One step is the start and the end.
            let reach = if steps == 1 { i..i + 1 } else { i + 1..count + 1 };
            for j in reach {
                let interior = constant * (integral[j] - integral[i]).powi(p + 1);
                let error = start[i].powf(power) + interior.powf(power) + end[j].powf(power);
                if error < best.0 {
                    best = (error, i, j);
                }
            }
        }
        (fine[best.1], fine[best.2])
    }
}

impl NodeDensity {
    /// The constant of the interior error at a number of steps: in log-log a line between those measured.
    fn constant(&self, steps: usize) -> f64 {
        let x: Vec<f64> = self.constants.iter().map(|(steps, _)| (*steps as f64).ln()).collect();
        let y: Vec<f64> = self.constants.iter().map(|(_, constant)| constant.max(f64::MIN_POSITIVE).ln()).collect();
        if x.len() == 1 { y[0].exp() } else { interpolate(&x, &y, (steps.max(2) as f64 - 1.0).ln()).exp() }
    }
}

/// `∫ values dx` up to each x, by the trapezium rule.
fn cumulative(x: &[f64], values: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let mut integral = vec![0.0];
    for (x, values) in x.windows(2).zip(values.windows(2)) {
        sum += 0.5 * (values[0] + values[1]) * (x[1] - x[0]);
        integral.push(sum);
    }
    integral
}

/// The piecewise linear function through the points (x, y), x rising, at one place.
pub(super) fn interpolate(x: &[f64], y: &[f64], at: f64) -> f64 {
    let right = x.partition_point(|&x| x <= at).clamp(1, x.len() - 1);
    let fraction = ((at - x[right - 1]) / (x[right] - x[right - 1])).clamp(0.0, 1.0);
    y[right - 1] + fraction * (y[right] - y[right - 1])
}

/// The kernel density under the noise of every stage of a step from level to level.
pub(super) struct Stages<'a> {
    origin: &'a [f64],
    levels: Vec<NoisyKernels<'a>>,
    between: Vec<NoisyKernels<'a>>,
}

impl<'a> Stages<'a> {
    pub(super) fn new(density: &'a KernelDensity, sigma: &[f64]) -> Self {
        let levels = sigma.iter().map(|&sigma| density.under_noise(sigma)).collect();
        let between = sigma.windows(2).map(|pair| density.under_noise((pair[0] * pair[1]).sqrt())).collect();
        Self { origin: &density.origin, levels, between }
    }
}

/// One solution of the probability-flow ODE of the kernel density.
pub(super) struct Trajectory {
    /// z, where the start is σz.
    pub(super) normals: Vec<f64>,
    /// Where it ends, seen from the mean of the data.
    pub(super) end: Vec<f64>,
    /// What it adds to the averages of each level.
    levels: Vec<Averages>,
}

impl Trajectory {
    /// `|x̂ - x|²`, x being where the solution ends.
    pub(super) fn square_error(&self, end: &[f64]) -> f64 {
        self.end.iter().zip(end).map(|(a, b)| (a - b) * (a - b)).sum()
    }
}

/// One solution of the probability-flow ODE of the kernel density, at every noise level.
///
/// Runge and Kutta's method of order 4 in λ, a step from level to level; the start is `σ₀ Z`, seen from the mean of the data.
pub(super) fn trajectory(stages: &Stages, words: &mut Words) -> Trajectory {
    let origin = stages.origin;
    let d = origin.len();
    let mut normals = vec![0.0; d];
    words.fill_normal(&mut normals);
    let start = stages.levels[0].sigma;
    let mut y: Vec<f64> = origin.iter().zip(&normals).map(|(origin, z)| origin + start * z).collect();
    let mut tilted = Tilted::default();
    let (mut levels, mut denoised) = (Vec::new(), Vec::new());
    let (mut stage, mut slopes) = (vec![0.0; d], vec![vec![0.0; d]; 4]);
    for (i, level) in stages.levels.iter().enumerate() {
        level.tilt(&y, &mut tilted);
        denoised.push(tilted.mean.clone());
        levels.push(averages_at(&tilted, level.sigma, &y, words));
        let Some(next) = stages.levels.get(i + 1) else { break };
        let h = (level.sigma / next.sigma).ln();
        stage.copy_from_slice(&y);
        for (k, (part, at)) in
            [(0.0, level), (0.5, &stages.between[i]), (0.5, &stages.between[i]), (1.0, next)].into_iter().enumerate()
        {
            if k > 0 {
                stage
                    .iter_mut()
                    .zip(&y)
                    .zip(&slopes[k - 1])
                    .for_each(|((stage, y), slope)| *stage = y + part * h * slope);
                at.tilt(&stage, &mut tilted);
            }
            slopes[k].iter_mut().zip(&tilted.mean).zip(&stage).for_each(|((slope, mean), y)| *slope = mean - y);
        }
        for (j, y) in y.iter_mut().enumerate() {
            *y += h / 6.0 * (slopes[0][j] + 2.0 * slopes[1][j] + 2.0 * slopes[2][j] + slopes[3][j]);
        }
    }
    let last = denoised[denoised.len() - 1].clone();
    for (level, denoised) in levels.iter_mut().zip(&denoised) {
        level.end = denoised.iter().zip(&last).map(|(a, b)| (a - b) * (a - b)).sum();
    }
    Trajectory { normals, end: last, levels }
}

/// What one point of a trajectory adds to the averages.
fn averages_at(tilted: &Tilted, sigma: f64, y: &[f64], words: &mut Words) -> Averages {
    let d = y.len();
    let mut speed = vec![0.0; d];
    tilted.rate(y, &mut speed);
    let away: Vec<f64> = y.iter().zip(&tilted.mean).map(|(y, mean)| y - mean).collect();
    let mut carried = vec![0.0; d];
    tilted.product(&away, &mut carried);
    speed.iter_mut().zip(&carried).for_each(|(speed, carried)| *speed -= carried);
    let spectrum = if d <= EXACT_DIM {
        let values = symmetric_eigen(&tilted.matrix()).map_or_else(|| vec![tilted.trace() / d as f64; d], |s| s.values);
        values.into_iter().map(|value| (1.0, value)).collect()
    } else {
        let signs: Vec<f64> = (0..d).map(|_| words.sign()).collect();
        trace_quadrature(tilted, &signs)
    };
    let trace = |f: &dyn Fn(f64) -> f64| spectrum.iter().map(|(weight, c)| weight * f(c.max(0.0))).sum::<f64>();
    Averages {
        trace: tilted.trace(),
        moved: sigma * sigma * trace(&|c| c.powi(3) * (1.0 - c).abs()),
        speed: speed.iter().map(|v| v * v).sum(),
        excess: sigma * sigma * trace(&|c| (c.min(1.0) * (1.0 - c).abs()).powi(3) / c.max(1.0)),
        missing: sigma * sigma * trace(&|c| c * c.min(1.0).powi(4) * (1.0 - c).abs()),
        end: 0.0,
    }
}

/// Weights and nodes with `Σ wᵢ f(cᵢ) ≈ zᵀ f(C) z`: Gauss quadrature by Lanczos' iteration from z.
///
/// Golub, Meurant, Matrices, Moments and Quadrature (2010), §3.
fn trace_quadrature(tilted: &Tilted, z: &[f64]) -> Vec<(f64, f64)> {
    let d = z.len();
    let mass: f64 = z.iter().map(|z| z * z).sum();
    let mut basis: Vec<Vec<f64>> = vec![z.iter().map(|z| z / mass.sqrt()).collect()];
    let (mut diagonal, mut beside) = (Vec::new(), Vec::<f64>::new());
    let mut next = vec![0.0; d];
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for step in 0..LANCZOS_STEPS.min(d) {
        tilted.product(&basis[step], &mut next);
        diagonal.push(dot(&basis[step], &next));
        for vector in &basis {
            let along = dot(vector, &next);
            next.iter_mut().zip(vector).for_each(|(next, v)| *next -= along * v);
        }
        let norm = dot(&next, &next).sqrt();
        if step + 1 == LANCZOS_STEPS.min(d) || norm <= 1e-10 * diagonal[0].abs() {
            break;
        }
        beside.push(norm);
        basis.push(next.iter().map(|x| x / norm).collect());
    }
    let size = diagonal.len();
    let tridiagonal = ndarray::Array2::from_shape_fn((size, size), |(i, j)| match i.abs_diff(j) {
        0 => diagonal[i],
        1 => beside[i.min(j)],
        _ => 0.0,
    });
    match symmetric_eigen(&tridiagonal) {
        Some(spectrum) => {
            let first = |k: usize| spectrum.vectors.as_ref().map_or(f64::from(k == 0), |vectors| vectors[[0, k]]);
            spectrum.values.iter().enumerate().map(|(k, &c)| (mass * first(k) * first(k), c)).collect()
        }
        None => vec![(mass, diagonal[0])],
    }
}
