//! The reverse SDE by ancestral steps, whose noise is that of the forward process given its beginning.

use burn::tensor::Tensor;

use super::{Path, SamplerError};

/// `y_{i+1} = y_i + (σ_i² - σ_{i+1}²) ∇log p_{σ_i}(y_i) + (σ_{i+1}/σ_i) √(σ_i² - σ_{i+1}²) Z`: the law of `Y_{σ_{i+1}}` given
/// `Y_{σ_i}` and X, with the posterior mean in the place of X.
///
/// The last step, to 0, adds no noise and so gives the posterior mean. Song et al. (2011.13456), equation 47 in appendix F.
pub(super) fn ancestral(path: &mut Path, levels: &[f64], start: Tensor<2>) -> Result<Tensor<2>, SamplerError> {
    let (steps, mut y) = (levels.len() - 1, start);
    for (i, pair) in levels.windows(2).enumerate() {
        // σ² - σ'² as a product: neighbouring levels may be close.
        let elapsed = (pair[0] - pair[1]) * (pair[0] + pair[1]);
        let score = path.score(&y, pair[0]);
        y = y + score * elapsed;
        if pair[1] > 0.0 {
            y = y + path.normals(i) * (elapsed.sqrt() * pair[1] / pair[0]);
        }
        path.arrive(i + 1, steps, pair[1], &y)?;
    }
    Ok(y)
}
