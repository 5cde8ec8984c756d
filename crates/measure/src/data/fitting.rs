//! A configuration that fits a file: which of its columns are numbers, which one holds labels, and whether rows are images.
//!
//! Nothing is guessed in silence: whatever is left out or taken for labels is told with the reason.

use std::io::{BufReader, Cursor};
use std::path::Path;

use super::csv::Column;
use super::error::{DataError, FileProblem};
use super::source::{self, Format, Kind, Source};
use super::{DataSet, DataSetConfig, Header, at, csv, npy};

/// What a column or an array of labels is usually called.
const LABEL_NAMES: [&str; 7] = ["label", "labels", "target", "targets", "class", "classes", "species"];

/// What an array of labels beside an array x is called too; a column y is a coordinate.
const LABELS_BESIDE_X: &str = "y";

/// So many distinct integers, or a tenth of the rows, may be labels.
const FEW: usize = 20;

/// A configuration, the file's content under it, and what a person should know of what was left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitting {
    /// The configuration.
    pub config: DataSetConfig,
    /// The content.
    pub data: DataSet,
    /// One sentence for every column or array that is left out or taken for labels.
    pub notes: Vec<String>,
}

impl DataSetConfig {
    /// A configuration for this file; `header` says whether the first line of a text file holds names, where it does not
    /// tell by itself.
    ///
    /// Labels are a column (or an array) with one of the usual names and few distinct integers or text in it, else the only
    /// column of text; for MNIST's images the file of labels beside them. Other columns of text, and the index of a data
    /// frame, are left out. Rows of two axes are images.
    ///
    /// # Errors
    /// Those of [`DataSet::load`]; among columns of numbers also the first cell that is none.
    pub fn fitting(path: &Path, header: Option<bool>) -> Result<Fitting, DataError> {
        let mut config = Self { header, ..Self::of_file(path) };
        let mut notes = config.describe().map_err(at(path))?;
        if !is_text(path) {
            config.header = None;
        }
        let mut data = DataSet::load(&config)?;
        if let (None, Some(name), Some(labels)) = (&config.columns, &config.label, &data.labels)
            && !is_text(path)
        {
            if are_labels(labels) {
                notes.push(format!(
                    "the array {name:?} is taken for the labels: its name and its values are those of labels"
                ));
            } else {
                notes.push(format!("the array {name:?} is left out: its values are no labels"));
                config.label = None;
                data = DataSet::load(&config)?;
            }
        }
        if let [height, width] = data.row_shape[..]
            && height.min(width) > 1
        {
            config.image_shape = Some([height, width]);
        }
        Ok(Fitting { config, data, notes })
    }

    /// Fills in `columns` and `label`.
    fn describe(&mut self) -> Result<Vec<String>, FileProblem> {
        let file = source::open(&self.path)?;
        let Format { kind, gzip } = Format::of(&self.path)?;
        match kind {
            Kind::Csv | Kind::Tsv => {
                let delimiter = (kind == Kind::Tsv).then_some(b'\t');
                let header = self.header.map_or(Header::Recognised, |names| Header::Stated { names });
                let is_label = |name: &str| LABEL_NAMES.iter().any(|usual| usual.eq_ignore_ascii_case(name));
                let columns = csv::survey(&mut Source::file(file, gzip)?, delimiter, header, is_label)?;
                return self.describe_columns(columns);
            }
            Kind::Npz => {
                let names = if gzip {
                    npy::array_names(Cursor::new(Source::file(file, true)?.rest()?))
                } else {
                    npy::array_names(BufReader::new(file))
                }?;
                let usual = LABEL_NAMES.into_iter().chain([LABELS_BESIDE_X]);
                self.label = usual_label(&names.iter().map(String::as_str).collect::<Vec<_>>(), usual);
            }
            Kind::Idx => {
                let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                let labels = name.replace("images", "labels").replace("idx3", "idx1");
                let there = labels != name && self.path.with_file_name(&labels).is_file();
                self.label = there.then_some(labels);
            }
            Kind::Npy => {}
        }
        Ok(Vec::new())
    }

    fn describe_columns(&mut self, columns: Vec<Column>) -> Result<Vec<String>, FileProblem> {
        let candidates: Vec<&str> =
            columns.iter().filter(|column| column.may_be_labels()).map(|column| column.name.as_str()).collect();
        let texts: Vec<&Column> = columns
            .iter()
            .filter(|column| column.texts > 0 && column.numbers == 0 && column.gaps == 0 && !column.name.is_empty())
            .collect();
        self.label = usual_label(&candidates, LABEL_NAMES).filter(|_| columns.len() > 1).or_else(|| match texts[..] {
            [only] if columns.len() > 1 => Some(only.name.clone()),
            _ => None,
        });
        let mut notes = Vec::new();
        let mut kept = Vec::new();
        for (place, column) in columns.iter().enumerate() {
            let name = match column.name.as_str() {
                "" => format!("column {} without a name", place + 1),
                name => format!("column {name:?}"),
            };
            let seen = column.first_text.as_ref().map(|(at, text)| {
                let line = at.line.map_or(String::new(), |line| format!(" (line {line})"));
                format!("{text:?} in row {}{line}", at.row)
            });
            if self.label.as_ref() == Some(&column.name) && !column.name.is_empty() {
                notes.push(match seen {
                    Some(seen) => format!("{name} is taken for the labels: it holds text, such as {seen}"),
                    None => {
                        format!("{name} is taken for the labels: so it is called, and it holds few distinct integers")
                    }
                });
            } else if column.is_index {
                notes.push(format!("{name} is left out: it is the index of a data frame"));
            } else if column.is_number() {
                if column.name.is_empty() {
                    return Err(FileProblem::UnnamedColumn { column: place + 1 });
                }
                if let Some((at, text)) = &column.first_text {
                    let may_be_name = at.row == 1 && self.header.is_none();
                    return Err(FileProblem::NotANumber { at: at.clone(), text: text.clone(), may_be_name });
                }
                kept.push(column.name.clone());
            } else {
                let reason =
                    seen.map_or_else(|| "it is empty".to_owned(), |seen| format!("it is no column of numbers: {seen}"));
                notes.push(format!("{name} is left out: {reason}"));
            }
        }
        let labels = usize::from(self.label.is_some());
        // Where nothing is left, the file as it stands says why.
        self.columns = (!kept.is_empty() && kept.len() + labels < columns.len()).then_some(kept);
        Ok(notes)
    }
}

impl Column {
    /// Whether it is one of numbers, some cells of which may be wrong.
    fn is_number(&self) -> bool {
        self.numbers > 0 && self.numbers >= self.texts
    }

    /// Whether its values are those of labels: text in every row, or few distinct values of which all numbers are integers.
    fn may_be_labels(&self) -> bool {
        let rows = self.numbers + self.texts + self.gaps;
        let few = self.distinct.as_ref().is_some_and(|distinct| distinct.len() as u64 <= (rows / 10).max(FEW as u64));
        self.texts == rows || self.whole && few && self.gaps == 0
    }
}

/// Whether the labels of an array are text, or few distinct integers.
fn are_labels(labels: &[String]) -> bool {
    let numbers: Vec<Option<f64>> = labels.iter().map(|label| label.parse().ok()).collect();
    let distinct: std::collections::HashSet<&String> = labels.iter().collect();
    numbers.iter().all(Option::is_none)
        || numbers.iter().flatten().all(|number| number.fract() == 0.0)
            && distinct.len() <= (labels.len() / 10).max(FEW)
}

fn is_text(path: &Path) -> bool {
    Format::of(path).is_ok_and(|format| matches!(format.kind, Kind::Csv | Kind::Tsv))
}

/// The first of the usual names that is there, where there is something beside it.
fn usual_label<'a>(names: &[&str], usual: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let called = |usual: &str| names.iter().find(|name| name.eq_ignore_ascii_case(usual));
    usual.into_iter().find_map(called).map(|&name| name.to_owned())
}
