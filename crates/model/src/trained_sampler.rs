//! A trained law, which answers for itself.
//!
//! # Design
//!
//! Whoever draws from a run, judges it or looks at it asks these questions and never how the law was learnt. What only some
//! laws have (a closed form, a score network) is asked for by name, and answered with `None` where it is not there.

use std::ops::Range;

use brenier_measure::{GaussianMixture, Points};
use burn::tensor::Tensor;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::log_density::LogDensity;
use crate::particle_sampler::Annealing;
use crate::samplers::SamplerError;
use crate::score_network::ScoreNetwork;

/// A law that was learnt, in the coordinates that it was learnt in.
pub trait TrainedSampler: Send + Sync {
    /// The dimension d.
    fn dim(&self) -> usize;

    /// The samples of these indices, `[n, d]`: each is a function of the law, the seed and its index. `go_on` is asked as the work
    /// proceeds.
    ///
    /// # Errors
    ///
    /// A sample that is not finite, an interruption.
    fn sample(&self, seed: u64, indices: Range<u64>, go_on: &dyn Fn() -> bool) -> Result<Tensor<2>, SamplerError>;

    /// `log q` (nats) at points `[n, d]`, of which the first has this index: a random trace is a function of the seed and the index.
    ///
    /// # Errors
    ///
    /// [`SamplerError::NoLogDensity`] where the law has none, which is also the default; a value that is not finite.
    fn log_density(&self, x: &Points, seed: u64, first_index: u64) -> Result<LogDensity, SamplerError> {
        let _ = (x, seed, first_index);
        Err(SamplerError::NoLogDensity)
    }

    /// The law in closed form, where it is one: density, score and posterior covariance are exact.
    fn closed_form(&self) -> Option<&GaussianMixture> {
        None
    }

    /// The network that knows the score at every noise level, where there is one.
    fn score_network(&self) -> Option<&ScoreNetwork> {
        None
    }

    /// The map that carries a reference measure to the law, where it is given by one.
    fn map(&self) -> Option<&dyn TransportMap> {
        None
    }

    /// What was learnt of the normaliser, where the law was followed from a start to an unnormalised density.
    fn annealing(&self) -> Option<&Annealing> {
        None
    }

    /// The particles that the law is made of, `[n, d]`, in the order of their lineages, where it is made of some.
    fn particles(&self) -> Option<Points> {
        None
    }

    /// How samples are made, for reports.
    fn settings(&self) -> Facts;

    /// How log-densities are found, for reports.
    fn density_settings(&self) -> Facts {
        Facts::default()
    }
}

/// An invertible map T that carries a reference measure to a law.
pub trait TransportMap: Send + Sync {
    /// `T(y)` and `log |det ∇T(y)|`, y `[n, d]`.
    ///
    /// # Errors
    ///
    /// An image that is not finite.
    fn transport(&self, y: &Points) -> Result<(Points, Vec<f64>), SamplerError>;

    /// `T⁻¹(x)` and `log |det ∇T⁻¹(x)|`, x `[n, d]`.
    ///
    /// # Errors
    ///
    /// A point without a preimage that can be found.
    fn inverse(&self, x: &Points) -> Result<(Points, Vec<f64>), SamplerError>;

    /// The reference, where it is known in closed form.
    fn reference(&self) -> Option<&GaussianMixture> {
        None
    }
}

/// Names and values, in the order in which they are told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts(pub Vec<(&'static str, Value)>);

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}
