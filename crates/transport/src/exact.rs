//! Exact W₁ and W₂ between two clouds, by whatever solver is fastest for them, with a certificate and a standard error.

use crate::cloud::{common_dim, unit};
use crate::{Cloud, Cost, Potentials, TransportError, assignment, one_dimension, weighted};

/// The optimal cost between two clouds and what proves it.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimum {
    /// `min E c(X, Y)` over all couplings: W₁ or W₂².
    pub cost: f64,
    /// That cost less the value of the potentials, at least 0: no coupling is cheaper by more, but for rounding.
    pub gap: f64,
    /// A bound of what rounding may add to the gap.
    pub rounding: f64,
    /// Optimal potentials.
    pub potentials: Potentials,
    /// What was minimised.
    pub ground: Cost,
    distance: f64,
    std_error: f64,
}

impl Optimum {
    /// An optimum with its certificate.
    pub fn new(cost: f64, gap: f64, rounding: f64, potentials: Potentials, ground: Cost) -> Self {
        let error = potentials.point_error().hypot(gap + rounding);
        // A root has no derivative at 0: it rises by the root of the error at most.
        let std_error = match ground {
            _ if cost == 0.0 => 0.0,
            Cost::Distance => error,
            Cost::SquaredDistance => (error * ground.distance_slope(cost)).min(error.sqrt()),
        };
        Self { cost, gap, rounding, potentials, ground, distance: ground.distance(cost), std_error }
    }

    /// The same between points that are so many times as large.
    fn times(mut self, unit: f64) -> Self {
        let squared = self.ground == Cost::SquaredDistance;
        let factor = |value: f64| if squared { value * unit * unit } else { value * unit };
        let potentials = self.potentials.a.iter_mut().chain(&mut self.potentials.b);
        potentials.for_each(|value| *value = factor(*value));
        Self {
            cost: factor(self.cost),
            gap: factor(self.gap),
            rounding: factor(self.rounding),
            distance: self.distance * unit,
            std_error: self.std_error * unit,
            ..self
        }
    }

    /// W₁ or W₂; W₂ where its square is too small for numbers, too.
    pub fn distance(&self) -> f64 {
        self.distance
    }

    /// By how much the cost may be above the optimum, as a share of it; 0 where both are 0.
    pub fn relative_error(&self) -> f64 {
        let error = self.gap + self.rounding;
        if error == 0.0 { 0.0 } else { error / self.cost }
    }

    /// The standard error of [`distance`](Self::distance) from the draw of both clouds, that of the cost by [`Potentials::point_error`] through the
    /// derivative of the root, with what the certificate leaves open. 0 where the cost is 0.
    pub fn std_error(&self) -> f64 {
        self.std_error
    }
}

/// Below this coordinates have squares that numbers cannot hold.
const SMALL: f64 = 1e-100;

/// Exact optimal transport between clouds of equal weights: on the line by sorting, of equal sizes by
/// [assignment](assignment::assign), else by the [network simplex](weighted::transport_uniform).
///
/// # Errors
///
/// Clouds of different dimensions; what the solvers refuse.
pub fn optimal_transport(a: Cloud, b: Cloud, cost: Cost) -> Result<Optimum, TransportError> {
    let dim = common_dim(&a, &b)?;
    let largest = a.values().iter().chain(b.values()).fold(0.0, |largest: f64, x| largest.max(x.abs()));
    if largest > 0.0 && largest < SMALL {
        let unit = unit(largest);
        let [x, y] = [a, b].map(|cloud| cloud.values().iter().map(|x| x / unit).collect::<Vec<f64>>());
        return Ok(optimal_transport(Cloud::new(&x, dim)?, Cloud::new(&y, dim)?, cost)?.times(unit));
    }
    Ok(if dim == 1 {
        let line = one_dimension::optimal_transport(a, b, cost)?;
        Optimum::new(line.cost, line.gap, 0.0, line.potentials, cost)
    } else if a.count() == b.count() {
        let assignment = assignment::assign(a, b, cost)?;
        Optimum::new(assignment.cost, assignment.gap, assignment.rounding, assignment.potentials, cost)
    } else {
        let plan = weighted::transport_uniform(a, b, cost)?;
        Optimum::new(plan.cost, plan.gap, plan.rounding, plan.potentials, cost)
    })
}

#[cfg(test)]
mod tests;
