//! Times `L_r` of a point set beside the matrix products of its weights and means: `localization DATA Y SNR ROUNDS OUT`.
//!
//! DATA and Y are files of points x and y, OUT is where the values of L go. It prints the seconds of each round as JSON; the
//! number of threads is that of `RAYON_NUM_THREADS`. The peers are timed by crates/cli/benches/peers/localization.py.

use std::error::Error;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use brenier_measure::data::read_points;
use brenier_measure::data::write::write_points;
use brenier_measure::{Empirical, Points, PosteriorCovariance};
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use rayon::prelude::*;

/// `Y Xᵀ` and `(Y Xᵀ) X`, some queries at a time: the weights need the first product, posterior means the second.
fn products(x: &Points, y: &Points, tile: usize) -> Vec<f64> {
    let (n, d) = x.dim();
    let points = MatRef::from_row_major_slice(x.as_slice().expect("row-major"), n, d);
    let mut out = vec![0.0; y.len()];
    let tiles = y.as_slice().expect("row-major").par_chunks(tile * d).zip(out.par_chunks_mut(tile * d));
    tiles.for_each_init(
        || vec![0.0; tile * n],
        |weights, (y, out)| {
            let count = y.len() / d;
            let weights = &mut weights[..count * n];
            let y = MatRef::from_row_major_slice(y, count, d);
            let target = MatMut::from_row_major_slice_mut(weights, count, n);
            matmul(target, Accum::Replace, y, points.transpose(), 1.0, Par::Seq);
            let weights = MatRef::from_row_major_slice(weights, count, n);
            let target = MatMut::from_row_major_slice_mut(out, count, d);
            matmul(target, Accum::Replace, weights, points, 1.0, Par::Seq);
        },
    );
    out
}

fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    black_box(work());
    start.elapsed().as_secs_f64()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [data, y, snr, rounds, out] = &arguments[..] else {
        return Err("usage: localization DATA Y SNR ROUNDS OUT".into());
    };
    let (x, y) = (read_points(Path::new(data), None, None)?.points, read_points(Path::new(y), None, None)?.points);
    let (snr, rounds): (f64, usize) = (snr.parse()?, rounds.parse()?);
    if x.ncols() != y.ncols() {
        return Err(format!("{data} has dimension {}, the queries {}", x.ncols(), y.ncols()).into());
    }
    let empirical = Empirical::new(x.clone())?;
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..rounds {
        times[0].push(seconds(|| empirical.localization(snr, &y)));
        // In tiles that stay in the cache, and in tiles as large as matrix products like them.
        times[1].push(seconds(|| products(&x, &y, 32)));
        times[2].push(seconds(|| products(&x, &y, 512)));
    }
    let values = Points::from_shape_vec((y.nrows(), 1), empirical.localization(snr, &y))?;
    write_points(Path::new(out), &values, None)?;
    let [localization, cached, large] = times;
    println!("{}", serde_json::json!({"localization": localization, "products": [cached, large]}));
    Ok(())
}
