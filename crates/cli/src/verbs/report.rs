//! `train report`: one page that explains runs to somebody who was not there.

use brenier_eval::figures::write_atomically;
use tracing::info;

use crate::arguments::ReportArguments;
use crate::error::{Error, Exit};
use crate::output_file;
use crate::report::{self, ReportedRun};
use crate::shell;
use crate::verbs::Context;

/// Writes the page.
pub fn report(arguments: &ReportArguments, _context: &Context) -> Result<Exit, Error> {
    let out = &arguments.out;
    if !out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("html")) {
        return Err(Error::bad_input(format!("{}: a report is an HTML file", out.display()))
            .hint("give --out a name that ends in .html"));
    }
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
    write_atomically(out, report::page(&runs, &command).as_bytes())?;
    info!("{} tells of {}", out.display(), listed.join(", "));
    Ok(Exit::Done)
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
