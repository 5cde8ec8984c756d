//! Charts as numbers: what the script of a page draws.

use brenier_measure::Points;
use ndarray::ArrayView2;
use serde::Serialize;

use crate::table::number;

/// The most points of one curve on a page of one.
const MOST_POINTS: usize = 1000;

/// The most points of all curves of a page together.
const MOST_POINTS_OF_ALL: usize = 60_000;

/// Cells of a density along each axis.
const CELLS: usize = 48;

/// A chart of a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Chart {
    /// Curves over an axis.
    Lines(Lines),
    /// Points of the plane, with equal units on both axes.
    Scatter(Scatter),
    /// Points counted in cells of the plane.
    Density(Density),
}

/// Curves over an axis.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lines {
    /// What the curves are.
    pub title: String,
    /// The horizontal axis.
    pub x: String,
    /// The vertical axis.
    pub y: String,
    /// Whether the horizontal axis is logarithmic.
    pub log_x: bool,
    /// Whether the vertical axis is logarithmic at first.
    pub log_y: bool,
    /// The curves.
    pub curves: Vec<Curve>,
    /// Places to mark on the horizontal axis.
    pub ticks: Vec<f64>,
    /// What the marks are.
    pub ticks_name: &'static str,
}

/// One curve.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Curve {
    /// Its name.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
    /// Whether every point is marked.
    pub marked: bool,
    /// Whether it may leave the chart, whose range is that of the others.
    pub is_cut_off: bool,
}

/// Points of the plane.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scatter {
    /// What they are.
    pub title: String,
    /// The names of the axes.
    pub axes: [String; 2],
    /// The clouds, the last one on top.
    pub clouds: Vec<Cloud>,
}

/// One cloud of points.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cloud {
    /// Its name.
    pub name: String,
    /// Its points.
    pub points: Vec<[f64; 2]>,
}

/// Points counted in cells.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Density {
    /// Whose they are.
    pub title: String,
    /// The names of the axes.
    pub axes: [String; 2],
    /// The ranges of both axes.
    pub range: [[f64; 2]; 2],
    /// Cells along an axis.
    pub cells: usize,
    /// Points a cell, the first coordinate running fastest.
    pub counts: Vec<u32>,
}

impl Chart {
    /// In words what the chart shows.
    pub fn summary(&self) -> String {
        match self {
            Self::Lines(lines) => {
                let curves: Vec<String> = lines.curves.iter().map(|curve| curve.summary(&lines.x)).collect();
                format!("{}: {} against {}. {}.", lines.title, lines.y, lines.x, curves.join("; "))
            }
            Self::Scatter(scatter) => {
                let clouds: Vec<String> =
                    scatter.clouds.iter().map(|cloud| format!("{} {}", cloud.points.len(), cloud.name)).collect();
                let [x, y] = &scatter.axes;
                format!("{}: {} in the plane of {x} and {y}.", scatter.title, clouds.join(" and "))
            }
            Self::Density(density) => {
                let [[x_low, x_high], [y_low, y_high]] = density.range.map(|range| range.map(number));
                let [x, y] = &density.axes;
                format!(
                    "{}: {} points by cell, {x} from {x_low} to {x_high}, {y} from {y_low} to {y_high}.",
                    density.title,
                    density.counts.iter().sum::<u32>()
                )
            }
        }
    }
}

impl Curve {
    /// A curve without its values that are no numbers; they leave no gap.
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let points = points.into_iter().filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
        Self { name: name.into(), points, marked: false, is_cut_off: false }
    }

    /// The same with every point marked.
    pub fn marked(self) -> Self {
        Self { marked: true, ..self }
    }

    /// The same that may leave the chart.
    pub fn cut_off(self) -> Self {
        Self { is_cut_off: true, ..self }
    }

    /// The same with no more points than a page of so many curves has room for: of every stretch its least and its greatest.
    pub fn thinned(self, curves: usize) -> Self {
        let most = (MOST_POINTS_OF_ALL / curves.max(1)).clamp(100, MOST_POINTS);
        if self.points.len() <= most {
            return self;
        }
        let stretch = self.points.len().div_ceil(most / 2);
        let last = self.points.last().copied();
        let mut points = Vec::with_capacity(most + 1);
        for part in self.points.chunks(stretch) {
            let by_y = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            let least = part.iter().min_by(by_y).expect("a chunk is not empty");
            let greatest = part.iter().max_by(by_y).expect("a chunk is not empty");
            let mut both = [*least, *greatest];
            both.sort_by(|a, b| a.0.total_cmp(&b.0));
            points.extend(both);
        }
        points.extend(last);
        points.dedup();
        Self { points, ..self }
    }

    fn summary(&self, x: &str) -> String {
        let [Some(first), Some(last)] = [self.points.first(), self.points.last()] else {
            return format!("{} has no values", self.name);
        };
        let least = self.points.iter().min_by(|a, b| a.1.total_cmp(&b.1)).expect("a first point");
        let [a, b, c, d, e, f] = [first.1, first.0, last.1, last.0, least.1, least.0].map(number);
        format!("{} goes from {a} at {x} {b} to {c} at {d}, its least value is {e} at {f}", self.name)
    }
}

impl Lines {
    /// Curves of positive values that go over more than a factor of thirty are logarithmic at first.
    pub fn with_a_fit_axis(mut self) -> Self {
        let values = self.curves.iter().flat_map(|curve| curve.points.iter().map(|point| point.1));
        let [low, high] = extent(values);
        self.log_y = low > 0.0 && high > 30.0 * low;
        self
    }
}

impl Density {
    /// How many of some points lie in each cell of a rectangle.
    pub fn new(title: impl Into<String>, axes: [String; 2], points: &Points, range: [[f64; 2]; 2]) -> Self {
        let mut counts = vec![0; CELLS * CELLS];
        let cell = |value: f64, [low, high]: [f64; 2]| {
            let place = (value - low) / (high - low) * CELLS as f64;
            (value >= low && value <= high).then(|| (place as usize).min(CELLS - 1))
        };
        for row in points.rows() {
            if let (Some(x), Some(y)) = (cell(row[0], range[0]), cell(row[1], range[1])) {
                counts[y * CELLS + x] += 1;
            }
        }
        Self { title: title.into(), axes, range, cells: CELLS, counts }
    }
}

/// A square about points of the plane, with a margin.
pub fn frame<'a>(clouds: impl IntoIterator<Item = &'a Points>) -> [[f64; 2]; 2] {
    let clouds: Vec<&Points> = clouds.into_iter().collect();
    let ranges = [0, 1].map(|axis| extent(clouds.iter().flat_map(|points| points.column(axis)).copied()));
    let span = ranges.iter().fold(0.0_f64, |span, [low, high]| span.max(high - low));
    let half = if span > 0.0 { 0.55 * span } else { 0.5 };
    ranges.map(|[low, high]| low + (high - low) / 2.0).map(|centre| [centre - half, centre + half])
}

/// Two coordinates of points.
pub fn plane(points: ArrayView2<f64>, [x, y]: [usize; 2]) -> Vec<[f64; 2]> {
    points
        .rows()
        .into_iter()
        .map(|row| [row[x], row[y]].map(short))
        .filter(|p| p.iter().all(|x| x.is_finite()))
        .collect()
}

/// A number in six digits: a cloud of points needs no more, and a page stays small.
fn short(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

/// The least and the greatest of some finite values; 0 and 1 of none.
fn extent(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let [low, high] = values
        .filter(|value| value.is_finite())
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)]);
    if low <= high { [low, high] } else { [0.0, 1.0] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_curve_keeps_its_ends_and_its_extremes() {
        let spike = |step: u32| if step == 7777 { 100.0 } else { f64::from(step % 13) };
        let curve = Curve::new("c", (0..20_000).map(|step| (f64::from(step), spike(step)))).thinned(1);
        assert!(curve.points.len() <= MOST_POINTS + 1, "{}", curve.points.len());
        assert_eq!(curve.points.last().unwrap().0, 19_999.0);
        assert!(curve.points.contains(&(7777.0, 100.0)));
        assert!(curve.points.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn what_is_no_number_is_left_out() {
        let curve = Curve::new("c", [(0.0, f64::NAN), (1.0, 2.0), (2.0, f64::INFINITY)]);
        assert_eq!(curve.points, [(1.0, 2.0)]);
        assert_eq!(Curve::new("c", []).summary("step"), "c has no values");
    }

    #[test]
    fn every_point_of_a_frame_is_counted() {
        let points = Points::from_shape_fn((50, 2), |(i, j)| (i * (j + 1)) as f64);
        let density = Density::new("d", ["x".into(), "y".into()], &points, frame([&points]));
        assert_eq!(density.counts.iter().sum::<u32>(), 50);
        let one = Points::zeros((3, 2));
        assert_eq!(Density::new("d", ["x".into(), "y".into()], &one, frame([&one])).counts.iter().max(), Some(&3));
    }
}
