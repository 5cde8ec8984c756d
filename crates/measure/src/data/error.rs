//! What can be wrong with a data file, a split or an output name, each in one line with a cure.

use std::fmt;
use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// The extensions of the files that can be read.
pub(super) const READABLE: &str = ".npy, .npz, .csv, .tsv and .idx, each also with .gz";

/// How many names a message lists.
const LISTED: usize = 20;

/// Why a data set could not be read or split, or where points could not be written.
#[derive(Debug, Error)]
pub enum DataError {
    /// Something is wrong with a file.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// What is wrong with it.
        problem: Box<FileProblem>,
    },
    /// The sd of the instance noise is negative or not finite.
    #[error("the noise of a data set is {value}; give a standard deviation of 0 or more")]
    Noise {
        /// The value given.
        value: f64,
    },
    /// A size is negative or not finite.
    #[error("split.{part} is {value}; give a fraction or a count, 0 or more")]
    SplitSize {
        /// The part.
        part: &'static str,
        /// The value given.
        value: f64,
    },
    /// Fractions beside counts.
    #[error(
        "the split mixes fractions and counts (train {train}, validation {validation}, test {test}); give three \
         fractions with a sum of at most 1, or three counts"
    )]
    SplitMixed {
        /// The value of `train`.
        train: f64,
        /// The value of `validation`.
        validation: f64,
        /// The value of `test`.
        test: f64,
    },
    /// The fractions exceed 1 in total.
    #[error("the fractions of the split sum to {sum}; lower them to a sum of at most 1")]
    SplitFractions {
        /// Their sum.
        sum: f64,
    },
    /// The counts exceed the number of rows.
    #[error("the split asks for {asked} rows, and there are {rows}; lower the counts, or give fractions")]
    SplitCounts {
        /// The sum of the counts.
        asked: f64,
        /// The rows there are.
        rows: usize,
    },
    /// A part that was asked for is empty.
    #[error(
        "the {part} part of the split is empty (split.{part} is {value}, of {rows} rows); \
         raise split.{part}{or_none}"
    )]
    SplitEmpty {
        /// The part.
        part: &'static str,
        /// The value given.
        value: f64,
        /// The rows there are.
        rows: usize,
        /// For a part that may be absent: how to say so.
        or_none: &'static str,
    },
    /// A standardisation cannot be fitted.
    #[error("the points cannot be {action}: {reason}; {cure}")]
    Fit {
        /// "standardised" or "whitened".
        action: &'static str,
        /// Why.
        reason: &'static str,
        /// What to try.
        cure: &'static str,
    },
    /// Points cannot be written in the format that the name asks for.
    #[error("{}: {found}; points are written as .npy or .csv: rename the output", path.display())]
    OutputExtension {
        /// The file, as it was named.
        path: PathBuf,
        /// What stands where an extension was expected.
        found: String,
    },
    /// The system fails to write.
    #[error("{} cannot be written: {error}; {}", path.display(), writing_cure(error.kind()))]
    Write {
        /// The file, as it was named.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
}

impl DataError {
    /// Whether what was given is at fault, and not the system (a full disk, a folder that cannot be written).
    pub fn is_input(&self) -> bool {
        match self {
            Self::Write { error, .. } => matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidInput
            ),
            _ => true,
        }
    }
}

fn writing_cure(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "make its folder first",
        io::ErrorKind::IsADirectory => "name a file in it",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space",
        _ => "choose a folder that can be written",
    }
}

/// What is wrong with a data file.
#[derive(Debug, Error)]
pub enum FileProblem {
    /// No file has that name.
    #[error("there is no such file; check the path, which is relative to the working directory {}", working_directory.display())]
    NotFound {
        /// The working directory.
        working_directory: PathBuf,
    },
    /// The path names a folder.
    #[error("this is a folder; name a file in it ({READABLE})")]
    Folder,
    /// A pipe, a socket or a device.
    #[error("this is no regular file, and it is read more than once; copy what it gives to a file first")]
    NotRegular,
    /// The system refuses to open it.
    #[error("it cannot be opened: {0}; check its permissions")]
    Open(io::Error),
    /// The system failed while reading.
    #[error("reading failed: {0}; check the disk, or copy the file again")]
    Read(io::Error),
    /// The extension names no known format.
    #[error("{found}; known are {READABLE}: rename or convert the file")]
    Extension {
        /// What stands where an extension was expected.
        found: String,
    },
    /// The gzip stream is cut off or altered.
    #[error("the gzip stream is damaged ({0}); download or compress it again")]
    Gzip(io::Error),
    /// The zip archive is cut off or altered.
    #[error("the archive is damaged or no .npz file ({0}); write it again with numpy.savez")]
    Archive(String),
    /// The header is not that of the format.
    #[error("this is no intact {format} file: {reason}; write it again")]
    Header {
        /// The format that the extension announces.
        format: &'static str,
        /// What is wrong with the header.
        reason: String,
    },
    /// The elements are no real numbers.
    #[error(
        "the elements are of type {found}, but only bool, integers, float16, float32 and float64 are read; save \
         {cure} instead of array"
    )]
    ElementType {
        /// The type, in the file's words.
        found: String,
        /// What to save, in Python.
        cure: &'static str,
    },
    /// The file holds more or fewer bytes than the header announces.
    #[error(
        "the header announces an array {shape} of {element}, which is {expected} bytes, but {found} follow it; the file \
         is cut off or the header wrong: write it again"
    )]
    Length {
        /// The shape announced.
        shape: String,
        /// The element type.
        element: String,
        /// The bytes that this takes.
        expected: u128,
        /// The bytes there are.
        found: String,
    },
    /// More values than the memory holds.
    #[error("the {values} values need {} GB of memory, which is not there; give a smaller file", values.saturating_mul(8) >> 30)]
    Memory {
        /// The number of values.
        values: u128,
    },
    /// Content that grows beyond the memory as it is unpacked or read.
    #[error("the memory was full when {megabytes} MB of it were read; give a smaller file")]
    Unpacked {
        /// How much was read.
        megabytes: usize,
    },
    /// An array of rank 0.
    #[error("this is a single number; give an array with one row a point")]
    Scalar,
    /// No rows.
    #[error("the data set is empty: it has no rows; give a file with at least one")]
    NoRows,
    /// Rows without values.
    #[error("the rows are empty: there is no column to learn from; give at least one numeric column")]
    NoColumns,
    /// A row with another number of values.
    #[error("row {row} (line {line}) has {found} values where {expected} are expected; mend or remove that line")]
    Ragged {
        /// The row, from 1.
        row: u64,
        /// The line of the file, from 1.
        line: u64,
        /// The number of values of the first line.
        expected: usize,
        /// The number of values of this one.
        found: usize,
    },
    /// NaN or an infinite value.
    #[error("{at}: {value} is not finite; fill in the value, or remove the row")]
    NotFinite {
        /// Where.
        at: Location,
        /// The value, in the file's words.
        value: String,
    },
    /// Nothing between two delimiters.
    #[error("{at}: the value is missing; fill it in, or remove the row")]
    Missing {
        /// Where.
        at: Location,
    },
    /// Text where a number is expected.
    #[error(
        "{at}: {text:?} is not a number; correct it, name a column of text as `label`, or list the numeric columns in \
         `columns`{}",
        if *may_be_name { "; if it is a name, say so with `header`: true, or `--header yes`" } else { "" }
    )]
    NotANumber {
        /// Where.
        at: Location,
        /// What stands there (shortened).
        text: String,
        /// Whether it stands in a first row that was not taken for one of names.
        may_be_name: bool,
    },
    /// A row that does not end.
    #[error("the row that begins on line {line} is longer than 64 MB; end its line, or close its quote")]
    LongRow {
        /// The line, from 1.
        line: u64,
    },
    /// Lines that end as they did on early Macintoshes.
    #[error("lines end in a bare carriage return (\\r); save the file with line ends \\n or \\r\\n")]
    CarriageReturns,
    /// A first row of which nobody can say whether it is one of names.
    #[error(
        "the first row, {row}, is the numbers of the columns or a point; say which: with `header` true or false in the data \
         set, or `--header yes` or `--header no`"
    )]
    NumericHeader {
        /// The row.
        row: String,
    },
    /// A weight that is none.
    #[error("row {row}: the weight {value} is below zero; weights are zero or more")]
    Weight {
        /// The row, from 1.
        row: u64,
        /// The weight.
        value: f64,
    },
    /// Weights that weigh nothing.
    #[error("all weights are zero, or their sum is not finite; give weights that say how much each point counts")]
    NoWeight,
    /// A text file in UTF-16.
    #[error("the text is UTF-16; save it as UTF-8")]
    Utf16,
    /// A column or array that was asked for is not there.
    #[error("`{key}` names the {thing} {name:?}, which is not there{}; there are {}", meant(nearest), listed(known))]
    UnknownName {
        /// The key of the configuration.
        key: &'static str,
        /// "column" or "array".
        thing: &'static str,
        /// What was asked for.
        name: String,
        /// The nearest of the known names.
        nearest: Option<String>,
        /// What there is.
        known: Vec<String>,
    },
    /// A column was asked for by name, and the file names none.
    #[error(
        "`{key}` names the column {name:?}, but the columns have no names, only numbers (1 to {count}); give a number{}",
        if *csv { ", or set `header` to true if the first line holds the names" } else { "" }
    )]
    Nameless {
        /// The key of the configuration.
        key: &'static str,
        /// What was asked for.
        name: String,
        /// The number of columns.
        count: usize,
        /// Whether a header could be there.
        csv: bool,
    },
    /// A name that two columns bear.
    #[error("two columns are called {name:?}; rename one in the first line, or leave both out with `columns`")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A header with an empty cell (an index column, as a rule).
    #[error("column {column} has no name in the first line; name it, or list the columns to use in `columns`")]
    UnnamedColumn {
        /// The column, from 1.
        column: usize,
    },
    /// An npz file with more than one candidate, or none.
    #[error("none of its arrays is clearly the data; name one in `columns`: there are {}", listed(arrays))]
    WhichArray {
        /// The arrays, with their shapes.
        arrays: Vec<String>,
    },
    /// Arrays of different length side by side.
    #[error("the arrays {first:?} and {second:?} have {first_rows} and {second_rows} rows; give arrays of one length")]
    UnequalRows {
        /// The first array.
        first: String,
        /// Its rows.
        first_rows: usize,
        /// The other array.
        second: String,
        /// Its rows.
        second_rows: usize,
    },
    /// Labels that are no vector as long as the data.
    #[error("the labels have shape {shape}, the data {rows} rows; give one label a row")]
    LabelShape {
        /// The shape of the array of labels.
        shape: String,
        /// The rows of the data.
        rows: usize,
    },
    /// Weights that are no vector as long as the data.
    #[error("the file of weights has {found} rows and {columns} columns, the data {rows} rows; give one weight a row")]
    WeightShape {
        /// The rows of the file.
        found: usize,
        /// Its columns.
        columns: usize,
        /// The rows of the data.
        rows: usize,
    },
    /// A label file in a format that holds no array.
    #[error("labels beside an .npy or .idx file come from another .npy or .idx file; convert this one")]
    LabelFormat,
    /// `header` for a file that is no text.
    #[error("`header` is set, but only .csv and .tsv files have one; leave it out")]
    HeaderKey,
    /// Images of another size.
    #[error("image_shape {shape:?} has {} pixels, a row has {columns} values; correct it, or leave it out", shape[0].saturating_mul(shape[1]))]
    ImageShape {
        /// Height and width, as given.
        shape: [usize; 2],
        /// The number of values a row.
        columns: usize,
    },
}

/// A cell of a table, in the words of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The row, from 1, without the header.
    pub row: u64,
    /// The line of a text file, from 1.
    pub line: Option<u64>,
    /// The column, from 1.
    pub column: usize,
    /// The name of the column.
    pub name: Option<String>,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}", self.row)?;
        if let Some(line) = self.line {
            write!(f, " (line {line})")?;
        }
        match &self.name {
            Some(name) => write!(f, ", column {name:?}"),
            None => write!(f, ", column {}", self.column),
        }
    }
}

/// The known name nearest to a misspelt one, if one is near.
pub(super) fn nearest(name: &str, known: &[String]) -> Option<String> {
    let name = name.to_lowercase();
    let distance = |other: &String| strsim::damerau_levenshtein(&name, &other.to_lowercase());
    let best = known.iter().min_by_key(|other| distance(other))?;
    (distance(best) <= 1 + name.chars().count() / 3).then(|| best.clone())
}

fn meant(nearest: &Option<String>) -> String {
    nearest.as_ref().map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"))
}

fn listed(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| format!("{name:?}")).collect();
    match names.len() {
        0 => "none".to_owned(),
        n if n > LISTED => format!("{} and {} more", shown.join(", "), n - LISTED),
        _ => shown.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let known = names(&["petal", "sepal", "species"]);
        assert_eq!(nearest("Petl", &known).as_deref(), Some("petal"));
        assert_eq!(nearest("speices", &known).as_deref(), Some("species"));
        assert_eq!(nearest("weight", &known), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn a_long_list_of_names_is_cut() {
        let many: Vec<String> = (1..=25).map(|i| i.to_string()).collect();
        assert!(listed(&many).ends_with("\"20\" and 5 more"));
        assert_eq!(listed(&names(&["a", "b"])), "\"a\", \"b\"");
        assert_eq!(listed(&[]), "none");
    }
}
