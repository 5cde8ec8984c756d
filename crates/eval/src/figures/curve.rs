//! Curves on linear or logarithmic axes: losses by step, errors by noise level.

use std::sync::Arc;

use kuva::TickFormat;
use kuva::plot::legend::LegendPosition;
use kuva::plot::{BandPlot, LinePlot};
use kuva::render::plots::Plot;

use super::dashes::{Frame, PATTERN, dashes};
use super::{COLOURS, FigureError, Format, draw, entry, layout};

/// What the axes of a figure say and how they are divided.
#[derive(Debug, Clone, Default)]
pub struct Axes<'a> {
    /// The title of the figure.
    pub title: &'a str,
    /// The label of the horizontal axis, with its unit.
    pub x: &'a str,
    /// The label of the vertical axis, with its unit.
    pub y: &'a str,
    /// Whether the horizontal axis is logarithmic.
    pub log_x: bool,
    /// Whether the vertical axis is logarithmic.
    pub log_y: bool,
}

/// One named curve.
#[derive(Debug, Clone, Default)]
pub struct Curve<'a> {
    /// The name in the legend.
    pub name: &'a str,
    /// The points (x, y), in drawing order.
    pub points: Vec<(f64, f64)>,
    /// Half-widths of a band around the curve, one a point; none for no band.
    pub band: Option<Vec<f64>>,
    /// Dashed, for what is a reference and no result.
    pub dashed: bool,
}

/// Curves in one pair of axes, `size` = [width, height] pixels.
///
/// A point that is not finite, or not positive on a logarithmic axis, is left out; the curve goes on after it.
/// A logarithmic axis over less than a factor of five would have one tick or none: it is drawn linearly.
///
/// # Errors
///
/// No point that can be drawn, a size out of range.
pub fn curves(axes: &Axes, curves: &[Curve], size: [usize; 2], format: Format) -> Result<Vec<u8>, FigureError> {
    let drawable = |value: f64, log: bool| value.is_finite() && (!log || value > 0.0);
    // Of each curve that has points: its index, its points, and the edges of its band.
    let mut found = Vec::new();
    let (mut x_range, mut y_range) = ([f64::INFINITY, f64::NEG_INFINITY], [f64::INFINITY, f64::NEG_INFINITY]);
    for (index, curve) in curves.iter().enumerate() {
        let (mut points, mut low, mut high) = (Vec::new(), Vec::new(), Vec::new());
        for (i, &(x, y)) in curve.points.iter().enumerate() {
            if !drawable(x, axes.log_x) || !drawable(y, axes.log_y) {
                continue;
            }
            let half = curve.band.as_ref().and_then(|band| band.get(i)).copied().filter(|half| half.is_finite());
            let half = half.unwrap_or(0.0);
            // On a logarithmic axis a band that reaches zero ends a decade below its curve.
            let below = if axes.log_y { (y - half).max(y / 10.0) } else { y - half };
            widen(&mut x_range, x);
            widen(&mut y_range, below);
            widen(&mut y_range, y + half);
            points.push((x, y));
            low.push(below);
            high.push(y + half);
        }
        if points.is_empty() {
            continue;
        }
        found.push((index, points, low, high));
    }
    if found.is_empty() {
        return Err(FigureError::Empty { title: axes.title.to_owned() });
    }
    let ticks_fit = |[low, high]: [f64; 2]| high >= 5.0 * low;
    let (log_x, log_y) = (axes.log_x && ticks_fit(x_range), axes.log_y && ticks_fit(y_range));
    if !log_x && x_range[0] > 0.0 && x_range[0] < 0.2 * x_range[1] {
        // Steps are counted from zero.
        x_range[0] = 0.0;
    }
    let (x_range, y_range) = (margins(x_range, log_x, 0.0), margins(y_range, log_y, 0.05));
    let pixels = [0.4 * size[0] as f64, 0.4 * size[1] as f64];
    let frame = Frame { x: x_range, y: y_range, log_x, log_y, pixels };
    let (mut plots, mut entries, mut drawn) = (Vec::<Plot>::new(), Vec::new(), Vec::new());
    for (index, points, low, high) in found {
        let (curve, colour) = (&curves[index], COLOURS[index % COLOURS.len()]);
        if curve.band.is_some() {
            plots.push(BandPlot::new(points.iter().map(|point| point.0), low, high).with_color(colour).into());
        }
        let pattern: &[f64] = if curve.dashed { &PATTERN } else { &[] };
        for dash in dashes(&points, pattern, &frame) {
            plots.push(LinePlot::new().with_data(dash).with_color(colour).with_stroke_width(2.0).into());
        }
        entries.push(entry(curve.name, colour, curve.dashed));
        drawn.push(points);
    }
    let along = |value: f64, [low, high]: [f64; 2], log: bool| match log {
        true => (value / low).ln() / (high / low).ln(),
        false => (value - low) / (high - low),
    };
    for point in drawn.iter_mut().flatten() {
        *point = (along(point.0, x_range, log_x), along(point.1, y_range, log_y));
    }
    let mut layout = layout(&plots, x_range, y_range)
        .with_x_label(axes.x)
        .with_y_label(axes.y)
        .with_legend_entries(entries)
        .with_legend_position(emptiest_corner(&drawn));
    if log_x {
        layout = layout.with_log_x().with_x_tick_format(TickFormat::Custom(Arc::new(decimal)));
    }
    if log_y {
        layout = layout.with_log_y().with_y_tick_format(TickFormat::Custom(Arc::new(decimal)));
    }
    draw(axes.title, vec![vec![(plots, layout)]], &[1.0], size, format)
}

fn widen(range: &mut [f64; 2], value: f64) {
    *range = [range[0].min(value), range[1].max(value)];
}

/// The corner of the axes that the curves touch least; their points as shares of the axes.
fn emptiest_corner(curves: &[Vec<(f64, f64)>]) -> LegendPosition {
    // What a legend covers, generously.
    const WIDTH: f64 = 0.45;
    const HEIGHT: f64 = 0.3;
    const STEPS: usize = 16;
    let mut touched = [0usize; 4];
    for pair in curves.iter().flat_map(|curve| curve.windows(2)) {
        for step in 0..=STEPS {
            let share = step as f64 / STEPS as f64;
            let between = |a: f64, b: f64| a + share * (b - a);
            let (x, y) = (between(pair[0].0, pair[1].0), between(pair[0].1, pair[1].1));
            let (left, right) = (x < WIDTH, x > 1.0 - WIDTH);
            let (bottom, top) = (y < HEIGHT, y > 1.0 - HEIGHT);
            for (count, inside) in touched.iter_mut().zip([top && right, bottom && right, top && left, bottom && left])
            {
                *count += usize::from(inside);
            }
        }
    }
    let corners = [
        LegendPosition::InsideTopRight,
        LegendPosition::InsideBottomRight,
        LegendPosition::InsideTopLeft,
        LegendPosition::InsideBottomLeft,
    ];
    corners.into_iter().zip(touched).min_by_key(|&(_, count)| count).expect("four corners").0
}

/// The range with a share of itself on both sides, measured along the axis as drawn; never empty on a linear one.
fn margins([low, high]: [f64; 2], log: bool, share: f64) -> [f64; 2] {
    if log {
        let factor = (high / low).powf(share);
        [low / factor, high * factor]
    } else {
        let pad = if low < high { (high - low) * share } else { low.abs().max(1.0) / 2.0 };
        [low - pad, high + pad]
    }
}

/// A tick of a logarithmic axis: plain from 0.01 to 9999, otherwise with a power of ten.
pub(super) fn decimal(value: f64) -> String {
    let exponent = value.log10().floor();
    if (-2.0..4.0).contains(&exponent) {
        return format!("{value:.2}").trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    const RAISED: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    let digits = format!("{:.0}", exponent.abs());
    let sign = if exponent < 0.0 { "⁻" } else { "" };
    let power: String = digits.bytes().map(|digit| RAISED[usize::from(digit - b'0')]).collect();
    match (value / 10f64.powf(exponent)).round() {
        1.0 => format!("10{sign}{power}"),
        mantissa => format!("{mantissa}·10{sign}{power}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::{colours, decoded};

    #[test]
    fn losses_and_noise_levels_are_drawn_in_the_size_asked_for() {
        let training =
            Curve { name: "training", points: (0..50).map(|k| (k as f64, 0.5)).collect(), ..Default::default() };
        let broken = vec![(0.1, 1.0), (0.0, 2.0), (1.0, f64::NAN), (10.0, 0.01), (20.0, -1.0)];
        let held_out = Curve { name: "held-out", points: broken, band: Some(vec![0.5; 5]), dashed: true };
        for (log_x, log_y) in [(false, false), (false, true), (true, false), (true, true)] {
            let axes = Axes { title: "loss", x: "step", y: "loss", log_x, log_y };
            let picture =
                decoded(&curves(&axes, &[training.clone(), held_out.clone()], [900, 600], Format::Png).unwrap());
            assert_eq!(picture.dimensions(), (900, 600));
            for colour in [[0x00, 0x72, 0xb2], [0xd5, 0x5e, 0x00]] {
                assert!(colours(&picture).contains(&colour), "{colour:?} is missing, log x {log_x}, log y {log_y}");
            }
        }
    }

    #[test]
    fn a_figure_without_anything_to_draw_is_refused() {
        let axes = Axes { title: "loss", log_y: true, ..Default::default() };
        let negative = Curve { points: vec![(0.0, -1.0)], ..Default::default() };
        let message = curves(&axes, &[negative], [900, 600], Format::Png).unwrap_err().to_string();
        assert_eq!(message, "the figure `loss` has nothing finite to draw; pass at least one finite point");
    }

    #[test]
    fn the_legend_goes_where_no_curve_is() {
        let falling = vec![(0.0, 1.0), (0.1, 0.1), (1.0, 0.05)];
        assert!(matches!(emptiest_corner(&[falling]), LegendPosition::InsideTopRight));
        let rising = vec![(0.0, 0.0), (0.5, 0.9), (1.0, 0.95)];
        assert!(matches!(emptiest_corner(&[rising]), LegendPosition::InsideBottomRight));
    }

    #[test]
    fn ticks_are_plain_where_they_are_short() {
        let text = [1e-5, 2e-3, 0.01, 0.5, 1.0, 20.0, 1000.0, 1e4, 5e12].map(decimal);
        assert_eq!(text, ["10⁻⁵", "2·10⁻³", "0.01", "0.5", "1", "20", "1000", "10⁴", "5·10¹²"]);
    }
}
