//! What a network predicts: `D(y, σ) = c_skip y + c_out F(c_in y, c_noise)`.
//!
//! # Design
//!
//! Every parameterisation of the literature is a choice of four functions of the noise level (Karras et al.,
//! 2206.00364, Table 1 and equation 7), here with σ_d, the standard deviation of the data, as the unit of length; the papers
//! take σ_d = 1 where they leave it out. `c_noise = log(σ/σ_d)/4` throughout: the papers' own choices (time, time times 999,
//! log σ/2) are monotone functions of it, and the embedding is made for its range.
//!
//! By Tweedie's formula the score is `(D - y)/σ² = skip y + out F` with `skip = (c_skip - 1)/σ²` and `out = c_out/σ²`, both
//! given here in closed form: forming them by subtraction loses every digit as σ → 0.

use burn::tensor::Tensor;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the network F predicts.
///
/// The v of Salimans and Ho (2202.00512) is [`Edm`](Self::Edm) with the sign of F turned round and σ_d = 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Preconditioning {
    /// A mixture of clean signal and noise that has unit variance at every noise level.
    ///
    /// `c_skip = σ_d²/(σ² + σ_d²)`, `c_out = σσ_d/√(σ² + σ_d²)`, `c_in = 1/√(σ² + σ_d²)`. Karras et al. (2206.00364).
    #[default]
    Edm,
    /// The noise: `D = y - σF`, from an input of unit variance.
    ///
    /// `c_skip = 1`, `c_out = -σ`, `c_in = 1/√(σ² + σ_d²)`. Ho et al. (2006.11239); Song et al. (2011.13456), VP.
    VariancePreserving,
    /// The score in units of 1/σ, that is the noise with its sign turned round: `D = y + σF`.
    ///
    /// `c_skip = 1`, `c_out = σ`, `c_in = 1/√(σ² + σ_d²)`. Song et al. (2011.13456), VE, who feed y as it is to a network that
    /// normalises its layers; ours does not, so its input is normalised.
    VarianceExploding,
    /// The clean signal: `D = σ_d F`.
    ///
    /// `c_skip = 0`, `c_out = σ_d`, `c_in = 1/√(σ² + σ_d²)`. The score at small σ is a small difference of
    /// large numbers, which F itself must get right.
    Denoiser,
    /// The velocity `Z - X` of the straight path `(1 - t)X + tZ`, `t = σ/(σ + σ_d)`, from the point of that path.
    ///
    /// `c_skip = σ_d/(σ + σ_d)`, `c_out = -σσ_d/(σ + σ_d)`, `c_in = 1/(σ + σ_d)`. Lipman et al. (2210.02747); Liu et
    /// al. (2209.03003).
    Velocity,
}

/// The four functions of the noise level, and the two of the score; each `[n, 1]`.
#[derive(Debug, Clone)]
pub struct Coefficients {
    /// The factor of y in the denoiser.
    pub c_skip: Tensor<2>,
    /// The factor of F in the denoiser.
    pub c_out: Tensor<2>,
    /// The factor of y in the input of F.
    pub c_in: Tensor<2>,
    /// The noise level as F sees it: `log(σ/σ_d)/4`.
    pub c_noise: Tensor<2>,
    /// The factor of y in the score, `(c_skip - 1)/σ²`.
    pub score_skip: Tensor<2>,
    /// The factor of F in the score, `c_out/σ²`.
    pub score_out: Tensor<2>,
}

impl Preconditioning {
    /// The coefficients at the noise levels σ `[n]`, with σ_d = `sigma_data`.
    pub fn coefficients(&self, sigma: Tensor<1>, sigma_data: f64) -> Coefficients {
        let sigma = sigma.unsqueeze_dim::<2>(1);
        let c_noise = (sigma.clone() / sigma_data).log() / 4.0;
        let variance = sigma.clone().square() + sigma_data * sigma_data;
        let root = variance.clone().sqrt();
        let (c_skip, c_out, c_in, score_skip, score_out) = match self {
            Self::Edm => (
                variance.clone().recip() * (sigma_data * sigma_data),
                sigma.clone() / root.clone() * sigma_data,
                root.clone().recip(),
                -variance.recip(),
                (sigma * root).recip() * sigma_data,
            ),
            Self::VariancePreserving => {
                (sigma.ones_like(), -sigma.clone(), root.recip(), sigma.zeros_like(), -sigma.recip())
            }
            Self::VarianceExploding => {
                (sigma.ones_like(), sigma.clone(), root.recip(), sigma.zeros_like(), sigma.recip())
            }
            Self::Denoiser => {
                let precision = sigma.clone().square().recip();
                (
                    sigma.zeros_like(),
                    sigma.full_like(sigma_data),
                    root.recip(),
                    -precision.clone(),
                    precision * sigma_data,
                )
            }
            Self::Velocity => {
                let total = sigma.clone() + sigma_data;
                let slope = (sigma.clone() * total.clone()).recip();
                (
                    total.clone().recip() * sigma_data,
                    sigma / total.clone() * -sigma_data,
                    total.recip(),
                    -slope.clone(),
                    slope * -sigma_data,
                )
            }
        };
        Coefficients { c_skip, c_out, c_in, c_noise, score_skip, score_out }
    }
}
