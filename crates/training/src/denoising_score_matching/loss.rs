//! The two denoising losses, as one weighted regression onto the noise.
//!
//! Both regress the score on a noise draw: with `y = x + σξ`, ξ standard normal, and z the part of the noise that the
//! regression sees,
//!
//! `loss = E w |b·s(y, σ) + z|²/d`.
//!
//! - *All scales*: `b = σ`, `z = ξ`, and `w = λ(σ)σ²` makes it `λ(σ)|D(y, σ) - x|²`. Karras et al. (2206.00364).
//! - *One chain step*: from `X_t` one Euler step of size η gives
//!   `X_{t+η} = (1-η)X_t + √(2η/β) z`, and
//!   `|s(X_{t+η}) - ((1-η)X_t - X_{t+η})/(2η/β)|² = (β/2η)·|√(2η/β)·s(X_{t+η}) + z|²`.
//!   In the coordinates `y = X_{t+η}/α`, `α = (1-η)e^{-t}`, this is the form above with `b = √(2η/β)/α`, `w = β/2η` and
//!   `σ² = (e^{2t}-1)/β + b²`: the exact noise level of the Euler step's law, so that no O(η) error of the chain enters.
//!   Liang, Dharmakeerthi, Koriyama (2411.01629).

use brenier_measure::{NoiseSchedule, Words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::noise_levels::NoiseLevels;

/// Which denoising loss is minimised. Every choice has the same minimiser, the exact score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LossConfig {
    /// `E λ(σ)|D(x + σz, σ) - x|²/d` over the distribution `noise_levels`.
    AllScales {
        /// The weight λ(σ).
        #[serde(default)]
        weighting: Weighting,
        /// Whether every clean point comes twice, with a noise and its negative.
        #[serde(default = "yes")]
        antithetic: bool,
    },
    /// One Euler step of the Ornstein-Uhlenbeck chain from a uniformly drawn point of it; `noise_levels` is not used.
    ///
    /// Step k has size `η_k = eta·growth^k` and starts at time `Σ_{j<k} η_j`.
    ChainStep {
        /// The inverse temperature β.
        #[serde(default = "one")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        beta: f64,
        /// The size of the first step.
        #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
        eta: f64,
        /// The number of steps of the chain.
        #[schemars(range(min = 1))]
        steps: u32,
        /// The ratio of one step size to the one before; 1 is the chain of constant steps.
        #[serde(default = "one")]
        #[schemars(range(min = 1.0))]
        growth: f64,
        /// Whether every clean point comes twice, with a noise and its negative.
        #[serde(default = "yes")]
        antithetic: bool,
    },
}

fn yes() -> bool {
    true
}

fn one() -> f64 {
    1.0
}

/// The weight λ(σ) of the squared error of the denoiser.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Weighting {
    /// `(σ² + σ_d²)/(σσ_d)²`: every level starts with the same loss under EDM preconditioning. Karras et al. (2206.00364).
    #[default]
    Edm,
    /// `1/σ²`: the loss of noise prediction. Ho, Jain, Abbeel (2006.11239).
    Noise,
    /// `1`: the loss of predicting the clean point.
    Denoiser,
    /// `min(1/σ², γ)`. Hang et al. (2303.09556).
    MinSnr {
        /// The largest weight γ.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        gamma: f64,
    },
}

impl Weighting {
    /// `λ(σ)σ²`, the weight of the squared error of the predicted noise.
    pub fn noise_weight(&self, sigma: f64, sigma_data: f64) -> f64 {
        let variance = sigma * sigma;
        match *self {
            Self::Edm => 1.0 + variance / (sigma_data * sigma_data),
            Self::Noise => 1.0,
            Self::Denoiser => variance,
            Self::MinSnr { gamma } => (gamma * variance).min(1.0),
        }
    }
}

/// The noise of one training point.
pub(super) struct Level {
    /// The noise level at which the score is asked.
    pub sigma: f64,
    /// The sd of the noise that the regression does not see.
    pub hidden: f64,
    /// The sd b of the noise that it sees.
    pub seen: f64,
    /// The weight w.
    pub weight: f64,
}

impl LossConfig {
    pub(super) fn draw(&self, noise_levels: &NoiseLevels, sigma_data: f64, words: &mut Words) -> Level {
        match *self {
            Self::AllScales { weighting, .. } => {
                let sigma = noise_levels.draw(words);
                Level { sigma, hidden: 0.0, seen: sigma, weight: weighting.noise_weight(sigma, sigma_data) }
            }
            Self::ChainStep { beta, eta, steps, growth, .. } => {
                let k = words.below(u64::from(steps)) as f64;
                let (time, step) = chain_time(eta, growth, k);
                let hidden = NoiseSchedule::OrnsteinUhlenbeck { beta }.noise_level(time);
                let seen = (2.0 * step / beta).sqrt() / ((1.0 - step) * libm::exp(-time));
                Level { sigma: libm::hypot(hidden, seen), hidden, seen, weight: beta / (2.0 * step) }
            }
        }
    }

    /// Whether noises come in pairs z and -z on the same clean point.
    ///
    /// The gradient holds `z·F(x + σz)`, whose noise is of order one however small σ is; the mean of a pair,
    /// `z·(F(x + σz) - F(x - σz))/2`, has noise of order σ. So the score is learnt to the same relative accuracy
    /// at small noise levels as at large ones, and the price is half as many clean points in a batch.
    pub fn is_antithetic(&self) -> bool {
        match *self {
            Self::AllScales { antithetic, .. } | Self::ChainStep { antithetic, .. } => antithetic,
        }
    }

    /// The largest step size of the chain; 0 for the loss over all scales. It must stay below 1.
    pub fn largest_step(&self) -> f64 {
        match *self {
            Self::AllScales { .. } => 0.0,
            Self::ChainStep { eta, steps, growth, .. } => chain_time(eta, growth, f64::from(steps) - 1.0).1,
        }
    }
}

/// The time at which step k starts, and its size.
fn chain_time(eta: f64, growth: f64, k: f64) -> (f64, f64) {
    let factor = libm::pow(growth, k);
    let time = if growth == 1.0 { eta * k } else { eta * libm::expm1(k * libm::log1p(growth - 1.0)) / (growth - 1.0) };
    (time, eta * factor)
}
