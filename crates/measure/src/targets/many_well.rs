//! Pairs of a double well and a Gaussian: a mode for every choice of wells.

use std::f64::consts::TAU;

use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::MeasureError;
use crate::measure::{Measure, Sample};
use crate::quadrature::gauss_legendre;
use crate::random::Words;

/// Many wells, version 1: d/2 independent pairs, each with the log-density `-x₀⁴ + 6x₀² + x₀/2 - x₁²/2`, so 2^{d/2} modes.
///
/// `log Z = d/2 (log ∫e^{-x⁴ + 6x² + x/2} dx + ½ log 2π)`, 164.6957 for d = 32. Midgley, Stimper, Simm, Schölkopf and
/// Hernández-Lobato, Flow annealed importance sampling bootstrap, ICLR (2023).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ManyWell {
    /// The dimension d, an even number.
    #[serde(default = "dim")]
    #[schemars(range(min = 2, max = 10_000))]
    pub dim: usize,
}

fn dim() -> usize {
    32
}

/// The tilt of a double well.
const TILT: f64 = 0.5;

/// Beyond this place a well holds less than e⁻⁵⁰⁰ of the mass.
const END: f64 = 6.0;

/// Panels and nodes of the quadrature of a double well.
const PANELS: usize = 24;
const NODES: usize = 24;

impl ManyWell {
    /// The wells, if they are some.
    ///
    /// # Errors
    ///
    /// A dimension that is odd or 0.
    pub(crate) fn checked(self) -> Result<Self, MeasureError> {
        super::at_least("many_well.dim", self.dim, 2)?;
        if self.dim % 2 == 1 {
            return Err(MeasureError::Odd { field: "many_well.dim".to_owned(), value: self.dim });
        }
        Ok(self)
    }

    /// The double wells and the Gaussians, `[n, d/2]` each.
    fn parts(x: Tensor<2>) -> [Tensor<2>; 2] {
        let [n, d] = x.dims();
        let pairs = x.reshape([n, d / 2, 2]);
        [0, 1].map(|side| pairs.clone().narrow(2, side, 1).squeeze_dim::<2>(2))
    }
}

impl Sample for ManyWell {
    fn dim(&self) -> usize {
        self.dim
    }

    /// A double well by rejection: with `c = √3`, `-x⁴ + 6x² = 9 - (|x| - c)²(|x| + c)² ≤ 9 - 3(|x| - c)²`, so on either side of 0
    /// a Gaussian of variance 1/6 lies above it; half of the proposals are accepted.
    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let centre = libm::sqrt(3.0);
        // The mass of a side's Gaussian is proportional to e^{±tilt·c}.
        let right = 1.0 / (1.0 + libm::exp(-2.0 * TILT * centre));
        for pair in point.chunks_exact_mut(2) {
            pair[0] = loop {
                let side = if words.uniform() < right { 1.0 } else { -1.0 };
                let distance = centre + side * TILT / 6.0 + words.normal() / libm::sqrt(6.0);
                let log_accept = 3.0 * (distance - centre).powi(2) - (distance * distance - 3.0).powi(2);
                if distance > 0.0 && libm::log(words.uniform()) < log_accept {
                    break side * distance;
                }
            };
            pair[1] = words.normal();
        }
    }
}

impl Measure for ManyWell {
    fn dim(&self) -> usize {
        self.dim
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let [wells, gaussians] = Self::parts(x);
        let squares = wells.clone().square();
        let of_wells = squares.clone() * (squares.neg() + 6.0) + wells * TILT;
        (of_wells - gaussians.square() * 0.5).sum_dim(1).squeeze_dim(1)
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        let [n, d] = x.dims();
        let [wells, gaussians] = Self::parts(x);
        let of_wells = wells.clone() * (wells.square() * -4.0 + 12.0) + TILT;
        Tensor::cat(vec![of_wells.unsqueeze_dim::<3>(2), gaussians.neg().unsqueeze_dim::<3>(2)], 2).reshape([n, d])
    }

    fn hessian_product(&self, x: Tensor<2>, v: Tensor<2>) -> Tensor<2> {
        let [n, d] = x.dims();
        let [wells, _] = Self::parts(x);
        let [along, across] = Self::parts(v);
        let of_wells = along * (wells.square() * -12.0 + 12.0);
        Tensor::cat(vec![of_wells.unsqueeze_dim::<3>(2), across.neg().unsqueeze_dim::<3>(2)], 2).reshape([n, d])
    }

    fn log_normalizer(&self) -> Option<f64> {
        let rule = gauss_legendre(NODES);
        let half = END / PANELS as f64;
        let panel = |k: usize| {
            let middle = -END + (2 * k + 1) as f64 * half;
            let mass = |x: f64| (x * x * (6.0 - x * x) + TILT * x).exp();
            rule.iter().map(|(node, weight)| half * weight * mass(middle + half * node)).sum::<f64>()
        };
        let well: f64 = (0..PANELS).map(panel).sum();
        Some(self.dim as f64 / 2.0 * (well.ln() + TAU.ln() / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normalizer_is_the_published_one() {
        let log_z = ManyWell { dim: 32 }.log_normalizer().unwrap();
        assert!((log_z - 164.6957).abs() < 5e-5, "{log_z}");
    }
}
