//! `train report`: one page that explains runs to somebody who was not there.

use std::path::PathBuf;

use tracing::{info, warn};

use crate::arguments::ReportArguments;
use crate::error::{Error, Exit};
use crate::output_file;
use crate::report::{self, ReportedRun};
use crate::shell;
use crate::verbs::Context;

/// Writes the page.
pub fn report(arguments: &ReportArguments, _context: &Context) -> Result<Exit, Error> {
    let out = &arguments.out;
    output_file::check_ending(out, "html", "a report is an")?;
    check_once(&arguments.runs)?;
    let data = arguments.data.as_deref();
    let runs = arguments.runs.iter().map(|path| ReportedRun::read(path, data));
    let mut runs = runs.collect::<Result<Vec<ReportedRun>, Error>>()?;
    for run in &runs {
        output_file::check_outside_run(out, &run.directory)?;
        output_file::check(out, run.record.config.target.files())?;
    }
    distinguish(&mut runs);
    let listed: Vec<String> = arguments.runs.iter().map(|run| run.display().to_string()).collect();
    let place = out.display().to_string();
    let moved = data.map(|data| data.display().to_string());
    let words = ["train", "report"].into_iter().chain(listed.iter().map(String::as_str));
    let words = words.chain(moved.iter().flat_map(|data| ["--data", data])).chain(["--out", &place]);
    let command = shell::command(words);
    let page = report::page(&runs, &command);
    if page.len() > report::MOST_BYTES {
        let size = page.len() as f64 / 1e6;
        warn!(
            "the page of {} runs has {size:.1} MB: give fewer, or put them in a table with `train collect`",
            runs.len()
        );
    }
    output_file::write(out, page.as_bytes())?;
    info!("{} tells of {}", out.display(), listed.join(", "));
    Ok(Exit::Done)
}

/// Refuses a run that is given twice, by whatever path.
fn check_once(runs: &[PathBuf]) -> Result<(), Error> {
    let places: Vec<_> = runs.iter().map(|run| run.canonicalize().unwrap_or_else(|_| run.clone())).collect();
    match (1..places.len()).find(|&k| places[..k].contains(&places[k])) {
        Some(k) => Err(Error::bad_input(format!("{} is given twice", runs[k].display())).hint("give every run once")),
        None => Ok(()),
    }
}

/// Gives runs of one name the names of their directories.
fn distinguish(runs: &mut [ReportedRun]) {
    let labels: Vec<String> = runs.iter().map(|run| run.label.clone()).collect();
    for (run, label) in runs.iter_mut().zip(&labels) {
        if labels.iter().filter(|other| *other == label).count() > 1 {
            run.label = run.directory.path().display().to_string();
        }
    }
}
