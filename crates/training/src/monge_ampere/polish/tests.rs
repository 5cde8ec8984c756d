//! Polishes of potentials from their starts, through all phases.

use std::sync::Arc;

use brenier_measure::data::{Standardization, Standardize};
use brenier_measure::{Measure, targets, to_tensor, to_values};
use burn::tensor::{DType, Device};
use serde_json::json;

use super::*;
use crate::fit::Flow;
use crate::method::{Files, Method};
use crate::monge_ampere::logistic::{MongeAmpereLogisticConfig, PolishedMap, PolishedState};
use crate::source::InstanceNoise;

fn ring(seed: u64, n: u64) -> Points {
    targets::ring().sample(&Stream::new(seed, Purpose::Batch), 0, 0..n)
}

fn method(config: serde_json::Value, n: u64, noise: f64) -> PolishedMap {
    let train = ring(1, n);
    let coordinates = Standardization::fit(&train, Standardize::None, false).unwrap();
    let config: MongeAmpereLogisticConfig = serde_json::from_value(config).unwrap();
    let source = Source::Rows { points: Arc::new(train), noise: InstanceNoise { sd: noise, coordinates } };
    let polish = config.polish.clone().unwrap();
    PolishedMap::new(config, polish, source, ring(2, 500), 7, || true).unwrap()
}

/// The files after so many further steps, or after the last.
fn go_on(method: &PolishedMap, state: &mut PolishedState, steps: u64) -> Files {
    let last = method.step(state) + steps;
    let observe = &mut |state: &mut PolishedState, _: &[(&'static str, f64)]| {
        Ok(if method.step(state) == last { Flow::Stop } else { Flow::Continue })
    };
    method.train(state, observe).unwrap();
    method.files(state)
}

fn nll(method: &PolishedMap, state: &PolishedState, x: &Points) -> f64 {
    let values = method.sampler(state).log_density(x, 0, 0, &|| true).unwrap();
    assert!(values.valid.iter().all(|&valid| valid), "a convex potential has a density everywhere");
    -values.values.iter().sum::<f64>() / values.values.len() as f64
}

fn log_sum_exp(steps: u64) -> serde_json::Value {
    json!({
        "stages": 0,
        "potential": {"log_sum_exp": {"pieces": 64, "points": 512}},
        "polish": {"steps": steps, "batch": 128, "judge_every": 50, "patience": null},
    })
}

#[test]
fn a_polish_from_transport_is_close_to_the_law() {
    let method = method(log_sum_exp(600), 4000, 0.0);
    let mut state = method.start().unwrap();
    let fresh = ring(3, 4000);
    let exact = to_values(targets::ring().log_density(to_tensor(&fresh, DType::F64, &Device::flex())));
    let entropy = -exact.iter().sum::<f64>() / 4000.0;
    let before = nll(&method, &state, &fresh) - entropy;
    go_on(&method, &mut state, u64::MAX / 2);
    let after = nll(&method, &state, &fresh) - entropy;
    // The forward divergence: of pieces as they start, and after 600 updates; ± .005 from the same points.
    assert!(before > 0.5 && after < 0.15 && after > 0.0, "{before} and {after}");
    let x = method.sampler(&state).sample(4, 0..500, &|| true).unwrap();
    assert_eq!(x.dims(), [500, 2]);
}

#[test]
fn every_phase_is_resumed_with_the_same_bits() {
    let mixture = json!({"fitted_mixture": {"components": 4, "restarts": 1, "iterations": 20}});
    let configs = [
        (log_sum_exp(40), 0.0, vec![1, 17]),
        (
            json!({
                "stages": 0,
                "potential": {"log_sum_exp": {"pieces": 16, "points": 64, "groups": 1}},
                "polish": {"steps": 12, "batch": 32, "judge_every": 5, "folds": 3,
                           "smoothing": {"local_covariance": {"neighbours": 20, "share": 0.7}}},
            }),
            0.0,
            vec![5, 12, 13, 30],
        ),
        (
            json!({
                "stages": 3, "reference": mixture, "pool": {"size": 200}, "ridges": {"directions": 4, "knots": 4},
                "polish": {"steps": 30, "batch": 32, "judge_every": 7, "refit": {"every": 10, "folds": 3}},
            }),
            0.1,
            vec![2, 3, 4, 21],
        ),
    ];
    for (config, noise, stops) in configs {
        let method = method(config, 300, noise);
        let mut state = method.start().unwrap();
        let whole = go_on(&method, &mut state, u64::MAX / 2);
        assert!(method.is_done(&state) && method.step(&state) <= method.steps());
        for stop in stops {
            let files = go_on(&method, &mut method.start().unwrap(), stop);
            let mut resumed = method.resume(&files).unwrap();
            assert_eq!(method.step(&resumed), stop);
            assert!(method.files(&resumed) == files, "what is read is not what was written, at {stop}");
            assert!(go_on(&method, &mut resumed, u64::MAX / 2) == whole, "at {stop}");
        }
    }
}

#[test]
fn a_map_that_is_worth_nothing_is_not_kept() {
    // A law that is its reference: nothing is left for a map, and the ridges can only overfit 100 points.
    let config = json!({
        "stages": 0, "reference": {"gaussian_mixture": {
            "weights": [1.0], "means": [[0.0, 0.0]], "covariances": [[[1.0, 0.0], [0.0, 1.0]]]}},
        "polish": {"steps": 60, "batch": 64, "judge_every": 20, "rate": 0.05, "trimmed": 0.0},
    });
    let config: MongeAmpereLogisticConfig = serde_json::from_value(config).unwrap();
    let draws = |seed, n| brenier_measure::Gaussian::standard(2).sample(&Stream::new(seed, Purpose::Batch), 0, 0..n);
    let coordinates = Standardization::fit(&draws(1, 100), Standardize::None, false).unwrap();
    let source = Source::Rows { points: Arc::new(draws(1, 100)), noise: InstanceNoise { sd: 0.0, coordinates } };
    let polish = config.polish.clone().unwrap();
    let method = PolishedMap::new(config, polish, source, draws(2, 2000), 7, || true).unwrap();
    let mut state = method.start().unwrap();
    go_on(&method, &mut state, u64::MAX / 2);
    let fresh = draws(3, 500);
    let exact = fresh.map_axis(Axis(1), |x| 0.5 * x.dot(&x) + std::f64::consts::TAU.ln()).mean().unwrap();
    assert!((nll(&method, &state, &fresh) - exact).abs() < 1e-12, "the law is its reference");
    let PolishedState::Polish(_) = &state else { panic!("a polish") };
}

#[test]
fn a_damaged_state_is_refused() {
    let method = method(log_sum_exp(3), 300, 0.0);
    let files = go_on(&method, &mut method.start().unwrap(), 2);
    let text = String::from_utf8(files["polish.json"].clone()).unwrap();
    for (from, to) in [("\"average\":[", "\"average\":[1.0,"), ("\"floor\":0.002", "\"floor\":-1.0"), ("{", "[")] {
        let damaged = Files::from([("polish.json".to_owned(), text.replacen(from, to, 1).into_bytes())]);
        assert!(method.resume(&damaged).is_err(), "{from}");
    }
}
