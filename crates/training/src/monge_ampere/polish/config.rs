//! The choices of a polish.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::monge_ampere::semi_dual_descent::InputConvexConfig;
use crate::monge_ampere::stack::StackConfig;

/// The descent of a potential on the negative log-likelihood of points, `E[g(∇φ) - log det ∇²φ]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PolishConfig {
    /// How the likelihood is descended.
    pub by: Descender,
    /// The number of updates of one fit, at most.
    #[schemars(range(min = 1, max = 100_000_000))]
    pub steps: u64,
    /// Points in one update.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub batch: usize,
    /// The learning rate of Adam at its peak: a cosine falls to a hundredth of it.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub rate: f64,
    /// The share of the updates in which it rises from 0.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub warmup: f64,
    /// The decay of the moving average of the parameters, an update: it is what is judged and kept.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1.0))]
    pub ema: f64,
    /// Updates between two judgements by held-out points.
    #[schemars(range(min = 1))]
    pub judge_every: u64,
    /// So many judgements without a better one end a fit. Null, and with a stack, whose draws are endless: all updates are made.
    #[schemars(range(min = 1))]
    pub patience: Option<u64>,
    /// The share of the held-out points that a judgement, and every number that tells of one, leaves out: those of the least density, which a few outliers would
    /// decide.
    #[schemars(range(min = 0.0, max = 0.5))]
    pub trimmed: f64,
    /// Above 1, and without stages, so many fits, each to the points of all folds but one, on which it is judged; the potential is their mean. For references
    /// that are log-concave: there the negative log-likelihood is convex in the potential.
    #[schemars(range(min = 1, max = 100))]
    pub folds: u64,
    /// What stands for the law of the points.
    pub smoothing: Smoothing,
    /// How a fitted mixture follows the map. Null: the reference stays as it was.
    pub refit: Option<RefitConfig>,
}

impl Default for PolishConfig {
    fn default() -> Self {
        Self {
            by: Descender::default(),
            steps: 4000,
            batch: 512,
            rate: 3e-3,
            warmup: 0.05,
            ema: 0.998,
            judge_every: 100,
            patience: Some(15),
            trimmed: 0.02,
            folds: 1,
            smoothing: Smoothing::default(),
            refit: None,
        }
    }
}

impl PolishConfig {
    /// The updates of all fits, if none ends before its last.
    pub fn most_steps(&self) -> u64 {
        self.folds.saturating_mul(self.steps)
    }
}

/// How a likelihood is descended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Descender {
    /// Adam on all parameters.
    #[default]
    Adam,
    /// Fisher scoring on the coefficients of ridges that stay where they are, in at most eight dimensions: some tens of `steps` of some thousand points
    /// each.
    Fisher,
}

/// What a potential is fitted to: few points are memorised, and noise of the right shape keeps them from it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Smoothing {
    /// The points, with the noise that belongs to the data set.
    #[default]
    None,
    /// Points with noise N(0, sd² I), in standardised coordinates.
    Isotropic {
        /// The sd.
        #[schemars(extend("exclusiveMinimum" = 0.0))]
        sd: f64,
    },
    /// A point moved toward the mean m of its neighbours, with noise of their covariance C: `m + √(1 - κ²)(x - m) + κ N(0, C)`, which keeps the
    /// local second moments.
    LocalCovariance {
        /// The number of neighbours, the point itself among them.
        #[schemars(range(min = 2, max = 100_000))]
        neighbours: usize,
        /// κ.
        #[schemars(range(min = 0.0, max = 1.0))]
        share: f64,
    },
    /// Endless draws of a stack of densities that is fitted to the points.
    Stack(StackConfig),
}

/// A mixture that is refitted to `y = ∇φ(x)` while φ moves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RefitConfig {
    /// Updates of the potential between two refits.
    #[schemars(range(min = 1))]
    pub every: u64,
    /// Steps of expectation and maximisation in one refit.
    #[schemars(range(min = 1, max = 1000))]
    pub iterations: u64,
    /// Parts of the points: the likelihood of each is that of a mixture which was fitted without it. 1: of the mixture of all points.
    #[schemars(range(min = 1, max = 100))]
    pub folds: u64,
}

impl Default for RefitConfig {
    fn default() -> Self {
        Self { every: 100, iterations: 4, folds: 5 }
    }
}

/// The family that a potential is of.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PotentialConfig {
    /// Sums of ridges, as `ridges` says; a polish moves their directions, knots and widths, too.
    #[default]
    Ridges,
    /// Whichever fits the dimension, the number of points and the reference, with the `ridges`, the `stages` and the `polish` that go with it: the stored
    /// config names them.
    Automatic,
    /// Smoothed maxima of affine pieces, which semi-discrete transport starts; a polish learns them.
    LogSumExp(LogSumExpConfig),
    /// An input-convex network on the side of the reference, in `coordinates: "primal"`; the step `semi_dual` learns it.
    InputConvex(InputConvexConfig),
}

impl PotentialConfig {
    /// Its name in a config.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ridges => "ridges",
            Self::Automatic => "automatic",
            Self::LogSumExp(_) => "log_sum_exp",
            Self::InputConvex(_) => "input_convex",
        }
    }
}

/// A log-sum-exp potential.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSumExpConfig {
    /// Groups of pieces, at temperatures that rise by a factor of three.
    #[schemars(range(min = 1, max = 16))]
    pub groups: usize,
    /// Pieces of one group, at points of the reference.
    #[schemars(range(min = 2, max = 20_000))]
    pub pieces: usize,
    /// Points of the data whose exact transport to the pieces starts them.
    #[schemars(range(min = 2, max = 20_000))]
    pub points: usize,
    /// Directions in which further pieces lie outside of those, at two distances: without them the image of the map is a bounded hull.
    #[schemars(range(min = 0, max = 10_000))]
    pub outer: usize,
    /// The temperature τ of the first group.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub temperature: f64,
    /// The curvature of the quadratic at the start.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub curvature: f64,
    /// The curvature floor ε.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub floor: f64,
}

impl Default for LogSumExpConfig {
    fn default() -> Self {
        Self { groups: 2, pieces: 256, points: 1024, outer: 24, temperature: 0.02, curvature: 0.05, floor: 0.002 }
    }
}
