//! Times the network: one evaluation of a batch of 1024, and 1000 samples by Heun's method in 18 steps.

use brenier_measure::{Denoiser, Points, Purpose, Stream, to_tensor};
use brenier_model::{
    Activation, GridConfig, NetworkConfig, Preconditioning, SamplerConfig, ScoreJacobian, ScoreNetwork, sample,
};
use burn::tensor::{DType, Device, Tensor};
use divan::{Bencher, counter::ItemsCount};

/// (dimension, width, depth).
const SIZES: [(usize, usize, usize); 3] = [(2, 128, 3), (64, 256, 4), (784, 512, 4)];

fn main() {
    divan::main();
}

fn network((dim, width, depth): (usize, usize, usize)) -> ScoreNetwork {
    let config = NetworkConfig::ResidualMlp { width, depth, activation: Activation::Silu, embedding: 64 };
    ScoreNetwork::new(&config, Preconditioning::Edm, dim, 1.0, 0, &Device::flex()).expect("sizes in range")
}

fn batch(n: usize, dim: usize) -> (Tensor<2>, Tensor<1>) {
    let stream = Stream::new(0, Purpose::Noise);
    let points = Points::from_shape_fn((n, dim), |(i, j)| stream.at(j as u64, i as u64).normal());
    (to_tensor(&points, DType::F32, &Device::flex()), Tensor::ones([n], &Device::flex()))
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn score(bencher: Bencher, size: (usize, usize, usize)) {
    let (network, (y, sigma)) = (network(size), batch(1024, size.0));
    bencher.counter(ItemsCount::new(1024usize)).bench(|| network.score(y.clone(), sigma.clone()));
}

#[divan::bench(args = SIZES, sample_count = 20)]
fn one_jacobian_vector_product(bencher: Bencher, size: (usize, usize, usize)) {
    let (network, (y, sigma)) = (network(size), batch(1024, size.0));
    bencher.counter(ItemsCount::new(1024usize)).bench(|| network.score_jvp(y.clone(), sigma.clone(), y.clone()));
}

#[divan::bench(args = SIZES, sample_count = 3)]
fn heun(bencher: Bencher, size: (usize, usize, usize)) {
    let network = network(size);
    let levels = GridConfig::default().levels(0.002, 80.0, 18).expect("a grid");
    bencher
        .counter(ItemsCount::new(1000usize))
        .bench(|| sample(&network, &SamplerConfig::Heun, &levels, 0, 0..1000, DType::F32, &Device::flex(), &|| true));
}
