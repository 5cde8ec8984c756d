//! Distances between samples and a target, each with a standard error and the floor of a perfect sampler.

use std::collections::BTreeMap;
use std::fmt;

use brenier_measure::{Estimate, Points};
use brenier_transport::Cost;
use brenier_transport::mmd::Bandwidth;
use brenier_transport::sinkhorn::{self, Epsilon};
use ndarray::s;
use serde::{Deserialize, Serialize};

use crate::classes::Classes;
use crate::clouds::has_spread;
use crate::error::{check, check_dims};
use crate::posterior_summary::{CoordinateSummary, SummaryTable};
use crate::report::{digits, optional};
use crate::sliced_w2::{random_directions, sliced_w2_rounding, sliced_w2_value};
use crate::{
    DIRECTIONS, DenoisingLoss, Direction, EvalError, MetricReport, MetricTable, Optimum, Reference, covariance_error,
    energy_distance, kl_classifier, kl_knn, mean_error, mmd, sinkhorn_divergence, sliced_w2, w1, w2,
};

/// A distance between two sets of points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// [`w2()`], which also gives `w2_squared`.
    W2,
    /// [`w1`].
    W1,
    /// [`sliced_w2`] over [`DIRECTIONS`] random directions.
    SlicedW2,
    /// [`sinkhorn_divergence`].
    SinkhornDivergence,
    /// [`energy_distance`].
    EnergyDistance,
    /// [`mmd`].
    Mmd,
    /// [`kl_knn`].
    KlKnn,
    /// [`kl_classifier()`]: a lower bound.
    KlClassifier,
    /// [`mean_error`].
    MeanError,
    /// [`covariance_error`].
    CovarianceError,
}

/// The fewest points of a sample that a classifier learns from.
const FEWEST_TO_CLASSIFY: usize = 50;

/// What the metrics are computed with.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The seed of everything random: fresh draws, subsets, directions.
    pub seed: u64,
    /// How many perfect sample sets make a floor; without it as many as fit the cost of the metric.
    pub repeats: Option<usize>,
    /// The k of [`kl_knn`].
    pub k: usize,
    /// The cost, ε and tolerance of [`sinkhorn_divergence`].
    pub sinkhorn: sinkhorn::Settings,
    /// The bandwidth of [`mmd`].
    pub bandwidth: Bandwidth,
}

impl Settings {
    /// The same with epsilon and bandwidth as absolute numbers, where reports name those that were used.
    fn as_used(&self, reports: &BTreeMap<String, MetricReport>) -> Self {
        let used = |metric: Metric, detail: &str| match reports.get(metric.name())?.details.get(detail)? {
            crate::Detail::Number(value) if *value > 0.0 => Some(*value),
            _ => None,
        };
        let mut settings = self.clone();
        if let Some(epsilon) = used(Metric::SinkhornDivergence, "epsilon") {
            settings.sinkhorn.epsilon = Epsilon::Absolute(epsilon);
        }
        if let Some(bandwidth) = used(Metric::Mmd, "bandwidth") {
            settings.bandwidth = Bandwidth::Absolute(bandwidth);
        }
        settings
    }
}

impl Default for Settings {
    fn default() -> Self {
        let sinkhorn = sinkhorn::Settings::default();
        Self { seed: 0, repeats: None, k: 5, sinkhorn, bandwidth: Bandwidth::MedianHeuristic }
    }
}

/// One distance is done: what a watcher of [`evaluate`] is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Distances computed so far, those of floors included.
    pub done: usize,
    /// Distances to compute.
    pub total: usize,
}

/// Coordinates outside of this have squares that are no numbers, or lose digits.
const SIZES: std::ops::Range<f64> = 1e-100..1e100;

/// The power of two by which points are divided so that their squares are numbers; 1 nearly always.
fn unit(samples: &Points, reference: &Points) -> f64 {
    let largest = samples.iter().chain(reference).fold(0.0, |largest: f64, x| largest.max(x.abs()));
    if largest == 0.0 || !largest.is_finite() || SIZES.contains(&largest) { 1.0 } else { largest.log2().floor().exp2() }
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::W2,
        Self::W1,
        Self::SlicedW2,
        Self::SinkhornDivergence,
        Self::EnergyDistance,
        Self::Mmd,
        Self::KlKnn,
        Self::KlClassifier,
        Self::MeanError,
        Self::CovarianceError,
    ];

    /// The name in reports and configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::W2 => "w2",
            Self::W1 => "w1",
            Self::SlicedW2 => "sliced_w2",
            Self::SinkhornDivergence => "sinkhorn_divergence",
            Self::EnergyDistance => "energy_distance",
            Self::Mmd => "mmd",
            Self::KlKnn => "kl_knn",
            Self::KlClassifier => "kl_classifier",
            Self::MeanError => "mean_error",
            Self::CovarianceError => "covariance_error",
        }
    }

    /// The distance between samples and reference points, without a floor.
    ///
    /// # Errors
    ///
    /// No points, points that are not finite, dimensions that differ.
    pub fn report(self, samples: &Points, reference: &Points, settings: &Settings) -> Result<MetricReport, EvalError> {
        let unit = unit(samples, reference);
        if unit == 1.0 {
            return self.report_near_one(samples, reference, settings);
        }
        let mut settings = settings.clone();
        let cost = match settings.sinkhorn.cost {
            Cost::Distance => 1,
            Cost::SquaredDistance => 2,
        };
        if let Epsilon::Absolute(epsilon) = &mut settings.sinkhorn.epsilon {
            (0..cost).for_each(|_| *epsilon /= unit);
        }
        if let Bandwidth::Absolute(bandwidth) = &mut settings.bandwidth {
            *bandwidth /= unit;
        }
        let report = self.report_near_one(&(samples / unit), &(reference / unit), &settings)?;
        Ok(match self {
            Self::W2 => report.times(unit, 1, &[("duality_gap", 2), ("rounding", 2)]),
            Self::W1 => report.times(unit, 1, &[("duality_gap", 1), ("rounding", 1)]),
            Self::MeanError => report.times(unit, 1, &[]),
            Self::SlicedW2 | Self::EnergyDistance => report.times(unit, 1, &[("rounding", 1)]),
            Self::SinkhornDivergence => report.times(unit, cost, &[("epsilon", cost), ("rounding", cost)]),
            Self::Mmd => report.times(unit, 0, &[("bandwidth", 1)]),
            Self::CovarianceError => report.times(unit, 2, &[]),
            Self::KlKnn | Self::KlClassifier => report,
        })
    }

    /// The same where squares of distances are numbers.
    fn report_near_one(
        self,
        samples: &Points,
        reference: &Points,
        settings: &Settings,
    ) -> Result<MetricReport, EvalError> {
        let n = samples.nrows();
        let plain = |estimate| MetricReport::new(estimate, n, Direction::LowerIsBetter);
        match self {
            Self::W2 => w2(samples, reference).map(|[w2, _]| w2),
            Self::W1 => w1(samples, reference),
            Self::SlicedW2 => {
                let directions = random_directions(DIRECTIONS, samples.ncols(), settings.seed);
                let rounding = sliced_w2_rounding(samples, reference)?;
                let Estimate { value, std_error } = sliced_w2(samples, reference, &directions)?;
                let std_error = if value == 0.0 { std_error } else { std_error.hypot(rounding) };
                Ok(plain(Estimate { value, std_error }).with_rounding(rounding))
            }
            Self::SinkhornDivergence => sinkhorn_divergence(samples, reference, &settings.sinkhorn),
            Self::EnergyDistance => energy_distance(samples, reference),
            Self::Mmd => mmd(samples, reference, settings.bandwidth),
            Self::KlKnn => kl_knn(samples, reference, settings.k),
            Self::KlClassifier if n.min(reference.nrows()) < FEWEST_TO_CLASSIFY => {
                Ok(MetricReport::undefined(n, Direction::LowerIsBetter)
                    .with_note(format!("a classifier takes {FEWEST_TO_CLASSIFY} points on each side")))
            }
            Self::KlClassifier => Ok(kl_classifier(samples, reference, settings.seed)?.report()),
            Self::MeanError => mean_error(samples, reference).map(plain),
            Self::CovarianceError if !has_spread(samples, reference) => {
                Ok(MetricReport::undefined(n, Direction::LowerIsBetter)
                    .with_note("a covariance takes two points on each side"))
            }
            Self::CovarianceError => covariance_error(samples, reference).map(plain),
        }
    }

    /// The distance alone.
    fn value(self, samples: &Points, reference: &Points, settings: &Settings) -> Result<Option<f64>, EvalError> {
        match self {
            Self::SlicedW2 if unit(samples, reference) == 1.0 => {
                let directions = random_directions(DIRECTIONS, samples.ncols(), settings.seed);
                sliced_w2_value(samples, reference, &directions).map(Some)
            }
            _ => Ok(self.report(samples, reference, settings)?.value),
        }
    }

    /// How many of the `available` perfect sample sets make the floor for `n` samples: fewer where one distance takes seconds.
    fn repeats(self, available: usize, n: usize) -> usize {
        let affordable = match self {
            Self::W2 | Self::W1 if n > 20_000 => 3,
            Self::W2 | Self::W1 if n > 5000 => 5,
            Self::SinkhornDivergence | Self::KlClassifier if n > 4000 => 3,
            Self::SinkhornDivergence | Self::KlClassifier if n > 1000 => 5,
            _ => available,
        };
        affordable.min(available)
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
    /// What the optimal denoising loss was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub optimum: Option<Optimum>,
    /// The classes of the samples, where the data have labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Classes>,
    /// Every coordinate of the samples, where the target is an unnormalised density.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub posterior: Vec<CoordinateSummary>,
}

/// The name of the square that comes with [`Metric::W2`].
const W2_SQUARED: &str = "w2_squared";

/// The detail of `w2` that holds the mean W₂ between two disjoint parts of the reference points of the samples' size, where the floor
/// compares with more points.
pub const EQUAL_SIZES: &str = "floor_of_equal_sizes";

/// Compares samples `[n, d]` with a reference in every metric asked for.
///
/// The value is the distance of the samples to fresh draws of the target, to the test part of the data, or to given points.
/// The floor is the distance of other perfect sample sets to points of the same kind: fresh draws or subsets of the training
/// points (disjoint as long as they last) to the same fresh draws or test points, or n of the given points to all others, where
/// there are at least 2n. The directions of the sliced distance are common to value and floor. `watch` is told of every
/// distance, and stops the work by answering false.
///
/// # Errors
///
/// No samples, points that are not finite, dimensions that differ, [`EvalError::Interrupted`].
pub fn evaluate(
    samples: &Points,
    reference: &Reference,
    metrics: &[Metric],
    settings: &Settings,
    watch: &mut dyn FnMut(Step) -> bool,
) -> Result<Evaluation, EvalError> {
    let (n, seed) = (samples.nrows(), settings.seed);
    check("samples", samples, 1)?;
    let points = reference.points(n, seed)?;
    check_dims(("samples", samples), ("reference points", &points))?;
    let available = reference.repeats(n, settings.repeats);
    let repeats: Vec<usize> = metrics
        .iter()
        .map(|metric| match settings.repeats {
            Some(_) => available,
            None => metric.repeats(available, n.max(points.nrows())),
        })
        .collect();
    // Where the floor compares n points with more than n others, W₂ also gets the floor of n against n.
    let halves = match (reference, metrics.iter().position(|metric| *metric == Metric::W2)) {
        (Reference::Points(points), Some(at)) if points.nrows() > 2 * n => repeats[at],
        _ => 0,
    };
    let mut step = Step { done: 0, total: metrics.len() + repeats.iter().sum::<usize>() + halves };
    let mut advance = || {
        step.done += 1;
        if watch(step) { Ok(()) } else { Err(EvalError::Interrupted) }
    };
    let note = reference.note(n, points.nrows());
    let mut reports = BTreeMap::new();
    for metric in metrics {
        let found = match metric {
            Metric::W2 => w2(samples, &points)?.into_iter().zip([metric.name(), W2_SQUARED]).collect(),
            _ => vec![(metric.report(samples, &points, settings)?, metric.name())],
        };
        for (report, name) in found {
            reports.insert(
                name.to_owned(),
                note.iter().fold(report.with_seed(seed), |report, note| report.with_note(note)),
            );
        }
        advance()?;
    }
    // A floor is the same metric: epsilon and bandwidth are those that the value found.
    let settings = &settings.as_used(&reports);
    let mut perfect_values = vec![Vec::new(); metrics.len()];
    for repeat in 0..repeats.iter().copied().max().unwrap_or(0) {
        let (perfect, others) = reference.perfect(repeat, n, seed);
        let others = others.as_ref().unwrap_or(&points);
        for ((metric, values), _) in
            metrics.iter().zip(&mut perfect_values).zip(&repeats).filter(|(_, repeats)| repeat < **repeats)
        {
            values.push(metric.value(&perfect, others, settings)?.unwrap_or(f64::NAN));
            advance()?;
        }
    }
    if halves > 0 {
        let mut sum = 0.0;
        for repeat in 0..halves {
            if let (half, Some(others)) = reference.perfect(repeat, n, seed) {
                let other = others.slice(s![..n, ..]).to_owned();
                sum += Metric::W2.value(&half, &other, settings)?.unwrap_or(f64::NAN);
            }
            advance()?;
        }
        if let Some(report) = reports.remove(Metric::W2.name()) {
            let report = report.with_detail(EQUAL_SIZES, sum / halves as f64);
            reports.insert(Metric::W2.name().to_owned(), report);
        }
    }
    for (metric, perfect) in metrics.iter().zip(&perfect_values) {
        let mut floor = |name: &str, perfect: &[f64]| {
            if let Some(report) = reports.remove(name) {
                reports.insert(name.to_owned(), report.with_perfect(perfect));
            }
        };
        floor(metric.name(), perfect);
        if *metric == Metric::W2 {
            floor(W2_SQUARED, &perfect.iter().map(|w2| w2 * w2).collect::<Vec<f64>>());
        }
    }
    Ok(Evaluation {
        count: n,
        seed,
        metrics: reports,
        denoising_loss: Vec::new(),
        optimum: None,
        classes: None,
        posterior: Vec::new(),
    })
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} samples, seed {}", self.count, self.seed)?;
        write!(f, "{}", MetricTable(&self.metrics))?;
        if !self.posterior.is_empty() {
            write!(f, "\n{}", SummaryTable(&self.posterior))?;
        }
        if let Some(classes) = &self.classes {
            write!(f, "\n{classes}")?;
        }
        if !self.denoising_loss.is_empty() {
            writeln!(
                f,
                "\n{:>12}  {:>12}  {:>10}  {:>12}  {:>12}",
                "noise level", "loss", "std error", "optimal", "excess"
            )?;
            for level in &self.denoising_loss {
                writeln!(
                    f,
                    "{:>12}  {:>12}  {:>10}  {:>12}  {:>12}",
                    digits(level.sigma),
                    digits(level.loss),
                    digits(level.std_error),
                    optional(level.optimal),
                    optional(level.excess.map(|excess| excess.value)),
                )?;
            }
        }
        match self.optimum {
            Some(optimum) => writeln!(f, "{optimum}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Estimate, Purpose, Sample, Stream};
    use ndarray::array;

    use super::*;
    use crate::Detail;
    use crate::reference::tests::NormalWithScale;

    /// What answers soon, in every number of points.
    const CHEAP: [Metric; 3] = [Metric::SlicedW2, Metric::MeanError, Metric::CovarianceError];

    fn judge(samples: &Points, reference: &Reference, metrics: &[Metric], seed: u64) -> Result<Evaluation, EvalError> {
        evaluate(samples, reference, metrics, &Settings { seed, ..Settings::default() }, &mut |_| true)
    }

    fn target() -> NormalWithScale {
        NormalWithScale(vec![1.0, 2.0])
    }

    fn normal(scale: Vec<f64>, index: u64, n: u64) -> Points {
        NormalWithScale(scale).sample(&Stream::new(12, Purpose::Reference), index, 0..n)
    }

    /// Draws that no part of the evaluation shares.
    fn draws(n: u64, seed: u64) -> Points {
        target().sample(&Stream::new(seed, Purpose::Reference), 0, 0..n)
    }

    #[test]
    fn a_fill_value_in_both_clouds_hides_nothing() {
        // Two points that move up by a half, and a third one that stays.
        let a = array![[0.0, 0.0], [3.0, 0.0], [1e20, 1e20]];
        let b = array![[3.0, 0.5], [0.0, 0.5], [1e20, 1e20]];
        let of = |metric: Metric| metric.report(&a, &b, &Settings::default()).unwrap();
        let close = |metric: Metric, exact: f64| {
            let report = of(metric);
            assert!((report.value.unwrap() - exact).abs() < 1e-12, "{metric:?}: {report:?}");
            assert!(report.note.is_none() && report.std_error.unwrap() > 0.0, "{metric:?}: {report:?}");
        };
        close(Metric::W2, (0.5f64 / 3.0).sqrt());
        close(Metric::W1, 1.0 / 3.0);
        close(Metric::MeanError, 1.0 / 3.0);
        // Of 60 normal points with one far row in both, all is as of the others.
        let (near, other) = (normal(vec![1.0, 2.0], 0, 59), normal(vec![1.5, 1.0], 1, 59));
        for far in [1e3, 1e9, 1e20, 1e60, 1e100] {
            let with = |points: &Points, at: usize| {
                let (above, below) = (points.slice(s![..at, ..]), points.slice(s![at.., ..]));
                ndarray::concatenate![ndarray::Axis(0), above, array![[-far, far]], below]
            };
            let (x, y) = (with(&near, 7), with(&other, 40));
            let share = 59.0 / 60.0f64;
            for (metric, factor) in [(Metric::W2, share.sqrt()), (Metric::W1, share), (Metric::MeanError, share)] {
                let [alone, found] =
                    [(&near, &other), (&x, &y)].map(|(x, y)| metric.report(x, y, &Settings::default()));
                let (exact, found) = (alone.unwrap().value.unwrap() * factor, found.unwrap());
                let error = (found.value.unwrap() / exact - 1.0).abs();
                assert!(error < 1e-9 && found.note.is_none(), "{metric:?} at {far:e}: {found:?} against {exact}");
            }
            for metric in
                [Metric::EnergyDistance, Metric::SinkhornDivergence, Metric::SlicedW2, Metric::CovarianceError]
            {
                let found = metric.report(&x, &y, &Settings::default()).unwrap();
                assert!(found.std_error.unwrap() > 0.0, "{metric:?} at {far:e}: {found:?}");
                assert!(found.value.unwrap() >= -found.std_error.unwrap(), "{metric:?} at {far:e}: {found:?}");
            }
        }
    }

    #[test]
    fn tiny_and_huge_points_have_their_distances_or_say_that_they_have_none() {
        let (x, y) = (normal(vec![1.0, 2.0], 0, 80), normal(vec![1.5, 1.0], 1, 70));
        for size in [1e-170, 1e-120, 1e120, 1e150] {
            let (a, b) = (&x * size, &y * size);
            for metric in Metric::ALL {
                let [plain, found] =
                    [(&x, &y), (&a, &b)].map(|(x, y)| metric.report(x, y, &Settings::default()).unwrap());
                let power = match metric {
                    Metric::Mmd | Metric::KlKnn | Metric::KlClassifier => 0,
                    Metric::SinkhornDivergence | Metric::CovarianceError => 2,
                    _ => 1,
                };
                if power == 2 && !(1e-150..1e150).contains(&size) {
                    assert!(found.value.is_none() || size == 1e150, "{metric:?} at {size:e}: {found:?}");
                    continue;
                }
                let exact = plain.value.unwrap() * size.powi(power);
                let tolerance = if metric == Metric::KlClassifier { 0.2 } else { 1e-6 };
                let error = (found.value.unwrap() - exact).abs() / exact.abs();
                assert!(error < tolerance, "{metric:?} at {size:e}: {found:?} against {exact:e}");
                assert!(found.std_error.unwrap() > 0.0, "{metric:?} at {size:e}: {found:?}");
            }
        }
        let [w2, squared] = w2(&(&x * 1e-170), &(&y * 1e-170)).unwrap();
        assert!(w2.value.unwrap() > 1e-171 && squared.value.is_none(), "{w2:?} {squared:?}");
        assert!(squared.note.unwrap().starts_with("smaller than numbers can be"));
    }

    #[test]
    fn a_permuted_cloud_is_itself() {
        let points = normal(vec![1.0, 2.0, 0.5], 0, 150);
        let order: Vec<usize> = (0..150).map(|i| (i * 47 + 11) % 150).collect();
        let permuted = points.select(ndarray::Axis(0), &order);
        let far = Metric::SlicedW2.report(&(&points + 1e12), &(&permuted * 1.1 + 1e12), &Settings::default()).unwrap();
        assert!(far.note.as_deref().is_some_and(|note| note.starts_with("known to ±")), "{far:?}");
        for metric in [
            Metric::W2,
            Metric::W1,
            Metric::SlicedW2,
            Metric::SinkhornDivergence,
            Metric::EnergyDistance,
            Metric::MeanError,
            Metric::CovarianceError,
        ] {
            let report = metric.report(&points, &permuted, &Settings::default()).unwrap();
            assert_eq!(report.value, Some(0.0), "{metric:?}: {report:?}");
        }
    }

    #[test]
    fn a_perfect_sampler_is_at_the_floor_and_a_collapsed_one_far_above() {
        let target = target();
        let (train, test) = (draws(4000, 1), draws(600, 2));
        let collapsed = Points::zeros((400, 2));
        for reference in
            [Reference::Target { sampler: &target, count: None }, Reference::Data { train: &train, test: &test }]
        {
            let perfect = judge(&draws(400, 3), &reference, &CHEAP, 7).unwrap();
            for (name, report) in &perfect.metrics {
                assert!(report.z_score.unwrap().abs() < 3.0, "{name}: {report:?}");
                let (floor, sd) = (report.floor.unwrap(), report.floor_sd.unwrap());
                assert!(sd > 0.0 && sd < floor, "{name}: {report:?}");
            }
            let bad = judge(&collapsed, &reference, &CHEAP, 7).unwrap();
            for name in ["sliced_w2", "covariance_error"] {
                assert!(bad.metrics[name].z_score.unwrap() > 10.0, "{name}: {:?}", bad.metrics[name]);
            }
            let shifted = judge(&(draws(400, 3) + 2.0), &reference, &CHEAP, 7).unwrap();
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
            let answer =
                judge(&draws(100, seed), &Reference::Target { sampler: &target, count: None }, &CHEAP, seed).unwrap();
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
            pool.install(|| {
                judge(&draws(150, 3), &Reference::Target { sampler: &target, count: None }, &CHEAP, 7).unwrap()
            })
        };
        assert_eq!(on(1), on(3));
    }

    #[test]
    fn json_has_the_promised_keys_and_reads_back() {
        let (train, test) = (draws(500, 1), draws(180, 2));
        let reference = Reference::Data { train: &train, test: &test };
        let answer = judge(&draws(180, 3), &reference, &[Metric::MeanError], 7).unwrap();
        let json = serde_json::to_value(&answer).unwrap();
        assert_eq!(json["count"], 180);
        assert_eq!(json["seed"], 7);
        let keys: Vec<&String> = json["metrics"]["mean_error"].as_object().unwrap().keys().collect();
        let mut promised =
            ["value", "std_error", "floor", "floor_sd", "z_score", "n", "seed", "direction", "note", "details"];
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
        let report = MetricReport::new(Estimate { value: 0.123_456, std_error: 1.0e-5 }, 180, Direction::LowerIsBetter)
            .with_perfect(&[0.1, 0.12])
            .with_note("a note");
        let metrics = BTreeMap::from([("mean_error".to_owned(), report.clone()), ("sliced_w2".to_owned(), report)]);
        let answer = Evaluation {
            count: 180,
            seed: 3,
            metrics,
            denoising_loss: Vec::new(),
            optimum: None,
            classes: None,
            posterior: Vec::new(),
        };
        let expected = "\
180 samples, seed 3
metric           value ± se              floor ± sd               z        n  good is
mean_error      0.1235 ± 1.000e-5       0.1100 ± 0.01414        1.0      180  low
sliced_w2       0.1235 ± 1.000e-5       0.1100 ± 0.01414        1.0      180  low
note: a note
";
        assert_eq!(answer.to_string(), expected, "{answer}");
    }

    #[test]
    fn no_samples_are_refused_and_a_watcher_can_stop_the_work() {
        let target = target();
        let reference = Reference::Target { sampler: &target, count: None };
        let message = judge(&Points::zeros((0, 2)), &reference, &CHEAP, 0).unwrap_err().to_string();
        assert_eq!(
            message,
            "there are 0 samples; at least 1 are needed: raise `evaluation.count`, or the share of that part in `split`"
        );
        let mut seen = Vec::new();
        let watch = &mut |step: Step| {
            seen.push(step);
            seen.len() < 5
        };
        let stopped = evaluate(&draws(50, 0), &reference, &CHEAP, &Settings::default(), watch).unwrap_err();
        assert!(matches!(stopped, EvalError::Interrupted));
        // Three values, and ten sets of three perfect ones.
        assert_eq!(seen[4], Step { done: 5, total: 33 });
    }

    #[test]
    fn points_give_a_floor_where_they_suffice_for_two_sets() {
        let (samples, points) = (draws(100, 3), draws(500, 4));
        let ask = |points: &Points| judge(&samples, &Reference::Points(points), &[Metric::W2], 7).unwrap();
        let report = &ask(&points).metrics["w2"];
        assert!(report.z_score.unwrap().abs() < 4.0, "{report:?}");
        // 100 points are farther from 100 than from 400.
        let Detail::Number(halves) = report.details[EQUAL_SIZES] else { panic!("{report:?}") };
        assert!(halves > report.floor.unwrap(), "{report:?}");
        let few = points.slice(s![..150, ..]).to_owned();
        let report = &ask(&few).metrics["w2"];
        assert_eq!((report.floor, report.z_score), (None, None));
        assert_eq!(report.note.as_deref(), Some("no floor: it takes 200 reference points, there are 150"));
    }
}
