//! `train sample`: draws samples from a trained run.

use brenier_measure::data::write::{Format, PointWriter};
use serde_json::json;

use crate::arguments::SampleArguments;
use crate::error::{Error, Exit};
use crate::interruption;
use crate::outputs;
use crate::progress::Progress;
use crate::record::OpenedRun;
use crate::sampling::SamplingPlan;
use crate::stdout::say;
use crate::verbs::Context;

/// The most images in one picture.
const MOST_IMAGES: u64 = 10_000;

/// Writes samples to npy, csv or, for image-shaped data, a png grid.
pub fn sample(arguments: &SampleArguments, context: &Context) -> Result<Exit, Error> {
    let is_png = arguments.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    let format = if is_png { None } else { Some(Format::of_path(&arguments.out)?) };
    let device = arguments.opened.compute.open(crate::device::DeviceName::Cpu)?;
    let run = OpenedRun::open(&arguments.opened.run, arguments.opened.checkpoint, &device)?;
    let data = &run.record.data;
    let seed = arguments.opened.seed.unwrap_or(run.record.config.seed);
    let go_on = || !interruption::asked();
    if is_png && (data.image_shape.is_none() && data.dim != 2) {
        return Err(Error::no_picture(&arguments.out, data.dim));
    }
    if is_png && arguments.count > MOST_IMAGES {
        return Err(Error::too_many_for_picture(arguments.count, MOST_IMAGES));
    }
    let localization = run.localization(None, &go_on, context.quiet);
    let plan = SamplingPlan::new(&localization, &arguments.sampling, seed)?;
    let mut progress = Progress::new(arguments.count, 0, "sampling", context.quiet);
    match format {
        Some(format) => {
            let mut writer =
                PointWriter::create(&arguments.out, format, data.dim, arguments.count, data.columns.as_deref())?;
            for tile in SamplingPlan::tiles(data, arguments.count) {
                writer.write(&plan.draw(&run.network, data, tile.clone(), &device, &go_on)?)?;
                progress.update(tile.end, &[]);
            }
            writer.finish()?;
        }
        None => {
            let points = plan.draw_all(&run.network, data, arguments.count, &device, &go_on)?;
            outputs::write_picture(&points, data, &arguments.out)?;
        }
    }
    progress.finish();
    let summary = json!({
        "count": arguments.count, "dim": data.dim, "seed": seed, "checkpoint": run.step,
        "out": arguments.out.display().to_string(), "sampler": plan.sampler, "grid": plan.grid,
        "sigma_max": plan.range().0, "sigma_min": plan.range().1, "steps": plan.levels.len() - 1,
    });
    if arguments.json {
        say(&format!("{summary}\n"))?;
    } else {
        let out = arguments.out.display();
        say(&format!("{} samples of dimension {} in {out}\n", arguments.count, data.dim))?;
    }
    Ok(Exit::Done)
}
