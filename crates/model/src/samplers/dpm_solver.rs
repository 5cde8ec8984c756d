//! The probability-flow ODE by DPM-Solver++(2M): Lu et al. (2211.01095), Algorithm 2, with α = 1.

use burn::tensor::Tensor;

use super::{Path, SamplerError};

/// `y_{i+1} = (σ_{i+1}/σ_i) y_i + (1 - e^{-h_i}) D̃_i`, `D̃_i = D_i + (h_i/2h_{i-1})(D_i - D_{i-1})`, `h_i = log(σ_i/σ_{i+1})`.
///
/// The first step and the last one, to 0, have no extrapolation (`D̃ = D`): there the method is of order 1.
pub(super) fn dpm_solver_2m(path: &mut Path, levels: &[f64], start: Tensor<2>) -> Result<Tensor<2>, SamplerError> {
    let (steps, mut y) = (levels.len() - 1, start);
    let mut last: Option<(f64, Tensor<2>)> = None;
    for (i, pair) in levels.windows(2).enumerate() {
        let denoised = path.denoise(&y, pair[0]);
        let h = (pair[0] / pair[1]).ln();
        let ahead = match last {
            Some((last_h, last_denoised)) if pair[1] > 0.0 => {
                denoised.clone() + (denoised.clone() - last_denoised) * (h / (2.0 * last_h))
            }
            _ => denoised.clone(),
        };
        y = y * (pair[1] / pair[0]) + ahead * -(-h).exp_m1();
        last = Some((h, denoised));
        path.arrive(i + 1, steps, pair[1], &y)?;
    }
    Ok(y)
}
