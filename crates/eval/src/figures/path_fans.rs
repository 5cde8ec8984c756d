//! Paths of a chain against time, with what they start from and end in: the sample-path figures of Liang, Dharmakeerthi and Koriyama, arXiv 2411.01629.

use std::sync::Arc;

use kuva::TickFormat;
use kuva::plot::{BandPlot, LinePlot};
use kuva::render::annotations::ReferenceLine;
use kuva::render::plots::Plot;

use super::localization::WIDTH;
use super::{COLOURS, FigureError, Format, Panel, draw, layout, tick, viridis};

/// Paths of several chains in one figure: the forward chains, then the backward ones.
#[derive(Debug, Clone, Default)]
pub struct PathFans {
    /// The title of the figure.
    pub title: String,
    /// What the paths' values are, with their unit; "position x" where empty.
    pub coordinate: String,
    /// One panel each.
    pub fans: Vec<Fan>,
}

/// The paths of one chain.
#[derive(Debug, Clone, Default)]
pub struct Fan {
    /// The title of the panel, up to some 45 letters; an arrow in the direction of the chain is added.
    pub title: String,
    /// The times of the states in the order in which the chain visits them: rising forward, falling backward.
    pub times: Vec<f64>,
    /// The states of each particle at these times; the first [`MOST_PATHS`] are drawn.
    pub paths: Vec<Vec<f64>>,
    /// The law at the least time, drawn on the left.
    pub left: Marginal,
    /// The law at the greatest time, drawn on the right.
    pub right: Marginal,
}

/// One law at the side of a fan: particles as a histogram, a known density as its outline; either may be empty.
#[derive(Debug, Clone, Default)]
pub struct Marginal {
    /// Particles; where there are none, those of the paths serve.
    pub samples: Vec<f64>,
    /// Points (x, density) of the exact law, in rising x.
    pub density: Vec<(f64, f64)>,
}

/// Paths drawn in one panel: more of them make one grey area.
pub const MOST_PATHS: usize = 40;

/// Fans of paths, two panels in a row or, where their number is odd, one, with the laws at both ends beside them.
///
/// Time runs to the right in every panel, so that the backward chain can be held against the forward one above it;
/// an arrow in the title says where the chain goes. A path is coloured by the rank of its first state:
/// a monotone map keeps the colours in order, noise mixes them.
///
/// # Errors
///
/// No fan with a finite path of two states or more.
pub fn path_fans(figure: &PathFans, format: Format) -> Result<Vec<u8>, FigureError> {
    let nothing = || FigureError::Empty { title: figure.title.clone() };
    let finite = |value: &f64| value.is_finite();
    let mut values: Vec<f64> = figure
        .fans
        .iter()
        .flat_map(|fan| fan.paths.iter().take(MOST_PATHS).flatten().copied().filter(finite))
        .collect();
    let time = figure.fans.iter().flat_map(|fan| fan.times.iter().copied().filter(finite));
    let [first, last] = time.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], t| [low.min(t), high.max(t)]);
    if values.is_empty() || first >= last {
        return Err(nothing());
    }
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    // A stray path may leave the panel; the axes belong to the others.
    let (low, high) = (at(0.01), at(0.99));
    let (low, high) = (at(0.0).max(low - 0.5 * (high - low)), at(1.0).min(high + 0.5 * (high - low)));
    let pad = 0.06 * (high - low).max(1e-3);
    let frame = Frame { time: [first, last], value: [low - pad, high + pad] };
    let coordinate = if figure.coordinate.is_empty() { "position x" } else { &figure.coordinate };
    let panels: Vec<Panel> = figure.fans.iter().filter_map(|fan| panel(fan, &frame, coordinate, format)).collect();
    if panels.is_empty() {
        return Err(nothing());
    }
    // All panels are equally large: an odd number of them stand one above the other.
    let (across, row_height) = if panels.len().is_multiple_of(2) { (2, 270) } else { (1, 210) };
    let mut rows: Vec<Vec<Panel>> = Vec::new();
    for panel in panels {
        match rows.last_mut().filter(|row| row.len() < across) {
            Some(row) => row.push(panel),
            None => rows.push(vec![panel]),
        }
    }
    let heights = vec![f64::from(row_height); rows.len()];
    let height = 44 + (row_height as usize + 15) * rows.len();
    draw(&figure.title, rows, &heights, [WIDTH, 2 * height], format)
}

/// The axes that all panels share.
struct Frame {
    time: [f64; 2],
    value: [f64; 2],
}

fn panel(fan: &Fan, frame: &Frame, coordinate: &str, format: Format) -> Option<Panel> {
    let finite = |path: &&Vec<f64>| path.len() >= 2 && path.iter().all(|value| value.is_finite());
    let paths: Vec<&Vec<f64>> = fan.paths.iter().filter(finite).take(MOST_PATHS).collect();
    let (start, end) = (*fan.times.first()?, *fan.times.last()?);
    if paths.is_empty() {
        return None;
    }
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by(|&a, &b| paths[a][0].total_cmp(&paths[b][0]));
    // Pixels have no translucent lines; there a line is one device pixel wide, half a logical one.
    let opacity = if format == Format::Svg { "99" } else { "" };
    let mut plots: Vec<Plot> = Vec::new();
    for (rank, &index) in order.iter().enumerate() {
        let points: Vec<(f64, f64)> = fan.times.iter().copied().zip(paths[index].iter().copied()).collect();
        let colour = viridis(rank, order.len()) + opacity;
        plots.push(LinePlot::new().with_data(points).with_color(colour).with_stroke_width(0.7).into());
    }
    let backward = end < start;
    let ends = |at_end: bool| -> Vec<f64> {
        let whole = fan.paths.iter().filter(finite);
        whole.map(|path| if at_end { path[path.len() - 1] } else { path[0] }).collect()
    };
    let span = frame.time[1] - frame.time[0];
    let room = 0.17 * span;
    for (law, edge, reach, at_end) in
        [(&fan.left, frame.time[0], -room, backward), (&fan.right, frame.time[1], room, !backward)]
    {
        let samples = if law.samples.is_empty() { ends(at_end) } else { law.samples.clone() };
        plots.extend(side(&samples, &law.density, edge, reach, frame.value));
    }
    let title = if backward { format!("← {}", fan.title) } else { format!("{} →", fan.title) };
    let [first, last] = frame.time;
    let time = move |t: f64| {
        let slack = 1e-9 * span;
        if t < first - slack || t > last + slack { String::new() } else { tick(t) }
    };
    let mut layout = layout(&plots, [first - 1.1 * room, last + 1.1 * room], frame.value)
        .with_title(title)
        .with_x_label("time t")
        .with_y_label(coordinate)
        .with_x_tick_format(TickFormat::Custom(Arc::new(time)))
        .with_force_margins(54.0, 8.0)
        .with_force_margins_y(38.0, 46.0)
        .with_show_grid(false);
    for edge in frame.time {
        layout = layout.with_reference_line(
            ReferenceLine::vertical(edge).with_color("#444444").with_stroke_width(0.8).with_dasharray("none"),
        );
    }
    Some((plots, layout))
}

/// A law drawn sideways from `edge` over `reach` time units: bars for the particles, a line for the density.
fn side(samples: &[f64], density: &[(f64, f64)], edge: f64, reach: f64, range: [f64; 2]) -> Vec<Plot> {
    const BINS: usize = 44;
    let width = (range[1] - range[0]) / BINS as f64;
    let mut counts = [0.0f64; BINS];
    let inside = samples.iter().filter(|value| value.is_finite() && (range[0]..range[1]).contains(value));
    for value in inside {
        counts[(((value - range[0]) / width) as usize).min(BINS - 1)] += 1.0 / (samples.len() as f64 * width);
    }
    let line: Vec<(f64, f64)> = density.iter().copied().filter(|(x, p)| x.is_finite() && p.is_finite()).collect();
    let tallest_bar = counts.iter().copied().fold(0.0, f64::max);
    // Where next to nothing is left the outline would paint over the axis.
    let peak = line.iter().map(|(_, p)| *p).fold(0.0, f64::max);
    let line: Vec<(f64, f64)> = line.into_iter().filter(|(_, p)| *p >= 0.004 * peak).collect();
    // An atom is a bar without bound, and would flatten the rest: the density sets the scale where it is known, otherwise
    // the typical bar, of which the tallest of a bell is less than four times the height.
    let bars = counts.iter().filter(|count| **count > 0.0).count().max(1) as f64;
    let typical = counts.iter().sum::<f64>() / bars;
    let tallest = if peak > 0.0 { tallest_bar.min(1.6 * peak).max(peak) } else { tallest_bar.min(4.0 * typical) };
    if tallest <= 0.0 {
        return Vec::new();
    }
    let along = |density: f64| edge + reach * (density / tallest).min(1.0);
    let mut plots: Vec<Plot> = Vec::new();
    for (bin, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0.0) {
        let low = range[0] + bin as f64 * width;
        let (near, far) = (edge.min(along(count)), edge.max(along(count)));
        let bar = BandPlot::new([near, far], [low; 2], [low + width; 2]);
        plots.push(bar.with_color("#8c8c8c").with_opacity(0.55).into());
    }
    if line.len() > 1 {
        let outline = line.into_iter().map(|(x, p)| (along(p), x));
        plots.push(LinePlot::new().with_data(outline).with_color(COLOURS[1]).with_stroke_width(1.5).into());
    }
    plots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::{colours, decoded};

    fn fans() -> PathFans {
        let times = vec![0.0, 0.5, 1.0];
        let forward = Fan {
            title: "forward".to_owned(),
            times: times.clone(),
            paths: (0..30).map(|k| vec![f64::from(k) / 10.0, 1.0, 0.5]).collect(),
            left: Marginal { samples: Vec::new(), density: vec![(0.0, 0.1), (1.5, 0.5), (3.0, 0.1)] },
            right: Marginal::default(),
        };
        let backward = Fan {
            title: "backward".to_owned(),
            times: times.into_iter().rev().collect(),
            // A path that broke is left out.
            paths: vec![vec![0.5, 1.0, 2.0], vec![f64::NAN, 0.0, 0.0]],
            ..Fan::default()
        };
        PathFans { title: "paths".to_owned(), coordinate: String::new(), fans: vec![forward, backward] }
    }

    #[test]
    fn arrows_say_where_a_chain_goes() {
        let svg = String::from_utf8(path_fans(&fans(), Format::Svg).unwrap()).unwrap();
        for text in ["forward →", "← backward", "time t", "position x"] {
            assert!(svg.contains(text), "`{text}` is missing");
        }
        let picture = decoded(&path_fans(&fans(), Format::Png).unwrap());
        assert_eq!(picture.width(), WIDTH as u32);
        assert!(colours(&picture).contains(&[0xd5, 0x5e, 0x00]), "the known density is drawn");
    }

    #[test]
    fn no_path_is_an_error() {
        let broken = Fan { times: vec![0.0, 1.0], paths: vec![vec![0.0, f64::NAN]], ..Fan::default() };
        let figure = PathFans { title: "paths".to_owned(), fans: vec![broken], ..PathFans::default() };
        let message = path_fans(&figure, Format::Png).unwrap_err().to_string();
        assert_eq!(message, "the figure `paths` has nothing finite to draw; pass at least one finite point");
    }
}
