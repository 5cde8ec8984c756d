//! What training logged, against the step.

use maud::{Markup, html};

use super::chart::{Chart, Curve, Lines};
use super::page::{Page, said};
use super::run::ReportedRun;

/// Every scalar against the step; scalars of one run that are variants of one stand in one chart.
pub fn training(page: &mut Page, runs: &[ReportedRun]) -> Markup {
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
                // A run without the scalar keeps its place, and so its colour.
                all.push(Curve::new(label, run.scalar(name)).thinned(curves));
            }
        }
        let title = if let [name] = group[..] { said(name) } else { said(base(group[0])) };
        let lines = Lines {
            y: title.clone(),
            title,
            x: "step".to_owned(),
            log_x: false,
            log_y: false,
            curves: all,
            ticks: Vec::new(),
            ticks_name: "",
        };
        charts.push(page.chart(Chart::Lines(lines.with_a_fit_axis())));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_of_a_scalar_stand_together() {
        let names = ["surrogate_loss", "gradient_norm", "held_out_surrogate_loss", "nll", "held_out_nll_ema"];
        let expected =
            [vec!["surrogate_loss", "held_out_surrogate_loss"], vec!["nll", "held_out_nll_ema"], vec!["gradient_norm"]];
        assert_eq!(groups(&names), expected);
    }
}
