//! A Gaussian mixture as a method: fits of every size from every start, one after the other, a step of expectation and maximisation at a
//! time (see [`brenier_measure::expectation_maximization`]).
//!
//! # Design
//!
//! The law of a state is the mixture with the highest log-likelihood of held-out points among all starts and steps of all fits. So sizes,
//! restarts and the moment to stop are all chosen by points that were not fitted, and the choice does not depend on when checkpoints
//! are written. Without a validation part held-out points are the training points, and it is the most likely mixture.

mod config;

pub use config::{Components, GaussianMixtureConfig};

use brenier_measure::expectation_maximization::{ExpectationMaximization, KnownNoise, Moments, Observed, Stop};
use brenier_measure::{MeasureError, Points};
use brenier_model::{ExactSampler, TrainedSampler};
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;
use crate::fit::Flow;
use crate::method::{Files, Method, Observe, Scalars, starting_point};
use crate::source::Source;

/// The file of a checkpoint.
const STATE: &str = "state.json";

/// A mixture that is fitted, with the points at hand.
pub struct MixtureFit {
    config: GaussianMixtureConfig,
    observed: Observed,
    held_out: Points,
    seed: u64,
}

/// How far the fits have come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureState {
    /// The steps of all fits so far.
    step: u64,
    /// The fit at hand: of all sizes in their order, and of all restarts within each.
    fit: u64,
    /// Its steps so far.
    iteration: u64,
    /// The mixture that it has come to.
    moments: Moments,
    /// The mean log-likelihood of the training points before the last step of any fit.
    log_likelihood: Option<f64>,
    /// That of the held-out points after it.
    held_out_log_likelihood: Option<f64>,
    /// The best of all steps.
    best: Option<Best>,
}

/// A mixture and what held-out points say of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Best {
    log_likelihood: f64,
    moments: Moments,
}

impl MixtureState {
    /// The state that a checkpoint holds.
    ///
    /// # Errors
    ///
    /// A missing file, or one of another method.
    pub fn from_files(files: &Files) -> Result<Self, TrainingError> {
        let bytes = files.get(STATE).ok_or_else(|| TrainingError::MissingFile { file: STATE.into() })?;
        serde_json::from_slice(bytes)
            .map_err(|error| TrainingError::ForeignWeights { file: STATE.into(), reason: error.to_string() })
    }

    /// The best mixture so far.
    pub fn best(&self) -> &Moments {
        self.best.as_ref().map_or(&self.moments, |best| &best.moments)
    }
}

impl MixtureFit {
    /// A fit to the rows of a source; its noise is known.
    ///
    /// # Errors
    ///
    /// [`MeasureError::NotFixed`] for a source of fresh draws; points that are not finite.
    pub fn new(
        config: GaussianMixtureConfig,
        source: &Source,
        held_out: Points,
        seed: u64,
    ) -> Result<Self, TrainingError> {
        let Source::Rows { points, noise } = source else { return Err(MeasureError::NotFixed.into()) };
        let known = noise.covariance().map(|covariance| KnownNoise {
            covariance,
            copies: (0..config.copies).map(|copy| noise.added_in(copy, seed, points.as_ref().clone())).collect(),
        });
        Ok(Self { observed: Observed::new(points, None, known)?, config, held_out, seed })
    }

    fn fits(&self) -> u64 {
        self.config.components.sizes().len() as u64 * self.config.restarts
    }

    fn method(&self) -> ExpectationMaximization {
        ExpectationMaximization { covariance: self.config.covariance, shrinkage: self.config.shrinkage }
    }

    fn start_of(&self, fit: u64) -> Moments {
        let (size, restart) = (fit / self.config.restarts, fit % self.config.restarts);
        let components = self.config.components.sizes()[size as usize];
        self.method().start(&self.observed, components, self.seed, restart)
    }

    /// Keeps the mixture at hand where held-out points say that it is the best so far.
    fn judge(&self, state: &mut MixtureState) {
        let log_likelihood = state.moments.mean_log_density(&self.held_out);
        if state.best.as_ref().is_none_or(|best| log_likelihood > best.log_likelihood) {
            state.best = Some(Best { log_likelihood, moments: state.moments.clone() });
        }
        state.held_out_log_likelihood = Some(log_likelihood);
    }

    /// One step of the fit at hand, or the first one of the next.
    fn advance(&self, state: &mut MixtureState) -> Result<f64, TrainingError> {
        if state.iteration == 0 && state.fit > 0 {
            state.moments = self.start_of(state.fit);
            self.judge(state);
        }
        let (next, log_likelihood) = self.method().step(&self.observed, &state.moments)?;
        if !log_likelihood.is_finite() {
            return Err(TrainingError::Diverged {
                what: "log-likelihood",
                value: log_likelihood,
                step: state.step,
                last_finite: state.log_likelihood,
            });
        }
        let before = state.log_likelihood.filter(|_| state.iteration > 0).unwrap_or(f64::NEG_INFINITY);
        state.moments = next;
        state.log_likelihood = Some(log_likelihood);
        self.judge(state);
        (state.step, state.iteration) = (state.step + 1, state.iteration + 1);
        let stop = Stop { iterations: self.config.iterations, tolerance: self.config.tolerance };
        if state.iteration >= stop.iterations || stop.is_reached(before, log_likelihood) {
            (state.fit, state.iteration) = (state.fit + 1, 0);
        }
        Ok(log_likelihood)
    }
}

impl Method for MixtureFit {
    type State = MixtureState;

    fn steps(&self) -> u64 {
        self.config.most_steps()
    }

    /// The first start by k-means, or the mixture of the run in `start_from`.
    fn start(&self) -> Result<MixtureState, TrainingError> {
        let mut moments = self.start_of(0);
        if let Some(path) = &self.config.start_from {
            moments = MixtureState::from_files(&starting_point(path, "mixture")?.files)?.best().clone();
            let (found, expected) = (moments.weights.len(), self.config.components.sizes()[0]);
            if found != expected {
                return Err(TrainingError::StartSize { path: path.display().to_string(), found, expected });
            }
        }
        let mut state = MixtureState {
            step: 0,
            fit: 0,
            iteration: 0,
            moments,
            log_likelihood: None,
            held_out_log_likelihood: None,
            best: None,
        };
        self.judge(&mut state);
        Ok(state)
    }

    fn resume(&self, files: &Files) -> Result<MixtureState, TrainingError> {
        MixtureState::from_files(files)
    }

    fn files(&self, state: &MixtureState) -> Files {
        Files::from([(STATE.to_owned(), serde_json::to_vec(state).expect("finite numbers"))])
    }

    fn step(&self, state: &MixtureState) -> u64 {
        state.step
    }

    fn is_done(&self, state: &MixtureState) -> bool {
        state.fit >= self.fits()
    }

    fn train(&self, state: &mut MixtureState, observe: &mut Observe<MixtureState>) -> Result<(), TrainingError> {
        while !self.is_done(state) {
            let log_likelihood = self.advance(state)?;
            if observe(state, &[("log_likelihood", log_likelihood)])? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }

    fn means(&self, state: &mut MixtureState) -> Scalars {
        let mut scalars = Scalars::new();
        scalars.extend(state.log_likelihood.map(|value| ("log_likelihood", value)));
        scalars.extend(state.held_out_log_likelihood.map(|value| ("held_out_log_likelihood", value)));
        scalars.push(("components", state.moments.weights.iter().filter(|&&weight| weight > 0.0).count() as f64));
        scalars
    }

    fn held_out(&self, state: &MixtureState) -> (&'static str, f64) {
        let best = state.best.as_ref().map(|best| best.log_likelihood);
        ("held_out_nll", -best.unwrap_or_else(|| state.moments.mean_log_density(&self.held_out)))
    }

    fn sampler(&self, state: &MixtureState) -> Box<dyn TrainedSampler> {
        Box::new(ExactSampler::new(state.best().mixture().expect("bounded covariances make a mixture"), None))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use brenier_measure::data::{Standardization, Standardize};
    use brenier_measure::{Purpose, Sample, Stream, targets};

    use super::*;
    use crate::source::InstanceNoise;

    fn method(components: Components, noise: f64) -> MixtureFit {
        let ring = targets::ring();
        let points = |seed, n| ring.sample(&Stream::new(seed, Purpose::Batch), 0, 0..n);
        let train = points(1, 400);
        let coordinates = Standardization::fit(&train, Standardize::None, false).unwrap();
        let config = serde_json::json!({
            "components": components, "restarts": 2, "iterations": 30, "tolerance": 1e-6, "copies": 2
        });
        let source = Source::Rows { points: Arc::new(train), noise: InstanceNoise { sd: noise, coordinates } };
        MixtureFit::new(serde_json::from_value(config).unwrap(), &source, points(2, 200), 7).unwrap()
    }

    /// The files after so many further steps, or after the last.
    fn go_on(method: &MixtureFit, state: &mut MixtureState, steps: u64) -> Files {
        let last = state.step + steps;
        let observe = &mut |state: &mut MixtureState, _: &[(&'static str, f64)]| {
            Ok(if state.step == last { Flow::Stop } else { Flow::Continue })
        };
        method.train(state, observe).unwrap();
        method.files(state)
    }

    #[test]
    fn a_fit_that_is_resumed_anywhere_ends_with_the_same_bits() {
        for noise in [0.0, 0.2] {
            let method = method(Components::Several(vec![2, 8]), noise);
            let whole = go_on(&method, &mut method.start().unwrap(), u64::MAX / 2);
            for stop in [1, 5, 17, 31] {
                let mut state = method.start().unwrap();
                let files = go_on(&method, &mut state, stop);
                let mut resumed = method.resume(&files).unwrap();
                assert!(resumed == state, "what is read is not what was written, at {stop}");
                assert!(go_on(&method, &mut resumed, u64::MAX / 2) == whole, "at {stop}");
            }
        }
    }

    #[test]
    fn the_size_is_chosen_by_held_out_points() {
        let method = method(Components::Several(vec![1, 2, 8, 60]), 0.0);
        let mut state = method.start().unwrap();
        go_on(&method, &mut state, u64::MAX / 2);
        assert!(method.is_done(&state) && state.step <= method.steps());
        let components = method.means(&mut state).into_iter().find(|(name, _)| *name == "components").unwrap().1;
        assert_eq!(components, 60.0, "the last fit is that of the largest size");
        // The ring has eight modes; sixty components for 400 points know only those.
        assert_eq!(state.best().weights.len(), 8);
        let (name, value) = method.held_out(&state);
        // Its entropy is .3122 nats, that of 200 points ± .05; eight Gaussians of fifty points each lose about 47/800.
        assert!(name == "held_out_nll" && (0.1..0.7).contains(&value), "{value}");
    }

    #[test]
    fn fresh_draws_without_end_are_refused() {
        let config = serde_json::from_str(r#"{"components": 2}"#).unwrap();
        let source = Source::Fresh { target: Arc::new(targets::ring()), shift: vec![0.0; 2], scale: vec![1.0; 2] };
        let refused = MixtureFit::new(config, &source, Points::zeros((2, 2)), 0);
        assert!(matches!(refused, Err(TrainingError::Measure(MeasureError::NotFixed))));
    }
}
