//! What a mixture is refitted to: points of several parts, or their images, with the noise that belongs to them.

use brenier_measure::expectation_maximization::{KnownNoise, Observed};
use brenier_measure::{MeasureError, Points};
use brenier_model::monge_ampere::{ParametricPotential, conjugate};
use ndarray::{Array2, Axis, concatenate};

use crate::source::InstanceNoise;

/// Draws of the noise, over which a fit is averaged.
const COPIES: u64 = 4;

/// The points of all parts, copy by copy: one without noise.
pub struct NoisyParts {
    /// `[copies][parts]`, `[n, d]` each.
    copies: Vec<Vec<Points>>,
}

impl NoisyParts {
    /// The parts with draws of their noise, other ones at every round.
    pub fn new(parts: &[Points], noise: &InstanceNoise, seed: u64, round: u64) -> Self {
        let copies = if noise.sd > 0.0 { COPIES } else { 1 };
        let draw = |copy: u64| {
            // Row by row other noise in every part: they judge each other.
            let epoch = |part: usize| (round.wrapping_mul(COPIES).wrapping_add(copy)).wrapping_mul(1000) + part as u64;
            parts.iter().enumerate().map(|(k, part)| noise.added_in(epoch(k), seed, part.clone())).collect()
        };
        Self { copies: (0..copies).map(draw).collect() }
    }

    /// Their images `y = ∇φ(x)`.
    pub fn images(self, potential: &impl ParametricPotential) -> Self {
        let image = |parts: Vec<Points>| parts.iter().map(|part| conjugate::gradient(potential, part)).collect();
        Self { copies: self.copies.into_iter().map(image).collect() }
    }

    /// All parts but one, for a fit of a mixture: the mean over the copies is the point, and their covariance about it that of its noise.
    ///
    /// # Errors
    ///
    /// Points that are not finite.
    pub fn observed(&self, without: Option<usize>) -> Result<Observed, MeasureError> {
        let joined = |parts: &Vec<Points>| {
            let others = parts.iter().enumerate().filter(|(part, _)| Some(*part) != without);
            let views: Vec<_> = others.map(|(_, points)| points.view()).collect();
            concatenate(Axis(0), &views).expect("one width")
        };
        let copies: Vec<Points> = self.copies.iter().map(joined).collect();
        if let [only] = copies.as_slice() {
            return Observed::new(only, None, None);
        }
        let count = copies.len() as f64;
        let mean = copies.iter().fold(Points::zeros(copies[0].dim()), |sum, copy| sum + copy) / count;
        let d = mean.ncols();
        let squares = copies.iter().fold(Array2::zeros((d, d)), |sum, copy| {
            let off = copy - &mean;
            sum + off.t().dot(&off)
        });
        let covariance = squares / (mean.nrows() as f64 * (count - 1.0));
        Observed::new(&mean, None, Some(KnownNoise { covariance, copies }))
    }
}
