//! The choices of Algorithm 2.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use brenier_measure::Points;
use brenier_model::Activation;
use brenier_model::monge_ampere::Ridges;

use super::estimators::ScoreConfig;
use super::without_ridges;
use crate::annealed_particles::AnnealedParticlesConfig;
use crate::gaussian_mixture::GaussianMixtureConfig;
use crate::monge_ampere::{Iterate, RidgesConfig, StepSize};

/// A Brenier map from a reference to an unnormalised density.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MongeAmpereScoreConfig {
    /// The reference, and the coordinates of the map.
    pub reference: DensityReferenceConfig,
    /// The family of the potential.
    pub family: Family,
    /// How a stage enters the map.
    pub form: Form,
    /// Which way a stage moves the map.
    pub update: Update,
    /// How a stage knows the score of the sampler's law.
    pub score: ScoreConfig,
    /// The densities on the way from the reference to the target.
    pub annealing: TemperaturesConfig,
    /// How far a stage goes: `adaptive` is shortened until the map keeps its curvature and the densities before and after overlap by `stage_ess`.
    pub step_size: StepSize,
    /// The least effective share of the weights between the densities before and after a stage.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub stage_ess: f64,
    /// The longest move of a point in a stage, in the coordinates of the map.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub clip: f64,
    /// The number of stages.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub stages: u64,
    /// So many stages at the target without a better ELBO end the training. Null: all stages are done.
    #[schemars(range(min = 1))]
    pub patience: Option<u64>,
    /// Fresh draws of the reference a stage.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub batch: usize,
    /// Draws of the reference over which the ELBO is measured, the same at every stage.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub held_out: usize,
    /// By which share of its own scale every coefficient is held where it is.
    #[schemars(range(min = 0.0))]
    pub penalty: f64,
    /// The decay of the moving average of the potentials, a stage.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub ema: f64,
    /// The stages that the mean of the potentials leaves out.
    pub average_after: u64,
    /// Which potential the law of the run is: `best` has the highest ELBO of all stages at the target.
    pub iterate: Iterate,
}

impl Default for MongeAmpereScoreConfig {
    fn default() -> Self {
        Self {
            reference: DensityReferenceConfig::default(),
            family: Family::default(),
            form: Form::default(),
            update: Update::default(),
            score: ScoreConfig::default(),
            annealing: TemperaturesConfig::default(),
            step_size: StepSize::Adaptive { first: 0.1, most: 0.5 },
            stage_ess: 0.5,
            clip: 1.0,
            stages: 60,
            patience: Some(15),
            batch: 2048,
            held_out: 4096,
            penalty: 1e-3,
            ema: 0.8,
            average_after: 20,
            iterate: Iterate::default(),
        }
    }
}

/// Where the map starts from. In the coordinates of the map the reference has mean 0 and covariance I, but for `standard_normal`, which is
/// what it says in those of the target; there the map is optimal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DensityReferenceConfig {
    /// N(0, I).
    StandardNormal,
    /// The Gaussian at the mode that Newton's method finds from the origin, with the inverse of the Hessian there.
    Laplace {
        /// What the standard deviations are multiplied by.
        #[serde(default = "one")]
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        widen: f64,
    },
    /// Fitted to three quarters of annealed particles; the others judge the map.
    Particles(ParticlesReference),
}

fn one() -> f64 {
    1.0
}

impl Default for DensityReferenceConfig {
    fn default() -> Self {
        Self::Particles(ParticlesReference::default())
    }
}

/// A reference that is fitted to annealed particles.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParticlesReference {
    /// The particles, as by the method `annealed_particles`.
    pub annealing: Box<AnnealedParticlesConfig>,
    /// A mixture of Gaussians that is fitted to them, as by the method `gaussian_mixture`. Null: one Gaussian with their mean and covariance.
    pub mixture: Option<Box<GaussianMixtureConfig>>,
}

/// The family of the potential on the side of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// `½yᵀQy + c·y`: affine maps.
    Quadratic,
    /// A quadratic with ridges on it.
    Ridges(RidgesConfig),
}

impl Family {
    /// Its ridges, where it has some.
    pub(super) fn ridges(&self) -> Option<&RidgesConfig> {
        match self {
            Self::Quadratic => None,
            Self::Ridges(ridges) => Some(ridges),
        }
    }
}

impl Default for Family {
    fn default() -> Self {
        Self::Ridges(few_knots())
    }
}

/// How a stage enters the map.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Its moves of the draws are fitted into the family, by one convex program.
    #[default]
    Fitted,
    /// As the paper has it: a vector field that is learnt, composed with the map so far. In up to 16 dimensions.
    Composed(ComposedConfig),
}

/// Stages `n_{k+1} = n_k - η_k ∇n_k·(m_k∘n_k)` with fields `m_k = ∇f + ξ_k` that are learnt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ComposedConfig {
    /// The family of the fields.
    pub field: FieldConfig,
    /// After so many stages the stack is fitted into one potential of `family`; one costs about three times as much as the one before it in the
    /// stack.
    #[schemars(range(min = 1, max = 4))]
    pub every: usize,
    /// The largest misfit `(E|∇ψ - n|²/Var n)^{1/2}` of that potential with which the flow goes on.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub tolerance: f64,
}

impl Default for ComposedConfig {
    fn default() -> Self {
        Self { field: FieldConfig::default(), every: 2, tolerance: 0.1 }
    }
}

/// The family of the vector fields of stages that are composed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldConfig {
    /// Gradients of quadratics: affine fields, which are exact between Gaussians.
    Quadratic,
    /// Gradients of quadratics with ridges, whose heights have any sign.
    Ridges(RidgesConfig),
    /// A perceptron with d values, which goes on learning from stage to stage. With `score: "sliced"` it learns m_k by score matching itself, without
    /// features.
    Perceptron(PerceptronConfig),
}

impl Default for FieldConfig {
    fn default() -> Self {
        Self::Ridges(few_knots())
    }
}

impl Form {
    /// The family of the fields, where stages are composed.
    pub(super) fn field(&self) -> Option<&FieldConfig> {
        match self {
            Self::Fitted => None,
            Self::Composed(config) => Some(&config.field),
        }
    }
}

impl FieldConfig {
    /// The choice of its ridges, where it has some.
    pub(super) fn features(&self) -> Option<&RidgesConfig> {
        match self {
            Self::Ridges(ridges) => Some(ridges),
            Self::Quadratic | Self::Perceptron(_) => None,
        }
    }

    /// The ridges of a field at points; none of a quadratic.
    pub(super) fn ridges(&self, x: &Points, seed: u64) -> Ridges {
        match self {
            Self::Ridges(ridges) => ridges.choose(x, seed),
            Self::Quadratic | Self::Perceptron(_) => without_ridges(x.ncols(), few_knots().floor),
        }
    }
}

/// A perceptron as a vector field.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PerceptronConfig {
    /// Units of a hidden layer.
    #[schemars(range(min = 1, max = 65_536))]
    pub width: usize,
    /// Hidden layers.
    #[schemars(range(min = 1, max = 64))]
    pub depth: usize,
    /// The activation; a smooth one, for the map moves by derivatives of m.
    pub activation: Activation,
    /// Steps of Adam a stage.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub steps: u64,
    /// Points of the sampler in one of them.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch: usize,
    /// The learning rate.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub learning_rate: f64,
}

impl Default for PerceptronConfig {
    fn default() -> Self {
        Self { width: 64, depth: 2, activation: Activation::Silu, steps: 50, batch: 256, learning_rate: 1e-3 }
    }
}

/// Ridges for what varies slowly.
pub(super) fn few_knots() -> RidgesConfig {
    RidgesConfig { knots: 6, floor: 0.05, least_width: 0.3, ..RidgesConfig::default() }
}

/// Which way a stage moves the points x = ∇ψ(y), with `h = log ρ + f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Update {
    /// The mirror step of the paper: by `-η∇_y(h∘∇ψ) = -η∇²ψ ∇h`.
    #[default]
    Mirror,
    /// By `-η∇h`: in the family this is the gradient of the reverse KL divergence, in the metric that the mirror step is fitted in.
    ReverseKl,
}

/// The densities `p^β q^{1-β}` on the way from the reference q to the target p.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TemperaturesConfig {
    /// The target from the first stage on.
    None,
    /// As far as the effective share of the weights from the map's density to the next one allows; at half of the stages at the latest 1.
    Adaptive {
        /// That share.
        #[serde(default = "half")]
        #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
        share: f64,
    },
    /// These, evenly over the first half of the stages, then 1.
    Fixed {
        /// β, ascending.
        #[schemars(length(min = 1), inner(range(min = 0.0, max = 1.0)))]
        temperatures: Vec<f64>,
    },
    /// Those that the particles of the reference took, evenly over the first half of the stages.
    Particles,
}

fn half() -> f64 {
    0.5
}

impl Default for TemperaturesConfig {
    fn default() -> Self {
        Self::Adaptive { share: half() }
    }
}
