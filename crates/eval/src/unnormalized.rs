//! Samplers with a density against an unnormalised target: bounds of log Z, effective sample sizes and KL, both ways.
//!
//! Blessing, Jia, Esslinger, Vargas and Neumann, Beyond ELBOs: A Large-Scale Evaluation of Variational Methods for
//! Sampling, ICML (2024).
//!
//! # Design
//!
//! With `w = p̃/q` and `p̃ = Z p`, samples of the sampler q give the *reverse* answers and exact samples of the target p
//! the *forward* ones. A sampler that lost a mode has excellent reverse answers: ELBO, reverse KL, reverse ESS and
//! Pareto k are blind to what q never visits, and every report here says so. The forward answers see it: `w` is huge
//! where p has mass and q has none.
//!
//! Nothing is clamped. A q that is no density (a map that folds) shows as a KL below zero or an ELBO above log Z; the
//! reports then say that the density is invalid, and [`Unnormalized::density_valid`] is false.

use std::collections::BTreeMap;

use brenier_measure::{Estimate, ImportanceWeights, LEAST_FOR_SAMPLE_SIZE, MeasureError, PARETO_K_LIMIT};
use serde::{Deserialize, Serialize};

use crate::{Direction, EvalError, MetricReport};

/// Log-densities of a sampler q and of an unnormalised target `p̃ = Z p` at the same points.
#[derive(Debug, Clone, Copy)]
pub struct LogDensities<'a> {
    /// `log p̃` at samples of q, `[n]`; -∞ where the target has no mass.
    pub log_p: &'a [f64],
    /// `log q` at the same samples, `[n]`.
    pub log_q: &'a [f64],
    /// `log p̃` and `log q` at exact samples of p, `[m]` each, where there are some; q may be zero there.
    pub at_target: Option<(&'a [f64], &'a [f64])>,
    /// log Z, where it is known.
    pub log_normalizer: Option<f64>,
}

/// What log-densities say of a sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unnormalized {
    /// `elbo`, `log_z`, `ess_reverse`, `pareto_k`, `kl_reverse`; with target samples also `eubo`, `log_z_forward`,
    /// `ess_forward`, `kl_forward`. What is undefined has no value and a note that says why.
    pub metrics: BTreeMap<String, MetricReport>,
    /// False where an answer contradicts q being a density: beyond five standard errors a KL is negative, the bounds of
    /// log Z are the wrong way round, or log Z exceeds its known value.
    pub density_valid: bool,
}

/// How many standard errors a contradiction takes.
const CONTRADICTION: f64 = 5.0;

/// Rounding of log-densities, relative to their size: that of networks in f32.
const ROUNDING: f64 = 1e-5;

const BLIND: &str = "blind to modes that the samples miss";

impl LogDensities<'_> {
    /// Every answer that these log-densities give, each with its standard error, direction and notes.
    ///
    /// | name | formula |
    /// |---|---|
    /// | `elbo` | `E_q log w ≤ log Z` |
    /// | `eubo` | `E_p log w ≥ log Z` |
    /// | `log_z` | `log E_q w` |
    /// | `log_z_forward` | `-log E_p 1/w`; needs p to have mass wherever q has |
    /// | `ess_reverse` | `(Σw)²/(n Σw²)` over samples of q |
    /// | `ess_forward` | `Z/E_p w` where log Z is known, else `1/(E_p w · E_p 1/w)`, over samples of p |
    /// | `pareto_k` | [`ImportanceWeights::pareto_k`], with the standard error `(1 + k)/√tail` of the maximum likelihood fit |
    /// | `kl_reverse` | `KL(q‖p) = log Z - ELBO` |
    /// | `kl_forward` | `KL(p‖q) = EUBO - log Z` |
    ///
    /// Where log Z is unknown the two KL take `log_z_forward`, or `log_z` where there are no target samples. The two ESS
    /// estimate one number, `1/(1 + χ²(p‖q))`, from either side. Standard errors are those of the delta method; two
    /// averages over the same samples are joined. A perfect sampler has the same w everywhere, so the floor is exact
    /// where log Z is known or not needed.
    ///
    /// # Errors
    ///
    /// No sample; lists of different lengths; by row, a `log p̃` that is NaN or +∞, a `log q` that is NaN or +∞, samples of
    /// q with q = 0, samples of p with p = 0. Too few samples for an ESS is no error: that report has no value.
    pub fn reports(&self) -> Result<Unnormalized, EvalError> {
        let weights = ImportanceWeights::from_log_densities(self.log_p, self.log_q)?;
        if let Some(value) = self.log_normalizer.filter(|log_z| !log_z.is_finite()) {
            return Err(EvalError::LogNormalizer { value });
        }
        let target = self.at_target.map(|(log_p, log_q)| AtTarget::new(log_p, log_q)).transpose()?;
        let answers = Answers { weights, target, known: self.log_normalizer };
        let contradictions = answers.contradictions();
        let mut metrics = answers.reports();
        for (names, what) in &contradictions {
            for name in *names {
                if let Some(report) = metrics.remove(*name) {
                    metrics.insert((*name).to_owned(), report.with_note(format!("density invalid: {what}")));
                }
            }
        }
        Ok(Unnormalized { metrics, density_valid: contradictions.is_empty() })
    }
}

/// Log-weights at exact samples of the target.
struct AtTarget {
    /// `1/w`, whose logarithm is -∞ where q has no mass.
    inverse: ImportanceWeights,
    /// w, where q has mass at every sample.
    weights: Option<ImportanceWeights>,
}

impl AtTarget {
    fn new(log_p: &[f64], log_q: &[f64]) -> Result<Self, EvalError> {
        // The inverse weight is q/p̃: the roles change, and with them the names in an error.
        let inverse = ImportanceWeights::from_log_densities(log_q, log_p).map_err(|error| match error {
            MeasureError::LogDensity { name: "log_p", row, value } => {
                EvalError::TargetLogDensity { name: "log q", row, value }
            }
            MeasureError::LogDensity { row, value, .. } => EvalError::TargetLogDensity { name: "log p", row, value },
            MeasureError::Length { found, expected, .. } => EvalError::TargetLengths { log_p: expected, log_q: found },
            MeasureError::Empty { .. } => EvalError::TooFew { name: "target samples", count: 0, least: 1 },
            other => other.into(),
        })?;
        let weights = match inverse.zeros() {
            0 => Some(ImportanceWeights::new(inverse.log_weights().iter().map(|l| -l).collect())?),
            _ => None,
        };
        Ok(Self { inverse, weights })
    }

    fn count(&self) -> usize {
        self.inverse.count()
    }

    /// `E_p log w`, +∞ where q misses a target sample.
    fn eubo(&self) -> Estimate {
        let mean = self.inverse.mean_log();
        Estimate { value: -mean.value, ..mean }
    }

    /// `-log E_p 1/w`.
    fn log_z(&self) -> Estimate {
        let log_mean = self.inverse.log_mean();
        Estimate { value: -log_mean.value, ..log_mean }
    }

    /// `Z/E_p w`, or `1/(E_p w · E_p 1/w)`; 0 where q misses a target sample.
    fn ess(&self, log_z: Option<f64>) -> Estimate {
        let Some(weights) = &self.weights else { return Estimate { value: 0.0, std_error: 0.0 } };
        let log_mean = weights.log_mean();
        match log_z {
            Some(log_z) => {
                let value = (log_z - log_mean.value).exp();
                Estimate { value, std_error: value * log_mean.std_error }
            }
            None => {
                let inverse = self.inverse.log_mean();
                let value = (-log_mean.value - inverse.value).exp();
                let terms = Estimate::mean(
                    weights.log_weights().iter().map(|l| (l - log_mean.value).exp() + (-l - inverse.value).exp()),
                );
                Estimate { value, std_error: value * terms.std_error }
            }
        }
    }

    /// `E_p log w + log E_p 1/w`, never negative; both move with the same samples.
    fn kl_with_own_log_z(&self) -> Estimate {
        self.inverse.log_mean_minus_mean_log()
    }
}

/// The numbers behind the reports.
struct Answers {
    weights: ImportanceWeights,
    target: Option<AtTarget>,
    known: Option<f64>,
}

impl Answers {
    fn reports(&self) -> BTreeMap<String, MetricReport> {
        let n = self.weights.count();
        let mut metrics = BTreeMap::new();
        let mut insert = |name: &str, report: MetricReport| metrics.insert(name.to_owned(), report);

        let elbo = MetricReport::new(self.weights.mean_log(), n, Direction::HigherIsBetter);
        insert("elbo", self.off_target(self.beside_log_z(elbo)).with_note("a lower bound of log Z").with_note(BLIND));
        let log_z = MetricReport::new(self.weights.log_mean(), n, Direction::NearFloorIsBetter);
        insert("log_z", unreliable(&self.weights, self.no_weight(self.beside_log_z(log_z))).with_note(BLIND));
        insert("ess_reverse", self.ess_reverse());
        insert("pareto_k", self.pareto_k());
        insert("kl_reverse", self.kl_reverse());

        if let Some(target) = &self.target {
            let m = target.count();
            let eubo = MetricReport::new(target.eubo(), m, Direction::LowerIsBetter);
            let eubo = missed(target, self.beside_log_z(eubo).with_note("an upper bound of log Z"), "infinite");
            insert("eubo", eubo);
            let forward = MetricReport::new(target.log_z(), m, Direction::NearFloorIsBetter);
            let forward = unreliable(&target.inverse, missed_everywhere(target, self.beside_log_z(forward)));
            insert("log_z_forward", forward.with_note("blind to samples where the target has no mass"));
            let ess = if m < LEAST_FOR_SAMPLE_SIZE {
                MetricReport::undefined(m, Direction::HigherIsBetter).with_note(too_few(m))
            } else {
                let ess = MetricReport::new(target.ess(self.known), m, Direction::HigherIsBetter).with_floor(1.0, 0.0);
                let ess = target.weights.iter().fold(ess, |ess, weights| unreliable(weights, ess));
                let formula = if self.known.is_some() { "Z/E_p w" } else { "1/(E_p w · E_p 1/w)" };
                missed(target, ess.with_detail("formula", formula), "so large that this is 0")
            };
            insert("ess_forward", ess);
            insert("kl_forward", self.kl_forward(target));
        }
        metrics
    }

    fn ess_reverse(&self) -> MetricReport {
        let n = self.weights.count();
        let undefined = MetricReport::undefined(n, Direction::HigherIsBetter);
        let report = match self.weights.effective_sample_size_estimate() {
            Ok(ess) => {
                unreliable(&self.weights, MetricReport::new(ess, n, Direction::HigherIsBetter).with_floor(1.0, 0.0))
            }
            Err(_) if n < LEAST_FOR_SAMPLE_SIZE => undefined.with_note(too_few(n)),
            Err(error) => undefined.with_note(error.to_string()),
        };
        report.with_note(BLIND)
    }

    fn pareto_k(&self) -> MetricReport {
        let n = self.weights.count();
        let undefined = MetricReport::undefined(n, Direction::LowerIsBetter);
        let report = match self.weights.pareto_k() {
            Some(k) if k.is_finite() => {
                // The asymptotic error of the fit, which holds for k above -1/2.
                let std_error = if k > -0.5 { (1.0 + k) / (self.weights.tail_size() as f64).sqrt() } else { f64::NAN };
                unreliable(
                    &self.weights,
                    MetricReport::new(Estimate { value: k, std_error }, n, Direction::LowerIsBetter),
                )
            }
            Some(_) => undefined.with_note("the largest weights differ by more than 300 orders of magnitude"),
            None => undefined.with_note("too few different weights to fit a tail"),
        };
        report.with_detail("tail_size", self.weights.tail_size()).with_note(BLIND)
    }

    fn kl_reverse(&self) -> MetricReport {
        let report = |kl| {
            let report = MetricReport::new(kl, self.weights.count(), Direction::LowerIsBetter).with_floor(0.0, 0.0);
            self.off_target(report)
        };
        let (kl, source) = self.kl_reverse_estimate();
        match source {
            LogZ::Known => report(kl),
            LogZ::Forward => report(kl).with_note("log Z estimated from the target samples"),
            LogZ::Reverse => unreliable(&self.weights, report(kl))
                .with_note("log Z estimated from the same samples: only a lower estimate where a mode is lost"),
        }
    }

    fn kl_forward(&self, target: &AtTarget) -> MetricReport {
        let kl = match self.known {
            Some(log_z) => offset(target.eubo(), -log_z),
            None => target.kl_with_own_log_z(),
        };
        let report = MetricReport::new(kl, target.count(), Direction::LowerIsBetter).with_floor(0.0, 0.0);
        let report = missed(target, report, "infinite");
        match self.known {
            Some(_) => report,
            None => report.with_note("log Z estimated from the target samples"),
        }
    }

    fn kl_reverse_estimate(&self) -> (Estimate, LogZ) {
        let elbo = self.weights.mean_log();
        let below = |log_z: f64, std_error: f64| Estimate {
            value: log_z - elbo.value,
            std_error: elbo.std_error.hypot(std_error),
        };
        match (self.known, &self.target) {
            (Some(log_z), _) => (below(log_z, 0.0), LogZ::Known),
            (None, Some(target)) => {
                let log_z = target.log_z();
                (below(log_z.value, log_z.std_error), LogZ::Forward)
            }
            (None, None) => (self.weights.log_mean_minus_mean_log(), LogZ::Reverse),
        }
    }

    /// What cannot be where q is a density, with the reports that it concerns.
    fn contradictions(&self) -> Vec<(&'static [&'static str], String)> {
        let mut found: Vec<(&'static [&'static str], String)> = Vec::new();
        let elbo = self.weights.mean_log();
        let scale = 1.0 + elbo.value.abs();
        // Both are finite, and the difference is below zero by more than chance and rounding.
        let negative = |difference: Estimate| {
            difference.value.is_finite() && difference.value < -CONTRADICTION * difference.std_error - ROUNDING * scale
        };
        let (kl, _) = self.kl_reverse_estimate();
        if negative(kl) {
            found.push((&["elbo", "kl_reverse"], format!("KL(q‖p) = {:.4} is negative beyond its error", kl.value)));
        }
        let log_z = self.weights.log_mean();
        if let Some(known) = self.known
            && negative(Estimate { value: known - log_z.value, ..log_z })
        {
            found.push((&["log_z"], format!("above log Z = {known:.4} beyond its error")));
        }
        if let Some(target) = &self.target {
            let eubo = target.eubo();
            let kl = match self.known {
                Some(log_z) => offset(eubo, -log_z),
                None => Estimate { value: eubo.value - elbo.value, std_error: eubo.std_error.hypot(elbo.std_error) },
            };
            if negative(kl) {
                let what = if self.known.is_some() { "log Z" } else { "the ELBO" };
                let below = format!("the EUBO is {:.4} below {what}, beyond its error", -kl.value);
                found.push((&["eubo", "kl_forward"], below));
            }
        }
        found
    }

    /// A perfect sampler has this value exactly, where log Z is known.
    fn beside_log_z(&self, report: MetricReport) -> MetricReport {
        match self.known {
            Some(log_z) => report.with_floor(log_z, 0.0),
            None => report,
        }
    }

    fn off_target(&self, report: MetricReport) -> MetricReport {
        match self.weights.zeros() {
            0 => report,
            zeros => report.with_note(format!(
                "infinite: {zeros} of {} samples lie where the target has no mass",
                self.weights.count()
            )),
        }
    }

    fn no_weight(&self, report: MetricReport) -> MetricReport {
        if self.weights.zeros() == self.weights.count() { self.off_target(report) } else { report }
    }
}

/// Where the log Z of a KL comes from.
enum LogZ {
    Known,
    Forward,
    Reverse,
}

fn offset(estimate: Estimate, by: f64) -> Estimate {
    Estimate { value: estimate.value + by, ..estimate }
}

/// A note where the largest of the averaged weights decide.
fn unreliable(weights: &ImportanceWeights, report: MetricReport) -> MetricReport {
    match weights.pareto_k() {
        Some(k) if k > PARETO_K_LIMIT => report.with_note(format!(
            "unreliable: Pareto k = {k:.2} is above {PARETO_K_LIMIT}, so the standard error is too small"
        )),
        _ => report,
    }
}

fn too_few(n: usize) -> String {
    format!("{n} samples: an effective sample size takes at least {LEAST_FOR_SAMPLE_SIZE}")
}

fn missed(target: &AtTarget, report: MetricReport, what: &str) -> MetricReport {
    match target.inverse.zeros() {
        0 => report,
        zeros => report.with_note(format!(
            "the sampler has no density at {zeros} of {} target samples: w is {what}",
            target.count()
        )),
    }
}

fn missed_everywhere(target: &AtTarget, report: MetricReport) -> MetricReport {
    if target.inverse.zeros() == target.count() { missed(target, report, "infinite") } else { report }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Stream};

    use super::*;
    use crate::report::Detail;

    const LOG_Z: f64 = 3.0;

    fn normals(n: u64, step: u64) -> Vec<f64> {
        let stream = Stream::new(21, Purpose::Evaluation);
        (0..n).map(|i| stream.at(step, i).normal()).collect()
    }

    fn log_normal(x: f64, s: f64) -> f64 {
        -0.5 * (x / s).powi(2) - s.ln() - 0.5 * std::f64::consts::TAU.ln()
    }

    /// `log p̃` and `log q` at the points, for p = N(0, 1), q = N(0, s²).
    fn at(points: &[f64], s: f64) -> (Vec<f64>, Vec<f64>) {
        (
            points.iter().map(|&x| LOG_Z + log_normal(x, 1.0)).collect(),
            points.iter().map(|&x| log_normal(x, s)).collect(),
        )
    }

    fn gaussian(s: f64, known: bool, n: u64) -> Unnormalized {
        let samples: Vec<f64> = normals(n, 0).iter().map(|z| s * z).collect();
        let ((log_p, log_q), (target_p, target_q)) = (at(&samples, s), at(&normals(n, 1), s));
        let densities = LogDensities {
            log_p: &log_p,
            log_q: &log_q,
            at_target: Some((&target_p, &target_q)),
            log_normalizer: known.then_some(LOG_Z),
        };
        densities.reports().unwrap()
    }

    fn assert_near(metrics: &BTreeMap<String, MetricReport>, name: &str, exact: f64, resolution: f64) {
        let report = &metrics[name];
        let (value, std_error) = (report.value.unwrap(), report.std_error.unwrap());
        assert!(std_error < resolution, "too noisy to decide: {name} {report:?}");
        assert!((value - exact).abs() < 5.0 * std_error, "{name}: {report:?} against {exact}");
    }

    #[test]
    fn between_gaussians_every_answer_has_its_closed_form() {
        for s in [0.9f64, 1.2] {
            let reverse = 0.5 * (s * s - 1.0) - s.ln();
            let forward = 0.5 * (1.0 / (s * s) - 1.0) + s.ln();
            let ess = (2.0 * s * s - 1.0).sqrt() / (s * s);
            for known in [true, false] {
                let answer = gaussian(s, known, 100_000);
                assert!(answer.density_valid, "{answer:?}");
                for (name, exact) in [
                    ("elbo", LOG_Z - reverse),
                    ("eubo", LOG_Z + forward),
                    ("log_z", LOG_Z),
                    ("log_z_forward", LOG_Z),
                    ("ess_reverse", ess),
                    ("ess_forward", ess),
                    ("kl_reverse", reverse),
                    ("kl_forward", forward),
                ] {
                    assert_near(&answer.metrics, name, exact, 5e-3);
                }
                let (floor, z) = (answer.metrics["elbo"].floor, answer.metrics["elbo"].z_score);
                assert_eq!((floor, z.is_some()), (known.then_some(LOG_Z), known));
            }
        }
    }

    #[test]
    fn the_two_kl_without_log_z_join_errors_that_move_together() {
        // log Z from the same points shares their noise: joined as if independent the errors would be far too large.
        let (joined, known) = (gaussian(1.2, false, 20_000), gaussian(1.2, true, 20_000));
        let error = |answer: &Unnormalized| answer.metrics["kl_forward"].std_error.unwrap();
        assert!(error(&joined) < error(&known), "{joined:?} {known:?}");
    }

    #[test]
    fn a_lost_mode_is_seen_by_forward_answers_alone() {
        // Eight equal modes ten apart; the sampler has five of them, exactly.
        let density = |x: f64, modes: i32| {
            let terms: f64 = (0..modes).map(|k| log_normal(x - f64::from(10 * k), 1.0).exp()).sum();
            (terms / f64::from(modes)).ln()
        };
        let spread = |step: u64, modes: u64| -> Vec<f64> {
            normals(4000, step).iter().zip(0..).map(|(z, i)| z + 10.0 * (i % modes) as f64).collect()
        };
        let (samples, targets) = (spread(2, 5), spread(3, 8));
        let log = |points: &[f64], modes| points.iter().map(|&x| density(x, modes)).collect::<Vec<f64>>();
        let (log_p, log_q) = (log(&samples, 8), log(&samples, 5));
        let (target_p, target_q) = (log(&targets, 8), log(&targets, 5));
        let mut densities = LogDensities {
            log_p: &log_p,
            log_q: &log_q,
            at_target: Some((&target_p, &target_q)),
            log_normalizer: Some(0.0),
        };
        let lost = (5.0f64 / 8.0).ln();
        let answer = densities.reports().unwrap();
        let value = |name: &str| answer.metrics[name].value.unwrap();
        assert!((value("elbo") - lost).abs() < 1e-3 && (value("log_z") - lost).abs() < 1e-3, "{answer:?}");
        assert!((value("kl_reverse") + lost).abs() < 1e-3);
        assert!(value("ess_reverse") > 0.99, "the reverse side is content: {answer:?}");
        assert!(value("eubo") > 10.0 && value("ess_forward") < 1e-9, "the forward side is not: {answer:?}");
        assert!((value("log_z_forward")).abs() < 0.1, "{answer:?}");
        for name in ["elbo", "log_z", "ess_reverse", "pareto_k"] {
            assert!(answer.metrics[name].note.as_ref().unwrap().contains("blind to modes"), "{name}");
        }
        // Nothing but the samples: not even the KL can tell.
        densities.log_normalizer = None;
        densities.at_target = None;
        let blind = densities.reports().unwrap();
        assert!(blind.metrics["kl_reverse"].value.unwrap() < 1e-3, "{blind:?}");
        assert!(blind.metrics["kl_reverse"].note.as_ref().unwrap().contains("lower estimate where a mode is lost"));
        assert!(!blind.metrics.contains_key("eubo"));
    }

    #[test]
    fn a_density_that_integrates_to_less_than_one_is_invalid_not_clamped() {
        // A map that folds: log q is too low by .5 everywhere, so KL(q‖p) comes out negative.
        let samples = normals(5000, 4);
        let (log_p, log_q) = at(&samples, 1.0);
        let folded: Vec<f64> = log_q.iter().map(|l| l - 0.5).collect();
        let densities = LogDensities { log_p: &log_p, log_q: &folded, at_target: None, log_normalizer: Some(LOG_Z) };
        let answer = densities.reports().unwrap();
        assert!(!answer.density_valid);
        let kl = &answer.metrics["kl_reverse"];
        assert!((kl.value.unwrap() + 0.5).abs() < 1e-12, "{kl:?}");
        assert_eq!(kl.note.as_deref(), Some("density invalid: KL(q‖p) = -0.5000 is negative beyond its error"));
        assert!(answer.metrics["log_z"].note.as_ref().unwrap().contains("density invalid: above log Z = 3.0000"));
        // Rounding of exact densities is no fold.
        let exact = LogDensities { log_q: &log_q, ..densities }.reports().unwrap();
        assert!(exact.density_valid, "{exact:?}");
    }

    #[test]
    fn samples_off_the_target_and_targets_off_the_sampler_are_infinite_and_said() {
        let none = f64::NEG_INFINITY;
        let mut log_p = vec![0.0; 1000];
        log_p[17] = none;
        let mut target_q = vec![0.0; 1200];
        target_q[..3].fill(none);
        let densities = LogDensities {
            log_p: &log_p,
            log_q: &[0.0; 1000],
            at_target: Some((&[0.0; 1200], &target_q)),
            log_normalizer: None,
        };
        let metrics = densities.reports().unwrap().metrics;
        for name in ["elbo", "kl_reverse"] {
            assert_eq!(metrics[name].value, None);
            let note = metrics[name].note.as_ref().unwrap();
            assert!(note.starts_with("infinite: 1 of 1000 samples lie where the target has no mass"), "{note}");
        }
        for name in ["eubo", "kl_forward"] {
            assert_eq!(metrics[name].value, None);
            let note = metrics[name].note.as_ref().unwrap();
            assert!(note.contains("the sampler has no density at 3 of 1200 target samples: w is infinite"), "{note}");
        }
        assert_eq!(metrics["ess_forward"].value, Some(0.0));
        assert_eq!(metrics["ess_forward"].details["formula"], Detail::Text("1/(E_p w · E_p 1/w)".to_owned()));
        assert!((metrics["log_z"].value.unwrap() - 0.999f64.ln()).abs() < 1e-12);
        assert_eq!(metrics["pareto_k"].value, None);
    }

    #[test]
    fn what_cannot_be_judged_is_undefined_or_refused() {
        let few = [0.0; 999];
        let densities =
            LogDensities { log_p: &few, log_q: &few, at_target: Some((&few, &few)), log_normalizer: Some(0.0) };
        let metrics = densities.reports().unwrap().metrics;
        for name in ["ess_reverse", "ess_forward"] {
            assert_eq!(metrics[name].value, None);
            let note = metrics[name].note.as_ref().unwrap();
            assert!(note.starts_with("999 samples: an effective sample size takes at least 1000"), "{note}");
        }
        assert_eq!(metrics["elbo"].value, Some(0.0));
        let refuse = |p: &[f64], q: &[f64]| {
            LogDensities { at_target: Some((p, q)), ..densities }.reports().unwrap_err().to_string()
        };
        assert_eq!(
            refuse(&[0.0, f64::NEG_INFINITY], &[0.0, 0.0]),
            "target samples: log p at row 1 is -inf; the target has a density at its own samples, and no density is \
             NaN or infinite: check that samples and target belong together"
        );
        assert!(refuse(&[0.0, 0.0], &[f64::NAN, 0.0]).contains("log q at row 0 is NaN"));
        assert!(refuse(&[0.0], &[0.0, 0.0]).contains("1 log-densities of the target and 2 of the sampler"));
        assert!(refuse(&[], &[]).contains("there are 0 target samples"));
        let infinite = LogDensities { log_normalizer: Some(f64::NAN), ..densities };
        assert!(infinite.reports().unwrap_err().to_string().contains("log Z is NaN"));
    }
}
