use brenier_measure::expression::ExpressionConfig;
use brenier_measure::{Target, TargetConfig};
use serde_json::json;

use super::*;

fn target(json: serde_json::Value) -> Target {
    serde_json::from_value::<TargetConfig>(json).unwrap().build_exact().unwrap().unwrap()
}

fn method(particles: usize, sd: f64, target: &Target, seed: u64) -> AnnealedParticles {
    let config = AnnealedParticlesConfig {
        particles,
        start: StartConfig::Gaussian { mean: None, sd: Spread::Equal(sd) },
        ..AnnealedParticlesConfig::default()
    };
    let measure = target.unbounded().unwrap();
    AnnealedParticles::new(config, measure, target.support.clone(), seed, &Device::flex()).unwrap()
}

/// The state after so many further temperatures, or at the target.
fn go_on(method: &AnnealedParticles, state: &mut ParticleState, temperatures: u64) {
    let last = method.step(state) + temperatures;
    let observe = &mut |state: &mut ParticleState, _: &[(&'static str, f64)]| {
        Ok(if method.step(state) == last { Flow::Stop } else { Flow::Continue })
    };
    method.train(state, observe).unwrap();
}

fn end(method: &AnnealedParticles) -> ParticleState {
    let mut state = method.start().unwrap();
    go_on(method, &mut state, u64::MAX / 2);
    state
}

/// Eight modes in the plane, of weights 1 to 8 and different widths, far apart.
fn eight_modes() -> Target {
    let mode = |k: usize| {
        let (angle, sd) = (k as f64 * std::f64::consts::TAU / 8.0, 0.2 + 0.05 * k as f64);
        (vec![4.0 * angle.cos(), 4.0 * angle.sin()], vec![vec![sd * sd, 0.0], vec![0.0, sd * sd]])
    };
    let (means, covariances): (Vec<_>, Vec<_>) = (0..8).map(mode).unzip();
    let weights: Vec<f64> = (1..=8).map(|k| f64::from(k) / 36.0).collect();
    target(json!({"gaussian_mixture": {"weights": weights, "means": means, "covariances": covariances}}))
}

#[test]
fn a_gaussian_with_a_normaliser_is_found() {
    // exp(-½ xᵀPx + b·x): Z = (2π)^{3/2} det P^{-1/2} exp(½ bᵀP⁻¹b), P = [[2, .5, 0], [.5, 1, 0], [0, 0, 4]].
    let text = "-x0^2 - 0.5*x0*x1 - 0.5*x1^2 - 2*x2^2 + x0 - x1";
    let target = target(json!({"expression": {"dim": 3, "log_density": text}}));
    let exact = 1.5 * std::f64::consts::TAU.ln() - (1.75f64 * 4.0).ln() / 2.0 + (1.0 + 1.0 + 2.0) / 1.75 / 2.0;
    let method = method(1024, 3.0, &target, 1);
    let state = end(&method);
    let Estimate { value, std_error } = state.log_z();
    assert!((value - exact).abs() < 5.0 * std_error && std_error < 0.1, "{value} ± {std_error} against {exact}");
    // P⁻¹b = ((1 + .5)/1.75, (-.5 - 2)/1.75, 0).
    let n = 8000;
    let sampler = method.sampler(&state);
    let drawn = to_points(sampler.sample(3, 0..n, &|| true).unwrap());
    for (j, (mean, variance)) in
        [(1.5 / 1.75, 1.0 / 1.75), (-2.5 / 1.75, 2.0 / 1.75), (0.0, 0.25)].into_iter().enumerate()
    {
        let found = Estimate::mean(drawn.column(j).iter().copied());
        // Draws share ancestors: their errors are those of the particles, not of the draws.
        let std_error = f64::sqrt(variance / 1024.0);
        assert!((found.value - mean).abs() < 5.0 * std_error, "{j}: {found:?} against {mean}");
    }
    let part = to_points(sampler.sample(3, 200..203, &|| true).unwrap());
    assert_eq!(part, drawn.slice(ndarray::s![200..203, ..]));
    assert!(sampler.annealing().unwrap().ancestors > 300 && contradiction(state.log_z(), state.at_modes).is_none());
}

#[test]
fn the_standard_error_of_log_z_is_honest() {
    let target = eight_modes();
    let z: Vec<f64> = (0..20)
        .map(|seed| {
            let log_z = end(&method(512, 4.0, &target, seed)).log_z();
            assert!(log_z.std_error < 0.3, "{log_z:?}");
            log_z.value / log_z.std_error
        })
        .collect();
    let mean = z.iter().sum::<f64>() / 20.0;
    let sd = (z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / 19.0).sqrt();
    assert!(mean.abs() < 0.5 && (0.6..1.6).contains(&sd), "z-scores {mean} ± {sd}: {z:?}");
}

#[test]
fn all_modes_are_found_with_their_weights() {
    let target = eight_modes();
    let method = method(2048, 4.0, &target, 3);
    let state = end(&method);
    let drawn = to_points(method.sampler(&state).sample(1, 0..4000, &|| true).unwrap());
    let mut counts = [0.0; 8];
    for x in drawn.rows() {
        let k = (x[1].atan2(x[0]) / std::f64::consts::TAU * 8.0).round().rem_euclid(8.0);
        counts[k as usize] += 1.0 / 4000.0;
    }
    for (k, count) in counts.iter().enumerate() {
        let exact = (k + 1) as f64 / 36.0;
        // Weights drift with resampling: by several times the error of 2048 independent points.
        assert!((count - exact).abs() < 0.05, "mode {k}: {count} against {exact}");
    }
}

#[test]
fn an_annealing_that_is_resumed_anywhere_ends_with_the_same_bits() {
    let target = target(json!({"expression": {"dim": 2, "log_density": "-(x0^2 - 1)^2*3 - log(x1) - (log(x1) - x0)^2",
        "support": {"x1": "positive"}}}));
    let method = method(128, 2.0, &target, 5);
    let whole = method.files(&end(&method));
    let temperatures = end(&method).temperatures.len() as u64;
    assert!(temperatures > 4, "{temperatures}");
    for stop in 1..temperatures - 1 {
        let mut state = method.start().unwrap();
        go_on(&method, &mut state, stop);
        let mut resumed = method.resume(&method.files(&state)).unwrap();
        assert!(resumed == state, "what is read is not what was written, at {stop}");
        go_on(&method, &mut resumed, u64::MAX / 2);
        assert!(method.files(&resumed) == whole, "at {stop}");
    }
    let state = ParticleState::from_files(&whole).unwrap();
    let drawn = to_points(method.sampler(&state).sample(0, 0..100, &|| true).unwrap());
    assert!(drawn.column(1).iter().all(|&x| x > 0.0), "samples are in the user's coordinates");
}

#[test]
fn a_density_that_is_zero_nearly_everywhere_keeps_its_mass() {
    // Uniform on a square that one start in a hundred hits: its log-density is -∞ elsewhere.
    let target = target(json!({"uniform_box": {"low": [0.0, 0.0], "high": [0.5, 0.5]}}));
    let log_z: Vec<f64> = (0..10).map(|seed| end(&method(1024, 2.0, &target, seed)).log_z().value).collect();
    let Estimate { value, std_error } = Estimate::mean(log_z);
    assert!(value.abs() < 5.0 * std_error && std_error < 0.15, "{value} ± {std_error}");
}

#[test]
fn a_spike_that_tempering_loses_is_told_of() {
    let target = target(json!({"spike_in_slab": {"dim": 10}}));
    let state = end(&method(1024, 3.0, &target, 2));
    let log_z = state.log_z();
    assert!(log_z.value < -1.5, "the known failure: {log_z:?}");
    let what = contradiction(log_z, state.at_modes).expect("a contradiction");
    assert!(
        what.starts_with("mass is missing: a mode found by an optimiser holds") || what.contains("mass is missing"),
        "{what}"
    );
    assert!(state.at_modes.unwrap().0.value.abs() < 0.2, "{:?}", state.at_modes);
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    let refused = |text: &str, dim: usize, start: StartConfig| {
        let config = AnnealedParticlesConfig { particles: 64, start, ..AnnealedParticlesConfig::default() };
        let measure = Arc::new(ExpressionConfig::new(dim, text).build().unwrap());
        match AnnealedParticles::new(config, measure, None, 0, &Device::flex()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("{text} is taken"),
        }
    };
    let gaussian = |sd| StartConfig::Gaussian { mean: None, sd: Spread::Equal(sd) };
    for (text, dim, start, message) in [
        ("-x0^2 + log(x1) - x1^2", 2, gaussian(1.0), "the log-density of the target is NaN at the point ("),
        (
            "-sqrt(1 + x0^2) - log(1 + x1^2)/4",
            2,
            gaussian(1.0),
            "the target is improper: its mass in a box grows with the box along",
        ),
        ("x0^2 - x1^2", 2, gaussian(1.0), "along the direction (1.00, 0.00)"),
        // Ridges that no axis follows.
        ("-(x0 - x1)^2", 2, gaussian(2.0), "along the direction (1.00, 1.00)"),
        ("-(x0 - 3*x1)^2 - x2^2", 3, gaussian(2.0), "along the direction ("),
        ("-x0^2", 1, gaussian(0.0), "`start.gaussian.sd` is 0.0; give a positive number"),
        ("-x0^2", 1, gaussian(1e200), "`start.gaussian.sd` is 1e200; give a positive number, between"),
        ("-x0^2", 1, StartConfig::Laplace { widen: 1e200 }, "`start.laplace.widen` is 1e200; give a positive number"),
        (
            "-x0^2",
            1,
            StartConfig::Gaussian { mean: Some(vec![0.0; 2]), sd: Spread::Equal(1.0) },
            "has 2 numbers, and the target has 1",
        ),
        ("-abs(x0)", 1, StartConfig::default(), "`start.laplace` found no mode"),
    ] {
        let error = refused(text, dim, start);
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn densities_with_heavy_tails_and_poles_are_no_less_proper() {
    let gaussian = |sd| StartConfig::Gaussian { mean: None, sd: Spread::Equal(sd) };
    let taken = |measure: Arc<dyn Measure>, sd, seed| {
        let config = AnnealedParticlesConfig { particles: 64, start: gaussian(sd), ..Default::default() };
        AnnealedParticles::new(config, measure, None, seed, &Device::flex()).map(|_| ())
    };
    let typed = |dim, text: &str| Arc::new(ExpressionConfig::new(dim, text).build().unwrap());
    // Student's t in three coordinates, Cauchy's law, and τ with groups about a mean: x0 = log τ, x1 the mean, x2 to x9 the groups, whose
    // density has a pole where all groups are at the mean.
    taken(typed(3, "-sum(i, 0, 2, log(1 + x[i]^2))"), 1.0, 0).unwrap();
    taken(typed(3, "-sum(i, 0, 2, 1.5*log(1 + x[i]^2/2))"), 1.0, 0).unwrap();
    let groups = "-log(1 + exp(2*x0)) + x0 - x1^2/50 - sum(i, 2, 9, (x[i] - x1)^2/2*exp(-2*x0) + x0) - sum(i, 2, 9, (x[i] - i)^2/200)";
    taken(typed(10, groups), 1.0, 0).unwrap();
    let funnel = target(json!({"funnel": {"dim": 10, "sigma": 3.0}})).density.unwrap();
    (0..150).for_each(|seed| taken(funnel.clone(), 3.0, seed).unwrap());
    // An inverse gamma and a wide log-normal law, whose far ends no number holds.
    for density in ["-3*log(x0) - 1/x0", "-log(x0) - log(x0)^2/2000"] {
        let positive = json!({"expression": {"dim": 1, "log_density": density, "support": {"x0": "positive"}}});
        let density = target(positive).unbounded().unwrap();
        [1.0, 30.0].into_iter().for_each(|sd| taken(density.clone(), sd, 0).unwrap());
    }
    let heavy = target(json!({"student_t_mixture": {"degrees_of_freedom": 0.1, "locations": [[0.0, 5.0, 1.0]]}}));
    taken(heavy.density.unwrap(), 2.0, 0).unwrap();
}

#[test]
fn coordinates_of_any_scale_are_followed() {
    let scales = [1e-9, 1e9];
    let target = target(json!({"expression": {"dim": 2,
        "log_density": "normal_logpdf(x0, 0, 1e-9) + normal_logpdf(x1, x0*1e18, 1e9)"}}));
    let start = StartConfig::Gaussian { mean: None, sd: Spread::Each(scales.map(|s| 3.0 * s).to_vec()) };
    let config = AnnealedParticlesConfig { particles: 1024, start, ..AnnealedParticlesConfig::default() };
    let method = AnnealedParticles::new(config, target.unbounded().unwrap(), None, 0, &Device::flex()).unwrap();
    let Estimate { value, std_error } = end(&method).log_z();
    assert!(value.abs() < 5.0 * std_error && std_error < 0.1, "{value} ± {std_error}");
}

#[test]
fn what_makes_an_answer_doubtful_is_said() {
    let target =
        target(json!({"expression": {"dim": 1, "log_density": "-0.999*log(x0) - x0", "support": {"x0": "positive"}}}));
    let method = method(256, 2.0, &target, 0);
    let mut state = method.start().unwrap();
    assert!(method.doubts(&state).is_empty(), "{:?}", method.doubts(&state));
    state.particles.fill(-800.0);
    state.ancestors.fill(3);
    state.acceptance = 0.001;
    let doubts = method.doubts(&state).join("\n");
    for said in [
        "descend from 1 of 256 starts",
        "0.10 % of the last moves",
        "100.0 % of the particles lie nearer to the bound of x0",
    ] {
        assert!(doubts.contains(said), "{doubts}");
    }
    assert!(state.log_z().std_error.is_nan(), "one lineage knows of no error");
    state.particles = Points::from_shape_fn((256, 1), |(i, _)| 1e6 * i as f64);
    assert!(method.doubts(&state).join("\n").contains("times as wide as the start"));
}

#[test]
fn a_start_by_laplace_is_the_posterior_of_a_gaussian() {
    let measure = ExpressionConfig::new(2, "-(x0 - 3)^2 - 0.5*(x1 + x0)^2").build().unwrap();
    let found = start(&StartConfig::Laplace { widen: 2.0 }, &measure).unwrap();
    let (mean, covariance) = (found.mean(), found.covariance());
    // Precision [[3, 1], [1, 1]]: covariance [[.5, -.5], [-.5, 1.5]], times four.
    assert!((mean[0] - 3.0).abs() < 1e-6 && (mean[1] + 3.0).abs() < 1e-6, "{mean:?}");
    assert!((covariance[[0, 0]] - 2.0).abs() < 1e-6 && (covariance[[1, 1]] - 6.0).abs() < 1e-6, "{covariance}");
}
