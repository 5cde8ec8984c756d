//! A log-density that a user types.
//!
//! ```text
//! {"expression": {"dim": 2, "log_density": "-(x0^2 - 1)^2 - 0.5*(x1 - x0)^2"}}
//! ```
//!
//! | written | means |
//! |---|---|
//! | `x0`, `x[0]`, `x[i + 1]` | a coordinate; indices are whole numbers from 0 |
//! | `+ - * / ^` | `^` binds tighter than a sign before it: `-x0^2` is `-(x0^2)`; `2^3^2` is `2^(3^2)` |
//! | `exp log log1p expm1 sqrt abs tanh sin cos sigmoid lgamma` | functions of one number; `lgamma` of a positive one |
//! | `logsumexp(a, b, …)` | `log(e^a + e^b + …)` without overflow |
//! | `normal_logpdf(x, mean, sd)` | `-((x - mean)/sd)²/2 - log sd - log(2π)/2` |
//! | `sum(i, 0, 9, …)` | the sum of the last argument over i = 0, …, 9 |
//! | `sum(row, …)` | the sum over the rows of `data`: a column by its name, as `row['name']` or as `row[0]` |
//! | `pi`, and names in `parameters` | numbers, or lists with an index |
//!
//! # Design
//!
//! The text becomes a tree (`parser`), the tree a tape (`compile`, `tape`), and the tape is computed in tensor operations, in f32 or
//! f64, on any device. The derivatives are exact: reverse mode for the score, forward mode over that for products with the Hessian.

mod compile;
mod error;
mod function;
mod lexer;
mod parser;
mod tape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::Tensor;
use ndarray::Array2;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use error::ExpressionError;

use crate::data::{DataSet, DataSetConfig};
use crate::error::{MeasureError, check_finite};
use crate::measure::Measure;
use crate::support::{Interval, Support};
use compile::{Columns, Names, compile, coordinate};
use function::NAMED;
use tape::Tape;

/// A log-density as a formula, up to a constant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpressionConfig {
    /// The dimension d.
    #[schemars(range(min = 1, max = 10_000))]
    pub dim: usize,
    /// The formula, in `x0` to `x{d-1}`: + - * / ^, exp, log, log1p, expm1, sqrt, abs, tanh, sin, cos, sigmoid, lgamma, logsumexp,
    /// normal_logpdf(x, mean, sd), sum(i, first, last, …), sum(row, …).
    pub log_density: String,
    /// Numbers, or lists of numbers, that the formula calls by name.
    #[serde(default)]
    pub parameters: BTreeMap<String, Parameter>,
    /// A table whose rows `sum(row, …)` runs over.
    #[serde(default)]
    pub data: Option<ExpressionData>,
    /// Where coordinates live that are not on the whole line: `"positive"`, or `[low, high]`.
    #[serde(default)]
    pub support: BTreeMap<String, SupportConfig>,
}

/// A number or a list of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Parameter {
    /// One number.
    Number(f64),
    /// A list, read with an index.
    List(Vec<f64>),
}

/// A table of numbers in a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpressionData {
    /// The file, relative to the working directory: whatever a data set can be read from.
    pub path: PathBuf,
    /// The columns to read, by name; without this key all.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub columns: Option<Vec<String>>,
    /// Whether the first line of a .csv or .tsv file holds names, where it does not tell by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    pub header: Option<bool>,
}

/// Where a coordinate lives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SupportConfig {
    /// By name.
    Named(NamedSupport),
    /// Between two numbers.
    Between([f64; 2]),
}

/// A half-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NamedSupport {
    /// x > 0.
    Positive,
}

/// A log-density given by a formula.
#[derive(Debug, Clone)]
pub struct Expression {
    dim: usize,
    tape: Tape,
    support: Support,
    sha256: Option<String>,
}

impl ExpressionConfig {
    /// A formula with nothing beside it.
    pub fn new(dim: usize, log_density: impl Into<String>) -> Self {
        let (parameters, support) = (BTreeMap::new(), BTreeMap::new());
        Self { dim, log_density: log_density.into(), parameters, data: None, support }
    }

    /// The measure.
    ///
    /// # Errors
    ///
    /// A formula that cannot be read, names that mean nothing or two things, data that cannot be read, a coordinate of the whole line that
    /// does not occur: no density is flat on a line.
    pub fn build(&self) -> Result<Expression, MeasureError> {
        if self.dim == 0 {
            return Err(MeasureError::TooLow { field: "expression.dim".to_owned(), value: 0, least: 1 });
        }
        let wrong = |message: String| MeasureError::Name(message);
        let data = self.data.as_ref().map(|data| {
            let wanted = DataSetConfig {
                columns: data.columns.clone(),
                header: data.header,
                ..DataSetConfig::of_file(&data.path)
            };
            DataSet::load(&wanted).map_err(|error| MeasureError::Data(error.to_string()))
        });
        let data = data.transpose()?;
        let columns = data.as_ref().map(|data| data.columns.clone().unwrap_or_default());
        let columns =
            data.as_ref().zip(columns.as_ref()).map(|(data, names)| Columns { count: data.points.ncols(), names });
        let mut parameters = BTreeMap::new();
        for (name, parameter) in &self.parameters {
            let is_name = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_alphanumeric() || c == '_');
            if !is_name {
                return Err(wrong(format!(
                    "the parameter {name:?} has no name that a formula can call; use letters, digits and `_`"
                )));
            }
            let reserved = compile::RESERVED.contains(&name.as_str())
                || NAMED.iter().any(|(function, _)| function == name)
                || coordinate(name).is_some();
            if reserved || columns.is_some_and(|columns| columns.names.contains(name)) {
                let whose = if reserved { "of the formulas themselves" } else { "a column of the data" };
                return Err(wrong(format!("the parameter `{name}` has a name {whose}; rename it")));
            }
            let values = match parameter {
                Parameter::Number(number) => vec![*number],
                Parameter::List(list) => list.clone(),
            };
            let field = format!("expression.parameters.{name}");
            check_finite(&field, &values)?;
            if values.is_empty() {
                return Err(MeasureError::Empty { field });
            }
            parameters.insert(name.clone(), values);
        }
        let support = self.support()?;
        let names = Names { dim: self.dim, parameters: &parameters, data: columns };
        let mut tape = Tape::new(data.as_ref().map_or_else(|| Array2::zeros((1, 0)), |data| data.points.clone()));
        let at = |mistake: error::Mistake| MeasureError::Expression(Box::new(mistake.within(&self.log_density)));
        let tree = parser::parse(&self.log_density).map_err(at)?;
        let root = compile(&tree, &names, &mut tape).map_err(at)?;
        tape.set_root(root);
        for (j, interval) in support.intervals().iter().enumerate() {
            if !matches!(interval, Interval::Between { .. }) && !tape.reads(j) {
                return Err(wrong(format!(
                    "`log_density` does not depend on x{j}, so it is flat along a line and no density; use x{j}, lower `dim`, or give \
                     x{j} a `support` [low, high]"
                )));
            }
        }
        Ok(Expression { dim: self.dim, tape, support, sha256: data.map(|data| data.sha256) })
    }

    fn support(&self) -> Result<Support, MeasureError> {
        let mut intervals = vec![Interval::Line; self.dim];
        for (name, support) in &self.support {
            let index = name.strip_prefix("x[").and_then(|rest| rest.strip_suffix(']'));
            let index = index.and_then(|index| coordinate(&format!("x{index}")));
            let Some(j) = coordinate(name).or(index).filter(|&j| j < self.dim) else {
                let last = self.dim - 1;
                return Err(MeasureError::Name(format!(
                    "`support` speaks of `{name}`; the coordinates are `x0` to `x{last}`"
                )));
            };
            if intervals[j] != Interval::Line {
                return Err(MeasureError::Name(format!("`support` speaks of x{j} twice; keep `x{j}` or `x[{j}]`")));
            }
            intervals[j] = match *support {
                SupportConfig::Named(NamedSupport::Positive) => Interval::Positive,
                SupportConfig::Between([low, high]) if low < high && (high - low).is_finite() => {
                    Interval::Between { low, high }
                }
                SupportConfig::Between([low, high]) => {
                    return Err(MeasureError::Name(format!(
                        "the `support` of `{name}` is [{low}, {high}]; give two finite numbers, the lower one first"
                    )));
                }
            };
        }
        Ok(Support::new(intervals))
    }
}

impl Expression {
    /// Where the coordinates live; `None` where all are on the whole line.
    pub fn support(&self) -> Option<&Support> {
        let is_bounded = self.support.intervals().iter().any(|interval| *interval != Interval::Line);
        is_bounded.then_some(&self.support)
    }

    /// SHA-256 of the data, in hexadecimal, where there are some.
    pub fn sha256(&self) -> Option<&str> {
        self.sha256.as_deref()
    }
}

impl Measure for Expression {
    fn dim(&self) -> usize {
        self.dim
    }

    /// -∞ outside the support.
    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let n = x.dims()[0];
        let value = self.tape.value(x.clone()).expand([n, 1]).squeeze_dim::<1>(1);
        match self.support() {
            None => value,
            Some(support) => {
                let outside = support.log_indicator(x).lower_elem(0.0);
                value.mask_fill(outside, f64::NEG_INFINITY)
            }
        }
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        self.tape.gradient(x)
    }

    fn hessian_product(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        self.tape.hessian_product(x, v)
    }
}
