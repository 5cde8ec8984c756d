//! A fitted Gaussian mixture in a config.

use std::path::PathBuf;

use brenier_measure::expectation_maximization::CovarianceKind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Gaussian mixture, fitted by expectation and maximisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GaussianMixtureConfig {
    /// The number of components, or several numbers to choose from by the log-likelihood of held-out points.
    pub components: Components,
    /// What the covariances have in common.
    #[serde(default)]
    pub covariance: CovarianceKind,
    /// By so many points each covariance is drawn towards the pooled one.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1e12))]
    pub shrinkage: f64,
    /// Fits for each number of components, from different starts.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 1000))]
    pub restarts: u64,
    /// Steps of one fit at most.
    #[serde(default = "two_hundred")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub iterations: u64,
    /// A fit ends where a step changes the mean log-likelihood L (nats) by no more than this, relative to max(1, |L|).
    #[serde(default = "one_millionth")]
    #[schemars(range(min = 0.0))]
    pub tolerance: f64,
    /// Draws of the noise that belongs to the data set, over which a step is averaged.
    #[serde(default = "four")]
    #[schemars(range(min = 1, max = 1000))]
    pub copies: u64,
    /// A run whose mixture the first fit starts from. Null: none.
    #[serde(default)]
    pub start_from: Option<PathBuf>,
}

fn four() -> u64 {
    4
}
fn two_hundred() -> u64 {
    200
}
fn one_millionth() -> f64 {
    1e-6
}

/// One number of components, or several to choose from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Components {
    /// One.
    One(#[schemars(range(min = 1, max = 100_000))] usize),
    /// Several.
    Several(#[schemars(length(min = 1), inner(range(min = 1, max = 100_000)))] Vec<usize>),
}

impl Components {
    /// The numbers.
    pub fn sizes(&self) -> &[usize] {
        match self {
            Self::One(size) => std::slice::from_ref(size),
            Self::Several(sizes) => sizes,
        }
    }
}

impl GaussianMixtureConfig {
    /// Sizes with all defaults.
    pub fn of_sizes(components: Components) -> Self {
        Self {
            components,
            covariance: CovarianceKind::default(),
            shrinkage: 0.0,
            restarts: four(),
            iterations: two_hundred(),
            tolerance: one_millionth(),
            copies: four(),
            start_from: None,
        }
    }

    /// The steps of all fits, if none ends before its last.
    pub fn most_steps(&self) -> u64 {
        (self.components.sizes().len() as u64).saturating_mul(self.restarts).saturating_mul(self.iterations)
    }
}
