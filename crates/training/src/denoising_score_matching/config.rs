//! How long a score network is trained, how fast, and what is averaged.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ema::EmaConfig;
use crate::fit::FitConfig;
use crate::learning_rate::LearningRate;
use crate::optimizer::OptimizerConfig;

/// How a score network is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// The number of optimiser updates.
    #[schemars(range(min = 1))]
    pub steps: u64,
    /// The number of points in one update.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub batch: usize,
    /// The number of points in one pass of the network; must divide `batch`. Null: the whole batch at once.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub micro_batch: Option<usize>,
    /// The update rule.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// The learning rate at every step.
    pub learning_rate: LearningRate,
    /// The largest global gradient norm; a longer gradient is scaled down to it. Null: no limit.
    #[serde(default)]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub clip_norm: Option<f64>,
    /// Moving averages of the parameters; the first one is evaluated and sampled.
    #[serde(default = "default_ema")]
    #[schemars(length(min = 1))]
    pub ema: Vec<EmaConfig>,
    /// A run directory whose averaged weights are the starting point. Null: a fresh initialisation.
    #[serde(default)]
    pub start_from: Option<PathBuf>,
}

impl TrainingConfig {
    /// The part that a fit of any objective takes.
    pub fn fit(&self) -> FitConfig {
        FitConfig {
            steps: self.steps,
            micro_batch: self.micro_batch,
            optimizer: self.optimizer,
            learning_rate: self.learning_rate,
            clip_norm: self.clip_norm,
            ema: self.ema.clone(),
            read_every: 1,
        }
    }
}

fn default_ema() -> Vec<EmaConfig> {
    vec![EmaConfig::HalfLife(500.0)]
}
