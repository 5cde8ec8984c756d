//! Draws of a law made into draws of the density that it follows.
//!
//! # Design
//!
//! Draws are resampled by their importance weights, which leaves the target in the limit of many, and every one then moves by a chain of its own
//! that leaves the target as it is, so that copies part. Expectations are exact in the limit of many draws whatever the moves, and in the limit of
//! many moves whatever the draws; ten moves do not reach far from where few draws have all of the weight, which [`Corrected::ess`] tells.
//!
//! All is done on the line, where bounded coordinates have no bound to be rounded to.

use std::sync::Arc;

use brenier_measure::linear_algebra::semidefinite_factor;
use brenier_measure::{
    GaussianMixture, ImportanceWeights, Measure, Points, Purpose, Stream, Support, systematic_resampling, to_points,
    to_tensor, to_values,
};
use burn::tensor::Device;
use ndarray::{Array1, Array2, Axis, s};

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
    /// How many of the draws had no number for a weight, and got none.
    pub unweighed: usize,
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
    /// `count` points of the support from draws u of a law on the line, `[n, d]`, with its `log q` there; a function of these and the seed.
    ///
    /// # Errors
    ///
    /// Draws of which none has a weight, an interruption.
    pub fn apply(
        &self,
        u: &Points,
        log_q: &[f64],
        count: usize,
        seed: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Corrected, SamplerError> {
        let log_p = to_values(self.target.log_density(self.tensor(u)));
        // A draw without a number, or beyond what numbers hold, cannot be weighed.
        let log_weight = |row: usize| {
            let log_weight = log_p[row] - log_q[row];
            let is_number = log_weight < f64::INFINITY && log_q[row].is_finite();
            (is_number && u.row(row).iter().all(|u| u.is_finite())).then_some(log_weight)
        };
        let log_weights: Vec<Option<f64>> = (0..u.nrows()).map(log_weight).collect();
        let unweighed = log_weights.iter().filter(|weight| weight.is_none()).count();
        let log_weights = log_weights.into_iter().map(|weight| weight.unwrap_or(f64::NEG_INFINITY)).collect();
        let weights = ImportanceWeights::new(log_weights).ok().and_then(|weights| weights.normalized());
        let weights = weights.ok_or(SamplerError::NoWeight)?;
        let chosen = resampled(&weights, count, seed, 0);
        let mut distinct = chosen.clone();
        distinct.sort_unstable();
        distinct.dedup();
        let effective = 1.0 / weights.iter().map(|w| w * w).sum::<f64>();
        let covariance = covariance(u, &weights, effective);
        let pilots = u.select(Axis(0), &resampled(&weights, PILOTS, seed, 1));
        let kernel = self.kernel(&covariance, &pilots, seed, go_on)?;
        let (points, acceptance) = self.moved(&u.select(Axis(0), &chosen), &kernel, seed, go_on)?;
        let ess = effective / weights.len() as f64;
        Ok(Corrected { points: self.out_of_line(&points), distinct: distinct.len(), ess, acceptance, unweighed })
    }

    fn tensor(&self, points: &Points) -> burn::tensor::Tensor<2> {
        to_tensor(points, dtype_of(&self.device), &self.device)
    }

    fn out_of_line(&self, points: &Points) -> Points {
        match &self.support {
            Some(support) => to_points(support.from_line(self.tensor(points))),
            None => points.clone(),
        }
    }

    /// Langevin moves with this covariance, of a length that pilots take well.
    fn kernel(
        &self,
        covariance: &Array2<f64>,
        pilots: &Points,
        seed: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<Kernel, SamplerError> {
        let d = pilots.ncols();
        // At β = 1 the start of an annealing has no part in it.
        let standard = GaussianMixture::new(vec![1.0], vec![vec![0.0; d]], vec![rows(&Array2::eye(d))]);
        let density =
            Tempered { target: self.target.clone(), start: Arc::new(standard.expect("a standard normal")), beta: 1.0 };
        let moves = MovesConfig::Mala { steps: 1 };
        // Roberts and Rosenthal (1998) for a Gaussian; the pilots find what this density takes.
        let step_size = 1.65 / (d as f64).powf(1.0 / 6.0);
        let mut kernel = Kernel { density, factor: semidefinite_factor(covariance), step_size, moves };
        let mut walkers = Walkers::new(self.tensor(pilots), &kernel.density);
        let stream = Stream::new(seed, Purpose::Moves);
        for step in 0..PILOT_MOVES {
            if !go_on() {
                return Err(SamplerError::Interrupted);
            }
            let accepted = kernel.step(&mut walkers, &stream, step, 0..pilots.nrows() as u64);
            kernel.step_size *= (accepted - moves.best_acceptance()).exp();
        }
        Ok(kernel)
    }

    /// Every point after its moves, and their mean acceptance.
    fn moved(
        &self,
        start: &Points,
        kernel: &Kernel,
        seed: u64,
        go_on: &(dyn Fn() -> bool + Sync),
    ) -> Result<(Points, f64), SamplerError> {
        let (n, d) = start.dim();
        let stream = Stream::new(seed, Purpose::Moves);
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

/// What is no farther from the median than a thousand times the middle half is wide; a draw beyond says nothing of a step.
fn middle(values: ndarray::ArrayView1<f64>) -> [f64; 2] {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let quartile = |k: usize| sorted.get(k * sorted.len() / 4).copied().unwrap_or(0.0);
    let width = 1e3 * (quartile(3) - quartile(1));
    if width > 0.0 { [quartile(2) - width, quartile(2) + width] } else { [f64::MIN, f64::MAX] }
}

/// The covariance of weighted draws, `[d, d]`, drawn to that of the draws themselves as far as the weights leave too few of them to know it.
fn covariance(u: &Points, weights: &[f64], effective: f64) -> Array2<f64> {
    let near: Vec<[f64; 2]> = u.columns().into_iter().map(middle).collect();
    let is_near = |row: &usize| u.row(*row).iter().zip(&near).all(|(u, [low, high])| (low..=high).contains(&u));
    let finite: Vec<usize> = (0..u.nrows()).filter(is_near).collect();
    let (u, d) = (u.select(Axis(0), &finite), u.ncols() as f64);
    let of = |weights: Array1<f64>| {
        let weights = &weights / weights.sum();
        let centred = &u - &weights.dot(&u);
        centred.t().dot(&(&centred * &weights.insert_axis(Axis(1))))
    };
    let weighted = of(finite.iter().map(|&row| weights[row]).collect());
    let share = effective / (effective + d);
    let mut blend = weighted * share + of(Array1::ones(finite.len())) * (1.0 - share);
    blend.diag_mut().mapv_inplace(|v| (v * (1.0 + 1e-9)).max(f64::MIN_POSITIVE));
    blend
}

fn rows(matrix: &Array2<f64>) -> Vec<Vec<f64>> {
    matrix.rows().into_iter().map(|row| row.to_vec()).collect()
}

/// Systematic resampling of so many places, in an order of no meaning; another one for every `part`.
fn resampled(weights: &[f64], count: usize, seed: u64, part: u64) -> Vec<usize> {
    let stream = Stream::new(seed, Purpose::Resampling);
    let offset = stream.at(2 * part, 0).uniform();
    let chosen = systematic_resampling(weights, count, offset);
    stream.permutation(2 * part + 1, count).into_iter().map(|place| chosen[place]).collect()
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
        let log_q: Vec<f64> = u.iter().map(|u| -u * u / 2.0 - std::f64::consts::TAU.ln() / 2.0).collect();
        let found = correction.apply(&u, &log_q, 10_000, 3, &|| true).unwrap();
        let mean = Estimate::mean(found.points.iter().copied());
        let square = Estimate::mean(found.points.iter().map(|x| x * x));
        // E x = 1, E x² = 3/2; the error is that of the weights too.
        let widened = |estimate: &Estimate| 5.0 * estimate.std_error / found.ess.sqrt();
        assert!((mean.value - 1.0).abs() < widened(&mean) && mean.std_error < 0.01, "{mean:?}");
        assert!((square.value - 1.5).abs() < widened(&square), "{square:?}");
        assert!(found.distinct > 3000 && found.ess > 0.3 && (0.4..0.8).contains(&found.acceptance), "{found:?}");
        assert_eq!(found.unweighed, 0);
        let none = correction.apply(&Points::from_elem((3, 1), f64::NAN), &[0.0; 3], 5, 0, &|| true);
        assert!(matches!(none, Err(SamplerError::NoWeight)));
        let stopped = correction.apply(&u, &log_q, 10, 3, &|| false);
        assert!(matches!(stopped, Err(SamplerError::Interrupted)));
    }

    #[test]
    fn draws_that_few_of_them_stand_for_move_in_every_direction() {
        let d = 8;
        let target = Arc::new(Gaussian::standard(d));
        let correction = Correction { target, support: None, device: Device::flex() };
        let mut u = Gaussian::standard(d).sample(&Stream::new(1, Purpose::Batch), 0, 0..10_000);
        let log_q: Vec<f64> = u.rows().into_iter().map(|u| -u.dot(&u) / 2.0).collect();
        // One point is a sample, too: it leaves where it was in all coordinates.
        let one = correction.apply(&u, &log_q, 1, 0, &|| true).unwrap();
        assert!(u.rows().into_iter().all(|row| row.iter().zip(&one.points).all(|(a, b)| a != b)));
        // A law six times too wide: what is drawn has all the directions of the space.
        u *= 6.0;
        let wide = correction.apply(&u, &log_q, 5000, 0, &|| true).unwrap();
        assert!(wide.ess < 0.01, "{}", wide.ess);
        let centred = &wide.points - &wide.points.mean_axis(Axis(0)).unwrap();
        let spectrum = brenier_measure::linear_algebra::symmetric_eigen(&(centred.t().dot(&centred) / 5000.0));
        assert!(spectrum.unwrap().values.iter().all(|&variance| variance > 0.2 && variance < 2.0));
        // One that is beyond numbers is left out and counted; one that is far from all others has no say.
        u[[3, 2]] = f64::INFINITY;
        u[[4, 2]] = 1e160;
        let found = correction.apply(&u, &log_q, 10, 0, &|| true).unwrap();
        assert!(found.acceptance > 0.3, "{}", found.acceptance);
        assert!(found.unweighed == 1 && found.points.iter().all(|x| x.is_finite()));
    }
}
