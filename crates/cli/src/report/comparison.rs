//! Metrics of runs side by side.

use std::collections::BTreeSet;

use brenier_eval::{Direction, MetricReport};
use maud::{Markup, html};

use super::page::number;
use super::run::ReportedRun;

/// How many standard errors apart two values can be told from each other.
const APART: f64 = 2.0;

/// Metrics of runs with one target side by side.
pub fn comparison(runs: &[ReportedRun]) -> Markup {
    let judged: Vec<_> = runs.iter().map(|run| run.evaluation.as_ref().map(|(evaluation, _)| evaluation)).collect();
    let names: BTreeSet<&String> = judged.iter().flatten().flat_map(|evaluation| evaluation.metrics.keys()).collect();
    let against: BTreeSet<String> = runs
        .iter()
        .filter_map(|run| Some(run.evaluation.as_ref()?.1.get("compared_with")?.as_str()?.to_owned()))
        .collect();
    html! {
        section aria-labelledby="comparison" {
            h2 id="comparison" { "Metrics side by side" }
            p { "Value ± standard error, and in brackets how many standard deviations it lies from that of a perfect sampler. Bold are the best value and "
                "those that two standard errors do not tell from it, where any is worse." }
            @if against.len() > 1 {
                p.warning role="note" {
                    "These runs were compared with different points (" (against.iter().cloned().collect::<Vec<_>>().join(", ")) "): nothing is bold."
                }
            }
            div.wide { table {
                thead { tr { th scope="col" { "metric" } th scope="col" { "good is" } @for run in runs { th scope="col" { (run.label) } } } }
                tbody { @for name in names {
                    (row(name, &judged.iter().map(|evaluation| evaluation.and_then(|e| e.metrics.get(name))).collect::<Vec<_>>(), against.len() < 2))
                } }
            } }
        }
    }
}

fn row(name: &str, reports: &[Option<&MetricReport>], comparable: bool) -> Markup {
    let counts: BTreeSet<usize> = reports.iter().flatten().map(|report| report.n).collect();
    // Most distances fall with the number of points.
    let best = if comparable && counts.len() == 1 { best(reports) } else { Vec::new() };
    html! {
        tr {
            th scope="row" { (name) }
            td {
                (reports.iter().flatten().next().map_or(String::new(), |report| report.direction.to_string()))
                @if counts.len() > 1 { span.quiet { "; numbers of points differ" } }
            }
            @for (index, report) in reports.iter().enumerate() {
                td.number {
                    @match report {
                        Some(report) => {
                            @if best.contains(&index) { strong { (number(report.value)) } } @else { (number(report.value)) }
                            " ± " (number(report.std_error))
                            @if let Some(z) = report.z_score { span.quiet { " (" (format!("{z:.1}")) ")" } }
                            @if counts.len() > 1 { span.quiet { " of " (report.n) } }
                        }
                        None => "-",
                    }
                }
            }
        }
    }
}

/// Which of some reports of one metric are the best, as far as their standard errors tell; none where they tell nothing.
fn best(reports: &[Option<&MetricReport>]) -> Vec<usize> {
    let judged = |(index, report): (usize, &Option<&MetricReport>)| {
        let report = (*report)?;
        let badness = report.direction.badness(report.value?, report.floor)?;
        // How near a floor is, is as uncertain as the floor too.
        let of_floor = if report.direction == Direction::NearFloorIsBetter { report.floor_sd? } else { 0.0 };
        Some((index, badness, report.std_error?.hypot(of_floor)))
    };
    let all: Vec<(usize, f64, f64)> = reports.iter().enumerate().filter_map(judged).collect();
    // What has a value and no error cannot be told from the others.
    if all.len() < reports.iter().flatten().filter(|report| report.value.is_some()).count() {
        return Vec::new();
    }
    let Some((_, least, error)) = all.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)) else { return Vec::new() };
    let is_best = |value: f64, own: f64| value - least <= APART * own.hypot(error);
    let best: Vec<usize> =
        all.iter().filter(|(_, value, own)| is_best(*value, *own)).map(|(index, ..)| *index).collect();
    if best.len() == all.len() { Vec::new() } else { best }
}

#[cfg(test)]
mod tests {
    use brenier_measure::Estimate;

    use super::*;

    #[test]
    fn the_best_values_are_those_that_their_errors_do_not_tell_apart() {
        let report = |value: f64, direction| {
            MetricReport::new(Estimate { value, std_error: 0.1 }, 10, direction).with_floor(1.0, 0.1)
        };
        let best_of = |values: [f64; 3], direction: Direction| {
            let reports = values.map(|value| report(value, direction));
            best(&reports.iter().map(Some).collect::<Vec<_>>())
        };
        assert_eq!(best_of([3.0, 1.5, 2.0], Direction::LowerIsBetter), [1]);
        assert_eq!(best_of([3.0, 1.5, 1.75], Direction::LowerIsBetter), [1, 2]);
        assert_eq!(best_of([3.0, 1.5, 2.0], Direction::HigherIsBetter), [0]);
        assert_eq!(best_of([-3.0, 0.5, 2.0], Direction::NearFloorIsBetter), [1]);
        assert!(best_of([2.0, 2.1, 2.0], Direction::LowerIsBetter).is_empty());
        assert!(best(&[None, None]).is_empty());
    }
}
