//! How far a polish has come, and the law that it stands for.

use std::sync::Arc;

use brenier_measure::Points;
use brenier_measure::expectation_maximization::Moments;
use brenier_model::monge_ampere::{
    BrenierMap, Inversion, LearnablePotential, MapSampler, ParametricPotential, QuadraticPotential,
};
use serde::{Deserialize, Serialize};

use crate::method::Scalars;
use crate::monge_ampere::descent::Descent;

/// How far a polish has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolishState {
    /// The updates of all fits.
    pub(super) step: u64,
    /// The fit at hand.
    pub(super) fold: u64,
    /// Its updates.
    pub(super) update: u64,
    /// The potential that it started from; all potentials of it have its shape.
    pub(super) potential: LearnablePotential,
    /// Where it is.
    pub(super) descent: Descent,
    /// Updates without a finite loss, one after the other.
    pub(super) refused: u64,
    /// The reference of the first update.
    pub(super) first_reference: Moments,
    /// The reference as it is, where it was refitted.
    pub(super) refitted: Option<Moments>,
    /// The references that were fitted without each part of the points.
    pub(super) parts: Vec<Moments>,
    /// The most likely potential of the fit at hand.
    pub(super) best: Option<Candidate>,
    /// Judgements since.
    pub(super) since_best: u64,
    /// Those of the fits that are done.
    pub(super) members: Vec<LearnablePotential>,
    /// The negative log-likelihood a held-out point (nats) under the reference alone, without the least likely points.
    pub(super) without_map: Option<f64>,
    /// That of the law with the map as it stands.
    pub(super) with_map: Option<f64>,
    /// Points near which the map has its images, `[m, d]`.
    pub(super) starts: Points,
    /// The sum of the losses since the last judgement, and their number.
    pub(super) losses: (f64, u64),
    /// Their mean at the last judgement.
    pub(super) mean_loss: Option<f64>,
    /// The loss of the last update, and its rate where it has one.
    pub(super) last: Option<(f64, Option<f64>)>,
}

/// A potential with its reference, and what held-out points say of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Negative log-likelihood a held-out point (nats), without the least likely.
    pub nll: f64,
    pub parameters: Vec<f64>,
    /// The reference, where it was refitted.
    pub refitted: Option<Moments>,
}

impl PolishState {
    /// Whether sizes agree, all numbers are finite, and every reference is one.
    pub fn is_consistent(&self) -> bool {
        let d = ParametricPotential::dim(&self.potential);
        let count = self.potential.parameters().len();
        let refitted = self.refitted.iter().chain(self.best.iter().filter_map(|best| best.refitted.as_ref()));
        let references = self.parts.iter().chain([&self.first_reference]).chain(refitted);
        let is_member = |member: &LearnablePotential| member.is_consistent() && member.is_like(&self.potential);
        let is_reference = |moments: &Moments| {
            moments.means.ncols() == d && moments.mixture().is_ok_and(|mixture| mixture.has_density())
        };
        self.potential.is_consistent()
            && self.members.len() as u64 <= self.fold
            && self.members.iter().all(is_member)
            && self.descent.is_consistent()
            && self.descent.parameters.len() == count
            && self.best.iter().all(|best| best.parameters.len() == count)
            && references.into_iter().all(is_reference)
            && self.starts.ncols() == d
            && self.starts.nrows() > 0
    }

    /// The reference of the first update.
    pub fn first_reference(&self) -> &Moments {
        &self.first_reference
    }

    /// The reference as it is.
    pub(super) fn reference(&self) -> &Moments {
        self.refitted.as_ref().unwrap_or(&self.first_reference)
    }

    /// The updates that are done.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// What is worth a line of metrics.
    pub fn said(&self) -> Scalars {
        let all = [
            ("polish_loss", self.last.map(|(loss, _)| loss)),
            ("polish_rate", self.last.and_then(|(_, rate)| rate)),
            ("polish_mean_loss", self.mean_loss),
            ("held_out_nll_polish", self.with_map),
            ("held_out_nll_reference", self.without_map),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| value.is_finite())?))).collect()
    }

    /// The potential with its reference: the mean of all fits so far.
    pub(super) fn candidate(&self) -> (LearnablePotential, &Moments) {
        let refitted = self.best.as_ref().map_or(&self.refitted, |best| &best.refitted);
        let reference = refitted.as_ref().unwrap_or(&self.first_reference);
        let at_hand = self.best.as_ref().map(|best| self.potential.with_parameters(&best.parameters));
        let members: Vec<LearnablePotential> = self.members.iter().cloned().chain(at_hand).collect();
        match members.as_slice() {
            [] => (self.potential.clone(), reference),
            [only] => (only.clone(), reference),
            _ => (LearnablePotential::mean(&members), reference),
        }
    }

    /// Whether the map is worth more than its reference alone.
    pub(super) fn keeps_map(&self) -> bool {
        match (&self.with_map, &self.without_map) {
            (Some(with), Some(without)) => with < without,
            (with, _) => with.is_some(),
        }
    }

    /// What held-out points say of the law as it stands; NaN where they say nothing.
    pub(super) fn nll(&self) -> f64 {
        let nll = if self.keeps_map() { self.with_map } else { self.without_map };
        nll.unwrap_or(f64::NAN)
    }

    /// The law as it stands.
    pub fn sampler(&self) -> MapSampler {
        let mixture = |moments: &Moments| Arc::new(moments.mixture().expect("checked when it was read"));
        if !self.keeps_map() {
            let (d, reference) = (self.starts.ncols(), mixture(&self.first_reference));
            let identity = Arc::new(QuadraticPotential::identity(d));
            return MapSampler::new(BrenierMap::new(identity, reference.clone(), Inversion::default()), reference);
        }
        let (potential, reference) = self.candidate();
        let reference = mixture(reference);
        let map = BrenierMap::new(Arc::new(potential), reference.clone(), Inversion::default());
        MapSampler::new(map.with_starts(self.starts.clone()), reference)
    }
}
