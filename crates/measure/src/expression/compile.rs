//! From the tree of a formula to its tape: names are resolved and sums written out.

use std::collections::BTreeMap;

use super::error::Mistake;
use super::function::{Function, NAMED};
use super::parser::{self, Node, Tree};
use super::tape::{Id, Tape};

/// What the names of a formula mean.
pub(super) struct Names<'a> {
    pub dim: usize,
    pub parameters: &'a BTreeMap<String, Vec<f64>>,
    /// The data, where there are some.
    pub data: Option<Columns<'a>>,
}

/// The columns of the data.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    pub count: usize,
    /// Their names; none in a file that has no names.
    pub names: &'a [String],
}

/// The word that runs over the rows of the data.
pub(super) const ROW: &str = "row";

/// Names that a formula has by itself.
pub(super) const RESERVED: [&str; 6] = ["sum", "logsumexp", "normal_logpdf", ROW, "pi", "x"];

/// How many operations a formula may write out to.
const MOST: usize = 1_000_000;

pub(super) fn compile(tree: &Tree, names: &Names, tape: &mut Tape) -> Result<Id, Mistake> {
    Compiler { tree, names, tape, counters: Vec::new(), in_rows: false, done: 0 }.node(tree.root)
}

/// The coordinate that a name such as `x3` stands for.
pub(super) fn coordinate(name: &str) -> Option<usize> {
    let digits = name.strip_prefix('x')?;
    let is_plain = digits.bytes().all(|digit| digit.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if is_plain { digits.parse().ok() } else { None }
}

/// What a name of a column means in every formula, where it means something.
fn own_meaning(name: &str) -> Option<String> {
    match name {
        "pi" => Some("the number π".to_owned()),
        _ => coordinate(name).map(|j| format!("the coordinate x[{j}]")),
    }
}

struct Compiler<'a> {
    tree: &'a Tree,
    names: &'a Names<'a>,
    tape: &'a mut Tape,
    /// The counters of the sums about this place, the innermost last.
    counters: Vec<(String, f64)>,
    in_rows: bool,
    done: usize,
}

impl Compiler<'_> {
    fn node(&mut self, id: parser::Id) -> Result<Id, Mistake> {
        let tree = self.tree;
        let (node, at) = &tree.nodes[id];
        self.done += 1;
        if self.done > MOST || self.tape.len() > MOST {
            return Mistake::new(*at, format!("the sums of the formula write out to more than {MOST} operations"));
        }
        let found = match node {
            Node::Number(number) => self.tape.constant(*number),
            Node::Name(name) => self.name(name, *at)?,
            Node::Index(name, index) => self.index(name, *index, *at)?,
            Node::Column(name, column) => self.column_by_name(name, column, *at)?,
            Node::Sum(terms) => {
                let signed = |(minus, id): &(bool, parser::Id)| Ok((if *minus { -1.0 } else { 1.0 }, self.node(*id)?));
                let terms = terms.iter().map(signed).collect::<Result<Vec<_>, Mistake>>()?;
                self.tape.linear(&terms)
            }
            Node::Product(factors) => {
                let mut all = Vec::with_capacity(factors.len());
                for (divides, id) in factors {
                    let factor = self.node(*id)?;
                    all.push(if *divides { self.tape.of(Function::Power(-1.0), factor) } else { factor });
                }
                self.tape.product(&all)
            }
            Node::Minus(id) => {
                let inner = self.node(*id)?;
                self.tape.linear(&[(-1.0, inner)])
            }
            Node::Power(base, exponent) => {
                let (base, exponent) = (self.node(*base)?, self.node(*exponent)?);
                self.tape.power(base, exponent)
            }
            Node::Call(name, arguments) => self.call(name, arguments, *at)?,
        };
        match self.tape.number(found) {
            Some(number) if !number.is_finite() => Mistake::new(*at, format!("this part is {number} whatever x is")),
            _ => Ok(found),
        }
    }

    fn name(&mut self, name: &str, at: usize) -> Result<Id, Mistake> {
        if let Some((_, value)) = self.counters.iter().rev().find(|(counter, _)| counter == name) {
            return Ok(self.tape.constant(*value));
        }
        match self.names.parameters.get(name).map(Vec::as_slice) {
            Some([value]) => return Ok(self.tape.constant(*value)),
            Some(values) => {
                let last = values.len() - 1;
                return Mistake::new(at, format!("`{name}` is a list: give an index, `{name}[0]` to `{name}[{last}]`"));
            }
            None => {}
        }
        let column = self.names.data.and_then(|data| data.names.iter().position(|c| c == name));
        if let (Some(_), Some(own)) = (column.filter(|_| self.in_rows), own_meaning(name)) {
            return Mistake::new(
                at,
                format!(
                    "`{name}` is a column of the data and {own}: write {ROW}['{name}'] for the column, or rename it"
                ),
            );
        }
        if let Some(j) = coordinate(name) {
            return self.variable(j, at);
        }
        match (column, name) {
            (_, "pi") => Ok(self.tape.constant(std::f64::consts::PI)),
            (Some(column), _) if self.in_rows => Ok(self.tape.column(column)),
            (Some(_), _) => {
                Mistake::new(at, format!("`{name}` is a column of the data: it is known inside `sum({ROW}, …)`"))
            }
            (None, _) => self.no_name(name, at),
        }
    }

    fn no_name(&self, name: &str, at: usize) -> Result<Id, Mistake> {
        match name {
            "x" => Mistake::new(at, "expected an index after `x`, such as `x0` or `x[0]`"),
            ROW => {
                Mistake::new(at, format!("expected `{ROW}` inside `sum({ROW}, …)`, as `{ROW}[0]` or `{ROW}['name']`"))
            }
            _ => Mistake::new(at, self.unknown(name)),
        }
    }

    fn variable(&mut self, j: usize, at: usize) -> Result<Id, Mistake> {
        let dim = self.names.dim;
        if j < dim {
            return Ok(self.tape.variable(j));
        }
        let last = dim - 1;
        Mistake::new(at, format!("expected a coordinate `x0` to `x{last}` (`dim` is {dim}), found x{j}"))
    }

    /// What else the name could have been.
    fn unknown(&self, name: &str) -> String {
        let last = self.names.dim - 1;
        let columns = self.names.data.filter(|_| self.in_rows).map_or(&[][..], |data| data.names);
        let known: Vec<&str> = (self.counters.iter().map(|(counter, _)| counter.as_str()))
            .chain(self.names.parameters.keys().map(String::as_str))
            .chain(columns.iter().map(String::as_str))
            .collect();
        let mut expected = vec![format!("a coordinate `x0` to `x{last}`")];
        expected.extend(known.iter().take(8).map(|known| format!("`{known}`")));
        let function = NAMED.iter().map(|(name, _)| *name).chain(RESERVED);
        let nearest = known
            .iter()
            .copied()
            .chain(function)
            .map(|known| (strsim::damerau_levenshtein(known, name), known))
            .min()
            .filter(|(distance, _)| *distance <= 2 && *distance < name.chars().count());
        let hint = nearest.map_or(String::new(), |(_, known)| format!("; did you mean `{known}`?"));
        format!("expected {}, found the unknown name `{name}`{hint}", expected.join(", "))
    }

    /// `name[index]`.
    fn index(&mut self, name: &str, index: parser::Id, at: usize) -> Result<Id, Mistake> {
        let place = self.tree.nodes[index].1;
        let whole = self.whole(index, "an index")?;
        let out_of = |count: usize| {
            let range = match count {
                0 | 1 => "0".to_owned(),
                _ => format!("0 to {}", count - 1),
            };
            Mistake::new(place, format!("expected an index {range} of `{name}`, found {whole}"))
        };
        let within = |count: usize| usize::try_from(whole).ok().filter(|&i| i < count);
        if name == "x" {
            return match within(self.names.dim) {
                Some(j) => Ok(self.tape.variable(j)),
                None => out_of(self.names.dim),
            };
        }
        if name == ROW {
            let columns = self.columns(at)?.count;
            return match within(columns) {
                Some(column) => Ok(self.tape.column(column)),
                None => out_of(columns),
            };
        }
        match self.names.parameters.get(name) {
            Some(values) => match within(values.len()) {
                Some(i) => Ok(self.tape.constant(values[i])),
                None => out_of(values.len()),
            },
            None => Mistake::new(at, format!("expected `x`, `{ROW}` or a parameter before `[`, found `{name}`")),
        }
    }

    /// The columns of the data, inside a sum over its rows.
    fn columns(&self, at: usize) -> Result<Columns<'_>, Mistake> {
        match self.names.data {
            Some(columns) if self.in_rows => Ok(columns),
            Some(_) => Mistake::new(at, format!("expected `{ROW}` inside `sum({ROW}, …)`")),
            None => Mistake::new(at, format!("`{ROW}` is a row of `data`, and there is none")),
        }
    }

    /// `row['name']`.
    fn column_by_name(&mut self, name: &str, column: &str, at: usize) -> Result<Id, Mistake> {
        if name != ROW {
            return Mistake::new(at, format!("expected `{ROW}` before the name of a column, found `{name}`"));
        }
        let columns = self.columns(at)?.names;
        match columns.iter().position(|known| known == column) {
            Some(place) => Ok(self.tape.column(place)),
            None if columns.is_empty() => {
                Mistake::new(at, format!("the columns of the data have no names: write `{ROW}[0]`"))
            }
            None => {
                let known = columns.iter().take(12).map(|known| format!("`{known}`")).collect::<Vec<_>>().join(", ");
                Mistake::new(at, format!("expected a column of the data ({known}), found `{column}`"))
            }
        }
    }

    /// A whole number that does not depend on x.
    fn whole(&mut self, id: parser::Id, what: &str) -> Result<i64, Mistake> {
        let at = self.tree.nodes[id].1;
        let value = self.node(id)?;
        match self.tape.number(value) {
            Some(number) if number.fract() == 0.0 && number.abs() < 1e15 => Ok(number as i64),
            Some(number) => Mistake::new(at, format!("expected {what}, a whole number, found {number}")),
            None => {
                Mistake::new(at, format!("expected {what}, a whole number, found what depends on x or on the data"))
            }
        }
    }

    fn call(&mut self, name: &str, arguments: &[parser::Id], at: usize) -> Result<Id, Mistake> {
        let takes = |expected: &str| {
            Mistake::new(at, format!("expected {expected}, found {} arguments of `{name}`", arguments.len()))
        };
        if name == "sum" {
            return match arguments {
                [counter, body] if self.tree.nodes[*counter].0 == Node::Name(ROW.to_owned()) => self.row_sum(*body, at),
                [counter, from, to, body] => self.sum(*counter, [*from, *to], *body),
                _ => takes(&format!("`sum(i, first, last, …)` or `sum({ROW}, …)`")),
            };
        }
        if let Some((_, function)) = NAMED.iter().find(|(known, _)| *known == name) {
            let [argument] = arguments else { return takes(&format!("`{name}(…)` with one argument")) };
            let argument = self.node(*argument)?;
            return Ok(self.tape.of(*function, argument));
        }
        match (name, arguments) {
            ("logsumexp", []) => takes("`logsumexp(a, b, …)`"),
            ("logsumexp", _) => {
                let terms = arguments.iter().map(|id| self.node(*id)).collect::<Result<Vec<_>, _>>()?;
                Ok(self.tape.log_sum_exp(terms))
            }
            // -((x - mean)/sd)²/2 - log sd - log(2π)/2.
            ("normal_logpdf", [x, mean, sd]) => {
                let place = self.tree.nodes[*sd].1;
                let [x, mean, sd] = [self.node(*x)?, self.node(*mean)?, self.node(*sd)?];
                if let Some(number) = self.tape.number(sd).filter(|&sd| sd <= 0.0) {
                    return Mistake::new(place, format!("expected a positive standard deviation, found {number}"));
                }
                let precision = self.tape.of(Function::Power(-1.0), sd);
                let offset = self.tape.linear(&[(1.0, x), (-1.0, mean)]);
                let z = self.tape.product(&[offset, precision]);
                let square = self.tape.of(Function::Power(2.0), z);
                let log_sd = self.tape.of(Function::Log, sd);
                let constant = self.tape.constant(-std::f64::consts::TAU.ln() / 2.0);
                Ok(self.tape.linear(&[(-0.5, square), (-1.0, log_sd), (1.0, constant)]))
            }
            ("normal_logpdf", _) => takes("`normal_logpdf(x, mean, sd)`"),
            _ => {
                let known = NAMED.iter().map(|(name, _)| *name).chain(["sum", "logsumexp", "normal_logpdf"]);
                let known = known.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                Mistake::new(at, format!("expected one of the functions {known}, found `{name}`"))
            }
        }
    }

    /// `sum(row, body)`.
    fn row_sum(&mut self, body: parser::Id, at: usize) -> Result<Id, Mistake> {
        if self.names.data.is_none() {
            return Mistake::new(at, format!("`sum({ROW}, …)` runs over the rows of `data`, and there is none"));
        }
        if self.in_rows {
            return Mistake::new(at, format!("expected no `sum({ROW}, …)` inside another"));
        }
        self.in_rows = true;
        let body = self.node(body)?;
        self.in_rows = false;
        Ok(self.tape.row_sum(body))
    }

    /// `sum(i, first, last, body)`, written out.
    fn sum(&mut self, counter: parser::Id, [first, last]: [parser::Id; 2], body: parser::Id) -> Result<Id, Mistake> {
        let (node, at) = &self.tree.nodes[counter];
        let Node::Name(name) = node else {
            return Mistake::new(*at, format!("expected the name of a counter, as in `sum(i, 0, 9, …)`, or `{ROW}`"));
        };
        let taken = self.names.parameters.contains_key(name)
            || self.counters.iter().any(|(counter, _)| counter == name)
            || self.names.data.is_some_and(|data| data.names.contains(name))
            || coordinate(name).is_some()
            || RESERVED.contains(&name.as_str());
        if taken {
            return Mistake::new(
                *at,
                format!("expected a new name for a counter, and `{name}` means something already"),
            );
        }
        let (first, last) = (self.whole(first, "the first index")?, self.whole(last, "the last index")?);
        let mut terms = Vec::new();
        for i in first..=last {
            self.counters.push((name.clone(), i as f64));
            let term = self.node(body);
            self.counters.pop();
            terms.push((1.0, term?));
        }
        Ok(self.tape.linear(&terms))
    }
}
