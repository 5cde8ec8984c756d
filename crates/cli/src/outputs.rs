//! What a run leaves beside its checkpoints: samples, an evaluation, and figures.

use std::io::ErrorKind;
use std::path::Path;

use brenier_eval::Settings;
use brenier_eval::figures::{
    self, Axes, Curve, FigureError, ImageGrid, curves, scatter, scatter_size, write_atomically,
};
use brenier_measure::data::write::{Format, PointEncoder, Precision};
use brenier_measure::{Points, Purpose, Stream};
use brenier_model::ScoreNetwork;
use brenier_training::run_directory::{CheckpointSelector, RunDirectory};
use tracing::{info, warn};

use crate::arguments::{Judging, Sampling};
use crate::error::Error;
use crate::evaluation::{EVALUATION, Judge, Report, default_count};
use crate::localized::LOCALIZATION;
use crate::problem::{DataRecord, Problem, Reference};
use crate::record::OpenedRun;
use crate::sampling::SamplingPlan;
use crate::selection::Selection;
use crate::training_run::TrainingRun;

/// Samples of the best checkpoint, as many as `evaluation.count`.
const SAMPLES: &str = "samples.npy";
/// Images of samples, or points beside those of the target.
const PICTURE: &str = "figures/samples.png";
/// Training and held-out loss against the step.
const LOSS: &str = "figures/loss.png";
/// The denoising loss against the noise level.
const DENOISING_LOSS: &str = "figures/denoising_loss.png";

/// Images in a picture.
const MOST_IMAGES: u64 = 100;
/// Points in a picture.
const MOST_POINTS: u64 = 2000;

/// Removes the outputs of an earlier end of the run, which further training makes untrue.
///
/// # Errors
///
/// A file that cannot be removed.
pub fn clear(directory: &RunDirectory) -> Result<(), Error> {
    for name in [SAMPLES, EVALUATION, PICTURE, LOSS, DENOISING_LOSS] {
        let path = directory.path().join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(Error::writing(&path, error)),
            _ => {}
        }
    }
    Ok(())
}

/// Makes the outputs of a finished run that are not there.
///
/// # Errors
///
/// No checkpoint that verifies, samples that are not finite, files that cannot be written.
pub fn complete(run: &TrainingRun, directory: &RunDirectory) -> Result<(), Error> {
    let config = &run.record.config;
    let missing = |name: &str| !directory.path().join(name).exists();
    let has_picture = run.record.data.image_shape.is_some() || run.record.data.dim == 2;
    let picture_missing = config.output.figures && has_picture && missing(PICTURE);
    let curves_missing = config.output.figures && (missing(LOSS) || missing(DENOISING_LOSS));
    let go_on = || !run.deadline.reached();
    let localization = run.localization(directory, &go_on);
    // Kept while the data are at hand; data that have no curve can still be sampled on every other grid.
    if missing(LOCALIZATION)
        && let Err(error) = localization.keep()
    {
        if error.is_interruption() {
            return Err(error);
        }
        warn!("no localized grids for this run: {error}");
    }
    if !(missing(SAMPLES) || missing(EVALUATION) || picture_missing || curves_missing) {
        info!("{} is finished", directory.path().display());
        return Ok(());
    }
    let best = OpenedRun::open(directory.path(), CheckpointSelector::Best, &run.device)?;
    let plan = SamplingPlan::new(&localization, &Sampling::default(), config.seed)?;
    let judged = default_count(&run.problem, config);
    let count = config.evaluation.count.max(judged).max(MOST_IMAGES);
    info!("drawing {count} samples from step {}", best.step);
    let drawn = plan.draw_all(&best.network, &run.record.data, count, &run.device, &go_on)?;
    let first = |n: u64| drawn.slice(ndarray::s![..n.min(count) as usize, ..]).to_owned();
    if missing(SAMPLES) {
        directory.write_file(SAMPLES, &npy(&first(config.evaluation.count)))?;
    }
    let judge = Judge {
        selection: Selection::new(&Judging::default(), &[])?,
        settings: Settings { seed: config.seed, ..Settings::default() },
        log_density: config.evaluation.log_density,
        device: &run.device,
        go_on: &go_on,
        quiet: run.quiet,
    };
    let report = Report::new(&best, &run.problem, &plan, &first(judged), &judge)?;
    directory.write_file(EVALUATION, report.to_json().as_bytes())?;
    if picture_missing
        && let Some(png) = picture(&drawn, &run.record.data, Some(&target_points(&run.problem, config.seed)))?
    {
        directory.write_file(PICTURE, &png)?;
    }
    if curves_missing {
        directory.write_file(LOSS, &loss_figure(directory)?)?;
        directory.write_file(DENOISING_LOSS, &denoising_loss_figure(&report)?)?;
    }
    for line in report.evaluation.to_string().lines().filter(|line| !line.is_empty()) {
        info!("{line}");
    }
    Ok(())
}

/// A picture of samples at a checkpoint; nothing where points make no picture.
///
/// # Errors
///
/// Samples that are not finite, a file that cannot be written.
pub fn progress_figure(
    run: &TrainingRun,
    directory: &RunDirectory,
    network: &ScoreNetwork,
    step: u64,
) -> Result<(), Error> {
    let (config, data) = (&run.record.config, &run.record.data);
    let count = if data.image_shape.is_some() { MOST_IMAGES } else { MOST_POINTS };
    if data.image_shape.is_none() && data.dim != 2 {
        return Ok(());
    }
    let plan = SamplingPlan::new(&run.localization(directory, &|| true), &Sampling::default(), config.seed)?;
    let drawn = plan.draw_all(network, data, count, &run.device, &|| true)?;
    let target = target_points(&run.problem, config.seed);
    if let Some(png) = picture(&drawn, data, Some(&target))? {
        directory.write_file(&format!("figures/samples-{step:08}.png"), &png)?;
    }
    Ok(())
}

/// Writes a picture of all samples to a file of the user's.
///
/// # Errors
///
/// A picture that is too large, a file that cannot be written.
pub fn write_picture(samples: &Points, data: &DataRecord, path: &Path) -> Result<(), Error> {
    let png = match data.image_shape {
        Some(shape) => image_grid(shape, samples, data)?,
        None => scatter("Samples", ["x₀", "x₁"], &[("samples", samples)], scatter_size(1), figures::Format::Png)?,
    };
    Ok(write_atomically(path, &png)?)
}

/// Images of the first samples, or the first samples beside points of the target.
fn picture(samples: &Points, data: &DataRecord, target: Option<&Points>) -> Result<Option<Vec<u8>>, FigureError> {
    let first = |n: u64| samples.slice(ndarray::s![..samples.nrows().min(n as usize), ..]).to_owned();
    match data.image_shape {
        Some(shape) => image_grid(shape, &first(MOST_IMAGES), data).map(Some),
        None if data.dim == 2 => {
            let samples = first(MOST_POINTS);
            let target = target.map(|target| ("target", target));
            let panels: Vec<_> = target.into_iter().chain([("samples", &samples)]).collect();
            scatter("Target and samples", ["x₀", "x₁"], &panels, scatter_size(panels.len()), figures::Format::Png)
                .map(Some)
        }
        None => Ok(None),
    }
}

fn image_grid(shape: [usize; 2], images: &Points, data: &DataRecord) -> Result<Vec<u8>, FigureError> {
    let range = Points::from_shape_vec((1, 2), data.range.to_vec()).expect("two values");
    ImageGrid::new(shape, images.nrows(), &range).png(images)
}

/// Points of the target for a picture.
fn target_points(problem: &Problem, seed: u64) -> Points {
    match &problem.reference {
        Reference::Data { train, .. } => {
            train.slice(ndarray::s![..train.nrows().min(MOST_POINTS as usize), ..]).to_owned()
        }
        Reference::Exact(target, _) => {
            target.sampler.sample(&Stream::new(seed, Purpose::Evaluation), 0, 0..MOST_POINTS)
        }
    }
}

fn npy(points: &Points) -> Vec<u8> {
    let write = || {
        let (n, d) = points.dim();
        let mut encoder = PointEncoder::new(Vec::new(), Format::Npy(Precision::Single), d, n as u64, None)?;
        encoder.write(points)?;
        encoder.finish()
    };
    write().expect("a vector takes every byte")
}

fn loss_figure(directory: &RunDirectory) -> Result<Vec<u8>, Error> {
    let metrics = directory.metrics()?;
    let column = |name: &str| -> Vec<(f64, f64)> {
        metrics.iter().filter_map(|line| Some((line.get("step")?.as_f64()?, line.get(name)?.as_f64()?))).collect()
    };
    let axes = Axes {
        title: "Denoising loss (surrogate) during training",
        x: "step",
        y: "weighted squared error",
        log_y: true,
        ..Axes::default()
    };
    let lines = [
        Curve { name: "training", points: column("surrogate_loss"), ..Curve::default() },
        Curve { name: "held out, averaged weights", points: column("held_out_surrogate_loss"), ..Curve::default() },
    ];
    Ok(curves(&axes, &lines, [1000, 640], figures::Format::Png)?)
}

fn denoising_loss_figure(report: &Report) -> Result<Vec<u8>, Error> {
    let levels = &report.evaluation.denoising_loss;
    let axes = Axes {
        title: "Denoising loss at every noise level",
        x: "noise level σ (standardised coordinates)",
        y: "E|D(x + σz, σ) - x|²/d",
        log_x: true,
        log_y: true,
    };
    let mut lines = vec![Curve {
        name: "network",
        points: levels.iter().map(|level| (level.sigma, level.loss)).collect(),
        ..Curve::default()
    }];
    let exact: Vec<_> = levels.iter().filter_map(|level| Some((level.sigma, level.exact?))).collect();
    if !exact.is_empty() {
        lines.push(Curve { name: "exact denoiser", points: exact, dashed: true, ..Curve::default() });
    }
    Ok(curves(&axes, &lines, [1000, 640], figures::Format::Png)?)
}
