//! The reference e^{-g} that data are carried to: any mixture of Gaussians, given or fitted.

use brenier_measure::expectation_maximization::{ExpectationMaximization, Moments};
use brenier_measure::{GaussianMixture, Points};
use ndarray::{Array2, Axis};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::error::TrainingError;
use crate::fit::Flow;
use crate::gaussian_mixture::{GaussianMixtureConfig, MixtureFit};
use crate::method::Method;
use crate::monge_ampere::stack::StackConfig;
use crate::source::{InstanceNoise, Source};

/// The reference, in coordinates of its own: they are those in which the data are standardised, where it is fitted to them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ReferenceConfig {
    /// N(0, I).
    #[default]
    StandardNormal,
    /// Whichever fits the dimension and the number of points: N(0, I) or a fitted mixture, which the stored config names.
    Automatic,
    /// The Gaussian with the mean and the covariance of the training points.
    FittedGaussian,
    /// A mixture of Gaussians.
    GaussianMixture {
        /// The probability of each component: positive numbers that sum to 1.
        #[schemars(length(min = 1), inner(range(min = 0.0, max = 1.0)))]
        weights: Vec<f64>,
        /// The mean of each component.
        #[schemars(length(min = 1))]
        means: Vec<Vec<f64>>,
        /// The covariance matrix of each component, row by row: symmetric and positive definite.
        #[schemars(length(min = 1))]
        covariances: Vec<Vec<Vec<f64>>>,
    },
    /// A mixture of Gaussians that is fitted to the training points before the first stage, as by the method `gaussian_mixture`.
    FittedMixture(Box<GaussianMixtureConfig>),
    /// A stack of mixtures and kernels that is fitted to the training points before the first stage.
    Stack(StackConfig),
}

impl ReferenceConfig {
    /// Its name in a config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::StandardNormal => "standard_normal",
            Self::Automatic => "automatic",
            Self::FittedGaussian => "fitted_gaussian",
            Self::GaussianMixture { .. } => "gaussian_mixture",
            Self::FittedMixture(_) => "fitted_mixture",
            Self::Stack(_) => "stack",
        }
    }

    /// Whether it is fitted before the first stage, which takes time.
    pub fn is_fitted(&self) -> bool {
        matches!(self, Self::FittedMixture(_) | Self::Stack(_))
    }

    /// Whether its density is log-concave, whatever the points.
    pub fn is_log_concave(&self) -> bool {
        match self {
            Self::StandardNormal | Self::FittedGaussian => true,
            Self::GaussianMixture { weights, .. } => weights.len() == 1,
            Self::Automatic | Self::FittedMixture(_) | Self::Stack(_) => false,
        }
    }

    /// How a fitted mixture is fitted.
    pub fn fitted_by(&self) -> ExpectationMaximization {
        match self {
            Self::FittedMixture(config) => {
                ExpectationMaximization { covariance: config.covariance, shrinkage: config.shrinkage }
            }
            _ => ExpectationMaximization::default(),
        }
    }

    /// The reference for points of the data, `[n, d]`, with their noise.
    ///
    /// # Errors
    ///
    /// Parameters that make no measure of that dimension with a density; what a fit refuses; an interruption, as `go_on` says.
    pub fn build(
        &self,
        points: &Points,
        noise: &InstanceNoise,
        held_out: &Points,
        seed: u64,
        go_on: fn() -> bool,
    ) -> Result<Moments, TrainingError> {
        let d = points.ncols();
        let single = |mean: Vec<f64>, covariance: Array2<f64>| Moments {
            weights: vec![1.0],
            means: Points::from_shape_vec((1, d), mean).expect("d numbers"),
            covariances: vec![covariance],
        };
        let moments = match self {
            // Chosen before anything is built.
            Self::StandardNormal | Self::Automatic => single(vec![0.0; d], Array2::eye(d)),
            Self::FittedGaussian => {
                let mean = points.mean_axis(Axis(0)).expect("at least one point");
                let centred = points - &mean;
                let mut covariance = centred.t().dot(&centred) / points.nrows() as f64;
                if let Some(known) = noise.covariance() {
                    covariance += &known;
                }
                single(mean.to_vec(), covariance)
            }
            Self::GaussianMixture { weights, means, covariances } => {
                Moments::of(&GaussianMixture::new(weights.clone(), means.clone(), covariances.clone())?)
            }
            Self::FittedMixture(config) => {
                let source = Source::Rows { points: std::sync::Arc::new(points.clone()), noise: noise.clone() };
                let fit = MixtureFit::new(config.as_ref().clone(), &source, held_out.clone(), seed)?;
                let mut state = fit.start()?;
                fit.train(&mut state, &mut |_, _| Ok(if go_on() { Flow::Continue } else { Flow::Stop }))?;
                if !go_on() {
                    return Err(TrainingError::Interrupted);
                }
                state.best().clone()
            }
            Self::Stack(config) => {
                let stack = config.fit(&noise.added_once(seed, 0, points.clone()), seed, go_on)?;
                info!("the reference is a stack: {stack}");
                stack.moments
            }
        };
        let mixture = moments.mixture()?;
        if mixture.dim() != d {
            return Err(TrainingError::ReferenceDimension { found: mixture.dim(), expected: d });
        }
        if !mixture.has_density() {
            return Err(TrainingError::NoReferenceDensity);
        }
        Ok(moments)
    }
}
