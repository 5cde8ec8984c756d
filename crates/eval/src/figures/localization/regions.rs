//! Densities on the line with the regions shaded where their logarithms bend upwards.

use kuva::plot::legend::{LegendEntry, LegendShape};
use kuva::plot::{LegendPlot, LinePlot};
use kuva::render::annotations::ShadedRegion;
use kuva::render::layout::Layout;

use super::super::{Panel, entry};
use super::{DensityRegions, short, third_page};

/// Where the second derivative of the log-density is positive, and where it is above one half below zero: blends with white of one vermilion.
const SHADES: [(f64, &str, &str); 2] = [(-0.5, "#F7DCC8", "∇²log p > -½"), (0.0, "#E9A37C", "∇²log p > 0")];

/// The colour of a density.
const LINE: &str = "#0072B2";

/// Density panels, at most three, and the row that explains their colours; empty without a finite density.
pub(super) fn panels(all: &[DensityRegions]) -> (Vec<Panel>, Option<Panel>) {
    let panels: Vec<Panel> = all.iter().filter_map(panel).take(3).collect();
    if panels.is_empty() {
        return (panels, None);
    }
    let mut legend = LegendPlot::new().with_entry(entry("density p of Yᵣ", LINE, false));
    for &(_, colour, name) in SHADES.iter().rev() {
        legend = legend.with_entry(LegendEntry { shape: LegendShape::Rect, ..entry(name, colour, false) });
    }
    legend.show_box = false;
    (panels, Some((vec![legend.with_cols(3).into()], Layout::new((0.0, 1.0), (0.0, 1.0)))))
}

fn panel(regions: &DensityRegions) -> Option<Panel> {
    let mut points: Vec<(f64, f64, f64)> = (regions.y.iter().zip(&regions.density).zip(&regions.curvature))
        .map(|((&y, &density), &curvature)| (y, density, curvature))
        .filter(|(y, density, _)| y.is_finite() && density.is_finite())
        .collect();
    let top = points.iter().map(|(_, density, _)| *density).fold(0.0, f64::max);
    if points.len() < 2 || top <= 0.0 {
        return None;
    }
    // Far tails say little and squeeze the rest.
    let shown = |(_, density, _): &(f64, f64, f64)| *density >= 2e-3 * top;
    let first = points.iter().position(shown)?.saturating_sub(1);
    let last = points.iter().rposition(shown)? + 2;
    points.truncate(last);
    points.drain(..first);
    let line: Vec<(f64, f64)> = points.iter().map(|&(y, density, _)| (y, density)).collect();
    let range = [line[0].0, line[line.len() - 1].0];
    let plots = vec![LinePlot::new().with_data(line).with_color(LINE).with_stroke_width(2.0).into()];
    let mut layout = third_page(&plots, range, [0.0, 1.06 * top])
        .with_title(format!("Density of Yᵣ, r = {}", short(regions.snr)))
        .with_x_label("y (noise standard deviations)")
        .with_y_label("density (per unit of y)")
        .with_y_tick_step(round_step(top))
        .with_show_grid(false);
    for (level, colour, _) in SHADES {
        for [low, high] in above(&points, level) {
            layout = layout.with_shaded_region(ShadedRegion::vertical(low, high).with_color(colour).with_opacity(1.0));
        }
    }
    Some((plots, layout))
}

/// A step of 1, 2 or 5 times a power of ten with three to six ticks up to `top`: short numbers, clear of the label.
fn round_step(top: f64) -> f64 {
    let power = 10f64.powf((top / 6.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| top / step <= 6.0).unwrap_or(10.0 * power)
}

/// The intervals of y where the curvature exceeds a level, its crossings found by linear interpolation.
fn above(points: &[(f64, f64, f64)], level: f64) -> Vec<[f64; 2]> {
    let mut intervals = Vec::new();
    let mut open: Option<f64> = None;
    let mut before: Option<(f64, f64)> = None;
    for &(y, _, curvature) in points {
        let inside = curvature > level;
        let crossing = before.map_or(y, |(last, old)| {
            let share = (level - old) / (curvature - old);
            if share.is_finite() { last + share.clamp(0.0, 1.0) * (y - last) } else { y }
        });
        match open {
            None if inside => open = Some(crossing),
            Some(start) if !inside => {
                intervals.push([start, crossing]);
                open = None;
            }
            _ => (),
        }
        before = Some((y, curvature));
    }
    if let (Some(start), Some((end, _))) = (open, before) {
        intervals.push([start, end]);
    }
    intervals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for top in [0.11, 0.204, 0.4, 1.0, 7.3e-4, 25.0] {
            let step = round_step(top);
            assert!((2.0..=6.0).contains(&(top / step)), "{top}: {step}");
        }
        assert!((round_step(0.13) - 0.05).abs() < 1e-12);
    }

    #[test]
    fn regions_begin_and_end_at_the_crossings() {
        // y² - 1 on a grid: above zero outside [-1, 1].
        let points: Vec<(f64, f64, f64)> =
            (-20..=20).map(|k| f64::from(k) / 10.0 + 0.03).map(|y| (y, 1.0, y * y - 1.0)).collect();
        let intervals = above(&points, 0.0);
        assert_eq!(intervals.len(), 2);
        assert_eq!(intervals[0][0], points[0].0, "open at the left end");
        assert!((intervals[0][1] + 1.0).abs() < 2e-3 && (intervals[1][0] - 1.0).abs() < 2e-3, "{intervals:?}");
        assert_eq!(intervals[1][1], points[40].0);
        assert!(above(&points, 10.0).is_empty());
        assert_eq!(above(&points, -2.0), [[points[0].0, points[40].0]]);
    }
}
