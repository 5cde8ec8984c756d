//! Data sets: points read from files, split by a seeded permutation, standardised, and written back.
//!
//! # Design
//!
//! A file is read in f64 as it stands; standardisation is a map of its own ([`Standardization`]), fitted to the training
//! part and undone on output. No header is believed: memory grows with the bytes that are there, and whatever is wrong
//! with a file is a [`DataError`] that names the row and the column, or what was expected, and a cure.

mod array;
mod csv;
mod error;
mod fitting;
mod idx;
mod npy;
mod source;
mod split;
mod standardize;
pub mod write;

use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};

use ndarray::Axis;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use error::{DataError, FileProblem, Location};
pub use fitting::Fitting;
pub use split::{Split, SplitConfig};
pub use standardize::{Standardization, Standardize, WHITENING_RIDGE, Whitening};

use crate::Points;
pub use source::relative_to;
use source::{Format, Kind, Source};

/// A data set in a file, and what is done with it before training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSetConfig {
    /// The file, relative to the working directory: .npy, .npz, .csv, .tsv or .idx (MNIST's names too), each also with
    /// .gz. An array of any rank is read as one row a point, the other axes flattened.
    pub path: PathBuf,
    /// The columns to learn from, by name; in an .npz file the arrays, set side by side; without names by number, from
    /// "1". Without this key all columns but the label; in an .npz file the only array of numbers of rank 2 or more, or
    /// the one called `images`, `x` or `data`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub columns: Option<Vec<String>>,
    /// Whether the first line of a .csv or .tsv file holds names. Without this key it tells by itself: names are no numbers. A
    /// line 0, 1, … or 1, 2, … may be either, and is refused until this key says which.
    #[serde(default)]
    pub header: Option<bool>,
    /// The labels: a column of a .csv or .tsv file, an array of an .npz file; for .npy and .idx another file, beside
    /// this one or relative to the working directory. They colour figures and count classes; training does not see them.
    #[serde(default)]
    pub label: Option<String>,
    /// The weights: how much each point counts, 0 or more; a column of a .csv or .tsv file, an array of an .npz file; for
    /// .npy and .idx another file, beside this one or relative to the working directory. Methods and metrics that know
    /// weights take them into account; the others refuse them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub weight: Option<String>,
    /// Height and width of a point that is an image.
    #[serde(default)]
    pub image_shape: Option<[usize; 2]>,
    /// How the points are shifted and scaled before training; undone on output.
    #[serde(default)]
    pub standardize: Standardize,
    /// Whether the standardised points are whitened too (ZCA); undone on output.
    #[serde(default)]
    pub whiten: bool,
    /// The standard deviation of Gaussian noise added to the standardised points, fresh in training.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub noise: f64,
    /// The training, validation and test parts.
    #[serde(default)]
    pub split: SplitConfig,
}

impl DataSetConfig {
    /// The configuration of a file with every other key at its default.
    pub fn of_file(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            columns: None,
            header: None,
            label: None,
            weight: None,
            image_shape: None,
            standardize: Standardize::default(),
            whiten: false,
            noise: 0.0,
            split: SplitConfig::default(),
        }
    }

    /// The files that `label` and `weight` name where these have files of their own: beside the data, or relative to the
    /// working directory.
    pub fn files_beside(&self) -> Vec<PathBuf> {
        match Format::of(&self.path).map(|format| format.kind) {
            Ok(Kind::Npy | Kind::Idx) => {
                self.label.iter().chain(&self.weight).map(|name| file_beside(&self.path, name)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl DataSetConfig {
    /// The configuration whose files do not depend on where it is read.
    pub fn with_absolute_paths(mut self) -> Self {
        if let Ok(path) = std::path::absolute(&self.path) {
            self.path = path;
        }
        if matches!(Format::of(&self.path).map(|format| format.kind), Ok(Kind::Npy | Kind::Idx)) {
            for name in [&mut self.label, &mut self.weight].into_iter().flatten() {
                // As it lies to the data: where they move together it is found again.
                let file = file_beside(&self.path, name);
                if file.exists()
                    && (Path::new(&*name).components().count() > 1 || file == Path::new(&*name))
                    && let Some(folder) = self.path.parent()
                    && let Some(file) = relative_to(&file, folder).to_str()
                {
                    *name = file.to_owned();
                }
            }
        }
        self
    }
}

fn file_beside(data: &Path, name: &str) -> PathBuf {
    let beside = data.with_file_name(name);
    if beside.exists() { beside } else { PathBuf::from(name) }
}

/// The content of a data file: one point a row, in the file's own coordinates.
#[derive(Debug, Clone, PartialEq)]
pub struct DataSet {
    /// The points, `[n, d]`, n and d at least 1, every value finite.
    pub points: Points,
    /// One label a row.
    pub labels: Option<Vec<String>>,
    /// One weight a row, 0 or more, at least one above 0.
    pub weights: Option<Vec<f64>>,
    /// The names of the d columns.
    pub columns: Option<Vec<String>>,
    /// The shape that one row had before it was flattened: `[8, 8]` for an array `[n, 8, 8]`, `[]` for an array `[n]`.
    pub row_shape: Vec<usize>,
    /// Whether a first column without a name of its own, the index of a data frame, was passed over.
    pub index_passed_over: bool,
    /// SHA-256 of the file's bytes (compressed where the file is), in hexadecimal.
    pub sha256: String,
}

impl DataSet {
    /// Reads the file that a configuration names, and checks the configuration against it.
    ///
    /// # Errors
    /// [`DataError::File`] for everything that can be wrong with a file or with the keys that describe it,
    /// [`DataError::Noise`] for a noise that is negative or not finite.
    pub fn load(config: &DataSetConfig) -> Result<Self, DataError> {
        if !(config.noise >= 0.0 && config.noise.is_finite()) {
            return Err(DataError::Noise { value: config.noise });
        }
        let selection = Selection {
            columns: config.columns.as_deref(),
            names_needed: true,
            header: config.header.map_or(Header::Recognised, |names| Header::Stated { names }),
            label: config.label.as_deref(),
            weight: config.weight.as_deref(),
        };
        let data = read(&config.path, &selection)?;
        let columns = data.points.ncols();
        match config.image_shape {
            Some(shape) if shape[0].checked_mul(shape[1]) != Some(columns) => {
                Err(at(&config.path)(FileProblem::ImageShape { shape, columns }))
            }
            _ => Ok(data),
        }
    }
}

impl DataSet {
    /// Points that each count alike: so many rows as the weights are worth, drawn by them; all rows where there are none.
    pub fn counted_alike(&self, seed: u64) -> Points {
        let Some(weights) = &self.weights else { return self.points.clone() };
        let rows = (0..self.points.nrows()).collect();
        let all = Split { train: rows, validation: Vec::new(), test: Vec::new() };
        self.points.select(Axis(0), &all.drawn(weights, seed).train)
    }
}

/// Reads a file of points as it stands, without labels. Where the file names its columns and `columns` is given, it is
/// those columns, in that order; otherwise all. `header` says whether the first line of a text file holds names, where it
/// does not tell by itself.
///
/// # Errors
/// [`DataError::File`].
pub fn read_points(path: &Path, columns: Option<&[String]>, header: Option<bool>) -> Result<DataSet, DataError> {
    let header = header.map_or(Header::Recognised, |names| Header::WhereUnclear { names });
    read(path, &Selection { columns, names_needed: false, header, ..Selection::default() })
}

/// The array of this name in an npz archive, its rows flattened.
///
/// # Errors
/// [`DataError::File`]: one without the name too.
pub fn read_array(path: &Path, name: &str) -> Result<Points, DataError> {
    let columns = [name.to_owned()];
    read(path, &Selection { columns: Some(&columns), names_needed: true, ..Selection::default() })
        .map(|data| data.points)
}

/// SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    source::hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 of a file, in hexadecimal, as [`DataSet::sha256`] has it.
///
/// # Errors
/// [`DataError::File`].
pub fn sha256_of_file(path: &Path) -> Result<String, DataError> {
    source::open(path).and_then(|mut file| source::sha256(&mut file)).map_err(at(path))
}

/// What of a file is wanted.
#[derive(Debug, Clone, Copy, Default)]
struct Selection<'a> {
    columns: Option<&'a [String]>,
    /// Whether a file without names must not be taken whole where columns are asked for.
    names_needed: bool,
    header: Header,
    label: Option<&'a str>,
    weight: Option<&'a str>,
}

/// What is known of the first line of a text file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Header {
    /// Nothing: it tells by itself, or is refused.
    #[default]
    Recognised,
    /// Whether it holds names, where it does not tell by itself.
    WhereUnclear { names: bool },
    /// Whether it holds names, whatever it looks like.
    Stated { names: bool },
}

/// What a reader finds.
struct Table {
    points: Points,
    names: Option<Vec<String>>,
    labels: Option<Vec<String>>,
    weights: Option<Vec<f64>>,
    row_shape: Vec<usize>,
    index_passed_over: bool,
}

fn at(path: &Path) -> impl Fn(FileProblem) -> DataError {
    move |problem| DataError::File { path: path.to_owned(), problem: Box::new(problem) }
}

fn read(path: &Path, selection: &Selection) -> Result<DataSet, DataError> {
    let (table, kind, sha256) = read_table(path, selection).map_err(at(path))?;
    let Table { points, names, mut labels, mut weights, row_shape, index_passed_over } = table;
    if let (Kind::Npy | Kind::Idx, Some(label)) = (kind, selection.label) {
        let file = file_beside(path, label);
        labels = Some(read_label_file(&file, points.nrows()).map_err(at(&file))?);
    }
    if let (Kind::Npy | Kind::Idx, Some(weight)) = (kind, selection.weight) {
        let file = file_beside(path, weight);
        weights = Some(read_weight_file(&file, points.nrows())?);
    }
    weights.iter().try_for_each(|weights| check_weights(weights)).map_err(at(path))?;
    Ok(DataSet { points, labels, weights, columns: names, row_shape, index_passed_over, sha256 })
}

fn read_table(path: &Path, selection: &Selection) -> Result<(Table, Kind, String), FileProblem> {
    let mut file = source::open(path)?;
    let Format { kind, gzip } = Format::of(path)?;
    if matches!(selection.header, Header::Stated { .. }) && !matches!(kind, Kind::Csv | Kind::Tsv) {
        return Err(FileProblem::HeaderKey);
    }
    let again = file.try_clone().map_err(FileProblem::Read)?;
    let table = match kind {
        Kind::Csv => csv::read_csv(&mut Source::file(again, gzip)?, None, selection)?,
        Kind::Tsv => csv::read_csv(&mut Source::file(again, gzip)?, Some(b'\t'), selection)?,
        Kind::Npy => select(npy::read_npy(&mut Source::file(again, gzip)?)?, selection)?,
        Kind::Idx => select(idx::read_idx(&mut Source::file(again, gzip)?)?, selection)?,
        Kind::Npz if gzip => npy::read_npz(Cursor::new(Source::file(again, true)?.rest()?), selection)?,
        Kind::Npz => npy::read_npz(BufReader::new(again), selection)?,
    };
    // Last: what is no data file is refused at its first bytes, however long it is.
    Ok((table, kind, source::sha256(&mut file)?))
}

fn read_label_file(path: &Path, rows: usize) -> Result<Vec<String>, FileProblem> {
    let file = source::open(path)?;
    let Format { kind, gzip } = Format::of(path)?;
    let mut source = Source::file(file, gzip)?;
    match kind {
        Kind::Npy => npy::read_npy_labels(&mut source, rows),
        Kind::Idx => idx::read_idx_labels(&mut source, rows),
        Kind::Npz | Kind::Csv | Kind::Tsv => Err(FileProblem::LabelFormat),
    }
}

/// One weight a row from a file of numbers, of any format.
fn read_weight_file(path: &Path, rows: usize) -> Result<Vec<f64>, DataError> {
    // A column that begins with 0 or 1 is one of weights.
    let selection = Selection { header: Header::WhereUnclear { names: false }, ..Selection::default() };
    let (Table { points, .. }, ..) = read_table(path, &selection).map_err(at(path))?;
    if points.dim() == (rows, 1) {
        Ok(points.into_iter().collect())
    } else {
        let [found, columns] = [points.nrows(), points.ncols()];
        Err(at(path)(FileProblem::WeightShape { found, columns, rows }))
    }
}

/// Refuses weights that no measure has.
fn check_weights(weights: &[f64]) -> Result<(), FileProblem> {
    match weights.iter().position(|&weight| weight < 0.0) {
        Some(place) => Err(FileProblem::Weight { row: place as u64 + 1, value: weights[place] }),
        None if !(weights.iter().sum::<f64>() > 0.0 && weights.iter().sum::<f64>().is_finite()) => {
            Err(FileProblem::NoWeight)
        }
        None => Ok(()),
    }
}

/// The wanted columns of a table without names, by number.
fn select(mut table: Table, selection: &Selection) -> Result<Table, FileProblem> {
    let width = table.points.ncols();
    // As many columns as are asked for may be those already, in their order.
    let by_number = |columns: &&[String]| {
        selection.names_needed || columns.len() != width && columns.iter().all(|name| name.parse::<usize>().is_ok())
    };
    if let Some(columns) = selection.columns.filter(by_number) {
        let chosen = columns
            .iter()
            .map(|name| numbered_column("columns", name, width, false))
            .collect::<Result<Vec<usize>, FileProblem>>()?;
        if chosen.is_empty() {
            return Err(FileProblem::NoColumns);
        }
        table.points = table.points.select(Axis(1), &chosen);
        table.row_shape = vec![chosen.len()];
        table.names = Some(columns.to_vec());
    }
    Ok(table)
}

/// The column that a number from "1" to "`count`" names, from 0.
fn numbered_column(key: &'static str, name: &str, count: usize, csv: bool) -> Result<usize, FileProblem> {
    match name.parse::<usize>() {
        Ok(number) if (1..=count).contains(&number) => Ok(number - 1),
        _ => Err(FileProblem::Nameless { key, name: name.to_owned(), count, csv }),
    }
}

#[cfg(test)]
mod tests;
