use brenier_measure::data::Standardization;
use brenier_measure::{Gaussian, Sample, targets};
use serde_json::{Value, json};

use super::*;

fn coordinates() -> Standardization {
    Standardization { shift: vec![0.0; 2], scale: vec![1.0; 2], whitening: None }
}

fn two_moons(seed: u64, n: u64) -> Points {
    targets::two_moons().sample(&Stream::new(seed, Purpose::Drawn), 0, 0..n)
}

/// A small flow, with some keys changed.
fn config(changes: Value) -> MongeAmpereLogisticConfig {
    let mut config = json!({
        "ridges": {"directions": 8, "knots": 6}, "stages": 7, "patience": null, "batch": 300, "fresh": 300,
        "pool": {"size": 400, "renewed": 0.25}, "average_after": 3
    });
    let (config, changes) = (config.as_object_mut().unwrap(), changes);
    config.extend(changes.as_object().unwrap().clone());
    serde_json::from_value(Value::Object(config.clone())).unwrap()
}

fn rows(points: Points, noise: f64) -> Source {
    Source::Rows { points: Arc::new(points), noise: InstanceNoise { sd: noise, coordinates: coordinates() } }
}

fn method(changes: Value, source: Source) -> MongeAmpereLogistic {
    MongeAmpereLogistic::new(config(changes), source, two_moons(2, 200), 5).unwrap()
}

fn fresh(law: impl Sample + 'static) -> Source {
    let d = law.dim();
    Source::Fresh { target: Arc::new(law), shift: vec![0.0; d], scale: vec![1.0; d] }
}

/// The files after so many further stages, or after the last.
fn go_on(method: &MongeAmpereLogistic, state: &mut MongeAmpereState, stages: u64) -> Files {
    let last = state.step + stages;
    let observe = &mut |state: &mut MongeAmpereState, _: &[(&'static str, f64)]| {
        Ok(if state.step == last { Flow::Stop } else { Flow::Continue })
    };
    method.train(state, observe).unwrap();
    method.files(state)
}

#[test]
fn a_flow_that_is_resumed_anywhere_ends_with_the_same_bits() {
    let mixture = json!({"fitted_mixture": {"components": [1, 3], "restarts": 1, "iterations": 20}});
    let cases = [
        (json!({"step": "newton"}), rows(two_moons(1, 500), 0.0)),
        (
            json!({"step": "semi_implicit", "step_size": {"geometric": {"first": 1, "last": 0.1}}}),
            rows(two_moons(1, 500), 0.1),
        ),
        (json!({"step": "logistic", "step_size": {"constant": {"value": 0.1}}}), fresh(targets::two_moons())),
        (json!({"reference": mixture, "patience": 3}), rows(two_moons(1, 500), 0.0)),
    ];
    for (changes, source) in cases {
        let method = method(changes.clone(), source);
        let whole = go_on(&method, &mut method.start().unwrap(), u64::MAX / 2);
        for stop in [1, 2, 5] {
            let mut state = method.start().unwrap();
            let files = go_on(&method, &mut state, stop);
            let mut resumed = method.resume(&files).unwrap();
            assert!(go_on(&method, &mut resumed, u64::MAX / 2) == whole, "{changes} at {stop}");
        }
    }
}

#[test]
fn the_semi_dual_falls_under_every_step_and_the_map_carries_the_data_to_the_reference() {
    for step in ["newton", "semi_implicit", "logistic"] {
        let changes = json!({"step": step, "stages": 25, "iterate": "last", "pool": {"size": 2000, "renewed": 0}});
        let method = method(changes, rows(two_moons(1, 2000), 0.0));
        let mut state = method.start().unwrap();
        let mut values = Vec::new();
        let observe = &mut |_: &mut MongeAmpereState, said: &[(&'static str, f64)]| {
            values.push(said.iter().find(|(name, _)| *name == "semi_dual").unwrap().1);
            Ok(Flow::Continue)
        };
        method.train(&mut state, observe).unwrap();
        // The pool stays the same, and so does the function that falls.
        assert!(values.windows(2).all(|pair| pair[1] <= pair[0] + 1e-8), "{step}: {values:?}");
        let law = method.sampler(&state);
        let y = law.map().unwrap().inverse(&two_moons(1, 2000)).unwrap().0;
        for (j, mean) in y.mean_axis(Axis(0)).unwrap().iter().enumerate() {
            let variance = y.column(j).var(0.0);
            // The slopes among the features make the means of x agree, and so those of y nearly.
            assert!(mean.abs() < 0.15 && (variance - 1.0).abs() < 0.25, "{step}: {mean} and {variance}");
        }
    }
}

#[test]
fn between_gaussians_the_map_is_the_square_root_of_the_covariance() {
    let covariance = vec![vec![2.0, 0.8], vec![0.8, 0.6]];
    let target = Gaussian::new(vec![1.0, -1.0], covariance).unwrap();
    let held_out = target.sample(&Stream::new(8, Purpose::HeldOut), 0, 0..1000);
    let changes = json!({
        "ridges": {"directions": 6, "knots": 3}, "stages": 20, "fresh": 5000, "iterate": "average",
        "pool": {"size": 4000, "renewed": 0.25}
    });
    let method = MongeAmpereLogistic::new(config(changes), fresh(target), held_out, 5).unwrap();
    let mut state = method.start().unwrap();
    go_on(&method, &mut state, u64::MAX / 2);
    let law = method.sampler(&state);
    let y = Gaussian::standard(2).sample(&Stream::new(9, Purpose::Reference), 0, 0..2000);
    let x = law.map().unwrap().transport(&y).unwrap().0;
    // S^{1/2} = (S + √det S I)/√(tr S + 2√det S).
    let root = (2.0 * 0.6 - 0.8 * 0.8f64).sqrt();
    let scale = (2.6 + 2.0 * root).sqrt();
    let exact = |y: ndarray::ArrayView1<f64>| {
        [1.0 + ((2.0 + root) * y[0] + 0.8 * y[1]) / scale, -1.0 + (0.8 * y[0] + (0.6 + root) * y[1]) / scale]
    };
    let error = x.rows().into_iter().zip(y.rows()).map(|(x, y)| {
        let exact = exact(y);
        (x[0] - exact[0]).powi(2) + (x[1] - exact[1]).powi(2)
    });
    // 100,000 draws leave an error of about 1e-5 of the variance for each of thirty coefficients, and the pool another.
    let share = error.sum::<f64>() / 2000.0 / 2.6;
    assert!(share < 1e-3, "{share}");
}

#[test]
fn numbers_that_are_none_end_the_training_before_a_step() {
    let method = method(json!({}), rows(two_moons(1, 300), 0.0));
    let mut state = method.start().unwrap();
    go_on(&method, &mut state, 2);
    let before = state.iterates.clone();
    state.pool.x[[3, 0]] = f64::NAN;
    let refused = method.train(&mut state, &mut |_, _| Ok(Flow::Continue));
    assert!(matches!(refused, Err(TrainingError::Diverged { what: "semi-dual", step: 2, .. })), "{refused:?}");
    assert!(state.step == 2 && state.iterates == before);
}

#[test]
fn points_without_a_density_are_refused_and_few_points_are_enough() {
    let refuse = |points: Points, changes: Value| {
        MongeAmpereLogistic::new(config(changes), rows(points.clone(), 0.0), points, 0).err().unwrap()
    };
    let flat = Points::from_shape_fn((20, 2), |(i, j)| if j == 0 { i as f64 } else { 3.0 });
    assert!(matches!(refuse(flat.clone(), json!({})), TrainingError::ConstantColumn { column: 1 }));
    assert!(matches!(refuse(Points::ones((5, 2)), json!({})), TrainingError::ConstantColumn { column: 0 }));
    assert!(MongeAmpereLogistic::new(config(json!({})), rows(flat.clone(), 0.3), flat, 0).is_ok());
    let line = json!({"reference": {"gaussian_mixture": {"weights": [1], "means": [[0]], "covariances": [[[1]]]}}});
    assert!(matches!(refuse(two_moons(1, 9), line), TrainingError::ReferenceDimension { found: 1, expected: 2 }));
    let point = json!({"reference": {"gaussian_mixture": {"weights": [1], "means": [[0, 0]], "covariances": [[[1, 0], [0, 0]]]}}});
    assert!(matches!(refuse(two_moons(1, 9), point), TrainingError::NoReferenceDensity));
    // More dimensions than points.
    let few = Points::from_shape_fn((4, 6), |(i, j)| ((7 * i + 3 * j) as f64).sin());
    let noise = InstanceNoise {
        sd: 0.0,
        coordinates: Standardization { shift: vec![0.0; 6], scale: vec![1.0; 6], whitening: None },
    };
    let source = Source::Rows { points: Arc::new(few.clone()), noise };
    let method = MongeAmpereLogistic::new(config(json!({})), source, few, 0).unwrap();
    let mut state = method.start().unwrap();
    go_on(&method, &mut state, u64::MAX / 2);
    let drawn = method.sampler(&state).sample(1, 0..50, &|| true).unwrap();
    assert!(brenier_measure::to_points(drawn).iter().all(|x| x.is_finite()));
}
