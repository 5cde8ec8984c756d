//! numpy's formats: .npy, and .npz as a table whose columns are arrays.
//!
//! The header of an .npy file is a Python dictionary with three keys; it is scanned here without
//! recursion and without believing its lengths, so that no file can exhaust stack or memory.
//! Format: numpy.lib.format, versions 1.0, 2.0 and 3.0.

use std::io::{Read, Seek};

use ndarray::{Axis, concatenate};
use zip::ZipArchive;

use super::array::{Element, ElementKind, Layout};
use super::error::{FileProblem, nearest};
use super::source::{CHUNK, Source};
use super::{Selection, Table};

const MAGIC: &[u8] = b"\x93NUMPY";

/// The highest rank that numpy makes.
const MAX_RANK: usize = 64;

/// The names under which an archive's data is looked for where it holds more than one array.
const DATA_NAMES: [&str; 3] = ["images", "x", "data"];

/// An array from an .npy file.
pub(super) fn read_npy(source: &mut Source) -> Result<Table, FileProblem> {
    let layout = read_header(source)?;
    let points = layout.read_points(source)?;
    Ok(Table {
        points,
        names: None,
        labels: None,
        weights: None,
        row_shape: layout.row_shape(),
        index_passed_over: false,
    })
}

/// Labels from an .npy file.
pub(super) fn read_npy_labels(source: &mut Source, rows: usize) -> Result<Vec<String>, FileProblem> {
    read_header(source)?.read_labels(source, rows)
}

/// The arrays of an archive that `columns` names, side by side, or the one array that is clearly the data; the labels
/// from the array that `label` names.
pub(super) fn read_npz<R: Read + Seek>(reader: R, selection: &Selection) -> Result<Table, FileProblem> {
    let mut archive = ZipArchive::new(reader).map_err(damaged)?;
    let entries = entries(&mut archive);
    let label = selection.label.map(|name| find(&entries, "label", name)).transpose()?;
    let weight = selection.weight.map(|name| find(&entries, "weight", name)).transpose()?;
    let known = |name: &String| entries.iter().any(|entry| entry.name == *name);
    let columns = selection.columns.filter(|columns| selection.names_needed || columns.iter().any(known));
    let chosen = match columns {
        Some(columns) => {
            columns.iter().map(|name| find(&entries, "columns", name)).collect::<Result<Vec<&str>, FileProblem>>()?
        }
        None => vec![the_data(&entries, &[selection.label, selection.weight])?],
    };

    let (mut parts, mut row_shape) = (Vec::new(), Vec::new());
    for name in &chosen {
        let mut source = open(&mut archive, name)?;
        let layout = read_header(&mut source)?;
        parts.push(layout.read_points(&mut source)?);
        row_shape = layout.row_shape();
    }
    let rows = parts.first().ok_or(FileProblem::NoColumns)?.nrows();
    if let Some(other) = parts.iter().position(|part| part.nrows() != rows) {
        return Err(FileProblem::UnequalRows {
            first: chosen[0].to_owned(),
            first_rows: rows,
            second: chosen[other].to_owned(),
            second_rows: parts[other].nrows(),
        });
    }
    let labels = match label {
        Some(name) => {
            let mut source = open(&mut archive, name)?;
            Some(read_header(&mut source)?.read_labels(&mut source, rows)?)
        }
        None => None,
    };
    let weights = match weight {
        Some(name) => {
            let mut source = open(&mut archive, name)?;
            let weights = read_header(&mut source)?.read_points(&mut source)?;
            if weights.dim() != (rows, 1) {
                let [found, columns] = [weights.nrows(), weights.ncols()];
                return Err(FileProblem::WeightShape { found, columns, rows });
            }
            Some(weights.into_iter().collect())
        }
        None => None,
    };
    let vectors = parts.iter().all(|part| part.ncols() == 1);
    let names = (columns.is_some() && vectors).then(|| chosen.iter().map(|&name| name.to_owned()).collect());
    let points = if parts.len() == 1 {
        parts.swap_remove(0)
    } else {
        let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
        let points = concatenate(Axis(1), &views).expect("equal numbers of rows");
        row_shape = vec![points.ncols()];
        points
    };
    Ok(Table { points, names, labels, weights, row_shape, index_passed_over: false })
}

/// The names of the arrays of an archive.
pub(super) fn array_names<R: Read + Seek>(reader: R) -> Result<Vec<String>, FileProblem> {
    let mut archive = ZipArchive::new(reader).map_err(damaged)?;
    Ok(entries(&mut archive).into_iter().map(|entry| entry.name).collect())
}

/// An array of an archive.
struct Entry {
    name: String,
    /// `None` where the header cannot be read, which matters only if the array is chosen.
    layout: Option<Layout>,
}

/// All arrays by name, since the archive's own order is that of a hash table.
fn entries<R: Read + Seek>(archive: &mut ZipArchive<R>) -> Vec<Entry> {
    let mut names: Vec<String> =
        archive.file_names().filter_map(|name| name.strip_suffix(".npy")).map(str::to_owned).collect();
    names.sort_unstable();
    let mut layout = |name: &str| read_header(&mut open(archive, name)?);
    names.into_iter().map(|name| Entry { layout: layout(&name).ok(), name }).collect()
}

/// The array that is clearly the data: the only one of numbers and of rank 2 or more; else the only one; else one of the
/// usual names.
fn the_data<'a>(entries: &'a [Entry], but: &[Option<&str>]) -> Result<&'a str, FileProblem> {
    let others: Vec<&Entry> = entries.iter().filter(|entry| !but.contains(&Some(entry.name.as_str()))).collect();
    let is_table = |layout: &Layout| layout.element.is_number() && layout.shape.len() >= 2;
    let tables: Vec<&Entry> =
        others.iter().copied().filter(|entry| entry.layout.as_ref().is_some_and(is_table)).collect();
    let usual = || {
        let called = |wanted: &str| others.iter().copied().find(|entry| entry.name.eq_ignore_ascii_case(wanted));
        DATA_NAMES.into_iter().find_map(called)
    };
    match (tables.as_slice(), others.as_slice()) {
        ([only], _) | (_, [only]) => Some(*only),
        _ => usual(),
    }
    .map(|entry| entry.name.as_str())
    .ok_or_else(|| FileProblem::WhichArray { arrays: entries.iter().map(Entry::described).collect() })
}

impl Entry {
    fn described(&self) -> String {
        let shape = self.layout.as_ref().map_or_else(|| "(unreadable)".to_owned(), Layout::shape_text);
        format!("{} {shape}", self.name)
    }
}

fn find<'a>(entries: &'a [Entry], key: &'static str, name: &str) -> Result<&'a str, FileProblem> {
    entries.iter().map(|entry| entry.name.as_str()).find(|known| *known == name).ok_or_else(|| {
        let known: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        FileProblem::UnknownName { key, thing: "array", name: name.to_owned(), nearest: nearest(name, &known), known }
    })
}

fn open<'a, R: Read + Seek>(archive: &'a mut ZipArchive<R>, name: &str) -> Result<Source<'a>, FileProblem> {
    archive.by_name(&format!("{name}.npy")).map(Source::entry).map_err(damaged)
}

fn damaged(error: zip::result::ZipError) -> FileProblem {
    match error {
        zip::result::ZipError::Io(error) if error.raw_os_error().is_some() => FileProblem::Read(error),
        other => FileProblem::Archive(other.to_string()),
    }
}

fn header_problem(reason: impl Into<String>) -> FileProblem {
    FileProblem::Header { format: ".npy", reason: reason.into() }
}

/// Reads up to the first byte of the data.
fn read_header(source: &mut Source) -> Result<Layout, FileProblem> {
    let mut take = |length: usize| {
        let mut bytes = vec![0; length];
        if source.fill(&mut bytes)? < length {
            return Err(header_problem("it ends inside its header"));
        }
        Ok(bytes)
    };
    let start = take(MAGIC.len() + 2)?;
    if !start.starts_with(MAGIC) {
        return Err(header_problem("it does not begin with numpy's mark"));
    }
    let length = match start[MAGIC.len()] {
        1 => take(2)?.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
        2 | 3 => take(4)?.iter().rev().fold(0, |sum, &byte| sum << 8 | usize::from(byte)),
        version => return Err(header_problem(format!("its format version {version} is unknown"))),
    };
    if length > CHUNK {
        return Err(header_problem(format!("its header claims {length} bytes")));
    }
    let header = take(length)?;
    Scanner { rest: &header }.layout()
}

/// What is left of the header text.
struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// `{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }`.
    fn layout(mut self) -> Result<Layout, FileProblem> {
        let (mut element, mut fortran, mut shape) = (None, None, None);
        self.expect(b'{')?;
        while !self.eat(b'}') {
            let key = self.string()?;
            self.expect(b':')?;
            match key {
                b"descr" => element = Some(self.element()?),
                b"fortran_order" => fortran = Some(self.boolean()?),
                b"shape" => shape = Some(self.shape()?),
                other => return Err(header_problem(format!("its header has the key {}", shown(other)))),
            }
            if !self.eat(b',') && !self.rest.starts_with(b"}") {
                return Err(self.unexpected("a comma"));
            }
        }
        match (element, fortran, shape) {
            (Some(element), Some(fortran), Some(shape)) => Ok(Layout { element, shape, fortran }),
            _ => Err(header_problem("its header lacks descr, fortran_order or shape")),
        }
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                self.skip_space();
                true
            }
            _ => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), FileProblem> {
        if self.eat(byte) { Ok(()) } else { Err(self.unexpected(&format!("`{}`", char::from(byte)))) }
    }

    fn unexpected(&self, wanted: &str) -> FileProblem {
        header_problem(format!("its header has {} where {wanted} belongs", shown(self.rest)))
    }

    fn take_while(&mut self, keep: impl Fn(u8) -> bool) -> &'a [u8] {
        let end = self.rest.iter().position(|&byte| !keep(byte)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn string(&mut self) -> Result<&'a [u8], FileProblem> {
        self.skip_space();
        let quote = match self.rest.first() {
            Some(&quote @ (b'\'' | b'"')) => quote,
            _ => return Err(self.unexpected("a quoted word")),
        };
        self.rest = &self.rest[1..];
        let word = self.take_while(|byte| byte != quote);
        self.expect(quote)?;
        Ok(word)
    }

    fn boolean(&mut self) -> Result<bool, FileProblem> {
        let before = Self { rest: self.rest };
        match self.take_while(|byte| byte.is_ascii_alphabetic()) {
            b"True" => Ok(true),
            b"False" => Ok(false),
            _ => Err(before.unexpected("True or False")),
        }
    }

    fn shape(&mut self) -> Result<Vec<u64>, FileProblem> {
        self.expect(b'(')?;
        let mut shape = Vec::new();
        while !self.eat(b')') {
            let before = Self { rest: self.rest };
            let digits = self.take_while(|byte| byte.is_ascii_digit());
            let length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
            shape.push(length.ok_or_else(|| before.unexpected("a length"))?);
            // Python 2 wrote its long integers as 3L.
            self.eat(b'L');
            if !self.eat(b',') && !self.rest.starts_with(b")") {
                return Err(self.unexpected("a comma"));
            }
            if shape.len() > MAX_RANK {
                return Err(header_problem(format!("it announces more than {MAX_RANK} axes")));
            }
        }
        Ok(shape)
    }

    fn element(&mut self) -> Result<Element, FileProblem> {
        if self.rest.starts_with(b"[") {
            return Err(FileProblem::ElementType {
                found: "a record of fields".to_owned(),
                cure: "numpy.array(array.tolist())",
            });
        }
        let descr = self.string()?;
        element(descr).ok_or_else(|| FileProblem::ElementType {
            found: shown(descr),
            cure: match descr {
                [b'<' | b'>' | b'=', b'c', ..] | [b'c', ..] => "numpy.stack([array.real, array.imag], -1)",
                _ => "array.astype(\"float64\")",
            },
        })
    }
}

/// The element type that `<f8`, `|b1`, `>U5` and the like stand for.
fn element(descr: &[u8]) -> Option<Element> {
    let (big_endian, descr) = match descr.split_first()? {
        (b'>', rest) => (true, rest),
        (b'<' | b'|' | b'=', rest) => (false, rest),
        _ => (false, descr),
    };
    let (kind, size) = descr.split_first()?;
    let size: usize = std::str::from_utf8(size).ok()?.parse().ok()?;
    let (kind, size) = match (kind, size) {
        (b'b', 1) => (ElementKind::Bool, 1),
        (b'u', 1 | 2 | 4 | 8) => (ElementKind::Unsigned, size),
        (b'i', 1 | 2 | 4 | 8) => (ElementKind::Signed, size),
        (b'f', 2 | 4 | 8) => (ElementKind::Float, size),
        // Text is bounded: one element is allocated before it is known to be there.
        (b'S', 1..=CHUNK) => (ElementKind::Bytes, size),
        (b'U', 1..=CHUNK) => (ElementKind::Unicode, 4 * size),
        _ => return None,
    };
    Some(Element { kind, size, big_endian })
}

/// A piece of the header for a message.
fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(20)]))
}
