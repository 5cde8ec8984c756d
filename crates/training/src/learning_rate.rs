//! Learning rates as functions of the step.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The learning rate at every step; each kind rises linearly over the first `warmup` steps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum LearningRate {
    /// The same rate throughout.
    Constant {
        /// The rate.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        rate: f64,
        /// Steps of linear rise from 0.
        #[serde(default)]
        warmup: u64,
    },
    /// `last + (peak - last)·(1 + cos πu)/2`, u the fraction of the steps after the warm-up. Loshchilov, Hutter (1608.03983).
    Cosine {
        /// The rate at the end of the warm-up.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        peak: f64,
        /// Steps of linear rise from 0.
        #[serde(default)]
        warmup: u64,
        /// The rate at the last step.
        #[serde(default)]
        #[schemars(range(min = 0.0))]
        last: f64,
    },
    /// `peak·√(warmup/step)` after the warm-up. Vaswani et al. (1706.03762).
    InverseSquareRoot {
        /// The rate at the end of the warm-up.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        peak: f64,
        /// Steps of linear rise from 0; also the time scale of the decay.
        #[schemars(range(min = 1))]
        warmup: u64,
    },
}

impl LearningRate {
    /// The rate of update number `step` (from 0) among `steps`.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        let rise = |warmup: u64| ((step + 1) as f64 / (warmup + 1) as f64).min(1.0);
        match *self {
            Self::Constant { rate, warmup } => rate * rise(warmup),
            Self::Cosine { peak, warmup, last } => {
                let decay_steps = steps.saturating_sub(warmup + 1).max(1) as f64;
                let fraction = (step.saturating_sub(warmup) as f64 / decay_steps).min(1.0);
                let cosine = (1.0 + (std::f64::consts::PI * fraction).cos()) / 2.0;
                (last + (peak - last) * cosine) * rise(warmup)
            }
            Self::InverseSquareRoot { peak, warmup } => {
                let warmup = warmup.max(1) as f64;
                peak * rise(warmup as u64) * (warmup / (step as f64).max(warmup)).sqrt()
            }
        }
    }

    /// Whether the rate does not depend on how many steps there are, so that a run may be prolonged.
    pub fn is_independent_of_length(&self) -> bool {
        !matches!(self, Self::Cosine { .. })
    }

    /// The length of the warm-up in steps.
    pub fn warmup(&self) -> u64 {
        match *self {
            Self::Constant { warmup, .. } | Self::Cosine { warmup, .. } | Self::InverseSquareRoot { warmup, .. } => {
                warmup
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schedule_meets_its_peak_and_its_end() {
        let cosine = LearningRate::Cosine { peak: 1.0, warmup: 9, last: 0.1 };
        assert!((cosine.at(0, 100) - 0.1).abs() < 1e-12);
        assert!((cosine.at(9, 100) - 1.0).abs() < 1e-12);
        assert!((cosine.at(99, 100) - 0.1).abs() < 1e-12);
        assert!((cosine.at(9 + 45, 9 + 91) - 0.55).abs() < 1e-12);
        let root = LearningRate::InverseSquareRoot { peak: 1.0, warmup: 100 };
        assert!((root.at(100, 1000) - 1.0).abs() < 1e-12);
        assert!((root.at(400, 1000) - 0.5).abs() < 1e-12);
        let constant = LearningRate::Constant { rate: 0.3, warmup: 0 };
        assert_eq!((constant.at(0, 10), constant.at(9, 10)), (0.3, 0.3));
    }
}
