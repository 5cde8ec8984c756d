//! Times every distance between point clouds; the peers are timed by crates/cli/benches/peers/transport.py.

use std::f64::consts::{SQRT_2, TAU};

use brenier_transport::assignment::assign;
use brenier_transport::energy::energy_distance;
use brenier_transport::kl_knn::kl_knn;
use brenier_transport::mmd::{Bandwidth, mmd_squared};
use brenier_transport::sinkhorn::{Settings, sinkhorn_divergence};
use brenier_transport::sliced::sliced_w2;
use brenier_transport::weighted::{transport, transport_uniform};
use brenier_transport::{Cloud, Cost};
use divan::Bencher;

fn main() {
    divan::main();
}

/// Uniform numbers of (0, 1): SplitMix64 of Steele, Lea and Flood, Fast splittable pseudorandom number generators (2014).
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + f64::EPSILON / 4.0
    }

    /// One normal number by Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.next().ln()).sqrt() * (TAU * self.next()).cos()
    }
}

/// n points of N(0, I) in Rᵈ.
fn gaussian(seed: u64, n: usize, dim: usize) -> Vec<f64> {
    let mut uniform = Uniform(seed);
    (0..n * dim).map(|_| uniform.normal()).collect()
}

/// n points of equal Gaussians of standard deviation .1 around `modes` centres on the circle of radius √2.
fn ring(seed: u64, n: usize, modes: usize) -> Vec<f64> {
    let mut uniform = Uniform(seed);
    let mut point = || {
        let angle = TAU * (uniform.next() * modes as f64).floor() / modes as f64;
        [SQRT_2 * angle.cos() + 0.1 * uniform.normal(), SQRT_2 * angle.sin() + 0.1 * uniform.normal()]
    };
    (0..n).flat_map(|_| point()).collect()
}

/// n weights in (0, 1) divided by their sum.
fn weights(seed: u64, n: usize) -> Vec<f64> {
    let mut uniform = Uniform(seed);
    let weights: Vec<f64> = (0..n).map(|_| uniform.next()).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

fn cloud(values: &[f64], dim: usize) -> Cloud<'_> {
    Cloud::new(values, dim).expect("finite points")
}

const SIZES: [(usize, usize); 8] =
    [(2000, 2), (5000, 2), (2000, 3), (5000, 3), (2000, 8), (5000, 8), (2000, 64), (5000, 64)];

#[divan::bench(args = SIZES, sample_count = 3)]
fn w2_of_gaussians(bencher: Bencher, (n, dim): (usize, usize)) {
    let (a, b) = (gaussian(1, n, dim), gaussian(2, n, dim));
    bencher.bench(|| assign(cloud(&a, dim), cloud(&b, dim), Cost::SquaredDistance));
}

#[divan::bench(args = [2000, 5000], sample_count = 3)]
fn w2_of_gaussians_of_unequal_scales(bencher: Bencher, n: usize) {
    let (a, mut b) = (gaussian(1, n, 2), gaussian(2, n, 2));
    b.iter_mut().step_by(2).for_each(|x| *x *= 3.0);
    bencher.bench(|| assign(cloud(&a, 2), cloud(&b, 2), Cost::SquaredDistance));
}

#[divan::bench(args = [2000, 5000], sample_count = 3)]
fn w2_of_rings_of_8_and_6_modes(bencher: Bencher, n: usize) {
    let (a, b) = (ring(1, n, 8), ring(2, n, 6));
    bencher.bench(|| assign(cloud(&a, 2), cloud(&b, 2), Cost::SquaredDistance));
}

#[divan::bench(args = [(2000, 2), (5000, 2), (2000, 64)], sample_count = 3)]
fn w1_of_gaussians(bencher: Bencher, (n, dim): (usize, usize)) {
    let (a, b) = (gaussian(1, n, dim), gaussian(2, n, dim));
    bencher.bench(|| assign(cloud(&a, dim), cloud(&b, dim), Cost::Distance));
}

#[divan::bench(args = [(2000, 2), (5000, 2), (2000, 64)], sample_count = 3)]
fn w2_of_unequal_sizes(bencher: Bencher, (n, dim): (usize, usize)) {
    let (a, b) = (gaussian(1, n, dim), gaussian(2, n * 4 / 5, dim));
    bencher.bench(|| transport_uniform(cloud(&a, dim), cloud(&b, dim), Cost::SquaredDistance));
}

#[divan::bench(args = [(2000, 2), (2000, 64)], sample_count = 3)]
fn w2_of_weighted_clouds(bencher: Bencher, (n, dim): (usize, usize)) {
    let (a, b) = (gaussian(1, n, dim), gaussian(2, n, dim));
    let (a_weights, b_weights) = (weights(3, n), weights(4, n));
    bencher.bench(|| transport(cloud(&a, dim), &a_weights, cloud(&b, dim), &b_weights, Cost::SquaredDistance));
}

#[divan::bench(args = [(5000, 2), (5000, 64)], sample_count = 5)]
fn sliced_w2_along_100_directions(bencher: Bencher, (n, dim): (usize, usize)) {
    let (a, b, directions) = (gaussian(1, n, dim), gaussian(2, n, dim), gaussian(3, 100, dim));
    bencher.bench(|| sliced_w2(cloud(&a, dim), cloud(&b, dim), &directions));
}

#[divan::bench(args = [(2000, 2), (2000, 64)], sample_count = 3)]
fn sinkhorn(bencher: Bencher, (n, dim): (usize, usize)) {
    let (a, b) = (gaussian(1, n, dim), gaussian(2, n, dim));
    bencher.bench(|| sinkhorn_divergence(cloud(&a, dim), cloud(&b, dim), &Settings::default()));
}

#[divan::bench(args = [(5000, 2), (5000, 64)], sample_count = 5)]
fn energy(bencher: Bencher, (n, dim): (usize, usize)) {
    let (a, b) = (gaussian(1, n, dim), gaussian(2, n, dim));
    bencher.bench(|| energy_distance(cloud(&a, dim), cloud(&b, dim)));
}

#[divan::bench(args = [(5000, 2), (5000, 64)], sample_count = 5)]
fn mmd(bencher: Bencher, (n, dim): (usize, usize)) {
    let (a, b) = (gaussian(1, n, dim), gaussian(2, n, dim));
    bencher.bench(|| mmd_squared(cloud(&a, dim), cloud(&b, dim), Bandwidth::Absolute((dim as f64).sqrt())));
}

#[divan::bench(args = [(5000, 2), (50_000, 2), (5000, 8), (5000, 64)], sample_count = 5)]
fn kl_of_5_neighbours(bencher: Bencher, (n, dim): (usize, usize)) {
    let (a, b) = (gaussian(1, n, dim), gaussian(2, n, dim));
    bencher.bench(|| kl_knn(cloud(&a, dim), cloud(&b, dim), 5));
}
