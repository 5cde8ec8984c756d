//! Step sizes η_k of the flow: fixed in advance, or found by backtracking. Deb and Liang (2504.09279), the theorems on convergence.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far a stage goes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StepSize {
    /// η_k = η.
    Constant {
        /// η.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        value: f64,
    },
    /// η_k = η/√T with the number T of stages.
    InverseSquareRoot {
        /// η.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        scale: f64,
    },
    /// From the first to the last stage in equal ratios.
    Geometric {
        /// η of the first stage.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        first: f64,
        /// η of the last stage.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        last: f64,
    },
    /// η_k = η/(k + 1), k from 0.
    Harmonic {
        /// η.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        first: f64,
    },
    /// η doubles after a whole step; a step is shortened until the semi-dual falls and the map can be inverted, and then η falls.
    Adaptive {
        /// η of the first stage.
        #[serde(default = "one")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        first: f64,
        /// The largest η.
        #[serde(default = "thousand")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        most: f64,
    },
}

fn one() -> f64 {
    1.0
}
fn thousand() -> f64 {
    1000.0
}

impl Default for StepSize {
    fn default() -> Self {
        Self::Adaptive { first: one(), most: thousand() }
    }
}

impl StepSize {
    /// η of stage k of so many, where it is fixed in advance; that of the first stage where it adapts.
    pub fn at(&self, k: u64, stages: u64) -> f64 {
        match *self {
            Self::Constant { value } => value,
            Self::InverseSquareRoot { scale } => scale / (stages as f64).sqrt(),
            Self::Geometric { first, last } if stages > 1 => {
                let share = k as f64 / (stages - 1) as f64;
                ((1.0 - share) * first.ln() + share * last.ln()).exp()
            }
            Self::Geometric { first, .. } => first,
            Self::Harmonic { first } => first / (k + 1) as f64,
            Self::Adaptive { first, most } => first.min(most),
        }
    }

    /// η of the stage after one that took the share `length` of its step at η.
    pub fn after(&self, step_size: f64, length: f64, next: u64, stages: u64) -> f64 {
        match *self {
            Self::Adaptive { most, .. } if length == 1.0 => (2.0 * step_size).min(most),
            Self::Adaptive { .. } => step_size * if length > 0.0 { 0.7 } else { 0.1 },
            _ => self.at(next, stages),
        }
    }

    /// Whether a step is shortened where it goes too far.
    pub fn is_adaptive(&self) -> bool {
        matches!(self, Self::Adaptive { .. })
    }

    /// Whether η_k is the same however many stages there are, so that a run may be prolonged.
    pub fn is_independent_of_length(&self) -> bool {
        !matches!(self, Self::Geometric { .. } | Self::InverseSquareRoot { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_their_formulas() {
        let geometric = StepSize::Geometric { first: 0.08, last: 0.02 };
        let close = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-14;
        assert!((0..3).zip([0.08, 0.04, 0.02]).all(|(k, exact)| close(geometric.at(k, 3), exact)));
        assert_eq!(geometric.at(0, 1), 0.08);
        let steep = StepSize::Geometric { first: 1e-200, last: 1e200 };
        assert!((0..9).all(|k| steep.at(k, 9).is_finite()));
        assert_eq!(StepSize::InverseSquareRoot { scale: 0.5 }.at(3, 25), 0.1);
        assert_eq!(StepSize::Harmonic { first: 0.5 }.at(4, 9), 0.1);
        assert_eq!(StepSize::Constant { value: 0.5 }.after(0.5, 0.0, 3, 9), 0.5);
        let adaptive = StepSize::Adaptive { first: 0.5, most: 3.0 };
        assert_eq!(adaptive.at(7, 9), 0.5);
        assert_eq!([1.0, 0.4, 0.0].map(|length| adaptive.after(2.0, length, 3, 9)), [3.0, 1.4, 0.2]);
    }

    #[test]
    fn a_schedule_is_read_from_its_name_and_numbers() {
        let read = |text: &str| serde_json::from_str::<StepSize>(text);
        assert_eq!(read(r#"{"adaptive": {}}"#).unwrap(), StepSize::default());
        assert_eq!(read(r#"{"harmonic": {"first": 0.5}}"#).unwrap(), StepSize::Harmonic { first: 0.5 });
        assert!(read(r#"{"harmonic": {"scale": 0.5}}"#).is_err());
    }
}
