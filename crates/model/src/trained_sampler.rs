//! A trained law, which answers for itself.
//!
//! # Design
//!
//! Whoever draws from a run, judges it or looks at it asks these questions and never how the law was learnt. What only some
//! laws have (a closed form, a score network) is asked for by name, and answered with `None` where it is not there.

use std::ops::Range;

use brenier_measure::{Estimate, GaussianMixture, Points, to_points};
use burn::tensor::Tensor;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

use crate::correction::Corrected;
use crate::frame::Frame;
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
    fn sample(
        &self,
        seed: u64,
        indices: Range<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Tensor<2>, SamplerError>;

    /// `log q` (nats) at points `[n, d]`, of which the first has this index: a random trace is a function of the seed and the index.
    /// `go_on` is asked as the work proceeds.
    ///
    /// # Errors
    ///
    /// [`SamplerError::NoLogDensity`] where the law has none, which is also the default; an interruption.
    fn log_density(
        &self,
        x: &Points,
        seed: u64,
        first_index: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<LogDensity, SamplerError> {
        let _ = (x, seed, first_index, go_on);
        Err(SamplerError::NoLogDensity)
    }

    /// The same by a solver with half the steps, which tells how far [`log_density`](Self::log_density) has converged; `None`, the
    /// default, where no solver finds it.
    ///
    /// # Errors
    ///
    /// Those of [`log_density`](Self::log_density).
    fn coarse_log_density(
        &self,
        x: &Points,
        seed: u64,
        first_index: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Option<LogDensity>, SamplerError> {
        let _ = (x, seed, first_index, go_on);
        Ok(None)
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

    /// What is known of the target beside a map to it, where the law was learnt from an unnormalised density.
    fn witnesses(&self) -> Option<&Witnesses> {
        None
    }

    /// Samples as of [`sample`](Self::sample), `[n, d]`, each with its `log q` (nats), `[n]`.
    ///
    /// # Errors
    ///
    /// Those of both.
    fn sample_with_log_density(
        &self,
        seed: u64,
        indices: Range<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Points, Vec<f64>), SamplerError> {
        let first = indices.start;
        let points = to_points(self.sample(seed, indices, go_on)?);
        let log_density = self.log_density(&points, seed, first, go_on)?;
        Ok((points, log_density.values))
    }

    /// So many draws of the density that the law follows, by importance weights and moves of a Markov chain; `None` where it follows none.
    ///
    /// # Errors
    ///
    /// An interruption; draws that have no weight.
    fn corrected(
        &self,
        seed: u64,
        count: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Option<Result<Corrected, SamplerError>> {
        let _ = (seed, count, go_on);
        None
    }

    /// How samples are made, for reports.
    fn settings(&self) -> Facts;

    /// How log-densities are found, for reports.
    fn density_settings(&self) -> Facts {
        Facts::default()
    }
}

/// What sees mass that a map may have lost.
#[derive(Debug, Clone, PartialEq)]
pub struct Witnesses {
    /// Particles of the target that the map was not fitted to, `[m, d]`, where there are some.
    pub particles: Option<Points>,
    /// log Z by the annealing of the particles.
    pub annealed: Option<Estimate>,
    /// log Z by importance sampling about the modes that an optimiser found, and their number.
    pub at_modes: Option<(Estimate, usize)>,
    /// Whether the map is better than its reference; else the law is the reference. Not known before the end.
    pub is_kept: Option<bool>,
}

/// An invertible map T that carries a reference measure to a law.
pub trait TransportMap: Send + Sync {
    /// `T(y)` and `log |det ∇T(y)|`, y `[n, d]`.
    ///
    /// # Errors
    ///
    /// An image that is not finite.
    fn transport(&self, y: &Points) -> Result<(Points, Vec<f64>), SamplerError>;

    /// The same where coordinates that are bounded still run over the line, as far as their images go beyond what numbers tell apart.
    ///
    /// # Errors
    ///
    /// An image that is not finite.
    fn transport_to_line(&self, y: &Points) -> Result<(Points, Vec<f64>), SamplerError> {
        self.transport(y)
    }

    /// `T⁻¹(x)` and `log |det ∇T⁻¹(x)|`, x `[n, d]`.
    ///
    /// # Errors
    ///
    /// A point without a preimage that can be found.
    fn inverse(&self, x: &Points) -> Result<(Points, Vec<f64>), SamplerError>;

    /// The coordinates in which the map is optimal, where they are not those of the points.
    fn frame(&self) -> Option<&Frame> {
        None
    }

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
