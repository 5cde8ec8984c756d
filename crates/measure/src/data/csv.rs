//! Text tables: the delimiter found in the first line, a header recognised or stated, columns and labels by name.

use std::io::{self, Cursor, Read};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator, Trim};

use super::error::{FileProblem, Location, nearest};
use super::source::{CHUNK, Container, Source};
use super::{Selection, Table, numbered_column};
use crate::Points;

/// The length to which a cell is cut in a message.
const SHOWN: usize = 40;

/// A table of numbers with at most one column of labels; a column without a name is named by its number, from 1.
pub(super) fn read_csv(
    source: &mut Source,
    delimiter: Option<u8>,
    selection: &Selection,
) -> Result<Table, FileProblem> {
    let mut rows = Rows::open(source, delimiter)?;
    let mut line = rows.next()?;
    if line.is_none() {
        return Err(FileProblem::NoRows);
    }
    let header = selection.header.unwrap_or_else(|| looks_like_header(&rows.record));
    let plan = Plan::new(header.then(|| rows.cells()), rows.record.len(), selection)?;
    if header {
        line = rows.next()?;
    }
    let (mut values, mut labels, mut row) = (Vec::new(), Vec::new(), 0);
    while let Some(at) = line {
        row += 1;
        plan.take(&rows.record, row, at, &mut values, &mut labels)?;
        line = rows.next()?;
    }
    if row == 0 {
        return Err(FileProblem::NoRows);
    }
    let columns = plan.chosen.len();
    Ok(Table {
        points: Points::from_shape_vec((row as usize, columns), values).expect("as many values a row as columns"),
        names: plan.chosen.iter().map(|&column| plan.name(column)).collect(),
        labels: plan.label.map(|_| labels),
        row_shape: vec![columns],
    })
}

/// The names of all columns (numbers from 1 where there are none), each with whether it holds numbers alone.
pub(super) fn survey(source: &mut Source, delimiter: Option<u8>) -> Result<Vec<(String, bool)>, FileProblem> {
    let mut rows = Rows::open(source, delimiter)?;
    if rows.next()?.is_none() {
        return Err(FileProblem::NoRows);
    }
    let mut columns: Vec<(String, bool)> = if looks_like_header(&rows.record) {
        rows.cells().into_iter().map(|name| (name, true)).collect()
    } else {
        let cells = rows.record.iter().enumerate();
        cells.map(|(place, cell)| ((place + 1).to_string(), number(cell).is_some())).collect()
    };
    while rows.next()?.is_some() {
        for ((_, numeric), cell) in columns.iter_mut().zip(&rows.record) {
            // A gap or a NaN is a fault in a column of numbers, not a column of text.
            *numeric &= cell.is_empty() || number(cell).is_some();
        }
    }
    Ok(columns)
}

/// The rows of a text table, with the lines they stand on.
struct Rows<'a> {
    reader: Reader<Box<dyn Read + 'a>>,
    container: Container,
    record: ByteRecord,
}

impl<'a> Rows<'a> {
    /// Finds the delimiter in the first line where none is given.
    fn open(source: &'a mut Source, delimiter: Option<u8>) -> Result<Self, FileProblem> {
        let (reader, container) = source.reader();
        let mut start = Vec::new();
        reader.take(CHUNK as u64).read_to_end(&mut start).map_err(|error| container.problem(error))?;
        if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            return Err(FileProblem::Utf16);
        }
        if start.starts_with(b"\xef\xbb\xbf") {
            start.drain(..3);
        }
        let delimiter = delimiter.unwrap_or_else(|| find_delimiter(&start));
        // Every line ends at \n alone (a \r is trimmed), the last one too: so a record's line follows from where it ended.
        let bytes: Box<dyn Read + 'a> = Box::new(Cursor::new(start).chain(reader).chain(&b"\n"[..]));
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(delimiter)
            .terminator(Terminator::Any(b'\n'))
            .trim(Trim::All)
            .from_reader(bytes);
        Ok(Self { reader, container, record: ByteRecord::new() })
    }

    /// Reads the next row that is not blank into `record`; the line it begins on, or `None` at the end.
    fn next(&mut self) -> Result<Option<u64>, FileProblem> {
        while self.reader.read_byte_record(&mut self.record).map_err(|error| self.container.problem(cause(error)))? {
            let blank = self.record.len() == 1 && self.record[0].is_empty();
            if !blank {
                let inside = self.record.iter().flatten().filter(|&&byte| byte == b'\n').count() as u64;
                return Ok(Some(self.reader.position().line().saturating_sub(1 + inside)));
            }
        }
        Ok(None)
    }

    fn cells(&self) -> Vec<String> {
        self.record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
    }
}

fn cause(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

/// Tab, else semicolon, else comma, as the first line has it outside quotes: a comma beside semicolons is a decimal one.
fn find_delimiter(start: &[u8]) -> u8 {
    let mut quoted = false;
    let mut found = b',';
    for &byte in start.trim_ascii_start().iter().take_while(|&&byte| byte != b'\n') {
        match byte {
            b'"' => quoted = !quoted,
            b'\t' if !quoted => return b'\t',
            b';' if !quoted => found = b';',
            _ => {}
        }
    }
    found
}

/// A header has a name, and no number.
fn looks_like_header(record: &ByteRecord) -> bool {
    record.iter().any(|cell| !cell.is_empty()) && !record.iter().any(|cell| number(cell).is_some())
}

fn number(cell: &[u8]) -> Option<f64> {
    std::str::from_utf8(cell).ok()?.parse().ok()
}

/// Which cells of a row are read.
struct Plan {
    names: Option<Vec<String>>,
    width: usize,
    chosen: Vec<usize>,
    label: Option<usize>,
}

impl Plan {
    fn new(names: Option<Vec<String>>, width: usize, selection: &Selection) -> Result<Self, FileProblem> {
        let mut plan = Self { names, width, chosen: Vec::new(), label: None };
        plan.label = selection.label.map(|name| plan.find("label", name)).transpose()?;
        let by_name = selection.names_needed || plan.names.is_some();
        plan.chosen = match selection.columns.filter(|_| by_name) {
            Some(columns) => columns.iter().map(|name| plan.find("columns", name)).collect::<Result<_, _>>()?,
            None => (0..width).filter(|&column| Some(column) != plan.label).collect(),
        };
        if plan.chosen.is_empty() {
            return Err(FileProblem::NoColumns);
        }
        if let Some(names) = &plan.names {
            let mut seen = std::collections::HashSet::new();
            for &column in &plan.chosen {
                let name = &names[column];
                if name.is_empty() {
                    return Err(FileProblem::UnnamedColumn { column: column + 1 });
                }
                if !seen.insert(name) {
                    return Err(FileProblem::DuplicateName { name: name.clone() });
                }
            }
        }
        Ok(plan)
    }

    fn find(&self, key: &'static str, name: &str) -> Result<usize, FileProblem> {
        let Some(names) = &self.names else {
            return numbered_column(key, name, self.width, true);
        };
        let mut places = names.iter().enumerate().filter(|(_, known)| *known == name).map(|(place, _)| place);
        match (places.next(), places.next()) {
            (Some(place), None) => Ok(place),
            (Some(_), Some(_)) => Err(FileProblem::DuplicateName { name: name.to_owned() }),
            (None, _) => Err(FileProblem::UnknownName {
                key,
                thing: "column",
                name: name.to_owned(),
                nearest: nearest(name, names),
                known: names.clone(),
            }),
        }
    }

    fn name(&self, column: usize) -> Option<String> {
        self.names.as_ref().map(|names| names[column].clone())
    }

    fn take(
        &self,
        record: &ByteRecord,
        row: u64,
        line: u64,
        values: &mut Vec<f64>,
        labels: &mut Vec<String>,
    ) -> Result<(), FileProblem> {
        if record.len() != self.width {
            return Err(FileProblem::Ragged { row, line, expected: self.width, found: record.len() });
        }
        for &column in &self.chosen {
            let cell = &record[column];
            let at = || Location { row, line: Some(line), column: column + 1, name: self.name(column) };
            let text = || String::from_utf8_lossy(cell).chars().take(SHOWN).collect::<String>();
            match number(cell) {
                Some(value) if value.is_finite() => values.push(value),
                Some(_) => return Err(FileProblem::NotFinite { at: at(), value: text() }),
                None if cell.is_empty() => return Err(FileProblem::Missing { at: at() }),
                None => return Err(FileProblem::NotANumber { at: at(), text: text() }),
            }
        }
        if let Some(column) = self.label {
            labels.push(String::from_utf8_lossy(&record[column]).into_owned());
        }
        Ok(())
    }
}
