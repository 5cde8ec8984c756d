//! `train metrics`: compares points in a file with those in another, or with a target.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use brenier_eval::{
    DenseTarget, Detail, EQUAL_SIZES, LogDensities, MetricReport, MetricTable, Reference, Settings, Step,
    against_density, evaluate, mode_coverage,
};
use brenier_measure::data::DataSet;
use brenier_measure::{GaussianMixture, Points, Sample, Target, TargetConfig};
use serde_json::{Value, json};
use tracing::warn;

use crate::arguments::{MetricsArguments, TextFiles};
use crate::config;
use crate::device::DeviceName;
use crate::error::{Error, Exit};
use crate::interruption;
use crate::points;
use crate::progress::Watched;
use crate::selection::{OF_MODES, Selection, settings};
use crate::stdout::say;
use crate::verbs::Context;

/// What the density of a target says of samples.
const OF_DENSITY: [&str; 2] = ["cross_entropy", "kl_reverse"];

/// What it says of samples whose own density is known.
const OF_BOTH: [&str; 4] = ["elbo", "log_z", "ess_reverse", "pareto_k"];

/// What B holds.
enum Against {
    /// Points, and the names of their columns.
    Points(Points, Option<Vec<String>>),
    /// A target to draw from, with its draws, and its modes where it is a mixture.
    Target(Target, Arc<dyn Sample>, Option<GaussianMixture>),
}

/// Prints every metric that applies to two sets of points, or to points and a target.
pub fn metrics(arguments: &MetricsArguments, context: &Context) -> Result<Exit, Error> {
    if arguments.compute.device.is_some_and(|device| device != DeviceName::Cpu) {
        warn!("metrics are computed in f64 on the CPU, whatever the device");
    }
    arguments.compute.set_threads()?;
    let selection = Selection::new(&arguments.judging, &[&OF_DENSITY[..], &OF_BOTH, &OF_MODES].concat())?;
    let settings = settings(&arguments.judging, arguments.seed);
    let samples = points::read(&arguments.samples, None, arguments.text_files)?;
    let against = Against::read(&arguments.reference, arguments.text_files, arguments.seed)?;
    against.check(arguments, &selection)?;
    if samples.points.ncols() != against.dim() {
        return Err(Error::dimensions(&arguments.samples, samples.points.ncols(), &arguments.reference, against.dim()));
    }
    let DataSet { points: samples, columns, .. } = samples;
    let against = against.in_order_of(columns.as_deref(), arguments)?;
    let log_q = arguments
        .log_density
        .as_deref()
        .map(|path| log_densities(path, samples.nrows(), arguments.text_files))
        .transpose()?;
    let count = arguments.count.map(|count| count as usize);
    let task = Task { samples, log_q, against, count, selection, settings, quiet: context.quiet };
    let answer = interruption::abandonable(move || task.measure())?;
    if arguments.json {
        say(&format!("{}\n", answer.json(arguments)))?;
    } else {
        say(&answer.text(arguments))?;
    }
    Ok(Exit::Done)
}

impl Against {
    /// A target where the file is JSON, else points.
    fn read(path: &Path, text_files: TextFiles, seed: u64) -> Result<Self, Error> {
        let of = |DataSet { points, columns, .. }: DataSet| Self::Points(points, columns);
        if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
            return points::read(path, None, text_files).map(of);
        }
        match config::load::load_target(path)? {
            TargetConfig::Dataset(dataset) => {
                if dataset.noise > 0.0 {
                    warn!("the points of {} are taken as they stand, without the noise", dataset.path.display());
                }
                let data = DataSet::load(&dataset)?;
                let points = data.counted_alike(seed);
                if data.weights.is_some() {
                    let (n, file) = (points.nrows(), dataset.path.display());
                    warn!("{n} points of {file} are drawn by their weights, which are worth so many");
                }
                Ok(of(DataSet { points, ..data }))
            }
            config => {
                let target = config.build_exact()?.expect("only a data set has no exact form");
                let sampler = target.sampler.clone().ok_or_else(|| Error::no_draws("distances", target.name))?;
                Ok(Self::Target(target, sampler, config.modes()?))
            }
        }
    }

    /// The same with columns in the order of those of A.
    fn in_order_of(self, columns: Option<&[String]>, arguments: &MetricsArguments) -> Result<Self, Error> {
        let (a, b) = (&arguments.samples, &arguments.reference);
        match self {
            Self::Points(points, own) => {
                let points = points::in_order_of(columns, a, points, own.as_deref(), b)?;
                Ok(Self::Points(points, columns.map(<[String]>::to_vec).or(own)))
            }
            target => Ok(target),
        }
    }

    fn dim(&self) -> usize {
        match self {
            Self::Points(points, _) => points.ncols(),
            Self::Target(_, sampler, _) => sampler.dim(),
        }
    }

    /// Refuses flags that ask for what B cannot give.
    fn check(&self, arguments: &MetricsArguments, selection: &Selection) -> Result<(), Error> {
        let path = &arguments.reference;
        let has_density = matches!(self, Self::Target(target, ..) if target.density.is_some());
        let name = match self {
            Self::Points(..) => format!("the points of {}", path.display()),
            Self::Target(target, ..) => format!("the target `{}` of {}", target.name, path.display()),
        };
        if let Some(metric) = selection.first_named(&[&OF_DENSITY[..], &OF_BOTH].concat()).filter(|_| !has_density) {
            return Err(Error::no_density(metric, &name));
        }
        if let Some(metric) = selection.first_named(&OF_BOTH).filter(|_| arguments.log_density.is_none()) {
            return Err(Error::no_log_density(metric));
        }
        if let Some(metric) = selection.first_named(&OF_MODES)
            && !matches!(self, Self::Target(_, _, Some(_)))
        {
            return Err(Error::no_modes(metric, &name));
        }
        if arguments.log_density.is_some() && !has_density {
            return Err(Error::no_density("--log-density", &name));
        }
        if arguments.count.is_some() && matches!(self, Self::Points(..)) {
            return Err(Error::count_of_points(path));
        }
        Ok(())
    }
}

/// What is to be measured.
struct Task {
    samples: Points,
    /// The sampler's log-density at the samples.
    log_q: Option<Vec<f64>>,
    against: Against,
    /// The number of fresh draws.
    count: Option<usize>,
    selection: Selection,
    settings: Settings,
    quiet: bool,
}

impl Task {
    fn measure(&self) -> Result<Answer, Error> {
        let Self { samples, count, selection, settings, .. } = self;
        let (reference, count_b) = match &self.against {
            Against::Points(points, _) => (Reference::Points(points), points.nrows()),
            Against::Target(_, sampler, _) => {
                let sampler = sampler.as_ref();
                (Reference::Target { sampler, count: *count }, count.unwrap_or(samples.nrows()))
            }
        };
        let mut watched = Watched::new("distances", self.quiet);
        let watch = &mut |step: Step| {
            watched.update(step.done as u64, step.total as u64);
            !interruption::asked()
        };
        let mut metrics = evaluate(samples, &reference, &selection.distances(), settings, watch)?.metrics;
        if let Against::Target(_, _, Some(mixture)) = &self.against
            && samples.nrows() >= 2
            && OF_MODES.iter().any(|name| selection.wants(name))
        {
            metrics.extend(mode_coverage(samples, mixture, settings.seed)?.metrics);
        }
        if let Against::Target(Target { density: Some(density), .. }, sampler, _) = &self.against {
            let target = DenseTarget { sampler: sampler.as_ref(), density: density.as_ref() };
            if OF_DENSITY.iter().any(|name| selection.wants(name)) {
                metrics.extend(against_density(samples, &target, settings, &mut || !interruption::asked())?);
            }
            if let Some(log_q) = &self.log_q {
                let log_p = target.unnormalized(samples)?;
                let log_normalizer = target.density.log_normalizer();
                let both = LogDensities { log_p: &log_p, log_q, at_target: None, log_normalizer }.reports()?;
                // The exact kl_reverse takes the place of the estimate.
                metrics.extend(both.metrics.into_iter().map(|(name, report)| (name, report.with_seed(settings.seed))));
            }
        }
        metrics.retain(|name, _| selection.wants(name));
        for name in selection.named_without(&metrics) {
            let undefined = MetricReport::undefined(samples.nrows(), brenier_eval::Direction::LowerIsBetter)
                .with_seed(settings.seed);
            let note = format!("{name} is not defined for these points: too few, or too many dimensions");
            metrics.insert(name, undefined.with_note(note));
        }
        Ok(Answer { dim: samples.ncols(), counts: [samples.nrows(), count_b], metrics })
    }
}

/// The sampler's log-density at each of `count` samples: the only column of a file, or the one called `log_density`.
fn log_densities(path: &Path, count: usize, text_files: TextFiles) -> Result<Vec<f64>, Error> {
    const NAME: &str = "log_density";
    let file = points::read(path, None, text_files)?;
    let named = file.columns.iter().flatten().position(|name| name == NAME);
    let column = named.or((file.points.ncols() == 1).then_some(0));
    match column {
        Some(column) if file.points.nrows() == count => Ok(file.points.column(column).to_vec()),
        _ => Err(Error::log_density_shape(path, [file.points.nrows(), file.points.ncols()], count)),
    }
}

/// All that was measured.
struct Answer {
    dim: usize,
    counts: [usize; 2],
    metrics: BTreeMap<String, MetricReport>,
}

impl Answer {
    fn text(&self, arguments: &MetricsArguments) -> String {
        let [a, b] = self.counts;
        let (samples, reference) = (arguments.samples.display(), arguments.reference.display());
        let dim = self.dim;
        format!(
            "{a} points of {samples} against {b} of {reference}, dimension {dim}, seed {}\n{}",
            arguments.seed,
            MetricTable(&self.metrics)
        )
    }

    /// The promised keys with plain numbers, and under `metrics` all that is known of each.
    fn json(&self, arguments: &MetricsArguments) -> Value {
        let report = |name: &str| self.metrics.get(name);
        let value = |name: &str| report(name).and_then(|report| report.value);
        let detail = |name: &str, detail: &str| report(name).and_then(|report| report.details.get(detail));
        let w2_floor = match detail("w2", EQUAL_SIZES) {
            Some(Detail::Number(mean)) => Some(*mean),
            _ => report("w2").and_then(|report| report.floor),
        };
        let std_errors: BTreeMap<&str, Option<f64>> =
            self.metrics.iter().map(|(name, report)| (name.as_str(), report.std_error)).collect();
        json!({
            "a": arguments.samples.display().to_string(),
            "b": arguments.reference.display().to_string(),
            "program_version": crate::arguments::VERSION,
            "dim": self.dim,
            "count_a": self.counts[0],
            "count_b": self.counts[1],
            "seed": arguments.seed,
            "w2": value("w2"),
            "w2_squared": value("w2_squared"),
            "w2_duality_gap": detail("w2", "duality_gap").or(detail("w2_squared", "duality_gap")),
            "w2_floor": w2_floor,
            "w1": value("w1"),
            "sliced_w2": value("sliced_w2"),
            "sinkhorn_divergence": {
                "value": value("sinkhorn_divergence"),
                "epsilon": detail("sinkhorn_divergence", "epsilon"),
                "converged": detail("sinkhorn_divergence", "converged"),
                "marginal_error": detail("sinkhorn_divergence", "marginal_error"),
            },
            "kl_knn": {
                "value": value("kl_knn"),
                "k": detail("kl_knn", "k"),
                "reliable": detail("kl_knn", "reliable"),
            },
            "energy_distance": value("energy_distance"),
            "mmd": value("mmd"),
            "mean_error": value("mean_error"),
            "covariance_error": value("covariance_error"),
            "std_errors": std_errors,
            "metrics": self.metrics,
        })
    }
}
