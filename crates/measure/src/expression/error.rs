//! What is wrong with a formula, and where.

use std::fmt;

use thiserror::Error;

/// A mistake in a formula, shown under its place.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ExpressionError {
    /// The formula.
    pub text: String,
    /// The place of the mistake, in characters from 0.
    pub at: usize,
    /// What is wrong, and what was expected.
    pub message: String,
}

/// How many characters of the formula are shown on either side of the mistake.
const SHOWN: usize = 48;

impl fmt::Display for ExpressionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters: Vec<char> = self.text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let (start, end) = (self.at.saturating_sub(SHOWN), letters.len().min(self.at + SHOWN));
        let shown: String = letters.get(start..end).unwrap_or_default().iter().collect();
        writeln!(f, "`log_density`, character {}: {}", self.at + 1, self.message)?;
        writeln!(f, "    {shown}")?;
        write!(f, "    {}^", " ".repeat(self.at - start))
    }
}

/// A mistake at a place, before it is known in which formula.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    pub at: usize,
    pub message: String,
}

impl Mistake {
    pub fn new<T>(at: usize, message: impl Into<String>) -> Result<T, Self> {
        Err(Self { at, message: message.into() })
    }

    pub fn within(self, text: &str) -> ExpressionError {
        ExpressionError { text: text.to_owned(), at: self.at, message: self.message }
    }
}
