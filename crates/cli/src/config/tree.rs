//! A JSON text as a tree in which every value remembers where it came from.

use std::fmt;
use std::sync::Arc;

use jsonc_parser::{CollectOptions, ParseOptions, ast, parse_to_ast};
use serde_json::Number;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the config file; both counted from one, the column in characters.
    File {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// On the command line, as typed: `--set training.steps=5`.
    Argument(Arc<str>),
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where the value begins.
    pub origin: Origin,
    /// The value.
    pub kind: Kind,
}

/// What a JSON value is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A finite number.
    Number(Number),
    /// A string.
    String(String),
    /// A list.
    Array(Vec<Node>),
    /// An object; keys in the order of the text, repeated ones included.
    Object(Vec<Entry>),
}

/// One key of an object with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key was written.
    pub origin: Origin,
    /// Its value.
    pub value: Node,
}

/// The first place where a text is no JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The line, counted from one.
    pub line: usize,
    /// The column in characters, counted from one.
    pub column: usize,
    /// What is wrong there.
    pub message: String,
    /// That line of the text.
    pub source_line: String,
}

impl SyntaxError {
    /// The line with a mark under the place; a long line is cut around it.
    pub fn excerpt(&self) -> String {
        const BEFORE: usize = 60;
        const AFTER: usize = 40;
        let skipped = (self.column - 1).saturating_sub(BEFORE);
        // A tab would move the mark.
        let shown: String = self
            .source_line
            .chars()
            .skip(skipped)
            .take(BEFORE + AFTER)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        format!("    | {shown}\n    | {}^", " ".repeat(self.column - 1 - skipped))
    }
}

/// Reads plain JSON: no comments, no trailing commas, no `NaN`.
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    let lines = Lines::new(text);
    read(text, &|byte| lines.origin(byte)).map_err(|(byte, message)| lines.error(byte, message))
}

/// Reads a value given on the command line: JSON, or where it is none the text itself as a string.
pub fn parse_argument(text: &str, argument: &Arc<str>) -> Node {
    let origin = Origin::Argument(argument.clone());
    read(text, &|_| origin.clone()).unwrap_or_else(|_| Node { origin, kind: Kind::String(text.to_owned()) })
}

impl Node {
    /// The value at a path such as `training.ema.0`, if there is one.
    pub fn get(&self, path: &str) -> Option<&Node> {
        path.split('.').filter(|segment| !segment.is_empty()).try_fold(self, Node::child)
    }

    /// Where the value at a path was written, or where it would have had to be.
    pub fn origin_of(&self, path: &str) -> &Origin {
        let mut node = self;
        for segment in path.split('.').filter(|segment| !segment.is_empty()) {
            match node.child(segment) {
                Some(child) => node = child,
                None => break,
            }
        }
        &node.origin
    }

    fn child(&self, segment: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Object(entries) => entries.iter().find(|entry| entry.key == segment).map(|entry| &entry.value),
            Kind::Array(elements) => elements.get(segment.parse::<usize>().ok()?),
            _ => None,
        }
    }
}

/// What was found, short enough for a message.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 60;
        match &self.kind {
            Kind::Null => write!(f, "null"),
            Kind::Bool(value) => write!(f, "{value}"),
            Kind::Number(value) => write!(f, "{value}"),
            Kind::String(value) if value.chars().count() <= LONGEST => write!(f, "{value:?}"),
            Kind::String(value) => write!(f, "{:?}…", value.chars().take(LONGEST).collect::<String>()),
            Kind::Array(elements) if elements.is_empty() => write!(f, "an empty list"),
            Kind::Array(elements) => write!(f, "a list of {}", elements.len()),
            Kind::Object(entries) if entries.is_empty() => write!(f, "an empty object"),
            Kind::Object(_) => write!(f, "an object"),
        }
    }
}

/// The byte at which a text stops being JSON, and why.
type Failure = (usize, String);

fn read(text: &str, origin: &dyn Fn(usize) -> Origin) -> Result<Node, Failure> {
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &strict).map_err(|error| {
        let byte = error.range().start;
        let here = text.get(byte..).unwrap_or("").trim_start_matches('-');
        if here.starts_with("NaN") || here.starts_with("nan") || here.to_lowercase().starts_with("inf") {
            return (byte, "NaN and Infinity are no JSON numbers".to_owned());
        }
        (byte, sentence(&error.kind().to_string()))
    })?;
    match parsed.value {
        Some(value) => node(&value, origin),
        None => Err((text.len(), "expected a JSON object, found nothing".to_owned())),
    }
}

fn node(value: &ast::Value<'_>, origin: &dyn Fn(usize) -> Origin) -> Result<Node, Failure> {
    let (range, kind) = match value {
        ast::Value::NullKeyword(null) => (null.range, Kind::Null),
        ast::Value::BooleanLit(literal) => (literal.range, Kind::Bool(literal.value)),
        ast::Value::StringLit(literal) => (literal.range, Kind::String(literal.value.clone().into_owned())),
        ast::Value::NumberLit(literal) => {
            let number = literal.value.parse::<Number>().map_err(|_| {
                let message = if literal.value.parse::<f64>().is_ok_and(f64::is_infinite) {
                    format!("the number {} is too large", literal.value)
                } else {
                    format!("`{}` is no JSON number", literal.value)
                };
                (literal.range.start, message)
            })?;
            (literal.range, Kind::Number(number))
        }
        ast::Value::Array(array) => {
            let elements = array.elements.iter().map(|element| node(element, origin)).collect::<Result<_, _>>()?;
            (array.range, Kind::Array(elements))
        }
        ast::Value::Object(object) => {
            let entries = object
                .properties
                .iter()
                .map(|property| {
                    Ok(Entry {
                        key: property.name.as_str().to_owned(),
                        origin: origin(property.range.start),
                        value: node(&property.value, origin)?,
                    })
                })
                .collect::<Result<_, Failure>>()?;
            (object.range, Kind::Object(entries))
        }
    };
    Ok(Node { origin: origin(range.start), kind })
}

/// The parser's words in the lower case of our messages.
fn sentence(message: &str) -> String {
    match message {
        "Comments are not allowed" => "comments are not allowed in a config: it is plain JSON".to_owned(),
        "Trailing commas are not allowed" => "nothing follows this comma; remove it".to_owned(),
        "Expected comma" => "expected a comma".to_owned(),
        "Expected colon after the string or word in object property" => "expected a colon after the key".to_owned(),
        other => {
            let mut letters = other.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
    }
}

/// Where the lines of a text begin.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(byte, _)| byte + 1)).collect();
        Self { text, starts }
    }

    /// Line and column of a byte, counted from one.
    fn position(&self, byte: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|&start| start <= byte);
        let before = self.text.get(self.starts[line - 1]..byte).unwrap_or("");
        (line, before.chars().count() + 1)
    }

    fn origin(&self, byte: usize) -> Origin {
        let (line, column) = self.position(byte);
        Origin::File { line, column }
    }

    fn error(&self, byte: usize, message: String) -> SyntaxError {
        let (line, column) = self.position(byte);
        let source_line = self.text.lines().nth(line - 1).unwrap_or("").to_owned();
        SyntaxError { line, column, message, source_line }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keys_and_elements_know_their_line_and_column() {
        let tree = parse("{\n  \"é\": 1, \"a\": [true,\n    {\"b\": null}]\n}").unwrap();
        assert_eq!(tree.origin_of("é"), &Origin::File { line: 2, column: 8 });
        assert_eq!(tree.origin_of("a.0"), &Origin::File { line: 2, column: 17 });
        assert_eq!(tree.origin_of("a.1.b"), &Origin::File { line: 3, column: 11 });
        // What is missing points at what should have held it.
        assert_eq!(tree.origin_of("a.1.c"), &Origin::File { line: 3, column: 5 });
    }

    #[test]
    fn what_is_no_plain_json_is_refused_where_it_stands() {
        for (text, line, column, message) in [
            ("{\"a\": 1,}", 1, 8, "nothing follows this comma; remove it"),
            ("{\"a\": 1\n \"b\": 2}", 1, 8, "expected a comma"),
            ("{\"a\": 1} // done", 1, 10, "comments are not allowed in a config: it is plain JSON"),
            ("{\"a\": NaN}", 1, 7, "NaN and Infinity are no JSON numbers"),
            ("{\"a\": [-Infinity]}", 1, 8, "NaN and Infinity are no JSON numbers"),
            ("{\"a\": 1e999}", 1, 7, "the number 1e999 is too large"),
            ("{\"a\": 01}", 1, 8, "expected a comma"),
            ("", 1, 1, "expected a JSON object, found nothing"),
            ("{\"a\": \"b", 1, 7, "unterminated string literal"),
            ("{\"a\": 1", 1, 1, "unterminated object"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!((error.line, error.column, error.message.as_str()), (line, column, message), "{text}");
        }
    }
}
