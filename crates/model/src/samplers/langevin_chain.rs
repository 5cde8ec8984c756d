//! The stochastic backward chain of Liang, Dharmakeerthi, Koriyama (2411.01629).

use burn::tensor::Tensor;

use super::{Path, SamplerError, noise_level};

/// `X_{(k-1)η} = X + η(X + 2β⁻¹ S_k(X)) + √(2η/β) Z`, `S_k = ∇log p_{kη}`, k = K … 1, in the coordinates of
/// `X_t = e^{-t}X₀ + √((1 - e^{-2t})/β) Z`.
pub(super) fn langevin_chain(
    path: &mut Path,
    beta: f64,
    eta: f64,
    steps: usize,
    start: Tensor<2>,
) -> Result<Tensor<2>, SamplerError> {
    let mut x = start;
    for k in (1..=steps).rev() {
        let step = steps - k;
        let score = path.score_at_time(&x, beta, k as f64 * eta);
        x = x * (1.0 + eta) + score * (2.0 * eta / beta) + path.normals(step) * (2.0 * eta / beta).sqrt();
        path.arrive(step + 1, steps, noise_level(beta, (k - 1) as f64 * eta), &x)?;
    }
    Ok(x)
}
