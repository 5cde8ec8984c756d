//! What a run leaves beside its checkpoints: samples, an evaluation, and figures.

use std::io::ErrorKind;
use std::path::Path;

use brenier_eval::figures::{
    self, Axes, Curve, FigureError, ImageGrid, curves, scatter, scatter_size, write_atomically,
};
use brenier_eval::{Settings, visible_optimum};
use brenier_measure::data::write::{Format, PointEncoder, Precision};
use brenier_measure::{Points, Purpose, Stream};
use brenier_training::run_directory::{CheckpointSelector, RunDirectory};
use tracing::{info, warn};

use crate::arguments::Judging;
use crate::error::Error;
use crate::logging;
use crate::methods::localized::LOCALIZATION;
use crate::methods::wiring::{Flags, ProgressPlot, Wiring};
use crate::run::RunContext;
use crate::run::convergence_figure::convergence_figure;
use crate::run::evaluation::{EVALUATION, Judge, Report, default_count};
use crate::run::law::Law;
use crate::run::map_figures::{density_figure, map_figure};
use crate::run::opened::StoredRun;
use crate::run::problem::{DataRecord, Problem, Reference};
use crate::selection::Selection;

/// Samples of the best checkpoint, as many as `evaluation.count`.
pub const SAMPLES: &str = "samples.npy";
/// Images of samples, or points beside those of the target.
pub const PICTURE: &str = "figures/samples.png";
/// Training and held-out loss against the step.
const LOSS: &str = "figures/loss.png";
/// The map of the plane as a deformed grid and as arrows.
pub const MAP: &str = "figures/map.png";
/// The density of a map of the plane beside that of the target.
pub const DENSITY: &str = "figures/density.png";
/// Divergences and both sides of the variational inequality against the stage.
pub const CONVERGENCE: &str = "figures/convergence.png";
/// The denoising loss against the noise level.
const DENOISING_LOSS: &str = "figures/denoising_loss.png";

/// All of these.
const ALL: [&str; 8] = [SAMPLES, EVALUATION, PICTURE, LOSS, MAP, DENSITY, CONVERGENCE, DENOISING_LOSS];

/// How the pictures of samples at checkpoints begin.
pub const PROGRESS: &str = "figures/samples-";

/// Images in a picture.
const MOST_IMAGES: u64 = 100;
/// Points in a picture.
pub const MOST_POINTS: u64 = 2000;

/// Removes the outputs of an earlier end of the run, which further training makes untrue.
///
/// # Errors
///
/// A file that cannot be removed.
pub fn clear(directory: &RunDirectory) -> Result<(), Error> {
    for name in ALL {
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
pub fn complete(run: &RunContext, wiring: &dyn Wiring, directory: &RunDirectory) -> Result<(), Error> {
    let (config, data) = (&run.record.config, &run.record.data);
    let missing = |name: &str| !directory.path().join(name).exists();
    let picture_missing = config.output.figures && has_picture(data) && missing(PICTURE);
    let loss_missing = config.output.figures && missing(LOSS);
    let denoising_loss_missing = config.output.figures && wiring.has_score_network() && missing(DENOISING_LOSS);
    let map_missing = config.output.figures && wiring.has_map() && data.dim == 2 && (missing(MAP) || missing(DENSITY));
    let go_on = || !run.limits.reached();
    // Kept while the data are at hand.
    wiring.keep(&run.view(Some(directory), &go_on), directory)?;
    if !(missing(SAMPLES)
        || missing(EVALUATION)
        || picture_missing
        || map_missing
        || loss_missing
        || denoising_loss_missing)
    {
        info!("{} is finished", directory.path().display());
        return Ok(());
    }
    let best = StoredRun::open(directory.path(), CheckpointSelector::Best, None)?.into_trained(
        wiring,
        &Flags::default(),
        Some(&run.problem),
        &run.device,
        &go_on,
        run.quiet,
    )?;
    let judged = default_count(&run.problem, config);
    let count = config.evaluation.count.max(judged).max(MOST_IMAGES);
    info!("drawing {count} samples from step {}", best.step);
    let drawn = best.law().draw_all(config.seed, 0..count, &go_on)?;
    let first = |n: u64| drawn.slice(ndarray::s![..n.min(count) as usize, ..]).to_owned();
    if missing(SAMPLES) {
        directory.write_file(SAMPLES, &npy(&first(config.evaluation.count)))?;
    }
    let judge = Judge {
        selection: Selection::new(&Judging::default(), &[])?,
        settings: Settings { seed: config.seed, ..Settings::default() },
        log_density: config.evaluation.log_density,
        pairs: None,
        go_on: &go_on,
        quiet: run.quiet,
    };
    let report = Report::new(&best, &run.problem, &first(judged), &judge)?;
    directory.write_file(EVALUATION, report.to_json().as_bytes())?;
    if picture_missing && let Some(png) = picture(&drawn, data, target_points(&run.problem, config.seed).as_ref())? {
        directory.write_file(PICTURE, &png)?;
    }
    if map_missing && let Some(map) = best.sampler.map() {
        let x = data.standardization.apply(&first(MOST_POINTS));
        // Where the target has no draws, those of the map say where it lies.
        let target = target_points(&run.problem, config.seed).unwrap_or_else(|| first(MOST_POINTS));
        let log_z = report.evaluation.metrics.get("log_z").and_then(|report| report.value);
        let density = density_figure(&best.law(), &run.problem, &target, log_z);
        let figures = [(MAP, map_figure(map, &x)), (DENSITY, density)];
        for (name, figure) in figures {
            match figure {
                Ok(png) => directory.write_file(name, &png)?,
                Err(error) => warn!("no {name}: {error}"),
            }
        }
    }
    if loss_missing || denoising_loss_missing {
        match progress_plot(wiring.progress_plot(), directory) {
            Ok(png) => directory.write_file(LOSS, &png)?,
            Err(error) => warn!("no {LOSS}: {error}"),
        }
        if let Some(png) = convergence_figure(&directory.metrics()?)? {
            directory.write_file(CONVERGENCE, &png)?;
        }
    }
    if (loss_missing || denoising_loss_missing) && wiring.has_score_network() {
        directory.write_file(DENOISING_LOSS, &denoising_loss_figure(&report)?)?;
    }
    for line in report.evaluation.to_string().lines().filter(|line| !line.is_empty()) {
        info!("{line}");
    }
    Ok(())
}

/// Whether a path, relative to a run directory, is something that a run leaves there beside its checkpoints.
pub fn is_output(name: &Path) -> bool {
    let name = name.to_string_lossy();
    ALL.contains(&name.as_ref()) || name == logging::FILE_NAME || name == LOCALIZATION || name.starts_with(PROGRESS)
}

/// Whether samples of such data make a picture.
pub fn has_picture(data: &DataRecord) -> bool {
    data.image_shape.is_some() || data.dim == 2
}

/// A picture of samples at a checkpoint.
///
/// # Errors
///
/// Samples that are not finite, a file that cannot be written.
pub fn progress_figure(
    law: &Law,
    problem: &Problem,
    seed: u64,
    directory: &RunDirectory,
    step: u64,
) -> Result<(), Error> {
    let count = if law.data.image_shape.is_some() { MOST_IMAGES } else { MOST_POINTS };
    let drawn = law.draw_all(seed, 0..count, &|| true)?;
    if let Some(png) = picture(&drawn, law.data, target_points(problem, seed).as_ref())? {
        directory.write_file(&format!("{PROGRESS}{step:08}.png"), &png)?;
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
pub fn picture(samples: &Points, data: &DataRecord, target: Option<&Points>) -> Result<Option<Vec<u8>>, FigureError> {
    let first = |n: u64| samples.slice(ndarray::s![..samples.nrows().min(n as usize), ..]).to_owned();
    match data.image_shape {
        Some(shape) => image_grid(shape, &first(MOST_IMAGES), data).map(Some),
        None if data.dim == 2 => {
            let samples = first(MOST_POINTS);
            let target = target.map(|target| ("target", target));
            let panels: Vec<_> = target.into_iter().chain([("samples", &samples)]).collect();
            let title = if panels.len() == 1 { "Samples" } else { "Target and samples" };
            scatter(title, ["x₀", "x₁"], &panels, scatter_size(panels.len()), figures::Format::Png).map(Some)
        }
        None => Ok(None),
    }
}

fn image_grid(shape: [usize; 2], images: &Points, data: &DataRecord) -> Result<Vec<u8>, FigureError> {
    let [low, high] = data.range.expect("images are the points of a data set");
    let range = Points::from_shape_vec((1, 2), vec![low, high]).expect("two values");
    ImageGrid::new(shape, images.nrows(), &range).png(images)
}

/// Points of the target for a picture, where it has any.
pub fn target_points(problem: &Problem, seed: u64) -> Option<Points> {
    match &problem.reference {
        Reference::Data { train, .. } => {
            Some(train.slice(ndarray::s![..train.nrows().min(MOST_POINTS as usize), ..]).to_owned())
        }
        Reference::Exact { sampler, .. } => {
            Some(sampler.sample(&Stream::new(seed, Purpose::Evaluation), 0, 0..MOST_POINTS))
        }
        Reference::Density(_) => None,
    }
}

fn npy(points: &Points) -> Vec<u8> {
    let write = || {
        let (n, d) = points.dim();
        let mut encoder = PointEncoder::new(Vec::new(), Format::Npy(Precision::Double), d, n as u64, None)?;
        encoder.write(points)?;
        encoder.finish()
    };
    write().expect("a vector takes every byte")
}

fn progress_plot(plot: ProgressPlot, directory: &RunDirectory) -> Result<Vec<u8>, Error> {
    let metrics = directory.metrics()?;
    let column = |name: &str| -> Vec<(f64, f64)> {
        metrics.iter().filter_map(|line| Some((line.get("step")?.as_f64()?, line.get(name)?.as_f64()?))).collect()
    };
    let axes = Axes { title: plot.title, x: "step", y: plot.y, log_y: plot.log_y, ..Axes::default() };
    let lines: Vec<Curve> =
        plot.lines.iter().map(|&(name, scalar)| Curve { name, points: column(scalar), ..Curve::default() }).collect();
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
    let optimal: Vec<_> = visible_optimum(levels).collect();
    let name = match report.evaluation.optimum.and_then(|optimum| optimum.points()) {
        Some(count) => format!("exact denoiser of {count} points"),
        None => "exact denoiser".to_owned(),
    };
    if !optimal.is_empty() {
        lines.push(Curve { name: &name, points: optimal, dashed: true, ..Curve::default() });
        let excess = levels.iter().filter_map(|level| Some((level.sigma, level.excess.as_ref()?.value))).collect();
        lines.push(Curve { name: "excess of the network", points: excess, ..Curve::default() });
    }
    Ok(curves(&axes, &lines, [1000, 640], figures::Format::Png)?)
}
