//! Where a fit starts: the nearest of centres that k-means finds.
//!
//! Arthur and Vassilvitskii, k-means++: the advantages of careful seeding, SODA (2007).

use ndarray::{Array1, Axis, s};
use rayon::prelude::*;

use super::{Observed, blocks};
use crate::measure::Points;
use crate::random::{Purpose, Stream, Words};

/// Passes of k-means at most.
const PASSES: usize = 20;

/// The centre that each point is nearest to, numbered from 0 without gaps.
pub(super) fn nearest_centres(observed: &Observed, count: usize, seed: u64, restart: u64) -> Vec<usize> {
    let x = scaled(observed);
    let mut words = Stream::new(seed, Purpose::MixtureStart).at(restart, count as u64);
    let mut centres = drawn(&x, &observed.weights, count.max(1), &mut words);
    let mut nearest = nearest(&x, &centres);
    for _ in 0..PASSES {
        let (k, d) = centres.dim();
        let (mut sums, mut counts) = (Points::zeros((k, d)), Array1::<f64>::zeros(k));
        for ((row, &k), &weight) in x.rows().into_iter().zip(&nearest).zip(&observed.weights) {
            sums.row_mut(k).scaled_add(weight, &row);
            counts[k] += weight;
        }
        for k in (0..k).filter(|&k| counts[k] > 0.0) {
            centres.row_mut(k).assign(&(&sums.row(k) / counts[k]));
        }
        let moved = self::nearest(&x, &centres);
        if moved == nearest {
            break;
        }
        nearest = moved;
    }
    // A centre may have lost its points.
    let mut used: Vec<usize> = nearest.clone();
    used.sort_unstable();
    used.dedup();
    nearest.iter().map(|k| used.partition_point(|used| used < k)).collect()
}

/// The points in the units of their columns: a column counts as much as another.
fn scaled(observed: &Observed) -> Points {
    &observed.points / &observed.units
}

/// Rows as centres: each next one with a probability that grows with the squared distance to those before; as many as there are distinct
/// points.
fn drawn(x: &Points, weights: &[f64], count: usize, words: &mut Words) -> Points {
    let mut rows = vec![weighted_row(weights, words).expect("weights are positive")];
    let mut distances = vec![f64::INFINITY; x.nrows()];
    while rows.len() < count {
        let last = x.row(rows[rows.len() - 1]);
        distances.par_iter_mut().enumerate().for_each(|(i, distance)| {
            let square = x.row(i).iter().zip(last).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            *distance = distance.min(square);
        });
        let chances: Vec<f64> = distances.iter().zip(weights).map(|(distance, weight)| distance * weight).collect();
        match weighted_row(&chances, words) {
            Some(row) => rows.push(row),
            None => break,
        }
    }
    x.select(Axis(0), &rows)
}

/// A row with a probability proportional to its chance; `None` where all are 0.
fn weighted_row(chances: &[f64], words: &mut Words) -> Option<usize> {
    let total: f64 = chances.iter().sum();
    if total.is_nan() || total <= 0.0 {
        return None;
    }
    let mark = words.uniform() * total;
    let mut sum = 0.0;
    let found = chances.iter().position(|chance| {
        sum += chance;
        sum > mark
    });
    // Rounding may leave the mark above the last sum.
    found.or_else(|| chances.iter().rposition(|&chance| chance > 0.0))
}

/// The nearest centre of every point; of equal distances the first.
fn nearest(x: &Points, centres: &Points) -> Vec<usize> {
    let half_squares: Vec<f64> = centres.rows().into_iter().map(|row| 0.5 * row.dot(&row)).collect();
    let parts: Vec<Vec<usize>> = blocks(x.nrows())
        .into_par_iter()
        .map(|rows| {
            let products = x.slice(s![rows, ..]).dot(&centres.t());
            let of_row = |row: ndarray::ArrayView1<f64>| {
                let mut best = (0, f64::INFINITY);
                for (k, (product, half)) in row.iter().zip(&half_squares).enumerate() {
                    if half - product < best.1 {
                        best = (k, half - product);
                    }
                }
                best.0
            };
            products.rows().into_iter().map(of_row).collect()
        })
        .collect();
    parts.concat()
}
