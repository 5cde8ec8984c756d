//! Points of the plane: panels side by side in one window, the target first.

use brenier_measure::Points;
use kuva::plot::ScatterPlot;

use super::{COLOURS, FigureError, Format, Window, draw, layout, planar};

/// Scatter plots of named point sets `[n, 2]`, one panel each, `size` = [width, height] pixels.
///
/// All panels share the window of the first, the target. Points that fall outside (or are not finite)
/// are counted in the title of their panel. [`scatter_size`] is a size at which panels are square; at any
/// other one unit is as long on both axes all the same.
///
/// # Errors
///
/// Points that are not planar, a target without a finite point, a size out of range.
pub fn scatter(
    title: &str,
    axes: [&str; 2],
    panels: &[(&str, &Points)],
    size: [usize; 2],
    format: Format,
) -> Result<Vec<u8>, FigureError> {
    let nothing = || FigureError::Empty { title: title.to_owned() };
    let (target_name, target) = panels.first().ok_or_else(nothing)?;
    drop(planar(target_name, target)?);
    let window = Window::around(target).ok_or_else(nothing)?;
    let mut drawn = Vec::with_capacity(panels.len());
    for (index, (name, points)) in panels.iter().enumerate() {
        let inside: Vec<(f64, f64)> = planar(name, points)?.filter(|&(x, y)| window.contains(x, y)).collect();
        let outside = points.nrows() - inside.len();
        let heading = match outside {
            0 => format!("{name} (n = {})", points.nrows()),
            _ => format!("{name} (n = {}, {outside} outside)", points.nrows()),
        };
        // The more points, the smaller and the more transparent: dense regions keep their shades.
        let crowd = (inside.len() as f64 / 1000.0).max(1.0);
        let plot = ScatterPlot::new()
            .with_data(inside)
            .with_color(COLOURS[index % COLOURS.len()])
            .with_size((2.4 / crowd.powf(0.25)).max(0.8))
            .with_marker_opacity((0.75 / crowd.sqrt()).max(0.05));
        let plots = vec![plot.into()];
        let layout = layout(&plots, window.x, window.y)
            .with_title(heading)
            .with_x_label(axes[0])
            .with_y_label(axes[1])
            .with_equal_aspect();
        drawn.push((plots, layout));
    }
    draw(title, vec![drawn], &[1.0], size, format)
}

/// A size for so many square panels side by side, in pixels.
pub fn scatter_size(panels: usize) -> [usize; 2] {
    [800 * panels.max(1), 880]
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::figures::tests::{colours, decoded};

    #[test]
    fn target_and_samples_stand_side_by_side_in_their_colours() {
        let target = array![[0.0, 0.0], [1.0, 1.0], [1.0, 0.0]];
        let samples = array![[0.5, 0.5], [f64::NAN, 0.0], [99.0, 0.0]];
        let png =
            scatter("t", ["x", "y"], &[("target", &target), ("samples", &samples)], [901, 500], Format::Png).unwrap();
        let picture = decoded(&png);
        assert_eq!(picture.dimensions(), (901, 500));
        let [left, right] = [0, 451].map(|x| image::imageops::crop_imm(&picture, x, 0, 450, 500).to_image());
        // By how much the bluest, and the reddest, colour leans to its side.
        let lean = |half| {
            let differences = colours(half).into_iter().map(|[red, _, blue]| i32::from(blue) - i32::from(red));
            differences.fold((0, 0), |(red, blue), difference| (red.max(-difference), blue.max(difference)))
        };
        let ((left_red, left_blue), (right_red, right_blue)) = (lean(&left), lean(&right));
        assert!(left_blue > 100 && left_red == 0, "left: {left_red} red, {left_blue} blue");
        assert!(right_red > 100 && right_blue == 0, "right: {right_red} red, {right_blue} blue");
    }

    #[test]
    fn what_cannot_be_drawn_is_named() {
        let space = array![[0.0, 0.0, 0.0]];
        let draw = |points: &Points, size| {
            scatter("t", ["x", "y"], &[("samples", points)], size, Format::Png).unwrap_err().to_string()
        };
        assert_eq!(
            draw(&space, [800, 800]),
            "`samples` has points of dimension 3; this figure draws the plane: pick two columns"
        );
        assert_eq!(
            draw(&array![[0.0, 0.0]], [10, 800]),
            "a figure of 10 x 800 pixels was asked for; each side takes 200 to 8192"
        );
        assert!(draw(&array![[f64::NAN, 0.0]], [800, 800]).contains("nothing finite"));
    }
}
