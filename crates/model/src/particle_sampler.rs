//! The law of weighted particles that followed a density to its end.

use std::ops::Range;

use brenier_measure::{Estimate, Points, Purpose, Stream, Support, to_points, to_tensor};
use burn::tensor::{Device, Tensor};
use serde_json::json;

use crate::markov_chain::{Kernel, Walkers, dtype_of};
use crate::samplers::{SamplerError, TILE};
use crate::trained_sampler::{Facts, TrainedSampler};

/// What an annealing knows of its target.
#[derive(Debug, Clone)]
pub struct Annealing {
    /// log Z, with the standard error of its lineages.
    pub log_z: Estimate,
    /// log Z by importance sampling about the modes that an optimiser found, and their number.
    pub at_modes: Option<(Estimate, usize)>,
    /// β at every temperature, from 0.
    pub temperatures: Vec<f64>,
    /// Mean acceptance of the moves at the last temperature.
    pub acceptance: f64,
    /// `(Σc)²/(n Σc²)` over the numbers c of descendants of the n starts.
    pub ess: f64,
    /// How many of the starts have descendants at the end.
    pub ancestors: usize,
}

/// Particles of equal weight, each followed by moves of its own when it is drawn.
pub struct ParticleSampler {
    /// The particles in coordinates that are not bounded, `[n, d]`.
    pub particles: Points,
    /// What the moves of a draw leave as it is.
    pub kernel: Kernel,
    /// The moves of a draw.
    pub fresh_moves: usize,
    /// Where the coordinates of the law live, where some are bounded.
    pub support: Option<Support>,
    /// What is known of the target.
    pub annealing: Annealing,
    /// Where it computes.
    pub device: Device,
}

impl ParticleSampler {
    /// The samples of a tile.
    fn tile(
        &self,
        seed: u64,
        indices: Range<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Tensor<2>, SamplerError> {
        let choice = Stream::new(seed, Purpose::Reference);
        let n = self.particles.nrows() as u64;
        let chosen: Vec<usize> = indices.clone().map(|index| choice.at(0, index).below(n) as usize).collect();
        let rows = self.particles.select(ndarray::Axis(0), &chosen);
        let x = to_tensor(&rows, dtype_of(&self.device), &self.device);
        let mut walkers = Walkers::new(x, &self.kernel.density);
        let stream = Stream::new(seed, Purpose::SamplerNoise);
        for step in 0..self.fresh_moves as u64 {
            if !go_on() {
                return Err(SamplerError::Interrupted);
            }
            self.kernel.step(&mut walkers, &stream, step, indices.clone());
        }
        Ok(self.mapped(walkers.points()))
    }

    /// In the coordinates of the law.
    fn mapped(&self, u: Tensor<2>) -> Tensor<2> {
        match &self.support {
            Some(support) => support.from_line(u),
            None => u,
        }
    }
}

impl TrainedSampler for ParticleSampler {
    fn dim(&self) -> usize {
        self.particles.ncols()
    }

    /// A particle at random, and fresh moves: in whole tiles, as those of a score network, since a matrix product rounds differently in
    /// batches of different size.
    fn sample(
        &self,
        seed: u64,
        indices: Range<u64>,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Tensor<2>, SamplerError> {
        let tile = TILE as u64;
        let mut parts = Vec::new();
        for first in (indices.start / tile..indices.end.div_ceil(tile)).map(|k| k * tile) {
            let (start, end) = (indices.start.max(first), indices.end.min(first + tile));
            let moved = self.tile(seed, first..first + tile, go_on)?;
            parts.push(moved.narrow(0, (start - first) as usize, (end - start) as usize));
        }
        Ok(Tensor::cat(parts, 0))
    }

    fn annealing(&self) -> Option<&Annealing> {
        Some(&self.annealing)
    }

    fn particles(&self) -> Option<Points> {
        let u = to_tensor(&self.particles, dtype_of(&self.device), &self.device);
        Some(to_points(self.mapped(u)))
    }

    fn settings(&self) -> Facts {
        Facts(vec![
            ("sampler", json!("annealed_particles")),
            ("particles", json!(self.particles.nrows())),
            ("fresh_moves", json!(self.fresh_moves)),
            ("distinct_ancestors", json!(self.annealing.ancestors)),
        ])
    }
}
