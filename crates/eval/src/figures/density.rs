//! Densities on the plane as heat maps: histograms of points, or a function on a grid.

use brenier_measure::Points;
use kuva::plot::{ColorMap, Heatmap};

use super::{FigureError, Format, Window, draw, layout, planar};

/// Values on the cells of a regular grid over a window.
#[derive(Debug, Clone)]
pub struct Field {
    window: Window,
    /// Rows from low y to high y, columns from low x to high x.
    rows: Vec<Vec<f64>>,
}

impl Field {
    /// The histogram of points `[n, 2]` on `cells` x `cells`, as a density: the share of points in a cell over its area.
    ///
    /// # Errors
    ///
    /// Points that are not planar, or none at all.
    pub fn histogram(name: &str, points: &Points, window: Window, cells: usize) -> Result<Self, FigureError> {
        let cells = cells.max(1);
        let mut rows = vec![vec![0.0; cells]; cells];
        let area = (window.x[1] - window.x[0]) * (window.y[1] - window.y[0]) / (cells * cells) as f64;
        let weight = 1.0 / (points.nrows() as f64 * area);
        let cell =
            |value: f64, [low, high]: [f64; 2]| (((value - low) / (high - low) * cells as f64) as usize).min(cells - 1);
        for (x, y) in planar(name, points)?.filter(|&(x, y)| window.contains(x, y)) {
            rows[cell(y, window.y)][cell(x, window.x)] += weight;
        }
        if points.nrows() == 0 {
            return Err(FigureError::Empty { title: name.to_owned() });
        }
        Ok(Self { window, rows })
    }

    /// A function at the centres of `cells` x `cells`, asked for all of them at once: points `[cells², 2]` `-> [cells²]`.
    pub fn evaluate(window: Window, cells: usize, function: impl FnOnce(&Points) -> Vec<f64>) -> Self {
        let cells = cells.max(1);
        let centre = |index: usize, [low, high]: [f64; 2]| low + (high - low) * (index as f64 + 0.5) / cells as f64;
        let points = Points::from_shape_fn((cells * cells, 2), |(index, axis)| match axis {
            0 => centre(index % cells, window.x),
            _ => centre(index / cells, window.y),
        });
        let rows = function(&points).chunks(cells).map(<[f64]>::to_vec).collect();
        Self { window, rows }
    }

    /// The same field with values below `floor` (NaN included) raised to it: log-densities fall without bound.
    pub fn at_least(mut self, floor: f64) -> Self {
        self.rows.iter_mut().flatten().for_each(|value| *value = value.max(floor));
        self
    }

    /// The largest finite value; `None` where there is none.
    pub fn largest(&self) -> Option<f64> {
        self.rows.iter().flatten().copied().filter(|value| value.is_finite()).reduce(f64::max)
    }

    fn least(&self) -> Option<f64> {
        self.rows.iter().flatten().copied().filter(|value| value.is_finite()).reduce(f64::min)
    }
}

/// Heat maps of named fields, one panel each, `size` = [width, height] pixels.
///
/// One colour means one value in all panels. Values that are not finite are drawn as the least.
/// [`density_size`] is a size at which square windows fill their panels.
///
/// # Errors
///
/// A field without a finite value, no field, a size out of range.
pub fn densities(
    title: &str,
    axes: [&str; 2],
    panels: &[(&str, &Field)],
    size: [usize; 2],
    format: Format,
) -> Result<Vec<u8>, FigureError> {
    let nothing = || FigureError::Empty { title: title.to_owned() };
    let mut ranges = Vec::with_capacity(panels.len());
    for (_, field) in panels {
        ranges.push([field.least().ok_or_else(nothing)?, field.largest().ok_or_else(nothing)?]);
    }
    let shared = ranges
        .iter()
        .copied()
        .reduce(|[low, high], range| [low.min(range[0]), high.max(range[1])])
        .ok_or_else(nothing)?;
    let span = (shared[1] - shared[0]).max(f64::MIN_POSITIVE);
    let drawn = panels
        .iter()
        .zip(ranges)
        .map(|((name, field), [low, high])| {
            // The plot scales a panel by its own range; this maps that back onto the shared one.
            let colour = move |share: f64| ColorMap::Viridis.map((low + share * (high - low) - shared[0]) / span);
            let window = field.window;
            let finite = field.rows.iter().map(|row| row.iter().map(|&v| if v.is_finite() { v } else { low }));
            let plot = Heatmap::new()
                .with_data(finite)
                .with_x_range(window.x[0], window.x[1])
                .with_y_range(window.y[0], window.y[1])
                .with_cell_size(1.0)
                .with_color_map(ColorMap::Custom(std::sync::Arc::new(colour)));
            let plots = vec![plot.into()];
            let layout = layout(&plots, window.x, window.y)
                .with_title(*name)
                .with_x_label(axes[0])
                .with_y_label(axes[1])
                .with_show_grid(false)
                .with_equal_aspect();
            (plots, layout)
        })
        .collect();
    draw(title, vec![drawn], &[1.0], size, format)
}

/// A size for so many panels with a square window each, in pixels.
pub fn density_size(panels: usize) -> [usize; 2] {
    [800 * panels.max(1), 730]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::{colours, decoded};

    const WINDOW: Window = Window { x: [0.0, 2.0], y: [0.0, 2.0] };

    #[test]
    fn a_histogram_is_a_density() {
        let points = ndarray::array![[0.5, 0.5], [1.5, 0.5], [2.0, 2.0], [5.0, 0.0]];
        let field = Field::histogram("samples", &points, WINDOW, 2).unwrap();
        // Cells of area one; the point outside counts in the total, the one on the edge in the last cell.
        assert_eq!(field.rows, [[0.25, 0.25], [0.0, 0.25]]);
    }

    #[test]
    fn a_function_is_asked_at_the_centres() {
        let field = Field::evaluate(WINDOW, 2, |at| at.rows().into_iter().map(|x| x[0] + 10.0 * x[1]).collect());
        assert_eq!(field.rows, [[5.5, 6.5], [15.5, 16.5]]);
        assert_eq!(field.at_least(6.0).rows[0], [6.0, 6.5]);
    }

    #[test]
    fn one_colour_means_one_value_in_all_panels() {
        let field = |top: f64| Field::evaluate(WINDOW, 8, |at| at.rows().into_iter().map(|x| x[0] * top).collect());
        let (low, high) = (field(0.5), field(1.0).at_least(f64::NEG_INFINITY));
        let picture =
            decoded(&densities("t", ["x", "y"], &[("low", &low), ("high", &high)], [1200, 600], Format::Png).unwrap());
        assert_eq!(picture.dimensions(), (1200, 600));
        let [left, right] = [0, 600].map(|x| image::imageops::crop_imm(&picture, x, 0, 600, 600).to_image());
        // The bright end of viridis is the largest value, and only the right panel holds it.
        let yellow = |colours: Vec<[u8; 3]>| colours.iter().any(|c| c[0] > 180 && c[1] > 180 && c[2] < 100);
        assert!(yellow(colours(&right)) && !yellow(colours(&left)));
        assert!(densities("t", ["x", "y"], &[("nan", &field(f64::NAN))], [1200, 600], Format::Png).is_err());
    }
}
