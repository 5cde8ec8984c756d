//! Exact W₁ and W₂ between two clouds, by whatever solver is fastest for them, with a certificate and a standard error.

use crate::cloud::common_dim;
use crate::{Cloud, Cost, Potentials, TransportError, assignment, one_dimension, weighted};

/// The optimal cost between two clouds and what proves it.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimum {
    /// `min E c(X, Y)` over all couplings: W₁ or W₂².
    pub cost: f64,
    /// That cost less the value of the potentials, at least 0: no coupling is cheaper by more.
    pub gap: f64,
    /// Optimal potentials.
    pub potentials: Potentials,
    /// What was minimised.
    pub ground: Cost,
}

impl Optimum {
    /// W₁ or W₂.
    pub fn distance(&self) -> f64 {
        self.ground.distance(self.cost)
    }

    /// The standard error of [`distance`](Self::distance) from the draw of both clouds: that of the cost by
    /// [`Potentials::point_error`], through the derivative of the root. 0 where the cost is 0 but for rounding: the root
    /// has no derivative there.
    pub fn std_error(&self) -> f64 {
        let error = self.potentials.point_error();
        let rounding = 1e-12 * (error + self.potentials.a.iter().fold(0.0, |largest: f64, phi| largest.max(phi.abs())));
        if self.cost <= rounding { 0.0 } else { error * self.ground.distance_slope(self.cost) }
    }
}

/// Exact optimal transport between clouds of equal weights: on the line by sorting, of equal sizes by
/// [assignment](assignment::assign), else by the [network simplex](weighted::transport_uniform).
///
/// # Errors
///
/// Clouds of different dimensions; what the solvers refuse.
pub fn optimal_transport(a: Cloud, b: Cloud, cost: Cost) -> Result<Optimum, TransportError> {
    let (cost_value, gap, potentials) = if common_dim(&a, &b)? == 1 {
        let line = one_dimension::optimal_transport(a, b, cost)?;
        (line.cost, line.gap, line.potentials)
    } else if a.count() == b.count() {
        let assignment = assignment::assign(a, b, cost)?;
        (assignment.cost, assignment.gap, assignment.potentials)
    } else {
        let plan = weighted::transport_uniform(a, b, cost)?;
        (plan.cost, plan.gap, plan.potentials)
    };
    Ok(Optimum { cost: cost_value, gap, potentials, ground: cost })
}
