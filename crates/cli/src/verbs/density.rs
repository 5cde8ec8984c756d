//! `train density`: the log-density of given points under a run.

use brenier_measure::data::read_points;
use brenier_measure::data::write::{Format, PointWriter};
use brenier_measure::{Estimate, Points, to_tensor};
use brenier_model::{GridConfig, LogDensity, log_density};
use burn::tensor::{DType, Device};
use serde_json::json;

use crate::arguments::DensityArguments;
use crate::error::{Error, Exit};
use crate::interruption;
use crate::progress::Progress;
use crate::record::OpenedRun;
use crate::stdout::say;
use crate::verbs::Context;

/// Points in one call of the network; every one is repeated once a dimension for the exact divergence.
const TILE: usize = 256;

/// Writes a log-density (nats, original coordinates) and its standard error for every point, by the probability-flow ODE.
///
/// The error is that of a random trace, above 32 dimensions; 0 where the trace is exact.
pub fn density(arguments: &DensityArguments, context: &Context) -> Result<Exit, Error> {
    let format = Format::of_path(&arguments.out)?;
    let device = arguments.opened.compute.open(crate::device::DeviceName::Cpu)?;
    let run = OpenedRun::open(&arguments.opened.run, arguments.opened.checkpoint, &device)?;
    let (config, data) = (&run.record.config, &run.record.data);
    let points = read_points(&arguments.input, data.columns.as_deref())?.points;
    if points.ncols() != data.dim {
        return Err(Error::dimension(&arguments.input, points.ncols(), data.dim));
    }
    let seed = arguments.opened.seed.unwrap_or(config.seed);
    let levels = GridConfig::default().levels(
        config.evaluation.sigma_min,
        config.evaluation.sigma_max,
        arguments.steps as usize,
    )?;
    let standardized = data.standardization.apply(&points);
    // In f64 where the device can: the integral sums as many terms as there are steps.
    let dtype = if device == Device::flex() { DType::F64 } else { DType::F32 };
    let network = run.network.clone().cast(dtype);
    let names = ["log_density".to_owned(), "std_error".to_owned()];
    let log_jacobian = data.standardization.log_det();
    let mut progress = Progress::new(points.nrows() as u64, 0, "log-density", context.quiet);
    let mut writer = PointWriter::create(&arguments.out, format, 2, points.nrows() as u64, Some(&names))?;
    let (mut densities, mut method) = (Vec::with_capacity(points.nrows()), None);
    for start in (0..points.nrows()).step_by(TILE) {
        if interruption::asked() {
            return Err(Error::interrupted());
        }
        let end = (start + TILE).min(points.nrows());
        let rows = standardized.slice(ndarray::s![start..end, ..]).to_owned();
        let tile: LogDensity = log_density(&network, to_tensor(&rows, dtype, &device), &levels, seed, start as u64)?;
        let values: Vec<f64> = tile.values.iter().map(|value| value + log_jacobian).collect();
        let columns = [&values[..], &tile.std_errors];
        writer.write(&Points::from_shape_fn((values.len(), 2), |(row, column)| columns[column][row]))?;
        densities.extend(values);
        method = Some(tile.method);
        progress.update(end as u64, &[]);
    }
    writer.finish()?;
    progress.finish();
    let nll = Estimate::mean(densities.iter().map(|value| -value));
    let summary = json!({
        "count": points.nrows(), "nll": nll.value, "std_error": nll.std_error, "unit": "nats",
        "method": method, "checkpoint": run.step, "out": arguments.out.display().to_string(),
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
