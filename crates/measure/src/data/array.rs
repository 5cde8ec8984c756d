//! Arrays of numbers in binary: a layout from a header, and elements read as far as the bytes go.

use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use super::error::{FileProblem, Location};
use super::source::{CHUNK, Source};
use crate::Points;

/// How one element is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Element {
    pub kind: ElementKind,
    /// Bytes an element.
    pub size: usize,
    pub big_endian: bool,
}

/// What an element is; the size tells the width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ElementKind {
    Bool,
    Unsigned,
    Signed,
    Float,
    /// Bytes of text, padded with zeros.
    Bytes,
    /// Text in UTF-32, padded with zeros.
    Unicode,
}

impl Element {
    /// The type in numpy's words.
    pub fn name(&self) -> String {
        let bits = 8 * self.size;
        match self.kind {
            ElementKind::Bool => "bool".to_owned(),
            ElementKind::Unsigned => format!("uint{bits}"),
            ElementKind::Signed => format!("int{bits}"),
            ElementKind::Float => format!("float{bits}"),
            ElementKind::Bytes | ElementKind::Unicode => "text".to_owned(),
        }
    }

    /// Whether elements are numbers.
    pub fn is_number(&self) -> bool {
        !matches!(self.kind, ElementKind::Bytes | ElementKind::Unicode)
    }

    /// The bits of a number of at most eight bytes.
    fn bits(&self, bytes: &[u8]) -> u64 {
        let place = |bits: u64, &byte: &u8| bits << 8 | u64::from(byte);
        if self.big_endian { bytes.iter().fold(0, place) } else { bytes.iter().rev().fold(0, place) }
    }

    fn signed(&self, bytes: &[u8]) -> i64 {
        let unused = 64 - 8 * self.size as u32;
        (self.bits(bytes) << unused) as i64 >> unused
    }

    /// The element as a number; NaN for text.
    fn number(&self, bytes: &[u8]) -> f64 {
        match (self.kind, self.size) {
            (ElementKind::Bool, _) => f64::from(u8::from(bytes.iter().any(|&byte| byte != 0))),
            (ElementKind::Unsigned, _) => self.bits(bytes) as f64,
            (ElementKind::Signed, _) => self.signed(bytes) as f64,
            (ElementKind::Float, 2) => half_to_double(self.bits(bytes) as u16),
            (ElementKind::Float, 4) => f64::from(f32::from_bits(self.bits(bytes) as u32)),
            (ElementKind::Float, 8) => f64::from_bits(self.bits(bytes)),
            _ => f64::NAN,
        }
    }

    /// The element as text, as a label is kept; integers without loss.
    fn text(&self, bytes: &[u8]) -> String {
        match self.kind {
            ElementKind::Unsigned => self.bits(bytes).to_string(),
            ElementKind::Signed => self.signed(bytes).to_string(),
            ElementKind::Bool | ElementKind::Float => self.number(bytes).to_string(),
            ElementKind::Bytes => String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned(),
            ElementKind::Unicode => {
                let wide = Self { kind: ElementKind::Unsigned, size: 4, big_endian: self.big_endian };
                let character =
                    |code: &[u8]| char::from_u32(wide.bits(code) as u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                bytes.chunks_exact(4).map(character).collect::<String>().trim_end_matches('\0').to_owned()
            }
        }
    }
}

/// IEEE binary16 to binary64, exactly.
fn half_to_double(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * (-24f64).exp2(),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * f64::from(exponent - 25).exp2(),
    };
    if bits >> 15 == 0 { magnitude } else { -magnitude }
}

/// The element type, shape and order that a header announces; nothing in it is to be trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub element: Element,
    pub shape: Vec<u64>,
    /// The first index runs fastest.
    pub fortran: bool,
}

impl Layout {
    /// The shape as Python prints it.
    pub fn shape_text(&self) -> String {
        let numbers: Vec<String> = self.shape.iter().map(u64::to_string).collect();
        format!("({}{})", numbers.join(", "), if numbers.len() == 1 { "," } else { "" })
    }

    /// All values as `[n, d]`: the first axis counts rows, the others are flattened in C order.
    pub fn read_points(&self, source: &mut Source) -> Result<Points, FileProblem> {
        if !self.element.is_number() {
            return Err(FileProblem::ElementType { found: self.element.name(), cure: "array.astype(\"float64\")" });
        }
        match self.shape.first() {
            None => return Err(FileProblem::Scalar),
            Some(0) => return Err(FileProblem::NoRows),
            Some(_) => {}
        }
        if self.shape.contains(&0) {
            return Err(FileProblem::NoColumns);
        }
        let values = self.read(source, |bytes| self.element.number(bytes))?;
        let rows = self.shape[0] as usize;
        let columns = values.len() / rows;
        let points = if self.fortran {
            // In range: the product is the number of values that were read.
            let shape: Vec<usize> = self.shape.iter().map(|&length| length as usize).collect();
            let mut in_order = Vec::new();
            reserve(&mut in_order, values.len())?;
            let array = ArrayD::from_shape_vec(IxDyn(&shape).f(), values).expect("as many values as the shape says");
            in_order.extend(array.iter().copied());
            Points::from_shape_vec((rows, columns), in_order)
        } else {
            Points::from_shape_vec((rows, columns), values)
        }
        .expect("rows times columns values");
        for ((row, column), value) in points.indexed_iter() {
            if !value.is_finite() {
                let at = Location { row: row as u64 + 1, line: None, column: column + 1, name: None };
                return Err(FileProblem::NotFinite { at, value: value.to_string() });
            }
        }
        Ok(points)
    }

    /// One label a row, of an array `[rows]` or `[rows, 1]`.
    pub fn read_labels(&self, source: &mut Source, rows: usize) -> Result<Vec<String>, FileProblem> {
        if self.shape.first() != Some(&(rows as u64)) || self.shape[1..].iter().any(|&length| length != 1) {
            return Err(FileProblem::LabelShape { shape: self.shape_text(), rows });
        }
        self.read(source, |bytes| self.element.text(bytes))
    }

    /// The shape of one row.
    pub fn row_shape(&self) -> Vec<usize> {
        self.shape.iter().skip(1).map(|&length| length as usize).collect()
    }

    /// Every element, in the file's order. Memory grows with the bytes that are there, not with those announced.
    fn read<T>(&self, source: &mut Source, decode: impl Fn(&[u8]) -> T) -> Result<Vec<T>, FileProblem> {
        let size = self.element.size;
        // Saturating: a shape beyond 2¹²⁸ is refused like any other that the file does not hold.
        let count = self.shape.iter().fold(1u128, |product, &length| product.saturating_mul(length.into()));
        let expected = count.saturating_mul(size as u128);
        let length = |found: String| FileProblem::Length {
            shape: self.shape_text(),
            element: self.element.name(),
            expected,
            found,
        };
        if let Some(remaining) = source.remaining()
            && u128::from(remaining) != expected
        {
            return Err(length(remaining.to_string()));
        }
        let mut values: Vec<T> = Vec::new();
        if source.remaining().is_some() {
            // The bytes are there, but a sparse file holds more than the memory does.
            let short = FileProblem::Memory { values: count };
            match usize::try_from(count).map(|count| values.try_reserve_exact(count)) {
                Ok(Ok(())) => {}
                _ => return Err(short),
            }
        }
        let mut chunk = vec![0; (CHUNK / size).max(1) * size];
        let mut left = expected;
        while left > 0 {
            let wanted = chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let filled = source.fill(&mut chunk[..wanted])?;
            if filled < wanted {
                return Err(length((expected - left + filled as u128).to_string()));
            }
            reserve(&mut values, wanted / size)?;
            values.extend(chunk[..wanted].chunks_exact(size).map(&decode));
            left -= wanted as u128;
        }
        // The end must be here; in an archive, reading it also checks the checksum.
        if source.fill(&mut [0])? > 0 {
            return Err(length("more".to_owned()));
        }
        Ok(values)
    }
}

/// Makes room for more values, or says that there is none.
pub(super) fn reserve<T>(values: &mut Vec<T>, more: usize) -> Result<(), FileProblem> {
    // Twice the room at a time, as long as there is so much.
    values
        .try_reserve(more)
        .or_else(|_| values.try_reserve_exact(more))
        .map_err(|_| FileProblem::Unpacked { megabytes: (values.len() * size_of::<T>()) >> 20 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(kind: ElementKind, size: usize, big_endian: bool) -> Element {
        Element { kind, size, big_endian }
    }

    #[test]
    fn numbers_of_every_width_and_both_byte_orders() {
        for big_endian in [false, true] {
            let order = |mut bytes: Vec<u8>| {
                if big_endian {
                    bytes.reverse();
                }
                bytes
            };
            let of = |kind, bytes: Vec<u8>| element(kind, bytes.len(), big_endian).number(&order(bytes));
            assert_eq!(of(ElementKind::Signed, (-3i8).to_le_bytes().to_vec()), -3.0);
            assert_eq!(of(ElementKind::Signed, (-300i16).to_le_bytes().to_vec()), -300.0);
            assert_eq!(of(ElementKind::Signed, (-70_000i32).to_le_bytes().to_vec()), -70_000.0);
            assert_eq!(of(ElementKind::Signed, (-(1i64 << 40)).to_le_bytes().to_vec()), -(2f64.powi(40)));
            assert_eq!(of(ElementKind::Unsigned, 65_000u16.to_le_bytes().to_vec()), 65_000.0);
            assert_eq!(of(ElementKind::Unsigned, u64::MAX.to_le_bytes().to_vec()), 2f64.powi(64));
            assert_eq!(of(ElementKind::Float, 1.5f32.to_le_bytes().to_vec()), 1.5);
            assert_eq!(of(ElementKind::Float, (-0.1f64).to_le_bytes().to_vec()), -0.1);
            assert_eq!(of(ElementKind::Bool, vec![1]), 1.0);
        }
    }

    #[test]
    fn half_precision_is_converted_exactly() {
        let cases = [(0x3c00, 1.0), (0xc000, -2.0), (0x3555, 0.333_251_953_125), (0x7bff, 65_504.0)];
        for (bits, value) in cases.into_iter().chain([(0x0001, (-24f64).exp2()), (0x0400, (-14f64).exp2())]) {
            assert_eq!(half_to_double(bits), value, "{bits:#x}");
        }
        assert_eq!(half_to_double(0xfc00), f64::NEG_INFINITY);
        assert!(half_to_double(0x7e00).is_nan());
    }

    #[test]
    fn labels_keep_large_integers_and_text() {
        let large = (1i64 << 60) + 1;
        assert_eq!(element(ElementKind::Signed, 8, false).text(&large.to_le_bytes()), large.to_string());
        assert_eq!(element(ElementKind::Float, 8, false).text(&3f64.to_le_bytes()), "3");
        assert_eq!(element(ElementKind::Bytes, 5, false).text(b"ab\0\0\0"), "ab");
        let wide: Vec<u8> = "ä\0".chars().flat_map(|c| (c as u32).to_be_bytes()).collect();
        assert_eq!(element(ElementKind::Unicode, 8, true).text(&wide), "ä");
    }
}
