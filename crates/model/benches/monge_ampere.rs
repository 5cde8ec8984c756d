//! Times ridge sums in the plane, derivatives at 8000 points and the inverse of their gradient, and residual networks by their stages.

use std::sync::Arc;

use brenier_measure::{Gaussian, Points, Purpose, Sample, Stream, to_tensor};
use brenier_model::Activation;
use brenier_model::monge_ampere::{
    BrenierMap, ConvexPotential, Inversion, Mlp, PushForward, Quadratic, ResidualNetwork, RidgeSum, Ridges,
    SmoothFunction,
};
use burn::tensor::{DType, Device};
use divan::{Bencher, counter::ItemsCount};
use ndarray::Array2;

const POINTS: usize = 8000;

fn main() {
    divan::main();
}

/// 24 directions with 24 knots each.
fn ridges() -> RidgeSum {
    let (g, k) = (24, 24);
    let ridges = Arc::new(Ridges {
        directions: Array2::from_shape_fn((g, 2), |(i, j)| {
            let angle = std::f64::consts::PI * i as f64 / g as f64;
            if j == 0 { angle.cos() } else { angle.sin() }
        }),
        knots: Array2::from_shape_fn((g, k), |(_, i)| 4.0 * (i as f64 + 0.5) / k as f64 - 2.0),
        widths: Array2::from_elem((g, k), 0.08),
        floor: 0.1,
    });
    let mut coefficients = ridges.identity();
    let first = coefficients.len() - g * k;
    coefficients[first..].iter_mut().enumerate().for_each(|(i, height)| *height = 0.02 * (i % 7) as f64);
    RidgeSum::new(ridges, coefficients).expect("convex")
}

fn normals() -> Points {
    Gaussian::standard(2).sample(&Stream::new(0, Purpose::Reference), 0, 0..POINTS as u64)
}

#[divan::bench(sample_count = 10)]
fn gradient_and_hessian(bencher: Bencher) {
    let (potential, x) = (ridges(), to_tensor(&normals(), DType::F64, &Device::flex()));
    bencher.counter(ItemsCount::new(POINTS)).bench(|| potential.gradient_and_hessian(x.clone()));
}

#[divan::bench(sample_count = 10)]
fn features(bencher: Bencher) {
    let (potential, x) = (ridges(), normals());
    bencher.counter(ItemsCount::new(POINTS)).bench(|| potential.ridges().features(&x));
}

#[divan::bench(sample_count = 3)]
fn inverse_of_the_gradient(bencher: Bencher) {
    let map = BrenierMap::new(Arc::new(ridges()), Arc::new(Gaussian::standard(2)), Inversion::default());
    let y = normals();
    bencher.counter(ItemsCount::new(POINTS)).bench(|| map.to_data(&y));
}

#[divan::bench(sample_count = 3)]
fn inverse_from_the_best_of_1024_starts(bencher: Bencher) {
    let map = BrenierMap::new(Arc::new(ridges()), Arc::new(Gaussian::standard(2)), Inversion::default());
    let starts = Gaussian::standard(2).sample(&Stream::new(1, Purpose::Reference), 0, 0..1024);
    let map = map.clone().with_starts(map.to_data(&starts).points);
    let y = normals();
    bencher.counter(ItemsCount::new(POINTS)).bench(|| map.to_data(&y));
}

/// Samples of perceptrons of three layers of 96 on a quadratic, composed exactly.
#[divan::bench(args = [0, 1, 2, 3, 4], sample_count = 3)]
fn residual_network(bencher: Bencher, stages: usize) {
    let base = ResidualNetwork::new(SmoothFunction::Quadratic(Quadratic::identity(2)));
    let mlp = |seed: usize| Mlp::new(2, 96, 3, Activation::Silu, seed as u64, &Device::flex()).cast(DType::F64);
    let network = (0..stages)
        .fold(base, |network, k| network.with_stage(0.1, SmoothFunction::Mlp(mlp(k))).expect("four stages at most"));
    let y = Gaussian::standard(2).sample(&Stream::new(0, Purpose::Reference), 0, 0..256);
    let y = to_tensor(&y, DType::F64, &Device::flex());
    bencher.counter(ItemsCount::new(256usize)).bench(|| network.gradient(y.clone()));
}
