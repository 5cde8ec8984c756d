//! The IDX format of the MNIST files: two zeros, a type code, the rank, the lengths, then the elements, all big-endian.
//!
//! Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits" (the section on file formats).

use super::Table;
use super::array::{Element, ElementKind, Layout};
use super::error::FileProblem;
use super::source::Source;

/// An array from an IDX file.
pub(super) fn read_idx(source: &mut Source) -> Result<Table, FileProblem> {
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

/// Labels from an IDX file.
pub(super) fn read_idx_labels(source: &mut Source, rows: usize) -> Result<Vec<String>, FileProblem> {
    read_header(source)?.read_labels(source, rows)
}

/// Reads up to the first byte of the data.
fn read_header(source: &mut Source) -> Result<Layout, FileProblem> {
    let problem = |reason: String| FileProblem::Header { format: "IDX", reason };
    let mut start = [0; 4];
    if source.fill(&mut start)? < start.len() {
        return Err(problem("it ends inside its header".to_owned()));
    }
    let [0, 0, code, rank] = start else {
        return Err(problem("it does not begin with two zero bytes".to_owned()));
    };
    let (kind, size) = match code {
        0x08 => (ElementKind::Unsigned, 1),
        0x09 => (ElementKind::Signed, 1),
        0x0b => (ElementKind::Signed, 2),
        0x0c => (ElementKind::Signed, 4),
        0x0d => (ElementKind::Float, 4),
        0x0e => (ElementKind::Float, 8),
        _ => return Err(problem(format!("its type code {code:#04x} is unknown"))),
    };
    let mut shape = Vec::new();
    for _ in 0..rank {
        let mut length = [0; 4];
        if source.fill(&mut length)? < length.len() {
            return Err(problem("it ends inside its header".to_owned()));
        }
        shape.push(u32::from_be_bytes(length).into());
    }
    Ok(Layout { element: Element { kind, size, big_endian: true }, shape, fortran: false })
}
