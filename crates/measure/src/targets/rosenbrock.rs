//! Rosenbrock's curved valley as a density.

use std::f64::consts::TAU;

use burn::tensor::Tensor;

use crate::measure::{Measure, Sample};
use crate::random::Words;

/// Rosenbrock's valley, version 1: `x₀ ~ N(1, 10)`, `x₁` given `x₀` is `N(x₀², 0.1)` (variances). log Z = 0.
///
/// Pagani, Wiegand and Nadarajah, An n-dimensional Rosenbrock distribution for MCMC testing, Scandinavian Journal of
/// Statistics 49 (2022).
#[derive(Debug, Clone, Copy, Default)]
pub struct Rosenbrock {}

const MEAN: f64 = 1.0;
const ALONG: f64 = 10.0;
const ACROSS: f64 = 0.1;

/// `x₀` and `x₁ - x₀²`, `[n, 1]` each.
fn parts(x: &Tensor<2>) -> [Tensor<2>; 2] {
    let along = x.clone().narrow(1, 0, 1);
    [along.clone(), x.clone().narrow(1, 1, 1) - along.square()]
}

impl Sample for Rosenbrock {
    fn dim(&self) -> usize {
        2
    }

    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        point[0] = MEAN + libm::sqrt(ALONG) * words.normal();
        point[1] = point[0] * point[0] + libm::sqrt(ACROSS) * words.normal();
    }
}

impl Measure for Rosenbrock {
    fn dim(&self) -> usize {
        2
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let [along, across] = parts(&x);
        let constant = -(ALONG.ln() + ACROSS.ln()) / 2.0 - TAU.ln();
        let squares = (along - MEAN).square() * (-0.5 / ALONG) + across.square() * (-0.5 / ACROSS);
        (squares + constant).squeeze_dim(1)
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        let [along, across] = parts(&x);
        let pull = across / ACROSS;
        let of_along = (along.clone() - MEAN) / -ALONG + pull.clone() * along * 2.0;
        Tensor::cat(vec![of_along, pull.neg()], 1)
    }

    fn log_normalizer(&self) -> Option<f64> {
        Some(0.0)
    }
}
