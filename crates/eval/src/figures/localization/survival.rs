//! Survival functions of the localization, one curve a SNR.

use kuva::plot::LinePlot;
use kuva::render::annotations::ReferenceLine;

use super::super::dashes::Frame;
use super::super::{GREY, Panel, entry, viridis};
use super::{HALF_PAGE, SurvivalCurve, half_page, in_legend, short, with_note};

/// A fall of the survival function by more than this between neighbouring levels is an atom, and drawn upright.
const ATOM: f64 = 0.05;

/// `s_r(u)` against u; nothing where there is no curve with a finite point.
pub(super) fn panel(title: &str, curves: &[&SurvivalCurve]) -> Option<Panel> {
    let finite: Vec<(f64, Vec<(f64, f64)>)> = curves
        .iter()
        .map(|curve| {
            let points = curve.points.iter().copied().filter(|(u, s)| u.is_finite() && s.is_finite());
            (curve.snr, points.collect::<Vec<_>>())
        })
        .filter(|(_, points)| !points.is_empty())
        .collect();
    if finite.is_empty() {
        return None;
    }
    // The axis ends where next to nothing is left, and always shows the level one, where log-concavity ends.
    let alive = finite.iter().flat_map(|(_, points)| points).filter(|(_, s)| *s > 2e-3).map(|(u, _)| *u);
    let end = 1.05 * alive.fold(1.0, f64::max);
    let count = finite.len();
    let named = in_legend(count);
    let mut plots = Vec::new();
    let mut entries = Vec::new();
    for (index, (snr, points)) in finite.iter().enumerate() {
        let colour = viridis(index, count);
        if named(index) {
            entries.push(entry(format!("r = {}", short(*snr)), colour.as_str(), false));
        }
        plots.push(LinePlot::new().with_data(upright(points, end)).with_color(colour).with_stroke_width(1.8).into());
    }
    let vanishes = finite.iter().flat_map(|(_, points)| points).all(|(u, s)| *u < 0.0 || *s == 0.0);
    let frame = Frame { x: [0.0, end], y: [0.0, 1.04], log_x: false, log_y: false, pixels: HALF_PAGE };
    let mut layout = half_page(&plots, &frame)
        .with_title(title)
        .with_x_label("level u (log-concave where Lᵣ ≤ 1)")
        .with_y_label("sᵣ(u) = P(Lᵣ > u)")
        .with_legend_entries(entries)
        .with_reference_line(ReferenceLine::vertical(1.0).with_color(GREY).with_dasharray("3 3"));
    if vanishes {
        layout = with_note(layout, "Lᵣ = 0 at every r shown", [end / 2.0, 0.5]);
    }
    Some((plots, layout))
}

/// The points up to `end` or to where nothing is left, with a corner before each atom: the function stays at its value up to the level where it falls.
fn upright(points: &[(f64, f64)], end: f64) -> Vec<(f64, f64)> {
    let fall = |k: usize| if k == 0 || k >= points.len() { 0.0 } else { points[k - 1].1 - points[k].1 };
    let mut drawn: Vec<(f64, f64)> = Vec::with_capacity(points.len());
    for (k, &(u, s)) in points.iter().enumerate().take_while(|(_, (u, _))| *u <= end) {
        // A steep but continuous fall has neighbours that fall as well, and is well drawn by lines.
        if fall(k) > ATOM.max(4.0 * fall(k.saturating_sub(1))).max(4.0 * fall(k + 1))
            && u - points[k - 1].0 < end / 30.0
        {
            drawn.push((u, points[k - 1].1));
        }
        drawn.push((u, s));
        // A line along the axis would hide other curves.
        if u >= 0.0 && s <= 0.0 {
            break;
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_atom_is_a_vertical_step_and_a_slope_is_none() {
        let step: Vec<(f64, f64)> = (0..=100).map(|k| (f64::from(k) / 100.0, f64::from(u8::from(k < 50)))).collect();
        let drawn = upright(&step, 1.0);
        assert_eq!(drawn[49..], [(0.49, 1.0), (0.5, 1.0), (0.5, 0.0)], "a corner, and an end");
        let steep: Vec<(f64, f64)> =
            [1.0, 0.9, 0.5, 0.1, 0.0].iter().zip(0..).map(|(&s, k)| (f64::from(k) / 100.0, s)).collect();
        assert_eq!(upright(&steep, 1.0), steep);
        let slope: Vec<(f64, f64)> = (0..=100).map(|k| (f64::from(k) / 100.0, 1.0 - f64::from(k) / 100.0)).collect();
        assert_eq!(upright(&slope, 1.0), slope);
    }
}
