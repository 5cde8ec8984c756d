//! Multi-scale complexity, its scale and the mean localization against the SNR, with the hardest SNR marked.

use std::sync::Arc;

use kuva::TickFormat;
use kuva::plot::{BandPlot, LinePlot};
use kuva::render::annotations::ReferenceLine;

use super::super::curve::decimal;
use super::super::dashes::{Frame, PATTERN, dashes};
use super::super::{COLOURS, GREY, Panel, entry};
use super::{ComplexityCurve, HALF_PAGE, half_page, short};

/// `m*(r)`, `δ*(r)` and `E L_r` against r on a logarithmic axis; nothing where there is no finite point.
pub(super) fn panel(curve: &ComplexityCurve) -> Option<Panel> {
    // The mean lies below: where it exceeds one, m* is equal to it.
    let (exact, solid): (&[f64], &[f64]) = (&[], &[]);
    let series = [
        ("E Lᵣ", &curve.mean, curve.mean_std_error.as_slice(), 2, solid),
        ("δ*(r)", &curve.delta_star, exact, 1, PATTERN.as_slice()),
        ("m*(r)", &curve.m_star, curve.m_star_std_error.as_slice(), 0, solid),
    ];
    let mut found = Vec::new();
    let (mut x_range, mut top) = ([f64::INFINITY, f64::NEG_INFINITY], 1.0f64);
    for (name, values, errors, colour, pattern) in series {
        let (mut points, mut halves) = (Vec::new(), Vec::new());
        for (index, (&r, &value)) in curve.snr.iter().zip(values).enumerate() {
            if r > 0.0 && r.is_finite() && value.is_finite() {
                points.push((r, value));
                halves.push(errors.get(index).copied().filter(|error| error.is_finite()).unwrap_or(0.0));
                x_range = [x_range[0].min(r), x_range[1].max(r)];
                top = top.max(value);
            }
        }
        if !points.is_empty() {
            found.push((name, points, halves, COLOURS[colour], pattern));
        }
    }
    if found.is_empty() {
        return None;
    }
    let log = x_range[1] >= 5.0 * x_range[0];
    if x_range[0] == x_range[1] {
        x_range = [0.5 * x_range[0], 1.5 * x_range[1]];
    }
    let frame = Frame { x: x_range, y: [0.0, 1.04 * top], log_x: log, log_y: false, pixels: HALF_PAGE };
    let (mut plots, mut entries) = (Vec::new(), Vec::new());
    for (name, points, halves, colour, pattern) in found {
        if halves.iter().any(|&half| half > 0.0) {
            let below = points.iter().zip(&halves).map(|((_, value), half)| (value - half).max(0.0));
            let above = points.iter().zip(&halves).map(|((_, value), half)| value + half);
            plots.push(BandPlot::new(points.iter().map(|point| point.0), below, above).with_color(colour).into());
        }
        for dash in dashes(&points, pattern, &frame) {
            plots.push(LinePlot::new().with_data(dash).with_color(colour).with_stroke_width(2.0).into());
        }
        entries.insert(0, entry(name, colour, !pattern.is_empty()));
    }
    let vanishes = !curve.m_star.is_empty() && curve.m_star.iter().all(|&m| m == 0.0);
    let mut title = "Multi-scale complexity".to_owned();
    let mut layout =
        half_page(&plots, &frame).with_x_label("signal-to-noise ratio r").with_y_label("m*, δ*, mean of Lᵣ");
    if let Some(r) = curve.hardest.filter(|r| r.is_finite()) {
        let shown = (x_range[0]..=x_range[1]).contains(&r);
        title = format!("{title}, hardest at r = {}{}", short(r), if shown { "" } else { ", not shown" });
        if shown {
            entries.push(entry("hardest r", GREY, true));
            let line = ReferenceLine::vertical(r).with_color(GREY).with_stroke_width(1.5).with_dasharray("4 4");
            layout = layout.with_reference_line(line);
        }
    } else if vanishes {
        title = "m* = 0 at every r shown".to_owned();
    }
    if log {
        layout = layout.with_log_x().with_x_tick_format(TickFormat::Custom(Arc::new(decimal)));
    }
    Some((plots, layout.with_title(title).with_legend_entries(entries)))
}
