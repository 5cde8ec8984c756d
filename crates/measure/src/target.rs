//! The choice of a target: what a config can name, and the measure it names.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::{DataSetConfig, SplitConfig};
use crate::error::MeasureError;
use crate::expression::ExpressionConfig;
use crate::gaussian::Gaussian;
use crate::measure::{Denoiser, Measure, Points, Sample};
use crate::mixture::GaussianMixture;
use crate::posterior::PosteriorCovariance;
use crate::random::{Purpose, Stream};
use crate::support::{Support, Unbounded};
use crate::targets::{
    self, BayesianLogisticRegressionConfig, Checkerboard, Funnel, ManyWell, Pinwheel, Rosenbrock, Rotated,
    RotatedConfig, SmoothedCurve, SpikeInSlab, StudentTMixture,
};
use crate::uniform_box::UniformBox;

/// The law to learn or to measure: a measure in closed form, a named target in the plane, or a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetConfig {
    /// One Gaussian N(mean, covariance); a singular covariance is allowed, and zero makes a point mass.
    Gaussian {
        /// The mean, one number a coordinate.
        #[schemars(length(min = 1))]
        mean: Vec<f64>,
        /// The covariance, row by row: symmetric, without negative eigenvalues.
        #[schemars(length(min = 1))]
        covariance: Vec<Vec<f64>>,
    },
    /// A mixture of Gaussians; a singular covariance is allowed, and zero makes a point mass.
    GaussianMixture {
        /// The probability of each component: positive numbers that sum to 1.
        #[schemars(length(min = 1), inner(range(min = 0.0, max = 1.0)))]
        weights: Vec<f64>,
        /// The mean of each component.
        #[schemars(length(min = 1))]
        means: Vec<Vec<f64>>,
        /// The covariance matrix of each component, row by row: symmetric, without negative eigenvalues.
        #[schemars(length(min = 1))]
        covariances: Vec<Vec<Vec<f64>>>,
    },
    /// The uniform law on a box.
    UniformBox {
        /// The least value of each coordinate.
        #[schemars(length(min = 1))]
        low: Vec<f64>,
        /// The largest value of each coordinate, above `low`.
        #[schemars(length(min = 1))]
        high: Vec<f64>,
    },
    /// Two noisy half circles facing each other, version 1: 1.4 (a(t) - (1/2, 1/4) + 0.1 z), t uniform on [0, π],
    /// a = (cos t, sin t) or (1 - cos t, 1/2 - sin t), equally likely.
    TwoMoons {},
    /// Eight equal Gaussians on a circle, version 1: centres √2 (cos, sin)(2πk/8), standard deviation 0.1.
    Ring {},
    /// A checkerboard, version 1: uniform on the eight squares i + j even, side 0.85, of the 4 × 4 grid over [-1.7, 1.7]².
    Checkerboard {},
    /// Five twisted blades, version 1: 1.35 R(2πk/5 + e^|u|/4) u, u = (1 + 0.3 z₁, 0.1 z₂), k uniform in 0…4.
    Pinwheel {},
    /// A noisy letter S, version 1: 0.9 (sin t, sign(t)(cos t - 1)) + noise z, t uniform on [-3π/2, 3π/2].
    SCurve {
        /// The standard deviation of the noise; below 0.01 the target has samples but no density.
        #[serde(default = "curve_noise")]
        #[schemars(range(min = 0.0))]
        noise: f64,
    },
    /// A noisy roll, version 1: (t cos t, t sin t)/7 + noise z, t uniform on [3π/2, 9π/2].
    SwissRoll {
        /// The standard deviation of the noise; below 0.01 the target has samples but no density.
        #[serde(default = "curve_noise")]
        #[schemars(range(min = 0.0))]
        noise: f64,
    },
    /// Two noisy spirals wound into each other, version 1: ±(-t cos t, t sin t)/4.5 + noise z, t = 3π√u, u uniform on
    /// [0, 1].
    Spirals {
        /// The standard deviation of the noise; below 0.01 the target has samples but no density.
        #[serde(default = "curve_noise")]
        #[schemars(range(min = 0.0))]
        noise: f64,
    },
    /// Neal's funnel, version 1: x₀ ~ N(0, σ²), the others N(0, e^x₀) given x₀.
    Funnel(Funnel),
    /// Pairs of a double well and a Gaussian, version 1: the sum of -x₀⁴ + 6x₀² + x₀/2 - x₁²/2 over d/2 pairs.
    ManyWell(ManyWell),
    /// Rosenbrock's valley in the plane, version 1: x₀ ~ N(1, 10), x₁ ~ N(x₀², 0.1) given x₀ (variances).
    Rosenbrock {},
    /// A narrow Gaussian that holds most of the mass inside a broad one, version 1.
    SpikeInSlab(SpikeInSlab),
    /// Equally likely locations with independent Student's t coordinates about them, version 1.
    StudentTMixture(StudentTMixture),
    /// The posterior of a logistic regression on a file, version 1: a density without draws.
    BayesianLogisticRegression(BayesianLogisticRegressionConfig),
    /// A log-density that is typed: a density without draws.
    Expression(ExpressionConfig),
    /// Another target turned by a seeded rotation, version 1.
    Rotated(RotatedConfig),
    /// A data set in a file: the empirical measure of its points.
    Dataset(DataSetConfig),
    /// A fixed number of draws of a target in closed form, which stays known: density, score and posterior are those of the target.
    Drawn(DrawnConfig),
}

/// A fixed number of draws of a target, split into what is learnt from and what chooses the best checkpoint; test points are fresh draws.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DrawnConfig {
    /// The target: neither a data set nor drawn itself.
    pub target: Box<TargetConfig>,
    /// How many draws there are.
    #[schemars(range(min = 2, max = 100_000_000))]
    pub points: usize,
    /// The seed of the draws.
    #[serde(default)]
    pub seed: u64,
    /// How they are split; the part `test` is empty.
    #[serde(default = "training_and_validation")]
    pub split: SplitConfig,
}

fn training_and_validation() -> SplitConfig {
    SplitConfig { train: 0.9, validation: 0.1, test: 0.0 }
}

impl DrawnConfig {
    /// The draws, `[points, d]`, functions of the seed and their index.
    pub fn draw(&self, sampler: &dyn Sample) -> Points {
        sampler.sample(&Stream::new(self.seed, Purpose::Drawn), 0, 0..self.points as u64)
    }
}

fn curve_noise() -> f64 {
    0.1
}

/// A target that exists in closed form: its sampler, and what else is known of it.
#[derive(Clone)]
pub struct Target {
    /// Its draws, where it has a sampler: a posterior has none.
    pub sampler: Option<Arc<dyn Sample>>,
    /// Its log-density and score, where it has one.
    pub density: Option<Arc<dyn Measure>>,
    /// Its exact posterior mean at every noise level, where that is known.
    pub denoiser: Option<Arc<dyn Denoiser + Send + Sync>>,
    /// Its exact posterior covariance at every signal-to-noise ratio, where that is known.
    pub posterior: Option<Arc<dyn PosteriorCovariance + Send + Sync>>,
    /// Where its coordinates live, where some are bounded; its density is 0 elsewhere.
    pub support: Option<Support>,
    /// What its coordinates are called, where they have names.
    pub columns: Option<Vec<String>>,
    /// SHA-256 of the file that it is made of, where there is one.
    pub data: Option<String>,
    /// The name a config calls it by.
    pub name: &'static str,
    /// The version of its definition: equal names and versions mean equal laws.
    pub version: u32,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("sampler", &self.sampler.is_some())
            .field("dim", &self.dim())
            .field("density", &self.density.is_some())
            .field("denoiser", &self.denoiser.is_some())
            .field("posterior", &self.posterior.is_some())
            .finish()
    }
}

impl Target {
    /// What must be equal in two runs of one target: its name, the version of its definition, and its file.
    pub fn origin(&self) -> String {
        let file = self.data.iter().map(|sha256| format!(", sha256:{sha256}")).collect::<String>();
        format!("{} version {}{file}", self.name, self.version)
    }

    /// The density in coordinates that are not bounded: the measure itself where none is.
    pub fn unbounded(&self) -> Option<Arc<dyn Measure>> {
        let density = self.density.clone()?;
        Some(match &self.support {
            Some(support) => Arc::new(Unbounded::new(density, support.clone())),
            None => density,
        })
    }

    /// The dimension d.
    ///
    /// # Panics
    ///
    /// For a target with neither sampler nor density, of which nothing is known.
    pub fn dim(&self) -> usize {
        match (&self.sampler, &self.density) {
            (Some(sampler), _) => sampler.dim(),
            (None, Some(density)) => density.dim(),
            (None, None) => panic!("the target {} has neither a sampler nor a density", self.name),
        }
    }
}

impl TargetConfig {
    /// The name of the choice, as it stands in a config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gaussian { .. } => "gaussian",
            Self::GaussianMixture { .. } => "gaussian_mixture",
            Self::UniformBox { .. } => "uniform_box",
            Self::TwoMoons {} => "two_moons",
            Self::Ring {} => "ring",
            Self::Checkerboard {} => "checkerboard",
            Self::Pinwheel {} => "pinwheel",
            Self::SCurve { .. } => "s_curve",
            Self::SwissRoll { .. } => "swiss_roll",
            Self::Spirals { .. } => "spirals",
            Self::Funnel(_) => "funnel",
            Self::ManyWell(_) => "many_well",
            Self::Rosenbrock {} => "rosenbrock",
            Self::SpikeInSlab(_) => "spike_in_slab",
            Self::StudentTMixture(_) => "student_t_mixture",
            Self::BayesianLogisticRegression(_) => "bayesian_logistic_regression",
            Self::Expression(_) => "expression",
            Self::Rotated(_) => "rotated",
            Self::Dataset(_) => "dataset",
            Self::Drawn(_) => "drawn",
        }
    }

    /// The files that the target is read from, those of labels and weights beside the data included.
    pub fn files(&self) -> Vec<PathBuf> {
        let beside = match self {
            Self::Dataset(dataset) => dataset.files_beside(),
            _ => Vec::new(),
        };
        self.clone().paths().into_iter().map(|path| path.clone()).chain(beside).collect()
    }

    /// The paths in the parameters of the target.
    pub fn paths(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Dataset(dataset) => vec![&mut dataset.path],
            Self::BayesianLogisticRegression(regression) => vec![&mut regression.path],
            Self::Expression(expression) => expression.data.iter_mut().map(|data| &mut data.path).collect(),
            Self::Rotated(rotated) => rotated.target.paths(),
            Self::Drawn(drawn) => drawn.target.paths(),
            _ => Vec::new(),
        }
    }

    /// The target in closed form of which a fixed number of draws is taken; any other target itself.
    pub fn exact(&self) -> &Self {
        match self {
            Self::Drawn(drawn) => &drawn.target,
            other => other,
        }
    }

    /// The measure in closed form; `None` for a data set, which is read from its file instead.
    ///
    /// # Errors
    ///
    /// Parameters that make no measure; the message names the field.
    pub fn build_exact(&self) -> Result<Option<Target>, MeasureError> {
        let target = match self {
            Self::Dataset(_) => return Ok(None),
            Self::Drawn(drawn) => match &*drawn.target {
                inner @ (Self::Dataset(_) | Self::Drawn(_)) => {
                    return Err(MeasureError::NotDrawn { target: inner.name() });
                }
                exact => return exact.build_exact(),
            },
            Self::Gaussian { mean, covariance } => {
                let gaussian = Gaussian::new(mean.clone(), covariance.clone())?;
                let has_density = gaussian.has_density();
                self.target(Arc::new(gaussian), has_density)
            }
            Self::GaussianMixture { weights, means, covariances } => {
                let mixture = GaussianMixture::new(weights.clone(), means.clone(), covariances.clone())?;
                let has_density = mixture.has_density();
                self.target(Arc::new(mixture), has_density)
            }
            Self::UniformBox { low, high } => self.target(Arc::new(UniformBox::new(low.clone(), high.clone())?), true),
            Self::Ring {} => self.target(Arc::new(targets::ring()), true),
            Self::Checkerboard {} => self.target(Arc::new(Checkerboard::new()), true),
            Self::Pinwheel {} => self.drawn_density(Pinwheel {}),
            Self::Funnel(funnel) => self.drawn_density(funnel.checked()?),
            Self::ManyWell(wells) => self.drawn_density(wells.checked()?),
            Self::Rosenbrock {} => self.drawn_density(Rosenbrock {}),
            Self::SpikeInSlab(law) => self.target(Arc::new(law.mixture()?), true),
            Self::StudentTMixture(mixture) => self.drawn_density(mixture.clone().checked()?),
            Self::BayesianLogisticRegression(regression) => {
                let posterior = regression.load()?;
                Target {
                    columns: Some(posterior.columns().to_vec()),
                    data: Some(posterior.sha256().to_owned()),
                    density: Some(Arc::new(posterior)),
                    ..self.nothing()
                }
            }
            Self::Expression(expression) => {
                let measure = expression.build()?;
                Target {
                    support: measure.support().cloned(),
                    data: measure.sha256().map(str::to_owned),
                    density: Some(Arc::new(measure)),
                    ..self.nothing()
                }
            }
            Self::Rotated(rotated) => self.rotated(rotated)?,
            Self::TwoMoons {} => self.curve(targets::two_moons()),
            Self::SCurve { noise } => self.curve(targets::s_curve(checked_noise(*noise)?)),
            Self::SwissRoll { noise } => self.curve(targets::swiss_roll(checked_noise(*noise)?)),
            Self::Spirals { noise } => self.curve(targets::spirals(checked_noise(*noise)?)),
        };
        Ok(Some(target))
    }

    /// The modes of the target, where it is a mixture of Gaussians with a density.
    ///
    /// # Errors
    ///
    /// Parameters that make no measure.
    pub fn modes(&self) -> Result<Option<GaussianMixture>, MeasureError> {
        let mixture = match self {
            Self::GaussianMixture { weights, means, covariances } => {
                GaussianMixture::new(weights.clone(), means.clone(), covariances.clone())?
            }
            Self::Ring {} => targets::ring(),
            Self::SpikeInSlab(law) => law.mixture()?,
            Self::Rotated(rotated) => match rotated.target.modes()? {
                Some(inner) => rotated.mixture(&inner)?,
                None => return Ok(None),
            },
            Self::Drawn(drawn) => return drawn.target.modes(),
            _ => return Ok(None),
        };
        Ok(mixture.has_density().then_some(mixture))
    }

    /// The target in closed form, where it is a Gaussian or a mixture of them and has a density.
    ///
    /// # Errors
    ///
    /// Parameters that make no measure.
    pub fn closed_form(&self) -> Result<Option<GaussianMixture>, MeasureError> {
        if let Self::Rotated(rotated) = self.exact() {
            return rotated.target.closed_form()?.map(|inner| rotated.mixture(&inner)).transpose();
        }
        let Self::Gaussian { mean, covariance } = self.exact() else { return self.modes() };
        let gaussian = Gaussian::new(mean.clone(), covariance.clone())?;
        Ok(gaussian.has_density().then(|| gaussian.as_mixture().clone()))
    }

    /// A measure that knows everything of itself, but for a density where its covariance is singular.
    fn target<M>(&self, measure: Arc<M>, has_density: bool) -> Target
    where
        M: Sample + Measure + Denoiser + PosteriorCovariance + 'static,
    {
        Target {
            sampler: Some(measure.clone()),
            density: has_density.then(|| measure.clone() as Arc<dyn Measure>),
            denoiser: Some(measure.clone()),
            posterior: Some(measure),
            ..self.nothing()
        }
    }

    /// A measure with draws and a density, and nothing that is known under noise.
    fn drawn_density(&self, measure: impl Sample + Measure + 'static) -> Target {
        let measure = Arc::new(measure);
        Target { sampler: Some(measure.clone()), density: Some(measure), ..self.nothing() }
    }

    /// What is known of the inner target, turned.
    fn rotated(&self, config: &RotatedConfig) -> Result<Target, MeasureError> {
        let not_rotated = || MeasureError::NotRotated { target: config.target.name() };
        if matches!(&*config.target, Self::Drawn(_)) {
            return Err(not_rotated());
        }
        let inner = config.target.build_exact()?.ok_or_else(not_rotated)?;
        if let Some(mixture) = config.target.closed_form()? {
            return Ok(self.target(Arc::new(config.mixture(&mixture)?), true));
        }
        if inner.support.is_some() {
            return Err(MeasureError::NotRotated { target: "expression` with a `support" });
        }
        let matrix = config.matrix(inner.dim());
        macro_rules! turned {
            ($part:ident) => {
                inner.$part.map(|part| Arc::new(Rotated::new(part, matrix.clone())) as _)
            };
        }
        Ok(Target {
            sampler: turned!(sampler),
            density: turned!(density),
            denoiser: turned!(denoiser),
            posterior: turned!(posterior),
            data: inner.data,
            ..self.nothing()
        })
    }

    /// A target of which nothing is known but its name.
    fn nothing(&self) -> Target {
        Target {
            sampler: None,
            density: None,
            denoiser: None,
            posterior: None,
            support: None,
            columns: None,
            data: None,
            name: self.name(),
            version: 1,
        }
    }

    /// A curve draws from its definition, and is a mixture in everything else.
    fn curve(&self, curve: SmoothedCurve) -> Target {
        let quadrature = curve.quadrature().map(Arc::new);
        Target {
            sampler: Some(Arc::new(curve)),
            density: quadrature.clone().map(|mixture| mixture as Arc<dyn Measure>),
            denoiser: quadrature.clone().map(|mixture| mixture as Arc<dyn Denoiser + Send + Sync>),
            posterior: quadrature.map(|mixture| mixture as Arc<dyn PosteriorCovariance + Send + Sync>),
            ..self.nothing()
        }
    }
}

/// A standard deviation given as `noise`.
fn checked_noise(noise: f64) -> Result<f64, MeasureError> {
    if !noise.is_finite() {
        Err(MeasureError::NotFinite { field: "noise".to_owned(), value: noise })
    } else if noise < 0.0 {
        Err(MeasureError::NegativeDeviation { field: "noise".to_owned(), value: noise })
    } else {
        Ok(noise)
    }
}
