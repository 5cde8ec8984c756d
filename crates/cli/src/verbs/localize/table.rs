//! The diagnostics as a person reads them.

use super::at::{Answer, Summary};
use super::curves::{Asked, Curves};
use crate::table::{aligned, number, point};

/// The most answers that are listed one by one.
const MOST_LISTED: usize = 24;

/// A table a noise level, a table a time, and where it is hardest, in words.
pub fn of_curves(curves: &Curves, asked: &Asked) -> String {
    let sampled = curves.draws.is_some();
    let heads = if sampled {
        &["r", "E L", "±", "P(L>1)", "m*", "±", "δ*"][..]
    } else {
        &["r", "E L", "P(L>1)", "m*", "δ*"]
    };
    let rows = curves.per_snr.iter().zip(&curves.above_one).map(|(report, &above_one)| {
        let (mean, m_star) = ((report.mean, report.mean_std_error), (report.m_star, report.m_star_std_error));
        match sampled {
            true => vec![report.snr, mean.0, mean.1, above_one, m_star.0, m_star.1, report.delta_star],
            false => vec![report.snr, mean.0, above_one, m_star.0, report.delta_star],
        }
    });
    let mut text = aligned(heads, rows.map(|row| row.into_iter().map(number).collect()));
    let zetas: Vec<String> = asked.richness.iter().map(|m| format!("ζ*_{}", number(*m))).collect();
    let heads: Vec<&str> =
        ["t", "r"].into_iter().chain(zetas.iter().map(String::as_str)).chain(["worst case"]).collect();
    let exact = curves.per_time.iter().all(|report| !report.worst_case.lower_estimate_of_sup);
    let rows = curves.per_time.iter().map(|report| {
        let zetas = report.zeta.iter().map(|zeta| zeta.value);
        let worst = number(report.worst_case.value);
        // A sup that is only estimated from below makes a ζ that is only bounded from above.
        let worst = if report.worst_case.lower_estimate_of_sup { format!("≤ {worst}") } else { worst };
        [report.time, report.snr].into_iter().chain(zetas).map(number).chain([worst]).collect()
    });
    text += &aligned(&heads, rows);
    if !exact {
        text += "≤: the largest eigenvalue found; the supremum may be larger, and the worst case smaller\n";
    }
    text += &hardest(curves);
    text
}

/// Where denoising is hardest, in words.
fn hardest(curves: &Curves) -> String {
    let (low, high) = (number(curves.hardest_range.0), number(curves.hardest_range.1));
    let Some(hardest) = &curves.hardest else {
        return format!("nowhere hard: m* = 0 at every noise level searched, r from {low} to {high}\n");
    };
    let (r, t, m_star) = (number(hardest.snr), number(hardest.time), number(hardest.m_star));
    let meaning = if hardest.m_star < 1.0 {
        let richness = number(1.0 / hardest.m_star);
        format!(
            "on the worst fraction m* = {m_star} of noisy points log p is flat on average,\n\
             so a step of noise and back contracts perturbations of richness M < {richness} only"
        )
    } else {
        format!(
            "m* = {m_star}: log p is not concave even on the average over all noisy points,\n\
             so no perturbation is sure to be contracted by a step of noise and back"
        )
    };
    let end =
        if hardest.at_end { format!("; this is an end of the range searched, {low} to {high}") } else { String::new() };
    format!("hardest at r = {r} (t = {t}): {meaning}{end}\n")
}

/// A line an answer where they are few, and a line a noise level.
pub fn of_points(answers: &[Answer], summaries: &[Summary]) -> String {
    let mut text = String::new();
    if (1..=MOST_LISTED).contains(&answers.len()) {
        let rows = answers.iter().map(|answer| {
            let numbers = [answer.snr, answer.localization, answer.log_density].map(number);
            numbers.into_iter().chain([point(&answer.y), point(&answer.posterior_mean)]).collect()
        });
        text += &aligned(&["r", "L_r(y)", "log p(y)", "y", "E[rX|y]"], rows);
    }
    let rows = summaries.iter().map(|summary| {
        [summary.snr, summary.mean, summary.median, summary.max, summary.above_one].map(number).to_vec()
    });
    text + &aligned(&["r", "mean L(y)", "median", "max", "share L>1"], rows)
}
