//! How a flow of the Monge-Ampère equation converges: divergences, their means, and both sides of its inequality.

use brenier_eval::figures::{Axes, Curve, Format, curves};
use serde_json::{Map, Value};

use crate::error::Error;

/// The lines: a name, the scalars that are added, and what they are called where they are estimates.
const LINES: [(&str, &[&str], &[&str]); 7] = [
    ("KL(ρ_k | target), left side", &["kl_before"], &["kl_before_estimate"]),
    ("right side", &["inequality_right"], &["inequality_right_estimate"]),
    (
        "right side, with the error of h",
        &["inequality_right", "discriminator_error"],
        &["inequality_right_estimate", "discriminator_error"],
    ),
    ("its mean over stages", &["kl_mean"], &["kl_mean_estimate"]),
    ("its later half", &["kl_tail_mean"], &["kl_tail_mean_estimate"]),
    ("that of the mean potential", &["kl_of_mean"], &["kl_of_mean_estimate"]),
    ("bound on the mean", &["kl_mean_bound"], &["kl_mean_bound_estimate"]),
];

/// A learnt h is not the log-ratio by so much.
const NOT_EXACT: f64 = 1e-9;

/// The figure of the lines of metrics.jsonl, on logarithmic axes; `None` where they tell of no divergence.
///
/// # Errors
///
/// A figure that cannot be drawn.
pub fn convergence_figure(metrics: &[Map<String, Value>]) -> Result<Option<Vec<u8>>, Error> {
    let number = |line: &Map<String, Value>, name: &str| line.get(name).and_then(Value::as_f64);
    let column = |names: &[&str]| -> Vec<(f64, f64)> {
        let sum = |line: &Map<String, Value>| names.iter().map(|name| number(line, name)).sum::<Option<f64>>();
        let point = |line: &Map<String, Value>| Some((number(line, "step")?, sum(line)?));
        metrics.iter().filter_map(point).filter(|&(_, value)| value > 0.0).collect()
    };
    let is_learnt = column(&["discriminator_error"]).iter().any(|&(_, error)| error > NOT_EXACT);
    let found: Vec<(String, Vec<(f64, f64)>)> = LINES
        .iter()
        .filter(|(_, names, _)| names.len() == 1 || is_learnt)
        .map(|&(name, exact, estimate)| {
            let known = column(exact);
            let points = if known.is_empty() { column(estimate) } else { known };
            let slope = slope(&points).map_or_else(String::new, |slope| format!(", slope {slope:.2}"));
            (format!("{name}{slope}"), points)
        })
        .collect();
    if found[0].1.len() < 2 {
        return Ok(None);
    }
    let axes = Axes {
        title: if column(LINES[0].1).is_empty() {
            "The divergence of the flow and both sides of its inequality, estimated"
        } else {
            "The divergence of the flow and both sides of its inequality"
        },
        x: "stage k + 1",
        y: "nats",
        log_x: true,
        log_y: true,
    };
    let lines: Vec<Curve> = found
        .iter()
        .filter(|(_, points)| !points.is_empty())
        .map(|(name, points)| {
            let dashed = name.starts_with("right side");
            Curve { name, points: points.clone(), dashed, ..Curve::default() }
        })
        .collect();
    Ok(Some(curves(&axes, &lines, [1100, 700], Format::Png)?))
}

/// The slope of least squares in logarithms, over the later half of the stages.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let later = &points[points.len() / 2..];
    if later.len() < 3 {
        return None;
    }
    let logs: Vec<(f64, f64)> = later.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let n = logs.len() as f64;
    let (x_mean, y_mean) = (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    let covariance: f64 = logs.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let variance: f64 = logs.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    Some(covariance / variance)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_power_has_its_slope_and_a_run_without_divergences_no_figure() {
        let power: Vec<(f64, f64)> = (1..40).map(|k| (k as f64, 3.0 * (k as f64).powf(-0.5))).collect();
        assert!((slope(&power).unwrap() + 0.5).abs() < 1e-12);
        let object = |line: Value| line.as_object().unwrap().clone();
        assert_eq!(convergence_figure(&[object(json!({"step": 1, "semi_dual": 2.0}))]).unwrap(), None);
        let line = |k: u32| json!({"step": k, "kl_before_estimate": 1.0 / f64::from(k), "kl_mean_estimate": 0.5});
        let lines: Vec<Map<String, Value>> = (1..9).map(|k| object(line(k))).collect();
        assert!(convergence_figure(&lines).unwrap().is_some());
    }
}
