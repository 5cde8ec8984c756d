//! A map of the plane: a regular grid beside its image, and where points go.

use brenier_measure::Points;
use kuva::plot::{LinePlot, ScatterPlot};
use kuva::render::plots::Plot;

use super::{COLOURS, FigureError, Format, Panel, Window, draw, layout, planar};

/// A map of the plane, evaluated: what it does to the lines of a grid, and to points.
#[derive(Debug, Clone)]
pub struct TransportFigure<'a> {
    /// The title.
    pub title: &'a str,
    /// The lines of a grid before the map, `[m, 2]` each.
    pub lines: &'a [Points],
    /// The same lines after it.
    pub images: &'a [Points],
    /// Points before the map, `[n, 2]`.
    pub from: &'a Points,
    /// The same points after it.
    pub to: &'a Points,
}

/// The most arrows: more would hide one another.
const MOST_ARROWS: usize = 250;

/// The length of an arrow's head, in units of the window, and its half width.
const HEAD: [f64; 2] = [0.018, 0.007];

/// The lines of a regular grid in a window, `count` in each direction, with so many points a line.
pub fn grid_lines(window: Window, count: usize, points: usize) -> Vec<Points> {
    let place =
        |index: usize, of: usize, [low, high]: [f64; 2]| low + (high - low) * index as f64 / (of.max(2) - 1) as f64;
    let line = |k: usize, upright: bool| {
        Points::from_shape_fn((points, 2), |(i, j)| {
            let range = if j == 0 { window.x } else { window.y };
            if (j == 0) == upright { place(k, count, range) } else { place(i, points, range) }
        })
    };
    (0..count).flat_map(|k| [line(k, true), line(k, false)]).collect()
}

/// Three panels: the grid with points of the reference, its image with the images of the points, and arrows from points to images.
///
/// # Errors
///
/// Points that are not planar, nothing finite, a size out of range.
pub fn transport_map(figure: &TransportFigure, size: [usize; 2], format: Format) -> Result<Vec<u8>, FigureError> {
    drop(planar("points", figure.from)?);
    drop(planar("images", figure.to)?);
    let nothing = || FigureError::Empty { title: figure.title.to_owned() };
    let before = Window::around(figure.from).ok_or_else(nothing)?;
    let after = Window::around(figure.to).ok_or_else(nothing)?;
    let both = Window::around(
        &ndarray::concatenate(ndarray::Axis(0), &[figure.from.view(), figure.to.view()]).expect("planar"),
    )
    .ok_or_else(nothing)?;
    let panels = vec![
        with_lines(figure.lines, figure.from, &before, ("reference", ["y₀", "y₁"]), COLOURS[0]),
        with_lines(figure.images, figure.to, &after, ("data: the image", ["x₀", "x₁"]), COLOURS[1]),
        arrows(figure, &both),
    ];
    draw(figure.title, vec![panels], &[1.0], size, format)
}

/// Lines over points.
fn with_lines(
    lines: &[Points],
    points: &Points,
    window: &Window,
    (title, axes): (&str, [&str; 2]),
    colour: &str,
) -> Panel {
    let inside = |points: &Points| -> Vec<(f64, f64)> {
        points.rows().into_iter().map(|row| (row[0], row[1])).filter(|&(x, y)| window.contains(x, y)).collect()
    };
    let dots = ScatterPlot::new().with_data(inside(points)).with_color(colour).with_size(1.6).with_marker_opacity(0.45);
    let mut plots: Vec<Plot> = vec![dots.into()];
    for line in lines {
        // A line that leaves the window is drawn in the pieces that stay inside.
        let mut piece = Vec::new();
        for row in line.rows() {
            if window.contains(row[0], row[1]) {
                piece.push((row[0], row[1]));
            } else {
                push(&mut plots, &mut piece);
            }
        }
        push(&mut plots, &mut piece);
    }
    let layout = layout(&plots, window.x, window.y)
        .with_title(title)
        .with_x_label(axes[0])
        .with_y_label(axes[1])
        .with_equal_aspect();
    (plots, layout)
}

fn push(plots: &mut Vec<Plot>, piece: &mut Vec<(f64, f64)>) {
    if piece.len() > 1 {
        plots
            .push(LinePlot::new().with_data(std::mem::take(piece)).with_color("#444444").with_stroke_width(0.8).into());
    }
    piece.clear();
}

/// An arrow from every point to its image.
fn arrows(figure: &TransportFigure, window: &Window) -> Panel {
    let side = window.x[1] - window.x[0];
    let mut plots: Vec<Plot> = Vec::new();
    for (from, to) in figure.from.rows().into_iter().zip(figure.to.rows()).take(MOST_ARROWS) {
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = dx.hypot(dy);
        if !length.is_finite() || length == 0.0 {
            continue;
        }
        let (ux, uy) = (dx / length, dy / length);
        let head = (HEAD[0] * side).min(0.5 * length);
        let wing = |sign: f64| {
            let half = sign * HEAD[1] * side * head / (HEAD[0] * side);
            (to[0] - head * ux - half * uy, to[1] - head * uy + half * ux)
        };
        let path = vec![(from[0], from[1]), (to[0], to[1]), wing(1.0), (to[0], to[1]), wing(-1.0)];
        plots.push(LinePlot::new().with_data(path).with_color(COLOURS[0]).with_stroke_width(0.8).into());
    }
    let ends: Vec<(f64, f64)> = figure.to.rows().into_iter().map(|row| (row[0], row[1])).collect();
    plots
        .push(ScatterPlot::new().with_data(ends).with_color(COLOURS[1]).with_size(1.4).with_marker_opacity(0.6).into());
    let layout = layout(&plots, window.x, window.y)
        .with_title("displacement")
        .with_x_label("x₀")
        .with_y_label("x₁")
        .with_equal_aspect();
    (plots, layout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::{colours, decoded};

    #[test]
    fn a_grid_has_as_many_lines_each_way() {
        let lines = grid_lines(Window { x: [-2.0, 2.0], y: [-2.0, 2.0] }, 5, 9);
        assert_eq!(lines.len(), 10);
        // The first upright line stands at -2 and runs from -2 to 2.
        assert!(lines[0].column(0).iter().all(|&x| x == -2.0));
        assert_eq!((lines[0][[0, 1]], lines[0][[8, 1]]), (-2.0, 2.0));
    }

    #[test]
    fn all_three_panels_are_drawn() {
        let from = Points::from_shape_fn((60, 2), |(i, j)| ((i * (j + 3)) as f64).sin());
        let to = &from * 2.0 + 1.0;
        let lines = grid_lines(Window { x: [-1.0, 1.0], y: [-1.0, 1.0] }, 5, 20);
        let images: Vec<Points> = lines.iter().map(|line| line * 2.0 + 1.0).collect();
        let figure = TransportFigure { title: "t", lines: &lines, images: &images, from: &from, to: &to };
        let picture = decoded(&transport_map(&figure, [1500, 560], Format::Png).unwrap());
        for panel in 0..3 {
            let part = image::imageops::crop_imm(&picture, panel * 500, 60, 500, 440).to_image();
            let coloured =
                colours(&part).into_iter().filter(|[r, g, b]| r.abs_diff(*b) > 40 || g.abs_diff(*b) > 40).count();
            assert!(coloured > 5, "panel {panel} is empty");
        }
        let space = Points::zeros((3, 3));
        let wrong = TransportFigure { from: &space, ..figure };
        assert!(transport_map(&wrong, [1500, 560], Format::Png).is_err());
    }
}
