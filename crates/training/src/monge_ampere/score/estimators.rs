//! Estimates of the score `ξ = ∇ log ρ` of the sampler's law from its points: the learning step of Algorithm 2 as the paper has it.
//!
//! # Design
//!
//! A potential knows its own score exactly, by the change of variables, and that is what the method takes unless it is told otherwise. The other
//! estimators see points alone. Their model is the gradient of a function that is linear in features, `ξ(x) = Σ_j θ_j ∇F_j(x)`, quadratics with
//! ridges where the points are, so that each of them is one linear system with `G = E ∇Fᵀ∇F`:
//!
//! | estimator | minimises | system | source |
//! |---|---|---|---|
//! | sliced | `E ½\|ξ\|² + vᵀ∇ξ v` over probes v | `Gθ = -E vᵀ∇²F v` | Song et al. (1905.07088) |
//! | denoising | `E ½\|ξ(x + σε) + ε/σ\|²` | `G_σθ = -E ∇Fᵀε/σ` | Vincent (2011) |
//!
//! A denoising estimate is the score of the law with noise of sd σ, which is off by O(σ²): two and more noise levels are extrapolated to σ = 0.

use brenier_measure::{Points, Purpose, Stream};
use brenier_model::monge_ampere::RidgedQuadratic;
use ndarray::{Array1, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::config::few_knots;
use super::projection::{Features, Projection};
use crate::error::TrainingError;
use crate::monge_ampere::RidgesConfig;

/// How the score of the sampler's law is known.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScoreConfig {
    /// Exactly, by the change of variables: `ξ(∇ψ(y)) = (∇²ψ)⁻¹∇(log g - log det ∇²ψ)(y)`.
    #[default]
    ChangeOfVariables,
    /// From points, by sliced score matching.
    Sliced {
        /// Random directions a point, along which second derivatives are taken.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 1000))]
        probes: usize,
        /// The family of the estimate.
        #[serde(default = "few_knots")]
        features: RidgesConfig,
    },
    /// From points with noise.
    Denoising {
        /// The standard deviations of the noise, in the coordinates of the map; more than one are extrapolated to 0.
        #[serde(default = "levels")]
        #[schemars(length(min = 1, max = 8))]
        sigmas: Vec<f64>,
        /// The family of the estimate.
        #[serde(default = "few_knots")]
        features: RidgesConfig,
    },
}

fn one() -> usize {
    1
}

fn levels() -> Vec<f64> {
    vec![0.2, 0.4]
}

impl ScoreConfig {
    /// Whether the numbers make an estimator.
    ///
    /// # Errors
    ///
    /// Noise levels that are not positive or not different.
    pub(super) fn check(&self) -> Result<(), TrainingError> {
        let Self::Denoising { sigmas, .. } = self else { return Ok(()) };
        let is_level = |sigma: &f64| (1e-3..=1e3).contains(sigma);
        let mut sorted = sigmas.clone();
        sorted.sort_by(f64::total_cmp);
        if sigmas.iter().all(is_level) && sorted.windows(2).all(|pair| pair[1] > 1.01 * pair[0]) {
            return Ok(());
        }
        Err(TrainingError::Choice {
            what: format!("`score.denoising.sigmas` is {sigmas:?}"),
            cure: "give different numbers between 0.001 and 1000",
        })
    }

    /// The family of the estimate; `None` for the exact score.
    pub(super) fn features(&self) -> Option<&RidgesConfig> {
        match self {
            Self::ChangeOfVariables => None,
            Self::Sliced { features, .. } | Self::Denoising { features, .. } => Some(features),
        }
    }

    /// The estimator from points alone; `None` for the exact score.
    pub(super) fn estimator(&self) -> Option<Box<dyn ScoreEstimator>> {
        match self {
            Self::ChangeOfVariables => None,
            Self::Sliced { probes, features } => Some(Box::new(Sliced { probes: *probes, features: *features })),
            Self::Denoising { sigmas, features } => {
                Some(Box::new(Denoising { sigmas: sigmas.clone(), features: *features }))
            }
        }
    }
}

/// An estimate of a score from points of a law.
pub trait ScoreEstimator {
    /// `ξ` at the points themselves, `[n, d]`; a function of the points, the seed and the stage. `None` where numbers are no longer finite.
    fn score(&self, x: &Points, seed: u64, stage: u64) -> Option<Points>;
}

/// By how much of its own scale every coefficient is drawn to 0: features that are nearly one have an answer.
const PENALTY: f64 = 1e-6;

/// Sliced score matching with Hutchinson's probes.
#[derive(Debug, Clone)]
pub struct Sliced {
    /// Probes a point.
    pub probes: usize,
    /// The features.
    pub features: RidgesConfig,
}

impl ScoreEstimator for Sliced {
    fn score(&self, x: &Points, seed: u64, stage: u64) -> Option<Points> {
        let ridges = self.features.choose(x, seed);
        let problem = Projection::new(&ridges, x, PENALTY);
        let stream = Stream::new(seed, Purpose::Probe);
        let mut curvatures = Array1::zeros(RidgedQuadratic::count(&ridges));
        for probe in 0..self.probes {
            let directions = normals(&stream, stage * 1000 + probe as u64, x.dim());
            curvatures += &problem.features().mean_curvatures(&directions);
        }
        let theta = problem.solve(&(curvatures / -(self.probes as f64)))?;
        Some(problem.features().gradient(&theta))
    }
}

/// Denoising score matching, extrapolated to no noise.
#[derive(Debug, Clone)]
pub struct Denoising {
    /// Standard deviations of the noise.
    pub sigmas: Vec<f64>,
    /// The features.
    pub features: RidgesConfig,
}

impl ScoreEstimator for Denoising {
    /// With `ξ_σ = ξ + σ²ξ' + σ⁴ξ'' + …` the value at 0 of the polynomial in σ² through all levels (Richardson's extrapolation).
    fn score(&self, x: &Points, seed: u64, stage: u64) -> Option<Points> {
        let stream = Stream::new(seed, Purpose::Probe);
        // The same noise at every level, so that what differs is the level alone; and its opposite, so that what is odd in it cancels.
        let noise = normals(&stream, stage * 1000, x.dim());
        let noise = ndarray::concatenate![Axis(0), noise, -&noise];
        let twice = ndarray::concatenate![Axis(0), *x, *x];
        let ridges = self.features.choose(x, seed);
        let mut sum = Points::zeros(x.dim());
        for (k, &sigma) in self.sigmas.iter().enumerate() {
            let noisy = &twice + &(&noise * sigma);
            let problem = Projection::new(&ridges, &noisy, PENALTY);
            let theta = problem.solve(&(problem.features().means(&noise) / -sigma))?;
            let others = self.sigmas.iter().enumerate().filter(|(j, _)| *j != k);
            let weight: f64 = others.map(|(_, other)| other.powi(2) / (other.powi(2) - sigma.powi(2))).product();
            sum.scaled_add(weight, &Features::at(&ridges, x).gradient(&theta));
        }
        sum.iter().all(|x| x.is_finite()).then_some(sum)
    }
}

/// Standard normal numbers, `[n, d]`.
pub(super) fn normals(stream: &Stream, step: u64, (n, d): (usize, usize)) -> Points {
    let mut points = Points::zeros((n, d));
    for (index, mut row) in points.rows_mut().into_iter().enumerate() {
        stream.at(step, index as u64).fill_normal(row.as_slice_mut().expect("row-major"));
    }
    points
}

#[cfg(test)]
mod tests {
    use brenier_measure::{Estimate, Gaussian, Measure, Sample, to_points, to_tensor};
    use burn::tensor::{DType, Device};

    use super::*;

    /// No ridges: the score of a Gaussian is affine.
    fn affine() -> RidgesConfig {
        RidgesConfig { directions: Some(1), knots: 1, floor: 0.1, least_width: 10.0, ..RidgesConfig::default() }
    }

    /// The mean over repetitions of `E_x (ξ̂ - ξ)·w(x)` for fixed fields w, with its standard error.
    fn errors(estimator: &dyn ScoreEstimator) -> Vec<Estimate> {
        let law = Gaussian::new(vec![0.5, -1.0], vec![vec![0.8, 0.3], vec![0.3, 0.5]]).unwrap();
        let mut found: Vec<Vec<f64>> = vec![Vec::new(); 4];
        for repetition in 0..40 {
            let x = law.sample(&Stream::new(repetition, Purpose::Batch), 0, 0..2000);
            let exact = to_points(law.score(to_tensor(&x, DType::F64, &Device::flex())));
            let apart = estimator.score(&x, repetition, 0).unwrap() - &exact;
            let centred = &x - &x.mean_axis(Axis(0)).unwrap();
            let mean = |j: usize| apart.column(j).mean().unwrap();
            let slope = |i: usize, j: usize| (&apart.column(i) * &centred.column(j)).mean().unwrap();
            [mean(0), mean(1), slope(0, 0), slope(1, 0)]
                .into_iter()
                .zip(&mut found)
                .for_each(|(e, found)| found.push(e));
        }
        found.into_iter().map(Estimate::mean).collect()
    }

    #[test]
    fn estimates_of_the_score_of_a_gaussian_are_right_and_one_noise_level_is_not() {
        let sliced = Sliced { probes: 2, features: affine() };
        let extrapolated = Denoising { sigmas: vec![0.1, 0.2, 0.3], features: affine() };
        let biased = Denoising { sigmas: vec![0.4], features: affine() };
        for (name, estimator) in [("sliced", &sliced as &dyn ScoreEstimator), ("denoising", &extrapolated)] {
            for error in errors(estimator) {
                // A bias of .4² at one level is .2 and more.
                let limit = 5.0 * error.std_error + 0.01;
                assert!(error.value.abs() < limit && error.std_error < 0.02, "{name}: {error:?}");
            }
        }
        let worst = errors(&biased).into_iter().map(|error| error.value.abs() / error.std_error).fold(0.0, f64::max);
        assert!(worst > 20.0, "{worst}");
    }

    #[test]
    fn levels_that_are_none_are_refused() {
        for sigmas in [vec![0.0], vec![0.2, 0.2], vec![-1.0, 0.1]] {
            let error = ScoreConfig::Denoising { sigmas, features: affine() }.check().unwrap_err().to_string();
            assert!(error.contains("give different numbers between 0.001 and 1000"), "{error}");
        }
        assert!(ScoreConfig::default().check().is_ok() && ScoreConfig::default().estimator().is_none());
    }
}
