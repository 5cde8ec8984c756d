//! Image-shaped points as one greyscale picture, row after row.

use std::io::Cursor;

use brenier_measure::Points;
use image::{GrayImage, ImageFormat, Luma};

use super::FigureError;

/// How a grid of images is laid out.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageGrid {
    /// Rows and columns of one image; coordinate `i * columns + j` is its pixel (i, j).
    pub shape: [usize; 2],
    /// Images in a row of the grid.
    pub columns: usize,
    /// The side of the square that one pixel becomes.
    pub magnify: usize,
    /// The values that become black and white; those beyond are clipped.
    pub range: [f64; 2],
}

/// The width of the lines between images, in pixels of the picture.
const SEPARATOR: usize = 2;

/// The grey of these lines: seen on black and on white.
const SEPARATOR_GREY: u8 = 96;

impl ImageGrid {
    /// A grid of images that take the least and the greatest of these values as black and white,
    /// about square, each image magnified to some 48 pixels.
    ///
    /// `values` are those of the data, so that a picture of samples is shaded as one of the data is.
    pub fn new(shape: [usize; 2], count: usize, values: &Points) -> Self {
        let finite = values.iter().copied().filter(|value| value.is_finite());
        let range = finite.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], v| [low.min(v), high.max(v)]);
        Self {
            shape,
            columns: (count as f64).sqrt().ceil().max(1.0) as usize,
            magnify: (48 / shape[0].max(shape[1]).max(1)).max(1),
            range,
        }
    }

    /// Width and height in pixels of the picture of `count` images.
    pub fn size(&self, count: usize) -> [usize; 2] {
        let columns = self.columns.clamp(1, count.max(1));
        let side = |images: usize, pixels: usize| images * (pixels * self.magnify + SEPARATOR) + SEPARATOR;
        [side(columns, self.shape[1]), side(count.div_ceil(columns), self.shape[0])]
    }

    /// The images `[n, rows·columns]` as a PNG of [`size`](Self::size)(n); a value that is not finite is black.
    ///
    /// # Errors
    ///
    /// Points that are no images of this shape, none at all, or a picture with a side above 32768 pixels.
    pub fn png(&self, images: &Points) -> Result<Vec<u8>, FigureError> {
        const MOST: usize = 32_768;
        let [rows, columns] = self.shape;
        if rows * columns != images.ncols() || images.ncols() == 0 {
            return Err(FigureError::NotImages { dim: images.ncols(), rows, columns });
        }
        if images.nrows() == 0 {
            return Err(FigureError::Empty { title: "image grid".to_owned() });
        }
        let [width, height] = self.size(images.nrows());
        if self.magnify == 0 || width > MOST || height > MOST {
            return Err(FigureError::Size { width, height, least: 1, most: MOST });
        }
        let across = self.columns.clamp(1, images.nrows());
        let [low, high] = self.range;
        let grey = |value: f64| {
            // NaN becomes 0 in the cast, and so does 0/0 where all values are equal.
            ((value - low) / (high - low) * 255.0).round().clamp(0.0, 255.0) as u8
        };
        let (cell_height, cell_width) = (rows * self.magnify + SEPARATOR, columns * self.magnify + SEPARATOR);
        let picture = GrayImage::from_fn(width as u32, height as u32, |x, y| {
            let (x, y) = (x as usize, y as usize);
            let image = y / cell_height * across + x / cell_width;
            // Each cell begins with its separator; the last one of the picture closes it.
            let inside = x % cell_width >= SEPARATOR && y % cell_height >= SEPARATOR && image < images.nrows();
            if !inside {
                return Luma([SEPARATOR_GREY]);
            }
            let row = (y % cell_height - SEPARATOR) / self.magnify;
            let column = (x % cell_width - SEPARATOR) / self.magnify;
            Luma([grey(images[[image, row * columns + column]])])
        });
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).map_err(|refused| FigureError::Draw(refused.to_string()))?;
        Ok(bytes.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;
    use crate::figures::tests::{colours, decoded};

    #[test]
    fn pixels_stand_where_their_coordinates_say() {
        // Two 2 x 1 images in one row of a grid of three: the last cell is empty.
        let grid = ImageGrid { shape: [2, 1], columns: 2, magnify: 3, range: [0.0, 10.0] };
        let images = array![[0.0, 10.0], [5.0, 99.0], [f64::NAN, -1.0]];
        let picture = decoded(&grid.png(&images).unwrap());
        let [width, height] = grid.size(3);
        assert_eq!(picture.dimensions(), (width as u32, height as u32));
        assert_eq!((width, height), (2 * 5 + 2, 2 * 8 + 2));
        let grey = |x: u32, y: u32| picture.get_pixel(x, y).0[0];
        assert_eq!([grey(2, 2), grey(4, 4), grey(2, 5), grey(4, 7)], [0, 0, 255, 255]);
        assert_eq!([grey(7, 2), grey(7, 5)], [128, 255], "clipped above");
        assert_eq!([grey(2, 10), grey(2, 13)], [0, 0], "NaN and below the range");
        assert_eq!([grey(0, 0), grey(5, 3), grey(6, 3), grey(8, 12), grey(11, 17)], [SEPARATOR_GREY; 5]);
        assert!(colours(&picture).len() > 2);
    }

    #[test]
    fn a_default_grid_is_about_square_and_magnifies_small_images() {
        let values = array![[0.0, f64::NAN, 16.0]];
        let grid = ImageGrid::new([8, 8], 95, &values);
        assert_eq!(grid, ImageGrid { shape: [8, 8], columns: 10, magnify: 6, range: [0.0, 16.0] });
        assert_eq!(ImageGrid::new([64, 64], 4, &values).magnify, 1);
    }

    #[test]
    fn points_of_another_shape_are_refused() {
        let grid = ImageGrid::new([8, 8], 1, &array![[0.0, 1.0]]);
        assert_eq!(
            grid.png(&array![[0.0, 1.0]]).unwrap_err().to_string(),
            "points of dimension 2 are no images of 8 x 8; set `image_shape` so that its product is 2"
        );
        assert!(grid.png(&Points::zeros((0, 64))).is_err());
    }
}
