//! What samples say of every coordinate of a law: its moments and quantiles, and whether groups of them agree.
//!
//! Vehtari, Gelman, Simpson, Carpenter and Bürkner, Rank-normalization, folding, and localization: An improved R̂, Bayesian Analysis 16
//! (2021).

use std::fmt;

use brenier_measure::Points;
use brenier_measure::random::normal_quantile;
use serde::{Deserialize, Serialize};

use crate::report::{digits, optional};

/// One coordinate of a law.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoordinateSummary {
    /// Its name.
    pub name: String,
    /// The mean of the samples.
    pub mean: f64,
    /// Their standard deviation.
    pub sd: f64,
    /// Their quantiles at 5, 50 and 95 per cent.
    pub quantiles: [f64; 3],
    /// The rank-normalised split R̂ between groups, where there are groups: 1 where they agree, above 1.01 where they do not quite.
    pub r_hat: Option<f64>,
}

/// The shares of the quantiles.
pub const SHARES: [f64; 3] = [0.05, 0.5, 0.95];

/// The summary of every coordinate of samples `[n, d]`; groups of points, each in an order in which neighbours may depend on one another,
/// give R̂.
pub fn posterior_summary(samples: &Points, names: Option<&[String]>, groups: &[Points]) -> Vec<CoordinateSummary> {
    let column = |points: &Points, j: usize| points.column(j).to_vec();
    (0..samples.ncols())
        .map(|j| {
            let mut values = column(samples, j);
            values.sort_by(f64::total_cmp);
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
            let groups: Vec<Vec<f64>> = groups.iter().map(|group| column(group, j)).collect();
            CoordinateSummary {
                name: names.and_then(|names| names.get(j)).cloned().unwrap_or_else(|| format!("x{j}")),
                mean,
                sd: variance.sqrt(),
                quantiles: SHARES.map(|share| quantile(&values, share)),
                r_hat: r_hat(&groups),
            }
        })
        .collect()
}

/// The quantile of sorted values, between neighbours by a straight line.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    sorted[low] + part * (sorted[(low + 1).min(sorted.len() - 1)] - sorted[low])
}

/// The rank-normalised split R̂ of groups of values: the larger of that of their ranks and that of the ranks of their distances from the
/// median; infinite where values differ between groups alone. `None` for fewer than two groups, or groups of fewer than four values.
pub fn r_hat(groups: &[Vec<f64>]) -> Option<f64> {
    let length = groups.iter().map(Vec::len).min()? / 2;
    if groups.len() < 2 || length < 2 {
        return None;
    }
    let halves: Vec<&[f64]> =
        groups.iter().flat_map(|group| [&group[..length], &group[group.len() - length..]]).collect();
    let all: Vec<f64> = halves.concat();
    let mut sorted = all.clone();
    sorted.sort_by(f64::total_cmp);
    let median = quantile(&sorted, 0.5);
    let folded: Vec<f64> = all.iter().map(|x| (x - median).abs()).collect();
    let found = split_r_hat(&normal_scores(&all), length).max(split_r_hat(&normal_scores(&folded), length));
    (!found.is_nan()).then_some(found)
}

/// `Φ⁻¹((rank - 3/8)/(S + 1/4))`; equal values share the mean of their ranks.
fn normal_scores(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut scores = vec![0.0; values.len()];
    let mut first = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (equal.len() + 1) as f64 / 2.0;
        let score = normal_quantile((rank - 0.375) / (values.len() as f64 + 0.25));
        equal.iter().for_each(|&i| scores[i] = score);
        first += equal.len();
    }
    scores
}

/// `√(((N - 1)/N W + B/N)/W)` of sequences of length N, one after the other.
fn split_r_hat(scores: &[f64], length: usize) -> f64 {
    let n = length as f64;
    let moments = |part: &[f64]| {
        let mean = part.iter().sum::<f64>() / n;
        (mean, part.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0))
    };
    let (means, variances): (Vec<f64>, Vec<f64>) = scores.chunks_exact(length).map(moments).unzip();
    let count = means.len() as f64;
    let within = variances.iter().sum::<f64>() / count;
    let mean = means.iter().sum::<f64>() / count;
    let between = means.iter().map(|m| (m - mean).powi(2)).sum::<f64>() / (count - 1.0);
    // All values equal: nothing disagrees.
    if within == 0.0 && between == 0.0 { 1.0 } else { (((n - 1.0) / n * within + between) / within).sqrt() }
}

/// The table of coordinates, aligned.
#[derive(Debug, Clone, Copy)]
pub struct SummaryTable<'a>(pub &'a [CoordinateSummary]);

impl fmt::Display for SummaryTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|row| row.name.chars().count()).max().unwrap_or(0).max("coordinate".len());
        writeln!(
            f,
            "{:width$}  {:>10}  {:>10}  {:>10}  {:>10}  {:>10}  {:>8}",
            "coordinate", "mean", "sd", "5 %", "50 %", "95 %", "R̂"
        )?;
        for row in self.0 {
            let [low, median, high] = row.quantiles.map(digits);
            let (mean, sd, r_hat) = (digits(row.mean), digits(row.sd), optional(row.r_hat));
            writeln!(f, "{:width$}  {mean:>10}  {sd:>10}  {low:>10}  {median:>10}  {high:>10}  {r_hat:>7}", row.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream};

    use super::*;

    fn normals(seed: u64, n: u64, shift: f64, scale: f64) -> Vec<f64> {
        (0..n).map(|i| shift + scale * Stream::new(seed, Purpose::Metric).at(0, i).normal()).collect()
    }

    #[test]
    fn r_hat_sees_places_and_widths() {
        let groups = |shift: f64, scale: f64| {
            let groups = [(0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (shift, scale)];
            r_hat(&(0..4u64).zip(groups).map(|(seed, (s, w))| normals(seed, 500, s, w)).collect::<Vec<_>>()).unwrap()
        };
        assert!(groups(0.0, 1.0) < 1.01, "{}", groups(0.0, 1.0));
        assert!(groups(1.0, 1.0) > 1.05 && groups(0.0, 3.0) > 1.05, "{} {}", groups(1.0, 1.0), groups(0.0, 3.0));
        assert_eq!(r_hat(&[vec![2.0; 8], vec![2.0; 8]]), Some(1.0));
        assert_eq!(r_hat(&[vec![2.0; 8], vec![3.0; 8]]), Some(f64::INFINITY));
        assert_eq!(r_hat(&[normals(1, 100, 0.0, 1.0)]), None);
    }

    #[test]
    fn moments_and_quantiles_are_those_of_the_samples() {
        let samples = Points::from_shape_fn((101, 2), |(i, j)| if j == 0 { i as f64 } else { -(i as f64) });
        let names = ["a".to_owned()];
        let [a, b] = &posterior_summary(&samples, Some(&names), &[])[..] else { panic!() };
        assert_eq!((a.name.as_str(), a.mean, a.quantiles), ("a", 50.0, [5.0, 50.0, 95.0]));
        // The variance of 0 to 100 is 101·102/12.
        assert!((a.sd - (101.0 * 102.0 / 12.0f64).sqrt()).abs() < 1e-9 && a.r_hat.is_none());
        assert_eq!((b.name.as_str(), b.quantiles), ("x1", [-95.0, -50.0, -5.0]));
    }
}
