//! The probability-flow ODE by Euler's method.

use burn::tensor::Tensor;

use super::{Path, SamplerError};

/// `y_{i+1} = y_i + (σ_{i+1} - σ_i) d(y_i, σ_i)`, `d = -σ∇log p_σ`; the last step, to 0, gives the posterior mean.
pub(super) fn euler(path: &mut Path, levels: &[f64], start: Tensor<2>) -> Result<Tensor<2>, SamplerError> {
    let (steps, mut y) = (levels.len() - 1, start);
    for (i, pair) in levels.windows(2).enumerate() {
        let slope = path.slope(&y, pair[0]);
        y = y + slope * (pair[1] - pair[0]);
        path.arrive(i + 1, steps, pair[1], &y)?;
    }
    Ok(y)
}
