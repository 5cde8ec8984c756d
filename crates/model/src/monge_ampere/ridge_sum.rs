//! Sums of convex ridges in fixed directions, with a curvature floor.
//!
//! # Design
//!
//! ```text
//! φ(x) = ½ε|x|² + c·x + Σ_g ½q_g(u_g·x)² + Σ_gk o_gk s_gk softplus((u_g·x - b_gk)/s_gk),    q, o ≥ 0
//! ```
//!
//! is linear in its coefficients θ = (c, q, o) and convex, with curvature at least ε, as long as q and o are not negative: to stay convex is
//! to stay in a box. A sum of two of them on the same ridges is one of them, with the sum of the coefficients, so that a flow of potentials
//! by addition has a constant cost a step. Along each direction it is a convex function of one variable, the Brenier potential of a
//! marginal; its derivatives take one exponential a ridge.
//!
//! Everything is computed in f64 on the host, whatever the type and the device of the points: along one direction at a time, all points of a
//! tile at once, in vector registers, and ridges without height are passed over.

use std::sync::Arc;

use brenier_measure::elementary::{sigmoid, softplus};
use brenier_measure::{Points, host_tensor, to_points};
use burn::tensor::Tensor;
use ndarray::{Array1, Array2, ArrayViewMut2, Axis, s};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::potential::ConvexPotential;

/// The ridges of a sum, which stay the same while their coefficients change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ridges {
    /// Unit vectors u, `[G, d]`.
    pub directions: Array2<f64>,
    /// Knots b, `[G, K]`.
    pub knots: Array2<f64>,
    /// Widths s > 0, `[G, K]`.
    pub widths: Array2<f64>,
    /// The curvature floor ε > 0.
    pub floor: f64,
}

/// Points in one tile: a row of them stays in the first cache.
const TILE: usize = 512;

impl Ridges {
    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.directions.ncols()
    }

    /// Whether sizes agree, all numbers are finite, and widths and floor positive.
    pub fn is_consistent(&self) -> bool {
        let numbers = self.directions.iter().chain(&self.knots).chain(&self.widths);
        self.knots.dim() == self.widths.dim()
            && self.knots.nrows() == self.directions.nrows()
            && numbers.chain([&self.floor]).all(|number| number.is_finite())
            && self.widths.iter().chain([&self.floor]).all(|&size| size > 0.0)
    }

    /// The number of coefficients, `d + G + GK`: slopes c, curvatures q, heights o.
    pub fn count(&self) -> usize {
        self.dim() + self.directions.nrows() + self.knots.len()
    }

    /// The number of coefficients that may be negative: the slopes c, which come first.
    pub fn free(&self) -> usize {
        self.dim()
    }

    /// The coefficients of `½|x|²` less the floor's share, where the directions hold the axes; else the nearest that curvatures alone give.
    ///
    /// Minimises `|Σ_g q_g u_g u_gᵀ - (1 - ε)I|` over `q ≥ 0` by coordinate descent.
    pub fn identity(&self) -> Vec<f64> {
        let (d, g) = (self.dim(), self.directions.nrows());
        let products = self.directions.dot(&self.directions.t()).mapv(|x| x * x);
        let mut curvatures = vec![0.0; g];
        // |u u'|² couples the curvatures; u·(1 - ε)I·u = 1 - ε is what each direction sees of the identity.
        for _ in 0..2000 {
            let mut moved = 0.0f64;
            for i in 0..g {
                let seen: f64 = products.row(i).iter().zip(&curvatures).map(|(product, q)| product * q).sum();
                let next = (curvatures[i] + ((1.0 - self.floor) - seen) / products[[i, i]]).max(0.0);
                moved = moved.max((next - curvatures[i]).abs());
                curvatures[i] = next;
            }
            if moved < 1e-14 {
                break;
            }
        }
        let mut coefficients = vec![0.0; self.count()];
        coefficients[d..d + g].copy_from_slice(&curvatures);
        coefficients
    }

    /// `u·x`, `[n, d] -> [G, n]`.
    fn projections(&self, x: &Points) -> Array2<f64> {
        self.directions.dot(&x.t()).as_standard_layout().into_owned()
    }

    /// The functions that the coefficients multiply, so that `φ = ½ε|x|² + θ·F(x)`; `[n, d] -> [p, n]`, a feature a row.
    pub fn features(&self, x: &Points) -> Array2<f64> {
        let (d, g) = (self.dim(), self.directions.nrows());
        let mut features = Array2::zeros((self.count(), x.nrows()));
        features.slice_mut(s![..d, ..]).assign(&x.t());
        let projections = self.projections(x);
        features.slice_mut(s![d..d + g, ..]).assign(&projections.mapv(|t| 0.5 * t * t));
        self.fill::<false>(&projections, features.slice_mut(s![d + g.., ..]));
        features
    }

    /// The derivatives of the features behind the slopes along their own directions, so that `∇F_j = f_j u_g(j)`: `u_g·x` of the curvatures
    /// and `ς((u_g·x - b)/s)` of the heights; `[n, d] -> [G + GK, n]`, a feature a row.
    pub fn feature_slopes(&self, x: &Points) -> Array2<f64> {
        let g = self.directions.nrows();
        let mut slopes = Array2::zeros((g + self.knots.len(), x.nrows()));
        let projections = self.projections(x);
        slopes.slice_mut(s![..g, ..]).assign(&projections);
        self.fill::<true>(&projections, slopes.slice_mut(s![g.., ..]));
        slopes
    }

    /// `s softplus((u_g·x - b)/s)` for every ridge, or its derivative, a row each.
    fn fill<const DERIVATIVE: bool>(&self, projections: &Array2<f64>, mut rows: ArrayViewMut2<f64>) {
        let arch = Arch::new();
        for ((g, k), &width) in self.widths.indexed_iter() {
            arch.dispatch(Fill::<DERIVATIVE> {
                t: projections.row(g).as_slice().expect("row-major"),
                out: rows.row_mut(g * self.knots.ncols() + k).as_slice_mut().expect("row-major"),
                knot: self.knots[[g, k]],
                width,
            });
        }
    }
}

/// A type of its own, not a closure, so that it is compiled for the vector registers that are found.
struct Fill<'a, const DERIVATIVE: bool> {
    t: &'a [f64],
    out: &'a mut [f64],
    knot: f64,
    width: f64,
}

impl<const DERIVATIVE: bool> NullaryFnOnce for Fill<'_, DERIVATIVE> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let scale = 1.0 / self.width;
        for (out, &t) in self.out.iter_mut().zip(self.t) {
            let t = (t - self.knot) * scale;
            *out = if DERIVATIVE { sigmoid(t) } else { self.width * softplus(t) };
        }
    }
}

/// A sum of ridges with its coefficients.
#[derive(Debug, Clone, PartialEq)]
pub struct RidgeSum {
    ridges: Arc<Ridges>,
    coefficients: Vec<f64>,
}

impl RidgeSum {
    /// The sum with these coefficients; `None` where their number is wrong, one is not finite, or a curvature or height is negative.
    pub fn new(ridges: Arc<Ridges>, coefficients: Vec<f64>) -> Option<Self> {
        let convex = coefficients.iter().skip(ridges.free()).all(|&coefficient| coefficient >= 0.0);
        let finite = coefficients.iter().all(|coefficient| coefficient.is_finite());
        (coefficients.len() == ridges.count() && convex && finite && ridges.floor > 0.0)
            .then_some(Self { ridges, coefficients })
    }

    /// The ridges.
    pub fn ridges(&self) -> &Arc<Ridges> {
        &self.ridges
    }

    /// θ = (c, q, o), `[p]`.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    fn parts(&self) -> (&[f64], &[f64], &[f64]) {
        let (d, g) = (self.ridges.dim(), self.ridges.directions.nrows());
        (&self.coefficients[..d], &self.coefficients[d..d + g], &self.coefficients[d + g..])
    }

    /// `u·x` of a tile, `[G, n]`, and the slope `q u·x + Σ_k o ς` and the curvature `q + Σ_k (o/s) ς(1 - ς)` along every direction.
    fn along(&self, x: &Points) -> Along {
        let (_, curvatures, heights) = self.parts();
        let projections = self.ridges.projections(x);
        let mut along = Along { slopes: projections.clone(), curvatures: Array2::zeros(projections.dim()) };
        let knots = self.ridges.knots.ncols();
        for (g, &q) in curvatures.iter().enumerate() {
            let (mut slopes, mut curvatures) = (along.slopes.row_mut(g), along.curvatures.row_mut(g));
            slopes *= q;
            curvatures.fill(q);
            for k in 0..knots {
                let height = heights[g * knots + k];
                if height > 0.0 {
                    Arch::new().dispatch(Ridge {
                        t: projections.row(g).as_slice().expect("row-major"),
                        slopes: slopes.as_slice_mut().expect("row-major"),
                        curvatures: curvatures.as_slice_mut().expect("row-major"),
                        knot: self.ridges.knots[[g, k]],
                        scale: 1.0 / self.ridges.widths[[g, k]],
                        height,
                    });
                }
            }
        }
        along
    }

    /// `∇φ` of a tile, `[n, d]`.
    fn gradient_at(&self, x: &Points, along: &Along) -> Points {
        let shift = Array1::from(self.parts().0.to_vec());
        x * self.ridges.floor + shift + along.slopes.t().dot(&self.ridges.directions)
    }

    /// `∇φ`, `[n, d]`; `∇²φ`, one matrix a row, `[n, d·d]`; and the derivative `Σ_k (o/s²) ς(1 - ς)(1 - 2ς)` of the curvature along every
    /// direction, `[G, n]`.
    pub(super) fn expansion(&self, x: &Points) -> (Points, Points, Array2<f64>) {
        let ((n, d), along) = (x.dim(), self.along(x));
        let directions = &self.ridges.directions;
        let mut hessians = Points::zeros((n, d * d));
        for (curvatures, mut hessian) in along.curvatures.columns().into_iter().zip(hessians.rows_mut()) {
            let scaled = directions * &curvatures.insert_axis(Axis(1));
            let products = directions.t().dot(&scaled);
            hessian.iter_mut().zip(&products).for_each(|(entry, product)| *entry = *product);
            (0..d).for_each(|i| hessian[i * (d + 1)] += self.ridges.floor);
        }
        let (_, _, heights) = self.parts();
        let projections = self.ridges.projections(x);
        let mut bends = Array2::zeros(projections.dim());
        for ((g, k), &width) in self.ridges.widths.indexed_iter() {
            let height = heights[g * self.ridges.knots.ncols() + k];
            if height > 0.0 {
                Arch::new().dispatch(Bend {
                    t: projections.row(g).as_slice().expect("row-major"),
                    bends: bends.row_mut(g).as_slice_mut().expect("row-major"),
                    knot: self.ridges.knots[[g, k]],
                    scale: 1.0 / width,
                    height,
                });
            }
        }
        (self.gradient_at(x, &along), hessians, bends)
    }

    /// Applies `f` to tiles of points; the parts in their order.
    fn tiled<T: Send>(x: &Points, f: impl Fn(&Points) -> T + Send + Sync) -> Vec<T> {
        let tiles: Vec<Points> = x.axis_chunks_iter(Axis(0), TILE).map(|tile| tile.to_owned()).collect();
        tiles.par_iter().map(f).collect()
    }

    /// φ of a tile, `[n]`.
    pub(super) fn value_at(&self, x: &Points) -> Vec<f64> {
        let (slopes, curvatures, heights) = self.parts();
        let projections = self.ridges.projections(x);
        let square = |row: ndarray::ArrayView1<f64>| 0.5 * self.ridges.floor * row.dot(&row);
        let shift = Array1::from(slopes.to_vec());
        let mut values: Vec<f64> = x.rows().into_iter().map(|row| square(row) + row.dot(&shift)).collect();
        let knots = self.ridges.knots.ncols();
        for (g, &q) in curvatures.iter().enumerate() {
            let row = projections.row(g);
            values.iter_mut().zip(row).for_each(|(value, t)| *value += 0.5 * q * t * t);
            for k in 0..knots {
                let height = heights[g * knots + k];
                if height > 0.0 {
                    let width = self.ridges.widths[[g, k]];
                    let (t, knot) = (row.as_slice().expect("row-major"), self.ridges.knots[[g, k]]);
                    Arch::new().dispatch(Value { t, values: &mut values, knot, width, height });
                }
            }
        }
        values
    }
}

/// What a sum is along its directions at the points of a tile, `[G, n]` each.
struct Along {
    slopes: Array2<f64>,
    curvatures: Array2<f64>,
}

/// Adds the derivatives of one ridge along its direction.
pub(super) struct Ridge<'a> {
    pub t: &'a [f64],
    pub slopes: &'a mut [f64],
    pub curvatures: &'a mut [f64],
    pub knot: f64,
    pub scale: f64,
    pub height: f64,
}

impl NullaryFnOnce for Ridge<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let bend = self.height * self.scale;
        for ((&t, slope), curvature) in self.t.iter().zip(self.slopes).zip(self.curvatures) {
            let share = sigmoid((t - self.knot) * self.scale);
            *slope += self.height * share;
            *curvature += bend * (share - share * share);
        }
    }
}

/// Adds the third derivatives of one ridge.
struct Bend<'a> {
    t: &'a [f64],
    bends: &'a mut [f64],
    knot: f64,
    scale: f64,
    height: f64,
}

impl NullaryFnOnce for Bend<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let size = self.height * self.scale * self.scale;
        for (&t, bend) in self.t.iter().zip(self.bends) {
            let share = sigmoid((t - self.knot) * self.scale);
            *bend += size * (share - share * share) * (1.0 - 2.0 * share);
        }
    }
}

/// Adds the values of one ridge.
struct Value<'a> {
    t: &'a [f64],
    values: &'a mut [f64],
    knot: f64,
    width: f64,
    height: f64,
}

impl NullaryFnOnce for Value<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (scale, size) = (1.0 / self.width, self.height * self.width);
        for (&t, value) in self.t.iter().zip(self.values) {
            *value += size * softplus((t - self.knot) * scale);
        }
    }
}

/// Parts one below the other, as a tensor of the type and on the device of another.
fn stacked<const D: usize>(parts: Vec<Vec<f64>>, shape: [usize; D], like: &Tensor<2>) -> Tensor<D> {
    host_tensor(parts.concat(), shape, like.dtype(), &like.device())
}

fn numbers(points: Points) -> Vec<f64> {
    points.as_standard_layout().into_owned().into_raw_vec_and_offset().0
}

impl ConvexPotential for RidgeSum {
    fn dim(&self) -> usize {
        self.ridges.dim()
    }

    fn value(&self, x: Tensor<2>) -> Tensor<1> {
        let parts = Self::tiled(&to_points(x.clone()), |tile| self.value_at(tile));
        stacked(parts, [x.dims()[0]], &x)
    }

    fn gradient(&self, x: Tensor<2>) -> Tensor<2> {
        let of_tile = |tile: &Points| numbers(self.gradient_at(tile, &self.along(tile)));
        let parts = Self::tiled(&to_points(x.clone()), of_tile);
        stacked(parts, x.dims(), &x)
    }

    fn hessian_vector(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let d = self.dim();
        let both =
            ndarray::concatenate(Axis(1), &[to_points(x.clone()).view(), to_points(v).view()]).expect("as many rows");
        let of_tile = |tile: &Points| {
            let (x, v) = (tile.slice(s![.., ..d]).to_owned(), tile.slice(s![.., d..]));
            let along = self.ridges.directions.dot(&v.t()) * self.along(&x).curvatures;
            numbers(&v * self.ridges.floor + along.t().dot(&self.ridges.directions))
        };
        stacked(Self::tiled(&both, of_tile), x.dims(), &x)
    }

    fn gradient_and_hessian(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let ([n, d], g) = (x.dims(), self.ridges.directions.nrows());
        // u uᵀ of every direction, `[G, d·d]`.
        let directions = &self.ridges.directions;
        let products =
            Array2::from_shape_fn((g, d * d), |(g, entry)| directions[[g, entry / d]] * directions[[g, entry % d]]);
        let of_tile = |tile: &Points| {
            let along = self.along(tile);
            let mut hessians = along.curvatures.t().dot(&products);
            (0..d).for_each(|i| hessians.column_mut(i * (d + 1)).mapv_inplace(|entry| entry + self.ridges.floor));
            (numbers(self.gradient_at(tile, &along)), numbers(hessians))
        };
        let (gradients, hessians) = Self::tiled(&to_points(x.clone()), of_tile).into_iter().unzip();
        (stacked(gradients, [n, d], &x), stacked(hessians, [n, d, d], &x))
    }
}
