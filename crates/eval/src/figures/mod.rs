//! Pictures as PNG or SVG: points, densities, image grids, curves, localization and paths.
//!
//! Every function here is pure: values in, the bytes of a file out, of exactly the size asked for.
//! [`write_atomically`] puts them on disk. Colours are those of Okabe and Ito, which stay distinct
//! under the common colour-vision deficiencies; heat maps and families of curves use viridis.
//!
//! # Design
//!
//! The plotting crate (kuva) is named in this module and below it, and nowhere else. It lays out in
//! logical pixels; two device pixels to each keep text and thin lines of a PNG sharp. An SVG has the
//! logical size and scales with the page.

use std::io::Write;
use std::path::Path;

use brenier_measure::Points;
use kuva::backend::png::PngBackend;
use kuva::backend::svg::SvgBackend;
use kuva::plot::ColorMap;
use kuva::plot::legend::{LegendEntry, LegendShape};
use kuva::render::figure::Figure;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use thiserror::Error;

mod curve;
mod dashes;
mod density;
mod image_grid;
mod localization;
mod path_fans;
mod scatter;
mod transport_map;

pub use curve::{Axes, Curve, curves};
pub use density::{Field, densities, density_size};
pub use image_grid::ImageGrid;
pub use localization::{
    ComplexityCurve, DensityRegions, Difficulty, LocalizationFigure, SurvivalCurve, ZetaCurve, localization_card,
};
pub use path_fans::{Fan, MOST_PATHS, Marginal, PathFans, path_fans};
pub use scatter::{scatter, scatter_size};
pub use transport_map::{TransportFigure, grid_lines, transport_map};

/// Blue, vermilion, bluish green, orange, reddish purple, sky blue, black: Okabe and Ito (2008), yellow left out on white paper.
const COLOURS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000"];

/// The grey of what is marked, not measured.
const GREY: &str = "#777777";

/// Device pixels for one logical pixel of the layout.
const PIXEL_RATIO: f64 = 2.0;

/// The kind of file that a figure becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Pixels, two to a logical pixel.
    #[default]
    Png,
    /// Lines and text, in the size of the logical pixels; the viewer brings the fonts.
    Svg,
}

impl Format {
    /// The extension of file names, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Svg => "svg",
        }
    }

    /// The format that a file name asks for by its extension, in either case.
    ///
    /// # Errors
    ///
    /// [`FigureError::UnknownFormat`] with the path, for any other extension or none.
    pub fn of(path: &Path) -> Result<Self, FigureError> {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("");
        [Self::Png, Self::Svg]
            .into_iter()
            .find(|format| format.extension().eq_ignore_ascii_case(extension))
            .ok_or_else(|| FigureError::UnknownFormat { path: path.display().to_string() })
    }
}

/// Why a picture was not made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FigureError {
    /// Nothing to draw.
    #[error("the figure `{title}` has nothing finite to draw; pass at least one finite point")]
    Empty {
        /// The title of the figure.
        title: String,
    },
    /// Points that do not lie in the plane.
    #[error("`{name}` has points of dimension {dim}; this figure draws the plane: pick two columns")]
    NotPlanar {
        /// The panel.
        name: String,
        /// The dimension of its points.
        dim: usize,
    },
    /// Points that are no images of the shape given.
    #[error(
        "points of dimension {dim} are no images of {rows} x {columns}; set `image_shape` so that its product is {dim}"
    )]
    NotImages {
        /// The dimension of the points.
        dim: usize,
        /// Rows of an image.
        rows: usize,
        /// Columns of an image.
        columns: usize,
    },
    /// A picture too small to hold its axes, or too large to hold in memory.
    #[error("a figure of {width} x {height} pixels was asked for; each side takes {least} to {most}")]
    Size {
        /// The width asked for, in pixels.
        width: usize,
        /// The height asked for, in pixels.
        height: usize,
        /// The least side.
        least: usize,
        /// The greatest side.
        most: usize,
    },
    /// A file name that does not say what the picture shall be.
    #[error("cannot tell the format of the figure {path}; end its name in .png or .svg")]
    UnknownFormat {
        /// The file.
        path: String,
    },
    /// The plotting or the PNG crate refused.
    #[error("the figure could not be drawn: {0}")]
    Draw(String),
    /// The file system refused.
    #[error("cannot write the figure {path}: {source}; check that the directory exists, is writable and has room")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Writes bytes to `path` so that a reader sees the old file or the whole new one: a temporary file beside it, synced, renamed.
///
/// # Errors
///
/// [`FigureError::Write`] with the path; an existing file is then untouched.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), FigureError> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    #[cfg_attr(not(unix), allow(unused_mut))]
    let mut builder = tempfile::Builder::new();
    // Temporary files are private by default; a figure gets what the umask leaves.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let write = || {
        let mut file = builder.tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|refused| refused.error)?;
        Ok(())
    };
    write().map_err(|source| FigureError::Write { path: path.display().to_string(), source })
}

/// A rectangle of the plane, `[low, high]` along each axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// The horizontal range.
    pub x: [f64; 2],
    /// The vertical range.
    pub y: [f64; 2],
}

impl Window {
    /// The smallest square around the finite points, widened by a twelfth on each side; `None` where there is none.
    pub fn around(points: &Points) -> Option<Self> {
        let range = |column: usize| {
            let finite = points.column(column).into_iter().copied().filter(|value| value.is_finite());
            finite.fold(None, |range: Option<[f64; 2]>, value| {
                Some(range.map_or([value; 2], |[low, high]| [low.min(value), high.max(value)]))
            })
        };
        let (x, y) = (range(0)?, range(1)?);
        let side = (x[1] - x[0]).max(y[1] - y[0]);
        // A single point, or all equal: any positive width will do.
        let half = if side > 0.0 { side * (0.5 + 1.0 / 12.0) } else { x[0].abs().max(y[0].abs()).max(1.0) };
        let square = |[low, high]: [f64; 2]| {
            let centre = low / 2.0 + high / 2.0;
            [centre - half, centre + half]
        };
        Some(Self { x: square(x), y: square(y) })
    }

    /// Whether a point lies inside.
    pub fn contains(&self, x: f64, y: f64) -> bool {
        (self.x[0]..=self.x[1]).contains(&x) && (self.y[0]..=self.y[1]).contains(&y)
    }
}

/// The layout that all figures share: these plots, in exactly this range.
fn layout(plots: &[Plot], x: [f64; 2], y: [f64; 2]) -> Layout {
    let mut theme = kuva::Theme::light();
    theme.grid_color = "#e4e4e4".into();
    theme.legend_border = "#bbbbbb".into();
    theme.axis_color = "#444444".into();
    Layout::auto_from_plots(plots)
        .with_theme(theme)
        .with_title_size(14)
        .with_label_size(13)
        .with_tick_size(11)
        .with_x_axis_min(x[0])
        .with_x_axis_max(x[1])
        .with_y_axis_min(y[0])
        .with_y_axis_max(y[1])
}

/// The plots of one pair of axes, and how they are laid out.
type Panel = (Vec<Plot>, Layout);

/// The entry of a line in a legend.
fn entry(label: impl Into<String>, colour: impl Into<String>, dashed: bool) -> LegendEntry {
    let dasharray = dashed.then(|| "4 4".to_owned());
    LegendEntry { label: label.into(), color: colour.into(), shape: LegendShape::Line, dasharray }
}

/// The colour of one of `count` curves in a family: viridis without its brightest part, which fades on white.
fn viridis(index: usize, count: usize) -> String {
    ColorMap::Viridis.map(0.9 * index as f64 / count.saturating_sub(1).max(1) as f64)
}

/// A tick of a linear axis, without the noise of binary fractions.
fn tick(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Rows of panels under one title, `size` = [width, height] in device pixels; the panels of a row are equally wide.
///
/// `heights` are the shares of the rows in the height, in any unit.
fn draw(
    title: &str,
    rows: Vec<Vec<Panel>>,
    heights: &[f64],
    size: [usize; 2],
    format: Format,
) -> Result<Vec<u8>, FigureError> {
    const LEAST: usize = 200;
    const MOST: usize = 8192;
    const TITLE: u32 = 17;
    const SPACING: f64 = 15.0;
    let [width, height] = size;
    if [width, height].iter().any(|side| !(LEAST..=MOST).contains(side)) {
        return Err(FigureError::Size { width, height, least: LEAST, most: MOST });
    }
    // The least number of columns that every row divides evenly.
    let columns = rows.iter().fold(1, |columns, row| least_common_multiple(columns, row.len().max(1)));
    let mut figure = Figure::new(rows.len(), columns).with_spacing(SPACING);
    // What is left for the rows once the title, the margins and the gaps are drawn.
    let (logical_width, logical_height) = (width as f64 / PIXEL_RATIO, height as f64 / PIXEL_RATIO);
    let free = (logical_height - 2.4 * f64::from(TITLE) - SPACING * rows.len() as f64).max(1.0);
    let total: f64 = heights.iter().sum();
    let mut structure = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        let span = columns / row.len().max(1);
        structure.extend((0..row.len()).map(|k| (0..span).map(|c| index * columns + k * span + c).collect()));
        // The last row takes what remains, so that the size is exact.
        if index + 1 < rows.len() {
            figure = figure.with_row_height(index, (free * heights[index] / total).floor());
        }
    }
    let (plots, layouts): (Vec<_>, Vec<_>) = rows.into_iter().flatten().unzip();
    let scene = figure
        .with_structure(structure)
        .with_title(title)
        .with_title_size(TITLE)
        .with_plots(plots)
        .with_layouts(layouts)
        .with_figure_size(logical_width, logical_height)
        .render();
    match format {
        Format::Png => PngBackend::new().with_scale(PIXEL_RATIO as f32).render_scene(&scene).map_err(FigureError::Draw),
        Format::Svg => {
            let svg = SvgBackend::new().render_scene(&scene);
            // Without a view box a browser crops where it should scale.
            let view_box = format!("<svg viewBox=\"0 0 {logical_width} {logical_height}\"");
            Ok(svg.replacen("<svg", &view_box, 1).into_bytes())
        }
    }
}

fn least_common_multiple(a: usize, b: usize) -> usize {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

/// The columns of points in the plane.
fn planar<'a>(name: &str, points: &'a Points) -> Result<impl Iterator<Item = (f64, f64)> + 'a, FigureError> {
    if points.ncols() != 2 {
        return Err(FigureError::NotPlanar { name: name.to_owned(), dim: points.ncols() });
    }
    Ok(points.rows().into_iter().map(|row| (row[0], row[1])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The picture that a PNG holds.
    pub(crate) fn decoded(png: &[u8]) -> image::RgbImage {
        image::load_from_memory_with_format(png, image::ImageFormat::Png).expect("a PNG that decodes").to_rgb8()
    }

    /// Its distinct colours.
    pub(crate) fn colours(picture: &image::RgbImage) -> Vec<[u8; 3]> {
        let mut colours: Vec<[u8; 3]> = picture.pixels().map(|pixel| pixel.0).collect();
        colours.sort_unstable();
        colours.dedup();
        colours
    }

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("figure.png");
        write_atomically(&path, b"old").unwrap();
        write_atomically(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "a temporary file was left behind");
        let nowhere = directory.path().join("missing").join("figure.png");
        let message = write_atomically(&nowhere, b"new").unwrap_err().to_string();
        assert!(message.starts_with(&format!("cannot write the figure {}", nowhere.display())), "{message}");
    }

    #[test]
    fn the_extension_of_a_file_says_its_format() {
        assert_eq!(Format::of(Path::new("a.b/c.PNG")).unwrap(), Format::Png);
        assert_eq!(Format::of(Path::new("c.svg")).unwrap(), Format::Svg);
        let message = Format::of(Path::new("gallery/c.pdf")).unwrap_err().to_string();
        assert_eq!(message, "cannot tell the format of the figure gallery/c.pdf; end its name in .png or .svg");
        assert!(Format::of(Path::new("png")).is_err());
    }

    #[test]
    fn a_page_has_the_size_asked_for_whatever_its_rows() {
        let panel = || {
            let plots: Vec<Plot> = vec![kuva::plot::LinePlot::new().with_data([(0.0, 0.0), (1.0, 1.0)]).into()];
            let layout = layout(&plots, [0.0, 1.0], [0.0, 1.0]);
            (plots, layout)
        };
        let rows = vec![vec![panel(), panel()], vec![panel(), panel(), panel()], vec![panel()]];
        let png = draw("page", rows, &[3.0, 2.0, 1.0], [901, 1100], Format::Png).unwrap();
        assert_eq!(decoded(&png).dimensions(), (901, 1100));
    }

    #[test]
    fn a_window_is_a_square_that_ignores_what_is_not_finite() {
        let points = ndarray::array![[0.0, 1.0], [12.0, 7.0], [f64::NAN, f64::INFINITY]];
        assert_eq!(Window::around(&points), Some(Window { x: [-1.0, 13.0], y: [-3.0, 11.0] }));
        assert_eq!(Window::around(&ndarray::array![[f64::NAN, 0.0]]), None);
        assert_eq!(Window::around(&ndarray::array![[3.0, 0.0]]), Some(Window { x: [0.0, 6.0], y: [-3.0, 3.0] }));
    }
}
