//! From characters to the words of a formula.

use std::fmt;

use super::error::Mistake;

/// A word of a formula.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number(f64),
    Name(String),
    /// The name of a column between single quotes.
    Quoted(String),
    Symbol(char),
    End,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "the number {number}"),
            Self::Name(name) => write!(f, "`{name}`"),
            Self::Quoted(name) => write!(f, "`'{name}'`"),
            Self::Symbol(symbol) => write!(f, "`{symbol}`"),
            Self::End => write!(f, "the end of the formula"),
        }
    }
}

const SYMBOLS: &str = "+-*/^()[],";

/// The words of a formula, each with the place of its first character; the last is [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Mistake> {
    let letters: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&first) = letters.get(at) {
        let run = |from: usize, belongs: &dyn Fn(char) -> bool| {
            letters[from..].iter().position(|&c| !belongs(c)).map_or(letters.len(), |n| from + n)
        };
        if first.is_whitespace() {
            at += 1;
        } else if first.is_ascii_digit() || (first == '.' && letters.get(at + 1).is_some_and(char::is_ascii_digit)) {
            let end = end_of_number(&letters, at);
            let written: String = letters[at..end].iter().collect();
            match written.parse::<f64>() {
                Ok(number) if number.is_finite() => tokens.push((Token::Number(number), at)),
                _ => return Mistake::new(at, format!("the number {written} is out of range")),
            }
            at = end;
        } else if first.is_alphabetic() || first == '_' {
            let end = run(at, &|c| c.is_alphanumeric() || c == '_');
            tokens.push((Token::Name(letters[at..end].iter().collect()), at));
            at = end;
        } else if first == '\'' {
            let end = run(at + 1, &|c| c != '\'');
            if end == letters.len() {
                return Mistake::new(at, "expected a closing `'` after the name of a column");
            }
            tokens.push((Token::Quoted(letters[at + 1..end].iter().collect()), at));
            at = end + 1;
        } else if first == '*' && letters.get(at + 1) == Some(&'*') {
            return Mistake::new(at, "expected one operator, found `**`; a power is written `^`");
        } else if SYMBOLS.contains(first) {
            tokens.push((Token::Symbol(first), at));
            at += 1;
        } else {
            return Mistake::new(at, format!("expected a number, a name or one of `{SYMBOLS}`, found {first:?}"));
        }
    }
    tokens.push((Token::End, letters.len()));
    Ok(tokens)
}

/// Digits, a point, digits, and an exponent where digits follow its `e`.
fn end_of_number(letters: &[char], start: usize) -> usize {
    let digits = |from: usize| {
        letters[from..].iter().position(|c| !c.is_ascii_digit()).map_or(letters.len(), |count| from + count)
    };
    let mut end = digits(start);
    if letters.get(end) == Some(&'.') {
        end = digits(end + 1);
    }
    if matches!(letters.get(end), Some('e' | 'E')) {
        let sign = usize::from(matches!(letters.get(end + 1), Some('+' | '-')));
        let from = end + 1 + sign;
        if letters.get(from).is_some_and(char::is_ascii_digit) {
            end = digits(from);
        }
    }
    end
}
