//! Denoising score matching in a config.

use brenier_model::{NetworkConfig, Preconditioning};
use brenier_training::{LossConfig, NoiseLevels};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Denoising score matching: the network and what it minimises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DenoisingScoreMatchingConfig {
    /// The network.
    pub network: NetworkConfig,
    /// How the network's output becomes a denoised point.
    pub preconditioning: Preconditioning,
    /// The distribution of the noise levels trained on.
    pub noise_levels: NoiseLevelsConfig,
    /// The loss.
    pub loss: LossConfig,
}

/// How the noise level σ of each training point is drawn, in standardised coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum NoiseLevelsConfig {
    /// A distribution that the config holds.
    Given(NoiseLevels),
    /// A distribution that comes from the training data.
    FromData(NoiseLevelsFromData),
}

/// A distribution of noise levels that comes from the training data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NoiseLevelsFromData {
    /// A share where the posterior covariance of the data says that the denoiser changes, and the rest of a floor, so that no level
    /// at which a sampler may stop is left out.
    Localized {
        /// The share.
        #[serde(default = "half")]
        #[schemars(extend("exclusiveMinimum" = 0.0), range(max = 1.0))]
        share: f64,
        /// The floor.
        #[serde(default = "edm")]
        floor: NoiseLevels,
    },
}

impl NoiseLevelsFromData {
    /// The share and the floor.
    pub fn parts(&self) -> (f64, &NoiseLevels) {
        let Self::Localized { share, floor } = self;
        (*share, floor)
    }
}

impl From<NoiseLevels> for NoiseLevelsConfig {
    fn from(levels: NoiseLevels) -> Self {
        Self::Given(levels)
    }
}

fn half() -> f64 {
    0.5
}

/// The distribution of Karras et al. (2206.00364).
fn edm() -> NoiseLevels {
    NoiseLevels::LogNormal { mean: -1.2, sd: 1.2 }
}
