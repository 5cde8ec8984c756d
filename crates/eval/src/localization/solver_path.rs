//! The solvers of the probability-flow ODE on a kernel density, and the derivative of where they end in the noise levels.
//!
//! The steps are those of [`brenier_model::sample_from`], with the closed forms of the posterior mean D, of its Jacobian
//! `C` in y and of its derivative in `λ = -log σ`. The derivative is taken backwards, step by step: with p the gradient in what a step
//! ends in, each step adds to the gradients in its two λ and hands on the gradient in what it started from.

use rayon::prelude::*;

use super::kernel_density::{KernelDensity, NoisyKernels, Tilted};
use super::sampling_curve::{Solver, Trajectory};

/// What one step was, kept for the way back.
struct Step {
    y: Vec<f64>,
    tilted: Tilted,
    /// Heun's method: where Euler's step led, and the posterior there.
    predicted: Option<(Vec<f64>, Tilted)>,
    /// DPM-Solver++(2M): the coefficient of the extrapolation.
    extrapolation: f64,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn less(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

fn add(sum: &mut [f64], factor: f64, a: &[f64]) {
    sum.iter_mut().zip(a).for_each(|(sum, a)| *sum += factor * a);
}

fn product(tilted: &Tilted, v: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; v.len()];
    tilted.product(v, &mut out);
    out
}

/// `v·∂D/∂λ`.
fn along_rate(tilted: &Tilted, y: &[f64], v: &[f64]) -> f64 {
    let mut out = vec![0.0; v.len()];
    tilted.rate(y, &mut out);
    dot(&out, v)
}

/// A solver with given levels, the last of them 0; a reverse SDE counts as Euler's method, for the ODE of the same law.
pub(super) struct SolverSteps<'a> {
    solver: Solver,
    levels: &'a [f64],
    origin: &'a [f64],
    /// The kernel density at each level but the last.
    noisy: Vec<NoisyKernels<'a>>,
}

impl<'a> SolverSteps<'a> {
    pub(super) fn new(density: &'a KernelDensity, solver: Solver, levels: &'a [f64]) -> Self {
        let noisy = levels[..levels.len() - 1].iter().map(|&sigma| density.under_noise(sigma)).collect();
        Self { solver, levels, origin: &density.origin, noisy }
    }

    /// `E|x̂ - x|²` over the starts of these solutions.
    pub(super) fn mean_square_error(&self, solutions: &[Trajectory]) -> f64 {
        let square = |one: &Trajectory| one.square_error(&self.follow(&one.normals).end);
        let squares: Vec<f64> = solutions.par_iter().map(square).collect();
        squares.iter().sum::<f64>() / squares.len() as f64
    }

    /// From `σ₀z` to 0.
    pub(super) fn follow<'b>(&'b self, normals: &'b [f64]) -> SolverPath<'b> {
        let (solver, levels) = (self.solver, self.levels);
        let mut y: Vec<f64> = self.origin.iter().zip(normals).map(|(origin, z)| origin + levels[0] * z).collect();
        let count = levels.len() - 1;
        let mut steps: Vec<Step> = Vec::with_capacity(count);
        for (i, pair) in levels.windows(2).enumerate() {
            let ratio = pair[1] / pair[0];
            let mut tilted = Tilted::default();
            self.noisy[i].tilt(&y, &mut tilted);
            let (mut predicted, mut extrapolation) = (None, 0.0);
            let mut next: Vec<f64> =
                y.iter().zip(&tilted.mean).map(|(y, mean)| ratio * y + (1.0 - ratio) * mean).collect();
            if i + 1 < count {
                match (solver, steps.last()) {
                    (Solver::Heun, _) => {
                        let mut ahead = Tilted::default();
                        self.noisy[i + 1].tilt(&next, &mut ahead);
                        let corrected = y.iter().enumerate().map(|(j, y)| {
                            y + 0.5 * (ratio - 1.0) * (y - tilted.mean[j])
                                + 0.5 * (1.0 - 1.0 / ratio) * (next[j] - ahead.mean[j])
                        });
                        let corrected = corrected.collect();
                        predicted = Some((std::mem::replace(&mut next, corrected), ahead));
                    }
                    (Solver::DpmSolver2M, Some(last)) => {
                        extrapolation = -ratio.ln() / (2.0 * (levels[i - 1] / pair[0]).ln());
                        let change = less(&tilted.mean, &last.tilted.mean);
                        add(&mut next, (1.0 - ratio) * extrapolation, &change);
                    }
                    _ => {}
                }
            }
            steps.push(Step { y: std::mem::replace(&mut y, next), tilted, predicted, extrapolation });
        }
        SolverPath { solver, levels, normals, steps, end: y }
    }
}

/// A solver on its way from `σ₀z` to 0.
pub(super) struct SolverPath<'a> {
    solver: Solver,
    levels: &'a [f64],
    normals: &'a [f64],
    steps: Vec<Step>,
    /// Where it ends, seen from the mean of the points.
    pub(super) end: Vec<f64>,
}

impl SolverPath<'_> {
    /// Adds `∂(p·end)/∂λᵢ` to the gradient in the λ of every level but the last, 0.
    pub(super) fn pull_back(&self, p: &[f64], gradient: &mut [f64]) {
        let count = self.steps.len();
        let mut p = p.to_vec();
        // DPM-Solver++(2M): the gradient in the posterior mean of the step before, from its use in this one.
        let mut in_last_mean = vec![0.0; p.len()];
        for i in (0..count).rev() {
            let step = &self.steps[i];
            let ratio = self.levels[i + 1] / self.levels[i];
            let mean = &step.tilted.mean;
            // Gradients in the ratio, in y directly, and in the posterior mean.
            let (in_ratio, mut in_y, mut in_mean);
            if let Some((predicted, ahead)) = &step.predicted {
                let weight = 0.5 * (1.0 - 1.0 / ratio);
                let mut in_predicted: Vec<f64> = p.iter().map(|p| weight * p).collect();
                let in_ahead: Vec<f64> = p.iter().map(|p| -weight * p).collect();
                add(&mut in_predicted, 1.0, &product(ahead, &in_ahead));
                gradient[i + 1] += along_rate(ahead, predicted, &in_ahead);
                let away = less(&step.y, mean);
                in_ratio = 0.5 * dot(&p, &away)
                    + 0.5 / (ratio * ratio) * dot(&p, &less(predicted, &ahead.mean))
                    + dot(&in_predicted, &away);
                in_y = p.iter().map(|p| p * (1.0 + 0.5 * (ratio - 1.0))).collect::<Vec<f64>>();
                add(&mut in_y, ratio, &in_predicted);
                in_mean = p.iter().map(|p| -0.5 * (ratio - 1.0) * p).collect::<Vec<f64>>();
                add(&mut in_mean, 1.0 - ratio, &in_predicted);
            } else {
                let k = step.extrapolation;
                in_y = p.iter().map(|p| ratio * p).collect::<Vec<f64>>();
                in_mean = p.iter().map(|p| (1.0 - ratio) * (1.0 + k) * p).collect::<Vec<f64>>();
                add(&mut in_mean, 1.0, &in_last_mean);
                let mut slope = dot(&p, &less(&step.y, mean));
                in_last_mean.fill(0.0);
                if k != 0.0 {
                    let change = less(mean, &self.steps[i - 1].tilted.mean);
                    let along = dot(&p, &change);
                    slope -= k * along;
                    add(&mut in_last_mean, -(1.0 - ratio) * k, &p);
                    // k = h/2h', h = λ_{i+1} - λ_i, h' = λ_i - λ_{i-1}.
                    let (h, last) = (-ratio.ln(), (self.levels[i - 1] / self.levels[i]).ln());
                    let in_k = (1.0 - ratio) * along;
                    gradient[i + 1] += in_k * k / h;
                    gradient[i] -= in_k * (k / h + k / last);
                    gradient[i - 1] += in_k * k / last;
                }
                in_ratio = slope;
            }
            if i + 1 < count {
                gradient[i + 1] -= in_ratio * ratio;
                gradient[i] += in_ratio * ratio;
            }
            gradient[i] += along_rate(&step.tilted, &step.y, &in_mean);
            add(&mut in_y, 1.0, &product(&step.tilted, &in_mean));
            p = in_y;
        }
        debug_assert!(self.solver == Solver::DpmSolver2M || in_last_mean.iter().all(|&x| x == 0.0));
        gradient[0] -= self.levels[0] * dot(&p, self.normals);
    }
}
