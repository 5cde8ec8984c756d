//! Distances between samples and a target, each with a standard error and the floor of a perfect sampler.

use std::collections::BTreeMap;
use std::fmt;

use brenier_measure::{Estimate, Points};
use serde::{Deserialize, Serialize};

use crate::classes::Classes;
use crate::error::check;
use crate::sliced_w2::{random_directions, sliced_w2_value};
use crate::{DIRECTIONS, DenoisingLoss, EvalError, Reference, covariance_error, mean_error, sliced_w2};

/// A distance between two sets of points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// [`sliced_w2`] over [`DIRECTIONS`] random directions.
    SlicedW2,
    /// [`mean_error`].
    MeanError,
    /// [`covariance_error`].
    CovarianceError,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SlicedW2, Self::MeanError, Self::CovarianceError];

    /// The name in reports and configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::SlicedW2 => "sliced_w2",
            Self::MeanError => "mean_error",
            Self::CovarianceError => "covariance_error",
        }
    }

    /// The distance between samples and reference points with its standard error.
    ///
    /// # Errors
    ///
    /// Too few points, points that are not finite, dimensions that differ.
    pub fn estimate(self, samples: &Points, reference: &Points, seed: u64) -> Result<Estimate, EvalError> {
        match self {
            Self::SlicedW2 => sliced_w2(samples, reference, &random_directions(DIRECTIONS, samples.ncols(), seed)),
            Self::MeanError => mean_error(samples, reference),
            Self::CovarianceError => covariance_error(samples, reference),
        }
    }

    /// The distance alone.
    fn value(self, samples: &Points, reference: &Points, seed: u64) -> Result<f64, EvalError> {
        match self {
            Self::SlicedW2 => {
                sliced_w2_value(samples, reference, &random_directions(DIRECTIONS, samples.ncols(), seed))
            }
            _ => Ok(self.estimate(samples, reference, seed)?.value),
        }
    }
}

/// Where the good values of a metric lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A good sampler has a value as low as the floor.
    LowerIsBetter,
    /// A good sampler has a value as high as the floor.
    HigherIsBetter,
    /// A good sampler has the value of the floor: far below is as bad as far above.
    NearFloorIsBetter,
}

/// One metric of a sampler.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricReport {
    /// The value for the sampler.
    pub value: f64,
    /// Its standard error.
    pub std_error: f64,
    /// The mean value for perfect sample sets of the same size.
    pub floor: Option<f64>,
    /// The standard deviation of that value from one perfect set to the next.
    pub floor_sd: Option<f64>,
    /// `(value - floor)/√(floor_sd² + std_error²)`.
    pub z_score: Option<f64>,
    /// How many samples of the sampler went in.
    pub n: usize,
    /// Where good values lie.
    pub direction: Direction,
    /// What to know before trusting the numbers.
    pub note: Option<String>,
}

impl MetricReport {
    /// A value beside those of perfect sample sets (none: no floor).
    pub fn against_floor(
        value: Estimate,
        perfect: &[f64],
        n: usize,
        direction: Direction,
        note: Option<String>,
    ) -> Self {
        let (mut floor, mut floor_sd, mut z_score) = (None, None, None);
        if perfect.len() > 1 {
            let mean = Estimate::mean(perfect.iter().copied());
            let sd = mean.std_error * (perfect.len() as f64).sqrt();
            let scale = sd.hypot(value.std_error);
            (floor, floor_sd) = (Some(mean.value), Some(sd));
            z_score = (scale > 0.0).then(|| (value.value - mean.value) / scale);
        }
        Self { value: value.value, std_error: value.std_error, floor, floor_sd, z_score, n, direction, note }
    }
}

/// All that was measured of one sampler: the answer of `train evaluate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// How many samples were drawn.
    pub count: usize,
    /// The seed of the samples, of fresh draws and of everything random in a metric.
    pub seed: u64,
    /// Each metric by its name.
    pub metrics: BTreeMap<String, MetricReport>,
    /// The denoising loss at each noise level, where the sampler has a denoiser.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denoising_loss: Vec<DenoisingLoss>,
    /// The classes of the samples, where the data have labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Classes>,
}

/// Compares samples `[n, d]` with a reference in every metric asked for.
///
/// The value is the distance of the samples to n fresh draws of the target, or to the test part of
/// the data. The floor is the distance of other perfect sample sets to the same points: ten sets of fresh
/// draws, or five to ten subsets of n training points (disjoint as long as they last). The directions of the
/// sliced distance are common to value and floor.
///
/// # Errors
///
/// Fewer than two samples, points that are not finite, dimensions that differ.
pub fn evaluate(
    samples: &Points,
    reference: &Reference,
    metrics: &[Metric],
    seed: u64,
) -> Result<Evaluation, EvalError> {
    let n = samples.nrows();
    check("samples", samples, 2)?;
    reference.check()?;
    if samples.ncols() != reference.dim() {
        let (a, b) = (samples.ncols(), reference.dim());
        return Err(EvalError::DimensionMismatch { a_name: "samples", a, b_name: "reference points", b });
    }
    let points = reference.points(n, seed);
    let mut perfect_values = vec![Vec::new(); metrics.len()];
    for repeat in 0..reference.repeats(n) {
        let perfect = reference.perfect(repeat, n, seed);
        for (metric, values) in metrics.iter().zip(&mut perfect_values) {
            values.push(metric.value(&perfect, &points, seed)?);
        }
    }
    let mut reports = BTreeMap::new();
    for (metric, perfect) in metrics.iter().zip(&perfect_values) {
        let value = metric.estimate(samples, &points, seed)?;
        let report = MetricReport::against_floor(value, perfect, n, Direction::LowerIsBetter, reference.note(n));
        reports.insert(metric.name().to_owned(), report);
    }
    Ok(Evaluation { count: n, seed, metrics: reports, denoising_loss: Vec::new(), classes: None })
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} samples, seed {}", self.count, self.seed)?;
        write_metrics(f, &self.metrics)?;
        if let Some(classes) = &self.classes {
            write!(f, "\n{classes}")?;
        }
        if !self.denoising_loss.is_empty() {
            writeln!(
                f,
                "\n{:>12}  {:>12}  {:>10}  {:>12}  {:>12}",
                "noise level", "loss", "std error", "exact", "excess"
            )?;
            for level in &self.denoising_loss {
                writeln!(
                    f,
                    "{:>12}  {:>12}  {:>10}  {:>12}  {:>12}",
                    digits(level.sigma),
                    digits(level.loss),
                    digits(level.std_error),
                    optional(level.exact),
                    optional(level.excess.map(|excess| excess.value)),
                )?;
            }
        }
        Ok(())
    }
}

/// The table of metrics, its notes below it.
pub(crate) fn write_metrics(f: &mut fmt::Formatter<'_>, metrics: &BTreeMap<String, MetricReport>) -> fmt::Result {
    let width = metrics.keys().map(String::len).max().unwrap_or(0).max("metric".len());
    writeln!(
        f,
        "{:width$}  {:>10}  {:>10}  {:>10}  {:>10}  {:>7}  {:>7}  good is",
        "metric", "value", "std error", "floor", "floor sd", "z", "n"
    )?;
    let mut notes: Vec<&str> = Vec::new();
    for (name, report) in metrics {
        let good = match report.direction {
            Direction::LowerIsBetter => "low",
            Direction::HigherIsBetter => "high",
            Direction::NearFloorIsBetter => "near floor",
        };
        writeln!(
            f,
            "{name:width$}  {:>10}  {:>10}  {:>10}  {:>10}  {:>7}  {:>7}  {good}",
            digits(report.value),
            digits(report.std_error),
            optional(report.floor),
            optional(report.floor_sd),
            report.z_score.map_or("-".to_owned(), |z| format!("{z:.1}")),
            report.n,
        )?;
        notes.extend(report.note.as_deref().filter(|note| !notes.contains(note)));
    }
    notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
}

/// Four significant digits, in a width of ten at most.
fn digits(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
        let decimals = if value == 0.0 { 0 } else { (3.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize };
        format!("{value:.decimals$}")
    } else {
        format!("{value:.3e}")
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), digits)
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Purpose, Sample, Stream};

    use super::*;
    use crate::reference::tests::NormalWithScale;

    fn target() -> NormalWithScale {
        NormalWithScale(vec![1.0, 2.0])
    }

    /// Draws that no part of the evaluation shares.
    fn draws(n: u64, seed: u64) -> Points {
        target().sample(&Stream::new(seed, Purpose::Reference), 0, 0..n)
    }

    #[test]
    fn a_perfect_sampler_is_at_the_floor_and_a_collapsed_one_far_above() {
        let target = target();
        let (train, test) = (draws(4000, 1), draws(600, 2));
        let collapsed = Points::zeros((400, 2));
        for reference in [Reference::Target(&target), Reference::Data { train: &train, test: &test }] {
            let perfect = evaluate(&draws(400, 3), &reference, &Metric::ALL, 7).unwrap();
            for (name, report) in &perfect.metrics {
                assert!(report.z_score.unwrap().abs() < 3.0, "{name}: {report:?}");
                let (floor, sd) = (report.floor.unwrap(), report.floor_sd.unwrap());
                assert!(sd > 0.0 && sd < floor, "{name}: {report:?}");
            }
            let bad = evaluate(&collapsed, &reference, &Metric::ALL, 7).unwrap();
            for name in ["sliced_w2", "covariance_error"] {
                assert!(bad.metrics[name].z_score.unwrap() > 10.0, "{name}: {:?}", bad.metrics[name]);
            }
            let shifted = evaluate(&(draws(400, 3) + 2.0), &reference, &Metric::ALL, 7).unwrap();
            assert!(shifted.metrics["mean_error"].z_score.unwrap() > 10.0, "{shifted}");
        }
    }

    #[test]
    fn z_scores_of_perfect_samplers_are_not_larger_than_normal_ones() {
        // The standard error also holds the randomness that value and floor share: z errs to the small side.
        let target = target();
        let mut squares = BTreeMap::new();
        const SEEDS: u64 = 40;
        for seed in 0..SEEDS {
            let answer = evaluate(&draws(100, seed), &Reference::Target(&target), &Metric::ALL, seed).unwrap();
            for (name, report) in answer.metrics {
                *squares.entry(name).or_insert(0.0) += report.z_score.unwrap().powi(2) / SEEDS as f64;
            }
        }
        for (name, mean_square) in squares {
            // 5 standard errors above one for a mean of 40 squares of normals; a tenth of one would be blind.
            assert!(mean_square < 1.0 + 5.0 * (2.0 / SEEDS as f64).sqrt(), "{name}: {mean_square}");
            assert!(mean_square > 0.1, "{name}: {mean_square}");
        }
    }

    #[test]
    fn a_report_is_a_function_of_its_arguments() {
        let target = target();
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| evaluate(&draws(150, 3), &Reference::Target(&target), &Metric::ALL, 7).unwrap())
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn json_has_the_promised_keys_and_reads_back() {
        let (train, test) = (draws(500, 1), draws(180, 2));
        let reference = Reference::Data { train: &train, test: &test };
        let answer = evaluate(&draws(180, 3), &reference, &[Metric::MeanError], 7).unwrap();
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["count"], 180);
        assert_eq!(json["seed"], 7);
        let keys: Vec<&String> = json["metrics"]["mean_error"].as_object().unwrap().keys().collect();
        let mut promised = ["value", "std_error", "floor", "floor_sd", "z_score", "n", "direction", "note"];
        promised.sort_unstable();
        assert_eq!(keys, promised);
        assert_eq!(json["metrics"]["mean_error"]["direction"], "lower_is_better");
        assert_eq!(
            json["metrics"]["mean_error"]["note"],
            "the test part has only 180 points: errors below the floor cannot be seen; \
             the training subsets of the floor overlap: floor_sd is too small"
        );
        assert_eq!(serde_json::from_value::<Evaluation>(json).unwrap(), answer);
    }

    #[test]
    fn the_table_is_aligned() {
        let report = MetricReport::against_floor(
            Estimate { value: 0.123_456, std_error: 1.0e-5 },
            &[0.1, 0.12],
            180,
            Direction::LowerIsBetter,
            Some("a note".to_owned()),
        );
        let metrics = BTreeMap::from([("mean_error".to_owned(), report.clone()), ("sliced_w2".to_owned(), report)]);
        let answer = Evaluation { count: 180, seed: 3, metrics, denoising_loss: Vec::new(), classes: None };
        let expected = "\
180 samples, seed 3
metric           value   std error       floor    floor sd        z        n  good is
mean_error      0.1235   1.000e-5      0.1100     0.01414      1.0      180  low
sliced_w2       0.1235   1.000e-5      0.1100     0.01414      1.0      180  low
note: a note
";
        let widths = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let text = answer.to_string();
        assert_eq!(widths(&text), widths(expected), "{text}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[2].find("0.1235").unwrap() + 6, lines[1].find("value").unwrap() + 5, "{text}");
    }

    #[test]
    fn one_sample_is_refused() {
        let message = evaluate(&draws(1, 0), &Reference::Target(&target()), &Metric::ALL, 0).unwrap_err().to_string();
        assert_eq!(
            message,
            "there are 1 samples; at least 2 are needed: raise `evaluation.count`, or the share of that part in `split`"
        );
    }
}
