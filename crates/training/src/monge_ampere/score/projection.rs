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

/// The features `(c·y, ½yᵀQy, ridges)` at points.
pub(super) struct Features<'a> {
    ridges: &'a Ridges,
    /// `(1, y, ς)`, `[1 + d + GK, n]`.
    functions: Array2<f64>,
    /// `∇F` of every feature as products of a direction with one of the functions.
    terms: Vec<Vec<Term>>,
}

/// The least-squares problem of a stage.
pub(super) struct Projection<'a> {
    features: Features<'a>,
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

impl<'a> Features<'a> {
    /// The features at points `[n, d]`.
    pub fn at(ridges: &'a Ridges, y: &Points) -> Self {
        let (d, g) = (ridges.dim(), ridges.directions.nrows());
        let mut functions = Array2::ones((1 + d + ridges.knots.len(), y.nrows()));
        functions.slice_mut(s![1..=d, ..]).assign(&y.t());
        functions.slice_mut(s![d + 1.., ..]).assign(&ridges.feature_slopes(y).slice(s![g.., ..]));
        Self { ridges, functions, terms: terms(ridges) }
    }

    /// `E ∇Fᵀ∇F`, `[p, p]`.
    fn gram(&self) -> Array2<f64> {
        let (ridges, terms) = (self.ridges, &self.terms);
        let moments = self.functions.dot(&self.functions.t()) / self.functions.ncols() as f64;
        let cosines = ridges.directions.dot(&ridges.directions.t());
        let product = |a: Direction, b: Direction| match (a, b) {
            (Direction::Axis(i), Direction::Axis(j)) => f64::from(u8::from(i == j)),
            (Direction::Axis(i), Direction::Ridge(g)) | (Direction::Ridge(g), Direction::Axis(i)) => {
                ridges.directions[[g, i]]
            }
            (Direction::Ridge(g), Direction::Ridge(h)) => cosines[[g, h]],
        };
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
        gram
    }

    /// `E ∇Fᵀv` of vectors at the points, `[p]`.
    pub fn means(&self, v: &Points) -> Array1<f64> {
        let along_axes = self.functions.dot(v) / v.nrows() as f64;
        let along_ridges = along_axes.dot(&self.ridges.directions.t());
        let mean = |&(direction, function): &Term| match direction {
            Direction::Axis(i) => along_axes[[function, i]],
            Direction::Ridge(g) => along_ridges[[function, g]],
        };
        self.terms.iter().map(|terms| terms.iter().map(mean).sum::<f64>()).collect()
    }

    /// `E vᵀ∇²F v` of vectors at the points, `[p]`.
    pub fn mean_curvatures(&self, v: &Points) -> Array1<f64> {
        let (ridges, n) = (self.ridges, v.nrows() as f64);
        let (d, k) = (ridges.dim(), ridges.knots.ncols());
        let products = v.t().dot(v) / n;
        let of_matrix = entries(d).map(|(i, j)| products[[i, j]] * if i == j { 1.0 } else { 2.0 });
        let squares = v.dot(&ridges.directions.t()).mapv(|along| along * along);
        let of_heights = ridges.widths.iter().enumerate().map(|(l, width)| {
            let slopes = self.functions.row(1 + d + l);
            slopes.iter().zip(squares.column(l / k)).map(|(s, square)| s * (1.0 - s) * square).sum::<f64>()
                / (width * n)
        });
        std::iter::repeat_n(0.0, d).chain(of_matrix).chain(of_heights).collect()
    }

    /// `Σ_j θ_j ∇F_j` at the points, `[n, d]`.
    pub fn gradient(&self, theta: &Array1<f64>) -> Points {
        let mut directions = Array2::zeros((self.functions.nrows(), self.ridges.dim()));
        for (theta, terms) in theta.iter().zip(&self.terms) {
            for &(direction, function) in terms {
                match direction {
                    Direction::Axis(i) => directions[[function, i]] += theta,
                    Direction::Ridge(g) => {
                        directions.row_mut(function).scaled_add(*theta, &self.ridges.directions.row(g))
                    }
                }
            }
        }
        self.functions.t().dot(&directions)
    }
}

impl<'a> Projection<'a> {
    /// The problem over points `[n, d]`, with the penalty λ.
    pub fn new(ridges: &'a Ridges, y: &Points, penalty: f64) -> Self {
        let features = Features::at(ridges, y);
        let gram = features.gram();
        let mut damped = gram.clone();
        // A knot where no draw is has no scale of its own.
        damped.diag_mut().mapv_inplace(|entry| entry * (1.0 + penalty) + 1e-12);
        let free = RidgedQuadratic::free(ridges);
        let lower = Array1::from_shape_fn(damped.nrows(), |i| if i < free { f64::NEG_INFINITY } else { 0.0 });
        Self { features, gram, damped, lower }
    }

    /// The features at the points.
    pub fn features(&self) -> &Features<'a> {
        &self.features
    }

    /// `(G + λ diag G)⁻¹ b`; `None` where numbers are no longer finite.
    pub fn solve(&self, right: &Array1<f64>) -> Option<Array1<f64>> {
        box_program::minimize(&self.damped, right, &Array1::from_elem(right.len(), f64::NEG_INFINITY))
    }

    /// θ after the step -ηv of the images; `None` where numbers are no longer finite.
    pub fn fit(&self, coefficients: &[f64], v: &Points, eta: f64) -> Option<Fitted> {
        let (ridges, n) = (self.features.ridges, v.nrows() as f64);
        let b = self.features.means(v);
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
