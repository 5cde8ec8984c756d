//! Importance weights of an unnormalised target: log Z, the evidence lower bound, the effective sample size, and the
//! Pareto diagnostic that tells when none of their error bars can be trusted.
//!
//! Vehtari, Simpson, Gelman, Yao and Gabry, Pareto Smoothed Importance Sampling, JMLR 25 (2024); the fit is that of
//! Zhang and Stephens, Technometrics 51 (2009).
//!
//! # Design
//!
//! A set of samples sees only the mass where it has points. Samples that lost a mode have even weights, a large
//! effective sample size and a small k all the same, and a log Z that is too low: nothing in this file can tell.

use crate::error::MeasureError;
use crate::estimate::Estimate;

/// `w = p̃(x)/q(x)` at independent samples x of q, where `p̃ = Z p` is a density known up to its normaliser Z.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportanceWeights {
    log_weights: Vec<f64>,
    /// The largest log w, -∞ where all weights are zero.
    largest: f64,
    /// `exp(log w - largest)`, 0 where all weights are zero.
    scaled: Vec<f64>,
}

/// From fewer samples than these no effective sample size is given.
pub const LEAST_FOR_SAMPLE_SIZE: usize = 1000;

/// Above this k the standard errors of importance sampling are not to be trusted. Vehtari et al. (2024).
pub const PARETO_K_LIMIT: f64 = 0.7;

/// The fewest weights that a generalised Pareto distribution is fitted to.
const LEAST_TAIL: usize = 5;

/// A spread of the largest weights, relative to the largest, that is taken for rounding.
const ROUNDING: f64 = 1e-10;

/// A gap between logarithms beyond which the exponential of the smaller underflows beside that of the larger.
const UNDERFLOW: f64 = 700.0;

/// So many places of weights that sum to 1, each as often as its weight says but for the part of a place: those where the sum of the weights passes
/// `(k + offset)/count`, ascending; an offset that is uniform in [0, 1) makes every one as frequent as its weight.
///
/// Kitagawa, Monte Carlo filter and smoother, J. Comput. Graph. Stat. 5 (1996).
pub fn systematic_resampling(weights: &[f64], count: usize, offset: f64) -> Vec<usize> {
    let (mut chosen, mut sum) = (Vec::with_capacity(count), 0.0);
    for (place, weight) in weights.iter().enumerate() {
        sum += weight * count as f64;
        while chosen.len() < count && offset + chosen.len() as f64 <= sum {
            chosen.push(place);
        }
    }
    // Rounding may leave the last place open.
    chosen.resize(count, weights.iter().rposition(|&weight| weight > 0.0).unwrap_or(0));
    chosen
}

impl ImportanceWeights {
    /// The weights with these logarithms, `[n]`; -∞ is a weight of zero.
    ///
    /// # Errors
    ///
    /// No weight, a logarithm that is NaN or +∞ (by its row).
    pub fn new(log_weights: Vec<f64>) -> Result<Self, MeasureError> {
        if log_weights.is_empty() {
            return Err(MeasureError::Empty { field: "log_weights".to_owned() });
        }
        if let Some(row) = log_weights.iter().position(|&l| l.is_nan() || l == f64::INFINITY) {
            return Err(MeasureError::LogDensity { name: "log_weights", row, value: log_weights[row] });
        }
        let largest = log_weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        // -∞ - (-∞) would be NaN where all weights are zero.
        let shift = if largest == f64::NEG_INFINITY { 0.0 } else { largest };
        let scaled = log_weights.iter().map(|l| (l - shift).exp()).collect();
        Ok(Self { log_weights, largest, scaled })
    }

    /// The weights of samples of q with these `log p̃(x)` and `log q(x)`, `[n]` each; a `log p̃` of -∞ is a weight of zero.
    ///
    /// # Errors
    ///
    /// No sample, different lengths, a `log p̃` that is NaN or +∞, a `log q` that is not finite (by its row): a sample of
    /// q lies where q has a density.
    pub fn from_log_densities(log_p: &[f64], log_q: &[f64]) -> Result<Self, MeasureError> {
        if log_p.len() != log_q.len() {
            let (field, other) = ("log_p".to_owned(), "log_q".to_owned());
            return Err(MeasureError::Length { field, found: log_p.len(), other, expected: log_q.len() });
        }
        let refuse = |name, values: &[f64], row| Err(MeasureError::LogDensity { name, row, value: values[row] });
        if let Some(row) = log_p.iter().position(|&l| l.is_nan() || l == f64::INFINITY) {
            return refuse("log_p", log_p, row);
        }
        if let Some(row) = log_q.iter().position(|l| !l.is_finite()) {
            return refuse("log_q", log_q, row);
        }
        Self::new(log_p.iter().zip(log_q).map(|(p, q)| p - q).collect())
    }

    /// The number n of samples.
    pub fn count(&self) -> usize {
        self.log_weights.len()
    }

    /// `log w`, `[n]`.
    pub fn log_weights(&self) -> &[f64] {
        &self.log_weights
    }

    /// How many weights are zero: samples where the target has no mass.
    pub fn zeros(&self) -> usize {
        self.log_weights.iter().filter(|&&l| l == f64::NEG_INFINITY).count()
    }

    /// `wᵢ/Σw`, `[n]`; `None` where all weights are zero.
    pub fn normalized(&self) -> Option<Vec<f64>> {
        let sum: f64 = self.scaled.iter().sum();
        (sum > 0.0).then(|| self.scaled.iter().map(|w| w / sum).collect())
    }

    /// `log (1/n) Σ w`: log Z by importance sampling, with the standard error `s(w)/(w̄ √n)` of the delta method.
    ///
    /// It is low by half the squared standard error on average, and lower where the largest weights have not been seen:
    /// above [`PARETO_K_LIMIT`] the error is too small. Where all weights are zero the value is -∞ and its error +∞; one
    /// sample has an infinite error.
    pub fn log_mean(&self) -> Estimate {
        if self.largest == f64::NEG_INFINITY {
            return Estimate { value: f64::NEG_INFINITY, std_error: f64::INFINITY };
        }
        let mean = self.mean_of(|w, _| w);
        Estimate { value: self.largest + mean.value.ln(), std_error: mean.std_error / mean.value }
    }

    /// `(1/n) Σ log w`: the evidence lower bound, `log Z - KL(q‖p)` on average. -∞, with an infinite error, where a weight
    /// is zero.
    pub fn mean_log(&self) -> Estimate {
        if self.zeros() > 0 {
            return Estimate { value: f64::NEG_INFINITY, std_error: f64::INFINITY };
        }
        self.mean_of(|_, log_weight| log_weight)
    }

    /// `log w̄ - mean log w`: KL(q‖p) with log Z estimated from the same weights, never negative; the standard error joins
    /// both. Infinite where a weight is zero.
    pub fn log_mean_minus_mean_log(&self) -> Estimate {
        let (log_mean, mean_log) = (self.log_mean(), self.mean_log());
        if mean_log.value == f64::NEG_INFINITY {
            return Estimate { value: f64::INFINITY, std_error: f64::INFINITY };
        }
        // Terms of mean 1 and 0: both estimates move with the same samples.
        let mean = self.scaled_mean();
        let terms = self.mean_of(|w, log_weight| w / mean - (log_weight - mean_log.value));
        Estimate { value: log_mean.value - mean_log.value, std_error: terms.std_error }
    }

    /// `(Σw)²/(n Σw²)`, Kish's effective sample size as a fraction of n.
    ///
    /// # Errors
    ///
    /// Fewer than [`LEAST_FOR_SAMPLE_SIZE`] samples, all weights zero.
    pub fn effective_sample_size(&self) -> Result<f64, MeasureError> {
        Ok(self.effective_sample_size_estimate()?.value)
    }

    /// The same with the standard error of the delta method: `w̄²/m₂` has the terms `(w̄²/m₂)(2w/w̄ - w²/m₂)`, where
    /// `m₂ = Σw²/n`.
    ///
    /// # Errors
    ///
    /// As for [`effective_sample_size`](Self::effective_sample_size).
    pub fn effective_sample_size_estimate(&self) -> Result<Estimate, MeasureError> {
        let count = self.count();
        if count < LEAST_FOR_SAMPLE_SIZE {
            return Err(MeasureError::TooFewWeights { count, least: LEAST_FOR_SAMPLE_SIZE });
        }
        if self.largest == f64::NEG_INFINITY {
            return Err(MeasureError::NoWeight { count });
        }
        let mean = self.scaled_mean();
        let square = self.scaled.iter().map(|w| w * w).sum::<f64>() / count as f64;
        let value = mean * mean / square;
        let terms = self.mean_of(|w, _| 2.0 * w / mean - w * w / square);
        Ok(Estimate { value, std_error: value * terms.std_error })
    }

    /// How many of the largest weights the Pareto fit looks at: `min(n/5, 3√n)`.
    pub fn tail_size(&self) -> usize {
        let n = self.count() as f64;
        (n / 5.0).floor().min((3.0 * n.sqrt()).ceil()) as usize
    }

    /// The shape k of a generalised Pareto distribution fitted to the [`tail_size`](Self::tail_size) largest weights:
    /// `w` has about 1/k moments. Below ½ the variance is finite; up to .7 estimates still converge at a useful rate.
    ///
    /// The weakly informative prior of Vehtari et al. (2024) pulls k towards ½ with the weight of ten observations. `None`
    /// where there is nothing to fit: fewer than 25 samples, weights that are equal (rounding apart), or fewer than five
    /// distinct from the rest. +∞ where the largest weights differ by more than 300 orders of magnitude.
    pub fn pareto_k(&self) -> Option<f64> {
        let tail = self.tail_size();
        if tail < LEAST_TAIL || self.largest == f64::NEG_INFINITY {
            return None;
        }
        let mut descending = self.log_weights.clone();
        descending.sort_unstable_by(|a, b| b.total_cmp(a));
        let cutoff = (descending[tail] - self.largest).exp();
        if 1.0 - cutoff <= ROUNDING {
            return None;
        }
        // The fifth largest out of reach of the first: f64 holds no tail to fit.
        if descending[LEAST_TAIL - 1] < self.largest - UNDERFLOW && descending[LEAST_TAIL - 1] > descending[tail] {
            return Some(f64::INFINITY);
        }
        let mut exceedances: Vec<f64> =
            descending[..tail].iter().map(|l| (l - self.largest).exp() - cutoff).filter(|&x| x > 0.0).collect();
        if exceedances.len() < LEAST_TAIL {
            return None;
        }
        exceedances.reverse();
        let n = exceedances.len() as f64;
        let k = generalized_pareto_shape(&exceedances)?;
        Some((n * k + 10.0 * 0.5) / (n + 10.0))
    }

    fn scaled_mean(&self) -> f64 {
        self.scaled.iter().sum::<f64>() / self.count() as f64
    }

    /// The mean of a function of (scaled weight, log-weight); one sample has an infinite error.
    fn mean_of(&self, f: impl Fn(f64, f64) -> f64) -> Estimate {
        let mean = Estimate::mean(self.scaled.iter().zip(&self.log_weights).map(|(&w, &l)| f(w, l)));
        let std_error = if self.count() > 1 { mean.std_error } else { f64::INFINITY };
        Estimate { std_error, ..mean }
    }
}

/// The shape k of `P(X > x) = (1 + kx/σ)^{-1/k}` from positive observations, ascending.
///
/// With `b = -k/σ` the profile likelihood is `ℓ(b) = n(log(-b/k) - k - 1)`, `k(b) = (1/n) Σ log(1 - b xᵢ)`. The estimate is
/// k at the posterior mean of b over a grid of `30 + √n` quantiles of a prior that the data scale. Zhang and Stephens
/// (2009), where k has the other sign. `None` where no point of the grid has a likelihood.
fn generalized_pareto_shape(ascending: &[f64]) -> Option<f64> {
    let n = ascending.len();
    let points = 30 + (n as f64).sqrt() as usize;
    let largest = *ascending.last()?;
    let quartile = ascending[((n as f64 / 4.0 + 0.5) as usize).clamp(1, n) - 1];
    let shape = |b: f64| ascending.iter().map(|x| (-b * x).ln_1p()).sum::<f64>() / n as f64;
    let grid: Vec<(f64, f64)> = (1..=points)
        .map(|j| 1.0 / largest + (1.0 - (points as f64 / (j as f64 - 0.5)).sqrt()) / (3.0 * quartile))
        .map(|b| {
            let k = shape(b);
            (b, n as f64 * ((-b / k).ln() - k - 1.0))
        })
        .filter(|(_, log_likelihood)| log_likelihood.is_finite())
        .collect();
    let best = grid.iter().map(|(_, l)| *l).reduce(f64::max)?;
    let (mut sum, mut mass) = (0.0, 0.0);
    for (b, log_likelihood) in grid {
        let weight = (log_likelihood - best).exp();
        sum += weight * b;
        mass += weight;
    }
    Some(shape(sum / mass))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    /// Weights of N(0, 1), unnormalised by `log Z = shift`, at samples of N(0, s²).
    fn normal_weights(s: f64, shift: f64, n: u64) -> ImportanceWeights {
        let stream = Stream::new(3, Purpose::Evaluation);
        let log_weights = (0..n).map(|i| {
            let x = s * stream.at(0, i).normal();
            shift - 0.5 * x * x + 0.5 * (x / s).powi(2) + s.ln()
        });
        ImportanceWeights::new(log_weights.collect()).unwrap()
    }

    #[test]
    fn places_are_as_frequent_as_their_weights() {
        assert_eq!(systematic_resampling(&[0.5, 0.0, 0.25, 0.25], 4, 0.5), [0, 0, 2, 3]);
        assert_eq!(systematic_resampling(&[0.0, 0.0, 0.0, 1.0], 3, 0.9), [3, 3, 3]);
        assert_eq!(systematic_resampling(&[0.3, 0.7], 2, 0.7), [1, 1]);
    }

    #[test]
    fn between_gaussians_every_answer_has_its_closed_form() {
        let (s, log_z) = (1.3f64, 800.0);
        let weights = normal_weights(s, log_z, 200_000);
        // E_q w² = s ∫ N(0,1)²/N(0,s²) = s²/√(2s² - 1), so ESS = √(2s² - 1)/s²; KL(q‖p) = (s² - 1)/2 - log s.
        let ess = (2.0 * s * s - 1.0).sqrt() / (s * s);
        let kl = 0.5 * (s * s - 1.0) - s.ln();
        for (name, estimate, exact) in [
            ("log Z", weights.log_mean(), log_z),
            ("ELBO", weights.mean_log(), log_z - kl),
            ("KL", weights.log_mean_minus_mean_log(), kl),
            ("ESS", weights.effective_sample_size_estimate().unwrap(), ess),
        ] {
            assert!(estimate.std_error < 3e-3, "too noisy to decide: {name} {estimate:?}");
            assert!((estimate.value - exact).abs() < 5.0 * estimate.std_error, "{name}: {estimate:?} against {exact}");
        }
        // The weights are bounded: k is far below the limit.
        assert!(weights.pareto_k().unwrap() < 0.3, "{:?}", weights.pareto_k());
        let sum: f64 = weights.normalized().unwrap().iter().sum();
        assert!((sum - 1.0).abs() < 1e-12);
    }

    #[test]
    fn standard_errors_are_the_spread_over_repeated_draws() {
        const REPEATS: usize = 200;
        let of = |repeat: u64| {
            let stream = Stream::new(repeat, Purpose::Evaluation);
            let log_weight = |i| -> f64 {
                let x = 1.2 * stream.at(1, i).normal();
                -0.5 * x * x + 0.5 * (x / 1.2f64).powi(2)
            };
            ImportanceWeights::new((0..1000).map(log_weight).collect()).unwrap()
        };
        let all: Vec<ImportanceWeights> = (0..REPEATS as u64).map(of).collect();
        type Ask = fn(&ImportanceWeights) -> Estimate;
        let asked: [(&str, Ask); 4] = [
            ("log Z", ImportanceWeights::log_mean),
            ("ELBO", ImportanceWeights::mean_log),
            ("KL", ImportanceWeights::log_mean_minus_mean_log),
            ("ESS", |w| w.effective_sample_size_estimate().unwrap()),
        ];
        for (name, ask) in asked {
            let answers: Vec<Estimate> = all.iter().map(ask).collect();
            let spread = Estimate::mean(answers.iter().map(|a| a.value)).std_error * (REPEATS as f64).sqrt();
            let predicted = answers.iter().map(|a| a.std_error).sum::<f64>() / REPEATS as f64;
            // The sd of 200 values has a relative standard error of 1/√398 = 5 %.
            assert!((predicted / spread - 1.0).abs() < 0.25, "{name}: {predicted} against {spread}");
        }
    }

    #[test]
    fn the_fit_finds_the_shape_of_exact_pareto_quantiles() {
        for n in [200usize, 3000] {
            for k in [-0.4f64, -0.1, 0.0, 0.2, 0.5, 0.7, 1.0, 1.5] {
                let quantile = |i: usize| {
                    let log_survival = (1.0 - (i as f64 + 0.5) / n as f64).ln();
                    7.0 * if k == 0.0 { -log_survival } else { (-k * log_survival).exp_m1() / k }
                };
                let fitted = generalized_pareto_shape(&(0..n).map(quantile).collect::<Vec<_>>()).unwrap();
                // The asymptotic deviation for random data is (1 + k)/√n; quantiles have none of it.
                let scale = (1.0 + k) / (n as f64).sqrt();
                assert!((fitted - k).abs() < 0.75 * scale + 0.005, "n = {n}: {fitted} against {k}");
            }
        }
    }

    #[test]
    fn pareto_weights_have_their_shape_whatever_their_scale() {
        // w = u^{-k} with u uniform: an exact Pareto tail with shape k above every threshold.
        let stream = Stream::new(11, Purpose::Evaluation);
        for k in [0.3, 0.5, 0.7, 1.2] {
            let log_weights: Vec<f64> = (0..100_000).map(|i| -k * stream.at(0, i).uniform().ln()).collect();
            let weights = ImportanceWeights::new(log_weights.clone()).unwrap();
            let tail = weights.tail_size();
            assert_eq!(tail, 949);
            let found = weights.pareto_k().unwrap();
            assert!((found - k).abs() < 5.0 * (1.0 + k) / (tail as f64).sqrt(), "{found} against {k}");
            let shifted = ImportanceWeights::new(log_weights.iter().map(|l| l + 5000.0).collect()).unwrap();
            assert!((shifted.pareto_k().unwrap() - found).abs() < 1e-6);
        }
    }

    #[test]
    fn weights_of_zero_and_equal_weights_are_answered() {
        let equal = ImportanceWeights::new(vec![-3.0; 2000]).unwrap();
        assert_eq!(equal.log_mean(), Estimate { value: -3.0, std_error: 0.0 });
        assert_eq!(equal.mean_log(), Estimate { value: -3.0, std_error: 0.0 });
        assert_eq!(equal.effective_sample_size().unwrap(), 1.0);
        assert_eq!(equal.pareto_k(), None);

        // A quarter of the samples off the support: Z falls by log(3/4), the effective size to 3/4.
        let log_p: Vec<f64> = (0..2000).map(|i| if i % 4 == 0 { f64::NEG_INFINITY } else { 1.0 }).collect();
        let quarter = ImportanceWeights::from_log_densities(&log_p, &[0.0; 2000]).unwrap();
        assert_eq!(quarter.zeros(), 500);
        assert!((quarter.log_mean().value - (1.0 + 0.75f64.ln())).abs() < 1e-14);
        assert!((quarter.effective_sample_size().unwrap() - 0.75).abs() < 1e-14);
        assert_eq!(quarter.mean_log().value, f64::NEG_INFINITY);

        let none = ImportanceWeights::new(vec![f64::NEG_INFINITY; 1500]).unwrap();
        assert_eq!(none.log_mean(), Estimate { value: f64::NEG_INFINITY, std_error: f64::INFINITY });
        assert_eq!((none.normalized(), none.pareto_k()), (None, None));
        assert_eq!(
            none.effective_sample_size().unwrap_err().to_string(),
            "all 1500 importance weights are zero: no sample lies where the target has mass, so there is no effective \
             sample size; train longer, or start from a wider reference"
        );

        let one = ImportanceWeights::new(vec![2.0]).unwrap();
        assert_eq!(one.log_mean(), Estimate { value: 2.0, std_error: f64::INFINITY });
    }

    #[test]
    fn a_tail_that_f64_cannot_hold_is_the_heaviest() {
        let log_weights: Vec<f64> = (0..2000).map(|i| f64::from(i) * 1000.0).collect();
        let weights = ImportanceWeights::new(log_weights).unwrap();
        assert_eq!(weights.pareto_k(), Some(f64::INFINITY));
        // Three weights above an otherwise even set say nothing of a tail.
        let mut few = vec![0.0; 2000];
        few[..3].fill(1.0);
        assert_eq!(ImportanceWeights::new(few).unwrap().pareto_k(), None);
    }

    #[test]
    fn what_is_no_log_weight_is_refused_by_its_row() {
        let refuse = |p: &[f64], q: &[f64]| ImportanceWeights::from_log_densities(p, q).unwrap_err().to_string();
        assert_eq!(
            refuse(&[0.0, f64::INFINITY], &[0.0, 0.0]),
            "`log_p`: row 1 is inf; a log-density is finite, or -inf where there is no mass. Look at the point of that row"
        );
        assert!(refuse(&[0.0, 0.0], &[f64::NAN, 0.0]).contains("`log_q`: row 0 is NaN"));
        assert!(refuse(&[0.0, 0.0], &[0.0, f64::NEG_INFINITY]).contains("`log_q`: row 1 is -inf"));
        assert!(refuse(&[0.0], &[0.0, 0.0]).contains("`log_p` has length 1"));
        assert!(refuse(&[], &[]).contains("`log_weights` is empty"));
        let few = ImportanceWeights::new(vec![0.0; 999]).unwrap();
        assert_eq!(
            few.effective_sample_size().unwrap_err().to_string(),
            "an effective sample size from 999 samples means nothing; at least 1000 are needed"
        );
    }
}
