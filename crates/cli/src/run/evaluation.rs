//! What is measured of a run: distances to its target, its log-density, classes, and the denoising loss at every noise level.

use std::collections::BTreeMap;

use brenier_eval::{
    BestDenoiser, DenseTarget, Detail, Direction, Evaluation, Labelled, LogDensities, MetricReport, Settings, classes,
    cross_entropy, denoising_loss, evaluate, fresh_draws, log_grid, mode_coverage,
};
use brenier_measure::{Estimate, LARGEST_SUBSET, Points, Target};
use brenier_model::{Divergence, Facts, LogDensity, SamplerError};
use burn::module::Module;
use burn::tensor::{DType, Device};
use serde::Serialize;
use serde_json::Value;
use tracing::warn;

use crate::config::{Config, LogDensityConfig};
use crate::error::Error;
use crate::progress::{Progress, Watched};
use crate::run::density_metrics::{OF_ANNEALING, density_metrics, posterior};
use crate::run::importance_metrics::{Importance, OF_PARTICLES, importance};
use crate::run::law::DensityError;
use crate::run::map_metrics::{Pairs, map_metrics};
use crate::run::ode_error::OdeError;
use crate::run::opened::TrainedRun;
use crate::run::problem::{Problem, Reference, TRAINING};
use crate::selection::{OF_MODES, Selection};

/// The file of a run directory that holds the report.
pub const EVALUATION: &str = "evaluation.json";

/// Nearest training points that decide the class of a sample.
const NEIGHBOURS: usize = 10;

/// Noise levels of the denoising loss.
const LEVELS: usize = 11;

/// An evaluation with all that is needed to make it again.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The name of the run.
    pub name: String,
    /// The program that measured.
    pub program_version: &'static str,
    /// The SHA-256 of the data, or name and version of the target.
    pub target: String,
    /// Which points the samples were compared with.
    pub compared_with: &'static str,
    /// The step of the checkpoint.
    pub checkpoint: u64,
    /// How the samples were made.
    #[serde(flatten)]
    pub settings: Facts,
    /// The numbers, in the coordinates of the data; the denoising loss is in standardised ones.
    #[serde(flatten)]
    pub evaluation: Evaluation,
}

/// What of a run is measured, and how.
pub struct Judge<'a> {
    /// The metrics that are wanted.
    pub selection: Selection,
    /// What they are computed with.
    pub settings: Settings,
    /// How many log-densities are asked for, if any.
    pub log_density: Option<LogDensityConfig>,
    /// Points and their images under the true map, where they are given.
    pub pairs: Option<&'a Pairs>,
    /// Whether the work goes on.
    pub go_on: &'a (dyn Fn() -> bool + Sync),
    /// Whether progress is hidden.
    pub quiet: bool,
}

/// What a run can be asked beside the distances of [`Metric`](brenier_eval::Metric).
pub const BESIDE_DISTANCES: [&str; 4] = ["nll", "bits_per_dimension", "denoising_loss", "classes"];

/// What it can be asked where the density of its target is known.
pub const OF_TARGET_DENSITY: [&str; 10] = [
    "kl_forward",
    "kl_reverse",
    "elbo",
    "eubo",
    "log_z",
    "log_z_forward",
    "ess_forward",
    "ess_reverse",
    "pareto_k",
    DENSITY_VALID,
];

/// The fraction of points where a law has a density: at samples beside the density of the target, of a map else at test points.
const DENSITY_VALID: &str = "density_valid";

impl Report {
    /// Measures samples of a run.
    ///
    /// # Errors
    ///
    /// Samples that are too few or not finite, an interruption.
    pub fn new(run: &TrainedRun, problem: &Problem, samples: &Points, judge: &Judge) -> Result<Self, Error> {
        let seed = judge.settings.seed;
        let (reference, compared_with) = match &problem.reference {
            Reference::Data { train, test, part, .. } => (brenier_eval::Reference::Data { train, test }, *part),
            Reference::Exact { sampler, .. } => {
                (brenier_eval::Reference::Target { sampler: sampler.as_ref(), count: None }, "fresh draws")
            }
            Reference::Density(target) => return Self::without_draws(run, problem, target, samples, judge),
        };
        let mut watched = Watched::new("distances", judge.quiet);
        let watch = &mut |step: brenier_eval::Step| {
            watched.update(step.done as u64, step.total as u64);
            (judge.go_on)()
        };
        let mut evaluation = evaluate(samples, &reference, &judge.selection.distances(), &judge.settings, watch)?;
        drop(watched);
        if let Reference::Data { weighed: Some(count), .. } = &problem.reference {
            for report in evaluation.metrics.values_mut() {
                let note = format!("against {count} points drawn by their weights: what those are worth");
                *report = report.clone().with_note(note);
            }
        }
        if compared_with == TRAINING {
            evaluation.metrics = std::mem::take(&mut evaluation.metrics)
                .into_iter()
                .map(|(name, report)| {
                    let note = "compared with the training part, which leaves nothing for a floor";
                    (name, report.without_floor().with_note(note))
                })
                .collect();
        }
        let takes_target = |metric: &&str| *metric != DENSITY_VALID || run.sampler.map().is_none();
        let of_target: Vec<&str> = OF_TARGET_DENSITY.into_iter().filter(takes_target).collect();
        if let Some(metric) = judge.selection.first_named(&of_target)
            && problem.reference.target().is_none_or(|target| target.density.is_none())
        {
            return Err(Error::no_density(metric, &format!("the target of the run {}", run.record.config.name)));
        }
        let modes = match &problem.reference {
            Reference::Exact { modes, .. } => modes.as_ref(),
            Reference::Data { .. } | Reference::Density(_) => None,
        };
        match (modes, judge.selection.first_named(&OF_MODES)) {
            (None, Some(metric)) => {
                return Err(Error::no_modes(metric, &format!("the target of the run {}", run.record.config.name)));
            }
            (Some(mixture), _) if OF_MODES.iter().any(|name| judge.selection.wants(name)) => {
                evaluation.metrics.extend(mode_coverage(samples, mixture, seed)?.metrics);
            }
            _ => {}
        }
        evaluation.metrics.extend(of_density(run, problem, samples, judge)?);
        let importance = by_importance(run, problem, samples, judge)?;
        for (name, report) in importance.iter().flat_map(|importance| &importance.metrics) {
            // Draws of the target are better judges than particles.
            if !(OF_PARTICLES.contains(&name.as_str()) && evaluation.metrics.contains_key(name)) {
                evaluation.metrics.insert(name.clone(), report.clone());
            }
        }
        evaluation.metrics.extend(map_metrics(run, problem, samples, &judge.selection, judge.pairs)?);
        evaluation.metrics.extend(density_metrics(run, problem, samples, &judge.selection));
        if judge.selection.is_whole() {
            let samples = importance.as_ref().and_then(|importance| importance.resampled.as_ref()).unwrap_or(samples);
            evaluation.posterior = posterior(run, problem, samples);
        }
        evaluation.metrics.retain(|name, _| judge.selection.wants(name));
        if let Reference::Data { train, labels: Some(labels), .. } = &problem.reference
            && train.nrows() >= 3 * NEIGHBOURS
            && judge.selection.wants("classes")
        {
            evaluation.classes = Some(classes(samples, Labelled { points: train, labels }, NEIGHBOURS, seed)?);
        }
        let config = &run.record.config;
        if run.sampler.score_network().is_none() && judge.selection.names("denoising_loss") {
            let name = &config.name;
            return Err(Error::bad_input(format!(
                "`denoising_loss` takes a score network, and the run {name} has none"
            ))
            .hint("ask a run of `denoising_score_matching`, or leave the metric out"));
        }
        if let (Some(network), Some(sigma_min), Some(sigma_max)) =
            (run.sampler.score_network(), config.evaluation.sigma_min, config.evaluation.sigma_max)
            && judge.selection.wants("denoising_loss")
        {
            let levels = log_grid(sigma_min, sigma_max, LEVELS);
            let points_of = problem.samples("denoising losses")?;
            let (points, is_training) = match &problem.reference {
                Reference::Data { test, part, .. } => (&problem.data.standardization.apply(test), *part == TRAINING),
                Reference::Exact { .. } | Reference::Density(_) => {
                    (&points_of.held_out, points_of.held_out_is_training)
                }
            };
            let exact = problem.exact_denoiser();
            let others = match exact {
                Some(_) => None,
                None => Some(problem.points_of_law(if is_training { 0 } else { LARGEST_SUBSET }, seed)?),
            };
            let best = match (&exact, &others) {
                (Some(exact), _) => BestDenoiser::Exact(exact),
                (None, others) => {
                    let others = others.as_ref().expect("taken where nothing is exact");
                    BestDenoiser::Points { others, trained_on: is_training }
                }
            };
            let device = Device::flex();
            let network = network.clone().to_device(&device).cast(DType::F64);
            evaluation.denoising_loss =
                denoising_loss(&network, Some(best), points, &levels, seed, (DType::F64, &device))?;
            evaluation.optimum = Some(best.optimum(points.nrows()));
        }
        Ok(Self::of(run, problem, compared_with, evaluation))
    }

    /// What can be said where nothing can be drawn to compare with.
    fn without_draws(
        run: &TrainedRun,
        problem: &Problem,
        target: &Target,
        samples: &Points,
        judge: &Judge,
    ) -> Result<Self, Error> {
        let mut metrics: BTreeMap<String, MetricReport> = density_metrics(run, problem, samples, &judge.selection)
            .into_iter()
            .map(|(name, report)| (name, report.with_seed(judge.settings.seed)))
            .collect();
        let importance = by_importance(run, problem, samples, judge)?;
        metrics.extend(importance.iter().flat_map(|importance| importance.metrics.clone()));
        metrics.extend(map_metrics(run, problem, samples, &judge.selection, judge.pairs)?);
        metrics.retain(|name, _| judge.selection.wants(name));
        let weighted = importance.as_ref().and_then(|importance| importance.resampled.as_ref()).unwrap_or(samples);
        if let Some(metric) = judge.selection.named_without(&metrics).first() {
            return Err(Error::no_draws(&format!("metrics such as `{metric}`"), target.name));
        }
        let evaluation = Evaluation {
            count: samples.nrows(),
            seed: judge.settings.seed,
            metrics,
            denoising_loss: Vec::new(),
            optimum: None,
            classes: None,
            posterior: if judge.selection.is_whole() { posterior(run, problem, weighted) } else { Vec::new() },
        };
        Ok(Self::of(run, problem, "nothing", evaluation))
    }

    fn of(run: &TrainedRun, problem: &Problem, compared_with: &'static str, evaluation: Evaluation) -> Self {
        Self {
            name: run.record.config.name.clone(),
            program_version: crate::arguments::VERSION,
            target: problem.data.origin.clone(),
            compared_with,
            checkpoint: run.step,
            settings: run.sampler.settings(),
            evaluation,
        }
    }

    /// One JSON object in one line.
    pub fn to_json_line(&self) -> String {
        serde_json::to_string(self).expect("string keys") + "\n"
    }

    /// One JSON object, laid out to be read.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("string keys");
        text.push('\n');
        text
    }
}

/// Importance sampling by the map of a run, where that is asked for.
fn by_importance(
    run: &TrainedRun,
    problem: &Problem,
    samples: &Points,
    judge: &Judge,
) -> Result<Option<Importance>, Error> {
    if !OF_TARGET_DENSITY.iter().chain(&OF_ANNEALING).any(|name| judge.selection.wants(name)) {
        return Ok(None);
    }
    importance(run, problem, samples.nrows() as u64, judge.settings.seed, judge.go_on)
}

/// As many samples as there are test points, or for an exact target as many as the config says.
pub fn default_count(problem: &Problem, config: &Config) -> u64 {
    match &problem.reference {
        Reference::Data { test, .. } => test.nrows() as u64,
        Reference::Exact { .. } | Reference::Density(_) => config.evaluation.count.max(2),
    }
}

/// Perfect sample sets behind the floor of the negative log-likelihood.
const ENTROPIES: u64 = 10;

/// What the log-density of the run says: of test points or fresh draws, and where the target has a density, of the samples.
fn of_density(
    run: &TrainedRun,
    problem: &Problem,
    samples: &Points,
    judge: &Judge,
) -> Result<BTreeMap<String, MetricReport>, Error> {
    let Some(LogDensityConfig { points, .. }) = judge.log_density else { return Ok(BTreeMap::new()) };
    let own = ["nll", "bits_per_dimension"];
    let of_density: Vec<&str> = own.iter().chain(&OF_TARGET_DENSITY).copied().collect();
    if !of_density.iter().any(|name| judge.selection.wants(name)) {
        return Ok(BTreeMap::new());
    }
    // An annealing knows log Z without a log-density of its own.
    let asked = |name: &str| judge.selection.names(name) && (name != "log_z" || run.sampler.annealing().is_none());
    let seed = judge.settings.seed;
    let (test, target) = match &problem.reference {
        Reference::Data { test, .. } => (first_rows(test, points), None),
        Reference::Exact { target, sampler, .. } => {
            let sampler = sampler.as_ref();
            let dense = target.density.as_deref().map(|density| DenseTarget { sampler, density });
            (fresh_draws(sampler, points, ENTROPIES, seed), dense)
        }
        Reference::Density(_) => return Ok(BTreeMap::new()),
    };
    let samples = target.map(|_| first_rows(samples, points));
    let total = test.nrows() + samples.as_ref().map_or(0, Points::nrows);
    let mut progress = Progress::new(total as u64, 0, "log-densities", judge.quiet);
    let mut log_q = |points: &Points, before: usize| {
        let found = run.law().log_densities(points, seed, judge.go_on, &mut |_, done| {
            progress.update((before + done) as u64, &[]);
            Ok(())
        })?;
        // A map says by itself where it has no density; elsewhere one value that is missing leaves nothing to say of the others.
        match found.values.iter().position(|value| !value.is_finite()).filter(|_| run.sampler.map().is_none()) {
            Some(row) => {
                let lost = SamplerError::NotFinite { index: row as u64, value: found.values[row] };
                Err(DensityError::Undefined(lost))
            }
            None => Ok(found),
        }
    };
    let found = log_q(&test, 0).and_then(|at_test| {
        let at_samples = samples.as_ref().map(|samples| log_q(samples, test.nrows())).transpose()?;
        Ok((at_test, at_samples))
    });
    let (at_test, at_samples) = match found {
        Err(DensityError::Undefined(SamplerError::NoLogDensity)) => match of_density.iter().find(|name| asked(name)) {
            None => return Ok(BTreeMap::new()),
            Some(_) => return Err(Error::run_without_density(&run.record.config.name)),
        },
        // A network that was hardly trained has no density that a solver can follow; its samples are judged all the same.
        Err(DensityError::Undefined(error)) => {
            warn!("no log-densities: {error}");
            let undefined =
                MetricReport::undefined(test.nrows(), Direction::LowerIsBetter).with_note(error.to_string());
            let of_target: &[&str] = if target.is_some() { &OF_TARGET_DENSITY } else { &[] };
            return Ok(own
                .iter()
                .chain(of_target)
                .map(|name| ((*name).to_owned(), undefined.clone().with_seed(seed)))
                .collect());
        }
        Err(DensityError::Stopped(error)) => return Err(error),
        Ok(found) => found,
    };
    let error_of = |points: &Points, found: &LogDensity| OdeError::of(&run.law(), points, found, seed, judge.go_on);
    let at_test_error = error_of(&test, &at_test)?;
    let mut nats = MetricReport { direction: Direction::LowerIsBetter, ..cross_entropy(&at_test.values) };
    let mut reports = BTreeMap::new();
    if let (Some(target), Some(samples), Some(at_samples)) = (&target, &samples, &at_samples) {
        let entropy = |part| {
            let perfect = fresh_draws(target.sampler, points, part, seed);
            Ok(cross_entropy(&target.log_densities(&perfect)?).value)
        };
        let entropies = (0..ENTROPIES).map(entropy).collect::<Result<Vec<_>, Error>>()?;
        nats = nats.with_perfect(&entropies.into_iter().flatten().collect::<Vec<f64>>());
        // Points without a density are told of by `density_valid`, and say nothing of the others.
        let pairs = target.unnormalized(&test)?.into_iter().zip(at_test.values.iter().copied());
        let (log_p, log_q): (Vec<f64>, Vec<f64>) = pairs.filter(|(_, log_q)| !log_q.is_nan()).unzip();
        let both = LogDensities {
            log_p: &target.unnormalized(samples)?,
            log_q: &at_samples.values,
            at_target: (log_p.len() > 1).then_some((&log_p[..], &log_q[..])),
            log_normalizer: target.density.log_normalizer(),
        };
        let mut both = both.reports()?;
        if let Some(note) = at_samples.of_another_law {
            for name in ["elbo", "log_z", "ess_reverse", "pareto_k", "kl_reverse"] {
                both.metrics.entry(name.to_owned()).and_modify(|report| *report = report.clone().with_note(note));
            }
        }
        reports.extend(both.metrics);
        let valid = MetricReport::new(
            valid_fraction(at_samples, both.density_valid),
            samples.nrows(),
            Direction::HigherIsBetter,
        );
        reports.insert(DENSITY_VALID.to_owned(), valid.with_note("0 where an answer contradicts a density"));
        if at_samples.method != Divergence::Exact {
            // The noise of the trace does not bias a mean of log w, but every mean of w: variance τ² shifts log Z by τ²/2.
            for name in OF_WEIGHTS {
                reports.entry(name.to_owned()).and_modify(|report| {
                    *report = MetricReport::undefined(report.n, report.direction)
                        .with_note("undefined under a random trace, whose noise would bias a mean of weights");
                });
            }
        }
    }
    if target.is_none() && run.sampler.map().is_some() {
        let valid = valid_fraction(&at_test, true);
        let report = MetricReport::new(valid, test.nrows(), Direction::HigherIsBetter).with_note("at test points");
        reports.insert(DENSITY_VALID.to_owned(), report);
    }
    reports.insert("nll".to_owned(), nats);
    if let (Some(samples), Some(at_samples)) = (&samples, &at_samples)
        && let Some(error) = error_of(samples, at_samples)?
    {
        if error.is_large || at_test_error.is_some_and(|error| error.is_large) {
            // What contradicts a density may be the solver.
            let valid = MetricReport::undefined(samples.nrows(), Direction::HigherIsBetter);
            reports.insert(DENSITY_VALID.to_owned(), valid);
        }
        tell(&mut reports, &OF_SAMPLES, &error);
    }
    if let Some(error) = at_test_error {
        tell(&mut reports, &OF_TEST_POINTS, &error);
    }
    reports.insert("bits_per_dimension".to_owned(), in_bits(&reports["nll"], problem.data.dim));
    let note = match at_test.method {
        Divergence::Exact => None,
        Divergence::Hutchinson { probes } => Some(format!("log-densities by Hutchinson's trace of {probes} probes")),
    };
    let settings = run.sampler.density_settings();
    let noted = |report: MetricReport| {
        let report = report.with_seed(seed);
        let report = settings.0.iter().fold(report, |report, (name, value)| report.with_detail(name, detail(value)));
        note.iter().fold(report, |report, note| report.with_note(note))
    };
    Ok(reports.into_iter().map(|(name, report)| (name, noted(report))).collect())
}

/// What rests on log q at the samples, and whether it is a mean of log q.
const OF_SAMPLES: [(&str, f64); 6] =
    [("elbo", 1.0), ("kl_reverse", 1.0), ("log_z", 1.0), ("ess_reverse", 0.0), ("pareto_k", 0.0), (DENSITY_VALID, 0.0)];

/// The same at points of the target.
const OF_TEST_POINTS: [(&str, f64); 5] =
    [("nll", 1.0), ("eubo", 1.0), ("kl_forward", 1.0), ("log_z_forward", 1.0), ("ess_forward", 0.0)];

/// Says the error of the solver with every metric that rests on its answers.
fn tell(reports: &mut BTreeMap<String, MetricReport>, names: &[(&str, f64)], error: &OdeError) {
    for (name, weight) in names {
        if let Some(report) = reports.remove(*name) {
            reports.insert((*name).to_owned(), error.within(report, *weight));
        }
    }
}

/// The fraction of values that are those of a density; 0 where answers contradict one.
fn valid_fraction(found: &LogDensity, is_consistent: bool) -> Estimate {
    if !is_consistent {
        return Estimate { value: 0.0, std_error: 0.0 };
    }
    Estimate::mean(found.valid.iter().map(|&valid| f64::from(u8::from(valid))))
}

/// A setting as a detail of a report.
fn detail(value: &Value) -> Detail {
    match value {
        Value::Bool(flag) => Detail::Flag(*flag),
        Value::Number(number) => match number.as_u64() {
            Some(count) => Detail::Count(count),
            None => Detail::Number(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Detail::Text(text.clone()),
        other => Detail::Text(other.to_string()),
    }
}

/// What is a mean of weights, not of their logarithms.
const OF_WEIGHTS: [&str; 6] = ["log_z", "log_z_forward", "ess_reverse", "ess_forward", "pareto_k", "density_valid"];

/// The same in bits a dimension: nats over `d log 2`.
fn in_bits(nats: &MetricReport, dim: usize) -> MetricReport {
    let unit = dim as f64 * std::f64::consts::LN_2;
    let scaled = |number: Option<f64>| number.map(|number| number / unit);
    let bits = MetricReport {
        value: scaled(nats.value),
        std_error: scaled(nats.std_error),
        floor: scaled(nats.floor),
        floor_sd: scaled(nats.floor_sd),
        ..nats.clone()
    };
    match nats.details.get("ode_error") {
        Some(Detail::Number(error)) => bits.with_detail("ode_error", error / unit),
        _ => bits,
    }
}

fn first_rows(points: &Points, count: usize) -> Points {
    points.slice(ndarray::s![..points.nrows().min(count), ..]).to_owned()
}
