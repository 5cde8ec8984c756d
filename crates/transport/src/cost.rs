//! The cost of moving a point, and with it which Wasserstein distance is meant.

/// What it costs to move a unit of mass from x to y.
///
/// Every function that takes a cost answers in its unit: a `cost` is the optimum of `E c(X, Y)`, a distance is its root
/// where the cost is a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cost {
    /// `c(x, y) = |x - y|`: the optimum is W₁.
    Distance,
    /// `c(x, y) = |x - y|²`, without a factor ½: the optimum is W₂².
    SquaredDistance,
}

impl Cost {
    /// The cost of a pair whose squared distance is known.
    #[inline(always)]
    pub fn of_squared(self, squared: f64) -> f64 {
        match self {
            Self::Distance => squared.sqrt(),
            Self::SquaredDistance => squared,
        }
    }

    /// The Wasserstein distance whose optimal cost is given: the cost, or its root.
    pub fn distance(self, cost: f64) -> f64 {
        match self {
            Self::Distance => cost,
            Self::SquaredDistance => cost.sqrt(),
        }
    }

    /// The derivative of [`distance`](Self::distance) at that cost; infinite for W₂ at 0.
    pub fn distance_slope(self, cost: f64) -> f64 {
        match self {
            Self::Distance => 1.0,
            Self::SquaredDistance => 0.5 / cost.sqrt(),
        }
    }
}
