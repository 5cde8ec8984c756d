//! An input-convex network on the CPU: tiles that stay in the cache, a few matrix products for each, and loops that the compiler vectorises.
//!
//! # Design
//!
//! Points lie along the rows of every array, one unit or coordinate a row, so that what is done for a unit is done for all points of a tile side by
//! side. The skip terms of all layers are one product, and so are their adjoints. Arrays of a tile are kept from one to the next by every thread:
//! to clear fresh pages of memory took a quarter of the time of the same network as tensor operations.

use std::cell::RefCell;
use std::sync::OnceLock;
use std::thread::LocalKey;

use brenier_measure::elementary;
use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::{InputConvexNetwork, Layer};
use crate::real::{Real, room};

/// Points of a tile.
const TILE: usize = 64;

/// Points whose sums are taken by one thread.
const GROUP: usize = 512;

/// A number type with arrays that a thread keeps.
pub trait Kept: Real {
    /// What the thread keeps.
    fn scratch() -> &'static LocalKey<RefCell<Scratch<Self>>>;
}

thread_local! {
    static SINGLE: RefCell<Scratch<f32>> = RefCell::default();
    static DOUBLE: RefCell<Scratch<f64>> = RefCell::default();
}

impl Kept for f32 {
    fn scratch() -> &'static LocalKey<RefCell<Scratch<Self>>> {
        &SINGLE
    }
}

impl Kept for f64 {
    fn scratch() -> &'static LocalKey<RefCell<Scratch<Self>>> {
        &DOUBLE
    }
}

/// The arrays of a tile of n points, W units in all.
#[derive(Debug, Default)]
pub struct Scratch<T> {
    /// y, `[d, n]`.
    y: Vec<T>,
    /// u of all units, then `Qᵀy` of all, `[2W, n]`.
    inputs: Vec<T>,
    /// z, `[W, n]`.
    values: Vec<T>,
    /// a', `[W, n]`.
    slopes: Vec<T>,
    /// α, `[W, n]`.
    alphas: Vec<T>,
    /// `α a'` of all units, then `α a' Qᵀy` of all, `[2W, n]`.
    adjoints: Vec<T>,
    /// J of a layer and of the one below, `[w, d, n]` each.
    jacobians: [Vec<T>; 2],
    /// The lower half of ∇²ψ, row by row, `[d(d + 1)/2, n]`.
    hessians: Vec<T>,
    /// `[d, n]`.
    of_points: Vec<T>,
}

/// One layer.
struct HostLayer<T> {
    /// Its first unit among all.
    first: usize,
    width: usize,
    offsets: Vec<T>,
    /// W, `[w of the layer before, w]`; empty in the first.
    weights: Vec<T>,
    /// o.
    heights: Vec<T>,
    is_quadratic: bool,
}

/// An input-convex network in one number type.
pub struct HostNetwork<T> {
    dim: usize,
    units: usize,
    /// `LᵀL + εI`, `[d, d]`.
    matrix: Vec<T>,
    /// L, `[d, d]`.
    factor: Vec<T>,
    /// c, `[d]`.
    slope: Vec<T>,
    /// Aᵀ of all units, then Qᵀ of all, `[2W, d]`.
    skips: Vec<T>,
    /// `Q_i Q_j`, `[d(d + 1)/2, W]`, which Hessians alone take.
    pairs: OnceLock<Vec<T>>,
    layers: Vec<HostLayer<T>>,
}

/// Sums of a pull over tiles.
struct Sums<T> {
    slope: Vec<T>,
    /// `Σ w y yᵀ`, `[d, d]`.
    squares: Vec<T>,
    skips: Vec<T>,
    offsets: Vec<T>,
    weights: Vec<Vec<T>>,
    heights: Vec<T>,
}

/// ψ, `[n]`, ∇ψ, `[n, d]`, and ∇²ψ, `[n, d, d]`, as far as they were asked for.
#[derive(Debug, Default)]
pub struct Jet<T> {
    pub values: Vec<T>,
    pub gradients: Vec<T>,
    pub hessians: Vec<T>,
}

/// What of a jet is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Orders {
    pub value: bool,
    pub gradient: bool,
    pub hessian: bool,
}

/// `dst = AB`, or `dst += AB`.
fn product<T: Real>(dst: &mut [T], accumulate: Accum, a: MatRef<T>, b: MatRef<T>) {
    let dst = MatMut::from_row_major_slice_mut(dst, a.nrows(), b.ncols());
    matmul(dst, accumulate, a, b, T::of(1.0), Par::Seq);
}

fn matrix<T>(entries: &[T], rows: usize, columns: usize) -> MatRef<'_, T> {
    MatRef::from_row_major_slice(entries, rows, columns)
}

impl<T: Kept> HostNetwork<T> {
    /// The network in this number type.
    pub fn new(network: &InputConvexNetwork) -> Self {
        let list = |values: &[f64]| values.iter().map(|&x| T::of(x)).collect::<Vec<T>>();
        let d = network.quadratic.slope.len();
        let mut layers = Vec::with_capacity(network.layers.len());
        let mut units = 0;
        for (l, layer) in network.layers.iter().enumerate() {
            let width = layer.heights.len();
            layers.push(HostLayer {
                first: units,
                width,
                offsets: list(layer.offsets.as_slice().expect("contiguous")),
                weights: layer.weights.iter().map(|&free| T::of(elementary::softplus(free))).collect(),
                heights: layer.heights.iter().map(|&free| T::of(elementary::softplus(free))).collect(),
                is_quadratic: l == 0 && network.quadratic_first,
            });
            units += width;
        }
        let of_units = |array: fn(&Layer) -> &ndarray::Array2<f64>| {
            network.layers.iter().flat_map(move |layer| array(layer).t().iter().copied().collect::<Vec<f64>>())
        };
        let squares: Vec<f64> = of_units(|layer| &layer.squares).collect();
        Self {
            dim: d,
            units,
            matrix: network.quadratic.matrix().iter().map(|&x| T::of(x)).collect(),
            factor: network.quadratic.factor.iter().map(|&x| T::of(x)).collect(),
            slope: list(network.quadratic.slope.as_slice().expect("contiguous")),
            pairs: OnceLock::new(),
            skips: of_units(|layer| &layer.slopes).chain(squares.iter().copied()).map(T::of).collect(),
            layers,
        }
    }

    /// The jet at points, `[n, d]` one after the other.
    pub fn jet(&self, y: &[T], orders: Orders) -> Jet<T> {
        let (d, n) = (self.dim, y.len() / self.dim);
        let mut jet = Jet {
            values: Vec::with_capacity(if orders.value { n } else { 0 }),
            gradients: Vec::with_capacity(if orders.gradient { n * d } else { 0 }),
            hessians: Vec::with_capacity(if orders.hessian { n * d * d } else { 0 }),
        };
        T::scratch().with_borrow_mut(|scratch| {
            for tile in y.chunks(TILE * d) {
                self.forward(tile, scratch);
                if orders.value {
                    self.values(tile.len() / d, scratch, &mut jet.values);
                }
                if orders.gradient || orders.hessian {
                    self.backward(tile.len() / d, scratch);
                }
                if orders.gradient {
                    self.gradients(tile.len() / d, scratch, &mut jet.gradients);
                }
                if orders.hessian {
                    self.hessians(tile.len() / d, scratch, &mut jet.hessians);
                }
            }
        });
        jet
    }

    /// `Σ_i w_i ∂ψ/∂θ(y_i)` by the parameters after the softplus, in the order of the network's; y `[n, d]`, w `[n]`.
    ///
    /// Sums of groups are taken in their order: the same bits on any number of threads.
    pub fn pull(&self, y: &[T], weights: &[T]) -> Vec<f64> {
        let groups: Vec<(&[T], &[T])> = y.chunks(GROUP * self.dim).zip(weights.chunks(GROUP)).collect();
        let sums: Vec<Vec<f64>> = groups.into_par_iter().map(|(y, weights)| self.pull_of_group(y, weights)).collect();
        let add = |mut sum: Vec<f64>, part: Vec<f64>| {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            sum
        };
        sums.into_iter().reduce(add).unwrap_or_default()
    }

    fn pull_of_group(&self, y: &[T], weights: &[T]) -> Vec<f64> {
        let d = self.dim;
        let zeros = |count: usize| vec![T::of(0.0); count];
        let mut sums = Sums {
            slope: zeros(d),
            squares: zeros(d * d),
            skips: zeros(2 * self.units * d),
            offsets: zeros(self.units),
            weights: self.layers.iter().map(|layer| zeros(layer.weights.len())).collect(),
            heights: zeros(self.units),
        };
        T::scratch().with_borrow_mut(|scratch| {
            for (tile, weights) in y.chunks(TILE * d).zip(weights.chunks(TILE)) {
                self.forward(tile, scratch);
                self.backward(weights.len(), scratch);
                self.add_pull(weights, scratch, &mut sums);
            }
        });
        let squares = {
            let mut of_factor = zeros(d * d);
            product(&mut of_factor, Accum::Replace, matrix(&self.factor, d, d), matrix(&sums.squares, d, d));
            of_factor
        };
        let mut all: Vec<f64> = sums.slope.iter().chain(&squares).map(|x| x.double()).collect();
        let of_skips = |first: usize, width: usize, all: &mut Vec<f64>| {
            all.extend(
                (0..d)
                    .flat_map(|i| (first..first + width).map(move |unit| (i, unit)))
                    .map(|(i, unit)| sums.skips[unit * d + i].double()),
            );
        };
        for (layer, of_weights) in self.layers.iter().zip(&sums.weights) {
            let units = layer.first..layer.first + layer.width;
            of_skips(layer.first, layer.width, &mut all);
            of_skips(self.units + layer.first, layer.width, &mut all);
            let rest = sums.offsets[units.clone()].iter().chain(of_weights).chain(&sums.heights[units]);
            all.extend(rest.map(|x| x.double()));
        }
        all
    }

    /// Units at a tile of points.
    fn forward(&self, y: &[T], scratch: &mut Scratch<T>) {
        let (d, w) = (self.dim, self.units);
        let n = y.len() / d;
        let points = room(&mut scratch.y, d * n);
        for (k, point) in y.chunks(d).enumerate() {
            for (i, &coordinate) in point.iter().enumerate() {
                points[i * n + k] = coordinate;
            }
        }
        let inputs = room(&mut scratch.inputs, 2 * w * n);
        product(inputs, Accum::Replace, matrix(&self.skips, 2 * w, d), matrix(points, d, n));
        let (inputs, products) = inputs.split_at_mut(w * n);
        let values = room(&mut scratch.values, w * n);
        let slopes = room(&mut scratch.slopes, w * n);
        for layer in &self.layers {
            let own = layer.first * n..(layer.first + layer.width) * n;
            let (below, values) = values.split_at_mut(own.start);
            let (inputs, products, slopes) =
                (&mut inputs[own.clone()], &products[own.clone()], &mut slopes[own.clone()]);
            if !layer.weights.is_empty() {
                let v = layer.weights.len() / layer.width;
                let below = &below[own.start - v * n..];
                let weights = matrix(&layer.weights, v, layer.width).transpose();
                product(inputs, Accum::Add, weights, matrix(below, v, n));
            }
            let values = &mut values[..layer.width * n];
            Arch::new().dispatch(Activate { layer, n, inputs, products, values, slopes });
        }
    }

    /// Adjoints of the units, after them.
    fn backward(&self, n: usize, scratch: &mut Scratch<T>) {
        let w = self.units;
        let (slopes, products) = (&scratch.slopes, &scratch.inputs[w * n..2 * w * n]);
        let alphas = room(&mut scratch.alphas, w * n);
        let (adjoints, along) = room(&mut scratch.adjoints, 2 * w * n).split_at_mut(w * n);
        for (l, layer) in self.layers.iter().enumerate().rev() {
            let own = layer.first * n..(layer.first + layer.width) * n;
            let (adjoints, above) = adjoints.split_at_mut(own.end);
            let alphas = &mut alphas[own.clone()];
            match self.layers.get(l + 1) {
                None => alphas.fill(T::of(0.0)),
                Some(next) => {
                    let weights = matrix(&next.weights, layer.width, next.width);
                    product(alphas, Accum::Replace, weights, matrix(&above[..next.width * n], next.width, n));
                }
            }
            let (adjoints, along) = (&mut adjoints[own.clone()], &mut along[own.clone()]);
            let (slopes, products) = (&slopes[own.clone()], &products[own]);
            Arch::new().dispatch(Chain { layer, n, alphas, slopes, products, adjoints, along });
        }
    }

    /// Mᵀy of a tile, `[d, n]`.
    fn times_matrix<'a>(&self, n: usize, y: &[T], of_points: &'a mut Vec<T>) -> &'a mut [T] {
        let d = self.dim;
        let image = room(of_points, d * n);
        product(image, Accum::Replace, matrix(&self.matrix, d, d), matrix(&y[..d * n], d, n));
        image
    }

    fn values(&self, n: usize, scratch: &mut Scratch<T>, all: &mut Vec<T>) {
        let image = self.times_matrix(n, &scratch.y, &mut scratch.of_points);
        let start = all.len();
        all.resize(start + n, T::of(0.0));
        let sums = &mut all[start..];
        let heights: Vec<T> = self.layers.iter().flat_map(|layer| layer.heights.iter().copied()).collect();
        let (y, values) = (&scratch.y, &scratch.values);
        Arch::new().dispatch(Values { n, y, image, slope: &self.slope, values, heights: &heights, sums });
    }

    fn gradients(&self, n: usize, scratch: &mut Scratch<T>, all: &mut Vec<T>) {
        let (d, w) = (self.dim, self.units);
        let sums = self.times_matrix(n, &scratch.y, &mut scratch.of_points);
        let skips = matrix(&self.skips, 2 * w, d).transpose();
        product(sums, Accum::Add, skips, matrix(&scratch.adjoints[..2 * w * n], 2 * w, n));
        for k in 0..n {
            all.extend(self.slope.iter().enumerate().map(|(i, &c)| sums[i * n + k] + c));
        }
    }

    fn pairs(&self) -> &[T] {
        let (d, squares) = (self.dim, &self.skips[self.units * self.dim..]);
        let entries = (0..d).flat_map(|i| (0..=i).map(move |j| (i, j)));
        self.pairs
            .get_or_init(|| entries.flat_map(|(i, j)| squares.chunks(d).map(move |unit| unit[i] * unit[j])).collect())
    }

    fn hessians(&self, n: usize, scratch: &mut Scratch<T>, all: &mut Vec<T>) {
        let (d, w) = (self.dim, self.units);
        let count = d * (d + 1) / 2;
        let sums = room(&mut scratch.hessians, count * n);
        let entries = (0..d).flat_map(|i| (0..=i).map(move |j| (i, j)));
        for (sums, (i, j)) in sums.chunks_mut(n).zip(entries.clone()) {
            sums.fill(self.matrix[i * d + j]);
        }
        product(sums, Accum::Add, matrix(self.pairs(), count, w), matrix(&scratch.adjoints[..w * n], w, n));
        let [above, below] = &mut scratch.jacobians;
        let last_bent = self.layers.iter().rposition(|layer| !layer.is_quadratic);
        for (l, layer) in self.layers.iter().enumerate().take(last_bent.map_or(0, |l| l + 1)) {
            let own = layer.first * n..(layer.first + layer.width) * n;
            let jacobian = room(above, layer.width * d * n);
            let (slopes_of_input, squares) = self.skips.split_at(w * d);
            let rows = layer.first * d..(layer.first + layer.width) * d;
            let (a, q) = (&slopes_of_input[rows.clone()], &squares[rows]);
            let products = &scratch.inputs[w * n..][own.clone()];
            Arch::new().dispatch(Direct { d, n, slopes: a, squares: q, products, jacobian });
            if !layer.weights.is_empty() {
                let v = layer.weights.len() / layer.width;
                let weights = matrix(&layer.weights, v, layer.width).transpose();
                product(jacobian, Accum::Add, weights, matrix(&below[..v * d * n], v, d * n));
            }
            let (alphas, slopes, inputs) =
                (&scratch.alphas[own.clone()], &scratch.slopes[own.clone()], &scratch.inputs[own]);
            if !layer.is_quadratic {
                Arch::new().dispatch(Bend { d, n, alphas, slopes, inputs, jacobian, sums });
                if l + 1 < self.layers.len() {
                    Arch::new().dispatch(Scale { d, n, slopes, jacobian });
                }
            }
            std::mem::swap(above, below);
        }
        let start = all.len();
        all.resize(start + n * d * d, T::of(0.0));
        let hessians = &mut all[start..];
        for (sums, (i, j)) in sums.chunks(n).zip(entries) {
            for (k, &sum) in sums.iter().enumerate() {
                hessians[k * d * d + i * d + j] = sum;
                hessians[k * d * d + j * d + i] = sum;
            }
        }
    }

    fn add_pull(&self, weights: &[T], scratch: &mut Scratch<T>, sums: &mut Sums<T>) {
        let (d, w, n) = (self.dim, self.units, weights.len());
        let adjoints = &mut scratch.adjoints[..2 * w * n];
        let (values, y) = (&scratch.values[..w * n], &scratch.y[..d * n]);
        let weighted = room(&mut scratch.of_points, d * n);
        Arch::new().dispatch(Weigh { n, weights, y, values, weighted: &mut *weighted, adjoints: &mut *adjoints, sums });
        let transposed = matrix(y, d, n).transpose();
        product(&mut sums.squares, Accum::Add, matrix(weighted, d, n), transposed);
        product(&mut sums.skips, Accum::Add, matrix(adjoints, 2 * w, n), transposed);
        for (layer, sum) in self.layers.iter().zip(&mut sums.weights) {
            if layer.weights.is_empty() {
                continue;
            }
            let v = layer.weights.len() / layer.width;
            let below = &values[(layer.first - v) * n..layer.first * n];
            let own = &adjoints[layer.first * n..(layer.first + layer.width) * n];
            product(sum, Accum::Add, matrix(below, v, n), matrix(own, layer.width, n).transpose());
        }
    }
}

/// Adds `y·(½My + c) + o·z` of every point.
struct Values<'a, T> {
    n: usize,
    y: &'a [T],
    image: &'a [T],
    slope: &'a [T],
    values: &'a [T],
    heights: &'a [T],
    sums: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Values<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { n, y, image, slope, values, heights, sums } = self;
        for ((y, image), &c) in y.chunks(n).zip(image.chunks(n)).zip(slope) {
            for ((sum, &y), &image) in sums.iter_mut().zip(y).zip(image) {
                *sum += y * (T::of(0.5) * image + c);
            }
        }
        for (z, &height) in values.chunks(n).zip(heights) {
            for (sum, &z) in sums.iter_mut().zip(z) {
                *sum += height * z;
            }
        }
    }
}

/// Weighs points and adjoints, and adds what is a sum over points alone.
struct Weigh<'a, T> {
    n: usize,
    weights: &'a [T],
    y: &'a [T],
    values: &'a [T],
    weighted: &'a mut [T],
    adjoints: &'a mut [T],
    sums: &'a mut Sums<T>,
}

impl<T: Real> NullaryFnOnce for Weigh<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { n, weights, y, values, weighted, adjoints, sums } = self;
        for row in adjoints.chunks_mut(n) {
            for (adjoint, &weight) in row.iter_mut().zip(weights) {
                *adjoint *= weight;
            }
        }
        for (row, y) in weighted.chunks_mut(n).zip(y.chunks(n)) {
            for ((weighted, &y), &weight) in row.iter_mut().zip(y).zip(weights) {
                *weighted = y * weight;
            }
        }
        for (sum, row) in sums.offsets.iter_mut().zip(adjoints.chunks(n)) {
            *sum += total(row);
        }
        for (sum, row) in sums.slope.iter_mut().zip(weighted.chunks(n)) {
            *sum += total(row);
        }
        for (sum, row) in sums.heights.iter_mut().zip(values.chunks(n)) {
            *sum += dot(row, weights);
        }
    }
}

/// Numbers that are summed beside each other.
const LANES: usize = 16;

#[inline(always)]
fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::of(0.0); LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.into_iter().fold(T::of(0.0), |sum, lane| sum + lane)
}

#[inline(always)]
fn total<T: Real>(a: &[T]) -> T {
    let mut lanes = [T::of(0.0); LANES];
    for a in a.chunks(LANES) {
        for (lane, &a) in lanes.iter_mut().zip(a) {
            *lane += a;
        }
    }
    lanes.into_iter().fold(T::of(0.0), |sum, lane| sum + lane)
}

/// u, z and a' of a layer, from what the skip terms and the layer below give of u.
struct Activate<'a, T> {
    layer: &'a HostLayer<T>,
    n: usize,
    inputs: &'a mut [T],
    products: &'a [T],
    values: &'a mut [T],
    slopes: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Activate<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { layer, n, inputs, products, values, slopes } = self;
        let rows = inputs.chunks_mut(n).zip(products.chunks(n)).zip(values.chunks_mut(n)).zip(slopes.chunks_mut(n));
        for ((((inputs, products), values), slopes), &offset) in rows.zip(&layer.offsets) {
            let units = inputs.iter_mut().zip(products).zip(values).zip(slopes);
            if layer.is_quadratic {
                for (((u, &q), z), slope) in units {
                    *u = *u + T::of(0.5) * q * q + offset;
                    (*z, *slope) = (*u, T::of(1.0));
                }
            } else {
                for (((u, &q), z), slope) in units {
                    *u = *u + T::of(0.5) * q * q + offset;
                    // A NaN stays one.
                    let (low, high) = if *u > T::of(0.0) { (T::of(0.0), *u) } else { (*u, T::of(0.0)) };
                    let e = low.exp_of_negative();
                    (*z, *slope) = (high + e - T::of(1.0), e);
                }
            }
        }
    }
}

/// α, `α a'` and `α a' Qᵀy` of a layer, from what the layer above gives of α.
struct Chain<'a, T> {
    layer: &'a HostLayer<T>,
    n: usize,
    alphas: &'a mut [T],
    slopes: &'a [T],
    products: &'a [T],
    adjoints: &'a mut [T],
    along: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Chain<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { layer, n, alphas, slopes, products, adjoints, along } = self;
        let own = alphas.chunks_mut(n).zip(slopes.chunks(n)).zip(products.chunks(n));
        let rows = own.zip(adjoints.chunks_mut(n)).zip(along.chunks_mut(n));
        for (((((alphas, slopes), products), adjoints), along), &height) in rows.zip(&layer.heights) {
            let units = alphas.iter_mut().zip(slopes).zip(products).zip(adjoints).zip(along);
            for ((((alpha, &slope), &q), adjoint), along) in units {
                *alpha += height;
                *adjoint = *alpha * slope;
                *along = *adjoint * q;
            }
        }
    }
}

/// `A + Q Qᵀy` of a layer, `[w, d, n]`.
struct Direct<'a, T> {
    d: usize,
    n: usize,
    slopes: &'a [T],
    squares: &'a [T],
    products: &'a [T],
    jacobian: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Direct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { d, n, slopes, squares, products, jacobian } = self;
        let units = slopes.chunks(d).zip(squares.chunks(d)).zip(products.chunks(n));
        for (((slopes, squares), products), unit) in units.zip(jacobian.chunks_mut(d * n)) {
            for ((&a, &q), row) in slopes.iter().zip(squares).zip(unit.chunks_mut(n)) {
                for (entry, &product) in row.iter_mut().zip(products) {
                    *entry = a + q * product;
                }
            }
        }
    }
}

/// Adds `J diag(α a'') Jᵀ`; `a'' = a'` where u ≤ 0, else 0.
struct Bend<'a, T> {
    d: usize,
    n: usize,
    alphas: &'a [T],
    slopes: &'a [T],
    inputs: &'a [T],
    jacobian: &'a [T],
    sums: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Bend<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { d, n, alphas, slopes, inputs, jacobian, sums } = self;
        let mut curvature = [T::of(0.0); TILE];
        let mut turned = [T::of(0.0); TILE];
        let units = alphas.chunks(n).zip(slopes.chunks(n)).zip(inputs.chunks(n));
        for (((alphas, slopes), inputs), unit) in units.zip(jacobian.chunks(d * n)) {
            for (((c, &alpha), &slope), &u) in curvature.iter_mut().zip(alphas).zip(slopes).zip(inputs) {
                *c = if u > T::of(0.0) { T::of(0.0) } else { alpha * slope };
            }
            let mut entry = 0;
            for i in 0..d {
                for ((t, &c), &j) in turned.iter_mut().zip(&curvature).zip(&unit[i * n..(i + 1) * n]) {
                    *t = c * j;
                }
                for row in unit[..(i + 1) * n].chunks(n) {
                    for ((sum, &t), &j) in sums[entry * n..(entry + 1) * n].iter_mut().zip(&turned).zip(row) {
                        *sum += t * j;
                    }
                    entry += 1;
                }
            }
        }
    }
}

/// `J diag(a')`.
struct Scale<'a, T> {
    d: usize,
    n: usize,
    slopes: &'a [T],
    jacobian: &'a mut [T],
}

impl<T: Real> NullaryFnOnce for Scale<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self { d, n, slopes, jacobian } = self;
        for (slopes, unit) in slopes.chunks(n).zip(jacobian.chunks_mut(d * n)) {
            for row in unit.chunks_mut(n) {
                for (entry, &slope) in row.iter_mut().zip(slopes) {
                    *entry *= slope;
                }
            }
        }
    }
}
