//! The probability-flow ODE by Heun's method: Karras et al. (2206.00364), Algorithm 1.

use burn::tensor::Tensor;

use super::{Path, SamplerError};

/// Steps of [`heun_step`] along the levels.
pub(super) fn heun(path: &mut Path, levels: &[f64], start: Tensor<2>) -> Result<Tensor<2>, SamplerError> {
    let (steps, mut y) = (levels.len() - 1, start);
    for (i, pair) in levels.windows(2).enumerate() {
        y = heun_step(path, y, pair[0], pair[1]);
        path.arrive(i + 1, steps, pair[1], &y)?;
    }
    Ok(y)
}

/// `y' = y + h d(y, σ)`, then `y + h (d(y, σ) + d(y', σ'))/2`, `h = σ' - σ`; to σ' = 0 one Euler step.
pub(super) fn heun_step(path: &Path, y: Tensor<2>, sigma: f64, next: f64) -> Tensor<2> {
    let h = next - sigma;
    let slope = path.slope(&y, sigma);
    let predicted = y.clone() + slope.clone() * h;
    if next == 0.0 {
        return predicted;
    }
    y + (slope + path.slope(&predicted, next)) * (h / 2.0)
}
