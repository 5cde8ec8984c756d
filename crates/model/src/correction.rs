//! Draws of a law made into draws of the density that it follows.
//!
//! # Design
//!
//! Draws are resampled by their importance weights, which leaves the target in the limit of many, and every one then moves by a chain of its own
//! that leaves the target as it is: copies part, and what the weights did not reach is reached. Expectations are exact in the limit of many
//! draws whatever the moves, and in the limit of many moves whatever the draws.

use std::sync::Arc;

use brenier_measure::linear_algebra::semidefinite_factor;
use brenier_measure::{
    GaussianMixture, ImportanceWeights, Measure, Points, Purpose, Stream, Support, systematic_resampling, to_points,
    to_tensor, to_values,
};
use burn::tensor::Device;
use ndarray::{Array2, Axis, s};

use crate::markov_chain::{Kernel, MovesConfig, Tempered, Walkers, dtype_of};
use crate::samplers::SamplerError;

/// What draws are corrected by.
#[derive(Clone)]
pub struct Correction {
    /// The density in coordinates that are not bounded.
    pub target: Arc<dyn Measure>,
    /// Where the coordinates of the draws live, where some are bounded.
    pub support: Option<Support>,
    /// Where the density is computed.
    pub device: Device,
}

/// Draws after their correction.
#[derive(Debug, Clone)]
pub struct Corrected {
    /// The points, `[count, d]`.
    pub points: Points,
    /// How many of the draws survived the resampling.
    pub distinct: usize,
    /// The effective share `(Σw)²/(nΣw²)` of the draws.
    pub ess: f64,
    /// Mean acceptance of the moves.
    pub acceptance: f64,
}

/// Draws that are resampled, at least.
pub const LEAST_DRAWS: u64 = 10_000;

/// Langevin moves of every point.
const MOVES: u64 = 10;

/// Points and moves by which the length of a step is found, before the moves that count.
const PILOTS: usize = 256;
const PILOT_MOVES: u64 = 30;

/// Points that move in one batch.
const TILE: usize = 4096;

impl Correction {
    /// `count` points from draws `[n, d]` of a law with its `log q`; a function of these and the seed.
    ///
    /// # Errors
    ///
    /// Draws of which none has a weight, an interruption.
    pub fn apply(
        &self,
        draws: &Points,
        log_q: &[f64],
        count: usize,
        seed: u64,
        go_on: &dyn Fn() -> bool,
    ) -> Result<Corrected, SamplerError> {
        let (line, log_q) = self.to_line(draws, log_q);
        let log_p = to_values(self.target.log_density(self.tensor(&line)));
        let log_p: Vec<f64> = log_p.into_iter().map(|log| if log.is_nan() { f64::NEG_INFINITY } else { log }).collect();
        let weights =
            ImportanceWeights::from_log_densities(&log_p, &log_q).ok().and_then(|weights| weights.normalized());
        let weights = weights.ok_or(SamplerError::NoWeight)?;
        let chosen = resampled(&weights, count, seed);
        let mut distinct = chosen.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let ess = 1.0 / weights.iter().map(|w| w * w).sum::<f64>() / weights.len() as f64;
        let start = line.select(Axis(0), &chosen);
        let (points, acceptance) = self.moved(&start, seed, go_on)?;
        Ok(Corrected { points: self.out_of_line(&points), distinct: distinct.len(), ess, acceptance })
    }

    fn tensor(&self, points: &Points) -> burn::tensor::Tensor<2> {
        to_tensor(points, dtype_of(&self.device), &self.device)
    }

    /// The draws on the line, with `log q` there.
    fn to_line(&self, draws: &Points, log_q: &[f64]) -> (Points, Vec<f64>) {
        let Some(support) = &self.support else { return (draws.clone(), log_q.to_vec()) };
        let line = support.to_line(self.tensor(draws));
        let log_dets = to_values(support.log_det(line.clone()));
        (to_points(line), log_q.iter().zip(log_dets).map(|(log_q, log_det)| log_q + log_det).collect())
    }

    fn out_of_line(&self, points: &Points) -> Points {
        match &self.support {
            Some(support) => to_points(support.from_line(self.tensor(points))),
            None => points.clone(),
        }
    }

    /// Every point after its moves, and their mean acceptance.
    fn moved(&self, start: &Points, seed: u64, go_on: &dyn Fn() -> bool) -> Result<(Points, f64), SamplerError> {
        let (n, d) = start.dim();
        let mean = start.mean_axis(Axis(0)).expect("a point");
        let centred = start - &mean;
        let mut covariance = centred.t().dot(&centred) / n as f64;
        covariance.diag_mut().mapv_inplace(|v| (v * (1.0 + 1e-9)).max(f64::MIN_POSITIVE));
        // At β = 1 the start of an annealing has no part in it.
        let standard = GaussianMixture::new(vec![1.0], vec![vec![0.0; d]], vec![rows(&Array2::eye(d))]);
        let density =
            Tempered { target: self.target.clone(), start: Arc::new(standard.expect("a standard normal")), beta: 1.0 };
        let moves = MovesConfig::Mala { steps: 1 };
        // Roberts and Rosenthal (1998) for a Gaussian; the pilots find what this density takes.
        let step_size = 1.65 / (d as f64).powf(1.0 / 6.0);
        let mut kernel = Kernel { density, factor: semidefinite_factor(&covariance), step_size, moves };
        let pilots = start.slice(s![..n.min(PILOTS), ..]).to_owned();
        let mut walkers = Walkers::new(self.tensor(&pilots), &kernel.density);
        let stream = Stream::new(seed, Purpose::Moves);
        for step in 0..PILOT_MOVES {
            if !go_on() {
                return Err(SamplerError::Interrupted);
            }
            let accepted = kernel.step(&mut walkers, &stream, step, 0..pilots.nrows() as u64);
            kernel.step_size *= (accepted - moves.best_acceptance()).exp();
        }
        let (mut points, mut acceptance) = (Points::zeros((n, d)), 0.0);
        for first in (0..n).step_by(TILE) {
            let end = (first + TILE).min(n);
            let tile = start.slice(s![first..end, ..]).to_owned();
            let mut walkers = Walkers::new(self.tensor(&tile), &kernel.density);
            for step in 0..MOVES {
                if !go_on() {
                    return Err(SamplerError::Interrupted);
                }
                let share = (end - first) as f64 / n as f64 / MOVES as f64;
                acceptance += share * kernel.step(&mut walkers, &stream, PILOT_MOVES + step, first as u64..end as u64);
            }
            points.slice_mut(s![first..end, ..]).assign(&to_points(walkers.points()));
        }
        Ok((points, acceptance))
    }
}

fn rows(matrix: &Array2<f64>) -> Vec<Vec<f64>> {
    matrix.rows().into_iter().map(|row| row.to_vec()).collect()
}

/// Systematic resampling of so many places, in an order of no meaning.
fn resampled(weights: &[f64], count: usize, seed: u64) -> Vec<usize> {
    let stream = Stream::new(seed, Purpose::Resampling);
    let offset = stream.at(0, 0).uniform();
    let chosen = systematic_resampling(weights, count, offset);
    stream.permutation(1, count).into_iter().map(|place| chosen[place]).collect()
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Estimate, Gaussian, Interval, Sample, Unbounded};
    use burn::tensor::Tensor;

    use super::*;

    /// `x e^{-2x}` up to a constant: Gamma(2, 2), on x > 0.
    struct Gamma;

    impl Measure for Gamma {
        fn dim(&self) -> usize {
            1
        }
        fn log_density(&self, x: Tensor<2>) -> Tensor<1> {
            (x.clone().log() - x * 2.0).squeeze_dim(1)
        }
        fn score(&self, x: Tensor<2>) -> Tensor<2> {
            x.recip() - 2.0
        }
    }

    #[test]
    fn corrected_draws_are_those_of_the_target() {
        let support = Support::new(vec![Interval::Positive]);
        let target = Arc::new(Unbounded::new(Arc::new(Gamma), support.clone()));
        let correction = Correction { target, support: Some(support), device: Device::flex() };
        // Draws of a log-normal with the wrong moments.
        let u = Gaussian::standard(1).sample(&Stream::new(1, Purpose::Batch), 0, 0..20_000);
        let log_q: Vec<f64> = u.iter().map(|u| -u * u / 2.0 - std::f64::consts::TAU.ln() / 2.0 - u).collect();
        let found = correction.apply(&u.mapv(f64::exp), &log_q, 10_000, 3, &|| true).unwrap();
        let mean = Estimate::mean(found.points.iter().copied());
        let square = Estimate::mean(found.points.iter().map(|x| x * x));
        // E x = 1, E x² = 3/2; the error is that of the weights too.
        let widened = |estimate: &Estimate| 5.0 * estimate.std_error / found.ess.sqrt();
        assert!((mean.value - 1.0).abs() < widened(&mean) && mean.std_error < 0.01, "{mean:?}");
        assert!((square.value - 1.5).abs() < widened(&square), "{square:?}");
        assert!(found.distinct > 3000 && found.ess > 0.3 && (0.4..0.8).contains(&found.acceptance), "{found:?}");
        let none = correction.apply(&Points::from_elem((3, 1), -1.0), &[0.0; 3], 5, 0, &|| true);
        assert!(matches!(none, Err(SamplerError::NoWeight)));
        let stopped = correction.apply(&u.mapv(f64::exp), &log_q, 10, 3, &|| false);
        assert!(matches!(stopped, Err(SamplerError::Interrupted)));
    }
}
