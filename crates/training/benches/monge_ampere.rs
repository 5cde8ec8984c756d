//! Times the parts of a stage of Algorithm 1 in the plane: means of features, the Hessian of the semi-dual, a whole stage.

use std::sync::Arc;

use brenier_measure::{Points, Purpose, Sample, Stream, targets};
use brenier_model::monge_ampere::RidgeSum;
use brenier_training::monge_ampere::RidgesConfig;
use brenier_training::monge_ampere::semi_dual::{Curvature, FeatureMeans};
use brenier_training::{Flow, Method, MongeAmpereLogistic, MongeAmpereLogisticConfig, Source};
use divan::Bencher;

fn main() {
    divan::main();
}

fn points(seed: u64, n: u64) -> Points {
    targets::two_moons().sample(&Stream::new(seed, Purpose::Batch), 0, 0..n)
}

fn potential() -> RidgeSum {
    let ridges = RidgesConfig::default().choose(&points(0, 20_000), 0);
    let coefficients = ridges.identity();
    RidgeSum::new(Arc::new(ridges), coefficients).expect("the identity")
}

#[divan::bench(sample_count = 5)]
fn means_of_features_at_8000_points(bencher: Bencher) {
    let (potential, x) = (potential(), points(1, 8000));
    bencher.bench(|| FeatureMeans::of(potential.ridges(), &x));
}

#[divan::bench(sample_count = 5)]
fn curvature_at_8000_points(bencher: Bencher) {
    let (potential, x) = (potential(), points(1, 8000));
    bencher.bench(|| Curvature::of(&potential, &x));
}

#[divan::bench(sample_count = 5)]
fn hessian_of_the_semi_dual_over_8000_points(bencher: Bencher) {
    let (potential, x) = (potential(), points(1, 8000));
    let curvature = Curvature::of(&potential, &x);
    bencher.bench(|| curvature.semi_dual_hessian(potential.ridges(), &x));
}

#[divan::bench(args = ["newton", "semi_implicit", "logistic"], sample_count = 1)]
fn ten_stages(bencher: Bencher, step: &str) {
    let config: MongeAmpereLogisticConfig =
        serde_json::from_value(serde_json::json!({"step": step, "stages": 10})).expect("a config");
    let source = Source::Fresh { target: Arc::new(targets::two_moons()), shift: vec![0.0; 2], scale: vec![1.0; 2] };
    let method = MongeAmpereLogistic::new(config, source, points(2, 2000), 0).expect("a method");
    bencher.bench_local(|| {
        let mut state = method.start().expect("a start");
        method.train(&mut state, &mut |_, _| Ok(Flow::Continue)).expect("stages");
    });
}
