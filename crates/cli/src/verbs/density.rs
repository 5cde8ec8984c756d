//! `train density`: the log-density of given points under a run.

use std::path::Path;

use brenier_measure::data::write::{Format, PointWriter};
use brenier_measure::{Estimate, Points};
use brenier_model::SamplerError;
use serde_json::json;
use tracing::warn;

use crate::arguments::DensityArguments;
use crate::error::{Error, Exit};
use crate::interruption;
use crate::methods::open;
use crate::methods::wiring::{Flags, OpenedFor};
use crate::points;
use crate::progress::Progress;
use crate::run::law::DensityError;
use crate::run::ode_error::OdeError;
use crate::stdout::say;
use crate::verbs::Context;

/// Writes a log-density (nats, original coordinates) and its standard error for every point.
///
/// The error is that of a random trace, for a score network above 32 dimensions; 0 where the density is exact. A point at which there is none
/// ends the work, or with `--skip-invalid` is NaN.
pub fn density(arguments: &DensityArguments, context: &Context) -> Result<Exit, Error> {
    let format = Format::of_path(&arguments.out)?;
    let device = arguments.opened.compute.open(crate::device::DeviceName::Cpu)?;
    let run = arguments.opened.open()?;
    run.check_output(&arguments.out, &[&arguments.input])?;
    let data = &run.record.data;
    let points = points::read(&arguments.input, data.columns.as_deref(), arguments.text_files)?.points;
    if points.ncols() != data.dim {
        return Err(Error::dimension(&arguments.input, points.ncols(), data.dim));
    }
    let seed = arguments.opened.seed.unwrap_or(run.record.config.seed);
    let flags = Flags {
        density_steps: arguments.steps.map(|steps| steps as usize),
        opened_for: OpenedFor::Densities,
        ..Flags::default()
    };
    let go_on = || !interruption::asked();
    let run = open(run, &flags, None, &device, &go_on, context.quiet)?;
    let names = ["log_density".to_owned(), "std_error".to_owned()];
    let mut progress = Progress::new(points.nrows() as u64, 0, "log-density", context.quiet);
    let mut skipped = 0;
    let mut writer = PointWriter::create(&arguments.out, format, 2, points.nrows() as u64, Some(&names))?;
    let found = run.law().log_densities(&points, seed, &go_on, &mut |tile, done| {
        let lost = tile.values.iter().filter(|value| value.is_nan()).count();
        if let Some(row) = tile.values.iter().position(|value| value.is_nan()).filter(|_| !arguments.skip_invalid) {
            return Err(no_log_density(&arguments.input, done - tile.values.len() + row + 1));
        }
        skipped += lost;
        let columns = [&tile.values, &tile.std_errors];
        writer.write(&Points::from_shape_fn((tile.values.len(), 2), |(row, column)| columns[column][row]))?;
        progress.update(done as u64, &[]);
        Ok(())
    });
    let found = found.map_err(|error| match error {
        DensityError::Undefined(SamplerError::NoLogDensity) => Error::run_without_density(&run.record.config.name),
        DensityError::Undefined(error) => error.into(),
        DensityError::Stopped(error) => error,
    })?;
    let ode_error = OdeError::of(&run.law(), &points, &found, seed, &go_on)?;
    writer.finish()?;
    progress.finish();
    if skipped > 0 {
        warn!("{skipped} of {} points have no log-density: NaN stands in their place", points.nrows());
    }
    if let Some(note) = ode_error.as_ref().and_then(|error| error.note("--steps")) {
        warn!("{note}");
    }
    let nll = Estimate::mean(found.values.iter().filter(|value| !value.is_nan()).map(|value| -value));
    // Of no value there is no mean.
    let value = if skipped < points.nrows() { nll.value } else { f64::NAN };
    let nll =
        Estimate { value, std_error: ode_error.map_or(nll.std_error, |error| nll.std_error.hypot(error.of_mean)) };
    let mut summary = json!({
        "count": points.nrows(), "nll": nll.value, "std_error": nll.std_error, "unit": "nats",
        "method": found.method, "checkpoint": run.step, "out": arguments.out.display().to_string(),
    });
    if arguments.skip_invalid {
        summary["skipped"] = json!(skipped);
    }
    if let Some(error) = ode_error {
        summary["ode_error"] = json!(error.of_mean);
        summary["ode_difference"] = json!(error.root_mean_square);
    }
    if arguments.json {
        say(&format!("{summary}\n"))?;
    } else {
        say(&format!(
            "{} log-densities in {}; mean negative log-likelihood {:.4} ± {:.4} nats\n",
            points.nrows(),
            arguments.out.display(),
            nll.value,
            nll.std_error
        ))?;
    }
    Ok(Exit::Done)
}

/// A point of a file at which the law has no log-density, or none that a solver reaches.
fn no_log_density(path: &Path, row: usize) -> Error {
    Error::bad_input(format!(
        "row {row} of {}: the run has no log-density there, or none that its solver reaches",
        path.display()
    ))
    .hint("leave the point out, or give `--skip-invalid`, which writes NaN in its place and counts such points")
}
