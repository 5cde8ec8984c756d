//! Text tables: the delimiter found in the first line, a header recognised or stated, columns, labels and weights by name.

use std::cell::Cell;
use std::collections::{HashSet, VecDeque};
use std::io::{self, Cursor, Read};
use std::rc::Rc;

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};

use super::array::reserve;
use super::error::{FileProblem, Location, nearest};
use super::source::{CHUNK, Container, Source};
use super::{Header, Selection, Table, numbered_column};
use crate::Points;

/// The length to which a cell is cut in a message.
const SHOWN: usize = 40;

/// The longest row, in bytes: what is longer is no table, or has a quote that nothing closes.
const LONGEST_ROW: u64 = 64 << 20;

/// What stands for a value that is not there.
pub(super) const GAPS: [&str; 9] = ["", "NA", "N/A", "NULL", "None", "NaN", "nan", "?", "-"];

/// A table of numbers with at most one column of labels; a column without a name is named by its number, from 1.
pub(super) fn read_csv(
    source: &mut Source,
    delimiter: Option<u8>,
    selection: &Selection,
) -> Result<Table, FileProblem> {
    let mut rows = Rows::open(source, delimiter)?;
    let names = rows.names(selection.header, selection.columns.filter(|_| !selection.names_needed))?;
    let Some(width) = names.as_ref().map(Vec::len).or(rows.peek(0)?.map(|row| row.cells.len())) else {
        return Err(FileProblem::NoRows);
    };
    let mut plan = Plan::new(names, width, selection)?;
    let (mut values, mut labels, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    let mut index = Index::default();
    let mut may_be_index = plan.may_be_index(selection);
    let mut row = 0;
    while let Some(Row { cells, line, gap }) = rows.next()? {
        row += 1;
        if let Some(line) = gap.filter(|_| width == 1 && (row > 1 || plan.names.is_some())) {
            // In one column a blank line is an empty cell.
            return Err(FileProblem::Missing { at: plan.at(row, line, 0) });
        }
        reserve(&mut values, plan.chosen.len())?;
        match plan.take(&cells, row, line, &mut values) {
            Err(FileProblem::NotANumber { at, text, .. }) if row == 1 && plan.names.is_none() => {
                return Err(FileProblem::NotANumber { at, text, may_be_name: true });
            }
            taken => taken?,
        }
        if let Some(column) = plan.label {
            labels.push(String::from_utf8_lossy(&cells[column]).into_owned());
        }
        if let Some(column) = plan.weight {
            weights.push(plan.number(&cells, row, line, column)?);
        }
        if (plan.skips_index || may_be_index) && !index.holds(&cells[0]) {
            if plan.skips_index {
                return Err(FileProblem::UnnamedColumn { column: 1 });
            }
            may_be_index = false;
        }
    }
    if row == 0 {
        return Err(FileProblem::NoRows);
    }
    let mut columns = plan.chosen.len();
    let mut points = Points::from_shape_vec((row as usize, columns), values).expect("as many values a row as columns");
    if may_be_index {
        points = points.slice(ndarray::s![.., 1..]).to_owned();
        let _ = plan.chosen.remove(0);
        columns -= 1;
    }
    Ok(Table {
        points,
        names: plan.chosen.iter().map(|&column| plan.name(column)).collect(),
        labels: plan.label.map(|_| labels),
        weights: plan.weight.map(|_| weights),
        row_shape: vec![columns],
        index_passed_over: plan.skips_index || may_be_index,
    })
}

/// What the cells of a column are.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Its name; its number, from 1, where there are no names.
    pub name: String,
    /// How many cells are numbers.
    pub numbers: u64,
    /// How many are text.
    pub texts: u64,
    /// How many are empty.
    pub gaps: u64,
    /// The first cell of text, and what stands there.
    pub first_text: Option<(Location, String)>,
    /// Whether every number is an integer.
    pub whole: bool,
    /// The cells, each once, as long as they are not too many to be labels; not counted unless the name is one of labels.
    pub distinct: Option<HashSet<Vec<u8>>>,
    /// Whether it is the first and every cell is an integer that no other row has.
    pub is_index: bool,
}

/// More distinct cells than these are not counted: they are no labels.
const MOST_LABELS: usize = 10_000;

/// Looks at every cell of a table; of the columns whose names may be those of labels, distinct cells are counted.
pub(super) fn survey(
    source: &mut Source,
    delimiter: Option<u8>,
    header: Header,
    may_be_labels: impl Fn(&str) -> bool,
) -> Result<Vec<Column>, FileProblem> {
    let mut rows = Rows::open(source, delimiter)?;
    let names = rows.names(header, None)?;
    let names = match (names, rows.peek(0)?) {
        (Some(names), _) => names,
        (None, Some(row)) => (1..=row.cells.len()).map(|place| place.to_string()).collect(),
        (None, None) => return Err(FileProblem::NoRows),
    };
    let mut columns: Vec<Column> = names
        .into_iter()
        .enumerate()
        .map(|(place, name)| Column {
            distinct: may_be_labels(&name).then(HashSet::new),
            is_index: place == 0 && is_index_name(&name),
            name,
            numbers: 0,
            texts: 0,
            gaps: 0,
            first_text: None,
            whole: true,
        })
        .collect();
    let mut index = Index::default();
    let mut row = 0;
    while let Some(Row { cells, line, .. }) = rows.next()? {
        row += 1;
        for (place, (column, cell)) in columns.iter_mut().zip(&cells).enumerate() {
            column.is_index = column.is_index && index.holds(cell);
            match number(cell) {
                Some(value) => {
                    column.numbers += 1;
                    column.whole &= value.fract() == 0.0;
                }
                None if cell.is_empty() => column.gaps += 1,
                None => {
                    column.texts += 1;
                    let at = || Location { row, line: Some(line), column: place + 1, name: Some(column.name.clone()) };
                    column.first_text.get_or_insert_with(|| (at(), shown(cell)));
                }
            }
            if let Some(distinct) = &mut column.distinct {
                distinct.insert(cell.to_vec());
                if distinct.len() > MOST_LABELS {
                    column.distinct = None;
                }
            }
        }
    }
    Ok(columns)
}

/// A row of a text table.
struct Row {
    cells: ByteRecord,
    /// The line that it begins on, from 1.
    line: u64,
    /// The first of the blank lines between this row and the one before.
    gap: Option<u64>,
}

/// The rows of a text table, with the lines they stand on.
struct Rows<'a> {
    reader: Reader<Box<dyn Read + 'a>>,
    container: Container,
    /// Bytes that were read since the last row.
    since: Rc<Cell<u64>>,
    /// Rows that were looked at and not taken.
    ahead: VecDeque<Row>,
    /// The names in a line of comment before the table: numpy's header.
    comment: Option<ByteRecord>,
    /// Whether every cell of the first row is quoted, and not every one of the second: these are names, whatever they look like.
    quoted: bool,
    /// Lines of comment.
    skipped: u64,
    /// The line behind the last row.
    behind: u64,
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
        if start.contains(&b'\r') && !start.contains(&b'\n') {
            return Err(FileProblem::CarriageReturns);
        }
        let (mut comments, mut skipped) = (Vec::new(), 0);
        loop {
            let blank = start.iter().take_while(|byte| byte.is_ascii_whitespace() && **byte != b'\t').count();
            if start.get(blank) != Some(&b'#') {
                break;
            }
            skipped += start.drain(..blank).filter(|&byte| byte == b'\n').count() as u64;
            let end = loop {
                if let Some(end) = start.iter().position(|&byte| byte == b'\n') {
                    break end + 1;
                }
                let before = start.len();
                reader.take(CHUNK as u64).read_to_end(&mut start).map_err(|error| container.problem(error))?;
                if start.len() == before {
                    break before;
                }
                if before as u64 > LONGEST_ROW {
                    return Err(FileProblem::LongRow { line: skipped + 1 });
                }
            };
            comments.push(start.drain(..end).skip(1).collect::<Vec<u8>>());
            skipped += 1;
        }
        let delimiter = delimiter.unwrap_or_else(|| find_delimiter(&start));
        let build = |bytes: Box<dyn Read + 'a>| {
            ReaderBuilder::new()
                .has_headers(false)
                .flexible(true)
                .delimiter(delimiter)
                .terminator(Terminator::Any(b'\n'))
                .from_reader(bytes)
        };
        // Words of prose are no names.
        let comment = comments.into_iter().rev().find_map(|line| {
            let mut record = ByteRecord::new();
            let found = build(Box::new(Cursor::new(line))).read_byte_record(&mut record);
            record.trim();
            let name = |cell: &[u8]| is_name(cell) && !cell.iter().any(u8::is_ascii_whitespace);
            (found.is_ok_and(|found| found) && record.iter().all(name)).then_some(record)
        });
        let quoted = is_quoted(&start, delimiter);
        let since = Rc::new(Cell::new(0));
        // Every line ends at \n alone (a \r is trimmed), the last one too: so a record's line follows from where it ended.
        let bytes = Cursor::new(start).chain(reader).chain(&b"\n"[..]);
        let reader = build(Box::new(Counted { bytes, since: Rc::clone(&since) }));
        Ok(Self { reader, container, since, ahead: VecDeque::new(), comment, quoted, skipped, behind: 1 })
    }

    /// The next row that is not blank; `None` at the end.
    fn next(&mut self) -> Result<Option<Row>, FileProblem> {
        match self.ahead.pop_front() {
            Some(row) => Ok(Some(row)),
            None => self.read(),
        }
    }

    /// The row that comes after so many others; `None` where there is none.
    fn peek(&mut self, place: usize) -> Result<Option<&Row>, FileProblem> {
        while self.ahead.len() <= place
            && let Some(row) = self.read()?
        {
            self.ahead.push_back(row);
        }
        Ok(self.ahead.get(place))
    }

    fn read(&mut self) -> Result<Option<Row>, FileProblem> {
        let mut cells = ByteRecord::new();
        loop {
            match self.reader.read_byte_record(&mut cells) {
                Err(_) if self.since.get() > LONGEST_ROW => {
                    return Err(FileProblem::LongRow { line: self.behind + self.skipped });
                }
                Err(error) => return Err(self.container.problem(cause(error))),
                Ok(false) => return Ok(None),
                Ok(true) => {}
            }
            self.since.set(0);
            // A cell of quotes and nothing between is an empty cell; a line of spaces is a blank line.
            let quoted = cells.len() == 1 && cells[0].is_empty();
            let inside = cells.iter().flatten().filter(|&&byte| byte == b'\n').count() as u64;
            cells.trim();
            let bare = |cell: &[u8]| {
                cell.iter().enumerate().any(|(k, &byte)| byte == b'\r' && cell.get(k + 1) != Some(&b'\n'))
            };
            if cells.iter().any(bare) {
                return Err(FileProblem::CarriageReturns);
            }
            let end = self.reader.position().line();
            if cells.len() == 1 && cells[0].is_empty() && !quoted {
                continue;
            }
            let line = end.saturating_sub(1 + inside);
            let gap = (self.behind < line).then_some(self.behind + self.skipped);
            self.behind = end;
            return Ok(Some(Row { cells, line: line + self.skipped, gap }));
        }
    }

    /// The names of the columns, which are then behind.
    ///
    /// A first row holds names where a cell is no number, unless that cell stands for a missing value, is text like the one below it, or
    /// stands beside a number that is no name; where every cell is quoted; and where these are the `known` ones. Names in a line of
    /// comment count where the first row holds none, and where there are as many.
    ///
    /// # Errors
    ///
    /// A row that may be names or a point, where `header` does not say which.
    fn names(&mut self, header: Header, known: Option<&[String]>) -> Result<Option<Vec<String>>, FileProblem> {
        let comment = self.comment.take();
        let second = self.peek(1)?.map(|row| row.cells.clone());
        let Some(first) = self.ahead.front_mut() else { return Ok(None) };
        let cells = first.cells.clone();
        let comment = comment.filter(|names| names.len() == cells.len());
        // A row of just the names that are looked for, were they numbers, is no point without being asked for.
        let is_known = known.is_some_and(|names| names.iter().map(String::as_bytes).eq(cells.iter()));
        let guess = match guess(&cells, second.as_ref()) {
            Guess::Point if is_known => Guess::Unclear,
            guess => guess,
        };
        let is_header = match header {
            Header::Stated { names } => names && !(comment.is_some() && guess == Guess::Point),
            _ if self.quoted => true,
            _ if comment.is_some() && guess != Guess::Names => false,
            Header::WhereUnclear { names } => match guess {
                // No name is 0.5.
                Guess::Point => names && cells.iter().all(|cell| cell.iter().all(u8::is_ascii_digit)),
                Guess::Names => true,
                Guess::Unclear => names,
            },
            Header::Recognised => match guess {
                Guess::Unclear => return Err(FileProblem::NumericHeader { row: texts(&cells).join(",") }),
                clear => clear == Guess::Names,
            },
        };
        if is_header {
            let _ = self.next()?;
            return Ok(Some(texts(&cells)));
        }
        first.gap = None;
        Ok(comment.filter(|_| header != Header::Stated { names: false }).map(|names| texts(&names)))
    }
}

/// What a first row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Guess {
    Names,
    Point,
    Unclear,
}

fn guess(first: &ByteRecord, second: Option<&ByteRecord>) -> Guess {
    // The index of a data frame, above which no name stands.
    let is_indexed = first.len() > 1
        && first[0].is_empty()
        && second.is_some_and(|row| row.get(0).is_some_and(|cell| Index::default().holds(cell)));
    let numbers: Vec<&[u8]> = first.iter().filter(|cell| number(cell).is_some()).collect();
    // 0, 1, … or 1, 2, …: the names that a data frame without names is given, or a point.
    let counts = |from: usize| numbers.iter().enumerate().all(|(k, cell)| *cell == (k + from).to_string().as_bytes());
    let is_counted = !numbers.is_empty() && (counts(0) || counts(1));
    let has_name = first.iter().any(is_name);
    let gaps = first.iter().filter(|cell| number(cell).is_none() && !is_name(cell)).count();
    // Text above text is a row of data, where there are numbers beside it.
    let is_data = |row: &ByteRecord| first.iter().zip(row).all(|(cell, below)| !is_name(cell) || is_name(below));
    if numbers.is_empty() {
        if has_name { Guess::Names } else { Guess::Point }
    } else if is_indexed && is_counted {
        Guess::Names
    } else if !has_name {
        if is_counted && gaps == 0 { Guess::Unclear } else { Guess::Point }
    } else if second.is_none_or(is_data) {
        if is_counted { Guess::Unclear } else { Guess::Point }
    } else if numbers.iter().all(|cell| cell.iter().all(u8::is_ascii_digit)) {
        Guess::Names
    } else {
        Guess::Point
    }
}

/// Whether every cell of the first row is quoted, and not every one of the second.
fn is_quoted(start: &[u8], delimiter: u8) -> bool {
    let mut rest = start.trim_ascii_start();
    let mut all_quoted = || {
        let mut all = !rest.is_empty();
        loop {
            // Within quotes two quotes are one, and lines and delimiters are text.
            let is_quoted = rest.first() == Some(&b'"');
            let mut inside = false;
            let end = rest.iter().position(|&byte| {
                inside ^= byte == b'"';
                !inside && (byte == delimiter || byte == b'\n')
            });
            all &= is_quoted;
            let end = end.unwrap_or(rest.len());
            let is_last = rest.get(end) != Some(&delimiter);
            rest = &rest[(end + 1).min(rest.len())..];
            if is_last {
                return all;
            }
        }
    };
    all_quoted() && !all_quoted()
}

/// Counts the bytes that pass since the count was last set to 0, and ends where a row is too long.
struct Counted<R> {
    bytes: R,
    since: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.since.set(self.since.get() + read as u64);
        if self.since.get() > LONGEST_ROW { Err(io::Error::other("a row is too long")) } else { Ok(read) }
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

/// Whether a cell can only be a name: neither a number nor what stands for a missing one.
fn is_name(cell: &[u8]) -> bool {
    number(cell).is_none() && !GAPS.iter().any(|gap| gap.as_bytes().eq_ignore_ascii_case(cell))
}

/// What pandas calls an index that was written into a table and read again.
const INDEX_READ_AGAIN: &str = "Unnamed: 0";

/// Whether a first column of this name may be the index of a data frame.
fn is_index_name(name: &str) -> bool {
    name.is_empty() || name == INDEX_READ_AGAIN
}

/// The integers of an index column, each of which comes once.
#[derive(Debug, Clone, Default)]
struct Index(HashSet<i64>);

impl Index {
    /// Whether a cell is an integer that was not there before.
    fn holds(&mut self, cell: &[u8]) -> bool {
        let integer = std::str::from_utf8(cell).ok().and_then(|text| text.parse().ok());
        integer.is_some_and(|integer| self.0.insert(integer))
    }
}

fn texts(record: &ByteRecord) -> Vec<String> {
    record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect()
}

fn number(cell: &[u8]) -> Option<f64> {
    std::str::from_utf8(cell).ok()?.parse().ok()
}

fn shown(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell).chars().take(SHOWN).collect()
}

/// Which cells of a row are read.
struct Plan {
    names: Option<Vec<String>>,
    width: usize,
    chosen: Vec<usize>,
    label: Option<usize>,
    weight: Option<usize>,
    /// Whether columns without names were chosen by number.
    by_number: bool,
    /// Whether the first column, which has no name, is passed over as the index of a data frame.
    skips_index: bool,
}

impl Plan {
    fn new(names: Option<Vec<String>>, width: usize, selection: &Selection) -> Result<Self, FileProblem> {
        let by_number = names.is_none() && selection.columns.is_some();
        let (chosen, label, weight) = (Vec::new(), None, None);
        let mut plan = Self { names, width, chosen, label, weight, by_number, skips_index: false };
        plan.label = selection.label.map(|name| plan.find("label", name)).transpose()?;
        plan.weight = selection.weight.map(|name| plan.find("weight", name)).transpose()?;
        let are_numbers = |columns: &[String]| columns.iter().all(|name| name.parse::<usize>().is_ok());
        let by_name = selection.names_needed || plan.names.is_some() || selection.columns.is_some_and(are_numbers);
        plan.chosen = match selection.columns.filter(|_| by_name) {
            Some(columns) => columns.iter().map(|name| plan.find("columns", name)).collect::<Result<_, _>>()?,
            None => {
                let unnamed = plan.names.as_ref().and_then(|names| names.first()).is_some_and(String::is_empty);
                plan.skips_index = unnamed && width > 1;
                let first = usize::from(plan.skips_index);
                (first..width).filter(|&column| ![plan.label, plan.weight].contains(&Some(column))).collect()
            }
        };
        if plan.chosen.is_empty() {
            return Err(FileProblem::NoColumns);
        }
        if let Some(names) = &plan.names {
            let mut seen = HashSet::new();
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

    /// The name of a column; its number, from 1, where columns were chosen by number.
    fn name(&self, column: usize) -> Option<String> {
        match &self.names {
            Some(names) => Some(names[column].clone()),
            None => self.by_number.then(|| (column + 1).to_string()),
        }
    }

    /// Whether the first column that is read is called as an index is that was written and read again.
    fn may_be_index(&self, selection: &Selection) -> bool {
        let named = self.chosen[0] == 0 && self.name(0).as_deref() == Some(INDEX_READ_AGAIN);
        named && self.chosen.len() > 1 && selection.columns.is_none()
    }

    /// The place of a cell.
    fn at(&self, row: u64, line: u64, column: usize) -> Location {
        Location { row, line: Some(line), column: column + 1, name: self.name(column) }
    }

    fn take(&self, record: &ByteRecord, row: u64, line: u64, values: &mut Vec<f64>) -> Result<(), FileProblem> {
        if record.len() != self.width {
            return Err(FileProblem::Ragged { row, line, expected: self.width, found: record.len() });
        }
        for &column in &self.chosen {
            values.push(self.number(record, row, line, column)?);
        }
        Ok(())
    }

    /// The finite number in a cell.
    fn number(&self, record: &ByteRecord, row: u64, line: u64, column: usize) -> Result<f64, FileProblem> {
        let cell = &record[column];
        let at = || self.at(row, line, column);
        match number(cell) {
            Some(value) if value.is_finite() => Ok(value),
            Some(_) => Err(FileProblem::NotFinite { at: at(), value: shown(cell) }),
            None if cell.is_empty() => Err(FileProblem::Missing { at: at() }),
            None => Err(FileProblem::NotANumber { at: at(), text: shown(cell), may_be_name: false }),
        }
    }
}
