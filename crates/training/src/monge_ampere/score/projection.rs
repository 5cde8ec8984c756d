//! The mirror step fitted into the family.
//!
//! # Design
//!
//! With ψ = θ·F linear in its coefficients, the potential whose gradient is nearest to the points where a step -ηv would move those of the
//! reference is a least-squares problem in θ,
//!
//! ```text
//! min_θ E|∇F(y)(θ - θ_k) + η v(y)|² = (θ - θ_k)ᵀG(θ - θ_k) + 2η(θ - θ_k)·b + const,    G = E ∇Fᵀ∇F,  b = E ∇Fᵀv
//! ```
//!
//! in the box where heights are not negative, both means over the draws of the stage: a step that the family can follow is followed exactly, and
//! only what it cannot is noise. With v = ∇h(x) the vector b is the gradient of the reverse KL divergence, and the same program is a step
//! down that gradient in the metric G.

use brenier_measure::Points;
use brenier_model::monge_ampere::{RidgedQuadratic, Ridges, entries};
use ndarray::{Array1, Array2, Axis, s};

use crate::monge_ampere::box_program;

/// The least-squares problem of a stage.
pub(super) struct Projection<'a> {
    ridges: &'a Ridges,
    /// Draws of the reference, `[n, d]`, with the functions there.
    y: &'a Points,
    functions: Array2<f64>,
    /// G, `[p, p]`.
    gram: Array2<f64>,
    /// `G + λ diag G`.
    damped: Array2<f64>,
    /// Bounds of the coefficients, `[p]`.
    lower: Array1<f64>,
}

/// A step in the family.
pub(super) struct Fitted {
    /// θ at its end.
    pub coefficients: Array1<f64>,
    /// The share of the step's squared length that the family does not follow.
    pub residual: f64,
}

/// One product of an axis or a direction with a function: `∇F = Σ direction · function`.
type Term = (Direction, usize);

#[derive(Clone, Copy)]
enum Direction {
    Axis(usize),
    Ridge(usize),
}

/// The gradients of the features as terms over the functions `(1, y, ς)`.
fn terms(ridges: &Ridges) -> Vec<Vec<Term>> {
    let (d, k) = (ridges.dim(), ridges.knots.ncols());
    let slopes = (0..d).map(|j| vec![(Direction::Axis(j), 0)]);
    let matrix = entries(d).map(|(i, j)| {
        if i == j {
            vec![(Direction::Axis(i), 1 + i)]
        } else {
            vec![(Direction::Axis(i), 1 + j), (Direction::Axis(j), 1 + i)]
        }
    });
    let heights = (0..ridges.knots.len()).map(|l| vec![(Direction::Ridge(l / k), 1 + d + l)]);
    slopes.chain(matrix).chain(heights).collect()
}

/// `(1, y, ς)` at points, `[1 + d + GK, n]`.
fn functions(ridges: &Ridges, y: &Points) -> Array2<f64> {
    let (d, g) = (ridges.dim(), ridges.directions.nrows());
    let mut functions = Array2::ones((1 + d + ridges.knots.len(), y.nrows()));
    functions.slice_mut(s![1..=d, ..]).assign(&y.t());
    functions.slice_mut(s![d + 1.., ..]).assign(&ridges.feature_slopes(y).slice(s![g.., ..]));
    functions
}

impl<'a> Projection<'a> {
    /// The problem over draws of the reference, `[n, d]`, with the penalty λ.
    pub fn new(ridges: &'a Ridges, y: &'a Points, penalty: f64) -> Self {
        let functions = functions(ridges, y);
        let moments = functions.dot(&functions.t()) / y.nrows() as f64;
        let cosines = ridges.directions.dot(&ridges.directions.t());
        let product = |a: Direction, b: Direction| match (a, b) {
            (Direction::Axis(i), Direction::Axis(j)) => f64::from(u8::from(i == j)),
            (Direction::Axis(i), Direction::Ridge(g)) | (Direction::Ridge(g), Direction::Axis(i)) => {
                ridges.directions[[g, i]]
            }
            (Direction::Ridge(g), Direction::Ridge(h)) => cosines[[g, h]],
        };
        let terms = terms(ridges);
        let p = terms.len();
        let mut gram = Array2::zeros((p, p));
        for i in 0..p {
            for j in 0..=i {
                let pairs = terms[i].iter().flat_map(|a| terms[j].iter().map(move |b| (a, b)));
                let entry: f64 = pairs.map(|(a, b)| product(a.0, b.0) * moments[[a.1, b.1]]).sum();
                gram[[i, j]] = entry;
                gram[[j, i]] = entry;
            }
        }
        let mut damped = gram.clone();
        // A knot where no draw is has no scale of its own.
        damped.diag_mut().mapv_inplace(|entry| entry * (1.0 + penalty) + 1e-12);
        let free = RidgedQuadratic::free(ridges);
        let lower = Array1::from_shape_fn(p, |i| if i < free { f64::NEG_INFINITY } else { 0.0 });
        Self { ridges, y, functions, gram, damped, lower }
    }

    /// θ after the step -ηv of the images; `None` where numbers are no longer finite.
    pub fn fit(&self, coefficients: &[f64], v: &Points, eta: f64) -> Option<Fitted> {
        let (ridges, n) = (self.ridges, self.y.nrows() as f64);
        // E (1, y, ς) v along the axes, and along the directions.
        let along_axes = self.functions.dot(v) / n;
        let along_ridges = along_axes.dot(&ridges.directions.t());
        let means = |&(direction, function): &Term| match direction {
            Direction::Axis(i) => along_axes[[function, i]],
            Direction::Ridge(g) => along_ridges[[function, g]],
        };
        let b: Array1<f64> = terms(ridges).iter().map(|terms| terms.iter().map(means).sum::<f64>()).collect();
        let before = Array1::from(coefficients.to_vec());
        let lower = &self.lower - &before;
        let mut step = box_program::minimize_from_zero(&self.damped, &(&b * -eta), &lower)?;
        // Where Q would fall below its floor it stays there, and the other coefficients are fitted to what is left.
        let mut convex = (&before + &step).to_vec();
        if RidgedQuadratic::make_convex(ridges, &mut convex) {
            let of_matrix = ridges.dim()..RidgedQuadratic::free(ridges);
            let others: Vec<usize> = (0..step.len()).filter(|i| !of_matrix.contains(i)).collect();
            let mut fixed = Array1::zeros(step.len());
            of_matrix.for_each(|i| fixed[i] = convex[i] - before[i]);
            let linear = (&b * -eta - self.damped.dot(&fixed)).select(Axis(0), &others);
            let block = self.damped.select(Axis(0), &others).select(Axis(1), &others);
            let found = box_program::minimize_from_zero(&block, &linear, &lower.select(Axis(0), &others))?;
            step = fixed;
            others.iter().zip(&found).for_each(|(&i, &value)| step[i] = value);
        }
        let length = eta * eta * v.iter().map(|x| x * x).sum::<f64>() / n;
        let left = step.dot(&self.gram.dot(&step)) + 2.0 * eta * step.dot(&b) + length;
        // Below 0 by rounding alone.
        Some(Fitted {
            coefficients: before + step,
            residual: if length > 0.0 { (left / length).max(0.0) } else { 0.0 },
        })
    }
}
