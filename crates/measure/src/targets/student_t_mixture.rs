//! Modes with heavy tails.

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
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub degrees_of_freedom: f64,
    /// The location of each component.
    #[schemars(length(min = 1))]
    pub locations: Vec<Vec<f64>>,
}

fn degrees_of_freedom() -> f64 {
    2.0
}

impl StudentTMixture {
    /// The mixture, if it is one.
    ///
    /// # Errors
    ///
    /// No locations, locations of different lengths, numbers that are not finite, ν that is not positive.
    pub(crate) fn checked(self) -> Result<Self, MeasureError> {
        super::positive("student_t_mixture.degrees_of_freedom", self.degrees_of_freedom)?;
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
        let of_one = libm::lgamma((nu + 1.0) / 2.0) - libm::lgamma(nu / 2.0) - (nu * std::f64::consts::PI).ln() / 2.0;
        let constant = d as f64 * of_one - (k as f64).ln();
        let logs = (offsets.clone().square() / nu).log1p().sum_dim(2) * (-(nu + 1.0) / 2.0) + constant;
        [offsets, logs]
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
