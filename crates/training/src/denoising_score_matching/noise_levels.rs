//! The distribution of noise levels that a score network is trained on.

use brenier_measure::random::normal_quantile;
use brenier_measure::{NoiseSchedule, Words};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the noise level σ of each training point is drawn, in standardised coordinates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NoiseLevels {
    /// `log σ ~ N(mean, sd²)`. Karras et al. (2206.00364).
    LogNormal {
        /// The mean of log σ.
        mean: f64,
        /// The standard deviation of log σ.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        sd: f64,
    },
    /// `log σ` uniform between `log σ_min` and `log σ_max`.
    LogUniform {
        /// The least noise level.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        sigma_min: f64,
        /// The greatest noise level.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        sigma_max: f64,
    },
    /// The noise level `σ/α` of a schedule at a uniform time. Song et al. (2011.13456).
    UniformTime {
        /// The schedule that turns times into noise levels.
        schedule: NoiseSchedule,
        /// The least time.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        t_min: f64,
        /// The greatest time.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        t_max: f64,
    },
}

impl NoiseLevels {
    /// A noise level from one random word.
    pub fn draw(&self, words: &mut Words) -> f64 {
        self.quantile(words.uniform())
    }

    /// The noise level below which a fraction `u` in (0, 1) of the draws lie.
    pub fn quantile(&self, u: f64) -> f64 {
        match *self {
            Self::LogNormal { mean, sd } => libm::exp(mean + sd * normal_quantile(u)),
            Self::LogUniform { sigma_min, sigma_max } => sigma_min * libm::exp(u * libm::log(sigma_max / sigma_min)),
            Self::UniformTime { schedule, t_min, t_max } => schedule.noise_level(t_min + u * (t_max - t_min)),
        }
    }
}
