use brenier_measure::expression::ExpressionConfig;
use brenier_measure::{Gaussian, Target, TargetConfig};
use brenier_model::monge_ampere::entries;
use ndarray::{Array1, array};
use serde_json::json;

use super::*;
use crate::monge_ampere::StepSize;

fn method(config: MongeAmpereScoreConfig, target: Arc<dyn Measure>, seed: u64) -> MongeAmpereScore {
    MongeAmpereScore::new(config, target, None, seed, &Device::flex()).unwrap()
}

fn density(json: serde_json::Value) -> Arc<dyn Measure> {
    let target: Target = serde_json::from_value::<TargetConfig>(json).unwrap().build_exact().unwrap().unwrap();
    target.unbounded().unwrap()
}

/// The state after so many further stages, or at the end.
fn go_on(method: &MongeAmpereScore, state: &mut ScoreState, stages: u64) {
    let last = method.step(state) + stages;
    let observe = &mut |state: &mut ScoreState, _: &[(&'static str, f64)]| {
        Ok(if method.step(state) == last { Flow::Stop } else { Flow::Continue })
    };
    method.train(state, observe).unwrap();
}

fn end(method: &MongeAmpereScore) -> ScoreState {
    let mut state = method.start().unwrap();
    go_on(method, &mut state, u64::MAX / 2);
    state
}

/// log Z by importance sampling with n draws of the run, and the effective share.
fn log_z(method: &MongeAmpereScore, state: &ScoreState, n: u64) -> (Estimate, f64) {
    let y = state.mixture().even_draws(&Stream::new(9, Purpose::Reference), 0, n as usize);
    let setting = method.setting(state);
    let theta = if state.verdict().unwrap().is_kept {
        state.iterates.of(method.config.iterate).to_vec()
    } else {
        RidgedQuadratic::identity(&state.ridges)
    };
    let psi = potential(&state.ridges, &theta).unwrap();
    let weights = method.log_weights(&setting, &psi, &y);
    (ImportanceWeights::new(weights.clone()).unwrap().log_mean(), effective_share(&weights))
}

fn plain(family: Family) -> MongeAmpereScoreConfig {
    MongeAmpereScoreConfig {
        reference: DensityReferenceConfig::StandardNormal,
        family,
        annealing: TemperaturesConfig::None,
        ..MongeAmpereScoreConfig::default()
    }
}

#[test]
fn between_gaussians_every_stage_is_the_oracle() {
    // A⁺ = A + η(I - A S⁻¹ A), b⁺ = b - η A S⁻¹(b - m).
    let (mean, covariance) = (array![0.6, -0.3], array![[1.3, 0.4], [0.4, 0.7]]);
    let rows = covariance.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>();
    let target = Arc::new(Gaussian::new(mean.to_vec(), rows).unwrap());
    let inverse = array![[0.7, -0.4], [-0.4, 1.3]] / (1.3 * 0.7 - 0.16);
    let eta = 0.15;
    for update in [Update::Mirror, Update::ReverseKl] {
        let config = MongeAmpereScoreConfig {
            step_size: StepSize::Constant { value: eta },
            clip: 1e6,
            penalty: 0.0,
            update,
            stages: 40,
            patience: None,
            ..plain(Family::Quadratic)
        };
        let method = method(config, target.clone(), 0);
        let mut state = method.start().unwrap();
        let (mut a, mut b) = (Array2::<f64>::eye(2), Array1::<f64>::zeros(2));
        for stage in 0..40 {
            let lifted = inverse.dot(&a);
            let pull = inverse.dot(&(&b - &mean));
            match update {
                Update::Mirror => {
                    let next = &a + &((Array2::<f64>::eye(2) - a.dot(&lifted)) * eta);
                    b = &b - &(a.dot(&pull) * eta);
                    a = next;
                }
                // -η∇h moves by η(A⁻¹ - S⁻¹A), of which a gradient takes the symmetric part.
                Update::ReverseKl => {
                    let determinant = a[[0, 0]] * a[[1, 1]] - a[[0, 1]] * a[[1, 0]];
                    let own = array![[a[[1, 1]], -a[[0, 1]]], [-a[[1, 0]], a[[0, 0]]]] / determinant;
                    let step = own - lifted;
                    a = &a + &((&step + &step.t()) * (eta / 2.0));
                    b = &b - &(pull * eta);
                }
            }
            go_on(&method, &mut state, 1);
            let theta = &state.iterates.last;
            // The draws of the symmetric part are those of a sample, but for the mirror step, which is symmetric itself.
            let tolerance = if update == Update::Mirror { 1e-8 } else { 0.02 };
            for (k, (i, j)) in entries(2).enumerate() {
                assert!((theta[2 + k] - a[[i, j]]).abs() < tolerance, "{update:?} {stage}: {theta:?} against {a}");
            }
            assert!(
                (theta[0] - b[0]).abs() < tolerance && (theta[1] - b[1]).abs() < tolerance,
                "{stage}: {theta:?}, {b}"
            );
        }
        assert!(
            (a.dot(&a) - &covariance).iter().all(|x| x.abs() < 0.02) && (&b - &mean).iter().all(|x| x.abs() < 0.02)
        );
    }
}

fn composed(field: FieldConfig, every: usize) -> Form {
    Form::Composed(ComposedConfig { field, every, tolerance: 0.2 })
}

#[test]
fn composed_stages_between_gaussians_are_the_oracle() {
    let (mean, covariance) = (array![0.6, -0.3], array![[1.3, 0.4], [0.4, 0.7]]);
    let rows = covariance.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>();
    let target = Arc::new(Gaussian::new(mean.to_vec(), rows).unwrap());
    let inverse = array![[0.7, -0.4], [-0.4, 1.3]] / (1.3 * 0.7 - 0.16);
    let eta = 0.15;
    for every in 1..=4 {
        let config = MongeAmpereScoreConfig {
            step_size: StepSize::Constant { value: eta },
            clip: 1e6,
            penalty: 0.0,
            form: composed(FieldConfig::Quadratic, every),
            stages: 40,
            batch: 256,
            patience: None,
            ..plain(Family::Quadratic)
        };
        let method = method(config, target.clone(), 0);
        let mut state = method.start().unwrap();
        let (mut a, mut b) = (Array2::<f64>::eye(2), Array1::<f64>::zeros(2));
        for stage in 0..40 {
            let next = &a + &((Array2::<f64>::eye(2) - a.dot(&inverse.dot(&a))) * eta);
            b = &b - &(a.dot(&inverse.dot(&(&b - &mean))) * eta);
            a = next;
            go_on(&method, &mut state, 1);
            let theta = &state.iterates.last;
            for (k, (i, j)) in entries(2).enumerate() {
                assert!((theta[2 + k] - a[[i, j]]).abs() < 1e-8, "{every} {stage}: {theta:?} against {a}");
            }
            assert!((0..2).all(|i| (theta[i] - b[i]).abs() < 1e-8), "{every} {stage}: {theta:?} against {b}");
        }
        assert!((a.dot(&a) - &covariance).iter().all(|x| x.abs() < 0.02));
    }
}

#[test]
fn composed_stages_are_resumed_anywhere_with_the_same_bits() {
    let target = Arc::new(ExpressionConfig::new(2, "-(x0^2 - 1)^2/2 - (x1 - x0^2/2)^2").build().unwrap());
    let perceptron = PerceptronConfig { width: 8, steps: 5, batch: 32, ..Default::default() };
    let sliced = ScoreConfig::Sliced { probes: 2, features: config::few_knots() };
    for (field, score) in
        [(FieldConfig::default(), ScoreConfig::default()), (FieldConfig::Perceptron(perceptron), sliced)]
    {
        let form = Form::Composed(ComposedConfig { field, every: 3, tolerance: 1e9 });
        let config =
            MongeAmpereScoreConfig { form, score, stages: 8, batch: 128, held_out: 128, ..plain(Family::default()) };
        let method = method(config, target.clone(), 3);
        let whole = method.files(&end(&method));
        for stop in [1, 3, 5] {
            let mut state = method.start().unwrap();
            go_on(&method, &mut state, stop);
            let mut resumed = method.resume(&method.files(&state)).unwrap();
            go_on(&method, &mut resumed, u64::MAX / 2);
            assert!(method.files(&resumed) == whole, "at {stop}");
        }
        assert!(ScoreState::from_files(&whole).unwrap().verdict().is_some());
    }
}

#[test]
fn composed_stages_reach_what_fitted_ones_do() {
    // z = (x0, x1 - x0²/2) is normal with deviations 1 and .7: Z = 2π · .7.
    let target = Arc::new(ExpressionConfig::new(2, "-x0^2/2 - (x1 - x0^2/2)^2/0.98").build().unwrap());
    let exact = (std::f64::consts::TAU * 0.7).ln();
    let perceptron = PerceptronConfig { learning_rate: 3e-3, ..Default::default() };
    let sliced = ScoreConfig::Sliced { probes: 2, features: config::few_knots() };
    let denoising = ScoreConfig::Denoising { sigmas: vec![0.2, 0.4], features: config::few_knots() };
    for (field, score) in [
        (FieldConfig::default(), ScoreConfig::default()),
        (FieldConfig::default(), denoising),
        (FieldConfig::Perceptron(perceptron), ScoreConfig::default()),
        (FieldConfig::Perceptron(perceptron), sliced),
    ] {
        let form = composed(field, 2);
        let config =
            MongeAmpereScoreConfig { form, score: score.clone(), stages: 25, batch: 1024, ..Default::default() };
        let method = method(config, target.clone(), 1);
        let state = end(&method);
        let (found, share) = log_z(&method, &state, 20_000);
        assert!((found.value - exact).abs() < 5.0 * found.std_error && found.std_error < 0.02, "{found:?}");
        assert!(state.verdict().unwrap().is_kept && share > 0.5, "{field:?} {score:?}: {share}");
    }
}

#[test]
fn a_stack_that_its_family_cannot_follow_ends_the_flow() {
    let target = Arc::new(ExpressionConfig::new(2, "-x0^2/2 - (x1 - x0^2/2)^2/0.98").build().unwrap());
    let form = Form::Composed(ComposedConfig { tolerance: 1e-3, ..Default::default() });
    let method = method(MongeAmpereScoreConfig { form, batch: 256, ..plain(Family::Quadratic) }, target, 1);
    let state = end(&method);
    assert!(state.step < 10 && state.verdict().is_some(), "{}", state.step);
}

#[test]
fn a_flow_that_is_resumed_anywhere_ends_with_the_same_bits() {
    let target = Arc::new(ExpressionConfig::new(2, "-(x0^2 - 1)^2/2 - (x1 - x0^2/2)^2").build().unwrap());
    let mut config = MongeAmpereScoreConfig { stages: 8, batch: 256, held_out: 256, ..Default::default() };
    let DensityReferenceConfig::Particles(particles) = &mut config.reference else { panic!() };
    particles.annealing.particles = 128;
    let method = method(config, target, 3);
    let whole = method.files(&end(&method));
    for stop in 1..7 {
        let mut state = method.start().unwrap();
        go_on(&method, &mut state, stop);
        let mut resumed = method.resume(&method.files(&state)).unwrap();
        go_on(&method, &mut resumed, u64::MAX / 2);
        assert!(method.files(&resumed) == whole, "at {stop}");
    }
    let state = ScoreState::from_files(&whole).unwrap();
    assert!(state.verdict().is_some() && state.temperature() == 1.0);
}

#[test]
fn a_bent_density_gets_its_normaliser_and_a_map_that_is_kept() {
    // z = (x0, x1 - x0²/2) is normal with deviations 1 and .7: Z = 2π · .7.
    let target = Arc::new(ExpressionConfig::new(2, "-x0^2/2 - (x1 - x0^2/2)^2/0.98").build().unwrap());
    let exact = (std::f64::consts::TAU * 0.7).ln();
    for update in [Update::Mirror, Update::ReverseKl] {
        let method = method(MongeAmpereScoreConfig { update, ..Default::default() }, target.clone(), 1);
        let state = end(&method);
        let verdict = state.verdict().unwrap();
        assert!(verdict.is_kept && verdict.elbo_gain > Some(0.05) && verdict.eubo_gain > Some(0.05), "{verdict:?}");
        let (found, share) = log_z(&method, &state, 20_000);
        assert!((found.value - exact).abs() < 5.0 * found.std_error && found.std_error < 0.02, "{found:?}");
        assert!(share > 0.5, "{update:?}: {share}");
    }
}

#[test]
fn modes_that_are_lost_are_told_of_and_modes_that_are_kept_are_not() {
    let modes = json!({"gaussian_mixture": {"weights": [0.3, 0.7], "means": [[-5.0, 0.0], [5.0, 1.0]],
        "covariances": [[[0.5, 0.0], [0.0, 0.5]], [[0.5, 0.0], [0.0, 1.0]]]}});
    let target = density(modes);
    let lost = end(&method(plain(Family::Quadratic), target.clone(), 0));
    let Verdict { at_modes, .. } = *lost.verdict().unwrap();
    let (found, count) = at_modes.unwrap();
    assert!(count == 2 && found.value.abs() < 0.1, "{found:?}");
    let own = Estimate { value: 0.7f64.ln(), std_error: 0.01 };
    let what = contradiction(own, found, "an optimiser found modes with").unwrap();
    assert!(what.starts_with("mass is missing, modes may be lost: the map has log Z = -0.357"), "{what}");
    let mut config = MongeAmpereScoreConfig { stages: 20, ..Default::default() };
    let DensityReferenceConfig::Particles(particles) = &mut config.reference else { panic!() };
    particles.annealing.start = crate::annealed_particles::StartConfig::Gaussian {
        mean: None,
        sd: crate::annealed_particles::Spread::Equal(5.0),
    };
    particles.mixture = Some(Box::new(serde_json::from_value(json!({"components": 2})).unwrap()));
    let method = method(config, target, 0);
    let state = end(&method);
    let (found, share) = log_z(&method, &state, 10_000);
    assert!(found.value.abs() < 5.0 * found.std_error && found.std_error < 0.02 && share > 0.8, "{found:?} {share}");
}

#[test]
fn a_map_that_is_no_better_than_its_reference_is_not_kept() {
    let method =
        method(MongeAmpereScoreConfig { stages: 5, ..plain(Family::default()) }, Arc::new(Gaussian::standard(3)), 0);
    let state = end(&method);
    assert!(!state.verdict().unwrap().is_kept, "{:?}", state.verdict());
    // A checkpoint from before the end has no verdict, and gets one when it is opened.
    let mut early = method.start().unwrap();
    go_on(&method, &mut early, 2);
    assert!(early.verdict().is_none() && !method.judged(early).verdict().unwrap().is_kept);
    let y = Points::ones((1, 3));
    let sampler = method.map_sampler(&state);
    assert_eq!(sampler.map().unwrap().transport(&y).unwrap().0, y);
}

#[test]
fn a_gain_knows_what_is_infinite_and_what_was_not_found() {
    let nowhere = f64::NEG_INFINITY;
    assert!(gain(&[0.0, nowhere], &[0.0, nowhere]).value.is_nan());
    assert_eq!(gain(&[0.0, nowhere], &[0.0, -1.0]).value, nowhere);
    assert_eq!(gain(&[0.0, 0.0], &[0.0, nowhere]).value, f64::INFINITY);
    let mut found = vec![1.0; 100];
    found[..5].fill(f64::NAN);
    assert_eq!(gain(&found, &[0.0; 100]).value, 1.0);
    found[5] = f64::NAN;
    assert!(gain(&found, &[0.0; 100]).value.is_nan());
}

#[test]
fn choices_that_do_not_go_together_are_refused() {
    let refused =
        |config| match MongeAmpereScore::new(config, Arc::new(Gaussian::standard(2)), None, 0, &Device::flex()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("taken"),
        };
    let down = TemperaturesConfig::Fixed { temperatures: vec![0.5, 0.2] };
    let error = refused(MongeAmpereScoreConfig { annealing: down, ..plain(Family::default()) });
    assert!(error.contains("`annealing.fixed.temperatures` go down"), "{error}");
    let features = RidgesConfig { directions: Some(2000), knots: 100, ..config::few_knots() };
    let error = refused(MongeAmpereScoreConfig {
        score: ScoreConfig::Sliced { probes: 1, features },
        ..plain(Family::Quadratic)
    });
    assert!(error.contains("`score.*.features` has up to"), "{error}");
    for (form, what) in [
        (composed(FieldConfig::Quadratic, 5), "`form.composed.every` is 5"),
        (composed(FieldConfig::Quadratic, 2), "stages that are composed are mirror steps"),
    ] {
        let update = Update::ReverseKl;
        let error = refused(MongeAmpereScoreConfig { form, update, ..plain(Family::default()) });
        assert!(error.contains(what), "{error}");
    }
    let error =
        refused(MongeAmpereScoreConfig { annealing: TemperaturesConfig::Particles, ..plain(Family::default()) });
    assert!(error.contains("the reference has none"), "{error}");
}

#[test]
fn with_an_estimated_score_the_flow_ends_where_the_exact_one_does() {
    let rows = vec![vec![1.3, 0.4], vec![0.4, 0.7]];
    let target = Arc::new(Gaussian::new(vec![0.6, -0.3], rows).unwrap());
    let features =
        RidgesConfig { directions: Some(1), knots: 1, floor: 0.1, least_width: 10.0, ..RidgesConfig::default() };
    for score in
        [ScoreConfig::Sliced { probes: 4, features }, ScoreConfig::Denoising { sigmas: vec![0.2, 0.4], features }]
    {
        let step_size = StepSize::Geometric { first: 0.3, last: 0.03 };
        let config =
            MongeAmpereScoreConfig { score, step_size, stages: 80, patience: None, ..plain(Family::Quadratic) };
        let method = method(config, target.clone(), 0);
        let state = end(&method);
        let (found, share) = log_z(&method, &state, 10_000);
        assert!(share > 0.999 && found.value.abs() < 5.0 * found.std_error + 1e-3, "{share} {found:?}");
    }
}
