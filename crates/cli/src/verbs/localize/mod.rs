//! `train localize`: where denoising a target, a data set or a run is hard.

mod at;
pub mod curves;
pub mod figure;
mod paths;
mod table;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use brenier_measure::data::write::Format;
use serde_json::{Map, Value, json};

use self::at::{Answer, Question, Space, Summary};
use self::curves::{Asked, Curves};
use self::figure::Destination;
use crate::arguments::{LocalizeArguments, VERSION};
use crate::error::{Error, Exit};
use crate::interruption;
use crate::output_file;
use crate::stdout::say;
use crate::subject::{Examined, Kind, Opening};
use crate::verbs::Context;

/// Answers at points of `Y_r` that no note of a network's log-density comes with.
const NO_LOG_DENSITY: &str =
    "log_density is left out: a network's takes an ODE for each point; `train density` computes those of many";

/// Prints the diagnostics of every SPEC, and draws them.
pub fn localize(arguments: &LocalizeArguments, context: &Context) -> Result<Exit, Error> {
    // Whatever is refused is refused before the first draw.
    let specs = &arguments.specs;
    let destination = arguments.figure.as_deref().map(|path| Destination::new(path, specs.len())).transpose()?;
    if let Some(out) = &arguments.out {
        Format::of_path(out)?;
        let points = arguments.at.iter().chain(&arguments.at_data);
        output_file::check(out, specs.iter().chain(points))?;
        if specs.len() > 1 {
            return Err(Error::one_spec_for_out(specs.len()));
        }
    }
    arguments.compute.set_threads()?;
    let opening = Opening {
        device: arguments.compute.device,
        checkpoint: arguments.checkpoint,
        seed: arguments.seed,
        text_files: arguments.text_files,
        data: arguments.data.clone(),
    };
    let asked = Asked::new(arguments);
    let mut subjects = specs.iter().map(|spec| Examined::open(spec, &opening)).collect::<Result<Vec<_>, _>>()?;
    distinguish(&mut subjects);
    if let Some(out) = &arguments.out {
        subjects.iter().try_for_each(|subject| subject.check_output(out))?;
    }
    let mut work = Vec::with_capacity(subjects.len());
    for subject in subjects {
        let question = question(arguments, &subject)?;
        if let Some(question) = question.as_ref().filter(|_| arguments.json && arguments.out.is_none()) {
            question.check_size(asked.snrs.len())?;
        }
        work.push((Arc::new(subject), question));
    }
    if let (Some(out), [(subject, Some(question))]) = (&arguments.out, &work[..]) {
        return points_only(arguments, subject, question, &asked, out, context);
    }
    let mut reports = Vec::with_capacity(work.len());
    let mut pictures = Vec::new();
    for (subject, question) in work {
        let curves = {
            let (subject, asked, quiet) = (Arc::clone(&subject), asked.clone(), context.quiet);
            interruption::abandonable(move || Curves::of(&subject, &asked, quiet))?
        };
        let at = match &question {
            Some(question) => {
                let (answers, summaries) = at::collect(&subject, question, &asked.snrs, context.quiet)?;
                let short = at::leaves_out_log_density(&subject, question, asked.snrs.len());
                Some(At { answers, summaries, short })
            }
            None => None,
        };
        if let Some(destination) = &destination {
            let (subject, asked, quiet) = (Arc::clone(&subject), asked.clone(), context.quiet);
            let (format, hardest) = (destination.format(), curves.hardest.map(|hardest| hardest.snr));
            let method = curves.method;
            let with_paths = destination.holds_paths();
            let draw = move || {
                let card = figure::draw(&subject, &asked, method, hardest, format, quiet)?;
                let paths = if with_paths { paths::draw(&subject, asked.beta, format)? } else { None };
                Ok([Some(card), paths])
            };
            pictures.extend(interruption::abandonable(draw)?.into_iter().flatten());
        }
        reports.push(Report { subject, curves, at });
    }
    let written = match &destination {
        Some(destination) => destination.write(&pictures)?,
        None => Vec::new(),
    };
    if arguments.json {
        say(&format!("{}\n", json_of(&reports, &asked, &written)))?;
    } else {
        let texts: Vec<String> = reports.iter().map(|report| report.text(&asked)).collect();
        let pictures: String = written.iter().map(|path| format!("figure: {}\n", path.display())).collect();
        say(&(texts.join("\n") + &pictures))?;
    }
    Ok(Exit::Done)
}

/// All that is known of one SPEC.
struct Report {
    subject: Arc<Examined>,
    curves: Curves,
    at: Option<At>,
}

/// Answers at points.
struct At {
    answers: Vec<Answer>,
    summaries: Vec<Summary>,
    /// Whether the log-densities of a network were left out.
    short: bool,
}

impl Report {
    fn notes(&self) -> Vec<&str> {
        let own = self.subject.notes.iter().chain(&self.curves.notes).map(String::as_str);
        own.chain(self.at.iter().filter(|at| at.short).map(|_| NO_LOG_DENSITY)).collect()
    }

    fn text(&self, asked: &Asked) -> String {
        let mut text = format!("{}\n", headline(&self.subject, Some((&self.curves, asked))));
        text += &table::of_curves(&self.curves, asked);
        if let Some(at) = &self.at {
            text += &table::of_points(&at.answers, &at.summaries);
        }
        text += &crate::table::notes(&self.notes());
        text
    }

    fn json(&self, asked: &Asked) -> Map<String, Value> {
        let mut object = facts(&self.subject);
        let curves = &self.curves;
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        put("beta", json!(asked.beta));
        put("draws", json!(curves.draws));
        put("method", json!(curves.method));
        put("per_snr", json!(curves.per_snr));
        put("per_time", json!(curves.per_time));
        put("hardest", json!(curves.hardest));
        put("hardest_range", json!(curves.hardest_range));
        if let Some(asymmetry) = &curves.asymmetry {
            put("asymmetry", json!(asymmetry));
        }
        if let Some(At { answers, summaries, .. }) = &self.at {
            put("at", json!(answers));
            put("at_summary", json!(summaries));
        }
        put("notes", json!(self.notes()));
        object
    }
}

/// One object: the diagnostics of one SPEC, or those of each by name.
fn json_of(reports: &[Report], asked: &Asked, figures: &[PathBuf]) -> Value {
    let figures: Vec<String> = figures.iter().map(|path| path.display().to_string()).collect();
    let mut object = match reports {
        [only] => only.json(asked),
        several => {
            let subjects: Map<String, Value> =
                several.iter().map(|report| (report.subject.name.clone(), report.json(asked).into())).collect();
            let names: Vec<&str> = several.iter().map(|report| report.subject.name.as_str()).collect();
            [("subjects".to_owned(), Value::from(subjects)), ("names".to_owned(), json!(names))].into_iter().collect()
        }
    };
    object.insert("program_version".to_owned(), json!(VERSION));
    if !figures.is_empty() {
        object.insert("figures".to_owned(), json!(figures));
    }
    object.into()
}

/// What is known of a SPEC before anything is computed.
pub fn facts(subject: &Examined) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
    put("name", json!(subject.name));
    put("spec", json!(subject.spec.display().to_string()));
    put("dim", json!(subject.dim));
    put("seed", json!(subject.seed));
    match &subject.kind {
        Kind::Target(config) => {
            put("kind", json!("target"));
            put("target", json!(config));
        }
        Kind::Data { count } => {
            put("kind", json!("data"));
            put("count", json!(count));
        }
        Kind::Run(run) => {
            put("kind", json!("run"));
            put("examined", json!(run.examined));
            put("checkpoint", json!(run.step));
            put("shift", json!(run.standardization.shift));
            put("scale", json!(run.standardization.scale));
            put("whitening", json!(run.whitening()));
        }
    }
    object
}

/// One line that says what was looked at, and how.
fn headline(subject: &Examined, curves: Option<(&Curves, &Asked)>) -> String {
    let Examined { name, spec, dim, seed, .. } = subject;
    let spec = spec.display();
    let what = match &subject.kind {
        Kind::Target(config) => format!("the target `{}` of {spec}", config.exact().name()),
        Kind::Data { count: 1 } => format!("the one point of {spec}"),
        Kind::Data { count } => format!("the {count} points of {spec}"),
        Kind::Run(run) => {
            format!("the {} of {spec} at step {}, in standardised coordinates", run.examined, run.step)
        }
    };
    let how = match curves {
        Some((Curves { draws: Some(draws), .. }, _)) => format!(", {draws} draws at each r, seed {seed}"),
        Some((Curves { draws: None, .. }, _)) => ", by quadrature".to_owned(),
        None => String::new(),
    };
    format!("{name}: {what}, dimension {dim}{how}")
}

/// The answers at points alone, in a file.
fn points_only(
    arguments: &LocalizeArguments,
    subject: &Arc<Examined>,
    question: &Question,
    asked: &Asked,
    out: &Path,
    context: &Context,
) -> Result<Exit, Error> {
    let summaries = at::write(subject, question, &asked.snrs, out, context.quiet)?;
    let short = at::leaves_out_log_density(subject, question, asked.snrs.len());
    let mut notes: Vec<&str> = subject.notes.iter().map(String::as_str).collect();
    notes.extend(short.then_some(NO_LOG_DENSITY));
    if arguments.json {
        let mut object = facts(subject);
        let mut put = |key: &str, value: Value| drop(object.insert(key.to_owned(), value));
        put("program_version", json!(VERSION));
        put("out", json!(out.display().to_string()));
        put("columns", json!(at::columns(subject.dim)));
        put("rows", json!(question.count() * asked.snrs.len()));
        put("at_summary", json!(summaries));
        put("notes", json!(notes));
        say(&format!("{}\n", Value::from(object)))?;
    } else {
        let rows = question.count() * asked.snrs.len();
        let mut text = format!("{}\n", headline(subject, None));
        text += &table::of_points(&[], &summaries);
        text += &crate::table::notes(&notes);
        text += &format!("{rows} rows in {}\n", out.display());
        say(&text)?;
    }
    Ok(Exit::Done)
}

/// What is asked at points, if anything.
fn question(arguments: &LocalizeArguments, subject: &Examined) -> Result<Option<Question>, Error> {
    match (&arguments.at, &arguments.at_data) {
        (Some(path), _) => Question::read(path, Space::Noisy, subject, arguments.text_files).map(Some),
        (None, Some(path)) => Question::read(path, Space::Clean, subject, arguments.text_files).map(Some),
        (None, None) => Ok(None),
    }
}

/// Gives every SPEC a name of its own: the second `points` becomes `points_2`.
fn distinguish(subjects: &mut [Examined]) {
    for i in 1..subjects.len() {
        let taken = |name: &str| subjects[..i].iter().any(|other| other.name == name);
        let stem = &subjects[i].name;
        let name = (2..).map(|k| format!("{stem}_{k}")).find(|name| !taken(name)).filter(|_| taken(stem));
        if let Some(name) = name {
            subjects[i].name = name;
        }
    }
}
