//! What a config says of annealed particles.

use brenier_measure::data::Standardization;
use brenier_model::markov_chain::MovesConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Particles that follow a density from a Gaussian to an unnormalised target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AnnealedParticlesConfig {
    /// How many particles there are.
    #[schemars(range(min = 16, max = 10_000_000))]
    pub particles: usize,
    /// How they move at every temperature.
    pub moves: MovesConfig,
    /// The effective share of the particles after a step of the temperature: the step is as large as this allows.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub ess: f64,
    /// Where they start.
    pub start: StartConfig,
    /// The most temperatures.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub temperatures: u64,
    /// Moves of a particle at the target whenever it is drawn.
    #[schemars(range(min = 0, max = 100_000))]
    pub fresh_moves: usize,
}

impl Default for AnnealedParticlesConfig {
    fn default() -> Self {
        Self {
            particles: 2048,
            moves: MovesConfig::default(),
            ess: 0.8,
            start: StartConfig::default(),
            temperatures: 1000,
            fresh_moves: 10,
        }
    }
}

/// The Gaussian that particles start from, in the coordinates of the target (of the line, where a coordinate is bounded).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StartConfig {
    /// Independent coordinates with these moments.
    Gaussian {
        /// The mean: one number a coordinate; without this key 0.
        #[serde(default)]
        mean: Option<Vec<f64>>,
        /// The standard deviation, one for all coordinates or one each.
        sd: Spread,
    },
    /// The mode that Newton's method finds from the origin, and the inverse of the Hessian there.
    Laplace {
        /// What the standard deviations are multiplied by.
        #[serde(default = "widen")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        widen: f64,
    },
}

fn widen() -> f64 {
    2.0
}

impl Default for StartConfig {
    fn default() -> Self {
        Self::Laplace { widen: widen() }
    }
}

/// A standard deviation for every coordinate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Spread {
    /// One for all.
    Equal(f64),
    /// One each.
    Each(Vec<f64>),
}

impl StartConfig {
    /// The same start in standardised coordinates of one scale.
    #[must_use]
    pub fn standardized(&self, standardization: &Standardization) -> Self {
        let Self::Gaussian { mean, sd } = self else { return self.clone() };
        let Standardization { shift, scale, .. } = standardization;
        let mean = mean.clone().unwrap_or_else(|| vec![0.0; shift.len()]);
        let mean = mean.iter().zip(shift).map(|(mean, shift)| (mean - shift) / scale[0]).collect();
        let sd = match sd {
            Spread::Equal(sd) => Spread::Equal(sd / scale[0]),
            Spread::Each(each) => Spread::Each(each.iter().map(|sd| sd / scale[0]).collect()),
        };
        Self::Gaussian { mean: Some(mean), sd }
    }
}
