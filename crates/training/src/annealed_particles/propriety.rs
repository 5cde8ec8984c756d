//! Whether a density has a normaliser, as far as rays tell.
//!
//! # Design
//!
//! By Fubini's theorem a density of finite mass has finite mass along almost every line of each direction, so that `r p(b + rv)` falls in
//! the end for a base b in general position: in a point of symmetry it may grow without harm (a centred hierarchical model, at the means
//! of its groups). Rays are those along the axes, between pairs of them, along the axes of the curvature (a ridge that no axis follows is
//! flat along one of these), and some more; radii are so far out that the tail alone speaks.

use brenier_measure::linear_algebra::symmetric_eigen;
use brenier_measure::{GaussianMixture, Measure, Points, Purpose, Sample, Stream};
use ndarray::Axis;

use super::modes::{MOST_DIMENSIONS, log_densities, precision_at};

/// Radii, in standard deviations of the start.
const RADII: [f64; 6] = [1e1, 1e2, 1e3, 1e6, 1e9, 1e12];

/// Up to this dimension rays go between every two axes.
const MOST_PAIRED: usize = 16;

/// Rays in directions of no meaning.
const OTHERS: usize = 8;

/// A direction in which the mass of a box grows with the box, if one was found.
pub(super) fn improper_direction(target: &dyn Measure, start: &GaussianMixture) -> Option<Vec<f64>> {
    let covariance = start.covariance();
    // The same for every run: whether a density is refused is no matter of its seed.
    let stream = Stream::new(0, Purpose::Particles);
    let base = start.sample(&stream, 0, 0..1).remove_axis(Axis(0));
    let rays = directions(target, &base.to_vec(), &stream);
    let lengths: Vec<f64> = rays
        .iter()
        .map(|ray| {
            let variance: f64 = ray.iter().enumerate().map(|(j, v)| v * v * covariance[[j, j]]).sum();
            variance.sqrt()
        })
        .collect();
    let tails: Vec<Vec<f64>> = RADII
        .iter()
        .map(|radius| {
            let points =
                Points::from_shape_fn((rays.len(), base.len()), |(i, j)| base[j] + radius * lengths[i] * rays[i][j]);
            log_densities(target, &points).into_iter().map(|log| log + radius.ln()).collect()
        })
        .collect();
    let grows = |ray: usize| {
        let tail: Vec<f64> = tails.iter().map(|at| at[ray]).collect();
        if tail.contains(&f64::INFINITY) {
            return true;
        }
        let finite: Vec<f64> = tail.into_iter().filter(|log| log.is_finite()).collect();
        matches!(finite[..], [.., a, b, c] if a < b && b < c)
    };
    (0..rays.len()).find(|&ray| grows(ray)).map(|ray| rays[ray].clone())
}

/// Directions, both ways.
fn directions(target: &dyn Measure, base: &[f64], stream: &Stream) -> Vec<Vec<f64>> {
    let d = base.len();
    let along = |entries: &[(usize, f64)]| {
        let mut ray = vec![0.0; d];
        entries.iter().for_each(|&(j, v)| ray[j] = v);
        ray
    };
    let mut rays: Vec<Vec<f64>> = (0..d).map(|j| along(&[(j, 1.0)])).collect();
    if d <= MOST_PAIRED {
        for i in 0..d {
            rays.extend((0..i).flat_map(|j| [1.0, -1.0].map(|sign| along(&[(j, 1.0), (i, sign)]))));
        }
    }
    if d <= MOST_DIMENSIONS
        && let Some(vectors) = symmetric_eigen(&precision_at(target, base)).and_then(|spectrum| spectrum.vectors)
    {
        rays.extend(vectors.columns().into_iter().map(|column| column.to_vec()));
    }
    let mut words = stream.at(1, 0);
    rays.extend((0..OTHERS).map(|_| (0..d).map(|_| words.normal()).collect()));
    for ray in &mut rays {
        let length = ray.iter().map(|v| v * v).sum::<f64>().sqrt();
        ray.iter_mut().for_each(|v| *v /= length);
    }
    rays.into_iter().flat_map(|ray| [ray.clone(), ray.into_iter().map(|v| -v).collect()]).collect()
}
