//! The choices of a descent on the semi-dual.

use brenier_model::monge_ampere::InputConvexShape;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest dimension in which matched pairs are worth their while.
const MATCHED: usize = 16;

/// The largest dimension in which few units do, and quadratic ones first.
const LOW: usize = 3;

/// An input-convex network `ψ(y) = ½ε|y|² + ½|Ly|² + c·y + Σ o_l·z_l`, `z_l = a(W_lᵀz_{l-1} + ½(Q_lᵀy)² + A_lᵀy + b_l)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InputConvexConfig {
    /// Units of each layer. Null: `[64, 64, 32]` in at most three dimensions, else `[96, 96, 48]`.
    #[schemars(length(min = 1, max = 16), inner(range(min = 1, max = 8192)))]
    pub widths: Option<Vec<usize>>,
    /// Whether the units of the first layer are quadratics. Null: in at most three dimensions.
    pub quadratic_first: Option<bool>,
    /// The curvature floor ε, where the Gaussian map is the identity.
    #[schemars(range(max = 0.9), extend("exclusiveMinimum" = 0.0))]
    pub floor: f64,
}

impl Default for InputConvexConfig {
    fn default() -> Self {
        Self { widths: None, quadratic_first: None, floor: 0.02 }
    }
}

impl InputConvexConfig {
    /// The sizes in d dimensions.
    pub fn shape(&self, d: usize) -> InputConvexShape {
        let is_low = d <= LOW;
        let widths = self.widths.clone();
        InputConvexShape {
            widths: widths.unwrap_or_else(|| if is_low { vec![64, 64, 32] } else { vec![96, 96, 48] }),
            quadratic_first: self.quadratic_first.unwrap_or(is_low),
            floor: self.floor,
        }
    }
}

/// The descent of an input-convex network on the semi-dual, a stage from one full gradient to the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SemiDualConfig {
    /// Updates of a stage.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub updates: u64,
    /// Points of the data in an update. Null: 256 in at most sixteen dimensions, else 512.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub batch: Option<usize>,
    /// Points of the reference in an update for each of the data. Null: 1 where pairs are matched, else 2.
    #[schemars(range(min = 1, max = 64))]
    pub draws: Option<usize>,
    /// The learning rate of Adam in the stages without variance reduction. Null: by dimension.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub plain_rate: Option<f64>,
    /// The learning rate at the first stage with it: a cosine falls to 0. Null: by dimension.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub rate: Option<f64>,
    /// The share of the stages without variance reduction, which come first.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub plain: f64,
    /// Whether a batch is of pairs that lie near each other, one draw a point. Null: in at most sixteen dimensions, unless `draws` is above 1.
    pub matched: Option<bool>,
}

impl Default for SemiDualConfig {
    fn default() -> Self {
        Self { updates: 400, batch: None, draws: None, plain_rate: None, rate: None, plain: 0.1, matched: None }
    }
}

/// The same with nothing left open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chosen {
    pub updates: u64,
    pub batch: usize,
    /// Points of the reference in an update.
    pub reference: usize,
    pub plain_rate: f64,
    pub rate: f64,
    /// Stages without variance reduction.
    pub plain: u64,
    pub matched: bool,
}

impl SemiDualConfig {
    /// The stages without variance reduction, of so many in all.
    pub fn plain_stages(&self, stages: u64) -> u64 {
        (self.plain * stages as f64).round() as u64
    }

    /// What holds in d dimensions, with so many stages.
    pub(super) fn chosen(&self, d: usize, stages: u64) -> Chosen {
        let one_each = self.draws.is_none_or(|draws| draws == 1);
        let matched = self.matched.unwrap_or(d <= MATCHED && one_each);
        let batch = self.batch.unwrap_or(if d <= MATCHED { 256 } else { 512 });
        let (plain_rate, rate) = match d {
            ..=8 => (1e-2, 1.5e-2),
            _ => (5e-3, 1e-2),
        };
        Chosen {
            updates: self.updates,
            batch,
            reference: batch * self.draws.unwrap_or(if matched { 1 } else { 2 }),
            plain_rate: self.plain_rate.unwrap_or(plain_rate),
            rate: self.rate.unwrap_or(rate),
            plain: self.plain_stages(stages),
            matched,
        }
    }
}
