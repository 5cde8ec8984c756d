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

use std::sync::Arc;

use burn::tensor::{Tensor, activation};
use ndarray::{Array2, s};
use serde::{Deserialize, Serialize};

use super::potential::{ConvexPotential, like};

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

/// Numbers in one intermediate tensor `[n, G, K]`.
const TILE: usize = 1 << 20;

impl Ridges {
    /// The dimension d.
    pub fn dim(&self) -> usize {
        self.directions.ncols()
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

    /// The functions that the coefficients multiply, `F(x)`, so that `φ = ½ε|x|² + θ·F(x)`; `[n, d] -> [n, p]`.
    pub fn features(&self, x: Tensor<2>) -> Tensor<2> {
        let n = x.dims()[0];
        let at = At::new(self, &x);
        let quadratic = at.projections.clone().square() * 0.5;
        let widths = like(&self.widths.iter().copied().collect::<Vec<_>>(), [1, self.knots.len()], &x);
        let ridges = softplus(at.arguments).reshape([n, self.knots.len()]) * widths;
        Tensor::cat(vec![x, quadratic, ridges], 1)
    }

    /// The derivatives of the features behind the slopes along their own directions, so that `∇F_j = f_j u_g(j)`: `u_g·x` of the curvatures
    /// and `ς((u_g·x - b)/s)` of the heights; `[n, d] -> [n, G], [n, G, K]`.
    pub fn feature_slopes(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let at = At::new(self, &x);
        (at.projections, activation::sigmoid(at.arguments))
    }
}

/// `log(1 + eᵗ)`, without overflow or cancellation.
fn softplus(t: Tensor<3>) -> Tensor<3> {
    -activation::log_sigmoid(-t)
}

/// A sum of ridges with its coefficients.
#[derive(Debug, Clone, PartialEq)]
pub struct RidgeSum {
    ridges: Arc<Ridges>,
    coefficients: Vec<f64>,
}

/// What the ridges are at n points.
struct At {
    /// `u·x`, `[n, G]`.
    projections: Tensor<2>,
    /// `(u·x - b)/s`, `[n, G, K]`.
    arguments: Tensor<3>,
    /// u, `[G, d]`.
    directions: Tensor<2>,
}

impl At {
    fn new(ridges: &Ridges, x: &Tensor<2>) -> Self {
        let ([n, d], (g, k)) = (x.dims(), ridges.knots.dim());
        let directions = like(&ridges.directions.iter().copied().collect::<Vec<_>>(), [g, d], x);
        let scales: Vec<f64> = ridges.widths.iter().map(|s| 1.0 / s).collect();
        let offsets: Vec<f64> = ridges.knots.iter().zip(&ridges.widths).map(|(b, s)| b / s).collect();
        let projections = x.clone().matmul(directions.clone().transpose());
        let arguments = projections.clone().reshape([n, g, 1]) * like::<3, 2>(&scales, [1, g, k], x)
            - like::<3, 2>(&offsets, [1, g, k], x);
        Self { projections, arguments, directions }
    }
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

    /// `Σ_k w_gk v_gk` over the knots of every direction; `[n, G, K] -> [n, G]`.
    fn over_knots(&self, values: Tensor<3>, weights: &[f64]) -> Tensor<2> {
        let [n, g, k] = values.dims();
        let weights = like::<3, 3>(weights, [1, g, k], &values);
        (values * weights).sum_dim(2).reshape([n, g])
    }

    /// The slope along every direction, `q u·x + Σ_k o ς`, `[n, G]`.
    fn slopes(&self, at: &At, sigmoid: &Tensor<3>) -> Tensor<2> {
        let (_, curvatures, heights) = self.parts();
        let q = like(curvatures, [1, curvatures.len()], &at.projections);
        at.projections.clone() * q + self.over_knots(sigmoid.clone(), heights)
    }

    /// The curvature along every direction, `q + Σ_k (o/s) ς(1 - ς)`, `[n, G]`.
    fn curvatures(&self, sigmoid: Tensor<3>) -> Tensor<2> {
        let (_, curvatures, heights) = self.parts();
        let weights: Vec<f64> = heights.iter().zip(&self.ridges.widths).map(|(o, s)| o / s).collect();
        let ridges = self.over_knots(sigmoid.clone() - sigmoid.square(), &weights);
        let q = like(curvatures, [1, curvatures.len()], &ridges);
        ridges + q
    }

    fn gradient_at(&self, x: Tensor<2>, at: &At, sigmoid: &Tensor<3>) -> Tensor<2> {
        let (slopes, ..) = self.parts();
        let shift = like(slopes, [1, slopes.len()], &x);
        x * self.ridges.floor + shift + self.slopes(at, sigmoid).matmul(at.directions.clone())
    }

    /// Applies `f` to rows in tiles, so that memory does not grow with points × ridges.
    fn tiled<T>(&self, x: Tensor<2>, f: impl Fn(Tensor<2>) -> T) -> Vec<T> {
        let n = x.dims()[0];
        let rows = (TILE / self.ridges.knots.len()).max(1);
        (0..n).step_by(rows).map(|first| f(x.clone().narrow(0, first, rows.min(n - first)))).collect()
    }
}

impl ConvexPotential for RidgeSum {
    fn dim(&self) -> usize {
        self.ridges.dim()
    }

    fn value(&self, x: Tensor<2>) -> Tensor<1> {
        let of_tile = |x: Tensor<2>| {
            let (slopes, curvatures, heights) = self.parts();
            let at = At::new(&self.ridges, &x);
            let weights: Vec<f64> = heights.iter().zip(&self.ridges.widths).map(|(o, s)| o * s).collect();
            let q = like(curvatures, [1, curvatures.len()], &x);
            let along = at.projections.square() * q * 0.5 + self.over_knots(softplus(at.arguments), &weights);
            let shift = like(slopes, [1, slopes.len()], &x);
            let bowl = (x.clone() * (0.5 * self.ridges.floor) + shift) * x;
            (along.sum_dim(1) + bowl.sum_dim(1)).squeeze_dim::<1>(1)
        };
        Tensor::cat(self.tiled(x, of_tile), 0)
    }

    fn gradient(&self, x: Tensor<2>) -> Tensor<2> {
        let of_tile = |x: Tensor<2>| {
            let at = At::new(&self.ridges, &x);
            let sigmoid = activation::sigmoid(at.arguments.clone());
            self.gradient_at(x, &at, &sigmoid)
        };
        Tensor::cat(self.tiled(x, of_tile), 0)
    }

    fn hessian_vector(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let d = self.dim();
        let of_tile = |both: Tensor<2>| {
            let (x, v) = (both.clone().narrow(1, 0, d), both.narrow(1, d, d));
            let at = At::new(&self.ridges, &x);
            let along = v.clone().matmul(at.directions.clone().transpose());
            let along = along * self.curvatures(activation::sigmoid(at.arguments));
            v * self.ridges.floor + along.matmul(at.directions)
        };
        Tensor::cat(self.tiled(Tensor::cat(vec![x, v], 1), of_tile), 0)
    }

    fn gradient_and_hessian(&self, x: Tensor<2>) -> (Tensor<2>, Tensor<3>) {
        let (d, g) = (self.dim(), self.ridges.directions.nrows());
        // u uᵀ of every direction, `[G, d·d]`.
        let mut products = Array2::zeros((g, d * d));
        for (u, mut product) in self.ridges.directions.rows().into_iter().zip(products.rows_mut()) {
            for i in 0..d {
                product.slice_mut(s![i * d..(i + 1) * d]).assign(&(&u * u[i]));
            }
        }
        let products: Vec<f64> = products.into_iter().collect();
        let mut floor = vec![0.0; d * d];
        (0..d).for_each(|i| floor[i * d + i] = self.ridges.floor);
        let of_tile = |x: Tensor<2>| {
            let n = x.dims()[0];
            let at = At::new(&self.ridges, &x);
            let sigmoid = activation::sigmoid(at.arguments.clone());
            let gradient = self.gradient_at(x.clone(), &at, &sigmoid);
            let hessian =
                self.curvatures(sigmoid).matmul(like(&products, [g, d * d], &x)) + like(&floor, [1, d * d], &x);
            (gradient, hessian.reshape([n, d, d]))
        };
        let (gradients, hessians) = self.tiled(x, of_tile).into_iter().unzip();
        (Tensor::cat(gradients, 0), Tensor::cat(hessians, 0))
    }
}
