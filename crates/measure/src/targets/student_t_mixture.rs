//! Modes with heavy tails.

use std::ops::RangeInclusive;

use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{MeasureError, check_finite};
use crate::measure::{Measure, Sample, host_tensor};
use crate::random::Words;

/// A mixture of Student's t, version 1: K equally likely locations `μ_k`, and `x - μ_k` with d independent coordinates of Student's t
/// with ν degrees of freedom. log Z = 0; with ν ≤ 2 it has no variance.
///
/// Blessing, Jia, Esslinger, Vargas and Neumann, Beyond ELBOs, ICML (2024).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StudentTMixture {
    /// The degrees of freedom ν.
    #[serde(default = "degrees_of_freedom")]
    #[schemars(range(min = 0.1, max = 1e12))]
    pub degrees_of_freedom: f64,
    /// The location of each component.
    #[schemars(length(min = 1))]
    pub locations: Vec<Vec<f64>>,
}

/// Below it draws overflow, above it the law is a Gaussian to rounding.
const DEGREES_OF_FREEDOM: RangeInclusive<f64> = 0.1..=1e12;

fn degrees_of_freedom() -> f64 {
    2.0
}

impl StudentTMixture {
    /// The mixture, if it is one.
    ///
    /// # Errors
    ///
    /// No locations, locations of different lengths, numbers that are not finite, ν below .1 or above 10¹².
    pub(crate) fn checked(self) -> Result<Self, MeasureError> {
        let nu = self.degrees_of_freedom;
        if !DEGREES_OF_FREEDOM.contains(&nu) {
            let field = "student_t_mixture.degrees_of_freedom".to_owned();
            let (least, most) = (*DEGREES_OF_FREEDOM.start(), *DEGREES_OF_FREEDOM.end());
            return Err(MeasureError::OutOfRange { field, value: nu, least, most });
        }
        let field = |k: usize| format!("student_t_mixture.locations[{k}]");
        let d = self.locations.first().map_or(0, Vec::len);
        if d == 0 {
            return Err(MeasureError::Empty { field: "student_t_mixture.locations".to_owned() });
        }
        for (k, location) in self.locations.iter().enumerate() {
            check_finite(&field(k), location)?;
            if location.len() != d {
                let (field, found, other, expected) = (field(k), location.len(), field(0), d);
                return Err(MeasureError::Length { field, found, other, expected });
            }
        }
        Ok(self)
    }

    fn dim(&self) -> usize {
        self.locations[0].len()
    }

    /// Offsets `x - μ_k`, `[K, n, d]`, and the logarithm of every component's share, `[K, n, 1]`.
    fn components(&self, x: &Tensor<2>) -> [Tensor<3>; 2] {
        let (nu, d, k) = (self.degrees_of_freedom, self.dim(), self.locations.len());
        let locations = host_tensor(self.locations.concat(), [k, 1, d], x.dtype(), &x.device());
        let offsets = x.clone().unsqueeze_dim::<3>(0) - locations;
        let of_one = log_gamma_step(nu / 2.0) - (nu * std::f64::consts::PI).ln() / 2.0;
        let constant = d as f64 * of_one - (k as f64).ln();
        let logs = (offsets.clone().square() / nu).log1p().sum_dim(2) * (-(nu + 1.0) / 2.0) + constant;
        [offsets, logs]
    }
}

/// `log Γ(z + 1/2) - log Γ(z)`; for large z by its series, where the difference loses its digits.
fn log_gamma_step(z: f64) -> f64 {
    if z < 1e3 {
        libm::lgamma(z + 0.5) - libm::lgamma(z)
    } else {
        z.ln() / 2.0 - 1.0 / (8.0 * z) + 1.0 / (192.0 * z.powi(3))
    }
}

/// `log Σ_k e^{l_k}` over the first axis, `[K, n, 1] -> [1, n, 1]`.
fn log_sum(logs: Tensor<3>) -> Tensor<3> {
    let largest = logs.clone().max_dim(0);
    (logs - largest.clone()).exp().sum_dim(0).log() + largest
}

impl Sample for StudentTMixture {
    fn dim(&self) -> usize {
        self.dim()
    }

    /// Student's t from two uniforms: `√(ν(u^{-2/ν} - 1)) cos 2πv` (Bailey, Mathematics of Computation 62, 1994).
    fn draw(&self, words: &mut Words, point: &mut [f64]) {
        let nu = self.degrees_of_freedom;
        let location = &self.locations[words.below(self.locations.len() as u64) as usize];
        for (x, mu) in point.iter_mut().zip(location) {
            let radius = libm::sqrt(nu * libm::expm1(-2.0 / nu * libm::log(words.uniform())));
            *x = mu + radius * libm::cos(std::f64::consts::TAU * words.uniform());
        }
    }
}

impl Measure for StudentTMixture {
    fn dim(&self) -> usize {
        self.dim()
    }

    fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
        let [_, logs] = self.components(&x);
        log_sum(logs).squeeze_dim::<2>(0).squeeze_dim(1)
    }

    fn score(&self, x: Tensor<2>) -> Tensor<2> {
        let nu = self.degrees_of_freedom;
        let [offsets, logs] = self.components(&x);
        let shares = (logs.clone() - log_sum(logs)).exp();
        let pulls = offsets.clone() / (offsets.square() + nu) * -(nu + 1.0);
        (shares * pulls).sum_dim(0).squeeze_dim(0)
    }

    fn log_normalizer(&self) -> Option<f64> {
        Some(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_step_of_log_gamma_has_no_seam() {
        let near = libm::lgamma(999.999_999_5) - libm::lgamma(999.499_999_5);
        assert!((log_gamma_step(999.499_999_5) - near).abs() < 1e-13);
        assert!((log_gamma_step(1e3) - (libm::lgamma(1000.5) - libm::lgamma(1e3))).abs() < 1e-11);
        assert!((log_gamma_step(5e11) - 5e11f64.ln() / 2.0).abs() < 1e-12);
    }
}
