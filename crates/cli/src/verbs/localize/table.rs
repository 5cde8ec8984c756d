//! The diagnostics as a person reads them.

use super::at::{Answer, Summary};
use super::curves::{Asked, Curves};

/// The most answers that are listed one by one.
const MOST_LISTED: usize = 24;

/// The most coordinates of a point in a line.
const MOST_COORDINATES: usize = 4;

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

/// A line a note.
pub fn notes(notes: &[&str]) -> String {
    notes.iter().map(|note| format!("note: {note}\n")).collect()
}

/// The first coordinates of a point.
pub fn point(coordinates: &[f64]) -> String {
    let shown: Vec<String> = coordinates.iter().take(MOST_COORDINATES).map(|&x| number(x)).collect();
    let rest = if coordinates.len() > MOST_COORDINATES { ", …" } else { "" };
    format!("({}{rest})", shown.join(", "))
}

/// Columns to the right of each other, each as wide as its widest cell.
pub fn aligned(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heads = heads.iter().map(|&head| head.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A number in four digits.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        0.0 => "0".to_owned(),
        size if !size.is_finite() => format!("{value}"),
        size if !(1e-4..1e6).contains(&size) => format!("{value:.3e}"),
        size => {
            let text = format!("{value:.*}", (3 - size.log10().floor() as i32).max(0) as usize);
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits_and_no_idle_zeros() {
        let shown =
            [0.0, 1.0, 0.1, 0.123_456, 12.345_6, 123_456.7, 1.5e7, 3e-5, -0.5, 0.01, 100.0, f64::NAN].map(number);
        assert_eq!(
            shown,
            ["0", "1", "0.1", "0.1235", "12.35", "123457", "1.500e7", "3.000e-5", "-0.5", "0.01", "100", "-"]
        );
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let rows = [vec!["1".to_owned(), "0.25".to_owned()], vec!["10".to_owned(), "-".to_owned()]];
        assert_eq!(aligned(&["r", "ζ*"], rows.into_iter()), " r    ζ*\n 1  0.25\n10     -\n");
    }

    #[test]
    fn a_long_point_is_cut() {
        assert_eq!(point(&[1.0, 2.0]), "(1, 2)");
        assert_eq!(point(&[1.0; 5]), "(1, 1, 1, 1, …)");
    }
}
