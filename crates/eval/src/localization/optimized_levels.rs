//! Sampling nodes refined through the solver itself, on a kernel density of the data.

use brenier_measure::{Points, Purpose, Stream};
use rayon::prelude::*;

use super::kernel_density::KernelDensity;
use super::sampling_curve::{CurveSettings, SamplingCurve, Solver, Stages, Trajectory, trajectory};
use super::solver_path::SolverSteps;
use crate::EvalError;

/// What [`optimized_levels`] is computed with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OptimizationSettings {
    /// What the curve was computed with: the kernel density is the same.
    pub curve: CurveSettings,
    /// How many starts the error is averaged over.
    pub starts: usize,
    /// How many other starts judge the nodes.
    pub held_out: usize,
    /// How many steps Adam takes.
    pub iterations: usize,
    /// The first step size of Adam, in log σ; it falls to 0 as a cosine.
    pub learning_rate: f64,
}

impl Default for OptimizationSettings {
    fn default() -> Self {
        Self { curve: CurveSettings::default(), starts: 256, held_out: 256, iterations: 120, learning_rate: 0.05 }
    }
}

/// Between two looks at the held-out starts.
const ITERATIONS_A_LOOK: usize = 10;

/// `steps + 1` noise levels for a solver, strictly falling, the last 0: those of [`SamplingCurve::levels`], moved so that the solver
/// ends as near as it can to the solution of the ODE.
///
/// The loss is `log E|x̂ - x|²`, x̂ being where the solver ends from `σ_max Z` and x where the ODE ends from the same Z, both on the
/// kernel density of the points; σ_max and the ratios of neighbouring levels move by Adam (Kingma, Ba, 1412.6980). Of all
/// nodes looked at, those of least error from other starts are kept, the first ones included. Paths of the reverse SDE have no end
/// to come near: it keeps the levels of [`SamplingCurve::levels`].
///
/// `watch` is told the fraction done and says whether to go on.
///
/// # Errors
///
/// No step, points that have no [`SamplingCurve`], an interruption.
pub fn optimized_levels(
    points: &Points,
    curve: &SamplingCurve,
    solver: Solver,
    steps: usize,
    settings: &OptimizationSettings,
    watch: &mut dyn FnMut(f64) -> bool,
) -> Result<Vec<f64>, EvalError> {
    let first = curve.levels(solver, steps)?;
    if solver.is_stochastic() {
        return Ok(first);
    }
    let density = KernelDensity::of_points(points, settings.curve.points, settings.curve.seed)?;
    let normals = Stream::new(settings.curve.seed, Purpose::SamplingGrid);
    let (starts, held_out) = (settings.starts.max(1), settings.held_out.max(1));
    let stages = Stages::new(&density, &curve.sigma);
    let mut solutions: Vec<Trajectory> = Vec::with_capacity(starts + held_out);
    for from in (0..starts + held_out).step_by(64) {
        let these = from..(starts + held_out).min(from + 64);
        let one = |index: usize| trajectory(&stages, &mut normals.at(2, index as u64));
        solutions.par_extend(these.clone().into_par_iter().map(one));
        if !watch(0.1 * these.end as f64 / (starts + held_out) as f64) {
            return Err(EvalError::Interrupted);
        }
    }
    let (train, judge) = solutions.split_at(starts);
    let log_error = |levels: &[f64]| SolverSteps::new(&density, solver, levels).mean_square_error(judge).ln();
    let mut parameters = parameters_of(&first);
    let mut best = (log_error(&first), first);
    let (mut mean, mut square) = (vec![0.0; steps], vec![0.0; steps]);
    for iteration in 0..settings.iterations {
        let levels = levels_of(&parameters);
        let gradient = gradient(&density, solver, &levels, train);
        if gradient.iter().any(|g| !g.is_finite()) {
            break;
        }
        let progress = iteration as f64 / settings.iterations as f64;
        let rate = settings.learning_rate * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos());
        for (i, g) in gradient.into_iter().enumerate() {
            mean[i] += 0.1 * (g - mean[i]);
            square[i] += 0.01 * (g * g - square[i]);
            let count = iteration as i32 + 1;
            let (mean, square) = (mean[i] / (1.0 - 0.9f64.powi(count)), square[i] / (1.0 - 0.99f64.powi(count)));
            parameters[i] -= rate * mean / (square.sqrt() + 1e-12);
        }
        if (iteration + 1) % ITERATIONS_A_LOOK == 0 || iteration + 1 == settings.iterations {
            let levels = levels_of(&parameters);
            let error = log_error(&levels);
            // Levels that rounding makes equal are no grid.
            if error < best.0 && levels.windows(2).all(|pair| pair[0] > pair[1]) {
                best = (error, levels);
            }
        }
        if !watch(0.1 + 0.9 * (iteration + 1) as f64 / settings.iterations as f64) {
            return Err(EvalError::Interrupted);
        }
    }
    Ok(best.1)
}

/// `(log σ₀, log log σ₀/σ₁, …)`.
fn parameters_of(levels: &[f64]) -> Vec<f64> {
    let inner = &levels[..levels.len() - 1];
    let gaps = inner.windows(2).map(|pair| (pair[0] / pair[1]).ln().max(1e-6).ln());
    std::iter::once(levels[0].ln()).chain(gaps).collect()
}

fn levels_of(parameters: &[f64]) -> Vec<f64> {
    let mut log = parameters[0];
    let inner = parameters[1..].iter().map(|gap| {
        log -= gap.exp();
        log.exp()
    });
    let mut levels: Vec<f64> = std::iter::once(parameters[0].exp()).chain(inner).collect();
    levels.push(0.0);
    levels
}

/// The gradient of the log of the mean square error in the parameters.
fn gradient(density: &KernelDensity, solver: Solver, levels: &[f64], starts: &[Trajectory]) -> Vec<f64> {
    let steps = levels.len() - 1;
    let solver_steps = SolverSteps::new(density, solver, levels);
    let one = |one: &Trajectory| {
        let path = solver_steps.follow(&one.normals);
        let away: Vec<f64> = path.end.iter().zip(&one.end).map(|(a, b)| a - b).collect();
        let mut gradient = vec![0.0; steps];
        path.pull_back(&away, &mut gradient);
        (away.iter().map(|x| x * x).sum::<f64>(), gradient)
    };
    let all: Vec<(f64, Vec<f64>)> = starts.par_iter().map(one).collect();
    let total: f64 = all.iter().map(|(square, _)| square).sum();
    let mut in_lambda = vec![0.0; steps];
    for (_, gradient) in &all {
        in_lambda.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += 2.0 * g / total);
    }
    // λ_i = -log σ₀ + the gaps before it.
    let mut after = 0.0;
    let mut result = vec![0.0; steps];
    for i in (0..steps).rev() {
        after += in_lambda[i];
        result[i] = if i == 0 { -after } else { after * (levels[i - 1] / levels[i]).ln() };
    }
    result
}
