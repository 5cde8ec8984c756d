//! Points written as .npy or .csv, tile by tile, in constant memory; a file appears whole or not at all.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::csv::GAPS;
use super::error::DataError;
use super::source::describe_extension;
use crate::Points;

/// The number type of an .npy file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// float32.
    Single,
    /// float64.
    #[default]
    Double,
}

/// A format that points are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// numpy's .npy, `[n, d]`, little-endian, C order.
    Npy(Precision),
    /// Numbers with commas between and as many digits as bring the same f64 back, after a line of names if there are any.
    Csv,
}

impl Format {
    /// The format that the extension of a name announces (float64 for .npy).
    ///
    /// # Errors
    /// [`DataError::OutputExtension`], which lists the known ones.
    pub fn of_path(path: &Path) -> Result<Self, DataError> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("npy") => Ok(Self::Npy(Precision::Double)),
            Some("csv") => Ok(Self::Csv),
            found => Err(DataError::OutputExtension { path: path.to_owned(), found: describe_extension(found) }),
        }
    }
}

/// Writes a stated number of points to a file, in as many tiles as one likes.
///
/// The points go to a temporary file in the same folder, which takes the name when [`finish`](Self::finish) is called;
/// until then a file of that name stays as it was, and dropping the writer leaves nothing behind.
#[derive(Debug)]
pub struct PointWriter {
    path: PathBuf,
    encoder: PointEncoder<BufWriter<NamedTempFile>>,
}

impl PointWriter {
    /// Begins a file of `count` points of dimension `dim`; `columns` are the names in the first line of a .csv file.
    ///
    /// # Errors
    /// [`DataError::Write`].
    pub fn create(
        path: &Path,
        format: Format,
        dim: usize,
        count: u64,
        columns: Option<&[String]>,
    ) -> Result<Self, DataError> {
        let failed = |error| DataError::Write { path: path.to_owned(), error };
        if path.is_dir() {
            return Err(failed(io::ErrorKind::IsADirectory.into()));
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".points-");
        // Temporary files are private as a rule; this one becomes an ordinary file (less the umask).
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        // The system's reason, without the name of a file that no one asked for.
        let file = builder.tempfile_in(folder).map_err(|error| failed(error.kind().into()))?;
        let encoder = PointEncoder::new(BufWriter::new(file), format, dim, count, columns).map_err(failed)?;
        Ok(Self { path: path.to_owned(), encoder })
    }

    /// Appends points `[k, d]`.
    ///
    /// # Errors
    /// [`DataError::Write`]; also for points of another dimension or beyond the announced count.
    pub fn write(&mut self, points: &Points) -> Result<(), DataError> {
        self.encoder.write(points).map_err(|error| DataError::Write { path: self.path.clone(), error })
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`DataError::Write`]; also if fewer points were written than announced.
    pub fn finish(self) -> Result<(), DataError> {
        let Self { path, encoder } = self;
        let named = || {
            let file = encoder.finish()?.into_inner().map_err(|error| error.into_error())?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)
        };
        match named() {
            Ok(_) => Ok(()),
            Err(error) => Err(DataError::Write { path, error }),
        }
    }
}

/// Writes all points to a file at once, in the format of its extension; see [`PointWriter`].
///
/// # Errors
/// [`DataError::OutputExtension`] and [`DataError::Write`].
pub fn write_points(path: &Path, points: &Points, columns: Option<&[String]>) -> Result<(), DataError> {
    let format = Format::of_path(path)?;
    let mut writer = PointWriter::create(path, format, points.ncols(), points.nrows() as u64, columns)?;
    writer.write(points)?;
    writer.finish()
}

/// Writes a stated number of points to anything that takes bytes, in as many tiles as one likes.
#[derive(Debug)]
pub struct PointEncoder<W: Write> {
    out: W,
    format: Format,
    dim: usize,
    left: u64,
}

impl<W: Write> PointEncoder<W> {
    /// Begins a file of `count` points of dimension `dim`; `columns` are the names in the first line of a .csv file.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(mut out: W, format: Format, dim: usize, count: u64, columns: Option<&[String]>) -> io::Result<Self> {
        match (format, columns) {
            (Format::Npy(precision), _) => out.write_all(&npy_header(precision, dim, count))?,
            (Format::Csv, Some(columns)) => {
                writeln!(out, "{}", names_line(columns))?;
            }
            (Format::Csv, None) => {}
        }
        Ok(Self { out, format, dim, left: count })
    }

    /// Appends points `[k, d]`.
    ///
    /// # Errors
    /// Those of `out`, and `InvalidInput` for points of another dimension or beyond the announced count.
    pub fn write(&mut self, points: &Points) -> io::Result<()> {
        let rows = points.nrows() as u64;
        if points.ncols() != self.dim || rows > self.left {
            let message = format!(
                "{rows} points of dimension {} in a file with room for {} of dimension {}",
                points.ncols(),
                self.left,
                self.dim
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.left -= rows;
        let mut bytes = Vec::new();
        for row in points.rows() {
            bytes.clear();
            for (column, &value) in row.iter().enumerate() {
                match self.format {
                    Format::Npy(Precision::Single) => bytes.extend((value as f32).to_le_bytes()),
                    Format::Npy(Precision::Double) => bytes.extend(value.to_le_bytes()),
                    Format::Csv => {
                        let comma = if column > 0 { "," } else { "" };
                        // Debug is the shortest text that reads back as the same number, with an exponent if large.
                        write!(bytes, "{comma}{value:?}")?;
                    }
                }
            }
            if self.format == Format::Csv {
                bytes.push(b'\n');
            }
            self.out.write_all(&bytes)?;
        }
        Ok(())
    }

    /// Flushes, and returns what was written to.
    ///
    /// # Errors
    /// Those of `out`, and `InvalidInput` if fewer points were written than announced.
    pub fn finish(mut self) -> io::Result<W> {
        if self.left > 0 {
            let message = format!("{} of the announced points were not written", self.left);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Version 1.0 of the format: the data begins at a multiple of 64 bytes.
fn npy_header(precision: Precision, dim: usize, count: u64) -> Vec<u8> {
    let descr = match precision {
        Precision::Single => "<f4",
        Precision::Double => "<f8",
    };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({count}, {dim}), }}");
    let start = b"\x93NUMPY\x01\x00";
    while !(start.len() + 2 + text.len() + 1).is_multiple_of(64) {
        text.push(' ');
    }
    text.push('\n');
    [start.as_slice(), (text.len() as u16).to_le_bytes().as_slice(), text.as_bytes()].concat()
}

/// The line of names of a .csv file: all in quotes where one would be read as something else, a number, a gap or a line of comment.
fn names_line(names: &[String]) -> String {
    let is_other = |name: &String| {
        let is_gap = GAPS.iter().any(|gap| gap.eq_ignore_ascii_case(name));
        is_gap || name.starts_with('#') || name.parse::<f64>().is_ok()
    };
    let all = names.iter().any(is_other);
    let cells = names.iter().map(|name| {
        if all || name.contains(['"', ',', ';', '\t', '\n', '\r']) {
            format!("\"{}\"", name.replace('"', "\"\""))
        } else {
            name.to_owned()
        }
    });
    cells.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use ndarray::{arr2, s};

    use super::*;

    fn encode(format: Format, points: &Points, columns: Option<&[String]>) -> io::Result<Vec<u8>> {
        let mut encoder = PointEncoder::new(Vec::new(), format, points.ncols(), points.nrows() as u64, columns)?;
        encoder.write(points)?;
        encoder.finish()
    }

    #[test]
    fn the_extension_decides_and_an_unknown_one_lists_the_known() {
        let of = |name: &str| Format::of_path(Path::new(name));
        assert_eq!(of("out/a.npy").unwrap(), Format::Npy(Precision::Double));
        assert_eq!(of("A.CSV").unwrap(), Format::Csv);
        assert_eq!(
            of("out/a.parquet").unwrap_err().to_string(),
            "out/a.parquet: the extension .parquet is unknown; points are written as .npy or .csv: rename the output"
        );
        assert_eq!(
            of("samples").unwrap_err().to_string(),
            "samples: the name has no extension; points are written as .npy or .csv: rename the output"
        );
    }

    #[test]
    fn tiles_give_the_same_bytes_as_one_write() {
        let points = Points::from_shape_fn((7, 3), |(i, j)| (i as f64 - 2.5) / (j as f64 + 0.3));
        for format in [Format::Npy(Precision::Single), Format::Npy(Precision::Double), Format::Csv] {
            let whole = encode(format, &points, None).unwrap();
            let mut writer = PointEncoder::new(Vec::new(), format, 3, 7, None).unwrap();
            for rows in [0..2, 2..2, 2..7] {
                writer.write(&points.slice(s![rows, ..]).to_owned()).unwrap();
            }
            assert_eq!(writer.finish().unwrap(), whole, "{format:?}");
        }
    }

    #[test]
    fn csv_text_and_npy_header_are_what_other_programs_read() {
        let points = arr2(&[[1.0, -0.1], [1e300, 2.5e-7]]);
        let names = ["a".to_owned(), "b, \"c\"".to_owned()];
        let csv = encode(Format::Csv, &points, Some(&names)).unwrap();
        assert_eq!(String::from_utf8(csv).unwrap(), "a,\"b, \"\"c\"\"\"\n1.0,-0.1\n1e300,2.5e-7\n");
        let npy = encode(Format::Npy(Precision::Double), &points, None).unwrap();
        assert_eq!(npy.len(), 128 + 4 * 8);
        assert!(
            npy.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }")
        );
        assert_eq!(npy[127], b'\n');
    }

    #[test]
    fn a_wrong_count_or_dimension_is_refused() {
        let points = Points::zeros((2, 2));
        let begin = |dim, count| PointEncoder::new(Vec::new(), Format::Csv, dim, count, None).unwrap();
        assert!(begin(3, 2).write(&points).is_err());
        assert!(begin(2, 1).write(&points).is_err());
        let mut short = begin(2, 3);
        short.write(&points).unwrap();
        assert_eq!(short.finish().unwrap_err().to_string(), "1 of the announced points were not written");
    }

    #[test]
    fn a_file_keeps_its_content_until_the_new_one_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, "old").unwrap();
        let points = arr2(&[[1.0]]);
        let mut dropped = PointWriter::create(&path, Format::Csv, 1, 2, None).unwrap();
        dropped.write(&points).unwrap();
        drop(dropped);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        write_points(&path, &points, None).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "1.0\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn an_output_that_cannot_be_written_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let (points, missing) = (arr2(&[[1.0]]), folder.path().join("no/a.csv"));
        let error = write_points(&missing, &points, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} cannot be written: entity not found; make its folder first", missing.display())
        );
        assert!(error.is_input());
        let inside = folder.path().join("a.npy");
        std::fs::create_dir(&inside).unwrap();
        let error = write_points(&inside, &points, None).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} cannot be written: is a directory; name a file in it", inside.display())
        );
        let full = DataError::Write { path: "a.npy".into(), error: io::ErrorKind::StorageFull.into() };
        assert_eq!(full.to_string(), "a.npy cannot be written: no storage space; free some space");
        assert!(!full.is_input());
    }
}
