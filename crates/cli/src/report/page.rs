//! The page: sections, tables, and the places where charts are drawn.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use brenier_eval::{DenoisingLoss, MetricReport, Optimum, visible_optimum};
use brenier_measure::Points;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ndarray::s;
use serde_json::Value;

use super::chart::{Chart, Cloud, Curve, Density, Lines, Scatter, frame, plane};
use super::comparison::comparison;
use super::run::{Picture, ReportedRun};
use super::training::training;
use crate::shell;
use crate::table;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The bytes of a page, but for one whose runs are too many even without pictures.
pub const MOST_BYTES: usize = 5_000_000;

/// Bytes for the words beside pictures.
const BESIDE_PICTURES: usize = 100_000;

/// Rows of the table beside a chart of the page of one run.
const MOST_ROWS: usize = 60;

/// Rows of the tables beside one chart of every run.
const ROWS_OF_ALL: usize = 600;

/// The least number of rows.
const FEWEST_ROWS: usize = 10;

/// The rows of one curve, at the least; the levels of a denoising loss are as many.
const FEWEST_OF_CURVE: usize = 11;

/// The points of a cloud in the page of one run.
const MOST_OF_CLOUD: usize = 2_000;

/// The points of one cloud of every run.
const POINTS_OF_ALL: usize = 12_000;

/// Coordinates of a pair plot.
const PAIRED: usize = 3;

/// Rows of a posterior summary.
const MOST_COORDINATES: usize = 200;

/// A page as it is written: a chart goes into it as its numbers.
pub struct Page {
    charts: Vec<Chart>,
    /// Bytes that are left for pictures.
    room: usize,
    /// The rows of a table.
    rows: usize,
    /// The points of a cloud.
    points: usize,
}

/// The page of some runs, at least one; `command` made it.
pub fn page(runs: &[ReportedRun], command: &str) -> String {
    let without_pictures = written(runs, command, 0).len();
    written(runs, command, MOST_BYTES.saturating_sub(without_pictures + BESIDE_PICTURES))
}

/// The page with pictures of so many bytes.
fn written(runs: &[ReportedRun], command: &str, room: usize) -> String {
    let mut page = Page {
        charts: Vec::new(),
        room,
        rows: (ROWS_OF_ALL / runs.len()).clamp(FEWEST_ROWS, MOST_ROWS),
        points: (POINTS_OF_ALL / runs.len()).clamp(100, MOST_OF_CLOUD),
    };
    let title = match runs {
        [run] => run.label.clone(),
        _ => format!("{} runs", runs.len()),
    };
    let together = runs.iter().skip(1).all(|run| run.record.what_was_learnt() == runs[0].record.what_was_learnt());
    let body = html! {
        header {
            h1 { (title) }
            p.quiet { "Made by " code { (command) } ", train " (crate::arguments::VERSION) "." }
        }
        @if !together {
            p.warning role="note" {
                strong { "These runs learnt different targets." }
                " Their curves stand side by side, their metrics do not compare and have a table each."
            }
        }
        @if runs.len() > 1 {
            nav aria-label="Contents" {
                a href="#trained" { "What was trained" }
                a href="#training" { "Training" }
                @if together { a href="#comparison" { "Metrics side by side" } }
                @for (index, run) in runs.iter().enumerate() { a href={ "#run-" (index) } { (run.label) } }
            }
        }
        main {
            (what_was_trained(runs))
            (training(&mut page, runs))
            @if runs.len() > 1 && together { (comparison(runs)) }
            @for (index, run) in runs.iter().enumerate() { (page.run(run, index, runs.len())) }
        }
    };
    // Nothing in a script ends it.
    let charts = serde_json::to_string(&page.charts).expect("charts are finite numbers").replace('<', "\\u003c");
    let whole = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · brenier" }
                // The browser asks for no icon.
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (body)
                script type="application/json" id="charts" { (PreEscaped(charts)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    whole.into_string()
}

/// What a fact is called, and that of a run.
type Fact<'a> = (&'a str, &'a dyn Fn(&ReportedRun) -> String);

/// Facts of every run, a column each.
fn what_was_trained(runs: &[ReportedRun]) -> Markup {
    let rows: [Fact; 13] = [
        ("directory", &|run| run.directory.path().display().to_string()),
        ("method", &|run| crate::methods::wiring(&run.record.config.method).name().replace('_', " ")),
        ("target", &|run| run.record.config.target.name().replace('_', " ")),
        ("data", &|run| run.record.data.origin.clone()),
        ("dimension", &|run| run.record.data.dim.to_string()),
        ("points (training, held out, test)", &|run| match run.record.data.counts {
            Some(counts) => counts.map(|count| count.to_string()).join(", "),
            None => "fresh draws".to_owned(),
        }),
        ("seed", &|run| run.record.config.seed.to_string()),
        ("device", &|run| run.record.config.device.to_string()),
        ("trained by", &|run| format!("train {}", run.record.program_version)),
        ("steps", &|run| match run.step {
            Some(step) if run.evaluation.is_some() => format!("{step}, finished"),
            None if run.evaluation.is_some() => "finished; no checkpoint is left".to_owned(),
            Some(step) => format!("{step} of {}, not finished", run.steps),
            None => format!("none of {}", run.steps),
        }),
        ("time", &|run| run.last("elapsed_seconds").map_or("-".to_owned(), duration)),
        ("CPU time", &|run| run.last("cpu_seconds").map_or("-".to_owned(), duration)),
        ("judged", &|run| {
            run.evaluation.as_ref().map_or("not yet".to_owned(), |(_, settings)| {
                let said =
                    |key: &str| settings.get(key).map(|value| format!("{} {}", key.replace('_', " "), in_words(value)));
                ["checkpoint", "compared_with", "sampler", "grid", "sigma_min", "sigma_max", "steps", "count", "seed"]
                    .into_iter()
                    .filter_map(said)
                    .collect::<Vec<_>>()
                    .join(", ")
            })
        }),
    ];
    html! {
        section aria-labelledby="trained" {
            h2 id="trained" { "What was trained" }
            div.wide { table {
                @if runs.len() > 1 {
                    thead { tr { th scope="col" { } @for run in runs { th scope="col" { (run.label) } } } }
                }
                tbody { @for (name, of) in rows {
                    tr { th scope="row" { (name) } @for run in runs { td { (of(run)) } } }
                } }
            } }
        }
    }
}

impl Page {
    /// The place of a chart, with its numbers.
    pub fn chart(&mut self, chart: Chart) -> Markup {
        let (index, summary) = (self.charts.len(), chart.summary());
        let table = match &chart {
            Chart::Lines(lines) => table_of(lines, self.rows),
            Chart::Scatter(_) | Chart::Density(_) => html! {},
        };
        self.charts.push(chart);
        html! {
            figure.chart data-chart=(index) data-summary=(summary) {
                noscript { p { (summary) } }
                (table)
            }
        }
    }

    fn picture(&mut self, picture: &Picture) -> Markup {
        let bytes = picture.png.len().div_ceil(3) * 4;
        if bytes > self.room {
            return html! { p.gap { "Left out, for the page to stay small: " (picture.says) "." } };
        }
        self.room -= bytes;
        html! {
            figure.picture {
                img alt=(picture.says) src={ "data:image/png;base64," (BASE64.encode(&picture.png)) };
                figcaption { (capital(&picture.says)) }
            }
        }
    }

    fn run(&mut self, run: &ReportedRun, index: usize, count: usize) -> Markup {
        // Every run has its share of the room that is left.
        let kept_back = self.room / (count - index) * (count - 1 - index);
        self.room -= kept_back;
        let whole = html! {
            h2.run id={ "run-" (index) } { @if count > 1 { (run.label) } @else { "Results" } }
            (gaps(run))
            (self.samples(run))
            @if let Some((evaluation, _)) = &run.evaluation {
                (metrics(&evaluation.metrics))
            }
            (self.denoising_loss(run))
            (self.localization(run))
            (self.pictures(run))
            (posterior(run))
            (warnings(run))
            (reproduce(run))
        };
        self.room += kept_back;
        whole
    }

    /// Samples beside data: points, cells and pairs of coordinates.
    fn samples(&mut self, run: &ReportedRun) -> Markup {
        let Some(samples) = &run.samples else {
            return html! { section { h3 { "Samples" } p.gap { "The run has drawn no samples yet." } } };
        };
        let dim = samples.ncols();
        let most = self.points;
        let clouds = |pair: [usize; 2]| -> Vec<Cloud> {
            let of = |name: &str, points: &Points| {
                let count = points.nrows().min(most);
                Cloud { name: name.to_owned(), points: plane(points.slice(s![..count, ..]), pair) }
            };
            run.target.iter().map(|target| of("points of the target", target)).chain([of("samples", samples)]).collect()
        };
        let heading = if run.target.is_some() { "Samples beside the target" } else { "Samples" };
        let mut charts = Vec::new();
        if run.record.data.image_shape.is_none() && dim >= 2 {
            let axes = |pair: [usize; 2]| pair.map(|j| run.coordinate(j));
            let shown = dim.min(PAIRED);
            for i in 0..shown {
                for j in i + 1..shown {
                    let title = heading.to_owned();
                    charts.push(self.chart(Chart::Scatter(Scatter {
                        title,
                        axes: axes([i, j]),
                        clouds: clouds([i, j]),
                    })));
                }
            }
            if dim == 2 {
                let range = frame(run.target.iter().chain([samples]));
                for (title, points) in
                    run.target.iter().map(|target| ("Points of the target", target)).chain([("Samples", samples)])
                {
                    charts.push(self.chart(Chart::Density(Density::new(title, axes([0, 1]), points, range))));
                }
            }
        }
        if dim == 1 {
            charts.push(self.chart(Chart::Lines(distribution(run))));
        }
        let images: Vec<Markup> = if run.record.data.image_shape.is_some() {
            run.target_images.iter().chain(&run.sample_images).map(|picture| self.picture(picture)).collect()
        } else {
            Vec::new()
        };
        html! {
            section {
                h3 { (heading) }
                p { "The first " (if dim >= 2 { samples.nrows().min(self.points) } else { samples.nrows() }) " of " (run.sample_count) " samples of the best checkpoint"
                    @if let Some(target) = &run.target { ", and " (if dim >= 2 { target.nrows().min(self.points) } else { target.nrows() }) " points of the target" }
                    @if dim == 2 && samples.nrows() > self.points { "; densities are of " (samples.nrows()) }
                    @if dim > PAIRED && run.record.data.image_shape.is_none() { "; the first " (PAIRED) " of " (dim) " coordinates" }
                    "." }
                div.charts { @for chart in charts { (chart) } @for image in images { (image) } }
            }
        }
    }

    /// The denoising loss beside the optimal one.
    fn denoising_loss(&mut self, run: &ReportedRun) -> Markup {
        let Some((evaluation, _)) = run.evaluation.as_ref().filter(|(e, _)| !e.denoising_loss.is_empty()) else {
            return html! {};
        };
        let levels = &evaluation.denoising_loss;
        let mut curves = vec![Curve::new("network", levels.iter().map(|level| (level.sigma, level.loss))).marked()];
        let optimal = Curve::new("optimal loss", visible_optimum(levels));
        let excess =
            Curve::new("excess", levels.iter().filter_map(|level| Some((level.sigma, level.excess.as_ref()?.value))));
        curves.extend([optimal, excess.marked()].into_iter().filter(|curve| !curve.points.is_empty()));
        let lines = Lines {
            title: "Denoising loss at every noise level".to_owned(),
            x: "σ (standardised coordinates)".to_owned(),
            y: "loss of a coordinate".to_owned(),
            log_x: true,
            log_y: true,
            curves,
            ticks: Vec::new(),
            ticks_name: "",
        };
        let chart = self.chart(Chart::Lines(lines));
        html! {
            section {
                h3 { "Denoising loss" }
                @match evaluation.optimum.or(levels[0].optimal.map(|_| Optimum::Exact)) {
                    Some(optimum) => p { (capital(&optimum.to_string())) "." },
                    None => p.gap { "No optimal loss was measured: `train evaluate` does." },
                }
                div.charts { (chart) }
            }
        }
    }

    /// Where the target is hard to denoise, and where the run learns and samples.
    fn localization(&mut self, run: &ReportedRun) -> Markup {
        let evaluation = run.evaluation.as_ref().map(|(evaluation, _)| evaluation);
        let losses = evaluation.map_or(&[][..], |evaluation| &evaluation.denoising_loss);
        if run.levels.is_none() && losses.is_empty() {
            return html! {};
        }
        let of_network = |value: fn(&DenoisingLoss) -> Option<f64>| {
            losses.iter().filter_map(move |level| Some((level.sigma, value(level)?)))
        };
        let points = evaluation.and_then(|evaluation| evaluation.optimum).and_then(|optimum| optimum.points());
        let whose = points.map_or_else(|| "the target".to_owned(), |count| format!("{count} points"));
        let claimed = of_network(|level| Some(level.posterior_variance?.value));
        let of_training = run.levels.iter().flat_map(|levels| levels.posterior_variance.iter().copied());
        let of_noise = run.levels.iter().flat_map(|levels| levels.noise.training.iter().copied());
        let grid = run.levels.as_ref().map_or(&[][..], |levels| &levels.noise.grid);
        let curves = [
            Curve::new("posterior variance of training points", of_training),
            Curve::new("what the network leaves", of_network(|level| Some(level.loss))).marked(),
            Curve::new("posterior variance by the network", claimed).cut_off(),
            Curve::new(format!("posterior variance of {whose}"), of_network(|level| level.optimal)),
            Curve::new("density of the training noise", of_noise),
        ];
        let lines = Lines {
            title: "Localization, training noise and sampling grid".to_owned(),
            x: "σ (standardised coordinates)".to_owned(),
            y: "variance of a coordinate; density of log σ".to_owned(),
            log_x: true,
            log_y: false,
            curves: curves.into_iter().filter(|curve| !curve.points.is_empty()).collect(),
            ticks: grid.to_vec(),
            ticks_name: "levels of the sampling grid",
        };
        let chart = self.chart(Chart::Lines(lines));
        html! {
            section {
                h3 { "Localization" }
                p { "How much of a point is unknown once noise of level σ lies on it (E tr Cov(x₀ | x_σ)/d): where the curve rises the law is decided, and there training noise and "
                    "sampling grid should lie."
                    @if !grid.is_empty() { " Marks on the axis are the " (grid.len()) " levels of the grid." } }
                @if !losses.is_empty() {
                    p { "The network has a posterior variance of its own, σ² tr ∂D/d by Tweedie's formula. Where it has learnt the law that is what it leaves; at small σ both are near σ² whatever "
                        "was learnt, and where it leaves the chart at large σ that is an error of the Jacobian, multiplied by σ²."
                        @if points.is_some() { " The posterior variance of points is on average at most that of their law." } }
                }
                @if run.levels.is_some() {
                    p { "The curve of training points is that of a kernel density of at most 400 of them, which localized grids follow; the width of the kernel lies on top." }
                }
                div.charts { (chart) }
            }
        }
    }

    /// What the run drew of its map, and of samples on the way.
    fn pictures(&mut self, run: &ReportedRun) -> Markup {
        let pictures: Vec<Markup> = run.pictures.iter().map(|picture| self.picture(picture)).collect();
        let has_map = crate::methods::wiring(&run.record.config.method).has_map();
        // As many as fit, spread over the whole way.
        let bytes: usize = run.frames.iter().map(|(_, picture)| picture.png.len().div_ceil(3) * 4).sum();
        let every = bytes.div_ceil(self.room.max(1)).max(1);
        let last = run.frames.len().saturating_sub(1);
        let kept = run.frames.iter().enumerate().filter(|(k, _)| (last - k).is_multiple_of(every));
        let frames: Vec<Markup> = kept.map(|(_, (_, picture))| self.picture(picture)).collect();
        let told = frames.len() < run.frame_count;
        html! {
            @if !pictures.is_empty() { section { h3 { "The map" } div.pictures { @for picture in pictures { (picture) } } } }
            @if !frames.is_empty() {
                section {
                    h3 { @if has_map { "Evolution of the map" } @else { "Samples as training went on" } }
                    @if told { p { (frames.len()) " of " (run.frame_count) " pictures, spread over the whole way." } }
                    div.pictures.evolution { @for frame in frames { (frame) } }
                }
            }
        }
    }
}

/// The numbers of some curves, a few of them.
fn table_of(lines: &Lines, rows: usize) -> Markup {
    let most = (rows / lines.curves.len().max(1)).max(FEWEST_OF_CURVE);
    let every = |curve: &Curve| curve.points.len().div_ceil(most).max(1);
    html! {
        details {
            summary { "Numbers" @if lines.curves.iter().any(|curve| every(curve) > 1) { ", of long curves some" } }
            div.wide { table {
                thead { tr { th scope="col" { "curve" } th scope="col" { (lines.x) } th scope="col" { (lines.y) } } }
                tbody { @for curve in &lines.curves {
                    @for (k, (x, y)) in curve.points.iter().enumerate() {
                        @if (curve.points.len() - 1 - k).is_multiple_of(every(curve)) {
                            tr { th scope="row" { (curve.name) } td.number { (table::number(*x)) } td.number { (number(Some(*y))) } }
                        }
                    }
                } }
            } }
        }
    }
}

/// Distribution functions of samples and target on the line.
fn distribution(run: &ReportedRun) -> Lines {
    let of = |name: &str, points: &Points| {
        let mut values: Vec<f64> = points.column(0).to_vec();
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        Curve::new(name, values.into_iter().enumerate().map(|(k, x)| (x, (k as f64 + 0.5) / n))).thinned(60)
    };
    let curves =
        run.target.iter().map(|target| of("target", target)).chain(run.samples.iter().map(|s| of("samples", s)));
    Lines {
        title: "Distribution function".to_owned(),
        x: run.coordinate(0),
        y: "share below".to_owned(),
        log_x: false,
        log_y: false,
        curves: curves.collect(),
        ticks: Vec::new(),
        ticks_name: "",
    }
}

fn gaps(run: &ReportedRun) -> Markup {
    html! { @for gap in &run.gaps { p.gap role="note" { (capital(gap)) "." } } }
}

/// Metrics with standard errors, floors and z-scores.
fn metrics(metrics: &std::collections::BTreeMap<String, MetricReport>) -> Markup {
    html! {
        section {
            h3 { "Metrics" }
            p { "The floor is the value that a perfect sampler of as many samples has, ± its standard deviation; z counts those from it." }
            div.wide { table {
                thead { tr { @for head in ["metric", "value", "± se", "floor", "± sd", "z", "n", "good is", "note"] { th scope="col" { (head) } } } }
                tbody { @for (name, report) in metrics {
                    tr {
                        th scope="row" { (name) }
                        td.number { (number(report.value)) }
                        td.number { (number(report.std_error)) }
                        td.number { (number(report.floor)) }
                        td.number { (number(report.floor_sd)) }
                        td.number { (report.z_score.map_or("-".to_owned(), |z| format!("{z:.1}"))) }
                        td.number { (report.n) }
                        td { (report.direction) }
                        td.note { (report.note.as_deref().unwrap_or("")) }
                    }
                } }
            } }
        }
    }
}

/// Every coordinate of samples of a density.
fn posterior(run: &ReportedRun) -> Markup {
    let Some((evaluation, _)) = run.evaluation.as_ref().filter(|(e, _)| !e.posterior.is_empty()) else {
        return html! {};
    };
    let rows = &evaluation.posterior;
    html! {
        section {
            h3 { "Posterior" }
            p { "Every coordinate of the samples. R̂ above 1.01 says that groups of them do not quite agree." }
            div.wide { table {
                thead { tr { @for head in ["coordinate", "mean", "sd", "5 %", "50 %", "95 %", "R̂"] { th scope="col" { (head) } } } }
                tbody { @for row in rows.iter().take(MOST_COORDINATES) {
                    tr {
                        th scope="row" { (row.name) }
                        @for value in [row.mean, row.sd].into_iter().chain(row.quantiles) { td.number { (number(Some(value))) } }
                        td.number { (number(row.r_hat)) }
                    }
                } }
            } }
            @if rows.len() > MOST_COORDINATES {
                p.gap { (rows.len() - MOST_COORDINATES) " further coordinates are left out: " code { "train evaluate RUN --out FILE.csv" } " writes all." }
            }
        }
    }
}

fn warnings(run: &ReportedRun) -> Markup {
    html! {
        section {
            h3 { "Warnings" }
            @match &run.warnings {
                None => p.gap { "The log of the run could not be read." },
                Some(none) if none.is_empty() => p { "The log of the run holds none." },
                Some(warnings) => ul { @for warning in warnings { li { (warning) } } },
            }
        }
    }
}

/// The commands that make the run again, and its config.
fn reproduce(run: &ReportedRun) -> Markup {
    let config = serde_json::to_string_pretty(&run.record.config).expect("a stored config is JSON");
    // Where the run lies that the first command makes, and a name that is no flag.
    let directory = shell::quoted(&run.record.config.run_directory().display().to_string());
    let file = format!("{}.json", run.record.config.name);
    let file = shell::quoted(&if file.starts_with('-') { format!("./{file}") } else { file });
    let commands = format!(
        "train run {file}\ntrain evaluate {directory}\ntrain sample {directory} --count 1000 --out samples.npy"
    );
    html! {
        section {
            h3 { "Make it again" }
            p { "With the config below in " code { (file) } ", and train " (run.record.program_version) ":" }
            pre { code { (commands) } }
            details.config { summary { "The config" } pre { code { (config) } } }
        }
    }
}

/// A number in four digits, that holds all of them.
pub fn number(value: Option<f64>) -> Markup {
    match value {
        Some(value) => html! { data value=(value) { (table::number(value)) } },
        None => html! { "-" },
    }
}

/// A setting in words: of a choice, its name.
fn in_words(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('_', " "),
        Value::Object(object) => object.keys().next().map_or(String::new(), |name| name.replace('_', " ")),
        other => other.to_string(),
    }
}

/// The name of a scalar as it is said.
pub fn said(name: &str) -> String {
    name.replace('_', " ")
}

/// Seconds as a person says them.
fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 100.0 => format!("{seconds:.1} s"),
        seconds if seconds < 6000.0 => format!("{:.1} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

/// A sentence with a capital.
fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or(String::new(), |first| first.to_uppercase().chain(rest).collect())
}
