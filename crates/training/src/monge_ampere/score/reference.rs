//! The reference of a map to a density, the coordinates that it belongs to, and what beside the map is known of the target.

use std::sync::Arc;

use brenier_measure::data::Standardization;
use brenier_measure::expectation_maximization::Moments;
use brenier_measure::{Estimate, Measure, Points, Support};
use burn::tensor::Device;
use ndarray::{Array2, Axis, s};
use serde::{Deserialize, Serialize};

use super::config::{DensityReferenceConfig, ParticlesReference};
use crate::annealed_particles::{AnnealedParticles, StartConfig, start};
use crate::error::TrainingError;
use crate::fit::Flow;
use crate::gaussian_mixture::MixtureFit;
use crate::method::Method;
use crate::source::{InstanceNoise, Source};

/// A reference with its coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FittedReference {
    /// From the coordinates of the target to those of the map.
    pub frame: Standardization,
    /// e^{-g}, in the coordinates of the map.
    pub law: Moments,
    /// What the particles say, where there are some.
    pub particles: Option<Witness>,
}

/// Particles that nothing was fitted to, and what the annealing found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Witness {
    /// In the coordinates of the map, `[m, d]`.
    pub points: Points,
    /// log Z by the annealing; no standard error where one lineage is left.
    pub log_z: f64,
    pub log_z_std_error: Option<f64>,
    /// β of the annealing.
    pub temperatures: Vec<f64>,
}

impl Witness {
    /// log Z with its standard error.
    pub fn log_z(&self) -> Estimate {
        Estimate { value: self.log_z, std_error: self.log_z_std_error.unwrap_or(f64::NAN) }
    }
}

/// The density that a reference is made for.
pub(super) struct Given<'a> {
    pub target: &'a Arc<dyn Measure>,
    pub support: Option<&'a Support>,
    pub seed: u64,
    pub device: &'a Device,
    pub go_on: fn() -> bool,
}

impl DensityReferenceConfig {
    /// An error about the start of particles, in the words of this reference.
    pub(super) fn renamed(&self, error: TrainingError) -> TrainingError {
        let TrainingError::Choice { what, cure } = error else { return error };
        let (own, cure) = match self {
            Self::StandardNormal => ("`reference.", cure),
            Self::Laplace { .. } => {
                ("`reference.", "take the reference `particles` with a Gaussian `start`, or `standard_normal`")
            }
            Self::Particles(_) => ("`reference.particles.annealing.start.", cure),
        };
        TrainingError::Choice { what: what.replace("`start.", own), cure }
    }

    /// The reference for a density.
    ///
    /// # Errors
    ///
    /// No mode, particles that are refused or do not arrive, coordinates that are singular, an interruption.
    pub(super) fn build(&self, given: &Given) -> Result<FittedReference, TrainingError> {
        let d = given.target.dim();
        match self {
            Self::StandardNormal => {
                Ok(FittedReference { frame: Standardization::identity(d), law: standard(d), particles: None })
            }
            Self::Laplace { widen } => {
                let fitted = start(&StartConfig::Laplace { widen: *widen }, given.target.as_ref());
                let fitted = fitted.map_err(|error| self.renamed(error))?;
                let frame = frame(&fitted.mean(), &fitted.covariance())?;
                Ok(FittedReference { frame, law: standard(d), particles: None })
            }
            Self::Particles(config) => of_particles(config, given),
        }
    }
}

fn of_particles(config: &ParticlesReference, given: &Given) -> Result<FittedReference, TrainingError> {
    let (target, support) = (given.target.clone(), given.support.cloned());
    let method = AnnealedParticles::new(*config.annealing.clone(), target, support, given.seed, given.device)?;
    let mut state = method.start()?;
    let go_on = given.go_on;
    method.train(&mut state, &mut |_, _| Ok(if go_on() { Flow::Continue } else { Flow::Stop }))?;
    if !method.is_done(&state) {
        return Err(TrainingError::Interrupted);
    }
    // Relatives stand side by side: the last quarter descends from other starts than the rest.
    let fitted_to = state.particles.nrows() * 3 / 4;
    let (first, rest) = (state.particles.slice(s![..fitted_to, ..]), state.particles.slice(s![fitted_to.., ..]));
    let mean = first.mean_axis(Axis(0)).expect("sixteen particles at least");
    let centred = &first - &mean;
    let covariance = centred.t().dot(&centred) / fitted_to as f64;
    let frame = frame(&mean.to_vec(), &covariance)?;
    let [first, rest] = [first, rest].map(|points| frame.apply(&points.to_owned()));
    let law = match &config.mixture {
        None => standard(mean.len()),
        Some(config) => {
            let noise = InstanceNoise { sd: 0.0, coordinates: Standardization::identity(mean.len()) };
            let source = Source::Rows { points: Arc::new(first), noise };
            let fit = MixtureFit::new(*config.clone(), &source, rest.clone(), given.seed)?;
            let mut state = fit.start()?;
            fit.train(&mut state, &mut |_, _| Ok(if go_on() { Flow::Continue } else { Flow::Stop }))?;
            if !go_on() {
                return Err(TrainingError::Interrupted);
            }
            state.best().clone()
        }
    };
    if !law.mixture()?.has_density() {
        return Err(TrainingError::NoReferenceDensity);
    }
    let log_z = state.log_z();
    let particles = Witness {
        points: rest,
        log_z: log_z.value,
        log_z_std_error: Some(log_z.std_error).filter(|error| error.is_finite()),
        temperatures: state.temperatures,
    };
    Ok(FittedReference { frame, law, particles: Some(particles) })
}

/// N(0, I).
fn standard(d: usize) -> Moments {
    Moments { weights: vec![1.0], means: Points::zeros((1, d)), covariances: vec![Array2::eye(d)] }
}

fn frame(mean: &[f64], covariance: &Array2<f64>) -> Result<Standardization, TrainingError> {
    Standardization::of_gaussian(mean, covariance).ok_or_else(|| TrainingError::Choice {
        what: "the covariance that the reference is made of is singular".to_owned(),
        cure: "take more particles, or the reference `standard_normal`",
    })
}
