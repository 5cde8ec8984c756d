//! A formula as operations in the order in which they are computed; its gradient by reverse mode, and Hessian-vector products by forward
//! mode over that.
//!
//! # Design
//!
//! Every value is a tensor `[n or 1, R or 1]`: one row a point where it depends on x, one column a row of the data where it depends on
//! them; the others broadcast. Equal operations are computed once, and what depends on numbers alone is folded when it is written.
//! Griewank and Walther, Evaluating Derivatives (2008), ch. 3 and 5.

use std::collections::HashMap;

use burn::tensor::Tensor;
use ndarray::Array2;

use super::function::Function;
use crate::measure::host_tensor;

/// The place of an operation on the tape.
pub(super) type Id = usize;

/// One operation on values before it.
#[derive(Debug, Clone, PartialEq)]
enum Operation {
    Constant(f64),
    Variable(usize),
    Column(usize),
    /// `Σ c_k v_k + constant`.
    Linear(Vec<(f64, Id)>, f64),
    Product(Id, Id),
    Of(Function, Id),
    LogSumExp(Vec<Id>),
    /// `Σ_k p_k r_k`, p of points and r of rows: one matrix product.
    Bilinear(Vec<(Id, Id)>),
    RowSum(Id),
}

impl Operation {
    /// Visits the values that it is computed from.
    fn arguments(&self, visit: &mut dyn FnMut(Id)) {
        match self {
            Self::Constant(_) | Self::Variable(_) | Self::Column(_) => {}
            Self::Linear(terms, _) => terms.iter().for_each(|&(_, id)| visit(id)),
            Self::Product(a, b) => [*a, *b].into_iter().for_each(visit),
            Self::Of(_, v) | Self::RowSum(v) => visit(*v),
            Self::LogSumExp(terms) => terms.iter().copied().for_each(visit),
            Self::Bilinear(pairs) => pairs.iter().for_each(|&(point, row)| {
                visit(point);
                visit(row);
            }),
        }
    }
}

/// What a value depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub points: bool,
    pub rows: bool,
}

impl Extent {
    fn or(self, other: Self) -> Self {
        Self { points: self.points || other.points, rows: self.rows || other.rows }
    }
}

/// The operations of a formula; the last value asked for is its root.
#[derive(Debug, Clone)]
pub(super) struct Tape {
    operations: Vec<(Operation, Extent)>,
    known: HashMap<String, Id>,
    /// The data, `[R, columns]`.
    data: Array2<f64>,
    root: Id,
}

/// Numbers in all intermediate tensors of a tile.
const TILE: usize = 1 << 24;

/// Above this many terms a sum inside a sum stays a value of its own.
const MOST_FLATTENED: usize = 64;

impl Tape {
    pub fn new(data: Array2<f64>) -> Self {
        Self { operations: Vec::new(), known: HashMap::new(), data, root: 0 }
    }

    pub fn set_root(&mut self, root: Id) {
        self.root = root;
    }

    pub fn extent(&self, id: Id) -> Extent {
        self.operations[id].1
    }

    /// The number of a value that depends on nothing.
    pub fn number(&self, id: Id) -> Option<f64> {
        match self.operations[id].0 {
            Operation::Constant(number) => Some(number),
            _ => None,
        }
    }

    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether the root depends on a coordinate.
    pub fn reads(&self, variable: usize) -> bool {
        let mut reached = vec![false; self.operations.len()];
        reached[self.root] = true;
        self.operations.iter().enumerate().rev().any(|(id, (operation, _))| {
            if reached[id] {
                operation.arguments(&mut |to| reached[to] = true);
            }
            reached[id] && *operation == Operation::Variable(variable)
        })
    }

    fn push(&mut self, operation: Operation) -> Id {
        let key = format!("{operation:?}");
        if let Some(&id) = self.known.get(&key) {
            return id;
        }
        let nothing = Extent { points: false, rows: false };
        let of = |ids: &mut dyn Iterator<Item = Id>| ids.map(|id| self.extent(id)).fold(nothing, Extent::or);
        let extent = match &operation {
            Operation::Constant(_) => nothing,
            Operation::Variable(_) => Extent { points: true, rows: false },
            Operation::Column(_) => Extent { points: false, rows: true },
            Operation::Linear(terms, _) => of(&mut terms.iter().map(|term| term.1)),
            Operation::Product(a, b) => of(&mut [*a, *b].into_iter()),
            Operation::Of(_, v) => self.extent(*v),
            Operation::LogSumExp(terms) => of(&mut terms.iter().copied()),
            Operation::Bilinear(_) => Extent { points: true, rows: true },
            Operation::RowSum(v) => Extent { rows: false, ..self.extent(*v) },
        };
        self.operations.push((operation, extent));
        self.known.insert(key, self.operations.len() - 1);
        self.operations.len() - 1
    }

    pub fn constant(&mut self, number: f64) -> Id {
        self.push(Operation::Constant(number))
    }

    pub fn variable(&mut self, coordinate: usize) -> Id {
        self.push(Operation::Variable(coordinate))
    }

    pub fn column(&mut self, column: usize) -> Id {
        self.push(Operation::Column(column))
    }

    /// `Σ c_k v_k`.
    pub fn linear(&mut self, terms: &[(f64, Id)]) -> Id {
        let (mut flat, mut constant): (Vec<(f64, Id)>, f64) = (Vec::new(), 0.0);
        let mut places: HashMap<Id, usize> = HashMap::new();
        let mut add = |flat: &mut Vec<(f64, Id)>, factor: f64, id: Id| match places.get(&id) {
            Some(&place) => flat[place].0 += factor,
            None => {
                places.insert(id, flat.len());
                flat.push((factor, id));
            }
        };
        for &(factor, id) in terms {
            match &self.operations[id].0 {
                Operation::Constant(number) => constant += factor * number,
                Operation::Linear(inner, number) if inner.len() <= MOST_FLATTENED => {
                    constant += factor * number;
                    inner.iter().for_each(|&(inner, id)| add(&mut flat, factor * inner, id));
                }
                _ => add(&mut flat, factor, id),
            }
        }
        flat.retain(|term| term.0 != 0.0);
        match flat[..] {
            [] => self.constant(constant),
            [(1.0, id)] if constant == 0.0 => id,
            _ => {
                let flat = self.with_bilinear(flat);
                self.push(Operation::Linear(flat, constant))
            }
        }
    }

    /// The same sum, its products of a value of points and one of rows joined to one matrix product.
    fn with_bilinear(&mut self, terms: Vec<(f64, Id)>) -> Vec<(f64, Id)> {
        let pair = |tape: &Self, id: Id| match tape.operations[id].0 {
            Operation::Product(a, b) => {
                let [ea, eb] = [tape.extent(a), tape.extent(b)];
                let (points, rows) = (Extent { points: true, rows: false }, Extent { points: false, rows: true });
                match (ea == points && eb == rows, ea == rows && eb == points) {
                    (true, _) => Some((a, b)),
                    (_, true) => Some((b, a)),
                    _ => None,
                }
            }
            _ => None,
        };
        let (mut pairs, mut rest) = (Vec::new(), Vec::new());
        for (factor, id) in &terms {
            match pair(self, *id) {
                Some((point, row)) => pairs.push((*factor, point, row)),
                None => rest.push((*factor, *id)),
            }
        }
        if pairs.len() < 2 {
            return terms;
        }
        let pairs = pairs
            .into_iter()
            .map(|(factor, point, row)| (if factor == 1.0 { point } else { self.linear(&[(factor, point)]) }, row))
            .collect();
        rest.push((1.0, self.push(Operation::Bilinear(pairs))));
        rest
    }

    /// `Π v_k`: what depends on rows alone, and on points alone, is multiplied first.
    pub fn product(&mut self, factors: &[Id]) -> Id {
        let mut number = 1.0;
        let mut kinds: [Vec<Id>; 3] = Default::default();
        for &id in factors {
            match (self.number(id), self.extent(id)) {
                (Some(factor), _) => number *= factor,
                (None, Extent { points: false, .. }) => kinds[0].push(id),
                (None, Extent { rows: false, .. }) => kinds[1].push(id),
                (None, _) => kinds[2].push(id),
            }
        }
        let mut whole: Option<Id> = None;
        for kind in kinds {
            let mut part: Option<Id> = None;
            for id in kind {
                part = Some(part.map_or(id, |part| self.push(Operation::Product(part.min(id), part.max(id)))));
            }
            if let Some(part) = part {
                whole = Some(whole.map_or(part, |whole| self.push(Operation::Product(whole, part))));
            }
        }
        match whole {
            None => self.constant(number),
            Some(whole) => self.linear(&[(number, whole)]),
        }
    }

    /// `f(v)`; `log σ` and `log(1 + e^v)` keep their tails.
    pub fn of(&mut self, function: Function, v: Id) -> Id {
        if let Some(number) = self.number(v) {
            return self.constant(function.at(number));
        }
        match (function, self.operations[v].0.clone()) {
            (Function::Log, Operation::Of(Function::Sigmoid, inner)) => self.of(Function::LogSigmoid, inner),
            (Function::Log1p, Operation::Of(Function::Exp, inner)) => self.softplus(inner),
            (Function::Log, Operation::Linear(terms, 1.0)) => match terms[..] {
                [(1.0, exp)] => match self.operations[exp].0 {
                    Operation::Of(Function::Exp, inner) => self.softplus(inner),
                    _ => self.push(Operation::Of(function, v)),
                },
                _ => self.push(Operation::Of(function, v)),
            },
            _ => self.push(Operation::Of(function, v)),
        }
    }

    /// `log(1 + e^v) = -log σ(-v)`.
    fn softplus(&mut self, v: Id) -> Id {
        let minus = self.linear(&[(-1.0, v)]);
        let log_sigmoid = self.of(Function::LogSigmoid, minus);
        self.linear(&[(-1.0, log_sigmoid)])
    }

    /// `base^exponent`, for a base above 0 where the exponent is not constant.
    pub fn power(&mut self, base: Id, exponent: Id) -> Id {
        match self.number(exponent) {
            Some(0.0) => self.constant(1.0),
            Some(1.0) => base,
            Some(p) => self.of(Function::Power(p), base),
            None => {
                let log = self.of(Function::Log, base);
                let product = self.product(&[exponent, log]);
                self.of(Function::Exp, product)
            }
        }
    }

    pub fn log_sum_exp(&mut self, terms: Vec<Id>) -> Id {
        let numbers: Option<Vec<f64>> = terms.iter().map(|&id| self.number(id)).collect();
        match numbers {
            Some(numbers) => {
                let largest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                self.constant(numbers.iter().map(|v| (v - largest).exp()).sum::<f64>().ln() + largest)
            }
            None => self.push(Operation::LogSumExp(terms)),
        }
    }

    /// The sum over the rows of the data.
    pub fn row_sum(&mut self, v: Id) -> Id {
        if self.extent(v).rows {
            self.push(Operation::RowSum(v))
        } else {
            self.linear(&[(self.data.nrows() as f64, v)])
        }
    }

    /// The value of the root at points `[n, d]`, `[n, 1]`.
    pub fn value(&self, x: Tensor<2>) -> Tensor<2> {
        self.tiled(x, |tape, x| {
            let mut values = tape.forward(&Dual::constant(x));
            values.swap_remove(tape.root).value
        })
    }

    /// The gradient at points, `[n, d]`.
    pub fn gradient(&self, x: Tensor<2>) -> Tensor<2> {
        self.tiled(x, |tape, x| tape.backward(&Dual::constant(x)).value)
    }

    /// `∇²f(x) v`, x and v `[n, d]` side by side.
    pub fn hessian_product(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let d = x.dims()[1];
        self.tiled(Tensor::cat(vec![x, v], 1), |tape, both| {
            let [value, tangent] = [0, d].map(|start| both.clone().narrow(1, start, d));
            let zero = value.zeros_like();
            tape.backward(&Dual { value, tangent: Some(tangent) }).tangent.unwrap_or(zero)
        })
    }

    /// Applies `f` to so many points at once that memory grows neither with points × data nor with points × operations.
    fn tiled(&self, x: Tensor<2>, f: impl Fn(&Self, Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        let numbers = |extent: &Extent| match (extent.points, extent.rows) {
            (true, true) => self.data.nrows(),
            (true, false) => 1,
            (false, _) => 0,
        };
        let a_point: usize = self.operations.iter().map(|(_, extent)| numbers(extent)).sum();
        let (n, tile) = (x.dims()[0], (TILE / a_point.max(1)).max(1));
        if n <= tile {
            return f(self, x);
        }
        let parts = (0..n).step_by(tile).map(|start| f(self, x.clone().narrow(0, start, tile.min(n - start))));
        Tensor::cat(parts.collect(), 0)
    }

    /// All values at points `[n, d]`.
    fn forward(&self, x: &Dual) -> Vec<Dual> {
        let (n, like) = (x.value.dims()[0], &x.value);
        let rows = self.data.nrows();
        let host = |values: Vec<f64>| {
            let width = values.len();
            Dual::constant(host_tensor(values, [1, width], like.dtype(), &like.device()))
        };
        let mut values: Vec<Dual> = Vec::with_capacity(self.operations.len());
        for (operation, extent) in &self.operations {
            let shape = [if extent.points { n } else { 1 }, if extent.rows { rows } else { 1 }];
            let value = match operation {
                Operation::Constant(number) => host(vec![*number]),
                Operation::Variable(j) => x.map(|x| x.narrow(1, *j, 1)),
                Operation::Column(column) => host(self.data.column(*column).to_vec()),
                Operation::Linear(terms, constant) => {
                    let sum = terms.iter().map(|&(factor, id)| values[id].scale(factor)).reduce(Dual::add);
                    let sum = sum.expect("a term");
                    Dual { value: sum.value + *constant, ..sum }
                }
                Operation::Product(a, b) => values[*a].times(&values[*b]),
                Operation::Of(function, v) => {
                    values[*v].chain(|v| function.value(v.clone()), |v, y| function.derivative(v, y))
                }
                Operation::LogSumExp(terms) => {
                    let all: Vec<Dual> = terms.iter().map(|&id| values[id].map(|v| v.expand(shape))).collect();
                    let largest = all.iter().map(|v| v.value.clone()).reduce(Tensor::max_pair).expect("a term");
                    // Where all terms are -∞ there is no largest to shift by.
                    let shift = largest.clamp_min(f64::from(f32::MIN));
                    let sum = all.iter().map(|v| v.shifted(&shift).exp()).reduce(Dual::add).expect("a term");
                    let log = sum.chain(|v| v.clone().log(), |v, _| v.clone().recip());
                    Dual { value: log.value + shift, ..log }
                }
                Operation::Bilinear(pairs) => {
                    let points = Dual::side_by_side(pairs.iter().map(|&(point, _)| &values[point]));
                    let rows = Tensor::cat(pairs.iter().map(|&(_, row)| values[row].value.clone()).collect(), 0);
                    points.map(|points| points.matmul(rows.clone()))
                }
                Operation::RowSum(v) => values[*v].map(|v| v.sum_dim(1)),
            };
            values.push(value);
        }
        values
    }

    /// The gradient, with its derivative along the tangent of x.
    fn backward(&self, x: &Dual) -> Dual {
        let values = self.forward(x);
        let [n, d] = x.value.dims();
        let rows = self.data.nrows();
        let mut adjoints: Vec<Option<Dual>> = vec![None; values.len()];
        adjoints[self.root] = Some(Dual::constant(values[self.root].value.ones_like()));
        let mut gradient: Vec<Option<Dual>> = vec![None; d];
        for (id, (operation, _)) in self.operations.iter().enumerate().rev() {
            let Some(adjoint) = adjoints[id].take() else { continue };
            let mut give = |to: Id, part: Dual| {
                let Extent { points, rows } = self.extent(to);
                if points {
                    let part = if rows || part.value.dims()[1] == 1 { part } else { part.map(|part| part.sum_dim(1)) };
                    let sum = match adjoints[to].take() {
                        Some(sum) => sum.add(part),
                        None => part,
                    };
                    adjoints[to] = Some(sum);
                }
            };
            match operation {
                Operation::Constant(_) | Operation::Column(_) => {}
                Operation::Variable(j) => gradient[*j] = Some(adjoint),
                Operation::Linear(terms, _) => {
                    terms.iter().for_each(|&(factor, to)| give(to, adjoint.scale(factor)));
                }
                Operation::Product(a, b) => {
                    give(*a, adjoint.times(&values[*b]));
                    give(*b, adjoint.times(&values[*a]));
                }
                Operation::Of(function, v) => {
                    let (argument, value) = (&values[*v], &values[id].value);
                    let derivative =
                        argument.chain(|v| function.derivative(v, value), |v, _| function.second_derivative(v, value));
                    give(*v, adjoint.times(&derivative));
                }
                Operation::LogSumExp(terms) => {
                    for &to in terms {
                        let share = values[to].add_scaled(&values[id], -1.0).exp();
                        give(to, adjoint.times(&share));
                    }
                }
                Operation::Bilinear(pairs) => {
                    let matrix = Tensor::cat(pairs.iter().map(|&(_, row)| values[row].value.clone()).collect(), 0);
                    let parts = adjoint.map(|adjoint| adjoint.matmul(matrix.clone().transpose()));
                    for (place, &(point, _)) in pairs.iter().enumerate() {
                        give(point, parts.map(|parts| parts.narrow(1, place, 1)));
                    }
                }
                Operation::RowSum(v) => {
                    give(*v, adjoint.map(|adjoint| adjoint.expand([n, rows])));
                }
            }
        }
        let zero = Dual::constant(x.value.clone().narrow(1, 0, 1).zeros_like());
        Dual::side_by_side(gradient.iter().map(|part| part.as_ref().unwrap_or(&zero)))
    }
}

/// A value with its derivative along one direction; without a tangent that is 0.
#[derive(Debug, Clone)]
struct Dual {
    value: Tensor<2>,
    tangent: Option<Tensor<2>>,
}

impl Dual {
    fn constant(value: Tensor<2>) -> Self {
        Self { value, tangent: None }
    }

    /// A linear function.
    fn map(&self, f: impl Fn(Tensor<2>) -> Tensor<2>) -> Self {
        Self { value: f(self.value.clone()), tangent: self.tangent.clone().map(f) }
    }

    /// A function with its derivative, which is given argument and value.
    fn chain(
        &self,
        f: impl Fn(&Tensor<2>) -> Tensor<2>,
        derivative: impl Fn(&Tensor<2>, &Tensor<2>) -> Tensor<2>,
    ) -> Self {
        let value = f(&self.value);
        let tangent = self.tangent.clone().map(|tangent| derivative(&self.value, &value) * tangent);
        Self { value, tangent }
    }

    fn exp(&self) -> Self {
        self.chain(|v| v.clone().exp(), |_, y| y.clone())
    }

    fn scale(&self, factor: f64) -> Self {
        if factor == 1.0 { self.clone() } else { self.map(|v| v * factor) }
    }

    fn add(self, other: Self) -> Self {
        let tangent = match (self.tangent, other.tangent) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        Self { value: self.value + other.value, tangent }
    }

    fn add_scaled(&self, other: &Self, factor: f64) -> Self {
        self.clone().add(other.scale(factor))
    }

    fn shifted(&self, by: &Tensor<2>) -> Self {
        Self { value: self.value.clone() - by.clone(), tangent: self.tangent.clone() }
    }

    fn times(&self, other: &Self) -> Self {
        let left = self.tangent.clone().map(|tangent| tangent * other.value.clone());
        let right = other.tangent.clone().map(|tangent| self.value.clone() * tangent);
        let tangent = match (left, right) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        Self { value: self.value.clone() * other.value.clone(), tangent }
    }

    /// Columns beside one another.
    fn side_by_side<'a>(columns: impl Iterator<Item = &'a Self>) -> Self {
        let columns: Vec<&Self> = columns.collect();
        let value = Tensor::cat(columns.iter().map(|column| column.value.clone()).collect(), 1);
        let tangent = columns.iter().any(|column| column.tangent.is_some()).then(|| {
            let of = |column: &&Self| column.tangent.clone().unwrap_or_else(|| column.value.zeros_like());
            Tensor::cat(columns.iter().map(of).collect(), 1)
        });
        Self { value, tangent }
    }
}
