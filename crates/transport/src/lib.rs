//! Exact optimal transport between point clouds, and what surrounds it: slices in, numbers and certificates out.
//!
//! ```
//! use brenier_transport::{Cloud, Cost, exact::optimal_transport};
//!
//! // Three points in the plane and three others, one after the other.
//! let here = [0.0, 0.0, 1.0, 0.0, 0.0, 2.0];
//! let there = [0.0, 3.0, 0.0, 1.0, 2.0, 0.0];
//! let w2 = optimal_transport(Cloud::new(&here, 2)?, Cloud::new(&there, 2)?, Cost::SquaredDistance)?;
//! assert!((w2.distance() - 1.0).abs() < 1e-12);
//! // The potentials prove it: no coupling is cheaper by more than the gap.
//! assert!(w2.gap < 1e-12);
//! # Ok::<(), brenier_transport::TransportError>(())
//! ```
//!
//! | module | what it answers |
//! |---|---|
//! | [`exact`] | W₁ and W₂ with potentials, gap and standard error, by whatever solver below fits |
//! | [`assignment`] | the cheapest matching of clouds of the same size |
//! | [`weighted`] | the cheapest plan between clouds of any sizes and weights |
//! | [`one_dimension`] | W_p on the line by sorting |
//! | [`gaussian`] | W₂ between Gaussians, singular ones included |
//! | [`sliced`] | sliced W₂ |
//! | [`sinkhorn`] | the debiased entropic divergence, in memory linear in n |
//! | [`energy`], [`mmd`] | distances by kernels |
//! | [`nearest`], [`kl_knn`] | nearest neighbours, and KL by them |
//!
//! # Layout
//!
//! n points of Rᵈ are n·d numbers, one point after the other: coordinate j of point i is
//! `values[i * d + j]`. Directions lie in the same way. Unless weights are passed, every point of a cloud has the same
//! weight 1/n, and clouds need not have equal sizes. All is f64, and no result depends on the number of threads.

pub mod assignment;
pub mod energy;
pub mod exact;
pub mod gaussian;
pub mod kl_knn;
pub mod mmd;
pub mod nearest;
pub mod one_dimension;
pub mod sinkhorn;
pub mod sliced;
pub mod weighted;

mod apart;
mod cloud;
mod cost;
mod distances;
mod error;
mod exact_sum;
mod exp;
mod potentials;

pub use cloud::{Cloud, without_shared};
pub use cost::Cost;
pub use error::TransportError;
pub use exact_sum::ExactSum;
pub use potentials::Potentials;
