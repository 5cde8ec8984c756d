//! `train density`: the log-density of given points under a run.

use brenier_measure::data::read_points;
use brenier_measure::data::write::{Format, PointWriter};
use brenier_measure::{Estimate, Points};
use serde_json::json;

use crate::arguments::DensityArguments;
use crate::error::{Error, Exit};
use crate::interruption;
use crate::model_density::{ModelDensity, TILE};
use crate::output_file;
use crate::progress::Progress;
use crate::record::OpenedRun;
use crate::stdout::say;
use crate::verbs::Context;

/// Writes a log-density (nats, original coordinates) and its standard error for every point, by the probability-flow ODE.
///
/// The error is that of a random trace, above 32 dimensions; 0 where the trace is exact.
pub fn density(arguments: &DensityArguments, context: &Context) -> Result<Exit, Error> {
    let format = Format::of_path(&arguments.out)?;
    output_file::check(&arguments.out, &[&arguments.input])?;
    let device = arguments.opened.compute.open(crate::device::DeviceName::Cpu)?;
    let run = OpenedRun::open(&arguments.opened.run, arguments.opened.checkpoint, &device)?;
    let (config, data) = (&run.record.config, &run.record.data);
    let points = read_points(&arguments.input, data.columns.as_deref())?.points;
    if points.ncols() != data.dim {
        return Err(Error::dimension(&arguments.input, points.ncols(), data.dim));
    }
    let seed = arguments.opened.seed.unwrap_or(config.seed);
    let model = ModelDensity::new(&run, arguments.steps as usize, seed, &device)?;
    let names = ["log_density".to_owned(), "std_error".to_owned()];
    let mut progress = Progress::new(points.nrows() as u64, 0, "log-density", context.quiet);
    let mut writer = PointWriter::create(&arguments.out, format, 2, points.nrows() as u64, Some(&names))?;
    let mut densities = Vec::with_capacity(points.nrows());
    for start in (0..points.nrows()).step_by(TILE) {
        if interruption::asked() {
            return Err(Error::interrupted());
        }
        let end = (start + TILE).min(points.nrows());
        let tile = model.at(&points.slice(ndarray::s![start..end, ..]).to_owned(), start as u64)?;
        let columns = [&tile.values, &tile.std_errors];
        writer.write(&Points::from_shape_fn((end - start, 2), |(row, column)| columns[column][row]))?;
        densities.extend(tile.values);
        progress.update(end as u64, &[]);
    }
    writer.finish()?;
    progress.finish();
    let nll = Estimate::mean(densities.iter().map(|value| -value));
    let summary = json!({
        "count": points.nrows(), "nll": nll.value, "std_error": nll.std_error, "unit": "nats",
        "method": model.method(), "checkpoint": run.step, "out": arguments.out.display().to_string(),
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
