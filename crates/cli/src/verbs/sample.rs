//! `train sample`: draws samples from a trained run.

use brenier_measure::data::write::{Format, PointWriter};
use serde_json::json;

use crate::arguments::SampleArguments;
use crate::error::{Error, Exit};
use crate::interruption;
use crate::methods::open;
use crate::methods::wiring::Flags;
use crate::progress::Progress;
use crate::run::opened::StoredRun;
use crate::run::outputs;
use crate::stdout::say;
use crate::verbs::Context;

/// The most images in one picture.
const MOST_IMAGES: u64 = 10_000;

/// Writes samples to npy, csv or, for image-shaped data, a png grid.
pub fn sample(arguments: &SampleArguments, context: &Context) -> Result<Exit, Error> {
    let is_png = arguments.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    let format = if is_png { None } else { Some(Format::of_path(&arguments.out)?) };
    let device = arguments.opened.compute.open(crate::device::DeviceName::Cpu)?;
    let run = StoredRun::open(&arguments.opened.run, arguments.opened.checkpoint)?;
    let data = run.record.data.clone();
    let seed = arguments.opened.seed.unwrap_or(run.record.config.seed);
    let go_on = || !interruption::asked();
    if is_png && !outputs::has_picture(&data) {
        return Err(Error::no_picture(&arguments.out, data.dim));
    }
    if is_png && arguments.count > MOST_IMAGES {
        return Err(Error::too_many_for_picture(arguments.count, MOST_IMAGES));
    }
    let flags = Flags { sampling: Some(&arguments.sampling), ..Flags::default() };
    let run = open(run, &flags, None, &device, &go_on, context.quiet)?;
    let mut progress = Progress::new(arguments.count, 0, "sampling", context.quiet);
    match format {
        Some(format) => {
            let mut writer =
                PointWriter::create(&arguments.out, format, data.dim, arguments.count, data.columns.as_deref())?;
            for tile in run.law().tiles(arguments.count) {
                writer.write(&run.law().draw(seed, tile.clone(), &go_on)?)?;
                progress.update(tile.end, &[]);
            }
            writer.finish()?;
        }
        None => {
            let points = run.law().draw_all(seed, arguments.count, &go_on)?;
            outputs::write_picture(&points, &data, &arguments.out)?;
        }
    }
    progress.finish();
    let mut summary = json!({
        "count": arguments.count, "dim": data.dim, "seed": seed, "checkpoint": run.step,
        "out": arguments.out.display().to_string(),
    });
    for (name, value) in run.sampler.settings().0 {
        summary[name] = value;
    }
    if arguments.json {
        say(&format!("{summary}\n"))?;
    } else {
        let out = arguments.out.display();
        say(&format!("{} samples of dimension {} in {out}\n", arguments.count, data.dim))?;
    }
    Ok(Exit::Done)
}
