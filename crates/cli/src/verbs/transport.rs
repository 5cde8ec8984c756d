//! `train transport`: points through the map of a run, either way.

use brenier_measure::Points;
use brenier_measure::data::write::{Format, PointWriter};
use brenier_model::SamplerError;
use serde_json::json;

use crate::arguments::TransportArguments;
use crate::error::{Error, Exit};
use crate::interruption;
use crate::methods::open;
use crate::methods::wiring::Flags;
use crate::points;
use crate::progress::Progress;
use crate::stdout::say;
use crate::verbs::Context;

/// Points in one pass.
const TILE: usize = 4096;

/// Writes the image of every point: of the reference in the coordinates of the data, or with `--inverse` the other way.
pub fn transport(arguments: &TransportArguments, context: &Context) -> Result<Exit, Error> {
    let format = Format::of_path(&arguments.out)?;
    let device = arguments.opened.compute.open(crate::device::DeviceName::Cpu)?;
    let run = arguments.opened.open()?;
    run.check_output(&arguments.out, &[&arguments.input])?;
    let go_on = || !interruption::asked();
    let run = open(run, &Flags::default(), None, &device, &go_on, context.quiet)?;
    let (data, name) = (&run.record.data, &run.record.config.name);
    let map = run.sampler.map().ok_or_else(|| Error::run_without_map(name))?;
    // Points of the reference have no columns of the data.
    let columns = if arguments.inverse { data.columns.as_deref() } else { None };
    let points = points::read(&arguments.input, columns, arguments.text_files)?.points;
    if points.ncols() != data.dim {
        return Err(Error::dimension(&arguments.input, points.ncols(), data.dim));
    }
    let n = points.nrows();
    let mut progress = Progress::new(n as u64, 0, "transport", context.quiet);
    let names = if arguments.inverse { None } else { data.columns.as_deref() };
    let mut writer = PointWriter::create(&arguments.out, format, data.dim, n as u64, names)?;
    for start in (0..n).step_by(TILE) {
        if !go_on() {
            return Err(Error::interrupted());
        }
        let tile: Points = points.slice(ndarray::s![start..(start + TILE).min(n), ..]).to_owned();
        let count = tile.nrows();
        let image = if arguments.inverse {
            map.inverse(&data.standardization.apply(&tile))?.0
        } else {
            let there = map.transport(&tile).map_err(|error| match error {
                SamplerError::NotInverted { index, residual } => {
                    SamplerError::NotInverted { index: start as u64 + index, residual }
                }
                other => other,
            });
            data.standardization.undo(&there?.0)
        };
        writer.write(&image)?;
        progress.update((start + count) as u64, &[]);
    }
    writer.finish()?;
    progress.finish();
    let (from, to) = if arguments.inverse { ("data", "reference") } else { ("reference", "data") };
    let out = arguments.out.display().to_string();
    let text = match arguments.json {
        true => json!({"count": n, "from": from, "to": to, "checkpoint": run.step, "out": out}).to_string(),
        false => format!("{n} points from the {from} to the {to} in {out}"),
    };
    say(&(text + "\n"))?;
    Ok(Exit::Done)
}
