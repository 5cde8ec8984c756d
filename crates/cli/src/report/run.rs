//! What a run directory says of its run, as far as it can be read.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use brenier_eval::Evaluation;
use brenier_measure::Points;
use brenier_measure::data::read_points as read_file;
use brenier_training::run_directory::RunDirectory;
use burn::tensor::Device;
use serde_json::{Map, Value};

use crate::error::Error;
use crate::logging;
use crate::methods::localized::Localization;
use crate::methods::wiring::Noise;
use crate::methods::{read_record, wiring};
use crate::run::RunView;
use crate::run::evaluation::EVALUATION;
use crate::run::outputs::{CONVERGENCE, DENSITY, MAP, MOST_POINTS, PICTURE, PROGRESS, SAMPLES, picture, target_points};
use crate::run::problem::Problem;
use crate::run::record::RunRecord;

/// The most warnings that are shown.
const MOST_WARNINGS: usize = 50;

/// The most pictures of an evolution.
const MOST_FRAMES: usize = 8;

/// A PNG picture with its text alternative.
pub struct Picture {
    /// What it shows.
    pub says: String,
    /// The file.
    pub png: Vec<u8>,
}

/// Noise levels, all in standardised coordinates.
pub struct Levels {
    /// σ and the mean posterior variance of a coordinate given the noised point, where the run keeps the curve.
    pub posterior_variance: Vec<(f64, f64)>,
    /// Where the run learns and samples.
    pub noise: Noise,
}

/// A run as a page tells of it.
pub struct ReportedRun {
    /// A name that no other run of the page has.
    pub label: String,
    /// Its directory.
    pub directory: RunDirectory,
    /// Its record.
    pub record: RunRecord,
    /// The step of its latest checkpoint.
    pub step: Option<u64>,
    /// The steps of its config, at most.
    pub steps: u64,
    /// The lines of metrics.jsonl.
    pub metrics: Vec<Map<String, Value>>,
    /// evaluation.json and how the samples were made, where the run is finished.
    pub evaluation: Option<(Evaluation, Map<String, Value>)>,
    /// Samples, some of them.
    pub samples: Option<Points>,
    /// How many samples the run keeps.
    pub sample_count: usize,
    /// Points of the target, where it has any.
    pub target: Option<Points>,
    /// Where the noise is, of a score network.
    pub levels: Option<Levels>,
    /// Images of the target.
    pub target_images: Option<Picture>,
    /// Images of samples.
    pub sample_images: Option<Picture>,
    /// Pictures of the map.
    pub pictures: Vec<Picture>,
    /// Pictures of samples as the run went on, with their steps.
    pub frames: Vec<(u64, Picture)>,
    /// How many such pictures the run drew.
    pub frame_count: usize,
    /// Warnings and errors of the run, each once; none where its log cannot be read.
    pub warnings: Option<Vec<String>>,
    /// What is missing, and why.
    pub gaps: Vec<String>,
}

impl ReportedRun {
    /// Reads a run directory. What cannot be read of it is a gap, but for its record, without which it is no run.
    ///
    /// # Errors
    ///
    /// No run directory, and a record that is damaged or of another version.
    pub fn read(path: &Path, data: Option<&Path>) -> Result<Self, Error> {
        let directory = RunDirectory::open(path)?;
        let mut record = read_record(&directory)?;
        if let Some(data) = data.filter(|_| !record.config.target.files().is_empty()) {
            record.take_data_from(data)?;
        }
        let method = record.config.method.clone();
        let method = wiring(&method);
        let mut gaps = Vec::new();
        let (metrics, damaged) = directory.metrics_and_damage().unwrap_or_else(|error| {
            gaps.push(format!("the metrics cannot be read: {error}"));
            (Vec::new(), 0)
        });
        if damaged > 0 {
            gaps.push(format!("{damaged} damaged lines of metrics.jsonl are left out"));
        }
        let step = directory.steps().ok().and_then(|steps| steps.last().copied());
        let (steps, is_bound) = (method.length(&record.config).steps, method.length(&record.config).is_bound);
        let evaluation = read_evaluation(&directory, &mut gaps);
        if evaluation.is_none() && (is_bound || step.is_none_or(|step| step < steps)) {
            let step =
                step.map_or("before its first checkpoint".to_owned(), |step| format!("at step {step} of {steps}"));
            gaps.push(format!("the run is not finished: it stands {step}; `train resume` goes on"));
        } else if evaluation.is_none() {
            gaps.push("the run is trained and not judged; `train resume` makes what is missing".to_owned());
        }
        let samples = directory.path().join(SAMPLES);
        let samples = samples.is_file().then(|| read_points(&samples, record.data.dim, &mut gaps)).flatten();
        let (samples, sample_count) = samples.map_or((None, 0), |(samples, count)| (Some(samples), count));
        let problem = match record.problem() {
            Ok(problem) => Some(problem),
            Err(error) => {
                gaps.push(format!("nothing of the target is shown beside the samples: {error}"));
                None
            }
        };
        let target = problem.as_ref().and_then(|problem| target_points(problem, record.config.seed));
        let target_images = target_images(&record, target.as_ref());
        let levels = levels(&record, &directory, problem.as_ref(), &mut gaps);
        let mut run = Self {
            label: record.config.name.clone(),
            warnings: warnings(&directory, &mut gaps),
            sample_images: None,
            pictures: Vec::new(),
            frames: Vec::new(),
            frame_count: 0,
            directory,
            record,
            step,
            steps,
            metrics,
            evaluation,
            samples,
            sample_count,
            target,
            levels,
            target_images,
            gaps,
        };
        run.tell_of_missing_values();
        run.read_pictures();
        Ok(run)
    }

    /// The name of a coordinate.
    pub fn coordinate(&self, j: usize) -> String {
        let name = self.record.data.columns.as_ref().and_then(|columns| columns.get(j));
        name.map_or_else(|| format!("x{j}"), Clone::clone)
    }

    /// The names of the scalars in the metrics, in the order of their first lines; the step and the times are none.
    pub fn scalars(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for line in &self.metrics {
            for (name, value) in line {
                let is_axis = matches!(name.as_str(), "step" | "elapsed_seconds" | "cpu_seconds");
                if !is_axis && value.is_number() && !names.contains(&name.as_str()) {
                    names.push(name);
                }
            }
        }
        names
    }

    /// A scalar against the step.
    pub fn scalar<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (f64, f64)> + 'a {
        self.metrics.iter().filter_map(move |line| Some((line.get("step")?.as_f64()?, line.get(name)?.as_f64()?)))
    }

    /// The last value of a key of the metrics.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.metrics.iter().rev().find_map(|line| line.get(name)?.as_f64())
    }

    /// Values that are no numbers have no place in a chart.
    fn tell_of_missing_values(&mut self) {
        let mut missing: BTreeMap<&String, usize> = BTreeMap::new();
        for (name, value) in self.metrics.iter().flatten() {
            if !value.as_f64().is_some_and(f64::is_finite) {
                *missing.entry(name).or_default() += 1;
            }
        }
        let told =
            missing.into_iter().map(|(name, count)| format!("`{name}` is no number in {count} lines of metrics.jsonl"));
        self.gaps.extend(told);
    }

    fn read_pictures(&mut self) {
        let mut damaged = Vec::new();
        let mut read = |name: &str, says: &str| {
            let png = fs::read(self.directory.path().join(name)).ok()?;
            if !is_png(&png) {
                damaged.push(format!("{name} is no whole PNG picture, and left out"));
                return None;
            }
            Some(Picture { says: says.to_owned(), png })
        };
        if self.record.data.image_shape.is_some() {
            self.sample_images = read(PICTURE, "images of the first samples");
        }
        self.pictures
            .extend(read(MAP, "the map of the plane, as the deformed grid and as arrows from points to their images"));
        self.pictures.extend(read(DENSITY, "the density of the map beside that of the target"));
        self.pictures
            .extend(read(CONVERGENCE, "divergences and both sides of the variational inequality against the stage"));
        // Where points of the plane are drawn, the pictures of the way there are worth their room; images too.
        let folder = self.directory.path().join("figures");
        let prefix = PROGRESS.trim_start_matches("figures/");
        let mut frames: Vec<(u64, String)> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let step = name.strip_prefix(prefix)?.strip_suffix(".png")?.parse().ok()?;
                Some((step, name))
            })
            .collect();
        frames.sort_unstable();
        let count = frames.len();
        self.frame_count = count;
        let kept = |k: usize| count <= MOST_FRAMES || (k * (MOST_FRAMES - 1)) % (count - 1) < MOST_FRAMES - 1;
        for (_, (step, name)) in frames.into_iter().enumerate().filter(|(k, _)| kept(*k)) {
            let says = format!("samples at step {step}");
            self.frames.extend(read(&format!("figures/{name}"), &says).map(|picture| (step, picture)));
        }
        self.gaps.extend(damaged);
    }
}

/// Whether bytes begin and end as a PNG file does.
fn is_png(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") && bytes.ends_with(b"IEND\xaeB`\x82")
}

fn read_evaluation(directory: &RunDirectory, gaps: &mut Vec<String>) -> Option<(Evaluation, Map<String, Value>)> {
    let bytes = match fs::read(directory.path().join(EVALUATION)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => {
            gaps.push(format!("{EVALUATION} cannot be read: {error}"));
            return None;
        }
    };
    let read = || -> Result<_, serde_json::Error> {
        let whole: Map<String, Value> = serde_json::from_slice(&bytes)?;
        let settings = whole.into_iter().filter(|(_, value)| !value.is_array()).collect();
        let evaluation: Evaluation = serde_json::from_slice(&bytes)?;
        Ok((evaluation, settings))
    };
    read()
        .map_err(|error| gaps.push(format!("{EVALUATION} is damaged or of another version, and left out: {error}")))
        .ok()
}

/// The first points of a file, and how many it holds.
fn read_points(path: &Path, dim: usize, gaps: &mut Vec<String>) -> Option<(Points, usize)> {
    let points = match read_file(path, None, None).map(|data| data.points) {
        Ok(points) if points.ncols() == dim => points,
        Ok(points) => {
            gaps.push(format!("{SAMPLES} has {} columns, the run {dim}, and is left out", points.ncols()));
            return None;
        }
        Err(error) => {
            gaps.push(format!("{SAMPLES} is left out: {error}"));
            return None;
        }
    };
    let (count, all) = (points.nrows().min(MOST_POINTS as usize), points.nrows());
    Some((points.slice_move(ndarray::s![..count, ..]), all))
}

fn target_images(record: &RunRecord, target: Option<&Points>) -> Option<Picture> {
    record.data.image_shape?;
    let png = picture(target?, &record.data, None).ok().flatten()?;
    Some(Picture { says: "images of the data".to_owned(), png })
}

fn levels(
    record: &RunRecord,
    directory: &RunDirectory,
    problem: Option<&Problem>,
    gaps: &mut Vec<String>,
) -> Option<Levels> {
    let method = record.config.method.clone();
    let method = wiring(&method);
    let go_on = || true;
    let device = Device::flex();
    let view = RunView { record, directory: Some(directory), problem, device: &device, go_on: &go_on, quiet: true };
    let curve = Localization(view).kept_curve().map_err(|damage| gaps.push(damage)).ok()?;
    if curve.is_none() && method.has_score_network() {
        gaps.push("the run keeps no localization curve yet; `train localize` computes it".to_owned());
        return None;
    }
    let noise = method.noise(&view).map_err(|error| gaps.push(format!("no noise levels: {error}"))).ok().flatten()?;
    let curve = curve?;
    let dim = record.data.dim as f64;
    // The curve is in units of σ² and over all coordinates.
    let variance =
        curve.sigma.iter().zip(&curve.posterior_variance).map(|(sigma, c)| (*sigma, sigma * sigma * c / dim));
    // From the least level up, as the other curves go.
    Some(Levels { posterior_variance: variance.rev().collect(), noise })
}

/// What the log of a run warns of, each once.
fn warnings(directory: &RunDirectory, gaps: &mut Vec<String>) -> Option<Vec<String>> {
    let name = logging::FILE_NAME;
    let bytes = match fs::read(directory.path().join(name)) {
        Ok(bytes) => bytes,
        Err(error) => {
            gaps.push(match error.kind() {
                ErrorKind::NotFound => "there is no log, and so no warnings".to_owned(),
                _ => format!("{name} cannot be read, and so no warnings: {error}"),
            });
            return None;
        }
    };
    let (mut warnings, mut seen) = (Vec::new(), HashSet::new());
    for line in String::from_utf8_lossy(&bytes).lines() {
        // The time, the level, the module, and what is said.
        let mut fields = line.split_whitespace();
        let is_one = fields.nth(1).is_some_and(|level| matches!(level, "WARN" | "ERROR"));
        let Some((_, said)) = line.split_once(": ").filter(|_| is_one) else { continue };
        if seen.insert(said.to_owned()) {
            warnings.push(said.to_owned());
        }
    }
    let more = warnings.len().saturating_sub(MOST_WARNINGS);
    warnings.drain(..more);
    if more > 0 {
        gaps.push(format!("{more} earlier warnings are left out; log.txt in the run directory holds all"));
    }
    Some(warnings)
}
