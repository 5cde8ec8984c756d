//! Times `L_r` of point sets beside the matrix products of its weights and means; NumPy is timed by
//! crates/cli/benches/peers/localization.py.

use brenier_measure::{Empirical, Points, PosteriorCovariance, Purpose, Stream};
use divan::{Bencher, counter::ItemsCount};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

fn main() {
    divan::main();
}

/// Where the points lie.
#[derive(Debug, Clone, Copy)]
enum Law {
    /// `N(0, I)`: no direction stands out.
    Gaussian,
    /// Ten Gaussians of standard deviation .3 about centres of `N(0, 4I)`.
    Clusters,
    /// Ten Gaussians, standard deviations of their coordinates falling like `(1 + j)^-½`, as images have them.
    Digits,
}

/// (law, points, dimension, queries).
const SETS: [(Law, usize, usize, usize); 6] = [
    (Law::Clusters, 10_000, 2, 4096),
    (Law::Gaussian, 10_000, 64, 4096),
    (Law::Clusters, 10_000, 64, 4096),
    (Law::Digits, 10_000, 64, 4096),
    (Law::Digits, 1797, 64, 4096),
    (Law::Digits, 2000, 784, 256),
];

/// Rows of the law, each with its own index.
fn draws(law: Law, count: usize, dim: usize, first: u64) -> Points {
    let normal = |purpose, row: u64, j: usize| Stream::new(0, purpose).at(j as u64, row).normal();
    Points::from_shape_fn((count, dim), |(i, j)| {
        let own = normal(Purpose::Evaluation, first + i as u64, j);
        let centre = 2.0 * normal(Purpose::Batch, i as u64 % 10, j);
        match law {
            Law::Gaussian => own,
            Law::Clusters => centre + 0.3 * own,
            Law::Digits => (1.0 + j as f64).powf(-0.5) * (0.5 * centre + own),
        }
    })
}

/// Points and queries `y = rx + z`, x another draw.
fn points_and_queries((law, n, dim, m): (Law, usize, usize, usize), snr: f64) -> (Points, Points) {
    let (x, fresh) = (draws(law, n, dim, 0), draws(law, m, dim, n as u64));
    (x, snr * fresh + draws(Law::Gaussian, m, dim, (n + m) as u64))
}

fn localization(bencher: Bencher, set: (Law, usize, usize, usize), snr: f64) {
    let (x, y) = points_and_queries(set, snr);
    let empirical = Empirical::new(x).expect("finite points");
    bencher.counter(ItemsCount::new(y.nrows())).bench(|| empirical.localization(snr, &y));
}

#[divan::bench(args = SETS, sample_count = 5)]
fn at_a_third(bencher: Bencher, set: (Law, usize, usize, usize)) {
    localization(bencher, set, 0.3);
}

#[divan::bench(args = SETS, sample_count = 5)]
fn at_one(bencher: Bencher, set: (Law, usize, usize, usize)) {
    localization(bencher, set, 1.0);
}

#[divan::bench(args = SETS, sample_count = 5)]
fn at_three(bencher: Bencher, set: (Law, usize, usize, usize)) {
    localization(bencher, set, 3.0);
}

#[divan::bench(args = SETS, sample_count = 5)]
fn at_ten(bencher: Bencher, set: (Law, usize, usize, usize)) {
    localization(bencher, set, 10.0);
}

/// `Y Xᵀ` and `(Y Xᵀ) X`, 32 queries at a time.
#[divan::bench(args = SETS, sample_count = 5)]
fn two_products(bencher: Bencher, set: (Law, usize, usize, usize)) {
    let (x, y) = points_and_queries(set, 1.0);
    let (n, d) = x.dim();
    let points = MatRef::from_row_major_slice(x.as_slice().expect("row-major"), n, d);
    bencher.counter(ItemsCount::new(y.nrows())).bench(|| {
        let tiles = y.as_slice().expect("row-major").par_chunks(32 * d);
        let means = tiles.map_init(
            || vec![0.0; 32 * n],
            |weights, y| {
                let count = y.len() / d;
                let mut means = vec![0.0; count * d];
                let weights = &mut weights[..count * n];
                let y = MatRef::from_row_major_slice(y, count, d);
                let target = MatMut::from_row_major_slice_mut(weights, count, n);
                matmul(target, Accum::Replace, y, points.transpose(), 1.0, Par::Seq);
                let weights = MatRef::from_row_major_slice(weights, count, n);
                let target = MatMut::from_row_major_slice_mut(&mut means, count, d);
                matmul(target, Accum::Replace, weights, points, 1.0, Par::Seq);
                means
            },
        );
        means.collect::<Vec<_>>()
    });
}
