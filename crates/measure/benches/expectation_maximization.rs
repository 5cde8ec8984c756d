//! Times fits of a mixture, on the threads of RAYON_NUM_THREADS.

use brenier_measure::expectation_maximization::{CovarianceKind, ExpectationMaximization, KnownNoise, Observed, Stop};
use brenier_measure::{Points, Purpose, Sample, Stream, targets};
use divan::Bencher;
use ndarray::Array2;

fn main() {
    divan::main();
}

const FULL: ExpectationMaximization = ExpectationMaximization { covariance: CovarianceKind::Full, shrinkage: 0.0 };

fn normals(n: u64, d: usize, stream: &Stream) -> Points {
    let mut points = Points::zeros((n as usize, d));
    for (i, mut row) in points.rows_mut().into_iter().enumerate() {
        stream.at(0, i as u64).fill_normal(row.as_slice_mut().expect("rows are contiguous"));
    }
    points
}

/// 20,000 points of two moons, 32 components, 100 steps.
#[divan::bench(sample_count = 3)]
fn two_moons_32_components_100_steps(bencher: Bencher) {
    let points = targets::two_moons().sample(&Stream::new(0, Purpose::Batch), 0, 0..20_000);
    let observed = Observed::new(&points, None, None).expect("points");
    let stop = Stop { iterations: 100, tolerance: f64::NEG_INFINITY };
    bencher.bench_local(|| FULL.fit(&observed, FULL.start(&observed, 32, 0, 0), stop).expect("a mixture"));
}

/// 1300 points in dimension 64 with four copies of their noise, 20 components, 25 steps.
#[divan::bench(sample_count = 3)]
fn dimension_64_20_components_25_steps(bencher: Bencher) {
    let stream = |seed| Stream::new(seed, Purpose::Batch);
    let points = normals(1300, 64, &stream(0));
    let copies = (1..5).map(|seed| &points + &(normals(1300, 64, &stream(seed)) * 0.3)).collect();
    let noise = KnownNoise { covariance: Array2::eye(64) * 0.09, copies };
    let observed = Observed::new(&points, None, Some(noise)).expect("points");
    let stop = Stop { iterations: 25, tolerance: f64::NEG_INFINITY };
    bencher.bench_local(|| FULL.fit(&observed, FULL.start(&observed, 20, 0, 0), stop).expect("a mixture"));
}
