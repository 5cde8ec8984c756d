//! Named targets, each with its exact definition and a version.

mod bayesian_logistic_regression;
mod checkerboard;
mod funnel;
mod many_well;
mod pinwheel;
mod ring;
mod rosenbrock;
mod rotated;
mod s_curve;
mod smoothed_curve;
mod spike_in_slab;
mod spirals;
mod student_t_mixture;
mod swiss_roll;
mod two_moons;

pub use bayesian_logistic_regression::{BayesianLogisticRegression, BayesianLogisticRegressionConfig};
pub use checkerboard::Checkerboard;
pub use funnel::Funnel;
pub use many_well::ManyWell;
pub use pinwheel::Pinwheel;
pub use ring::ring;
pub use rosenbrock::Rosenbrock;
pub use rotated::{Rotated, RotatedConfig};
pub use s_curve::s_curve;
pub use smoothed_curve::SmoothedCurve;
pub use spike_in_slab::SpikeInSlab;
pub use spirals::spirals;
pub use student_t_mixture::StudentTMixture;
pub use swiss_roll::swiss_roll;
pub use two_moons::two_moons;

use crate::error::MeasureError;

/// Refuses a number that is not positive and finite.
fn positive(field: &str, value: f64) -> Result<(), MeasureError> {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(MeasureError::NotPositive { field: field.to_owned(), value })
    }
}

/// Refuses a dimension below the least.
fn at_least(field: &str, value: usize, least: usize) -> Result<(), MeasureError> {
    if value >= least { Ok(()) } else { Err(MeasureError::TooLow { field: field.to_owned(), value, least }) }
}
