//! Sampling nodes asked for closed forms on a Gaussian, for derivatives, and for less error than the usual grids.

use brenier_measure::{Points, Purpose, Stream, TargetConfig};
use brenier_model::GridConfig;

use super::kernel_density::KernelDensity;
use super::optimized_levels::{OptimizationSettings, optimized_levels};
use super::sampling_curve::{CurveSettings, SamplingCurve, Solver, Stages, Trajectory, trajectory};
use super::solver_path::SolverSteps;

const ODE: [Solver; 3] = [Solver::Euler, Solver::Heun, Solver::DpmSolver2M];

/// `N(0, v I)`: one kernel.
fn gaussian(v: f64, d: usize) -> KernelDensity {
    KernelDensity { points: Points::zeros((1, d)), variances: vec![v], origin: vec![0.0; d] }
}

fn curve_of(density: &KernelDensity) -> SamplingCurve {
    SamplingCurve::of_density(density, &CurveSettings::default(), &mut |_| true).unwrap()
}

fn draws(target: &str, count: u64) -> Points {
    let config: TargetConfig = serde_json::from_str(target).unwrap();
    let target = config.build_exact().unwrap().unwrap();
    target.sampler.as_ref().unwrap().sample(&Stream::new(5, Purpose::Evaluation), 0, 0..count)
}

fn close(a: f64, b: f64, tolerance: f64, what: &str) {
    assert!((a - b).abs() <= tolerance * b.abs(), "{what}: {a} against {b}");
}

/// Solutions of the ODE from other starts than the curve has seen.
fn solutions(density: &KernelDensity, sigma: &[f64], count: u64) -> Vec<Trajectory> {
    let stages = Stages::new(density, sigma);
    let normals = Stream::new(77, Purpose::SamplingGrid);
    (0..count).map(|i| trajectory(&stages, &mut normals.at(9, i))).collect()
}

#[test]
fn the_curve_of_a_gaussian_has_closed_forms() {
    for (v, d) in [(1.0, 1), (0.04, 3)] {
        let curve = curve_of(&gaussian(v, d));
        let d = d as f64;
        for (i, sigma) in curve.sigma.iter().enumerate() {
            let (square, c) = (sigma * sigma, v / (v + sigma * sigma));
            let what = format!("v = {v}, σ = {sigma}");
            close(curve.posterior_variance[i], d * c, 1e-12, &what);
            close(curve.euler.density[i], (d * square * c.powi(3) * (1.0 - c)).powf(0.25), 1e-9, &what);
            close(curve.dpm_solver_2m.density[i], (d * square * c.powi(3) * (1.0 - c)).powf(1.0 / 6.0), 1e-9, &what);
            close(curve.euler_maruyama.density[i], (d * square * (c * (1.0 - c)).powi(3)).powf(0.25), 1e-9, &what);
            close(curve.ancestral.density[i], (d * square * c.powi(5) * (1.0 - c)).powf(0.25), 1e-9, &what);
            close(curve.euler.start[i], (d * v).sqrt() * (1.0 - (1.0 - c).sqrt()), 1e-6, &what);
            close(curve.ancestral.start[i], (d * v).sqrt() * (1.0 - (1.0 - c * c).sqrt()), 1e-4, &what);
        }
    }
}

/// W₂ to `N(0, v)` of what a reverse SDE makes of `N(0, σ_max²)`: exact, for all steps are linear.
fn stochastic_error(v: f64, solver: Solver, levels: &[f64]) -> f64 {
    let mut variance = levels[0] * levels[0];
    for pair in levels.windows(2) {
        let rho = (pair[1] / pair[0]).powi(2);
        let kept = 1.0 - (1.0 - rho) * (1.0 - v / (v + pair[0] * pair[0]));
        let share = if solver == Solver::Ancestral { rho } else { 1.0 };
        let noise = if pair[1] > 0.0 { pair[0] * pair[0] * (1.0 - rho) * share } else { 0.0 };
        variance = kept * kept * variance + noise;
    }
    (variance.sqrt() - v.sqrt()).abs()
}

#[test]
fn nodes_of_the_reverse_sde_are_nearly_the_best_there_are_for_a_gaussian() {
    // The least errors of ancestral steps, by minimising over all levels: .2249, .1389, .0801. Those of Euler-Maruyama's are 0.
    let curve = curve_of(&gaussian(1.0, 1));
    for (steps, least) in [(5, 0.2249), (10, 0.1389), (20, 0.0801)] {
        let karras = GridConfig::default().levels(0.002, 80.0, steps).unwrap();
        for solver in [Solver::Ancestral, Solver::EulerMaruyama] {
            let error = stochastic_error(1.0, solver, &curve.levels(solver, steps).unwrap());
            let usual = stochastic_error(1.0, solver, &karras);
            assert!(error < 0.5 * usual, "{solver:?}, {steps} steps: {error} against {usual}");
            if solver == Solver::Ancestral {
                assert!(error < 1.1 * least && error > 0.999 * least, "{steps} steps: {error} against {least}");
            }
        }
    }
}

#[test]
fn derivatives_in_the_levels_are_those_of_differences() {
    let points = Points::from_shape_vec((4, 2), vec![1.0, 0.3, -1.0, 0.7, 0.2, -1.1, -0.4, 0.1]).unwrap();
    let density = KernelDensity { points, variances: vec![0.05, 0.1, 0.2, 0.02], origin: vec![0.1, -0.2] };
    let (levels, normals, p) = ([5.0, 1.7, 0.6, 0.25, 0.0], [0.8, -1.3], [0.6, -0.9]);
    for solver in ODE {
        let end = |levels: &[f64]| -> f64 {
            let steps = SolverSteps::new(&density, solver, levels);
            steps.follow(&normals).end.iter().zip(&p).map(|(x, p)| x * p).sum()
        };
        let mut gradient = vec![0.0; 4];
        SolverSteps::new(&density, solver, &levels).follow(&normals).pull_back(&p, &mut gradient);
        for i in 0..4 {
            let moved = |by: f64| {
                let mut levels = levels;
                // λ = -log σ.
                levels[i] *= (-by).exp();
                end(&levels)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!(
                (gradient[i] - difference).abs() < 1e-8,
                "{solver:?}, level {i}: {} against {difference}",
                gradient[i]
            );
        }
    }
}

#[test]
fn the_nodes_err_at_most_half_as_much_as_the_usual_ones_on_a_ring() {
    let points = draws(r#"{"ring": {}}"#, 1000);
    let settings = CurveSettings::default();
    let curve = SamplingCurve::of_points(&points, &settings, &mut |_| true).unwrap();
    let density = KernelDensity::of_points(&points, settings.points, settings.seed).unwrap();
    let truth = solutions(&density, &curve.sigma, 128);
    for solver in ODE {
        let error = |levels: &[f64]| SolverSteps::new(&density, solver, levels).mean_square_error(&truth).sqrt();
        let steps = if solver == Solver::Heun { 5 } else { 10 };
        let usual = error(&GridConfig::default().levels(0.002, 80.0, steps).unwrap());
        let localized = error(&curve.levels(solver, steps).unwrap());
        let optimization = OptimizationSettings { iterations: 40, starts: 128, held_out: 64, ..Default::default() };
        let refined = optimized_levels(&points, &curve, solver, steps, &optimization, &mut |_| true).unwrap();
        let refined = error(&refined);
        assert!(localized < 0.5 * usual, "{solver:?}: {localized} against {usual}");
        assert!(refined < localized, "{solver:?}: {refined} against {localized}");
    }
}

#[test]
fn levels_fall_strictly_whatever_the_data_are() {
    let of = |rows: &[[f64; 2]]| Points::from(rows.to_vec());
    for points in [
        of(&[[0.0, 0.0], [1.0, 0.0]]),
        of(&[[1e6, 1.0], [1e6, 1.0], [1e6, 2.0], [1e6, 1.0]]),
        of(&[[1e-9, 0.0], [-1e-9, 0.0], [0.0, 1e-9]]),
        of(&[[1e9, -1e9], [0.0, 1e9], [3.0, 4.0]]),
    ] {
        let settings = CurveSettings { draws: 16, levels: 31, ..Default::default() };
        let curve = SamplingCurve::of_points(&points, &settings, &mut |_| true).unwrap();
        for solver in Solver::ALL {
            for steps in [1, 2, 3, 10, 200] {
                let levels = curve.levels(solver, steps).unwrap();
                assert_eq!(levels.len(), steps + 1);
                assert!(levels.iter().all(|level| level.is_finite()) && levels[steps] == 0.0, "{levels:?}");
                assert!(levels.windows(2).all(|pair| pair[0] > pair[1]), "{solver:?}, {points:?}: {levels:?}");
            }
        }
    }
}

#[test]
fn data_without_spread_and_no_steps_are_refused() {
    let of = |points: &Points| SamplingCurve::of_points(points, &CurveSettings::default(), &mut |_| true);
    let same = of(&Points::from_elem((5, 2), 3.0)).unwrap_err().to_string();
    assert!(same.contains('5'), "{same}");
    assert!(of(&Points::zeros((1, 2))).is_err());
    for scale in [1e-200, 1e200] {
        let error = of(&Points::from(vec![[scale, 0.0], [0.0, scale], [scale, scale]])).unwrap_err().to_string();
        assert!(error.contains("rescale"), "{error}");
    }
    assert!(of(&Points::from(vec![[1e-90, 0.0], [0.0, 1e-90], [1e-90, 1e-90]])).is_ok());
    assert!(of(&Points::from(vec![[0.0, f64::NAN], [1.0, 2.0]])).is_err());
    assert!(curve_of(&gaussian(1.0, 1)).levels(Solver::Heun, 0).is_err());
}
