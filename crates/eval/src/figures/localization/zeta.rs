//! Average-case curvature against time, one curve a richness of perturbations.

use std::sync::Arc;

use kuva::TickFormat;
use kuva::plot::LinePlot;
use kuva::render::annotations::ReferenceLine;

use super::super::curve::decimal;
use super::super::dashes::Frame;
use super::super::{Panel, entry, viridis};
use super::{HALF_PAGE, ZetaCurve, half_page, in_legend, short};

/// `ζ*_M(t)` against t with a line at zero, above which W₂ contracts; nothing where there is no finite point.
pub(super) fn panel(curves: &[ZetaCurve]) -> Option<Panel> {
    let finite: Vec<_> = curves
        .iter()
        .map(|curve| {
            let errors = curve.std_error.iter().copied().chain(std::iter::repeat(0.0));
            let points = curve.points.iter().zip(errors).map(|(&(t, zeta), error)| (t, zeta, error));
            (curve, points.filter(|(t, zeta, _)| t.is_finite() && zeta.is_finite()).collect::<Vec<_>>())
        })
        .filter(|(_, points)| !points.is_empty())
        .collect();
    if finite.is_empty() {
        return None;
    }
    let all = || finite.iter().flat_map(|(_, points)| points.iter().copied());
    let [mut first, mut last] =
        all().fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], (t, _, _)| [low.min(t), high.max(t)]);
    let log = first > 0.0 && last >= 20.0 * first;
    if first == last {
        [first, last] = [0.5 * first, 1.5 * last.max(0.1)];
    } else if !log && first > 0.0 && first < 0.2 * last {
        first = 0.0;
    }
    let y_range = bulk(all().map(|(_, zeta, _)| zeta).collect());
    let count = finite.len();
    let named = in_legend(count);
    let (mut plots, mut entries) = (Vec::new(), Vec::new());
    for (index, (curve, points)) in finite.iter().enumerate() {
        let colour = viridis(index, count);
        if named(index) {
            entries.push(entry(format!("M = {}", short(curve.richness)), colour.as_str(), false));
        }
        let mut plot = LinePlot::new()
            .with_data(points.iter().map(|&(t, zeta, _)| (t, zeta)))
            .with_color(colour)
            .with_stroke_width(1.8);
        if points.iter().any(|(_, _, error)| *error > 0.0) {
            plot = plot.with_band(points.iter().map(|(_, z, e)| z - e), points.iter().map(|(_, z, e)| z + e));
        }
        plots.push(plot.into());
    }
    let frame = Frame { x: [first, last], y: y_range, log_x: log, log_y: false, pixels: HALF_PAGE };
    let mut layout = half_page(&plots, &frame)
        .with_title("Average-case curvature")
        .with_x_label("time t")
        .with_y_label("ζ*(t) at richness M")
        .with_legend_entries(entries)
        .with_reference_line(ReferenceLine::horizontal(0.0).with_color("#000000").with_dasharray("none"));
    if log {
        layout = layout.with_log_x().with_x_tick_format(TickFormat::Custom(Arc::new(decimal)));
    }
    Some((plots, layout))
}

/// A range that shows zero and the bulk of the values, with all but the wildest of the negative ones, which are what the
/// figure is read for: as t tends to zero curvature grows like 1/t, which would flatten the rest.
fn bulk(mut values: Vec<f64>) -> [f64; 2] {
    values.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    let typical = values[values.len() / 2].abs().max(1e-6);
    let [low, high] = values.iter().fold([0.0f64, 0.0f64], |[low, high], &v| [low.min(v), high.max(v)]);
    let (low, high) = (low.max(-8.0 * typical), high.min(3.0 * typical));
    let pad = 0.06 * (high - low);
    [low - pad, high + pad]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_divergence_at_the_end_does_not_flatten_the_curve() {
        let values: Vec<f64> = (1..=100).map(|k| f64::from(k) / 100.0).chain([5000.0, -2.0]).collect();
        let [low, high] = bulk(values);
        assert!(low < -2.0 && low > -2.5 && high > 1.0 && high < 2.0, "[{low}, {high}]");
        assert_eq!(bulk(vec![0.0, 1.0]), [-0.06, 1.06]);
        let [low, high] = bulk(vec![0.0; 5]);
        assert!(low < 0.0 && high > 0.0 || low == high, "[{low}, {high}]");
    }
}
