//! How samples are made where the score is known at every noise level.

use serde_json::json;

use crate::grid::GridConfig;
use crate::samplers::SamplerConfig;
use crate::trained_sampler::Facts;

/// A sampler on its grid.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingPlan {
    /// The sampler.
    pub sampler: SamplerConfig,
    /// How its noise levels are spaced.
    pub grid: GridConfig,
    /// Its noise levels, falling to 0: at least two.
    pub levels: Vec<f64>,
}

impl SamplingPlan {
    /// What reports say of it.
    pub fn facts(&self) -> Facts {
        let Self { sampler, grid, levels } = self;
        Facts(vec![
            ("sampler", json!(sampler)),
            ("grid", json!(grid)),
            ("sigma_max", json!(levels[0])),
            ("sigma_min", json!(levels[levels.len() - 2])),
            ("steps", json!(levels.len() - 1)),
        ])
    }
}
