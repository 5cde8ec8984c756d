//! Heun's method with fresh noise before every step: Karras et al. (2206.00364), Algorithm 2.

use burn::tensor::Tensor;

use super::heun::heun_step;
use super::{Path, SamplerError};

/// How much noise is renewed, and where.
pub(super) struct Churn {
    pub(super) s_churn: f64,
    pub(super) s_min: f64,
    pub(super) s_max: f64,
    pub(super) s_noise: f64,
}

impl Churn {
    /// `γ = min(S_churn/N, √2 - 1)` where σ lies in `[S_min, S_max]`, else 0.
    fn gamma(&self, sigma: f64, steps: usize) -> f64 {
        if sigma < self.s_min || sigma > self.s_max {
            return 0.0;
        }
        (self.s_churn / steps as f64).min(std::f64::consts::SQRT_2 - 1.0)
    }
}

/// `ŷ = y_i + S_noise √(σ̂² - σ_i²) Z`, `σ̂ = σ_i(1 + γ)`; then a step of Heun's method from σ̂ to σ_{i+1}.
pub(super) fn churn(
    path: &mut Path,
    levels: &[f64],
    start: Tensor<2>,
    churn: Churn,
) -> Result<Tensor<2>, SamplerError> {
    let (steps, mut y) = (levels.len() - 1, start);
    for (i, pair) in levels.windows(2).enumerate() {
        let gamma = churn.gamma(pair[0], steps);
        if gamma > 0.0 {
            y = y + path.normals(i) * (churn.s_noise * pair[0] * (gamma * (2.0 + gamma)).sqrt());
        }
        y = heun_step(path, y, pair[0] * (1.0 + gamma), pair[1]);
        path.arrive(i + 1, steps, pair[1], &y)?;
    }
    Ok(y)
}
