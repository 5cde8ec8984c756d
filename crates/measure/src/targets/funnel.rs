//! Neal's funnel.

use std::f64::consts::TAU;

use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::MeasureError;
use crate::measure::{Measure, Sample};
use crate::random::Words;

/// Neal's funnel, version 1: `x₀ ~ N(0, σ²)`, `x_i` given `x₀` is `N(0, e^{x₀})` for i ≥ 1, independent. log Z = 0.
///
/// Neal, Slice sampling, Annals of Statistics 31 (2003).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Funnel {
    /// The dimension d.
    #[serde(default = "dim")]
    #[schemars(range(min = 2, max = 10_000))]
    pub dim: usize,
    /// The standard deviation σ of x₀.
    #[serde(default = "sigma")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub sigma: f64,
}

fn dim() -> usize {
    10
}

fn sigma() -> f64 {
    3.0
}

impl Funnel {
    /// The funnel, if it is one.
    ///
    /// # Errors
    ///
    /// A dimension below 2, a σ that is not positive.
    pub(crate) fn checked(self) -> Result<Self, MeasureError> {
        super::at_least("funnel.dim", self.dim, 2)?;
        super::positive("funnel.sigma", self.sigma)?;
        Ok(self)
    }

    /// `x₀`, `[n, 1]`, and the others.
    fn parts(x: &Tensor<2>) -> [Tensor<2>; 2] {
        let d = x.dims()[1];
        [x.clone().narrow(1, 0, 1), x.clone().narrow(1, 1, d - 1)]
    }
}

impl Sample for Funnel {
    fn dim(&self) -> usize {
        self.dim
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        point[0] = self.sigma * words.normal();
        let deviation = libm::exp(point[0] / 2.0);
        for x in &mut point[1..] {
            *x = deviation * words.normal();
        }
    }
}

impl Measure for Funnel {
    fn dim(&self) -> usize {
        self.dim
    }

    /// `-x₀²/(2σ²) - ln σ - (d - 1)x₀/2 - e^{-x₀}Σ x_i²/2 - d/2 ln 2π`.
    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let d = self.dim as f64;
        let [mouth, others] = Self::parts(&x);
        let squares = others.square().sum_dim(1) * mouth.clone().neg().exp();
        let constant = -self.sigma.ln() - d / 2.0 * TAU.ln();
        let of_mouth = mouth.clone().square() * (-0.5 / self.sigma.powi(2)) - mouth * ((d - 1.0) / 2.0);
        (of_mouth - squares * 0.5 + constant).squeeze_dim(1)
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        let [mouth, others] = Self::parts(&x);
        let precision = mouth.clone().neg().exp();
        let squares = others.clone().square().sum_dim(1) * precision.clone();
        let of_mouth = squares * 0.5 - mouth / self.sigma.powi(2) - (self.dim - 1) as f64 / 2.0;
        Tensor::cat(vec![of_mouth, others.neg() * precision], 1)
    }

    fn log_normalizer(&self) -> Option<f64> {
        Some(0.0)
    }
}
