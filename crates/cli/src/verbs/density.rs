//! `train density`: the log-density of given points under a run.

use brenier_measure::data::write::{Format, PointWriter};
use brenier_measure::{Estimate, Points};
use brenier_model::SamplerError;
use serde_json::json;

use crate::arguments::DensityArguments;
use crate::error::{Error, Exit};
use crate::interruption;
use crate::methods::open;
use crate::methods::wiring::{Flags, OpenedFor};
use crate::points;
use crate::progress::Progress;
use crate::run::law::DensityError;
use crate::stdout::say;
use crate::verbs::Context;

/// Writes a log-density (nats, original coordinates) and its standard error for every point.
///
/// The error is that of a random trace, for a score network above 32 dimensions; 0 where the density is exact.
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
    let mut writer = PointWriter::create(&arguments.out, format, 2, points.nrows() as u64, Some(&names))?;
    let found = run.law().log_densities(&points, seed, &go_on, &mut |tile, done| {
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
    writer.finish()?;
    progress.finish();
    let nll = Estimate::mean(found.values.iter().map(|value| -value));
    let summary = json!({
        "count": points.nrows(), "nll": nll.value, "std_error": nll.std_error, "unit": "nats",
        "method": found.method, "checkpoint": run.step, "out": arguments.out.display().to_string(),
    });
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
