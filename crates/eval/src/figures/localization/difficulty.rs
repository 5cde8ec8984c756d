//! Points of the plane coloured by how hard they are to denoise.

use kuva::plot::{ColorMap, LinePlot, ScatterPlot};
use kuva::render::annotations::ShadedRegion;
use kuva::render::plots::Plot;

use super::super::{FigureError, Panel, Window, layout, planar};
use super::{Difficulty, short, third_page};

/// Shades of the colour scale: points of one shade are drawn together.
const SHADES: usize = 64;

/// At most three panels with one colour scale, each with its own window, for `Y_r` spreads as r grows; and the row with the scale.
pub(super) fn panels(title: &str, all: &[Difficulty]) -> Result<(Vec<Panel>, Option<Panel>), FigureError> {
    let mut values: Vec<f64> =
        all.iter().flat_map(|one| one.localization.iter().copied()).filter(|value| value.is_finite()).collect();
    if values.is_empty() {
        return Ok((Vec::new(), None));
    }
    values.sort_unstable_by(f64::total_cmp);
    // A few extreme points would leave one colour to the rest.
    let most = values[((values.len() - 1) as f64 * 0.995) as usize].max(f64::MIN_POSITIVE);
    let mut panels = Vec::new();
    for one in all.iter().take(3) {
        drop(planar(title, &one.points)?);
        if let Some(window) = Window::around(&one.points) {
            panels.push(panel(one, window, most, title)?);
        }
    }
    let bar = (!panels.is_empty()).then(|| colour_bar(most));
    Ok((panels, bar))
}

/// The colours from zero to `most`, as a row of its own.
fn colour_bar(most: f64) -> Panel {
    // An axis needs something to draw: two points on its edge.
    let plots: Vec<Plot> = vec![LinePlot::new().with_data([(0.0, 0.0), (most, 0.0)]).with_stroke_width(0.5).into()];
    let mut layout = layout(&plots, [0.0, most], [0.0, 1.0])
        .with_x_label("Lᵣ(y), the greatest posterior variance of rX in any direction (last colour: or more)")
        .with_show_grid(false)
        .with_force_margins(60.0, 8.0)
        .with_force_margins_y(2.0, 42.0);
    // Each shade reaches to the end and the next covers it: cells side by side would show seams.
    for shade in 0..SHADES {
        let share = shade as f64 / SHADES as f64;
        let region = ShadedRegion::vertical(share * most, most).with_color(colour(shade)).with_opacity(1.0);
        layout = layout.with_shaded_region(region);
    }
    layout.suppress_y_ticks = true;
    (plots, layout)
}

/// The colour of the middle of a shade.
fn colour(shade: usize) -> String {
    ColorMap::Viridis.map((shade as f64 + 0.5) / SHADES as f64)
}

fn panel(one: &Difficulty, window: Window, most: f64, title: &str) -> Result<Panel, FigureError> {
    let mut shades: Vec<Vec<(f64, f64)>> = vec![Vec::new(); SHADES];
    let mut drawn = 0usize;
    for ((x, y), &value) in planar(title, &one.points)?.zip(&one.localization) {
        if value.is_finite() && window.contains(x, y) {
            shades[((value / most * SHADES as f64) as usize).min(SHADES - 1)].push((x, y));
            drawn += 1;
        }
    }
    let crowd = (drawn as f64 / 1000.0).max(1.0);
    // From easy to hard: the hard points lie on top.
    let shades = shades.into_iter().enumerate().filter(|(_, points)| !points.is_empty());
    let plots: Vec<Plot> = shades
        .map(|(shade, points)| {
            ScatterPlot::new()
                .with_data(points)
                .with_color(colour(shade))
                .with_size((2.2 / crowd.powf(0.25)).max(1.0))
                .with_marker_opacity(0.9)
                .into()
        })
        .collect();
    let layout = third_page(&plots, window.x, window.y)
        .with_title(format!("Lᵣ(y) at r = {}", short(one.snr)))
        .with_x_label("y₀ (noise standard deviations)")
        .with_y_label("y₁ (noise standard deviations)")
        .with_show_grid(false)
        .with_equal_aspect();
    Ok((plots, layout))
}
