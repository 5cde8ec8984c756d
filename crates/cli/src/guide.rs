//! [data]: crate::guide::data
//! [posterior]: crate::guide::posterior
//! [diagnostics]: crate::guide::diagnostics
//! [extending]: crate::guide::extending
//! [cluster]: crate::guide::cluster
#![doc = include_str!("../guide/README.md")]

/// [diagnostics]: crate::guide::diagnostics
#[doc = include_str!("../guide/data.md")]
pub mod data {}

/// [extending]: crate::guide::extending
#[doc = include_str!("../guide/posterior.md")]
pub mod posterior {}

#[doc = include_str!("../guide/diagnostics.md")]
pub mod diagnostics {}

/// [posterior]: crate::guide::posterior
/// [data]: crate::guide::data
#[doc = include_str!("../guide/extending.md")]
pub mod extending {}

#[doc = include_str!("../guide/cluster.md")]
pub mod cluster {}
