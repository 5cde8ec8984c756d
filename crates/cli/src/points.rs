//! Files of points on the command line: their columns matched by name, and what was passed over told.

use std::path::Path;

use brenier_measure::Points;
use brenier_measure::data::{DataError, DataSet, FileProblem, read_points};
use ndarray::Axis;
use tracing::info;

use crate::arguments::TextFiles;
use crate::error::Error;

/// The points of a file: the columns of these names, where both are named, and in their order.
///
/// # Errors
///
/// A file that cannot be read.
pub fn read(path: &Path, columns: Option<&[String]>, text_files: TextFiles) -> Result<DataSet, Error> {
    let data = read_points(path, columns, text_files.header()).map_err(|error| {
        let is_table =
            matches!(&error, DataError::File { problem, .. } if matches!(**problem, FileProblem::NotANumber { .. }));
        let error = Error::from(error);
        if is_table { error.hint("points are numbers alone: leave the columns of text out of the file") } else { error }
    })?;
    if data.index_passed_over {
        info!("{}: the first column is passed over: it is the index of a data frame", path.display());
    }
    Ok(data)
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
