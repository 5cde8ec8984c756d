//! Numbers, points and columns as a person reads them.

use serde_json::Value;

/// The most coordinates of a point in a line.
const MOST_COORDINATES: usize = 4;

/// A line a note.
pub fn notes(notes: &[&str]) -> String {
    notes.iter().map(|note| format!("note: {note}\n")).collect()
}

/// The first coordinates of a point.
pub fn point(coordinates: &[f64]) -> String {
    let shown: Vec<String> = coordinates.iter().take(MOST_COORDINATES).map(|&x| number(x)).collect();
    let rest = if coordinates.len() > MOST_COORDINATES { ", …" } else { "" };
    format!("({}{rest})", shown.join(", "))
}

/// Columns to the right of each other, each as wide as its widest cell.
pub fn aligned(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heads = heads.iter().map(|&head| head.to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// A value of JSON without the quotes of a string.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A line of csv, its cells quoted as RFC 4180 says.
pub fn csv_line<S: AsRef<str>>(cells: impl IntoIterator<Item = S>) -> String {
    let quoted = cells.into_iter().map(|cell| match cell.as_ref() {
        cell if cell.contains([',', '"', '\n', '\r']) => format!("\"{}\"", cell.replace('"', "\"\"")),
        cell => cell.to_owned(),
    });
    quoted.collect::<Vec<_>>().join(",") + "\n"
}

/// A number in four digits.
pub fn number(value: f64) -> String {
    match value.abs() {
        _ if value.is_nan() => "-".to_owned(),
        0.0 => "0".to_owned(),
        size if !size.is_finite() => format!("{value}"),
        size if !(1e-4..1e6).contains(&size) => format!("{value:.3e}"),
        size => {
            let text = format!("{value:.*}", (3 - size.log10().floor() as i32).max(0) as usize);
            if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_digits_and_no_idle_zeros() {
        let shown =
            [0.0, 1.0, 0.1, 0.123_456, 12.345_6, 123_456.7, 1.5e7, 3e-5, -0.5, 0.01, 100.0, f64::NAN].map(number);
        assert_eq!(
            shown,
            ["0", "1", "0.1", "0.1235", "12.35", "123457", "1.500e7", "3.000e-5", "-0.5", "0.01", "100", "-"]
        );
    }

    #[test]
    fn columns_stand_under_their_heads() {
        let rows = [vec!["1".to_owned(), "0.25".to_owned()], vec!["10".to_owned(), "-".to_owned()]];
        assert_eq!(aligned(&["r", "ζ*"], rows.into_iter()), " r    ζ*\n 1  0.25\n10     -\n");
    }

    #[test]
    fn cells_of_csv_are_quoted() {
        assert_eq!(csv_line(["a", "b,c", "d\"e"]), "a,\"b,c\",\"d\"\"e\"\n");
    }

    #[test]
    fn a_long_point_is_cut() {
        assert_eq!(point(&[1.0, 2.0]), "(1, 2)");
        assert_eq!(point(&[1.0; 5]), "(1, 1, 1, 1, …)");
    }
}
