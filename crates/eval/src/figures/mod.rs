//! Pictures as PNG: points, densities, image grids and curves.
//!
//! Every function here is pure: values in, the bytes of a PNG out, of exactly the size asked for.
//! [`write_atomically`] puts them on disk. Colours are those of Okabe and Ito, which stay distinct
//! under the common colour-vision deficiencies; heat maps use viridis.
//!
//! # Design
//!
//! The plotting crate (kuva) is named in this module and below it, and nowhere else. It lays out in
//! logical pixels; two device pixels to each keep text and thin lines sharp.

use std::io::Write;
use std::path::Path;

use brenier_measure::Points;
use kuva::backend::png::PngBackend;
use kuva::render::figure::Figure;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use thiserror::Error;

mod curve;
mod density;
mod image_grid;
mod scatter;

pub use curve::{Axes, Curve, curves};
pub use density::{Field, densities, density_size};
pub use image_grid::ImageGrid;
pub use scatter::{scatter, scatter_size};

/// Blue, vermilion, bluish green, orange, reddish purple, sky blue, black: Okabe and Ito (2008), yellow left out on white paper.
const COLOURS: [&str; 7] = ["#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#000000"];

/// Device pixels for one logical pixel of the layout.
const PIXEL_RATIO: f64 = 2.0;

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
        .with_title_size(15)
        .with_label_size(13)
        .with_tick_size(11)
        .with_x_axis_min(x[0])
        .with_x_axis_max(x[1])
        .with_y_axis_min(y[0])
        .with_y_axis_max(y[1])
}

/// Panels side by side under one title, as a PNG of `size` = [width, height] pixels.
fn draw(title: &str, panels: Vec<(Vec<Plot>, Layout)>, size: [usize; 2]) -> Result<Vec<u8>, FigureError> {
    const LEAST: usize = 200;
    const MOST: usize = 8192;
    let [width, height] = size;
    if [width, height].iter().any(|side| !(LEAST..=MOST).contains(side)) {
        return Err(FigureError::Size { width, height, least: LEAST, most: MOST });
    }
    let (plots, layouts): (Vec<_>, Vec<_>) = panels.into_iter().unzip();
    let scene = Figure::new(1, plots.len())
        .with_title(title)
        .with_title_size(17)
        .with_plots(plots)
        .with_layouts(layouts)
        .with_figure_size(width as f64 / PIXEL_RATIO, height as f64 / PIXEL_RATIO)
        .render();
    PngBackend::new().with_scale(PIXEL_RATIO as f32).render_scene(&scene).map_err(FigureError::Draw)
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
    fn a_window_is_a_square_that_ignores_what_is_not_finite() {
        let points = ndarray::array![[0.0, 1.0], [12.0, 7.0], [f64::NAN, f64::INFINITY]];
        assert_eq!(Window::around(&points), Some(Window { x: [-1.0, 13.0], y: [-3.0, 11.0] }));
        assert_eq!(Window::around(&ndarray::array![[f64::NAN, 0.0]]), None);
        assert_eq!(Window::around(&ndarray::array![[3.0, 0.0]]), Some(Window { x: [0.0, 6.0], y: [-3.0, 3.0] }));
    }
}
