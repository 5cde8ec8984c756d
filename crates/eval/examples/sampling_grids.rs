//! Measures sampling grids with exact scores: how far each solver ends from the truth, at a few network evaluations.
//!
//! ```sh
//! cargo run --release -p brenier-eval --example sampling_grids -- [--seeds 5] [--refined 1] [--targets mixture,ring,widths,digits]
//! ```
//!
//! Solvers of the probability-flow ODE are judged by the root mean square distance between where they end and where the ODE
//! ends from the same noise, solvers of the reverse SDE by exact W₂ between as many samples and fresh points, beside its floor:
//! W₂ between two sets of fresh points. Localized grids see 2000 points of each target and nothing else. Karras's grid is
//! also tuned: of all its sweep, the ρ, σ_min and σ_max of least error on the first seed's own starts, which flatters it there.
//! `localized-optimized` takes most of the time, and is measured on the first `--refined` seeds.
//!
//! Prints one table a target, `mean ± s.d. over the seeds (ratio to Karras)`, and geometric means of the ratios.

use std::error::Error;
use std::path::Path;

use brenier_eval::localization::{CurveSettings, OptimizationSettings, SamplingCurve, Solver, optimized_levels};
use brenier_eval::w2;
use brenier_measure::data::read_points;
use brenier_measure::{
    Denoiser, Empirical, GaussianMixture, NoiseSchedule, Points, Purpose, Sample, Stream, Words, to_points, to_tensor,
};
use brenier_model::{GridConfig, SamplerConfig, sample_from};
use burn::tensor::{DType, Device, Tensor};
use rayon::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Network evaluations.
const EVALUATIONS: [usize; 4] = [5, 10, 20, 40];
/// The goals are asked of so many evaluations at most.
const FEW: usize = 20;
/// The points that a localized grid sees.
const DATA: u64 = 2000;
/// The usual range of noise levels: Karras et al. (2206.00364), Table 1.
const RANGE: (f64, f64) = (0.002, 80.0);
/// What Karras's grid is tuned over; W₂ of the stochastic solvers takes the coarser one.
const SWEEP: Sweep = Sweep {
    rho: &[1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 20.0],
    sigma_min: &[0.002, 0.01, 0.03, 0.1, 0.2],
    sigma_max: &[2.5, 5.0, 10.0, 20.0, 80.0],
};
const COARSE_SWEEP: Sweep =
    Sweep { rho: &[3.0, 7.0, 15.0], sigma_min: &[0.002, 0.03, 0.1], sigma_max: &[5.0, 20.0, 80.0] };

struct Sweep {
    rho: &'static [f64],
    sigma_min: &'static [f64],
    sigma_max: &'static [f64],
}

impl Sweep {
    /// Every choice of (ρ, σ_min, σ_max).
    fn choices(&self) -> Vec<(f64, f64, f64)> {
        let mut choices = Vec::new();
        for &rho in self.rho {
            for &low in self.sigma_min {
                choices.extend(self.sigma_max.iter().map(|&high| (rho, low, high)));
            }
        }
        choices
    }
}

/// `(1/n) Σ N(xᵢ, h²I)`, whose noisy law at σ is that of the bare points at `√(σ² + h²)`.
struct Kernels {
    points: Empirical,
    width: f64,
}

impl Sample for Kernels {
    fn dim(&self) -> usize {
        self.points.dim()
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        self.points.draw(words, point);
        point.iter_mut().for_each(|x| *x += self.width * words.normal());
    }
}

impl Denoiser for Kernels {
    fn dim(&self) -> usize {
        self.points.dim()
    }

    fn denoise(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        let variance = sigma.clone().square().unsqueeze_dim::<2>(1);
        y.clone() + variance * self.score(y, sigma)
    }

    fn score(&self, y: Tensor<2>, sigma: Tensor<1>) -> Tensor<2> {
        self.points.score(y, (sigma.square() + self.width * self.width).sqrt())
    }
}

/// A measure with draws and exact scores.
trait Exact: Sample + Denoiser + Sync {}

impl<T: Sample + Denoiser + Sync> Exact for T {}

/// What is sampled, and how much of it.
struct Target {
    name: &'static str,
    law: Box<dyn Exact>,
    /// Starts of the ODE.
    starts: u64,
    /// Samples of the SDE.
    samples: u64,
    /// The settings of `localized_optimized`.
    optimization: OptimizationSettings,
}

impl Target {
    const NAMES: [&'static str; 4] = ["mixture", "ring", "widths", "digits"];

    fn new(name: &str) -> Result<Self> {
        // Less the mean, as standardised data are: a start from σ_max Z would miss it.
        let isotropic = |weights: &[f64], means: &[&[f64]], variances: &[f64]| {
            let d = means[0].len();
            let mean = |j: usize| weights.iter().zip(means).map(|(weight, mean)| weight * mean[j]).sum::<f64>();
            let centred = means.iter().map(|row| (0..d).map(|j| row[j] - mean(j)).collect()).collect();
            let entry = |v: f64, i: usize, j: usize| if i == j { v } else { 0.0 };
            let covariance = |&v: &f64| (0..d).map(|i| (0..d).map(|j| entry(v, i, j)).collect()).collect();
            GaussianMixture::new(weights.to_vec(), centred, variances.iter().map(covariance).collect())
        };
        let of = |name, law: Box<dyn Exact>| Self {
            name,
            law,
            starts: 500,
            samples: 1000,
            optimization: Default::default(),
        };
        Ok(match name {
            "mixture" => {
                let means: [&[f64]; 4] = [&[-4.0], &[-2.0], &[2.0], &[4.0]];
                of("mixture", Box::new(isotropic(&[0.1, 0.2, 0.4, 0.3], &means, &[1.0, 0.5, 0.5, 1.0])?))
            }
            "ring" => {
                let angle = |k: u32| std::f64::consts::TAU * f64::from(k) / 8.0;
                let centres: Vec<[f64; 2]> =
                    (0..8).map(|k| [2f64.sqrt() * angle(k).cos(), 2f64.sqrt() * angle(k).sin()]).collect();
                let centres: Vec<&[f64]> = centres.iter().map(|centre| centre.as_slice()).collect();
                of("ring", Box::new(isotropic(&[0.125; 8], &centres, &[0.01; 8])?))
            }
            "widths" => {
                let means: [&[f64]; 3] = [&[2.0, 0.0], &[-1.0, 1.5], &[0.0, 0.0]];
                of("widths", Box::new(isotropic(&[0.25, 0.25, 0.5], &means, &[4e-4, 4e-4, 1.0])?))
            }
            "digits" => {
                let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../datasets/digits.npz");
                let ink = read_points(&file, None, None)?.points / 16.0;
                let mean = ink.mean_axis(ndarray::Axis(0)).ok_or("no images")?;
                let law = Kernels { points: Empirical::new(ink - &mean)?, width: 0.15 };
                let optimization = OptimizationSettings { starts: 32, held_out: 32, ..Default::default() };
                Self { starts: 32, samples: 300, optimization, ..of("digits", Box::new(law)) }
            }
            other => return Err(format!("no target `{other}`; there are {}", Self::NAMES.join(", ")).into()),
        })
    }
}

/// One target and seed: the starts, and what the ends are judged by.
struct Trial<'a> {
    target: &'a Target,
    seed: u64,
    /// Standard normals, `[n, d]`; σ_max times them is a start.
    normals: Points,
    /// Where the ODE ends from them.
    ends: Points,
    /// Points that nobody has seen.
    fresh: Points,
    data: Points,
    curve: SamplingCurve,
}

impl<'a> Trial<'a> {
    fn new(target: &'a Target, seed: u64) -> Result<Self> {
        let law = &target.law;
        let stream = Stream::new(seed, Purpose::Evaluation);
        let starts = Stream::new(seed, Purpose::Reference);
        let d = Sample::dim(law.as_ref());
        let mut normals = Points::zeros((target.samples.max(target.starts) as usize, d));
        for (i, mut row) in normals.rows_mut().into_iter().enumerate() {
            starts.at(0, i as u64).fill_normal(row.as_slice_mut().ok_or("rows")?);
        }
        let data = law.sample(&stream, 0, 0..DATA);
        let curve = SamplingCurve::of_points(&data, &settings(target, seed).curve, &mut |_| true)?;
        let fresh = law.sample(&stream, 1, 0..target.samples);
        let mut trial = Self { target, seed, normals, ends: Points::zeros((0, d)), fresh, data, curve };
        // Errors of second order at a thousand steps: a thousandth of what is measured.
        trial.ends = trial.solve(Solver::Heun, &GridConfig::LogSnr.levels(1e-4, RANGE.1, 1000)?)?;
        Ok(trial)
    }

    /// Where a solver ends.
    fn solve(&self, solver: Solver, levels: &[f64]) -> Result<Points> {
        let sampler = match solver {
            Solver::Euler => SamplerConfig::Euler,
            Solver::Heun => SamplerConfig::Heun,
            Solver::DpmSolver2M => SamplerConfig::DpmSolver2M,
            Solver::EulerMaruyama => SamplerConfig::EulerMaruyama,
            Solver::Ancestral => SamplerConfig::Ancestral,
        };
        let count = if solver.is_stochastic() { self.target.samples } else { self.target.starts };
        let start = self.normals.slice(ndarray::s![..count as usize, ..]).mapv(|z| levels[0] * z);
        let start = to_tensor(&start, DType::F64, &Device::flex());
        Ok(to_points(sample_from(self.target.law.as_ref(), &sampler, levels, start, self.seed, 0, &mut |_| true)?))
    }

    /// What the grid costs: of the ODE the distance to its end, of the SDE W₂ to fresh points.
    fn error(&self, solver: Solver, levels: &[f64]) -> Result<f64> {
        let ends = self.solve(solver, levels)?;
        if solver.is_stochastic() {
            return Ok(w2(&ends, &self.fresh)?[0].value.ok_or("no W2")?);
        }
        let square: f64 = ends.iter().zip(&self.ends).map(|(a, b)| (a - b) * (a - b)).sum();
        Ok((square / ends.nrows() as f64).sqrt())
    }

    /// W₂ between two sets of fresh points.
    fn floor(&self) -> Result<f64> {
        let law = &self.target.law;
        let others = law.sample(&Stream::new(self.seed, Purpose::Evaluation), 2, 0..self.target.samples);
        Ok(w2(&others, &self.fresh)?[0].value.ok_or("no W2")?)
    }

    fn karras(&self, solver: Solver, steps: usize, (rho, low, high): (f64, f64, f64)) -> Result<f64> {
        self.error(solver, &GridConfig::Karras { rho }.levels(low, high, steps)?)
    }

    /// The choice of least error.
    fn tune(&self, solver: Solver, steps: usize) -> Result<(f64, f64, f64)> {
        let sweep = if solver.is_stochastic() { &COARSE_SWEEP } else { &SWEEP };
        let mut best = (f64::INFINITY, (7.0, RANGE.0, RANGE.1));
        for choice in sweep.choices() {
            let error = self.karras(solver, steps, choice)?;
            if error < best.0 {
                best = (error, choice);
            }
        }
        Ok(best.1)
    }

    /// The error of every grid, in the order of [`GRIDS`]; NaN where there is no such grid.
    fn errors(&self, solver: Solver, steps: usize, tuned: (f64, f64, f64), refined: u64) -> Result<[f64; GRIDS.len()]> {
        let time = GridConfig::Time { schedule: NoiseSchedule::OrnsteinUhlenbeck { beta: 1.0 } };
        let usual = |grid: GridConfig| -> Result<f64> { self.error(solver, &grid.levels(RANGE.0, RANGE.1, steps)?) };
        let refined = if solver.is_stochastic() || self.seed >= refined {
            f64::NAN
        } else {
            let settings = settings(self.target, self.seed);
            let levels = optimized_levels(&self.data, &self.curve, solver, steps, &settings, &mut |_| true)?;
            self.error(solver, &levels)?
        };
        Ok([
            self.karras(solver, steps, (7.0, RANGE.0, RANGE.1))?,
            self.karras(solver, steps, tuned)?,
            usual(GridConfig::LogSnr)?,
            usual(time)?,
            self.error(solver, &self.curve.levels(solver, steps)?)?,
            refined,
        ])
    }
}

/// The columns.
const GRIDS: [&str; 6] = ["Karras", "Karras tuned", "log-SNR", "time", "localized", "localized-optimized"];

fn settings(target: &Target, seed: u64) -> OptimizationSettings {
    OptimizationSettings { curve: CurveSettings { seed, ..target.optimization.curve }, ..target.optimization }
}

/// One line of a table.
struct Line {
    solver: Solver,
    evaluations: usize,
    tuned: (f64, f64, f64),
    /// The errors of each seed.
    errors: Vec<[f64; GRIDS.len()]>,
}

impl Line {
    /// The errors of a grid, for each seed that has it.
    fn of(&self, grid: usize) -> Vec<f64> {
        self.errors.iter().map(|errors| errors[grid]).filter(|error| !error.is_nan()).collect()
    }

    /// The mean error over that of Karras on the same seeds.
    fn ratio(&self, grid: usize) -> f64 {
        let errors = self.of(grid);
        mean(&errors) / mean(&self.of(0)[..errors.len()])
    }

    fn print(&self) {
        let cell = |grid: usize| {
            let (errors, ratio) = (self.of(grid), self.ratio(grid));
            if ratio.is_nan() { "–".to_owned() } else { format!("{} ({ratio:.2})", spread(&errors)) }
        };
        let cells: Vec<String> = (0..GRIDS.len()).map(cell).collect();
        let (rho, low, high) = self.tuned;
        println!("| {} | {} | {} | {rho}, {low}, {high} |", name(self.solver), self.evaluations, cells.join(" | "));
    }
}

fn name(solver: Solver) -> &'static str {
    match solver {
        Solver::Euler => "Euler",
        Solver::Heun => "Heun",
        Solver::DpmSolver2M => "DPM-Solver++(2M)",
        Solver::EulerMaruyama => "Euler-Maruyama",
        Solver::Ancestral => "ancestral",
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// `mean ± s.d.`, three digits.
fn spread(values: &[f64]) -> String {
    let mean = mean(values);
    let square: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    let digits = (2 - mean.abs().log10().floor() as i32).max(0) as usize;
    let sd = (square / (values.len() as f64 - 1.0)).sqrt();
    if sd.is_nan() { format!("{mean:.digits$}") } else { format!("{mean:.digits$} ± {sd:.digits$}") }
}

fn measure(target: &Target, seeds: u64, refined: u64) -> Result<Vec<Line>> {
    let trials: Vec<Trial> = (0..seeds).into_par_iter().map(|seed| Trial::new(target, seed)).collect::<Result<_>>()?;
    let floors: Vec<f64> = trials.iter().map(Trial::floor).collect::<Result<_>>()?;
    println!("\n### {}: RMS distance to the end of the ODE; of the SDE, W2 (floor {})\n", target.name, spread(&floors));
    println!("| solver | evaluations | {} | tuned: rho, sigma_min, sigma_max |", GRIDS.join(" | "));
    println!("|---|---|{}", "---|".repeat(GRIDS.len() + 1));
    let pairs: Vec<(Solver, usize)> =
        Solver::ALL.iter().flat_map(|&solver| EVALUATIONS.map(|count| (solver, count))).collect();
    let line = |&(solver, evaluations): &(Solver, usize)| -> Result<Line> {
        let steps = if solver == Solver::Heun { evaluations.div_ceil(2) } else { evaluations };
        let tuned = trials[0].tune(solver, steps)?;
        let errors =
            trials.par_iter().map(|trial| trial.errors(solver, steps, tuned, refined)).collect::<Result<_>>()?;
        Ok(Line { solver, evaluations, tuned, errors })
    };
    let lines: Vec<Line> = pairs.par_iter().map(line).collect::<Result<_>>()?;
    lines.iter().for_each(Line::print);
    Ok(lines)
}

/// Geometric means of the ratios to Karras.
fn summarize(lines: &[Line]) {
    println!("\n### Ratio to Karras, geometric mean over the targets (worst target)\n");
    println!("| solver | evaluations | {} |\n|---|---|{}", GRIDS[1..].join(" | "), "---|".repeat(GRIDS.len() - 1));
    let row = |solver: Solver, label: &str, holds: &dyn Fn(usize) -> bool| {
        let cell = |grid: usize| {
            let chosen = lines.iter().filter(|line| line.solver == solver && holds(line.evaluations));
            let ratios: Vec<f64> = chosen.map(|line| line.ratio(grid)).collect();
            let logs: Vec<f64> = ratios.iter().map(|ratio| ratio.ln()).collect();
            let worst = ratios.iter().fold(0.0f64, |worst, &ratio| worst.max(ratio));
            let mean = mean(&logs).exp();
            if mean.is_nan() { "–".to_owned() } else { format!("{mean:.3} ({worst:.2})") }
        };
        let cells: Vec<String> = (1..GRIDS.len()).map(cell).collect();
        println!("| {} | {label} | {} |", name(solver), cells.join(" | "));
    };
    for solver in Solver::ALL {
        for evaluations in EVALUATIONS {
            row(solver, &evaluations.to_string(), &|count| count == evaluations);
        }
        row(solver, &format!("up to {FEW}"), &|count| count <= FEW);
    }
}

fn main() -> Result<()> {
    let (mut seeds, mut refined, mut targets) = (5, 1, Target::NAMES.map(str::to_owned).to_vec());
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{flag} needs a value"))?;
        match flag.as_str() {
            "--seeds" => seeds = value.parse().ok().filter(|&n| n > 0).ok_or("--seeds takes a whole number from 1")?,
            "--refined" => refined = value.parse().map_err(|_| "--refined takes a whole number")?,
            "--targets" => targets = value.split(',').map(str::to_owned).collect(),
            _ => return Err(format!("no flag {flag}; there are --seeds, --refined and --targets").into()),
        }
    }
    let mut lines = Vec::new();
    for target in targets.iter().map(|name| Target::new(name)).collect::<Result<Vec<_>>>()? {
        lines.extend(measure(&target, seeds, refined)?);
    }
    summarize(&lines);
    Ok(())
}
