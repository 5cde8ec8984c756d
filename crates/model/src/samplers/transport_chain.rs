//! The optimal-transport backward chain of Liang, Dharmakeerthi, Koriyama (2411.01629).

use burn::tensor::Tensor;

use super::{Path, SamplerError, noise_level};

/// `X_{(k-1)η} = X + η(X + β⁻¹ S_k(X))`, `S_k = ∇log p_{kη}`, k = K … 1, in the coordinates of
/// `X_t = e^{-t}X₀ + √((1 - e^{-2t})/β) Z`.
///
/// A step is the optimal map from `p_{kη}` to `p_{(k-1)η}` up to O(η²).
pub(super) fn transport_chain(
    path: &mut Path,
    beta: f64,
    eta: f64,
    steps: usize,
    start: Tensor<2>,
) -> Result<Tensor<2>, SamplerError> {
    let mut x = start;
    for k in (1..=steps).rev() {
        let score = path.score_at_time(&x, beta, k as f64 * eta);
        x = x * (1.0 + eta) + score * (eta / beta);
        path.arrive(steps + 1 - k, steps, noise_level(beta, (k - 1) as f64 * eta), &x)?;
    }
    Ok(x)
}
