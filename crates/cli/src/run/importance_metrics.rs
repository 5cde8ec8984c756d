//! What importance sampling by a map says of an unnormalised density: log Z and its bounds, how even the weights are, and weighted draws.

use std::collections::BTreeMap;

use brenier_eval::{Direction, LogDensities, MetricReport};
use brenier_measure::{Estimate, ImportanceWeights, Measure, Points, systematic_resampling, to_tensor, to_values};
use brenier_training::monge_ampere::score::contradiction;
use burn::tensor::{DType, Device};

use crate::error::Error;
use crate::run::law::DensityError;
use crate::run::opened::TrainedRun;
use crate::run::problem::Problem;

/// Draws over which importance sampling takes means, at least.
const DRAWS: u64 = 100_000;

/// Fewer effective draws than this are too few for a quantile.
const FEW: f64 = 1000.0;

/// What was found, with the draws.
pub struct Importance {
    /// The metrics by name.
    pub metrics: BTreeMap<String, MetricReport>,
    /// As many draws of the target as of the map: those of the map, resampled by their weights; `None` where no weight is above zero.
    pub resampled: Option<Points>,
}

/// Importance sampling with at least so many draws, where the run is a map that follows a density.
///
/// # Errors
///
/// An interruption, draws that are not found.
pub fn importance(
    run: &TrainedRun,
    problem: &Problem,
    count: u64,
    seed: u64,
    go_on: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Importance>, Error> {
    let density = problem.reference.target().and_then(|target| target.density.as_deref());
    let (Some(witnesses), Some(density)) = (run.sampler.witnesses(), density) else { return Ok(None) };
    let (law, standardization) = (run.law(), &problem.data.standardization);
    let count = count.max(DRAWS);
    let (mut draws, mut log_q, mut log_p) = (Points::zeros((count as usize, law.data.dim)), Vec::new(), Vec::new());
    for tile in law.tiles(0..count) {
        let (x, own) = run.sampler.sample_with_log_density(seed, tile.clone(), go_on)?;
        let x = standardization.undo(&x);
        log_q.extend(own.into_iter().map(|log| log + standardization.log_det()));
        log_p.extend(log_densities(density, &x));
        draws.slice_mut(ndarray::s![tile.start as usize..tile.end as usize, ..]).assign(&x);
    }
    let log_p: Vec<f64> =
        log_p.into_iter().map(|log: f64| if log.is_nan() { f64::NEG_INFINITY } else { log }).collect();
    let at_particles = match &witnesses.particles {
        None => None,
        Some(particles) => {
            let x = standardization.undo(particles);
            let found = law.log_densities(&x, seed, go_on, &mut |_, _| Ok(()));
            match found {
                // A particle that is not found on the side of the reference says nothing of the others.
                Ok(found) => {
                    let pairs = log_densities(density, &x).into_iter().zip(found.values);
                    let (log_p, log_q): (Vec<f64>, Vec<f64>) = pairs.filter(|(_, log_q)| !log_q.is_nan()).unzip();
                    (log_p.len() > 1).then_some((log_p, log_q))
                }
                Err(DensityError::Undefined(error)) => return Err(error.into()),
                Err(DensityError::Stopped(error)) => return Err(error),
            }
        }
    };
    let both = LogDensities {
        log_p: &log_p,
        log_q: &log_q,
        at_target: at_particles.as_ref().map(|(log_p, log_q)| (&log_p[..], &log_q[..])),
        log_normalizer: density.log_normalizer(),
    };
    let mut metrics = both.reports()?.metrics;
    for name in OF_PARTICLES {
        let note = "on particles that the map was not fitted to";
        metrics.entry(name.to_owned()).and_modify(|report| *report = report.clone().with_note(note));
    }
    if let Some(support) = run.sampler.map().and_then(|map| map.frame()?.support.as_ref()) {
        let x = to_tensor(&standardization.apply(&draws), DType::F64, &Device::flex());
        if let Some(doubt) = support.lost_mass(&x, "draws") {
            metrics
                .entry("log_z".to_owned())
                .and_modify(|report| *report = report.clone().with_note(doubt.replace(": ", ", ")));
        }
    }
    if witnesses.is_kept == Some(false) {
        let note = "the map was no better than its reference, which is the law of the run";
        metrics.entry("elbo".to_owned()).and_modify(|report| *report = report.clone().with_note(note));
    }
    if let Some(own) =
        metrics.get("log_z").and_then(|report| Some(Estimate { value: report.value?, std_error: report.std_error? }))
    {
        let annealed = witnesses.annealed.map(|log_z| (log_z, "the annealed particles found"));
        // About modes there is no more than the mass there.
        let at_modes = witnesses.at_modes.filter(|(found, _)| found.value > own.value);
        let at_modes = at_modes.map(|(found, _)| (found, "an optimiser found modes with"));
        for (other, whose) in annealed.into_iter().chain(at_modes) {
            if let Some(what) = contradiction(own, other, whose) {
                metrics
                    .entry("log_z".to_owned())
                    .and_modify(|report| *report = report.clone().with_note(what.replace(": ", ", ")));
            }
        }
    }
    let effective = metrics.get("ess_reverse").and_then(|report| report.value).unwrap_or(0.0) * count as f64;
    if effective < FEW {
        let note = format!("the summary of coordinates rests on about {effective:.0} effective draws");
        metrics.entry("ess_reverse".to_owned()).and_modify(|report| *report = report.clone().with_note(note));
    }
    let known = |report: MetricReport| match density.log_normalizer() {
        Some(log_z) => report.with_floor(log_z, 0.0),
        None => report,
    };
    if let Some(annealed) = witnesses.annealed {
        let n = witnesses.particles.as_ref().map_or(0, Points::nrows);
        let report = known(MetricReport::new(annealed, n, Direction::NearFloorIsBetter));
        metrics.insert("log_z_particles".to_owned(), report.with_note("by the annealing of the particles alone"));
    }
    if let Some((at_modes, modes)) = witnesses.at_modes {
        let report =
            known(MetricReport::new(at_modes, modes, Direction::NearFloorIsBetter)).with_detail("modes", modes);
        let note = "importance sampling about the modes that an optimiser found from the reference: sees no mass between or beyond them";
        metrics.insert("log_z_at_modes".to_owned(), report.with_note(note));
    }
    let resampled = ImportanceWeights::from_log_densities(&log_p, &log_q).ok().and_then(|weights| weights.normalized());
    let metrics = metrics.into_iter().map(|(name, report)| (name, report.with_seed(seed))).collect();
    Ok(Some(Importance {
        metrics,
        resampled: resampled
            .map(|weights| draws.select(ndarray::Axis(0), &systematic_resampling(&weights, draws.nrows(), 0.5))),
    }))
}

/// What is a mean over particles.
pub const OF_PARTICLES: [&str; 4] = ["eubo", "kl_forward", "log_z_forward", "ess_forward"];

/// `log p` at points, `[n]`, in f64 on the CPU.
pub fn log_densities(density: &dyn Measure, x: &Points) -> Vec<f64> {
    to_values(density.log_density(to_tensor(x, DType::F64, &Device::flex())))
}
