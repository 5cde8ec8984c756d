//! `train sample`: draws samples from a trained run.

use brenier_measure::data::write::{Format, PointWriter};
use brenier_model::{Corrected, LEAST_DRAWS};
use serde_json::json;
use tracing::warn;

use crate::arguments::SampleArguments;
use crate::error::{Error, Exit};
use crate::interruption;
use crate::methods::open;
use crate::methods::wiring::Flags;
use crate::progress::Progress;
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
    let run = arguments.opened.open()?;
    run.check_output(&arguments.out, &[])?;
    let data = run.record.data.clone();
    let seed = arguments.opened.seed.unwrap_or(run.record.config.seed);
    let go_on = || !interruption::asked();
    if is_png && !outputs::has_picture(&data) {
        return Err(Error::no_picture(&arguments.out, data.dim));
    }
    let indices = arguments.shard.map_or(0..arguments.count, |shard| shard.indices(arguments.count));
    let count = indices.end - indices.start;
    if count == 0 {
        return Err(Error::bad_input(format!("`--shard` leaves none of {} samples in this part", arguments.count))
            .hint("ask for no more parts than samples"));
    }
    if is_png && count > MOST_IMAGES {
        return Err(Error::too_many_for_picture(count, MOST_IMAGES));
    }
    let flags = Flags { sampling: Some(&arguments.sampling), ..Flags::default() };
    let run = open(run, &flags, None, &device, &go_on, context.quiet)?;
    let corrected = match arguments.correct.then(|| run.sampler.corrected(seed, arguments.count, &go_on)) {
        None => None,
        Some(None) => {
            return Err(Error::bad_input(
                "`--correct` takes a run that follows a density by a map, and this one does not",
            )
            .hint(
                "leave it out, or train the method `monge_ampere_score`; particles are exact in the limit as they are",
            ));
        }
        Some(Some(corrected)) => {
            let corrected = corrected?;
            warn_of(&corrected, arguments.count);
            Some(corrected)
        }
    };
    let mut progress = Progress::new(count, 0, "sampling", context.quiet);
    match (format, &corrected) {
        (Some(format), Some(corrected)) => {
            let points = data.standardization.undo(&corrected.points);
            let mut writer = PointWriter::create(&arguments.out, format, data.dim, count, data.columns.as_deref())?;
            writer.write(&points)?;
            writer.finish()?;
        }
        (Some(format), None) => {
            let mut writer = PointWriter::create(&arguments.out, format, data.dim, count, data.columns.as_deref())?;
            for tile in run.law().tiles(indices.clone()) {
                writer.write(&run.law().draw(seed, tile.clone(), &go_on)?)?;
                progress.update(tile.end - indices.start, &[]);
            }
            writer.finish()?;
        }
        (None, corrected) => {
            let points = match corrected {
                Some(corrected) => data.standardization.undo(&corrected.points),
                None => run.law().draw_all(seed, indices.clone(), &go_on)?,
            };
            outputs::write_picture(&points, &data, &arguments.out)?;
        }
    }
    progress.finish();
    let mut summary = json!({
        "count": count, "dim": data.dim, "seed": seed, "checkpoint": run.step,
        "out": arguments.out.display().to_string(),
    });
    for (name, value) in run.sampler.settings().0 {
        summary[name] = value;
    }
    if let Some(corrected) = &corrected {
        summary["distinct"] = json!(corrected.distinct);
        summary["ess"] = json!(corrected.ess);
        summary["acceptance"] = json!(corrected.acceptance);
        summary["unweighed"] = json!(corrected.unweighed);
    }
    if arguments.shard.is_some() {
        summary["first_index"] = json!(indices.start);
    }
    if arguments.json {
        say(&format!("{summary}\n"))?;
    } else {
        let out = arguments.out.display();
        let how = corrected.map_or(String::new(), |Corrected { distinct, ess, acceptance, .. }| {
            format!(
                "; {distinct} distinct draws survived (effective share {ess:.3}), {:.0} % of the moves were accepted",
                100.0 * acceptance
            )
        });
        say(&format!("{count} samples of dimension {} in {out}{how}\n", data.dim))?;
    }
    Ok(Exit::Done)
}

/// Fewer effective draws than this are too few to stand for a density.
const FEW: f64 = 100.0;

/// What the numbers of a correction say against its points.
fn warn_of(corrected: &Corrected, count: u64) {
    let effective = corrected.ess * count.max(LEAST_DRAWS) as f64;
    if effective < FEW {
        warn!(
            "the draws of the map are worth about {effective:.0} of the density: the points are copies of few, and their moves do not undo that. Train \
             longer, or take a reference that is nearer (`particles`)"
        );
    }
    if corrected.unweighed > 0 {
        warn!("{} of the draws had no number for a weight, and were left out", corrected.unweighed);
    }
}
