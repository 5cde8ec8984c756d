//! Judgements: how far a sampler is from its target, with standard errors and the floor of a perfect one.
//!
//! - [`evaluate`]: every distance of [`Metric`] between samples and a [`Reference`], as an [`Evaluation`] of [`MetricReport`]s;
//! - [`denoising_loss()`]: the loss of a denoiser at each noise level, and its excess over the optimal one;
//! - [`classes()`]: which classes of labelled data the samples fall into, and whether they copy the data;
//! - [`LogDensities`]: a sampler with a density against an unnormalised target;
//! - [`mode_coverage()`]: which modes of a mixture the samples reach, and in what shares;
//! - [`brenier_map`]: a Brenier map against a known one, against exact transport, and its Jacobian;
//! - [`kl_classifier()`]: a lower bound of KL between two samples, by a classifier;
//! - [`chain`]: diffuse, then denoise, with exact scores or those of a network;
//! - [`localization`]: where denoising is hard: curvature and multi-scale complexity of a noisy law;
//! - [`on_device`]: distances as differentiable tensor operations, for training to watch;
//! - [`figures`]: points, densities, image grids, curves, localization and paths as PNG or SVG.
//!
//! Everything but the denoiser itself and [`on_device`] is computed in f64 on the host, and every result is a function
//! of its arguments and the seed: the number of threads does not enter.

pub mod brenier_map;
pub mod chain;
pub mod classes;
pub mod denoising_loss;
pub mod figures;
pub mod kl_classifier;
pub mod localization;
pub mod mode_coverage;
pub mod on_device;

mod clouds;
mod covariance_error;
mod energy_distance;
mod error;
mod kl_knn;
mod mean_error;
mod metric;
mod mmd;
mod posterior_summary;
mod reference;
mod report;
mod sinkhorn_divergence;
mod sliced_w2;
mod target_density;
mod unnormalized;
mod w2;

pub use classes::{ClassCount, Classes, Labelled, classes};
pub use covariance_error::covariance_error;
pub use denoising_loss::{BestDenoiser, DenoisingLoss, Optimum, denoising_loss, log_grid, visible_optimum};
pub use energy_distance::energy_distance;
pub use error::EvalError;
pub use kl_classifier::{KlClassifier, kl_classifier};
pub use kl_knn::kl_knn;
pub use mean_error::mean_error;
pub use metric::{EQUAL_SIZES, Evaluation, Metric, Settings, Step, evaluate};
pub use mmd::mmd;
pub use mode_coverage::{Mode, ModeCoverage, mode_coverage};
pub use posterior_summary::{CoordinateSummary, SHARES, SummaryTable, posterior_summary, r_hat};
pub use reference::Reference;
pub use report::{Detail, Direction, MetricReport, MetricTable};
pub use sinkhorn_divergence::sinkhorn_divergence;
pub use sliced_w2::{DIRECTIONS, random_directions, sliced_w2};
pub use target_density::{DenseTarget, against_density, cross_entropy, fresh_draws, kl_reverse_knn};
pub use unnormalized::{LogDensities, Unnormalized};
pub use w2::{w1, w2};
