use brenier_measure::data::Standardization;
use brenier_measure::targets;
use ndarray::{Array1, Array2};
use serde_json::{Value, json};

use super::*;
use crate::monge_ampere::inequality::Step;
use crate::source::InstanceNoise;

/// An independent implementation's A_k, b_k, divergences and both sides of the inequality.
fn oracle() -> Value {
    serde_json::from_str(include_str!("../../../tests/monge_ampere.json")).unwrap()
}

fn config(changes: Value) -> MongeAmpereLogisticConfig {
    let mut config = json!({
        "coordinates": "primal", "discriminator": "quadratic", "expectations": {"nodes": 200}, "penalty": 0, "step": "logistic",
        "step_size": {"constant": {"value": 0.1}}, "stages": 40, "patience": null, "iterate": "last",
        "pool": {"size": 400}, "fresh": 400, "batch": 300
    });
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

fn fresh(law: impl Sample + 'static) -> Source {
    let d = law.dim();
    Source::Fresh { target: Arc::new(law), shift: vec![0.0; d], scale: vec![1.0; d] }
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn gaussian(mean: &Value, covariance: &Value) -> Gaussian {
    Gaussian::new(numbers(mean), rows(covariance)).unwrap()
}

fn of_gaussian(target: &Gaussian, seed: u64, changes: Value) -> MongeAmpereResidual {
    let held_out = target.sample(&Stream::new(seed, Purpose::HeldOut), 0, 0..50);
    let law = Some(target.as_mixture().clone());
    MongeAmpereResidual::new(config(changes), fresh(target.clone()), law, held_out, seed).unwrap()
}

fn of_two_moons(changes: Value) -> MongeAmpereResidual {
    let law = targets::two_moons();
    let draws = |seed: u64, n: u64| law.sample(&Stream::new(seed, Purpose::Drawn), 0, 0..n);
    let coordinates = Standardization { shift: vec![0.0; 2], scale: vec![1.0; 2], whitening: None };
    let noise = InstanceNoise { sd: 0.0, coordinates };
    let source = Source::Rows { points: Arc::new(draws(1, 500)), noise };
    let mut keys = json!({"expectations": "samples", "penalty": 0.01});
    keys.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    MongeAmpereResidual::new(config(keys), source, None, draws(2, 100), 5).unwrap()
}

/// Goes on for so many stages and looks at each.
fn go_on(
    method: &MongeAmpereResidual,
    state: &mut ResidualState,
    stages: u64,
    mut look: impl FnMut(&ResidualState),
) -> Result<(), TrainingError> {
    let last = state.step + stages;
    let observe = &mut |state: &mut ResidualState, _: &[(&'static str, f64)]| {
        look(state);
        Ok(if state.step == last { Flow::Stop } else { Flow::Continue })
    };
    method.train(state, observe)
}

fn said(state: &ResidualState, name: &str) -> f64 {
    let found = state.said.iter().find(|(said, _)| *said == name);
    found.unwrap_or_else(|| panic!("no {name} in {:?}", state.said)).1
}

fn psi(state: &ResidualState) -> Quadratic {
    state.potential.psi().unwrap().as_quadratic().unwrap()
}

fn schedule(name: &str) -> Value {
    match name {
        "const_0.1" => json!({"constant": {"value": 0.1}}),
        "const_0.02" => json!({"constant": {"value": 0.02}}),
        "half_over_kp1" => json!({"harmonic": {"first": 0.5}}),
        "const_inv_sqrt_T" => json!({"inverse_square_root": {"scale": 1}}),
        _ => panic!("a schedule without a formula: {name}"),
    }
}

#[test]
fn quadratic_stages_are_those_of_the_oracle_for_every_schedule() {
    let (mut compared, mut refused) = (0, 0);
    for (problem_name, problem) in oracle().as_object().unwrap() {
        let target = gaussian(&problem["m"], &problem["S"]);
        let other = gaussian(&problem["pi_other"]["p"], &problem["pi_other"]["P"]);
        for (name, expected) in problem["schedules"].as_object().unwrap() {
            let method = of_gaussian(&target, 0, json!({"step_size": schedule(name)}));
            let mut state = method.start().unwrap();
            let mut before = psi(&state);
            let row = |k: u64| expected["rows"].as_array().unwrap().iter().find(|row| row["k"] == k);
            let nodes = Weighted::nodes(other.as_mixture(), 200);
            let (y, _) = method.expectations(0, &method.setting(&state));
            let look = |state: &ResidualState| {
                let (k, after) = (state.step, psi(state));
                let what = format!("{problem_name}, {name}, k = {k}");
                let close = |ours: f64, theirs: &Value| {
                    let theirs = theirs.as_f64().unwrap_or_else(|| panic!("{what}: no number"));
                    assert!((ours - theirs).abs() < 1e-8, "{what}: {ours} against {theirs}");
                };
                if let Some(row) = row(k) {
                    let (a, b) = (rows(&row["A"]).concat(), numbers(&row["b"]));
                    assert!(after.matrix.iter().zip(a).all(|(ours, theirs)| (ours - theirs).abs() < 1e-8), "{what}");
                    assert!(after.slope.iter().zip(b).all(|(ours, theirs)| (ours - theirs).abs() < 1e-8), "{what}");
                    close(said(state, "kl"), &row["KL"]);
                    close(said(state, "least_eigenvalue"), &row["min_eig_A"]);
                    close(said(state, "bregman_gap"), &row["B_g_target"]);
                    if k == 1 {
                        close(said(state, "kl_of_mean"), &row["KL"]);
                    }
                    close(gaussian_gap(&after, &other).unwrap(), &row["B_g_other"]);
                }
                if let Some(row) = row(k - 1) {
                    close(said(state, "step_size"), &row["eta"]);
                    close(said(state, "kl_before"), &row["KL"]);
                    close(said(state, "reverse_kl_before"), &row["KL_pi_rho_target"]);
                    close(said(state, "inequality_left"), &row["evi_target"]["lhs"]);
                    close(said(state, "inequality_right"), &row["evi_target"]["rhs"]);
                    // h_k by what it did to ψ_k; against another π.
                    let eta = said(state, "step_size");
                    let moved = before.plus(&after, -1.0).after_gradient_of(&before.conjugate().unwrap());
                    let h = Quadratic::new(moved.matrix / eta, moved.slope / eta, moved.constant / eta);
                    let map = |psi: &Quadratic| {
                        let network = ResidualNetwork::new(SmoothFunction::Quadratic(psi.clone()));
                        primal_map(network, &state.mixture())
                    };
                    let step = Step {
                        before: &map(&before),
                        after: &map(&after),
                        discriminator: &SmoothFunction::Quadratic(h),
                        step_size: eta,
                        least_curvature: said(state, "least_eigenvalue"),
                    };
                    let laws = Laws { target: target.as_mixture(), comparison: other.as_mixture() };
                    let found = step.inequality(&y, &nodes, Some(laws)).unwrap();
                    close(found.left(), &row["evi_other"]["lhs"]);
                    close(found.right(), &row["evi_other"]["rhs"]);
                    close(found.fall / eta, &row["evi_other"]["dB_over_eta"]);
                    close(found.force, &row["evi_other"]["xi2"]);
                    close(found.reverse_kl.value, &row["KL_pi_rho_other"]);
                    assert!(found.excess < 1e-8, "{what}: {found:?}");
                    assert!((found.left() - found.right() - found.excess).abs() < 1e-8, "{what}: {found:?}");
                    compared += 1;
                }
                assert!(said(state, "inequality_excess") < 1e-8, "{what}");
                assert!(said(state, "kl_mean") <= said(state, "kl_mean_bound") + 1e-8, "{what}");
                before = after;
            };
            let end = go_on(&method, &mut state, 40, look);
            match expected["convexity_lost_at_k"].as_u64() {
                None => {
                    end.unwrap();
                    let mean = expected["avg_KL"].as_f64().unwrap();
                    assert!((said(&state, "kl_mean") - mean).abs() < 1e-8, "{problem_name}, {name}");
                }
                Some(k) => {
                    let Err(TrainingError::LostConvexity { step, eigenvalue, .. }) = end else { panic!("{name}") };
                    let lost = rows(&expected["A_at_loss"])[0][0];
                    assert!(step == k && (eigenvalue - lost).abs() < 1e-8, "ψ_{step}, {eigenvalue}");
                    assert_eq!(state.step, k - 1, "the potential is the one before");
                    refused += 1;
                }
            }
        }
    }
    assert!(compared > 80 && refused == 1, "{compared}, {refused}");
}

#[test]
fn quadratic_stages_from_draws_are_those_of_the_oracle_within_five_standard_errors() {
    let problem = &oracle()["d2"];
    let target = gaussian(&problem["m"], &problem["S"]);
    let rows_of = &problem["schedules"]["const_0.1"]["rows"];
    let expected = rows_of.as_array().unwrap().iter().find(|row| row["k"] == 10).unwrap();
    let seeds = 10;
    let ends: Vec<Vec<f64>> = (0..seeds)
        .map(|seed| {
            let keys = json!({"expectations": "samples", "stages": 10, "fresh": 4000, "pool": {"size": 4000}});
            let method = of_gaussian(&target, seed, keys);
            let mut state = method.start().unwrap();
            go_on(&method, &mut state, 10, |state| {
                // Over the same points on all sides nothing is left to chance.
                assert!(said(state, "inequality_excess") < 1e-9);
            })
            .unwrap();
            let psi = psi(&state);
            psi.matrix.iter().chain(&psi.slope).copied().collect()
        })
        .collect();
    let exact = [rows(&expected["A"]).concat(), numbers(&expected["b"])].concat();
    for (i, exact) in exact.iter().enumerate() {
        let found = brenier_measure::Estimate::mean(ends.iter().map(|end| end[i]));
        assert!(found.std_error < 0.01, "too noisy to decide: {found:?}");
        assert!((found.value - exact).abs() < 5.0 * found.std_error, "{i}: {found:?} against {exact}");
    }
}

#[test]
fn primal_and_dual_differ_by_the_square_of_the_step() {
    let problem = &oracle()["d2"];
    let target = gaussian(&problem["m"], &problem["S"]);
    let difference = |eta: f64| {
        let ends = ["primal", "dual"].map(|coordinates| {
            let keys = json!({"coordinates": coordinates, "step_size": {"constant": {"value": eta}}});
            let method = of_gaussian(&target, 0, keys);
            let mut state = method.start().unwrap();
            go_on(&method, &mut state, 1, |_| {}).unwrap();
            psi(&state)
        });
        let both = ends[0].plus(&ends[1], -1.0);
        both.matrix.iter().chain(&both.slope).map(|x| x * x).sum::<f64>().sqrt()
    };
    for eta in [0.04, 0.02] {
        let order = (difference(eta) / difference(0.5 * eta)).log2();
        assert!((order - 2.0).abs() < 0.15, "η = {eta}: order {order}");
    }
}

#[test]
fn the_dual_flow_ends_at_the_same_map_and_keeps_the_inequality_to_the_square_of_the_step() {
    let problem = &oracle()["d2"];
    let target = gaussian(&problem["m"], &problem["S"]);
    // η times what is missing at the first stage.
    let missing = |eta: f64| {
        let keys = json!({"coordinates": "dual", "step_size": {"constant": {"value": eta}}});
        let method = of_gaussian(&target, 0, keys);
        let mut state = method.start().unwrap();
        go_on(&method, &mut state, 1, |_| {}).unwrap();
        eta * said(&state, "inequality_excess")
    };
    let order = (missing(0.02) / missing(0.01)).log2();
    assert!((order - 2.0).abs() < 0.15, "{order}");
    let method = of_gaussian(&target, 0, json!({"coordinates": "dual", "stages": 200}));
    let mut state = method.start().unwrap();
    go_on(&method, &mut state, 200, |_| {}).unwrap();
    let exact = root(&problem["S"]);
    assert!((&psi(&state).matrix - &exact).iter().all(|x| x.abs() < 1e-6), "{}", psi(&state).matrix);
}

fn root(covariance: &Value) -> Array2<f64> {
    let rows = rows(covariance);
    let d = rows.len();
    let matrix = brenier_transport::gaussian::brenier_matrix(
        &Array2::<f64>::eye(d).into_raw_vec_and_offset().0,
        &rows.concat(),
        d,
    );
    Array2::from_shape_vec((d, d), matrix.unwrap()).unwrap()
}

#[test]
fn stages_in_five_dimensions_follow_the_recursion() {
    let normals = |seed: u64| {
        let stream = Stream::new(seed, Purpose::Batch);
        Array2::from_shape_fn((5, 5), |(i, j)| stream.at(i as u64, j as u64).normal())
    };
    let definite = |seed: u64| normals(seed).dot(&normals(seed).t()) * 0.2 + Array2::<f64>::eye(5);
    let (covariance, eta) = (definite(1), 0.1);
    let m = normals(3).row(0).to_owned();
    let inverse =
        |matrix: &Array2<f64>| Quadratic::new(matrix.clone(), Array1::zeros(5), 0.0).conjugate().unwrap().matrix;
    let precision = inverse(&covariance);
    // A start that does not commute with the covariance.
    let mut psi = Quadratic::new(definite(2), normals(4).row(0).to_owned(), 0.0);
    let (mut a, mut b) = (psi.matrix.clone(), psi.slope.clone());
    assert!((&a.dot(&covariance) - &covariance.dot(&a)).iter().any(|x| x.abs() > 0.1));
    for _ in 0..4 {
        let mut network = ResidualNetwork::new(SmoothFunction::Quadratic(psi.clone()));
        for _ in 0..3 {
            let here = network.as_quadratic().unwrap();
            // h = log(ρ/e^{-f}), ρ = N(b, A²).
            let own = inverse(&here.matrix.dot(&here.matrix));
            let h = Quadratic::new(&precision - &own, own.dot(&here.slope) - precision.dot(&m), 0.0);
            network = network.with_stage(eta, SmoothFunction::Quadratic(h)).unwrap();
            let step = (Array2::<f64>::eye(5) - a.dot(&precision).dot(&a)) * eta;
            b = &b - &(a.dot(&precision.dot(&(&b - &m))) * eta);
            a = a + step;
        }
        // By nested derivatives, and re-based.
        let points = brenier_measure::to_tensor(&normals(9), burn::tensor::DType::F64, &burn::tensor::Device::flex());
        let (image, hessian) = network.gradient_and_hessian(points);
        let image = brenier_measure::to_points(image);
        let hessian: Vec<f64> = hessian.into_data().try_to_vec().unwrap();
        assert!((&image - &(normals(9).dot(&a) + &b)).iter().all(|x| x.abs() < 1e-10));
        assert!(hessian.chunks(25).all(|h| h.iter().zip(&a).all(|(h, a)| (h - a).abs() < 1e-10)));
        psi = network.as_quadratic().unwrap();
        assert!((&psi.matrix - &a).iter().chain(&(&psi.slope - &b)).all(|x| x.abs() < 1e-10));
    }
}

#[test]
fn a_flow_that_is_resumed_anywhere_ends_with_the_same_bits() {
    let problem = &oracle()["d1"];
    let target = gaussian(&problem["m"], &problem["S"]);
    let ridges = json!({"directions": 6, "knots": 6});
    let methods = [
        of_gaussian(&target, 0, json!({"stages": 7})),
        of_gaussian(&target, 0, json!({"stages": 7, "expectations": "samples", "coordinates": "dual"})),
        of_two_moons(json!({"stages": 7, "discriminator": "features", "ridges": ridges, "rebase": {"tolerance": 1},
            "step_size": {"adaptive": {"first": 0.1}}, "iterate": "best"})),
        of_two_moons(
            json!({"stages": 5, "discriminator": {"mlp": {"width": 8, "depth": 2, "steps": 5}}, "ridges": ridges,
            "rebase": {"every": 2, "tolerance": 1}, "step_size": {"constant": {"value": 0.02}}}),
        ),
    ];
    for (number, method) in methods.iter().enumerate() {
        let mut whole = method.start().unwrap();
        go_on(method, &mut whole, u64::MAX / 2, |_| {}).unwrap();
        let whole = method.files(&whole);
        for stop in [1, 3, 4] {
            let mut state = method.start().unwrap();
            go_on(method, &mut state, stop, |_| {}).unwrap();
            let mut resumed = method.resume(&method.files(&state)).unwrap();
            go_on(method, &mut resumed, u64::MAX / 2, |_| {}).unwrap();
            assert!(method.files(&resumed) == whole, "method {number} at {stop}");
        }
    }
}

#[test]
fn the_inequality_holds_for_every_discriminator() {
    let ridges = json!({"directions": 8, "knots": 8, "least_width": 0.5});
    for discriminator in [json!("features"), json!({"mlp": {"width": 16, "depth": 2, "steps": 20}})] {
        let keys = json!({"stages": 4, "discriminator": discriminator, "ridges": ridges,
            "rebase": {"tolerance": 1}, "step_size": {"constant": {"value": 0.003}}});
        let method = of_two_moons(keys);
        let mut state = method.start().unwrap();
        // h in the place of the log-ratio: over the same points on all sides nothing is left to chance.
        go_on(&method, &mut state, 4, |state| assert!(said(state, "inequality_excess") < 1e-9, "{:?}", state.said))
            .unwrap();
        assert!(state.misfit.is_some_and(|misfit| misfit < 0.2));
        let law = method.sampler(&state);
        assert!(law.map().is_some());
    }
}

#[test]
fn a_stack_that_cannot_be_fitted_ends_the_flow() {
    let keys = json!({"stages": 20, "discriminator": "features", "ridges": {"directions": 4, "knots": 3, "least_width": 0.5},
        "rebase": {"every": 2, "tolerance": 1e-6}, "step_size": {"constant": {"value": 0.01}}, "iterate": "best"});
    let method = of_two_moons(keys);
    let mut state = method.start().unwrap();
    go_on(&method, &mut state, 20, |_| {}).unwrap();
    assert!(state.is_over && state.step == 2 && method.is_done(&state));
    assert!(state.best.is_some());
}

#[test]
fn choices_that_do_not_go_together_are_refused_with_a_cure() {
    let refused = |source: Source, law: Option<GaussianMixture>, keys: Value| {
        let held_out = Points::zeros((5, source.dim()));
        match MongeAmpereResidual::new(config(keys), source, law, held_out, 0) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("not refused"),
        }
    };
    let far = Gaussian::standard(4);
    let message = refused(fresh(far.clone()), Some(far.as_mixture().clone()), json!({}));
    assert_eq!(message, "nodes fill up to 3 dimensions, and the data have 4; take `expectations: \"samples\"`");
    let message =
        refused(fresh(Gaussian::standard(2)), None, json!({"coordinates": "dual", "discriminator": {"mlp": {}}}));
    assert!(message.starts_with("dual coordinates compose nothing but quadratics; take"), "{message}");
    let message = refused(fresh(targets::two_moons()), None, json!({}));
    assert!(message.starts_with("nodes need a target that is a mixture of Gaussians"), "{message}");
    let message = refused(fresh(Gaussian::standard(17)), None, json!({"expectations": "samples"}));
    assert!(message.starts_with("composed stages, and quadratics, take up to 16 dimensions"), "{message}");
}
