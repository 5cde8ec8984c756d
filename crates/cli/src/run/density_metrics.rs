//! What is measured of a run whose target is an unnormalised density, with no draws to compare with: log Z, the energy, how the annealing
//! went, and every coordinate of the posterior.

use std::collections::BTreeMap;

use brenier_eval::{CoordinateSummary, Direction, MetricReport, posterior_summary};
use brenier_measure::{Estimate, Measure, Points};
use brenier_training::annealed_particles::{FEWEST_ANCESTORS, contradiction};
use ndarray::s;

use crate::run::importance_metrics::log_densities;
use crate::run::law::Law;
use crate::run::opened::TrainedRun;
use crate::run::problem::Problem;
use crate::selection::Selection;

/// What a run that follows a density can be asked.
pub const OF_ANNEALING: [&str; 7] =
    ["log_z", "log_z_at_modes", "log_z_particles", "energy", "ess_particles", "acceptance", "distinct_ancestors"];

/// Groups of particles, side by side in the order of their lineages, that R̂ compares.
const GROUPS: usize = 4;

/// The metrics that take a density of the target and no draws.
pub fn density_metrics(
    run: &TrainedRun,
    problem: &Problem,
    samples: &Points,
    selection: &Selection,
) -> BTreeMap<String, MetricReport> {
    let mut reports = BTreeMap::new();
    let Some(density) = problem.reference.target().and_then(|target| target.density.as_deref()) else { return reports };
    let mut insert = |name: &str, report: MetricReport| {
        if selection.wants(name) {
            reports.insert(name.to_owned(), report);
        }
    };
    let Some(annealing) = run.sampler.annealing() else {
        if problem.samples.is_none() {
            insert("energy", energy(density, samples));
        }
        return reports;
    };
    insert("energy", energy(density, samples));
    let particles = run.sampler.particles().map_or(0, |particles| particles.nrows());
    let known = |report: MetricReport| match density.log_normalizer() {
        Some(log_z) => report.with_floor(log_z, 0.0),
        None => report,
    };
    let log_z = known(MetricReport::new(annealing.log_z, particles, Direction::NearFloorIsBetter))
        .with_detail("temperatures", annealing.temperatures.len() - 1);
    insert(
        "log_z",
        match contradiction(annealing.log_z, annealing.at_modes) {
            Some(what) => log_z.with_note(what.replace("; ", ": ")),
            None => log_z,
        },
    );
    if let Some((at_modes, count)) = annealing.at_modes {
        let report = known(MetricReport::new(at_modes, particles, Direction::NearFloorIsBetter));
        let note = "importance sampling about the modes that an optimiser found from the particles: sees no mass between or beyond them";
        insert("log_z_at_modes", report.with_detail("modes", count).with_note(note));
    }
    let share =
        |value| MetricReport::new(Estimate { value, std_error: f64::NAN }, particles, Direction::HigherIsBetter);
    insert("ess_particles", share(annealing.ess).with_note("of the starts, by the sizes of their lineages"));
    insert("acceptance", share(annealing.acceptance).with_note("of the moves at the last temperature"));
    let ancestors = annealing.ancestors as f64 / particles.max(1) as f64;
    let ancestors = share(ancestors).with_detail("count", annealing.ancestors);
    let are_too_few = annealing.ancestors < FEWEST_ANCESTORS;
    let note = "fewer than ten starts have descendants: log Z and its standard error rest on too few";
    insert("distinct_ancestors", if are_too_few { ancestors.with_note(note) } else { ancestors });
    reports
}

/// `-E log p̃` of samples.
fn energy(density: &dyn Measure, samples: &Points) -> MetricReport {
    let mean = Estimate::mean(log_densities(density, samples).into_iter().map(|log| -log));
    MetricReport::new(mean, samples.nrows(), Direction::LowerIsBetter)
        .with_note("the mean of -log p over the samples, up to the constant of log p")
}

/// Whether every coordinate of the posterior is summed up: where the run has no draws to compare with, or is made of particles.
pub fn has_posterior(run: &TrainedRun, problem: &Problem) -> bool {
    problem.samples.is_none() || run.sampler.particles().is_some()
}

/// Every coordinate of the posterior, where there is one.
pub fn posterior(run: &TrainedRun, problem: &Problem, samples: &Points) -> Vec<CoordinateSummary> {
    if samples.nrows() < 2 || !has_posterior(run, problem) {
        return Vec::new();
    }
    let groups = run.sampler.particles().map_or_else(Vec::new, |particles| {
        let Law { data, .. } = run.law();
        let particles = data.standardization.undo(&particles);
        let size = particles.nrows() / GROUPS;
        (0..GROUPS).map(|k| particles.slice(s![k * size..(k + 1) * size, ..]).to_owned()).collect()
    });
    posterior_summary(samples, problem.data.columns.as_deref(), &groups)
}
