//! Expectations as weighted sums: over draws, or over the nodes of a quadrature.

use brenier_measure::{Estimate, GaussianMixture, Points};
use ndarray::Array1;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What stands for the laws in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expectations {
    /// Draws.
    #[default]
    Samples,
    /// So many Gauss-Hermite nodes an axis of every component: where reference and target are mixtures of Gaussians in at most three
    /// dimensions. No sampling error is left.
    Nodes(#[schemars(range(min = 2, max = 400))] usize),
}

/// The largest dimension of a quadrature, and the most nodes that are looked at.
pub const MOST_AXES: usize = 3;
pub const MOST_NODES: usize = 20_000_000;

/// Points with weights that stand for a law.
#[derive(Debug, Clone)]
pub struct Weighted {
    /// `[n, d]`.
    pub points: Points,
    /// `[n]`, with sum 1.
    pub weights: Array1<f64>,
    /// Whether the points were drawn.
    are_draws: bool,
}

impl Weighted {
    /// Draws, which count the same.
    pub fn draws(points: Points) -> Self {
        let n = points.nrows();
        Self { weights: Array1::from_elem(n, 1.0 / n as f64), points, are_draws: true }
    }

    /// The nodes of a quadrature, so many an axis.
    pub fn nodes(law: &GaussianMixture, count: usize) -> Self {
        let (points, weights) = law.nodes(count);
        Self { points, weights, are_draws: false }
    }

    /// Other points with the same weights.
    pub fn with_points(&self, points: Points) -> Self {
        Self { points, weights: self.weights.clone(), are_draws: self.are_draws }
    }

    /// Whether the points were drawn: a mean over them has an error.
    pub fn are_draws(&self) -> bool {
        self.are_draws
    }

    /// The mean of a function with these values, `[n]`; the standard error of independent draws.
    pub fn mean(&self, values: &[f64]) -> Estimate {
        if self.are_draws {
            return Estimate::mean(values.iter().copied());
        }
        Estimate { value: self.weights.iter().zip(values).map(|(weight, value)| weight * value).sum(), std_error: 0.0 }
    }
}
