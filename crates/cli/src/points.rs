//! Files of points on the command line: their columns matched by name, and what was passed over told.

use std::path::Path;

use brenier_measure::Points;
use brenier_measure::data::{DataSet, read_points};
use ndarray::Axis;

use crate::arguments::TextFiles;
use crate::error::Error;

/// The points of a file: the columns of these names, where both are named, and in their order.
///
/// # Errors
///
/// A file that cannot be read.
pub fn read(path: &Path, columns: Option<&[String]>, text_files: TextFiles) -> Result<DataSet, Error> {
    Ok(read_points(path, columns, text_files.header())?)
}

/// The points of `other` with their columns in the order of `columns`, where both are named.
///
/// # Errors
///
/// Other names.
pub fn in_order_of(
    columns: Option<&[String]>,
    path: &Path,
    other: Points,
    other_columns: Option<&[String]>,
    other_path: &Path,
) -> Result<Points, Error> {
    let (Some(columns), Some(other_columns)) = (columns, other_columns) else { return Ok(other) };
    let places: Option<Vec<usize>> =
        columns.iter().map(|name| other_columns.iter().position(|other| other == name)).collect();
    match places {
        Some(places) if columns.len() == other_columns.len() => Ok(other.select(Axis(1), &places)),
        _ => Err(Error::other_columns(path, columns, other_path, other_columns)),
    }
}
