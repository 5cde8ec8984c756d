//! The extension of the exact discrete dual to points that were not transported, beside a true map.
//!
//! ```sh
//! RAYON_NUM_THREADS=1 cargo run --release -p brenier-eval --example discrete_dual -- datasets/mix3_to_mix10_2.npz [--points 50000] [--seeds 2]
//! ```
//!
//! As many draws y of the reference and points x of the target are assigned exactly. The dual potentials `a_i + b_j ≤ |y_i - x_j|²` extend to every
//! y by the c-transform, and the map to `T(y) = x_j`, j the least of `|y - x_j|² - b_j`. The archive is that of the Wasserstein-2 benchmark in
//! datasets/README.md. Prints L2-UVP (%), the cosine and the seconds of the assignment for every seed.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use brenier_eval::brenier_map::{displacement_cosine, l2_uvp};
use brenier_measure::data::read_array;
use brenier_measure::{GaussianMixture, Points, Purpose, Sample, Stream};
use brenier_transport::{Cloud, Cost, exact};
use ndarray::Axis;
use rayon::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let (mut file, mut points, mut seeds) = (None, 50_000, 2);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> { Ok(arguments.next().ok_or("a number after the flag")?.parse()?) };
        match argument.as_str() {
            "--points" => points = number()?,
            "--seeds" => seeds = number()?,
            _ => file = Some(argument),
        }
    }
    let file = file.ok_or("the archive of a pair of measures")?;
    let array = |name: &str| read_array(Path::new(&file), name);
    let reference =
        reference(&array("reference_weights")?, &array("reference_means")?, &array("reference_covariances")?)?;
    let target = array("target_samples")?;
    let (test, images) = (array("test_x")?, array("test_map")?);
    for seed in 0..seeds {
        let order = Stream::new(seed, Purpose::Batch).permutation(0, target.nrows());
        let x = target.select(Axis(0), &order[..target.nrows().min(points as usize)]);
        let y = reference.sample(&Stream::new(seed, Purpose::Reference), 0, 0..x.nrows() as u64);
        let started = Instant::now();
        let optimum = exact::optimal_transport(cloud(&y)?, cloud(&x)?, Cost::SquaredDistance)?;
        let seconds = started.elapsed().as_secs_f64();
        let found = extended(&test, &x, &optimum.potentials.b);
        let (uvp, cosine) = (l2_uvp(&found, &images)?, displacement_cosine(&test, &found, &images)?);
        println!(
            "{} points, seed {seed}: L2-UVP {:.3} %, cosine {:.4}, {seconds:.1} s",
            x.nrows(),
            uvp.value.unwrap_or(f64::NAN),
            cosine.value.unwrap_or(f64::NAN)
        );
    }
    Ok(())
}

fn reference(weights: &Points, means: &Points, covariances: &Points) -> Result<GaussianMixture> {
    let d = means.ncols();
    let rows = |points: &Points| points.rows().into_iter().map(|row| row.to_vec()).collect::<Vec<_>>();
    let covariances =
        rows(covariances).iter().map(|entries| entries.chunks(d).map(<[f64]>::to_vec).collect()).collect();
    Ok(GaussianMixture::new(weights.iter().copied().collect(), rows(means), covariances)?)
}

fn cloud(points: &Points) -> Result<Cloud<'_>> {
    Ok(Cloud::new(points.as_slice().ok_or("points in standard layout")?, points.ncols())?)
}

/// The x of least `|y - x|² - b` for every y.
fn extended(y: &Points, x: &Points, b: &[f64]) -> Points {
    let rows: Vec<usize> = (0..y.nrows())
        .into_par_iter()
        .map(|i| {
            let excess = |j: usize| (&y.row(i) - &x.row(j)).mapv(|e| e * e).sum() - b[j];
            (0..x.nrows()).min_by(|&j, &k| excess(j).total_cmp(&excess(k))).expect("a point")
        })
        .collect();
    x.select(Axis(0), &rows)
}
