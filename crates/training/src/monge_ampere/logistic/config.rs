//! The choices of Algorithm 1.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::monge_ampere::expectation::Expectations;
use crate::monge_ampere::polish::{PolishConfig, PotentialConfig};
use crate::monge_ampere::reference::ReferenceConfig;
use crate::monge_ampere::residual::{DiscriminatorConfig, RebaseConfig};
use crate::monge_ampere::semi_dual_descent::SemiDualConfig;
use crate::monge_ampere::{Iterate, PoolConfig, RidgesConfig, StepSize};

/// A Brenier map between a reference and data, from samples alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MongeAmpereLogisticConfig {
    /// The reference, to which the gradient of the potential carries the data.
    pub reference: ReferenceConfig,
    /// On which side the potential is: what is learnt there is added up, or composed.
    pub coordinates: Coordinates,
    /// The form of the discriminator h. Dual coordinates take `features` and `quadratic`.
    pub discriminator: DiscriminatorConfig,
    /// What stands for the laws in a stage; nodes are for primal coordinates, and for quadratics in either.
    pub expectations: Expectations,
    /// When composed stages are fitted into one potential.
    pub rebase: RebaseConfig,
    /// The family of the potential.
    pub potential: PotentialConfig,
    /// The ridges of the potential `ridges`, and of the discriminator `features`.
    pub ridges: RidgesConfig,
    /// How a stage learns which way to go.
    pub step: Step,
    /// How the step `semi_dual` descends.
    pub semi_dual: SemiDualConfig,
    /// How far it goes.
    pub step_size: StepSize,
    /// The number of stages; 0 leaves all to the polish.
    #[schemars(range(min = 0, max = 100_000_000))]
    pub stages: u64,
    /// So many stages without a potential that held-out points find more likely end the training. Null: all stages are done.
    #[schemars(range(min = 1))]
    pub patience: Option<u64>,
    /// The sampler's points at a stage.
    pub pool: PoolConfig,
    /// Points of the data and of the sampler in one logistic regression.
    #[schemars(range(min = 64, max = 10_000_000))]
    pub batch: usize,
    /// Of a target that is drawn afresh: draws a stage. Means are taken over all draws so far.
    #[schemars(range(min = 64, max = 100_000_000))]
    pub fresh: u64,
    /// The penalty λ: of the coefficients of a logistic regression, and in the metric C of the Newton step; in units of the variances of the
    /// features.
    #[schemars(range(min = 0.0))]
    pub penalty: f64,
    /// The decay of the moving average of the potentials, a stage.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub ema: f64,
    /// The stages that the mean of the potentials leaves out: those of the way there.
    pub average_after: u64,
    /// Which potential the law of the run is.
    pub iterate: Iterate,
    /// The descent on the likelihood that follows the stages. Null: none.
    pub polish: Option<PolishConfig>,
}

/// The side on which the flow runs. Both have the same limit; they differ by O(η²) a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// ψ on the side of the reference, `ψ ← ψ - η h∘∇ψ`: the residual network of the paper, whose stages are composed.
    Primal,
    /// φ = ψ* on the side of the data, `φ ← φ + η h`: stages add up.
    #[default]
    Dual,
}

impl MongeAmpereLogisticConfig {
    /// Whether stages are sums of ridges in dual coordinates, which add up.
    pub fn is_additive(&self) -> bool {
        self.coordinates == Coordinates::Dual
            && self.discriminator == DiscriminatorConfig::Features
            && self.step != Step::SemiDual
    }
}

impl Default for MongeAmpereLogisticConfig {
    fn default() -> Self {
        Self {
            reference: ReferenceConfig::default(),
            coordinates: Coordinates::default(),
            discriminator: DiscriminatorConfig::default(),
            expectations: Expectations::default(),
            rebase: RebaseConfig::default(),
            potential: PotentialConfig::default(),
            ridges: RidgesConfig::default(),
            step: Step::default(),
            semi_dual: SemiDualConfig::default(),
            step_size: StepSize::default(),
            stages: 60,
            patience: Some(20),
            pool: PoolConfig::default(),
            batch: 4000,
            fresh: 20_000,
            penalty: 0.01,
            ema: 0.7,
            average_after: 10,
            iterate: Iterate::default(),
            polish: None,
        }
    }
}

/// How a stage moves `φ = ½ε|x|² + θ·F(x)` within the box that keeps it convex, or a network.
///
/// m is the mean of the features F over the data, m_ρ over the sampler; C their covariance, `K = E_ρ[∇Fᵀ(∇²φ)⁻¹∇F]` the Hessian of the semi-dual.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The paper's: h by logistic regression, `θ ← θ + ηw`. Near the end it is gradient descent on the semi-dual in the metric C.
    Logistic,
    /// Logistic regression with the penalty `¼η E_ρ[∇hᵀ(∇²φ)⁻¹∇h]`, `θ ← θ + ηw`: for every η.
    SemiImplicit,
    /// `θ ← θ + ((C + λ diag C)/η + K)⁻¹(m_ρ - m)`: the semi-implicit step to leading order, without a regression; damped Newton on the semi-dual.
    #[default]
    Newton,
    /// An input-convex network ψ in primal coordinates descends the semi-dual `J(ψ) = E_ref ψ + E_data ψ*` itself, by variance-reduced gradients: no
    /// discriminator, and no box. A stage is what lies between two full gradients.
    SemiDual,
}
