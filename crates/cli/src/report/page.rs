//! The page: sections, tables, and the places where charts are drawn.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use brenier_eval::{Direction, MetricReport};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::chart::{Chart, Cloud, Curve, Density, Lines, Scatter, digits, frame, plane};
use super::run::{Picture, ReportedRun};
use crate::shell;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Bytes of pictures on a page: with the charts it stays below 5 MB.
const PICTURE_BYTES: usize = 3_400_000;

/// Rows of the table beside a chart.
const MOST_ROWS: usize = 60;

/// Coordinates of a pair plot.
const PAIRED: usize = 3;

/// Rows of a posterior summary.
const MOST_COORDINATES: usize = 200;

/// A chart goes into the page as its numbers.
struct Page {
    charts: Vec<Chart>,
    /// Bytes that are left for pictures.
    room: usize,
}

/// The page of some runs, at least one; `command` made it.
pub fn page(runs: &[ReportedRun], command: &str) -> String {
    let mut page = Page { charts: Vec::new(), room: PICTURE_BYTES };
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
        main {
            (what_was_trained(runs))
            (page.training(runs))
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
            Some(step) => format!("{step} of {}, not finished", run.steps),
            None => format!("none of {}", run.steps),
        }),
        ("time", &|run| run.last("elapsed_seconds").map_or("-".to_owned(), duration)),
        ("CPU time", &|run| run.last("cpu_seconds").map_or("-".to_owned(), duration)),
        ("judged", &|run| {
            run.evaluation.as_ref().map_or("not yet".to_owned(), |(_, settings)| {
                let said =
                    |key: &str| settings.get(key).map(|value| format!("{} {}", key.replace('_', " "), plain(value)));
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

/// Metrics of runs with one target side by side.
fn comparison(runs: &[ReportedRun]) -> Markup {
    let judged: Vec<_> = runs.iter().map(|run| run.evaluation.as_ref().map(|(evaluation, _)| evaluation)).collect();
    let names: BTreeSet<&String> = judged.iter().flatten().flat_map(|evaluation| evaluation.metrics.keys()).collect();
    html! {
        section aria-labelledby="comparison" {
            h2 id="comparison" { "Metrics side by side" }
            p { "Value ± standard error, and in brackets how many standard deviations it lies from that of a perfect sampler. Bold is the best value; what lies within "
                "two standard errors of it cannot be told from it." }
            div.wide { table {
                thead { tr { th scope="col" { "metric" } th scope="col" { "good is" } @for run in runs { th scope="col" { (run.label) } } } }
                tbody { @for name in names {
                    @let row: Vec<Option<&MetricReport>> = judged.iter().map(|evaluation| evaluation.and_then(|e| e.metrics.get(name))).collect();
                    @let best = best(&row);
                    tr {
                        th scope="row" { (name) }
                        td { (row.iter().flatten().next().map_or("", |report| good(report.direction))) }
                        @for (index, report) in row.iter().enumerate() {
                            td.number {
                                @match report {
                                    Some(report) => {
                                        @if best == Some(index) { strong { (number(report.value)) } } @else { (number(report.value)) }
                                        " ± " (number(report.std_error))
                                        @if let Some(z) = report.z_score { span.quiet { " (" (format!("{z:.1}")) ")" } }
                                    }
                                    None => "-",
                                }
                            }
                        }
                    }
                } }
            } }
        }
    }
}

/// Which of some reports of one metric is the best, where any is better than another.
fn best(row: &[Option<&MetricReport>]) -> Option<usize> {
    let badness = |report: &MetricReport| {
        let value = report.value?;
        Some(match report.direction {
            Direction::LowerIsBetter => value,
            Direction::HigherIsBetter => -value,
            Direction::NearFloorIsBetter => (value - report.floor?).abs(),
        })
    };
    let all: Vec<(usize, f64)> =
        row.iter().enumerate().filter_map(|(index, report)| Some((index, badness((*report)?)?))).collect();
    let (index, least) = all.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))?;
    all.iter().any(|(_, value)| *value > least).then_some(index)
}

impl Page {
    /// The place of a chart, with its numbers.
    fn chart(&mut self, chart: Chart) -> Markup {
        let (index, summary) = (self.charts.len(), chart.summary());
        let table = match &chart {
            Chart::Lines(lines) => table_of(lines),
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

    /// Every scalar against the step; scalars of one run that are variants of one stand in one chart.
    fn training(&mut self, runs: &[ReportedRun]) -> Markup {
        let mut names: Vec<&str> = Vec::new();
        for name in runs.iter().flat_map(ReportedRun::scalars) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let curves = names.len() * runs.len();
        let groups: Vec<Vec<&str>> = match runs {
            [_] => groups(&names),
            _ => names.iter().map(|name| vec![*name]).collect(),
        };
        let mut charts = Vec::with_capacity(groups.len());
        for group in &groups {
            let mut all = Vec::new();
            for run in runs {
                for name in group {
                    let label = if runs.len() > 1 { run.label.clone() } else { said(name) };
                    let curve = Curve::new(label, run.scalar(name));
                    // A run without the scalar keeps its place, and so its colour.
                    all.push(curve.thinned(curves));
                }
            }
            let title = if let [name] = group[..] { said(name) } else { said(base(group[0])) };
            let lines = Lines {
                y: title.clone(),
                title,
                x: "step",
                log_x: false,
                log_y: false,
                curves: all,
                ticks: Vec::new(),
                ticks_name: "",
            };
            charts.push(self.chart(Chart::Lines(lines.with_a_fit_axis())));
        }
        html! {
            section aria-labelledby="training" {
                h2 id="training" { "Training" }
                @if charts.is_empty() {
                    p.gap { "No metrics have been logged." }
                } @else {
                    p { "Every logged number against the step. Means are over the steps since the line before." }
                    div.charts { @for chart in charts { (chart) } }
                }
            }
        }
    }

    fn run(&mut self, run: &ReportedRun, index: usize, count: usize) -> Markup {
        // Every run has its share of the room, and what earlier ones left.
        let kept_back = PICTURE_BYTES / count * (count - 1 - index);
        self.room = self.room.saturating_sub(kept_back);
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
        let clouds = |pair: [usize; 2]| -> Vec<Cloud> {
            let of = |name: &str, points| Cloud { name: name.to_owned(), points: plane(points, pair) };
            run.target.iter().map(|target| of("points of the target", target)).chain([of("samples", samples)]).collect()
        };
        let mut charts = Vec::new();
        if run.record.data.image_shape.is_none() && dim >= 2 {
            let axes = |pair: [usize; 2]| pair.map(|j| run.coordinate(j));
            let shown = dim.min(PAIRED);
            for i in 0..shown {
                for j in i + 1..shown {
                    let title = "Samples beside the target".to_owned();
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
            run.target_images.iter().chain(run.pictures.first()).map(|picture| self.picture(picture)).collect()
        } else {
            Vec::new()
        };
        html! {
            section {
                h3 { @if run.target.is_some() { "Samples beside the target" } @else { "Samples" } }
                p { "The first " (samples.nrows()) " samples of the best checkpoint"
                    @if let Some(target) = &run.target { ", and " (target.nrows()) " points of the target" }
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
        let exact = Curve::new("optimal loss", levels.iter().filter_map(|level| Some((level.sigma, level.exact?))));
        let excess =
            Curve::new("excess", levels.iter().filter_map(|level| Some((level.sigma, level.excess.as_ref()?.value))));
        let is_known = !exact.points.is_empty();
        curves.extend([exact, excess.marked()].into_iter().filter(|curve| !curve.points.is_empty()));
        let lines = Lines {
            title: "Denoising loss at every noise level".to_owned(),
            x: "σ (standardised coordinates)",
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
                @if is_known {
                    p { "The optimal loss E tr Cov(x₀ | x_σ)/d is what the exact denoiser leaves; the excess, E|D - D*|²/d, is what the network could still gain." }
                } @else {
                    p.gap { "The optimal loss of this target is not known here." }
                }
                div.charts { (chart) }
            }
        }
    }

    /// Where the target is hard to denoise, and where the run learns and samples.
    fn localization(&mut self, run: &ReportedRun) -> Markup {
        let Some(levels) = &run.levels else { return html! {} };
        let mut curves =
            vec![Curve::new("posterior variance of training points", levels.posterior_variance.iter().copied())];
        if let Some((evaluation, _)) = &run.evaluation {
            let of_network = evaluation.denoising_loss.iter().map(|level| (level.sigma, level.loss));
            curves.push(Curve::new("what the network leaves", of_network).marked());
            let exact = evaluation.denoising_loss.iter().filter_map(|level| Some((level.sigma, level.exact?)));
            curves.push(Curve::new("posterior variance of the target", exact));
        }
        curves.push(Curve::new("density of the training noise", levels.noise.training.iter().copied()));
        let lines = Lines {
            title: "Localization, training noise and sampling grid".to_owned(),
            x: "σ (standardised coordinates)",
            y: "variance of a coordinate; density of log σ".to_owned(),
            log_x: true,
            log_y: false,
            curves: curves.into_iter().filter(|curve| !curve.points.is_empty()).collect(),
            ticks: levels.noise.grid.clone(),
            ticks_name: "levels of the sampling grid",
        };
        let chart = self.chart(Chart::Lines(lines));
        html! {
            section {
                h3 { "Localization" }
                p { "How much of a point is unknown once noise of level σ lies on it (E tr Cov(x₀ | x_σ)/d): where the curve rises the law is decided, and there training noise and "
                    "sampling grid should lie. Marks on the axis are the " (levels.noise.grid.len()) " levels of the grid." }
                p { "The curve of training points is that of a kernel density of at most 400 of them, which localized grids follow; the width of the kernel lies on top." }
                div.charts { (chart) }
            }
        }
    }

    /// What the run drew of its map, and of samples on the way.
    fn pictures(&mut self, run: &ReportedRun) -> Markup {
        let first = usize::from(run.record.data.image_shape.is_some());
        let pictures: Vec<Markup> = run.pictures.iter().skip(first).map(|picture| self.picture(picture)).collect();
        let has_map = crate::methods::wiring(&run.record.config.method).has_map();
        // As many as fit, spread over the whole way.
        let bytes: usize = run.frames.iter().map(|(_, picture)| picture.png.len().div_ceil(3) * 4).sum();
        let every = bytes.div_ceil(self.room.max(1)).max(1);
        let last = run.frames.len().saturating_sub(1);
        let kept = run.frames.iter().enumerate().filter(|(k, _)| (last - k).is_multiple_of(every));
        let frames: Vec<Markup> = kept.map(|(_, (_, picture))| self.picture(picture)).collect();
        html! {
            @if !pictures.is_empty() { section { h3 { "The map" } div.pictures { @for picture in pictures { (picture) } } } }
            @if !frames.is_empty() {
                section {
                    h3 { @if has_map { "Evolution of the map" } @else { "Samples as training went on" } }
                    div.pictures.evolution { @for frame in frames { (frame) } }
                }
            }
        }
    }
}

/// The numbers of some curves, a few of them.
fn table_of(lines: &Lines) -> Markup {
    let most = MOST_ROWS / lines.curves.len().max(1);
    html! {
        details {
            summary { "Numbers" }
            div.wide { table {
                thead { tr { th scope="col" { "curve" } th scope="col" { (lines.x) } th scope="col" { (lines.y) } } }
                tbody { @for curve in &lines.curves {
                    @let every = curve.points.len().div_ceil(most.max(1)).max(1);
                    @for (k, (x, y)) in curve.points.iter().enumerate() {
                        @if (curve.points.len() - 1 - k).is_multiple_of(every) {
                            tr { th scope="row" { (curve.name) } td.number { (digits(*x)) } td.number { (number(Some(*y))) } }
                        }
                    }
                } }
            } }
        }
    }
}

/// Distribution functions of samples and target on the line.
fn distribution(run: &ReportedRun) -> Lines {
    let of = |name: &str, points: &brenier_measure::Points| {
        let mut values: Vec<f64> = points.column(0).to_vec();
        values.sort_by(f64::total_cmp);
        let n = values.len() as f64;
        Curve::new(name, values.into_iter().enumerate().map(|(k, x)| (x, (k as f64 + 0.5) / n))).thinned(60)
    };
    let curves =
        run.target.iter().map(|target| of("target", target)).chain(run.samples.iter().map(|s| of("samples", s)));
    Lines {
        title: "Distribution function".to_owned(),
        x: "value",
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
            p { "The floor is the same distance between perfect samples of the same sizes; z counts standard deviations from it." }
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
                        td { (good(report.direction)) }
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
            @if run.warnings.is_empty() { p { "The log of the run holds none." } }
            @else { ul { @for warning in &run.warnings { li { (warning) } } } }
        }
    }
}

/// The commands that make the run again, and its config.
fn reproduce(run: &ReportedRun) -> Markup {
    let config = serde_json::to_string_pretty(&run.record.config).expect("a stored config is JSON");
    let directory = shell::quoted(&run.directory.path().display().to_string());
    let file = shell::quoted(&format!("{}.json", run.record.config.name));
    let commands = format!(
        "train run {file}\ntrain evaluate {directory}\ntrain sample {directory} --count 1000 --out samples.npy"
    );
    html! {
        section {
            h3 { "Make it again" }
            p { "With the config below in " code { (file) } ", and train " (run.record.program_version) ":" }
            pre { code { (commands) } }
            details { summary { "The config" } pre { code { (config) } } }
        }
    }
}

/// A number in four digits, that holds all of them.
fn number(value: Option<f64>) -> Markup {
    match value {
        Some(value) => html! { data value=(value) { (digits(value)) } },
        None => html! { "-" },
    }
}

fn good(direction: Direction) -> &'static str {
    match direction {
        Direction::LowerIsBetter => "low",
        Direction::HigherIsBetter => "high",
        Direction::NearFloorIsBetter => "near the floor",
    }
}

/// A value of JSON without its quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('_', " "),
        Value::Object(object) => object.keys().next().map_or(String::new(), |name| name.replace('_', " ")),
        other => other.to_string(),
    }
}

/// The name of a scalar as it is said.
fn said(name: &str) -> String {
    name.replace('_', " ")
}

/// What a scalar is a variant of.
fn base(name: &str) -> &str {
    let name = name.strip_prefix("held_out_").unwrap_or(name);
    ["_last", "_average", "_ema"].into_iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// Scalars by what they are variants of.
fn groups<'a>(names: &[&'a str]) -> Vec<Vec<&'a str>> {
    let mut groups: Vec<Vec<&str>> = Vec::new();
    for name in names {
        match groups.iter_mut().find(|group| base(group[0]) == base(name)) {
            Some(group) => group.push(name),
            None => groups.push(vec![name]),
        }
    }
    // What is judged on held-out points too comes first.
    groups.sort_by_key(|group| group.len() == 1);
    groups
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

#[cfg(test)]
mod tests {
    use brenier_measure::Estimate;

    use super::*;

    #[test]
    fn variants_of_a_scalar_stand_together() {
        let names = ["surrogate_loss", "gradient_norm", "held_out_surrogate_loss", "nll", "held_out_nll_ema"];
        let expected =
            [vec!["surrogate_loss", "held_out_surrogate_loss"], vec!["nll", "held_out_nll_ema"], vec!["gradient_norm"]];
        assert_eq!(groups(&names), expected);
    }

    #[test]
    fn the_best_value_is_where_the_metric_says() {
        let report = |value: f64, direction| MetricReport::new(Estimate { value, std_error: 0.1 }, 10, direction);
        let best_of = |values: [f64; 3], direction: Direction| {
            let reports = values.map(|value| report(value, direction).with_floor(1.0, 0.1));
            best(&reports.iter().map(Some).collect::<Vec<_>>())
        };
        assert_eq!(best_of([3.0, 1.5, 2.0], Direction::LowerIsBetter), Some(1));
        assert_eq!(best_of([3.0, 1.5, 2.0], Direction::HigherIsBetter), Some(0));
        assert_eq!(best_of([-3.0, 0.5, 2.0], Direction::NearFloorIsBetter), Some(1));
        assert_eq!(best_of([2.0; 3], Direction::LowerIsBetter), None);
        assert_eq!(best(&[None, None]), None);
    }
}
