//! What the density of a target says of samples: their cross-entropy, and by their k-nearest-neighbour entropy the reverse KL.

use std::collections::BTreeMap;
use std::f64::consts::PI;

use brenier_measure::{Estimate, Measure, Points, Purpose, Sample, Stream, to_tensor};
use brenier_transport::nearest::nearest;
use burn::tensor::{DType, Device};
use ndarray::s;

use crate::clouds::between;
use crate::error::check;
use crate::{Direction, EvalError, MetricReport, Settings};

/// The largest dimension in which a k-nearest-neighbour entropy is worth its name.
const MOST_DIMENSIONS: usize = 6;

/// Perfect sample sets behind a floor.
const REPEATS: usize = 10;

/// The steps of the stream of fresh draws that belong to these floors; the distances take theirs from the steps before.
const FIRST_STEP: u64 = 1 << 32;

/// A target with a sampler and a density.
#[derive(Clone, Copy)]
pub struct DenseTarget<'a> {
    /// Its draws.
    pub sampler: &'a dyn Sample,
    /// Its log-density.
    pub density: &'a dyn Measure,
}

impl DenseTarget<'_> {
    /// `log p = log p̃ - log Z` at points `[n, d]`, in f64 on the CPU; `log p̃` where log Z is unknown.
    ///
    /// # Errors
    ///
    /// No points, points that are not finite, another dimension than the target's.
    pub fn log_densities(&self, points: &Points) -> Result<Vec<f64>, EvalError> {
        let log_z = self.density.log_normalizer().unwrap_or(0.0);
        Ok(self.unnormalized(points)?.into_iter().map(|value| value - log_z).collect())
    }

    /// `log p̃` at points `[n, d]`, in f64 on the CPU.
    ///
    /// # Errors
    ///
    /// No points, points that are not finite, another dimension than the target's.
    pub fn unnormalized(&self, points: &Points) -> Result<Vec<f64>, EvalError> {
        const TILE: usize = 4096;
        check("points", points, 1)?;
        if points.ncols() != self.density.dim() {
            let (a, b) = (points.ncols(), self.density.dim());
            return Err(EvalError::DimensionMismatch { a_name: "points", a, b_name: "the target", b });
        }
        let device = Device::flex();
        let mut values = Vec::with_capacity(points.nrows());
        for first in (0..points.nrows()).step_by(TILE) {
            let rows = points.slice(s![first..(first + TILE).min(points.nrows()), ..]).to_owned();
            let tile = self.density.log_density(to_tensor(&rows, DType::F64, &device)).into_data().convert::<f64>();
            values.extend(tile.try_to_vec::<f64>().expect("f64 after conversion"));
        }
        Ok(values)
    }
}

/// The `part`-th set of fresh draws that no distance shares.
pub fn fresh_draws(sampler: &dyn Sample, count: usize, part: u64, seed: u64) -> Points {
    sampler.sample(&Stream::new(seed, Purpose::Evaluation), FIRST_STEP + part, 0..count as u64)
}

/// `cross_entropy` and, in up to 6 dimensions, `kl_reverse` of samples `[n, d]` under a target, each with the floor of fresh draws.
///
/// `kl_reverse` is `-H(A) - E_A log p` with the entropy H of the samples estimated from their k nearest neighbours.
///
/// # Errors
///
/// No samples, points that are not finite, another dimension than the target's, [`EvalError::Interrupted`].
pub fn against_density(
    samples: &Points,
    target: &DenseTarget,
    settings: &Settings,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<BTreeMap<String, MetricReport>, EvalError> {
    let (n, seed) = (samples.nrows(), settings.seed);
    let few_dimensions = samples.ncols() <= MOST_DIMENSIONS;
    let log_densities = target.log_densities(samples)?;
    let (mut cross_entropies, mut divergences) = (Vec::new(), Vec::new());
    for repeat in 0..settings.repeats.unwrap_or(REPEATS) {
        let perfect = fresh_draws(target.sampler, n, repeat as u64, seed);
        let log_densities = target.log_densities(&perfect)?;
        cross_entropies.extend(cross_entropy(&log_densities).value);
        if few_dimensions {
            divergences.extend(kl_reverse_knn(&perfect, &log_densities, settings.k)?.value);
        }
        if !go_on() {
            return Err(EvalError::Interrupted);
        }
    }
    let normalized = target.density.log_normalizer().is_some();
    let report = |report: MetricReport, perfect: &[f64]| {
        let report = report.with_seed(seed).with_perfect(perfect);
        if normalized { report } else { report.with_note("up to the unknown log Z of the target") }
    };
    let mut reports =
        BTreeMap::from([("cross_entropy".to_owned(), report(cross_entropy(&log_densities), &cross_entropies))]);
    if few_dimensions {
        let kl_reverse = kl_reverse_knn(samples, &log_densities, settings.k)?;
        reports.insert("kl_reverse".to_owned(), report(kl_reverse, &divergences));
    }
    Ok(reports)
}

/// `-E_A log p` (nats) of log-densities of a target at samples A. A sampler that has collapsed onto a mode lies below the floor.
///
/// The other way round, `-E_p log q` of a sampler's log-densities at points of the target, it is the negative log-likelihood.
pub fn cross_entropy(log_densities: &[f64]) -> MetricReport {
    let n = log_densities.len();
    let outside = log_densities.iter().filter(|value| !value.is_finite()).count();
    if outside > 0 {
        return MetricReport::undefined(n, Direction::NearFloorIsBetter)
            .with_detail("outside", outside)
            .with_note(format!("{outside} of {n} samples lie where the density is zero"));
    }
    MetricReport::new(Estimate::mean(log_densities.iter().map(|value| -value)), n, Direction::NearFloorIsBetter)
}

/// `-H(A) - E_A log p`, in nats, with `H = ψ(n) - ψ(k) + log V_d + d/n Σ log ρ_k`, ρ_k the distance to the k-th neighbour and V_d
/// the volume of the unit ball; Kozachenko and Leonenko, Sample estimate of the entropy of a random vector (1987).
///
/// # Errors
///
/// No samples, points that are not finite.
pub fn kl_reverse_knn(samples: &Points, log_densities: &[f64], k: usize) -> Result<MetricReport, EvalError> {
    let (n, d) = samples.dim();
    let direction = Direction::LowerIsBetter;
    let k = k.max(1);
    if n <= k {
        return Ok(
            MetricReport::undefined(n, direction).with_note(format!("{k} neighbours take more than {k} samples"))
        );
    }
    let outside = log_densities.iter().filter(|value| !value.is_finite()).count();
    if outside > 0 {
        return Ok(MetricReport::undefined(n, direction)
            .with_note(format!("infinite: {outside} of {n} samples lie where the density is zero")));
    }
    let neighbours = between(samples, samples, |a, b| Ok(nearest(a, b, k, true)?))?;
    let farthest: Vec<f64> = neighbours.distances.chunks_exact(k).map(|row| row[k - 1]).collect();
    let ties = farthest.iter().filter(|distance| **distance == 0.0).count();
    if ties > 0 {
        return Ok(MetricReport::undefined(n, direction)
            .with_detail("ties", ties)
            .with_note(format!("infinite: {ties} of {n} samples coincide with {k} others")));
    }
    let constant = digamma(n) - digamma(k) + log_unit_ball(d);
    let terms = farthest.iter().zip(log_densities).map(|(rho, log_p)| -constant - d as f64 * rho.ln() - log_p);
    Ok(MetricReport::new(Estimate::mean(terms), n, direction)
        .with_detail("k", k)
        .with_note("the entropy of the samples is a k-nearest-neighbour estimate, biased like the floor"))
}

/// `ψ(n) = -γ + Σ_{i < n} 1/i` of a positive integer.
fn digamma(n: usize) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    (1..n).rev().map(|i| 1.0 / i as f64).sum::<f64>() - EULER
}

/// `log V_d`, by `V_d = V_{d-2} 2π/d`, `V_0 = 1`, `V_1 = 2`.
fn log_unit_ball(d: usize) -> f64 {
    let start = if d.is_multiple_of(2) { 0.0 } else { 2f64.ln() };
    (2 + d % 2..=d).step_by(2).map(|i| (2.0 * PI / i as f64).ln()).sum::<f64>() + start
}

#[cfg(test)]
mod tests {
    use brenier_measure::Gaussian;

    use super::*;

    #[test]
    fn balls_and_digamma_have_their_closed_forms() {
        for (d, volume) in [(1, 2.0), (2, PI), (3, 4.0 / 3.0 * PI), (4, PI * PI / 2.0), (5, 8.0 / 15.0 * PI * PI)] {
            assert!((log_unit_ball(d) - f64::ln(volume)).abs() < 1e-14, "d = {d}");
        }
        // ψ(x) = log x - 1/2x - 1/12x² + O(x⁻⁴).
        assert!((digamma(1000) - (1000f64.ln() - 0.0005 - 1.0 / 12e6)).abs() < 1e-12);
        assert!((digamma(2) - digamma(1) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn between_gaussians_the_numbers_have_closed_forms() {
        // A = N(0, s²I) under p = N(0, I): cross-entropy d/2 (log 2π + s²), KL = d (s² - 1 - log s²)/2.
        let (d, s, n) = (3usize, 1.5f64, 4000);
        let target = Gaussian::standard(d);
        let dense = DenseTarget { sampler: &target, density: &target };
        let samples = fresh_draws(&target, n, 77, 5) * s;
        let settings = Settings { seed: 9, ..Settings::default() };
        let reports = against_density(&samples, &dense, &settings, &mut || true).unwrap();
        let exact = d as f64 / 2.0 * ((2.0 * PI).ln() + s * s);
        let found = &reports["cross_entropy"];
        assert!(found.std_error.unwrap() < 0.05, "{found:?}");
        assert!((found.value.unwrap() - exact).abs() < 5.0 * found.std_error.unwrap(), "{found:?} against {exact}");
        let entropy = d as f64 / 2.0 * ((2.0 * PI).ln() + 1.0);
        assert!((found.floor.unwrap() - entropy).abs() < 5.0 * found.floor_sd.unwrap(), "{found:?} against {entropy}");
        assert!(found.z_score.unwrap() > 10.0);
        let kl = &reports["kl_reverse"];
        let exact = d as f64 * (s * s - 1.0 - (s * s).ln()) / 2.0;
        assert!(kl.std_error.unwrap() < 0.05, "{kl:?}");
        // The entropy estimate is biased by some hundredths here, the floor as much as the value.
        assert!((0.0..0.05).contains(&kl.floor.unwrap()), "{kl:?}");
        let (excess, error) =
            (kl.value.unwrap() - kl.floor.unwrap(), kl.std_error.unwrap().hypot(kl.floor_sd.unwrap()));
        assert!((excess - exact).abs() < 5.0 * error, "{kl:?} against {exact}");
    }

    #[test]
    fn points_where_the_density_is_zero_are_counted() {
        let report = cross_entropy(&[-1.0, f64::NEG_INFINITY, -2.0]);
        assert_eq!(report.value, None);
        assert_eq!(report.note.as_deref(), Some("1 of 3 samples lie where the density is zero"));
    }
}
