//! `train evaluate`: compares samples of a run with its target, and runs of one target with one another.

use std::path::{Path, PathBuf};

use brenier_eval::SHARES;
use brenier_measure::{Estimate, Points};
use brenier_training::run_directory::CheckpointSelector;
use burn::tensor::Device;
use serde_json::json;
use tracing::warn;

use crate::arguments::{EvaluateArguments, Judging, Opened, Sampling};
use crate::error::{Error, Exit};
use crate::interruption;
use crate::methods::open;
use crate::methods::wiring::Flags;
use crate::output_file;
use crate::run::agreement::{Side, agreement};
use crate::run::density_metrics::{OF_ANNEALING, has_posterior};
use crate::run::evaluation::{BESIDE_DISTANCES, EVALUATION, Judge, OF_TARGET_DENSITY, Report, default_count};
use crate::run::map_metrics::{OF_KNOWN, OF_MAP, Pairs};
use crate::run::opened::StoredRun;
use crate::selection::{OF_MODES, Selection, settings};
use crate::stdout::say;
use crate::table::csv_line;
use crate::verbs::Context;

/// One run that was judged.
struct Judged {
    report: Report,
    samples: Points,
    /// The seed that it was trained with.
    seed: u64,
    /// The names of the coordinates.
    columns: Option<Vec<String>>,
}

/// Prints every metric that applies, and keeps them in evaluation.json.
pub fn evaluate(arguments: &EvaluateArguments, context: &Context) -> Result<Exit, Error> {
    let paths: Vec<&PathBuf> = std::iter::once(&arguments.opened.run).chain(&arguments.others).collect();
    // Before anything is computed: all runs, and where the answer goes.
    let stored = paths
        .iter()
        .map(|path| StoredRun::open(path, arguments.opened.checkpoint, arguments.opened.data.as_deref()))
        .collect::<Result<Vec<StoredRun>, Error>>()?;
    for (run, path) in stored.iter().zip(&paths).skip(1) {
        if stored[0].record.what_was_learnt() != run.record.what_was_learnt() {
            let message = format!("{} and {} have different targets", paths[0].display(), path.display());
            return Err(Error::bad_input(message)
                .hint("runs are set side by side that learnt the same target; compare `target` in their config.json"));
        }
    }
    if let Some(out) = &arguments.out {
        check_summary_file(out, &stored[0])?;
    }
    let names = [&BESIDE_DISTANCES[..], &OF_TARGET_DENSITY, &OF_MODES, &OF_MAP, &OF_ANNEALING].concat();
    let selection = Selection::new(&arguments.judging, &names)?;
    let pairs = arguments.pairs.as_deref().map(Pairs::read).transpose()?;
    if let Some(path) = &arguments.pairs
        && !OF_KNOWN.iter().any(|metric| selection.wants(metric))
    {
        let message = format!("--pairs {} is for {}, and --only names neither", path.display(), OF_KNOWN.join(" and "));
        return Err(Error::bad_input(message).hint("leave one of the two flags out"));
    }
    // Once: threads are those of the process.
    let device = arguments.opened.compute.open(crate::device::DeviceName::Cpu)?;
    let mut all = Vec::with_capacity(stored.len());
    for (index, run) in stored.into_iter().enumerate() {
        all.push(judge(run, index as u64, &device, &selection, pairs.as_ref(), arguments, context)?);
    }
    let first = &all[0];
    if let Some(out) = &arguments.out {
        write_summary(&first.report, out)?;
    }
    if arguments.others.is_empty() {
        let text = if arguments.json { first.report.to_json_line() } else { first.report.evaluation.to_string() };
        say(&text)?;
        return Ok(Exit::Done);
    }
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let sides: Vec<Side> = all
        .iter()
        .zip(&paths)
        .map(|(judged, path)| {
            let log_z = log_z(&judged.report);
            Side { name: path, seed: judged.seed, log_z, samples: &judged.samples }
        })
        .collect();
    let agreement = agreement(&sides, first.columns.as_deref());
    if arguments.json {
        let runs: Vec<_> =
            all.iter().zip(&paths).map(|(judged, run)| json!({"run": run, "report": judged.report})).collect();
        return say(&format!("{}\n", json!({"runs": runs, "agreement": agreement}))).map(|()| Exit::Done);
    }
    for (judged, path) in all.iter().zip(&paths) {
        say(&format!("{path}: {}\n", judged.report.evaluation))?;
    }
    say(&agreement.text())?;
    Ok(Exit::Done)
}

/// log Z of a report.
fn log_z(report: &Report) -> Option<Estimate> {
    let report = report.evaluation.metrics.get("log_z")?;
    Some(Estimate { value: report.value?, std_error: report.std_error? })
}

/// The run of this index is drawn with the seed that was asked for plus the index: runs that share their noise would agree too well.
fn judge(
    run: StoredRun,
    index: u64,
    device: &Device,
    selection: &Selection,
    pairs: Option<&Pairs>,
    arguments: &EvaluateArguments,
    context: &Context,
) -> Result<Judged, Error> {
    let problem = run.record.problem()?;
    let seed = arguments.opened.seed.map_or(run.record.config.seed, |seed| seed.wrapping_add(index));
    let go_on = || !interruption::asked();
    let flags = Flags { sampling: Some(&arguments.sampling), ..Flags::default() };
    let run = open(run, &flags, Some(&problem), device, &go_on, context.quiet)?;
    let config = &run.record.config;
    let count = arguments.count.unwrap_or_else(|| default_count(&problem, config));
    if arguments.out.is_some() && !has_posterior(&run, &problem) {
        return Err(Error::bad_input("there is no summary of coordinates: the run learnt from points")
            .hint("a run whose target is a density has one; leave `--out` out"));
    }
    let samples = run.law().draw_all(seed, 0..count, &go_on)?;
    let judge = Judge {
        selection: selection.clone(),
        settings: settings(&arguments.judging, seed),
        log_density: config.evaluation.log_density,
        pairs,
        go_on: &go_on,
        quiet: context.quiet,
    };
    let report = Report::new(&run, &problem, &samples, &judge)?;
    // The report of the run is that of its own sampler, seed and best checkpoint; what flags ask for is an answer.
    let Opened { checkpoint, seed, .. } = arguments.opened;
    let own = checkpoint == CheckpointSelector::Best && seed.is_none() && arguments.count.is_none() && pairs.is_none();
    if own
        && arguments.sampling == Sampling::default()
        && arguments.judging == Judging::default()
        && let Err(error) = run.directory.write_file(EVALUATION, report.to_json().as_bytes())
    {
        warn!("{EVALUATION} could not be kept: {error}");
    }
    Ok(Judged { report, samples, seed: run.record.config.seed, columns: problem.data.columns })
}

/// Refuses a file that no summary can be written to: what the run learnt from, and what is its own.
fn check_summary_file(out: &Path, run: &StoredRun) -> Result<(), Error> {
    output_file::check_ending(out, "csv", "the summary of every coordinate is a")?;
    run.check_output(out, &[])
}

/// Writes the summary of every coordinate as csv.
fn write_summary(report: &Report, out: &Path) -> Result<(), Error> {
    let quantiles = SHARES.map(|share| format!("q{:.0}", share * 100.0)).join(",");
    let mut text = format!("coordinate,mean,sd,{quantiles},r_hat\n");
    for row in &report.evaluation.posterior {
        let numbers = [row.mean, row.sd].into_iter().chain(row.quantiles).map(|value| value.to_string());
        let r_hat = row.r_hat.map_or(String::new(), |r_hat| r_hat.to_string());
        text += &csv_line([row.name.clone()].into_iter().chain(numbers).chain([r_hat]));
    }
    output_file::write(out, text.as_bytes())
}
