//! Probability measures on Rᵈ: what is sampled, scored and compared.
//!
//! - [`random`]: counter-based random streams;
//! - [`schedule`]: noise schedules, and the conversions between α, σ, signal-to-noise ratio and time;
//! - [`data`]: data sets from files;
//! - [`Measure`], [`Sample`], [`Denoiser`]: what a measure can be asked;
//! - [`Gaussian`], [`GaussianMixture`], [`UniformBox`], [`Empirical`]: measures exact at every noise level;
//! - [`point_posteriors`]: the best denoisers that points alone can tell of;
//! - [`expectation_maximization`]: a mixture that is fitted to points;
//! - [`expression`]: a log-density that is typed; [`Support`]: coordinates that are bounded;
//! - [`ImportanceWeights`]: log Z, effective sample size and Pareto diagnostic of an unnormalised target;
//! - [`targets`]: named targets; [`TargetConfig`]: the choice of a target;
//! - [`linear_algebra`], [`lanczos`], [`quadrature`], [`elementary`]: what they are computed with.

pub mod data;
pub mod elementary;
pub mod expectation_maximization;
pub mod expression;
pub mod lanczos;
pub mod linear_algebra;
pub mod quadrature;
pub mod random;
pub mod schedule;
pub mod targets;

mod empirical;
mod error;
mod estimate;
mod gaussian;
mod host;
mod importance;
#[cfg(test)]
mod invariants;
mod measure;
mod mixture;
mod point_posteriors;
mod posterior;
mod rescaled;
mod support;
mod target;
mod truncated_normal;
mod uniform_box;

pub use empirical::Empirical;
pub use error::MeasureError;
pub use estimate::Estimate;
pub use gaussian::Gaussian;
pub use importance::{ImportanceWeights, LEAST_FOR_SAMPLE_SIZE, PARETO_K_LIMIT, systematic_resampling};
pub use measure::{Denoiser, Measure, Points, Sample, host_tensor, to_points, to_tensor, to_values};
pub use mixture::{Component, GaussianMixture};
pub use point_posteriors::{LARGEST_SUBSET, point_posteriors};
pub use posterior::{Posterior, PosteriorCovariance};
pub use random::{Purpose, Stream, Words};
pub use rescaled::Rescaled;
pub use schedule::NoiseSchedule;
pub use support::{Interval, Support, Unbounded};
pub use target::{DrawnConfig, Target, TargetConfig};
pub use uniform_box::UniformBox;
