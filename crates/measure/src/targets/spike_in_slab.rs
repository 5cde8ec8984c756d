//! A narrow spike that holds most of the mass, inside a broad slab.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::MeasureError;
use crate::mixture::GaussianMixture;

/// A spike in a slab, version 1: `w N(0, s²I) + (1 - w) N(0, b²I)`. log Z = 0.
///
/// Whatever tempers its log-density meets a phase transition: at a temperature just above 1 nearly all mass is in the slab, and plain
/// tempering is off by about `log (1 - w)` at any budget (Woodard, Schmidler and Huber, Electronic Journal of Probability 14, 2009).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SpikeInSlab {
    /// The dimension d.
    #[serde(default = "dim")]
    #[schemars(range(min = 1, max = 10_000))]
    pub dim: usize,
    /// The standard deviation s of the spike.
    #[serde(default = "spike")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub spike: f64,
    /// The standard deviation b of the slab.
    #[serde(default = "slab")]
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub slab: f64,
    /// The weight w of the spike.
    #[serde(default = "weight")]
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub weight: f64,
}

fn dim() -> usize {
    10
}

fn spike() -> f64 {
    0.05
}

fn slab() -> f64 {
    3.0
}

fn weight() -> f64 {
    0.9
}

impl SpikeInSlab {
    /// The law.
    ///
    /// # Errors
    ///
    /// No dimension, a deviation that is not positive, a weight outside (0, 1).
    pub fn mixture(&self) -> Result<GaussianMixture, MeasureError> {
        super::at_least("spike_in_slab.dim", self.dim, 1)?;
        super::positive("spike_in_slab.spike", self.spike)?;
        super::positive("spike_in_slab.slab", self.slab)?;
        let isotropic = |deviation: f64| {
            let row = |i| (0..self.dim).map(|j| if i == j { deviation * deviation } else { 0.0 }).collect();
            (0..self.dim).map(row).collect()
        };
        let weights = vec![self.weight, 1.0 - self.weight];
        GaussianMixture::new(weights, vec![vec![0.0; self.dim]; 2], vec![isotropic(self.spike), isotropic(self.slab)])
    }
}
