//! Judgements: how far a sampler is from its target, with standard errors and the floor of a perfect one.
//!
//! - [`evaluate`]: every distance of [`Metric`] between samples and a [`Reference`], as an [`Evaluation`];
//! - [`denoising_loss()`]: the loss of a denoiser at each noise level, and its excess over the exact one;
//! - [`classes()`]: which classes of labelled data the samples fall into, and whether they copy the data;
//! - [`figures`]: points, densities, image grids and curves as PNG.
//!
//! Everything but the denoiser itself is computed in f64 on the host, and every result is a function
//! of its arguments and the seed: the number of threads does not enter.

pub mod classes;
pub mod denoising_loss;
pub mod figures;

mod covariance_error;
mod error;
mod mean_error;
mod metric;
mod reference;
mod sliced_w2;

pub use classes::{ClassCount, Classes, Labelled, classes};
pub use covariance_error::covariance_error;
pub use denoising_loss::{DenoisingLoss, denoising_loss, log_grid};
pub use error::EvalError;
pub use mean_error::mean_error;
pub use metric::{Direction, Evaluation, Metric, MetricReport, evaluate};
pub use reference::Reference;
pub use sliced_w2::{DIRECTIONS, random_directions, sliced_w2};
