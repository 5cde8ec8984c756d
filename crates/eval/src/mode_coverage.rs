//! Which modes of a Gaussian mixture a sampler reaches, and in what shares.
//!
//! The entropic mode coverage is that of Blessing, Jia, Esslinger, Vargas and Neumann, Beyond ELBOs: A Large-Scale
//! Evaluation of Variational Methods for Sampling, ICML (2024); their code counts the most responsible components, here the
//! responsibilities themselves are averaged, which agrees where the components are separate.

use std::collections::BTreeMap;

use brenier_measure::{Estimate, GaussianMixture, Points, Purpose, Sample, Stream, to_points, to_tensor};
use burn::tensor::{DType, Device};
use ndarray::{Array1, Array2, s};
use serde::{Deserialize, Serialize};

use crate::error::check;
use crate::{Direction, EvalError, MetricReport};

/// One component of a mixture, as the samples found it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mode {
    /// Its weight in the mixture.
    pub weight: f64,
    /// Its mean responsibility for the samples.
    pub found: Estimate,
    /// Samples for which it is the most responsible, within its ball of probability [`BALL`].
    pub hits: usize,
}

/// The modes of a mixture among samples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModeCoverage {
    /// The components, in the order of the mixture.
    pub modes: Vec<Mode>,
    /// Samples outside the balls of all components.
    pub strays: usize,
    /// `modes_hit`, `mode_entropy`, `mode_jensen_shannon` and `mode_total_variation`, each with its floor.
    pub metrics: BTreeMap<String, MetricReport>,
}

/// The probability of the ball, in a component's own metric, outside of which a point does not hit it.
pub const BALL: f64 = 0.999;

/// Perfect sample sets behind a floor.
const REPEATS: u64 = 10;

/// Samples whose responsibilities are held at a time.
const ROWS: usize = 8192;

/// A mean responsibility below this one counts as zero.
const NEGLIGIBLE: f64 = 1e-150;

/// Compares the components' shares of samples `[n, d]` with the weights of the mixture.
///
/// With r̄ the mean of the [responsibilities](GaussianMixture::responsibilities) over the samples, p the weights and M the
/// number of components:
/// - `modes_hit`: components that are the most responsible for a sample within their 99.9 % ball,
///   `(x - μ)ᵀΣ⁻¹(x - μ) ≤ χ²_d(.999)`: a point far from all of them hits none;
/// - `mode_entropy`: `-Σ r̄ᵢ log_M r̄ᵢ`, the entropic mode coverage, 1 where all modes are equally visited; undefined for M = 1;
/// - `mode_jensen_shannon`: `½ KL(r̄‖m) + ½ KL(p‖m)` with `m = ½(r̄ + p)`, in bits: 0 where the shares are the weights, which
///   also judges unequal weights;
/// - `mode_total_variation`: `½ Σ |r̄ᵢ - pᵢ|`.
///
/// Standard errors are those of the delta method in r̄, for the two entropies with the second-order term, which is what
/// is left where the shares are the weights; that of `modes_hit` is what resampling the samples would give,
/// `√Σ mᵢ(1 - mᵢ)` with `mᵢ = (1 - hitsᵢ/n)ⁿ`. Floors are ten perfect sample sets of the same size, drawn with the seed.
///
/// # Errors
///
/// Fewer than two samples, points that are not finite, another dimension than the mixture's, a mixture without a
/// density.
pub fn mode_coverage(samples: &Points, mixture: &GaussianMixture, seed: u64) -> Result<ModeCoverage, EvalError> {
    check("samples", samples, 2)?;
    if samples.ncols() != mixture.dim() {
        let (a, b) = (samples.ncols(), mixture.dim());
        return Err(EvalError::DimensionMismatch { a_name: "samples", a, b_name: "the mixture", b });
    }
    if let Some(component) =
        mixture.components().iter().position(|c| c.spectrum().values.iter().any(|&variance| variance <= 0.0))
    {
        return Err(EvalError::SingularComponent { component });
    }
    let n = samples.nrows();
    let found = Tally::new(samples, mixture);
    let stream = Stream::new(seed, Purpose::Evaluation);
    // Step 0 of the stream belongs to the points that samples are compared with.
    let perfect: Vec<Tally> =
        (1..=REPEATS).map(|step| Tally::new(&mixture.sample(&stream, step, 0..n as u64), mixture)).collect();

    let weights: Vec<f64> = mixture.components().iter().map(|c| c.weight()).collect();
    let report = |part: &dyn Fn(&Tally) -> Estimate, direction| {
        let perfect: Vec<f64> = perfect.iter().map(|tally| part(tally).value).collect();
        let report = MetricReport::new(part(&found), n, direction).with_perfect(&perfect).with_seed(seed);
        match found.strays as f64 > expected_strays(n) {
            true => report.with_note(format!(
                "{} of {n} samples lie outside the 99.9 % ball of every component: they hit no mode, but they count in \
                 the shares",
                found.strays
            )),
            false => report,
        }
    };
    let even = weights.iter().all(|&p| (p * weights.len() as f64 - 1.0).abs() < 1e-9);
    let entropy = if weights.len() == 1 {
        MetricReport::undefined(n, Direction::HigherIsBetter).with_note("one component has no entropy of shares")
    } else if even {
        report(&Tally::entropy, Direction::HigherIsBetter)
    } else {
        report(&Tally::entropy, Direction::NearFloorIsBetter)
            .with_note("the weights are unequal: a perfect sampler is at the floor, not at 1")
    };
    let metrics = BTreeMap::from([
        (
            "modes_hit".to_owned(),
            report(&Tally::modes_hit, Direction::HigherIsBetter).with_detail("modes", weights.len()),
        ),
        ("mode_entropy".to_owned(), entropy),
        ("mode_jensen_shannon".to_owned(), report(&|tally| tally.jensen_shannon(&weights), Direction::LowerIsBetter)),
        ("mode_total_variation".to_owned(), report(&|tally| tally.total_variation(&weights), Direction::LowerIsBetter)),
    ]);
    let modes =
        (0..weights.len()).map(|i| Mode { weight: weights[i], found: found.share(i), hits: found.hits[i] }).collect();
    Ok(ModeCoverage { modes, strays: found.strays, metrics })
}

/// Strays among n perfect samples, five standard deviations above the mean that one component gives.
fn expected_strays(n: usize) -> f64 {
    let mean = (1.0 - BALL) * n as f64;
    mean + 5.0 * mean.sqrt() + 1.0
}

/// Moments of the responsibilities for some samples.
struct Tally {
    n: f64,
    /// r̄, `[M]`.
    mean: Array1<f64>,
    /// The covariance of the responsibilities of one sample, `[M, M]`.
    covariance: Array2<f64>,
    hits: Vec<usize>,
    strays: usize,
}

impl Tally {
    fn new(samples: &Points, mixture: &GaussianMixture) -> Self {
        let (n, count) = (samples.nrows(), mixture.components().len());
        let radius_squared = chi_squared_quantile(mixture.dim(), BALL);
        let mut sum = Array1::<f64>::zeros(count);
        let mut products = Array2::<f64>::zeros((count, count));
        let (mut hits, mut strays) = (vec![0; count], 0);
        for first in (0..n).step_by(ROWS) {
            let rows = samples.slice(s![first..(first + ROWS).min(n), ..]).to_owned();
            let tensor = to_tensor(&rows, DType::F64, &Device::flex());
            let shares = to_points(mixture.responsibilities(tensor.clone()));
            let distances = to_points(mixture.squared_mahalanobis(tensor));
            for (shares, distances) in shares.outer_iter().zip(distances.outer_iter()) {
                // The first of equals.
                let most = (1..count).fold(0, |most, k| if shares[k] > shares[most] { k } else { most });
                if distances[most] <= radius_squared {
                    hits[most] += 1;
                } else if distances.iter().all(|&squared| squared > radius_squared) {
                    strays += 1;
                }
                sum += &shares;
            }
            products += &shares.t().dot(&shares);
        }
        let n = n as f64;
        let mean = sum / n;
        let covariance =
            Array2::from_shape_fn((count, count), |(i, j)| (products[[i, j]] / n - mean[i] * mean[j]) * n / (n - 1.0));
        Self { n, mean, covariance, hits, strays }
    }

    /// The standard error of a function of r̄ with this gradient g and this diagonal Hessian H: `√(gᵀCg/n + s)` with the
    /// second-order term `s = ½ tr(HCHC)/n²`.
    ///
    /// The gradient is known at r̄ alone, whose own noise adds 2s to `gᵀCg/n` on average: s is subtracted, not added, and
    /// never leaves less than s.
    fn error(&self, gradient: impl Fn(f64, usize) -> f64, curvature: impl Fn(f64, usize) -> f64) -> f64 {
        let at = |f: &dyn Fn(f64, usize) -> f64| -> Array1<f64> {
            let of = |(i, &share): (usize, &f64)| if share > NEGLIGIBLE { f(share, i) } else { 0.0 };
            self.mean.iter().enumerate().map(of).collect()
        };
        let (g, h) = (at(&gradient), at(&curvature));
        let first = g.dot(&self.covariance.dot(&g)).max(0.0) / self.n;
        let trace: f64 = self.covariance.indexed_iter().map(|((i, j), c)| h[i] * h[j] * c * c).sum();
        let second = 0.5 * trace / (self.n * self.n);
        (first - second).max(second).sqrt()
    }

    fn share(&self, i: usize) -> Estimate {
        Estimate { value: self.mean[i], std_error: (self.covariance[[i, i]].max(0.0) / self.n).sqrt() }
    }

    fn modes_hit(&self) -> Estimate {
        let missed = self.hits.iter().map(|&hits| (1.0 - hits as f64 / self.n).powf(self.n));
        Estimate {
            value: self.hits.iter().filter(|&&hits| hits > 0).count() as f64,
            std_error: missed.map(|m| m * (1.0 - m)).sum::<f64>().sqrt(),
        }
    }

    fn entropy(&self) -> Estimate {
        let unit = (self.mean.len() as f64).ln();
        Estimate {
            value: -self.mean.iter().filter(|&&r| r > 0.0).map(|r| r * r.ln()).sum::<f64>() / unit,
            std_error: self.error(|r, _| -r.ln() / unit, |r, _| -1.0 / (r * unit)),
        }
    }

    fn jensen_shannon(&self, weights: &[f64]) -> Estimate {
        let half_log = |a: f64, b: f64| if a > 0.0 { 0.5 * a * (2.0 * a / (a + b)).log2() } else { 0.0 };
        Estimate {
            value: self.mean.iter().zip(weights).map(|(&r, &p)| half_log(r, p) + half_log(p, r)).sum(),
            std_error: self.error(
                |r, i| 0.5 * (2.0 * r / (r + weights[i])).log2(),
                |r, i| 0.5 * (1.0 / r - 1.0 / (r + weights[i])) / std::f64::consts::LN_2,
            ),
        }
    }

    fn total_variation(&self, weights: &[f64]) -> Estimate {
        Estimate {
            value: 0.5 * self.mean.iter().zip(weights).map(|(r, p)| (r - p).abs()).sum::<f64>(),
            std_error: self.error(|r, i| 0.5 * (r - weights[i]).signum(), |_, _| 0.0),
        }
    }
}

/// The x with `P(χ²_d ≤ x) = p`, by bisection.
fn chi_squared_quantile(dim: usize, p: f64) -> f64 {
    // Mean d, variance 2d: the upper end is a hundred deviations away.
    let (mut low, mut high) = (0.0, dim as f64 + 100.0 * (2.0 * dim as f64).sqrt());
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if chi_squared_probability(dim, middle) < p { low = middle } else { high = middle }
    }
    f64::midpoint(low, high)
}

/// `P(χ²_d ≤ x)`: the series of the incomplete gamma function, `zᵃe⁻ᶻ/Γ(a+1) · Σ zᵏ/((a+1)…(a+k))` with `a = d/2`,
/// `z = x/2`; every term is positive.
fn chi_squared_probability(dim: usize, x: f64) -> f64 {
    let (a, z) = (0.5 * dim as f64, 0.5 * x);
    if z == 0.0 {
        return 0.0;
    }
    // log Γ(a + 1) from Γ(1) = 1 or Γ(½) = √π, a step of one at a time.
    let start = if dim.is_multiple_of(2) { 0.0 } else { 0.5 * std::f64::consts::PI.ln() };
    let log_gamma: f64 = start + (1..=dim.div_ceil(2)).map(|k| (a + 1.0 - k as f64).ln()).sum::<f64>();
    let (mut term, mut sum, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-17 {
        term *= z / (a + k);
        sum += term;
        k += 1.0;
    }
    (a * z.ln() - z - log_gamma + sum.ln()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Modes eight apart on a line, of unit variance in the plane.
    fn mixture(weights: &[f64]) -> GaussianMixture {
        let means = (0..weights.len()).map(|k| vec![8.0 * k as f64, 0.0]).collect();
        let eye = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
        GaussianMixture::new(weights.to_vec(), means, vec![eye; weights.len()]).unwrap()
    }

    fn draws(weights: &[f64], n: u64, seed: u64) -> Points {
        mixture(weights).sample(&Stream::new(seed, Purpose::Reference), 0, 0..n)
    }

    fn estimate(coverage: &ModeCoverage, name: &str) -> (f64, f64) {
        let report = &coverage.metrics[name];
        (report.value.unwrap(), report.std_error.unwrap())
    }

    #[test]
    fn exact_samples_are_at_the_floor() {
        for weights in [&[0.125; 8][..], &[0.1, 0.2, 0.3, 0.4], &[1.0]] {
            let coverage = mode_coverage(&draws(weights, 3000, 1), &mixture(weights), 7).unwrap();
            assert_eq!(estimate(&coverage, "modes_hit").0, weights.len() as f64);
            for (name, report) in &coverage.metrics {
                assert!(report.z_score.is_none_or(|z| z.abs() < 4.0), "{name}: {report:?}");
            }
            for mode in &coverage.modes {
                assert!(mode.found.std_error < 0.01, "{mode:?}");
                assert!((mode.found.value - mode.weight).abs() <= 5.0 * mode.found.std_error, "{mode:?}");
            }
            assert!(coverage.strays < 15, "{}", coverage.strays);
        }
    }

    #[test]
    fn lost_modes_have_the_entropy_and_the_distances_of_their_shares() {
        // Five of eight modes, equally: entropy log 5/log 8, total variation 3/8.
        let coverage = mode_coverage(&draws(&[0.2; 5], 20_000, 2), &mixture(&[0.125; 8]), 7).unwrap();
        assert_eq!(estimate(&coverage, "modes_hit"), (5.0, 0.0));
        let halves =
            0.5 * (5.0 * 0.2 * (0.2f64 / 0.1625).log2() + 5.0 * 0.125 * (0.125f64 / 0.1625).log2() + 3.0 * 0.125);
        for (name, exact) in
            [("mode_entropy", 5f64.ln() / 8f64.ln()), ("mode_jensen_shannon", halves), ("mode_total_variation", 0.375)]
        {
            let (value, std_error) = estimate(&coverage, name);
            assert!((value - exact).abs() < (5.0 * std_error).max(1e-3), "{name}: {value} ± {std_error}, not {exact}");
            assert!(coverage.metrics[name].z_score.unwrap().abs() > 10.0, "{name}: {:?}", coverage.metrics[name]);
        }
        assert_eq!(coverage.modes[7].hits, 0);
    }

    #[test]
    fn standard_errors_are_the_spread_over_repeated_draws() {
        const REPEATS: usize = 200;
        let (true_weights, drawn) = ([0.25; 4], [0.4, 0.3, 0.2, 0.1]);
        for (weights, resolution) in [(&drawn, 0.25), (&true_weights, 0.4)] {
            let target = mixture(&true_weights);
            let tallies: Vec<Tally> =
                (0..REPEATS as u64).map(|seed| Tally::new(&draws(weights, 400, 100 + seed), &target)).collect();
            type Ask<'a> = (&'a str, &'a dyn Fn(&Tally) -> Estimate);
            let asked: [Ask; 2] =
                [("entropy", &Tally::entropy), ("Jensen-Shannon", &|tally| tally.jensen_shannon(&true_weights))];
            for (name, ask) in asked {
                let answers: Vec<Estimate> = tallies.iter().map(ask).collect();
                let spread = Estimate::mean(answers.iter().map(|a| a.value)).std_error * (REPEATS as f64).sqrt();
                let square = answers.iter().map(|a| a.std_error * a.std_error).sum::<f64>() / REPEATS as f64;
                // Near the weights the first variation vanishes: a χ² with heavier tails, and an error that overlaps it.
                assert!(
                    (square.sqrt() / spread - 1.0).abs() < resolution,
                    "{name}: {} against {spread}",
                    square.sqrt()
                );
            }
        }
    }

    #[test]
    fn a_point_far_from_all_modes_hits_none() {
        let weights = [0.5, 0.5];
        let mut samples = draws(&[1.0], 2000, 3);
        // A tenth of the samples far beyond the second mode, for which alone it is responsible.
        for mut row in samples.outer_iter_mut().take(200) {
            row.assign(&ndarray::array![100.0, 100.0]);
        }
        let coverage = mode_coverage(&samples, &mixture(&weights), 7).unwrap();
        assert_eq!(estimate(&coverage, "modes_hit").0, 1.0);
        assert_eq!(coverage.modes[1].hits, 0);
        assert!((coverage.modes[1].found.value - 0.1).abs() < 1e-3, "{:?}", coverage.modes);
        let note = coverage.metrics["modes_hit"].note.as_ref().unwrap();
        assert!(note.contains("samples lie outside the 99.9 % ball of every component"), "{note}");
        assert!((200..210).contains(&coverage.strays), "{}", coverage.strays);
    }

    #[test]
    fn quantiles_of_chi_squared_are_those_of_the_tables() {
        for (dim, exact) in [(1, 10.827_566), (2, 13.815_511), (3, 16.266_236), (10, 29.588_298), (100, 149.449_253)] {
            let quantile = chi_squared_quantile(dim, 0.999);
            assert!((quantile - exact).abs() < 1e-5, "{dim}: {quantile} against {exact}");
        }
        // Two degrees of freedom: an exponential law; many: Wilson and Hilferty's normal within a tenth of a percent.
        assert!((chi_squared_quantile(2, 0.9) + 2.0 * 0.1f64.ln()).abs() < 1e-10);
        let approximate = 3072.0 * (1.0 - 2.0 / (9.0 * 3072.0) + 3.090_232 * (2.0f64 / (9.0 * 3072.0)).sqrt()).powi(3);
        assert!((chi_squared_quantile(3072, 0.999) / approximate - 1.0).abs() < 1e-4);
    }

    #[test]
    fn what_has_no_modes_is_refused() {
        let samples = draws(&[1.0], 10, 0);
        let points = GaussianMixture::new(
            vec![0.5, 0.5],
            vec![vec![0.0; 2], vec![1.0; 2]],
            vec![vec![vec![1.0, 0.0], vec![0.0, 1.0]], vec![vec![0.0; 2]; 2]],
        );
        assert_eq!(
            mode_coverage(&samples, &points.unwrap(), 0).unwrap_err().to_string(),
            "component 1 of the mixture has a singular covariance, so no point has a responsibility; give it some variance"
        );
        let line = Points::zeros((5, 1));
        assert!(mode_coverage(&line, &mixture(&[1.0]), 0).unwrap_err().to_string().contains("dimension 1"));
    }
}
